"""The results of a comparison: differences with their intervals, selection side by side, every number, files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from escalation.compare import ComparedScenario, Comparison, Difference, comparison_of
from escalation.report.charts.comparisons import designs_named, differences, selection_side_by_side
from escalation.report.charts.regimens import heat_map
from escalation.report.charts.style import Drawn
from escalation.report.charts.times import spreads
from escalation.report.document import comparison_report, difference_text
from escalation.report.frames import COMPARED, comparison_how
from escalation.report.tables import number
from escalation.simulate import Simulation, judgement_of
from escalation.study import preset_names
from escalation.ui import blocks, command_lines
from escalation.ui.downloads import Files, offer

_NUMBERS = ("patients", "dlts", "duration_days")
"""Measures that are not shares."""


def show(key: str, request: dict[str, Any], simulations: tuple[Simulation, ...]) -> None:
    """The results of a finished comparison."""
    comparison = _comparison(key, simulations)
    named = designs_named([study.protocol.rule.design for study in comparison.studies])
    for note in comparison.notes:
        st.info(note)
    _placeholders(comparison, named)
    figures = _differences(key, comparison, named)
    figures |= _scenario(key, comparison, named)
    command = command_lines.compare_command(request, comparison.studies)
    files = Files(
        name=f"{comparison.studies[0].id}-comparison",
        result=comparison,
        report=lambda day: comparison_report(comparison, command=command, made=day),
        records=None,
        studies=_studies(request, comparison),
        figures=figures,
    )
    offer(key, files)
    note = "Files it names are among the studies above." if ".json" in command or ".yaml" in command else ""
    command_lines.shown(command, note=note)
    blocks.trace(comparison.studies[0], comparison_how(comparison))


def _placeholders(comparison: Comparison, named: Sequence[str]) -> None:
    """Safety-critical placeholders of the later studies that the first, whose notice stands above, does not have."""
    known = comparison.studies[0].placeholders
    for name, study in zip(named[1:], comparison.studies[1:], strict=True):
        more = [path.removeprefix("protocol.") for path in study.placeholders if path not in known]
        if more:
            st.warning(f"{name}: further safety-critical placeholders in {', '.join(more)}.", icon=":material/warning:")


@st.cache_resource(max_entries=12, show_spinner="Pairing the trials")
def _comparison(key: str, _simulations: tuple[Simulation, ...]) -> Comparison:
    return comparison_of(_simulations)


def _studies(request: dict[str, Any], comparison: Comparison) -> dict[str, str]:
    """Files of the studies that are no presets."""
    found = {}
    for position, (text, study) in enumerate(zip(request["studies"], comparison.studies, strict=True)):
        name = command_lines.name_of(text, study)
        if name not in preset_names():
            found[name if not position else command_lines.file_name(study)] = text
    return found


# differences ----------------------------------------------------------------------------------------


def _differences(key: str, comparison: Comparison, named: Sequence[str]) -> dict[str, Drawn]:
    """The paired differences of one measure in every scenario."""
    differ = {name for found in comparison.scenarios[0].differences for name in found}
    listed = [name for name in comparison.scenarios[0].names if name in differ and name in COMPARED]
    chosen = st.selectbox(
        f"Difference from {named[0]}",
        listed,
        format_func=COMPARED.__getitem__,
        key=f"measure:{key}",
        persist_state="session",
    )
    apart = {
        scenario.name: {
            named[place]: found[chosen] for place, found in enumerate(scenario.differences, 1) if chosen in found
        }
        for scenario in comparison.scenarios
    }
    title = f"{COMPARED[chosen]}, minus that of {named[0]}"
    chart = differences(apart, title, share=chosen not in _NUMBERS)
    st.altair_chart(chart, alt=f"{title}: {_said(apart)}")
    st.caption("Two paired standard errors to either side. Pale: not distinguished from none (~).")
    return {f"differences {COMPARED[chosen]}": chart}


def _said(apart: dict[str, dict[str, Difference]]) -> str:
    return "; ".join(
        f"{scenario}, {design} {difference_text(found, 3)}"
        for scenario, designs in apart.items()
        for design, found in designs.items()
    )


# one scenario ---------------------------------------------------------------------------------------


def _scenario(key: str, comparison: Comparison, named: Sequence[str]) -> dict[str, Drawn]:
    st.subheader("One scenario", anchor=False)
    names = [scenario.name for scenario in comparison.scenarios]
    name = st.pills(
        "Scenario",
        names,
        default=names[0],
        required=True,
        format_func=blocks.plain,
        key=f"scenario:{key}",
        persist_state="session",
        wrap=True,
    )
    place = names.index(name or names[0])
    scenario = comparison.scenarios[place]
    figures = _selections(comparison, place, named)
    timed = {
        design: found
        for design, run in zip(named, comparison.simulations, strict=True)
        if (found := run.scenarios[place].characteristics.duration_days) is not None
    }
    if timed:
        st.markdown("**How long the trial takes**")
        long = spreads(timed, "duration in days")
        st.altair_chart(long, alt="Duration by design: 5 % to 95 % quantile, middle half and median")
        figures[f"durations {scenario.name}"] = long
    _table(scenario, named)
    return figures


def _selections(comparison: Comparison, place: int, named: Sequence[str]) -> dict[str, Drawn]:
    """What every design selects: bars side by side on one axis, a map for each on the grid."""
    study, scenario = comparison.studies[0], comparison.scenarios[place]
    grid = study.protocol.grid
    found = [run.scenarios[place].characteristics for run in comparison.simulations]
    if grid.axis != "grid":
        sides = {
            name: (c.selection, c.selection_mcse, c.no_selection.value) for name, c in zip(named, found, strict=True)
        }
        chart = selection_side_by_side(grid, sides, found[0].true_mtd, height=280)
        st.altair_chart(chart, alt=f"Selection by regimen for {', '.join(named)}")
        return {f"selection {scenario.name}": chart}
    safe = ~judgement_of(study).above(scenario.truth)
    figures: dict[str, Drawn] = {}
    highest = max(float(c.selection.max()) for c in found)
    columns = st.columns(min(len(named), 3))
    for position, (name, c) in enumerate(zip(named, found, strict=True)):
        chart = heat_map(grid, c.selection, name, marked=c.true_mtd, contour=safe, highest=highest, height=220)
        with columns[position % len(columns)]:
            st.altair_chart(chart, alt=f"Selection by dose and frequency level under {name}")
        figures[f"selection {scenario.name} {name}"] = chart
    st.caption("Share of trials that select each regimen. ★ true MTD; the line is the edge of what is not too toxic.")
    return figures


def _table(scenario: ComparedScenario, named: Sequence[str]) -> None:
    """Every measure under every design, the paired difference below it."""
    rows: list[tuple[str | blocks.Markup, ...]] = []
    for key in scenario.names:
        cells: list[str | blocks.Markup] = []
        for position, measures in enumerate(scenario.measures):
            value = number(measures[key]) if key in measures else ""
            gap = difference_text(scenario.differences[position - 1].get(key)) if position else ""
            cells.append(blocks.noted(value, gap) if gap else value)
        rows.append((COMPARED.get(key, key), *cells))
    best = scenario.benchmark
    rows.append(
        (
            blocks.noted("Optimal benchmark: correct selection", f"{best.participants} participants"),
            number(best.correct_selection),
            *[""] * (len(named) - 1),
        )
    )
    blocks.table(
        ("measure", *named),
        rows,
        f"Below each number: paired difference from {named[0]}; ~ not distinguished from none",
    )
    st.caption(
        "The optimal benchmark knows every participant's outcome under every regimen. It is a reference, not a bound."
    )
