"""Infusions as planned and as given: timing, dose, product, administration, and who is evaluable.

Findings come before an infusion is started or recorded. One that blocks cannot be overridden; a warning is
admitted with a reason and becomes a deviation. Planned dates count from the first infusion and do not move when
an infusion is late; a missed infusion is not made up.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from escalation.conduct.windows import Limits, Phase, RecordedValueError, hours_between, placeholder, site_date
from escalation.protocol import Evaluability
from escalation.truth import Schedule

Timing = Literal["upcoming", "due", "overdue", "on_time", "early", "delayed", "missed", "too_early"]
Adjudication = Literal["none", "pending", "dlt", "not_dlt"]
Verdict = Literal["dlt", "complete", "pending", "not_evaluable"]

_ROUNDING = 1e-9  # so that 10 % above and below the plan are still within 10 %


class InfusionError(RecordedValueError):
    """An infusion that cannot be recorded or must not be given."""


class InfusionRules(Limits):
    """Limits on timing, dose, product and administration of an infusion."""

    window_days: int = placeholder(2, "On time within this many days of the plan.", ge=0)
    missed_after_days: int = placeholder(7, "Later than this it is missed and not made up.", ge=0)
    spacing_days: int = placeholder(5, "Least days between two infusions, where the plan has no less.", ge=1)
    counted: tuple[Timing, ...] = placeholder(
        ("on_time", "delayed"), "Timings at which an infusion counts as received for evaluability."
    )
    tolerance_percent: float = placeholder(10.0, "Allowed departure of cells/kg from the plan.", ge=0)
    viability_percent: float = Field(default=85, gt=0, le=100, description="Least viability of a lot.")
    premedication_minutes: float = placeholder(25.0, "Least time from premedication to the start.", ge=0)
    shortest_minutes: float = Field(default=30, gt=0, description="Shortest duration of an infusion.")
    longest_minutes: float = Field(default=60, gt=0, description="Longest duration of an infusion.")
    hold_reaction_grade: int = placeholder(2, "An unresolved infusion reaction of this grade holds.", ge=1, le=5)
    spo2_percent: float = placeholder(95.0, "Oxygen saturation below this holds.", ge=0, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> InfusionRules:
        if self.missed_after_days < self.window_days:
            raise ValueError(
                f"missed_after_days {self.missed_after_days} lies before the end of the window of "
                f"{self.window_days} days; make it {self.window_days} or more"
            )
        if self.longest_minutes < self.shortest_minutes:
            raise ValueError(f"longest_minutes {self.longest_minutes:g} is below shortest_minutes; raise it")
        return self


DEFAULT_RULES = InfusionRules()


# timing -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InfusionStatus:
    """One planned infusion on a day: its dates, what became of it, and how far from the plan.

    Attributes
    ----------
    planned, opens, closes, last_date
        Planned date; first and last date on time; last date on which it may still be given.
    timing
        Before it is given ``upcoming``, ``due`` or ``overdue``, or ``missed``; afterwards ``on_time``,
        ``early`` or ``delayed``, ``too_early`` after the previous one, or ``missed`` when past its last date.
    off_by, spacing
        Days after the plan, and since the previous infusion given.
    least_spacing
        Least days since the previous infusion: those of the rules, or of the plan where it has fewer.
    """

    number: int
    day: int
    planned: date
    opens: date
    closes: date
    last_date: date
    given_on: date | None
    timing: Timing
    off_by: int | None
    spacing: int | None
    least_spacing: int

    @property
    def refused(self) -> bool:
        """Whether giving it on this day is against the protocol whatever the reason."""
        return self.given_on is not None and self.timing in ("too_early", "missed")


def infusion_course(
    schedule: Schedule,
    given: Mapping[int, datetime],
    *,
    zone: ZoneInfo,
    today: date,
    first_planned: date | None = None,
    missed: Collection[int] = (),
    rules: InfusionRules = DEFAULT_RULES,
) -> tuple[InfusionStatus, ...]:
    """Every planned infusion of a participant on a day; ``given`` holds starts by number, counted from 1.

    To ask whether infusion 3 may start now, add it to ``given`` and read its timing.
    """
    today = site_date(today, zone, "today")
    _consistent(schedule, given, missed, zone, today)
    first = site_date(given[1], zone) if 1 in given else first_planned
    if first is None:
        raise InfusionError("infusion 1", None, "is given or planned, so there are no dates", "set its planned date")
    rows, previous, least = list[InfusionStatus](), None, rules.spacing_days
    for number, day in enumerate(schedule, 1):
        on = site_date(given[number], zone) if number in given else None
        if number > 1:
            least = min(rules.spacing_days, day - schedule[number - 2])
        reached = site_date(today, zone, "today")
        rows.append(_status(number, day, first, on, previous, least, number in missed, reached, rules))
        previous = on or previous
    return tuple(rows)


def _consistent(
    schedule: Schedule, given: Mapping[int, datetime], missed: Collection[int], zone: ZoneInfo, today: date
) -> None:
    for number in sorted({*given, *missed}):
        if not 1 <= number <= len(schedule):
            raise InfusionError(
                "infusion", number, f"is not planned: the regimen has {len(schedule)}", "correct the number"
            )
        if number in given and number in missed:
            raise InfusionError(f"infusion {number}", given[number], "is recorded as given and as missed", "keep one")
    if 1 not in given and (given or missed):
        raise InfusionError("infusion 1", None, "is given, but a later one is recorded", "record the first one first")
    before: tuple[int, datetime] | None = None
    for number in sorted(given):
        start = given[number]
        if site_date(start, zone, f"infusion {number}") > today:
            raise InfusionError(
                f"infusion {number}", start, f"lies after today, {today.isoformat()}", "correct the date-time"
            )
        if before is not None and hours_between(before[1], start) <= 0:
            raise InfusionError(
                f"infusion {number}", start, f"does not follow infusion {before[0]}", "correct numbers or date-times"
            )
        before = number, start


def _status(
    number: int,
    day: int,
    first: date,
    on: date | None,
    previous: date | None,
    least_spacing: int,
    missed: bool,
    today: date,
    rules: InfusionRules,
) -> InfusionStatus:
    planned = first + timedelta(days=day)
    window = timedelta(days=rules.window_days if number > 1 else 0)
    opens, closes, last = planned - window, planned + window, planned + timedelta(days=rules.missed_after_days)
    if previous is not None:
        opens = max(opens, previous + timedelta(days=least_spacing))
    spacing = None if on is None or previous is None else (on - previous).days
    timing: Timing
    if on is None:
        reached: Timing = "overdue" if today > closes else "due" if today >= opens else "upcoming"
        timing = "missed" if missed or (number > 1 and today > last) else reached
    elif spacing is not None and spacing < least_spacing:
        timing = "too_early"
    elif on > last:
        timing = "missed"
    else:
        timing = "delayed" if on > closes else "early" if on < planned - window else "on_time"
    off_by = None if on is None else (on - planned).days
    return InfusionStatus(number, day, planned, opens, closes, last, on, timing, off_by, spacing, least_spacing)


def infusions_counted(course: Iterable[InfusionStatus], rules: InfusionRules = DEFAULT_RULES) -> int:
    """Number of infusions that count as received for evaluability."""
    return sum(each.given_on is not None and each.timing in rules.counted for each in course)


# findings ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """Something against the rules: blocking ones stand, warnings are admitted with a reason."""

    code: str
    blocking: bool
    message: str


def timing_findings(status: InfusionStatus, rules: InfusionRules = DEFAULT_RULES) -> tuple[Finding, ...]:
    """What is wrong with the day of an infusion."""
    name = f"infusion {status.number}"
    if status.given_on is None or status.timing == "on_time":
        return ()
    if status.timing == "too_early":
        text = f"{name}: {status.spacing} days after the previous one, at least {status.least_spacing} are required"
        return (Finding("timing.spacing", True, text + f"; give it from {status.opens.isoformat()} on"),)
    text = (
        f"{name}: {abs(status.off_by or 0)} days {'before' if (status.off_by or 0) < 0 else 'after'} its planned date"
    )
    if status.timing == "missed":
        text += f", past the limit of {rules.missed_after_days}; it is missed and not made up"
        return (Finding("timing.missed", True, text),)
    return (
        Finding(f"timing.{status.timing}", False, f"{text}, outside the {rules.window_days} allowed; give the reason"),
    )


def product_findings(
    *, viability_percent: float | None, release_certificate: str, lot: str, rules: InfusionRules = DEFAULT_RULES
) -> tuple[Finding, ...]:
    """What is wrong with the product; every one blocks and none can be overridden."""
    found: list[Finding] = []
    if not lot.strip():
        found.append(Finding("product.lot", True, "lot: not given; record the lot from the label"))
    if not release_certificate.strip():
        found.append(Finding("product.release", True, "release certificate: missing; an unreleased lot is not infused"))
    if viability_percent is None:
        found.append(Finding("product.viability", True, "viability: not recorded; record the measured percentage"))
    elif not 0 <= viability_percent <= 100:
        raise InfusionError("viability_percent", viability_percent, "is no percentage", "write it from 0 to 100")
    elif viability_percent < rules.viability_percent:
        text = f"viability: {viability_percent:g} % is below {rules.viability_percent:g} %; use another lot"
        found.append(Finding("product.viability", True, text))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class DoseGiven:
    """Cells per kilogram as given beside the plan, in 10^6/kg."""

    per_kg: float
    planned_per_kg: float

    @property
    def percent(self) -> float:
        """Share of the planned cells/kg, in per cent."""
        return 100 * self.per_kg / self.planned_per_kg


def dose_given(*, cells_million: float, weight_kg: float, planned_per_kg: float) -> DoseGiven:
    """Actual cells/kg from the cells infused and the body weight used.

    Examples
    --------
    >>> dose_given(cells_million=117, weight_kg=65, planned_per_kg=2).percent
    90.0
    """
    if not 0 <= cells_million < math.inf:
        raise InfusionError("cells_million", cells_million, "is not a possible amount", "write the cells infused")
    for field, value in (("weight_kg", weight_kg), ("planned_per_kg", planned_per_kg)):
        if not 0 < value < math.inf:
            raise InfusionError(field, value, "is not a positive amount", "write the value measured or planned")
    return DoseGiven(cells_million / weight_kg, planned_per_kg)


def dose_findings(dose: DoseGiven, rules: InfusionRules = DEFAULT_RULES) -> tuple[Finding, ...]:
    """Whether the cells/kg are within the tolerance of the plan, both limits included."""
    if abs(dose.percent - 100) <= rules.tolerance_percent + _ROUNDING:
        return ()
    text = (
        f"dose: {dose.per_kg:.3g} x 10^6/kg is {dose.percent:.1f} % of the planned {dose.planned_per_kg:g}, "
        f"outside 100 ± {rules.tolerance_percent:g} %; give the reason"
    )
    return (Finding("dose.tolerance", False, text),)


def administration_findings(
    *,
    started_at: datetime,
    ended_at: datetime | None = None,
    premedication_at: datetime | None,
    operator: str,
    verifier: str,
    rules: InfusionRules = DEFAULT_RULES,
) -> tuple[Finding, ...]:
    """What is wrong with premedication, duration and the two people; an end not yet known is not judged."""
    found: list[Finding] = []
    people = [" ".join(unicodedata.normalize("NFKC", name).casefold().split()) for name in (operator, verifier)]
    if not all(people) or people[0] == people[1]:
        text = f"operator {operator!r} and verifier {verifier!r} are not two people; a second person verifies"
        found.append(Finding("people.two", True, text))
    if premedication_at is None:
        found.append(Finding("premedication.missing", False, "premedication: not recorded; give the reason"))
    elif (before := 60 * hours_between(premedication_at, started_at)) < rules.premedication_minutes - _ROUNDING:
        text = f"premedication: {before:.0f} min before the start, at least {rules.premedication_minutes:g} required"
        found.append(Finding("premedication.late", False, f"{text}; give the reason"))
    if ended_at is not None:
        minutes = 60 * hours_between(started_at, ended_at)
        if minutes <= 0:
            raise InfusionError("ended_at", ended_at, "is not after the start", "correct start or end")
        if not rules.shortest_minutes - _ROUNDING <= minutes <= rules.longest_minutes + _ROUNDING:
            text = f"duration: {minutes:.0f} min is outside {rules.shortest_minutes:g} to {rules.longest_minutes:g}"
            found.append(Finding("duration.outside", False, f"{text}; give the reason"))
    return tuple(found)


def hold_findings(
    *,
    dlt: bool = False,
    unresolved_reaction_grade: int = 0,
    thrombosis: bool = False,
    uncontrolled_infection: bool = False,
    spo2_percent: float | None = None,
    rules: InfusionRules = DEFAULT_RULES,
) -> tuple[Finding, ...]:
    """What holds the next infusion; a DLT, proposed or confirmed, stops treatment."""
    low = spo2_percent is not None and spo2_percent < rules.spo2_percent
    held = {
        "hold.dlt": (dlt, "a DLT, proposed or confirmed, stops treatment"),
        "hold.reaction": (
            unresolved_reaction_grade >= rules.hold_reaction_grade,
            f"infusion reaction of grade {unresolved_reaction_grade} not resolved; wait until it is",
        ),
        "hold.thrombosis": (thrombosis, "thrombosis; hold treatment"),
        "hold.infection": (uncontrolled_infection, "active uncontrolled infection; wait until it is controlled"),
        "hold.spo2": (low, f"SpO2 {spo2_percent} % is below {rules.spo2_percent:g} %; wait and measure again"),
    }
    return tuple(Finding(code, True, text) for code, (stands, text) in held.items() if stands)


def admit(findings: Sequence[Finding], reasons: Mapping[str, str] = MappingProxyType({})) -> tuple[Finding, ...]:
    """The warnings admitted with a reason, by code; raises InfusionError on a blocking or unexplained finding."""
    for finding in findings:
        if finding.blocking:
            raise InfusionError("infusion", finding.code, f"blocks it: {finding.message}", "this cannot be overridden")
    for finding in findings:
        if not reasons.get(finding.code, "").strip():
            raise InfusionError("infusion", finding.code, f"needs a reason: {finding.message}", "record why")
    return tuple(findings)


# evaluability -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EvaluabilityVerdict:
    """Whether a participant counts for the decision, and why; counts of infusions as the dose stream shows them."""

    verdict: Verdict
    received: int
    planned: int
    reasons: tuple[str, ...]


def evaluability(
    *,
    planned: int,
    received: int,
    phase: Phase,
    adjudication: Adjudication = "none",
    died_in_window: bool = False,
    left_in_window: bool = False,
    visits_missed: Collection[str] = (),
    visits_open: Collection[str] = (),
    rule: Evaluability = Evaluability(),  # noqa: B008  (frozen)
) -> EvaluabilityVerdict:
    """Who counts: a DLT always; otherwise enough infusions and a complete window with its required visits.

    A proposed DLT is pending, never negative. A death in the window is decided by adjudication, not by default.
    Missed infusions cost evaluability only when the window ends, because a DLT until then still counts.
    """

    def say(verdict: Verdict, *reasons: str) -> EvaluabilityVerdict:
        return EvaluabilityVerdict(verdict, received, planned, reasons)

    if not 0 <= received <= planned:
        raise InfusionError("received", received, f"is not between 0 and the {planned} planned", "count again")
    if adjudication == "dlt":
        return say("dlt", "a DLT in the window always counts")
    if adjudication == "pending":
        return say("pending", "a proposed DLT awaits adjudication")
    if died_in_window and adjudication == "none":
        return say("pending", "death in the window awaits adjudication")
    if died_in_window or left_in_window:
        return say("not_evaluable", "died" if died_in_window else "left the study", "window not completed")
    short = received < rule.minimum_infusions * planned - _ROUNDING
    too_few = f"{received} of {planned} infusions received, {rule.minimum_infusions:.0%} required"
    if phase != "complete":
        foreseen = (f"without a DLT not evaluable: {too_few}",) if short and phase == "open" else ()
        return say("pending", "DLT window not complete", *foreseen)
    lacking = ((too_few,) if short else ()) + tuple(f"visit {name} missed" for name in visits_missed)
    if lacking:
        return say("not_evaluable", *lacking)
    if visits_open:
        return say("pending", *(f"visit {name} not yet recorded" for name in visits_open))
    return say("complete", "DLT window complete without a DLT")
