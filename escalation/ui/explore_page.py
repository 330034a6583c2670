"""Explore: change what is assumed to be true and see at once what each design would do."""

from __future__ import annotations

from typing import Final

import numpy as np
import streamlit as st

from escalation.benchmark import Benchmark
from escalation.characteristics import MEASURES, Characteristics, Estimate
from escalation.regimens import RegimenGrid
from escalation.report.charts.regimens import names
from escalation.report.charts.style import DLT, SELECTED, TREATED, TRUTH
from escalation.report.one_regimen import response_rows, response_test_line, safety_rows
from escalation.report.tables import number
from escalation.shapes import shapes
from escalation.simulate import Simulation, judgement_of
from escalation.study import Study
from escalation.tally import Floats
from escalation.ui import blocks
from escalation.ui.curve import MOST, STEP, curve
from escalation.ui.engine import (
    BENCHMARK_TRIALS,
    LIVE_TRIALS,
    best_possible,
    characteristics,
    fitting_designs,
    lowered_moderate,
    truth_text,
    with_truth,
    with_values,
)
from escalation.ui.study_in_hand import chooser, file_name, study_in_hand

SHOWN: Final = (
    "correct_selection",
    "selection_within",
    "selection_above",
    "patients_at_mtd",
    "patients_above",
    "overdosing_60",
    "dlt_rate",
)
"""Measures of the comparison, of those in ``MEASURES``."""
BEST: Final = TRUTH
AT_FIRST: Final = ("three_plus_three", "boin", "crm")
AT_FIRST_ON_A_GRID: Final = ("three_plus_three", "boin_combination", "waterfall")


def page() -> None:
    """Explore the study in hand."""
    chooser()
    blocks.heading("Explore", "Move the assumed DLT probabilities. Every number is worked out again at once.")
    with blocks.refusals_shown():
        study = study_in_hand()
        blocks.study_line(study)
        _live(study)
        if st.toggle("Every scenario of the study side by side", key="explore:side", persist_state="session"):
            _side_by_side(study)


@st.fragment
def _live(study: Study) -> None:
    left, right = st.columns([1, 3], gap="large")
    with left:
        truth, sliders = _assumed(study)
        sized, overrides = _size(study)
        compared = _designs(sized)
    with right, blocks.refusals_shown():
        _results(compared, truth, sliders, overrides)


# what is assumed ----------------------------------------------------------------------------------


def _starts(study: Study) -> dict[str, Floats]:
    """Curves to start from: the study's scenarios, then the shapes every study can use."""
    found = {each.name: study.truth(each).probability for each in study.scenarios}
    named = shapes(study.protocol.grid, study.target)
    return found | {name[0].upper() + name[1:]: truth for name, truth in named.items()}


def _assumed(study: Study) -> tuple[Floats, list[str]]:
    """The sliders, one a regimen, set from the chosen shape until they are moved; their values and their keys."""
    grid, starts = study.protocol.grid, _starts(study)
    scope = f"explore:{study.hash[:8]}"
    chosen = st.selectbox("Start from", list(starts), key=f"{scope}:start", persist_state="session")
    values = np.asarray(starts[chosen])
    if grid.axis != "grid":
        keys = [f"{scope}:{chosen}:{k}" for k in range(grid.size)]
        moved = [_slider(key, name, value) for key, name, value in zip(keys, names(grid), values, strict=True)]
    else:
        moved, keys = _grid_sliders(f"{scope}:{chosen}", grid, values)
    truth = np.asarray(moved) / 100
    if any(truth[low] > truth[high] + 1e-12 for low, high in np.argwhere(grid.predecessors)):
        st.caption(":material/info: A higher regimen is assumed less toxic than a lower one.")
    return truth, keys


def _slider(key: str, label: str, value: float) -> float:
    return float(
        st.slider(
            label,
            0.0,
            MOST,
            float(round(100 * value, 1)),
            STEP,
            format="%.1f %%",
            key=key,
            persist_state="session",
            help="Assumed probability of a DLT within the window",
        )
    )


def _grid_sliders(scope: str, grid: RegimenGrid, values: Floats) -> tuple[list[float], list[str]]:
    """Sliders in tabs, one tab a frequency; all are read whichever tab is open. Their values and their keys."""
    moved = [0.0] * grid.size
    shift = st.slider(
        "All regimens, odds multiplied by", 0.25, 4.0, 1.0, 0.05, key=f"{scope}:all", persist_state="session"
    )
    odds = values / np.maximum(1 - values, 1e-9) * shift
    shifted = odds / (1 + odds)
    keys = [f"{scope}:{shift}:{k}" for k in range(grid.size)]
    tabs = st.tabs([f"Frequency {f}" for f in range(1, grid.n_frequencies + 1)])
    for k in range(grid.size):
        with tabs[int(grid.frequency_of[k])]:
            moved[k] = _slider(keys[k], grid.describe(k), float(shifted[k]))
    return moved, keys


def _size(study: Study) -> tuple[Study, list[str]]:
    """The study with another size, and how the command line says so."""
    protocol, scope = study.protocol, f"explore:{study.hash[:8]}"
    overrides = []
    with st.expander("Size of the trial"):
        cohort = st.slider("Cohort size", 1, 6, protocol.cohort_size, key=f"{scope}:cohort", persist_state="session")
        if cohort != protocol.cohort_size:
            overrides.append(f"protocol.cohort_size={cohort}")
        if protocol.max_patients is not None:
            most = max(60, protocol.max_patients)
            limit = st.slider(
                "Participants at most", 3, most, protocol.max_patients, key=f"{scope}:most", persist_state="session"
            )
            if limit != protocol.max_patients:
                overrides.append(f"protocol.max_patients={limit}")
    return (with_values(study, overrides), overrides) if overrides else (study, overrides)


def _at_first(study: Study) -> tuple[str, ...]:
    return AT_FIRST_ON_A_GRID if study.protocol.grid.axis == "grid" else AT_FIRST


def _designs(study: Study) -> dict[str, Study]:
    """The designs compared: the study's own, and those chosen beside it."""
    fitting = fitting_designs(study)
    own, *others = fitting
    titles = {name: each.protocol.rule.design.title for name, each in fitting.items()}
    if not others:
        return {own: study}
    chosen = st.multiselect(
        "Beside the study's design",
        others,
        default=[name for name in others if name in _at_first(study)],
        format_func=titles.__getitem__,
        key=f"explore:designs:{own}:{len(others)}",
        persist_state="session",
        help="Each with its default parameters, on the study's regimens and cohort size.",
    )
    return {name: fitting[name] for name in (own, *chosen)}


# what follows ---------------------------------------------------------------------------------------


def _results(compared: dict[str, Study], truth: Floats, sliders: list[str], overrides: list[str]) -> None:
    (own, study), *_ = compared.items()
    grid = study.protocol.grid
    found = {}
    for name, each in compared.items():
        title = each.protocol.rule.design.title + (", this study" if name == own else "")
        found[title] = characteristics(with_truth(each, truth))
    designs = {title: each.scenarios[0].characteristics for title, each in found.items()}
    if grid.size == 1:
        _monitoring(next(iter(found.values())))
    else:
        _choice(study, truth, sliders, designs)
    sampled = [title for title, c in designs.items() if not c.exact]
    how = "exact: no Monte Carlo error"
    if sampled:
        how = f"exact, but {', '.join(sampled)}: {LIVE_TRIALS:,} simulated trials, standard errors in parentheses"
    for title, simulation in found.items():
        for note in simulation.notes:
            st.caption(f":material/info: {blocks.plain(title)}: {blocks.plain(note)}")
    blocks.trace(next(iter(found.values())).study, how)
    lowered = lowered_moderate(study, truth)
    if study.scenarios[0].moderate is not None:
        less = ", lowered where the DLTs leave no room" if lowered else ""
        name = blocks.plain(study.scenarios[0].name)
        st.caption(f":material/info: Moderate toxicities are those of scenario {name}{less}.")
    with st.expander("The same on the command line"):
        sets = "".join(f" --set {each}" for each in overrides)
        sets += f' --set "{lowered}"' if lowered else ""
        st.code(f'escalation simulate {file_name()} --truth "{truth_text(study, truth)}"{sets}', language="shell")


def _monitoring(simulation: Simulation) -> None:
    """What the monitoring of a single regimen does, and its response test where there is one."""
    (result,) = simulation.scenarios
    c = result.characteristics
    note = "exact" if c.exact else "standard error in parentheses"
    blocks.cards(
        [
            ("Stopped for toxicity", _percent(c.no_selection), note),
            ("Participants, mean", number(c.total_patients.mean, 1), f"at most {c.total_patients.maximum:g}"),
            ("With a DLT, mean", number(c.total_dlts.mean, 2), note),
        ]
    )
    study = simulation.study
    rows = [*safety_rows(result, study, number), *response_rows(result, study, number)]
    blocks.table(("measure", study.protocol.rule.design.title), rows)
    planned = response_test_line(study)
    if planned is not None:
        st.caption(blocks.plain(planned))


def _choice(study: Study, truth: Floats, sliders: list[str], designs: dict[str, Characteristics]) -> None:
    """What designs that choose among regimens do, beside the optimal benchmark."""
    grid = study.protocol.grid
    _headline(next(iter(designs.values())))
    drawn = st.container()
    most = max(round(c.total_patients.maximum) for c in designs.values())
    best = best_possible(study, truth, most)
    if grid.axis == "grid":
        _grids(study, truth, designs, best)
    else:
        _selection(grid, designs, best)
    _measures(designs, best.correct_selection, most)
    with drawn:  # last: an answer to a dragged point is complete before the next is asked for
        st.caption("Drag a point, or move it with the arrow keys.")
        curve(f"explore:curve:{study.hash[:8]}", grid, truth, sliders, study.target, study.criteria.within)


def _side_by_side(study: Study) -> None:
    """One measure under every scenario of the study, a column a design."""
    designs = {name: each for name, each in fitting_designs(study).items() if each is study or name in _at_first(study)}
    choices = {title: name for name, (title, _) in MEASURES.items()}
    wanted = choices[st.selectbox("Measure", list(choices), key="explore:measure", persist_state="session")]
    found = {name: characteristics(each) for name, each in designs.items()}
    titles = [each.protocol.rule.design.title for each in designs.values()]
    grid, rows = study.protocol.grid, []
    for position, scenario in enumerate(study.scenarios):
        truth = study.truth(scenario).probability
        values = [each.scenarios[position].characteristics.measures.get(wanted) for each in found.values()]
        numbers = ["" if value is None else number(value) for value in values]
        rows.append((scenario.name, truth_text(study, truth), *numbers))
    blocks.table(("scenario", "assumed DLT" + (", by frequency" if grid.axis == "grid" else ""), *titles), rows)
    st.caption(MEASURES[wanted][1])
    exact = all(each.engine == "exact" for each in found.values())
    blocks.trace(study, "exact: no Monte Carlo error" if exact else "standard errors in parentheses where simulated")


def _headline(c: Characteristics) -> None:
    note = "exact" if c.exact else "standard error in parentheses"
    measure = c.measures.get
    shown: list[tuple[str, Estimate | None]] = [
        ("Correct selection", measure("correct_selection")),
        ("Selects above the target", measure("selection_above")),
        ("Selects none", c.no_selection),
        ("Patients above the target", measure("patients_above")),
    ]
    listed = [(label, _percent(each), note) for label, each in shown if each is not None]
    listed.append(("Participants, mean", number(c.total_patients.mean, 1), f"at most {c.total_patients.maximum:g}"))
    listed.append(("With a DLT, mean", number(c.total_dlts.mean, 2), note))
    blocks.cards(listed)


def _percent(estimate: Estimate) -> str:
    if np.isnan(estimate.value):
        return "not defined"
    error = "" if estimate.mcse is None else f" ({100 * estimate.mcse:.1f})"
    return f"{100 * estimate.value:.1f}{error} %"


def _grids(study: Study, truth: Floats, designs: dict[str, Characteristics], best: Benchmark) -> None:
    """The assumed surface and, for every design, what it selects and whom it treats; the line is the MTD contour."""
    grid, judgement = study.protocol.grid, judgement_of(study)
    safe = ~judgement.above(truth)
    first = next(iter(designs.values()))
    maps = [blocks.grid_map(grid, truth, "Assumed DLT", DLT, marked=first.true_mtd, safe=safe)]
    for title, c in designs.items():
        treated = c.patients / max(float(c.patients.sum()), 1e-12)
        none = f"; none {c.no_selection.value:.1%}"
        maps.append(
            blocks.grid_map(grid, c.selection, f"{title}: selected{none}", SELECTED, safe=safe, marked=c.true_mtd)
        )
        maps.append(blocks.grid_map(grid, treated, f"{title}: participants", TREATED, safe=safe, marked=c.true_mtd))
    said = "Optimal benchmark: selected"
    maps.append(blocks.grid_map(grid, best.selection, said, BEST, marked=first.true_mtd, safe=safe))
    blocks.side_by_side(maps)
    st.caption(
        "Columns are dose levels, rows frequency levels, most frequent on top. ★ true MTD, bold line: MTD contour."
    )


def _selection(grid: RegimenGrid, designs: dict[str, Characteristics], best: Benchmark) -> None:
    """Selection and allocation, a row a design and a column a regimen."""
    first = next(iter(designs.values()))
    labels = [name + (" ★" if first.true_mtd[k] else "") for k, name in enumerate(names(grid))]
    rows: list[tuple[str | blocks.Markup, ...]] = []
    for title, c in designs.items():
        treated = c.patients / max(float(c.patients.sum()), 1e-12)
        cells: list[str | blocks.Markup] = [
            blocks.Markup(
                blocks.bar(c.selection[k], f"{c.selection[k]:.1%}", SELECTED).html
                + blocks.bar(treated[k], f"{treated[k]:.1%}", TREATED).html
            )
            for k in range(grid.size)
        ]
        rows.append((title, *cells, blocks.bar(c.no_selection.value, f"{c.no_selection.value:.1%}", SELECTED)))
    bars = [blocks.bar(share, f"{share:.1%}", BEST) for share in best.selection]
    rows.append(("Optimal benchmark", *bars, ""))
    blocks.table(
        ("design", *labels, "none"), rows, "Selected (upper bar) and participants treated (lower bar); ★ true MTD"
    )


def _measures(designs: dict[str, Characteristics], best: Estimate, participants: int) -> None:
    rows: list[tuple[str, ...]] = []
    for name in SHOWN:
        found = [c.measures.get(name) for c in designs.values()]
        if any(each is not None for each in found):
            bound = number(best) if name == "correct_selection" else ""
            rows.append((MEASURES[name][0], *("" if each is None else number(each) for each in found), bound))
    rows.append(
        ("Participants, mean", *(number(c.total_patients.mean, 2) for c in designs.values()), str(participants))
    )
    rows.append(("With a DLT, mean", *(number(c.total_dlts.mean, 2) for c in designs.values()), ""))
    blocks.table(("measure", *designs, "optimal benchmark"), rows)
    st.caption(
        f"The optimal benchmark knows every participant's outcome under every regimen ({BENCHMARK_TRIALS:,} simulated "
        "trials, standard error in parentheses). It is a reference, not a bound."
    )
