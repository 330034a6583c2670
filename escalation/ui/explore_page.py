"""Explore: change what is assumed to be true and see at once what each design would do."""

from __future__ import annotations

from typing import Final

import numpy as np
import streamlit as st

from escalation.characteristics import MEASURES, Characteristics, Estimate
from escalation.regimens import RegimenGrid
from escalation.report.charts.regimens import dose_toxicity, heat_map, names
from escalation.report.charts.style import SELECTED, TREATED
from escalation.report.tables import number
from escalation.simulate import judgement_of
from escalation.study import Study
from escalation.tally import Floats
from escalation.ui import blocks
from escalation.ui.curves import safe_side, shapes
from escalation.ui.engine import (
    BENCHMARK_TRIALS,
    LIVE_TRIALS,
    best_possible,
    characteristics,
    fitting_designs,
    truth_text,
    with_truth,
)
from escalation.ui.study_in_hand import chooser, key_in_hand, study_in_hand

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
AT_FIRST: Final = ("three_plus_three", "three_plus_three_path", "boin", "crm")


def page() -> None:
    """Explore the study in hand."""
    chooser()
    blocks.heading("Explore", "Move the assumed DLT probabilities. Every number is worked out again at once.")
    with blocks.refusals_shown():
        study = study_in_hand()
        blocks.study_line(study)
        _live(study)


@st.fragment
def _live(study: Study) -> None:
    left, right = st.columns([1, 2], gap="large")
    with left:
        truth = _assumed(study)
        compared = _designs(study)
    with right, blocks.refusals_shown():
        _results(study, truth, compared)


# what is assumed ----------------------------------------------------------------------------------


def _starts(study: Study) -> dict[str, Floats]:
    """Curves to start from: the study's scenarios, then the shapes every study can use."""
    found = {each.name: study.truth(each).probability for each in study.scenarios}
    return found | {name: make() for name, make in shapes(study.protocol.grid, study.target).items()}


def _assumed(study: Study) -> Floats:
    """The sliders, one a regimen, set from the chosen shape until they are moved."""
    grid, starts = study.protocol.grid, _starts(study)
    scope = f"explore:{study.hash[:8]}"
    chosen = st.selectbox("Start from", list(starts), key=f"{scope}:start", persist_state="session")
    values = np.asarray(starts[chosen])
    if grid.axis != "grid":
        moved = [_slider(f"{scope}:{chosen}:{k}", name, values[k]) for k, name in enumerate(names(grid))]
    else:
        moved = _grid_sliders(f"{scope}:{chosen}", grid, values)
    truth = np.asarray(moved) / 100
    if any(truth[low] > truth[high] + 1e-12 for low, high in np.argwhere(grid.predecessors)):
        st.caption(":material/info: A higher regimen is assumed less toxic than a lower one.")
    return truth


def _slider(key: str, label: str, value: float) -> float:
    return float(
        st.slider(
            label,
            0.0,
            95.0,
            float(round(100 * value, 1)),
            0.5,
            format="%.1f %%",
            key=key,
            persist_state="session",
            help="Assumed probability of a DLT within the window",
        )
    )


def _grid_sliders(scope: str, grid: RegimenGrid, values: Floats) -> list[float]:
    """Sliders in tabs, one tab a frequency; all are read whichever tab is open."""
    moved = [0.0] * grid.size
    shift = st.slider(
        "All regimens, odds multiplied by", 0.25, 4.0, 1.0, 0.05, key=f"{scope}:all", persist_state="session"
    )
    odds = values / np.maximum(1 - values, 1e-9) * shift
    shifted = odds / (1 + odds)
    tabs = st.tabs([f"Frequency {f}" for f in range(1, grid.n_frequencies + 1)])
    for k in range(grid.size):
        with tabs[int(grid.frequency_of[k])]:
            moved[k] = _slider(f"{scope}:{shift}:{k}", grid.describe(k), float(shifted[k]))
    return moved


def _designs(study: Study) -> dict[str, Study]:
    """The designs compared: the study's own, and those chosen beside it."""
    fitting = fitting_designs(study)
    own, *others = fitting
    titles = {name: each.protocol.rule.design.title for name, each in fitting.items()}
    chosen = st.pills(
        "Beside the study's design",
        others,
        selection_mode="multi",
        default=[name for name in others if name in AT_FIRST],
        format_func=titles.__getitem__,
        key=f"explore:designs:{study.hash[:8]}",
        persist_state="session",
        help="Each with its default parameters, on the study's regimens and cohort size.",
    )
    return {name: fitting[name] for name in (own, *(chosen or ()))}


# what follows ---------------------------------------------------------------------------------------


def _results(study: Study, truth: Floats, compared: dict[str, Study]) -> None:
    grid, judgement = study.protocol.grid, judgement_of(study)
    found = {}
    for name, each in compared.items():
        simulation = characteristics(with_truth(each, truth))
        title = each.protocol.rule.design.title + (", this study" if each is study else "")
        found[name] = (title, simulation.scenarios[0].characteristics, simulation)
    own = found[next(iter(found))][1]
    _headline(own)
    if grid.axis != "grid":
        chart = dose_toxicity(grid, {"assumed": truth}, study.target, within=study.criteria.within)
        st.altair_chart(chart, alt=f"Assumed DLT probabilities: {truth_text(study, truth)}; target {study.target:g}")
    else:
        _grid_maps(study, truth, own)
    _selection(grid, {title: c for title, c, _ in found.values()})
    most = max(round(c.total_patients.maximum) for _, c, _ in found.values())
    best = best_possible(study, truth, most)
    _measures({title: c for title, c, _ in found.values()}, best.correct_selection, most)
    sampled = [title for title, c, _ in found.values() if not c.exact]
    how = "exact: no Monte Carlo error"
    if sampled:
        how = f"exact, but {', '.join(sampled)}: {LIVE_TRIALS:,} simulated trials, standard errors in parentheses"
    judged = found[next(iter(found))][2].study
    blocks.trace(judged, how)
    key = key_in_hand()
    with st.expander("The same on the command line"):
        st.code(f'escalation simulate {key} --truth "{truth_text(study, truth)}"', language="shell")
    del judgement


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


def _grid_maps(study: Study, truth: Floats, c: Characteristics) -> None:
    grid, safe = study.protocol.grid, safe_side(truth, judgement_of(study))
    left, middle, right = st.columns(3)
    treated = c.patients / max(float(c.patients.sum()), 1e-12)
    for where, values, title in (
        (left, truth, "Assumed DLT"),
        (middle, c.selection, "Selected"),
        (right, treated, "Participants"),
    ):
        chart = heat_map(grid, values, title, marked=c.true_mtd, contour=safe)
        where.altair_chart(chart, alt=f"{title}, by frequency and dose level; the line is the MTD contour")


def _selection(grid: RegimenGrid, designs: dict[str, Characteristics]) -> None:
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
