"""The results of a simulation: all scenarios at a glance, one in full, single trials, and files to take away."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import streamlit as st

from escalation.characteristics import Characteristics, Estimate
from escalation.report.charts.regimens import heat_map, selection_and_allocation
from escalation.report.charts.style import Drawn
from escalation.report.charts.times import distribution, spreads, suspended_days
from escalation.report.document import simulation_report
from escalation.report.frames import records_archive
from escalation.report.measured import ENDED, RIGHT, SIZE, TIME, how, lines, overview, shares, suspended_by_cause
from escalation.report.tables import number
from escalation.simulate import ScenarioResult, Simulation, judgement_of
from escalation.study import Study
from escalation.ui import blocks, command_lines, one_trial
from escalation.ui.downloads import Files, offer


def show(key: str, request: dict[str, Any], simulation: Simulation) -> None:
    """The results of a finished run."""
    study = simulation.study
    for note in simulation.notes:
        st.info(note)
    figures = _all_scenarios(simulation)
    st.subheader("One scenario", anchor=False)
    names = [result.name for result in simulation.scenarios]
    name = st.pills(
        "Scenario", names, default=names[0], required=True, key=f"scenario:{key}", persist_state="session", wrap=True
    )
    result = simulation.scenarios[names.index(name or names[0])]
    figures |= _scenario(result, simulation)
    if simulation.engine == "calendar":
        st.subheader("One simulated trial", anchor=False)
        one_trial.show(key, result, simulation)
    else:
        st.caption("Single trials, durations and waiting need the clock: simulate on a calendar to see them.")
    command = command_lines.simulate_command(request, study)
    report = command_lines.simulate_command(request, study, command="report", more=("--out", "report.html"))
    files = Files(
        name=f"{study.id}-{simulation.engine}",
        result=simulation,
        report=lambda day: simulation_report(simulation, command=report, made=day),
        records=(lambda: records_archive(simulation)) if simulation.engine != "exact" else None,
        studies={f"{study.id}.yaml": request["studies"][0]},
        figures=figures,
    )
    offer(key, files)
    command_lines.shown(command, report)
    blocks.trace(study, how(simulation))


def _all_scenarios(simulation: Simulation) -> dict[str, Drawn]:
    """Every scenario in a row, and their durations side by side."""
    told = overview(simulation)
    blocks.table(("scenario", *told.heads), [(name, *cells) for name, cells in told.rows])
    if simulation.engine != "calendar":
        return {}
    timed = {
        result.name: result.characteristics.duration_days
        for result in simulation.scenarios
        if result.characteristics.duration_days is not None
    }
    held = {result.name: suspended_by_cause(result) for result in simulation.scenarios}
    long, waiting = spreads(timed, "duration in days"), suspended_days(held)
    left, right = st.columns(2)
    with left:
        st.markdown("**How long the trial takes**")
        st.altair_chart(long, alt="Duration by scenario: 5 % to 95 % quantile, middle half and median")
    with right:
        st.markdown("**Days on which nobody can be enrolled**")
        st.altair_chart(waiting, alt="Mean days without enrolment by scenario, for outcomes, review and stagger")
    return {"durations": long, "suspended accrual": waiting}


# one scenario ---------------------------------------------------------------------------------------


def _scenario(result: ScenarioResult, simulation: Simulation) -> dict[str, Drawn]:
    study, c = simulation.study, result.characteristics
    description = study.scenario(result.name).description
    if description:
        st.caption(blocks.plain(description))
    blocks.cards(_headline(c))
    figures = _regimens(study, result)
    clock = result.rows.calendar
    if clock is not None and c.duration_days is not None:
        chart = distribution(clock.duration_days, c.duration_days, "duration in days", height=240)
        said = ", ".join(f"{q:.0%} {estimate.value:g}" for q, estimate in c.duration_days.quantiles.items())
        st.markdown("**Duration of the trial**, first enrolment to last decision")
        st.altair_chart(chart, alt=f"Distribution of the duration in days; quantiles: {said}")
        figures[f"duration {result.name}"] = chart
    _tables(study, result)
    return figures


def _headline(c: Characteristics) -> list[tuple[str, str, str]]:
    note = "exact" if c.exact else "standard error in parentheses"
    shown = [
        ("Correct selection", _percent(c.measures["correct_selection"]), note),
        ("Selects none", _percent(c.no_selection), note),
        ("Participants, mean", number(c.total_patients.mean, 1), f"at most {c.total_patients.maximum:g}"),
        ("With a DLT, mean", number(c.total_dlts.mean, 2), note),
    ]
    if c.duration_days is not None:
        days = c.duration_days
        low, high = days.quantiles[0.05].value, days.quantiles[0.95].value
        shown += [
            ("Duration, mean days", number(days.mean, 0), f"9 of 10 trials: {low:g} to {high:g}"),
            ("Accrual suspended", _percent(c.calendar["suspended_share"]), "of the duration"),
            ("Wait for a place, days", number(c.calendar["mean_wait_days"], 1), "mean over participants"),
            ("Treated, mean", number(c.calendar["treated"], 2), "evaluable or not"),
            ("Not evaluable, mean", number(c.calendar["not_evaluable"], 2), "of those treated"),
            ("Turned away, mean", number(c.calendar["turned_away"], 2), "while accrual was suspended"),
        ]
    return shown


def _percent(estimate: Estimate) -> str:
    error = "" if estimate.mcse is None else f" ({100 * estimate.mcse:.1f})"
    return f"{100 * estimate.value:.1f}{error} %"


def _regimens(study: Study, result: ScenarioResult) -> dict[str, Drawn]:
    """Selection and allocation: bars on one axis, maps with the contour on the grid."""
    grid, c, bars = study.protocol.grid, result.characteristics, shares(result.characteristics)
    if grid.axis != "grid":
        chart = selection_and_allocation(grid, bars, c.true_mtd, height=260)
        said = ", ".join(f"{grid.label(k)} {c.selection[k]:.1%}" for k in range(grid.size))
        st.altair_chart(chart, alt=f"Selected: {said}, none {c.no_selection.value:.1%}")
        return {f"selection {result.name}": chart}
    safe = ~judgement_of(study).above(result.truth)
    figures: dict[str, Drawn] = {}
    for where, (title, values) in zip(
        st.columns(3),
        (("Assumed DLT", result.truth), ("Selected", c.selection), ("Participants", bars.allocation)),
        strict=True,
    ):
        chart = heat_map(grid, values, title, marked=c.true_mtd, contour=safe, height=220)
        with where:
            st.altair_chart(chart, alt=f"{title} by dose and frequency level")
        figures[f"{title.lower()} {result.name}"] = chart
    st.caption("★ true MTD; the line is the edge of what is not above the target.")
    return figures


def _tables(study: Study, result: ScenarioResult) -> None:
    """Every number of the scenario, folded by group; why escalation ended stays open."""
    grid, c, rule = study.protocol.grid, result.characteristics, study.protocol.rule

    def cell(values: Any, errors: Any, k: int, digits: int) -> str:
        return number(Estimate(float(values[k]), None if errors is None else float(errors[k])), digits)

    with st.expander("Regimen by regimen"):
        rows = [
            (
                f"{grid.level(k)} {grid.label(k)}{' ★' if c.true_mtd[k] else ''}",
                f"{result.truth[k]:.4g}",
                cell(c.selection, c.selection_mcse, k, 4),
                cell(c.patients, c.patients_mcse, k, 3),
                *(() if c.backfill is None else (cell(c.backfill, c.backfill_mcse, k, 3),)),
                cell(c.dlts, c.dlts_mcse, k, 3),
            )
            for k in range(grid.size)
        ]
        backfilled = () if c.backfill is None else ("of them backfilled",)
        rows.append(("none", "", number(c.no_selection), *("" for _ in backfilled), "", ""))
        blocks.table(("regimen", "true DLT", "selected", "participants", *backfilled, "with a DLT"), rows)
    listed = sorted(lines(c, rule), key=lambda line: _ORDER.index(line.group))
    for group, found in groupby(listed, key=lambda line: line.group):
        with st.expander(group, expanded=group == ENDED):
            blocks.table(
                ("measure", "value"),
                [(blocks.noted(line.name, line.definition), number(line.estimate, line.digits)) for line in found],
            )


_ORDER = (ENDED, RIGHT, SIZE, TIME)
