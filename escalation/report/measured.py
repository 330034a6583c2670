"""Results as lines: every number with its name, its definition and its error, for pages, reports and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from escalation.characteristics import MEASURES, Characteristics, Distribution, Estimate
from escalation.report.charts.regimens import Shares
from escalation.report.charts.trials import Cause
from escalation.report.tables import number
from escalation.rule import Rule
from escalation.simulate import ScenarioResult, Simulation

RIGHT: Final = "Selection and allocation"
SIZE: Final = "Participants"
TIME: Final = "Time and accrual"
ENDED: Final = "Why escalation ended"

CLOCK: Final[dict[str, tuple[str, str, str]]] = {
    "treated": (SIZE, "Treated", "participants with a first infusion, evaluable or not, both stages"),
    "not_evaluable": (SIZE, "Not evaluable", "of those treated, who stopped counting for the decision"),
    "arrivals": (SIZE, "Came", "candidates who came while the trial ran"),
    "screen_failures": (SIZE, "Failed screening", "of those who came"),
    "turned_away": (SIZE, "Turned away", "refused because accrual was suspended"),
    "left_queue": (SIZE, "Left the queue", "gave up waiting for a place"),
    "mean_wait_days": (TIME, "Wait for a place, days", "from arrival to first infusion, mean over participants"),
    "suspended_days": (TIME, "Suspended accrual, days", "days on which nobody could be enrolled"),
    "suspended_share": (TIME, "Suspended share", "suspended days over the duration"),
    "suspended_for_outcomes_days": (TIME, "Suspended for outcomes, days", "the cohort is full and windows are open"),
    "suspended_for_review_days": (TIME, "Suspended for review, days", "the decision is under review"),
    "suspended_for_stagger_days": (TIME, "Suspended for stagger, days", "the interval between first infusions runs"),
}
"""What only a clock tells -> group, name and definition."""
EXPANSION: Final = {
    "patients": ("Expansion: participants", "evaluable participants of the expansion stage", 3),
    "dlts": ("Expansion: with a DLT", "participants of the expansion stage with a DLT", 3),
    "withdrawn": ("Expansion: withdrawn", "share of trials whose expansion stage withdrew the regimen", 4),
}
CAUSES: Final[dict[Cause, str]] = {
    "outcomes": "suspended_for_outcomes_days",
    "review": "suspended_for_review_days",
    "stagger": "suspended_for_stagger_days",
}
"""Causes of suspended accrual -> their numbers among the calendar's."""


@dataclass(frozen=True, slots=True)
class Line:
    """One number of a result.

    Attributes
    ----------
    group, name, definition
        Where it belongs, what it is called and what it means.
    key
        Its stable name, as in the JSON form.
    estimate
        The number with its error, None when exact.
    digits
        Decimals people read.
    """

    group: str
    key: str
    name: str
    definition: str
    estimate: Estimate
    digits: int


def lines(c: Characteristics, rule: Rule) -> Iterator[Line]:
    """Every number of a scenario that is not one per regimen."""
    for key, (name, definition) in MEASURES.items():
        if key in c.measures:
            yield Line(RIGHT, key, name, definition, c.measures[key], 4)
    yield Line(RIGHT, "no_selection", "Selects none", "share of trials without any selection", c.no_selection, 4)
    yield from _spread(SIZE, "total_patients", f"Evaluable participants ({c.stages})", c.total_patients)
    yield from _spread(SIZE, "total_dlts", "Participants with a DLT", c.total_dlts)
    for key, (name, definition, digits) in EXPANSION.items():
        if c.expansion:
            yield Line(SIZE, f"expansion.{key}", name, definition, c.expansion[key], digits)
    if c.duration_days is not None:
        yield from _spread(TIME, "duration_days", "Duration in days", c.duration_days)
    for key, (group, name, definition) in CLOCK.items():
        if key in c.calendar:
            yield Line(group, f"calendar.{key}", name, definition, c.calendar[key], 3)
    for code, estimate in c.stop_reasons.items():
        yield Line(ENDED, f"stop_reasons.{code}", rule.reason(code).line, code, estimate, 4)


def _spread(group: str, key: str, name: str, spread: Distribution) -> Iterator[Line]:
    yield Line(group, f"{key}.mean", f"{name}, mean", "mean over trials", spread.mean, 2)
    yield Line(group, f"{key}.sd", f"{name}, SD", "standard deviation over trials", spread.sd, 2)
    for q, estimate in spread.quantiles.items():
        said = "median" if q == 0.5 else f"{q:.0%} quantile".replace("%", " %")
        yield Line(group, f"{key}.quantiles.{q:g}", f"{name}, {said}", "quantile over trials", estimate, 1)


def shares(c: Characteristics) -> Shares:
    """Selection and allocation as the figures take them; allocation is the share of all participants of escalation."""
    whole = max(float(c.patients.sum()), 1e-12)
    errors = None if c.patients_mcse is None else np.asarray(c.patients_mcse) / whole
    return Shares(c.selection, c.patients / whole, c.no_selection.value, c.selection_mcse, errors)


def how(simulation: Simulation) -> str:
    """How the numbers were made, and what their error is: the line under every result."""
    if simulation.engine == "exact":
        return f"exact: no Monte Carlo error ({simulation.states:,} states)"
    return (
        f"{simulation.engine} engine, {simulation.trials:,} simulated trials a scenario, seed {simulation.seed}; "
        "Monte Carlo standard errors in parentheses"
    )


def suspended_by_cause(result: ScenarioResult) -> dict[Cause, Estimate]:
    """Mean days without enrolment by cause."""
    return {cause: result.characteristics.calendar[key] for cause, key in CAUSES.items()}


@dataclass(frozen=True, slots=True)
class Overview:
    """Every scenario in one row: what the columns are, and name and cells of each row."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def overview(simulation: Simulation) -> Overview:
    """The measures people look at first, scenario by scenario."""
    first = simulation.scenarios[0].characteristics
    keys = [
        key
        for key in ("correct_selection", "selection_above", "patients_above", "overdosing_60")
        if key in first.measures
    ]
    rows = []
    for result in simulation.scenarios:
        c = result.characteristics
        cells = [*(number(c.measures[key]) for key in keys), number(c.no_selection)]
        cells += [number(c.total_patients.mean, 2), number(c.total_dlts.mean, 2)]
        if c.duration_days is not None:
            cells.append(number(c.duration_days.mean, 1))
        rows.append((result.name, tuple(cells)))
    heads = [*(MEASURES[key][0] for key in keys), "Selects none", "Participants, mean", "With a DLT, mean"]
    heads += ["Duration in days, mean"] if first.duration_days is not None else []
    return Overview(tuple(heads), tuple(rows))
