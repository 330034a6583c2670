"""Visits after the first infusion: weekly, monthly, delayed reactions, DLT window, response, end of study.

Visits are planned in days from the first infusion, so one schedule serves every participant of a regimen; the
last infusion actually given moves only what counts from it. One attendance serves every purpose of its day. The
defaults are the readings of NCT07212335 that the project keeps as E5 (which weeks are monthly) and E6 (from
which infusion visits count).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from pydantic import Field

from escalation.conduct.windows import Limits, RecordedValueError, placeholder
from escalation.truth import Schedule, Window

Purpose = Literal[
    "weekly", "monthly", "delayed_reactions", "dlt_window_1", "dlt_window_2", "response_4", "response_8", "end_of_study"
]
VisitState = Literal["upcoming", "due", "late", "missed", "done", "done_early", "done_late"]

MONTHLY_WEEKS: dict[int, tuple[int, ...]] = {12: (12, 16, 20, 24), 9: (9, 13, 17, 21, 24)}
"""E5: the monthly visits from week 9 to week 24, by the week of the first one."""

_ADDED: dict[Purpose, str] = {
    "dlt_window_1": "W1 end",
    "dlt_window_2": "W2 end",
    "response_4": "response week 4",
    "response_8": "response week 8",
    "end_of_study": "end of study",
}
"""Names of visits that are no calendar visits."""


class VisitError(RecordedValueError):
    """A visit, or a last infusion, that contradicts the schedule."""


class VisitRules(Limits):
    """Which visits there are, from when they count, and how far from the plan they may be."""

    weekly_weeks: int = Field(default=8, ge=0, le=8, description="Weekly visits run to this week.")
    monthly: Literal[12, 9] = Field(
        default=12, description="E5: week of the first monthly visit; 12, 16, 20, 24 or 9, 13, 17, 21, 24."
    )
    clock: Literal["first", "last"] = Field(
        default="first", description="E6: whether calendar visits count from the first or the last infusion."
    )
    delayed_reaction_weeks: tuple[int, ...] = Field(default=(4, 8, 12, 24), description="Delayed reactions are sought.")
    response_days: tuple[int, int] = Field(default=(28, 56), description="Response, in days after the last infusion.")
    follow_up_weeks: int = Field(default=24, ge=1, description="Weeks from the last infusion to the end of study.")
    weekly_window: int = placeholder(2, "Days a weekly visit may be off its plan.", ge=0, le=3)
    monthly_window: int = placeholder(7, "Days a visit after the weekly ones may be off its plan.", ge=0, le=10)
    response_window: int = placeholder(3, "Days a response visit may be off its plan.", ge=0, le=6)
    window_end_early: int = placeholder(
        0, "Days the visit that closes the DLT window may come before its last day.", ge=0
    )
    missed_after: int = placeholder(2, "Days after a visit's window until it is missed.", ge=0)


DEFAULT_RULES = VisitRules()


@dataclass(frozen=True, slots=True)
class PlannedVisit:
    """A visit of the schedule, in days from the first infusion.

    Attributes
    ----------
    name
        Week of a calendar visit (``W5``), or what an added visit is for.
    day, opens, closes
        Planned day; first and last day within its window.
    purposes
        Everything the visit is for.
    calendar
        Whether it is a weekly or monthly visit; the others are added because no calendar visit falls on the day.
    """

    name: str
    day: int
    opens: int
    closes: int
    purposes: tuple[Purpose, ...]

    @property
    def calendar(self) -> bool:
        return "weekly" in self.purposes or "monthly" in self.purposes


def visit_schedule(
    schedule: Schedule,
    *,
    last_infusion: int | None = None,
    window: Window = Window(),  # noqa: B008  (frozen)
    rules: VisitRules = DEFAULT_RULES,
) -> tuple[PlannedVisit, ...]:
    """Every visit of a participant, in order of the days.

    Parameters
    ----------
    schedule
        Planned days of infusion.
    last_infusion
        Day of the last infusion when treatment is over; the planned one until then.
    window
        The protocol's DLT window. Its end always gets a visit; the end of the other one is marked where a visit
        falls on it.

    Examples
    --------
    >>> added = [visit for visit in visit_schedule((0, 7, 14, 21)) if not visit.calendar]
    >>> [(visit.name, visit.day) for visit in added]
    [('response week 8', 77), ('end of study', 189)]
    """
    last = schedule[-1] if last_infusion is None else last_infusion
    if last < 0:
        raise VisitError("last_infusion", last, "lies before the first infusion", "write its day, the first being 0")
    days = _days(schedule, last, window, rules)
    decides: Purpose = "dlt_window_1" if window.anchor == "first" else "dlt_window_2"
    beside: Purpose = "dlt_window_2" if window.anchor == "first" else "dlt_window_1"
    by_day: dict[int, list[Purpose]] = {}
    for purpose, wanted in days.items():
        for day in wanted:
            if purpose != beside or day in by_day:
                by_day.setdefault(day, []).append(purpose)
    start = 0 if rules.clock == "first" else last
    return tuple(_visit(day, tuple(by_day[day]), start, decides, rules) for day in sorted(by_day))


def _days(schedule: Schedule, last: int, window: Window, rules: VisitRules) -> dict[Purpose, tuple[int, ...]]:
    """Days of every purpose, calendar visits first, the end of the DLT window that does not decide last."""
    start = 0 if rules.clock == "first" else last

    def weeks(numbers: Iterable[int]) -> tuple[int, ...]:
        return tuple(start + 7 * number for number in numbers)

    ends: dict[Purpose, tuple[int, ...]] = {
        "dlt_window_1": (Window(days=window.days, anchor="first").end(schedule),),
        "dlt_window_2": (Window(days=window.days, anchor="last").end((max(schedule[-1], last),)),),
    }
    decides: Purpose = "dlt_window_1" if window.anchor == "first" else "dlt_window_2"
    return {
        "weekly": weeks(range(1, rules.weekly_weeks + 1)),
        "monthly": weeks(MONTHLY_WEEKS[rules.monthly]),
        "delayed_reactions": weeks(rules.delayed_reaction_weeks),
        decides: ends[decides],
        "response_4": (last + rules.response_days[0],),
        "response_8": (last + rules.response_days[1],),
        "end_of_study": (last + 7 * rules.follow_up_weeks,),
        **ends,
    }


def _visit(day: int, purposes: tuple[Purpose, ...], start: int, decides: Purpose, rules: VisitRules) -> PlannedVisit:
    """A visit with the narrowest window of its purposes."""
    usual = rules.weekly_window if day - start <= 7 * rules.weekly_weeks else rules.monthly_window
    width = min(usual, rules.response_window) if {"response_4", "response_8"} & set(purposes) else usual
    early = min(width, rules.window_end_early) if decides in purposes else width
    week, rest = divmod(day - start, 7)
    in_weeks = rest == 0 and any(each in ("weekly", "monthly", "delayed_reactions") for each in purposes)
    name = f"W{week}" if in_weeks else _ADDED[purposes[0]]
    return PlannedVisit(name, day, day - early, day + width, purposes)


# on a date --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VisitStatus:
    """A visit of a participant on a date.

    Attributes
    ----------
    state
        ``late`` once the window is over, ``missed`` when too late or recorded as missed.
    reason_required
        Whether the record still lacks the reason of a missed visit.
    """

    visit: PlannedVisit
    planned: date
    opens: date
    closes: date
    done_on: date | None
    state: VisitState
    reason_required: bool = False


def visit_status(
    visit: PlannedVisit,
    *,
    first: date,
    today: date,
    done_on: date | None = None,
    missed_because: str = "",
    rules: VisitRules = DEFAULT_RULES,
) -> VisitStatus:
    """What has become of a visit by today; ``first`` is the site's date of the first infusion."""
    for field, day in (("first", first), ("today", today), ("done_on", done_on)):
        if isinstance(day, datetime):
            raise VisitError(field, day, "is a moment, where a date of the site is needed", "give site_date of it")
    if done_on is not None:
        if missed_because.strip():
            raise VisitError(f"visit {visit.name}", done_on, "is recorded as done and as missed", "keep one of them")
        if not first <= done_on <= today:
            raise VisitError(
                f"visit {visit.name}",
                done_on,
                f"is not between the first infusion on {first.isoformat()} and today, {today.isoformat()}",
                "correct the date",
            )
    planned, opens, closes = (first + timedelta(days=day) for day in (visit.day, visit.opens, visit.closes))
    state: VisitState
    if done_on is not None:
        state = "done_early" if done_on < opens else "done_late" if done_on > closes else "done"
    elif missed_because.strip() or today > closes + timedelta(days=rules.missed_after):
        state = "missed"
    else:
        state = "upcoming" if today < opens else "due" if today <= closes else "late"
    return VisitStatus(visit, planned, opens, closes, done_on, state, state == "missed" and not missed_because.strip())


def visits_on(
    visits: Sequence[PlannedVisit],
    *,
    first: date,
    today: date,
    done: Mapping[str, date] | None = None,
    missed: Mapping[str, str] | None = None,
    rules: VisitRules = DEFAULT_RULES,
) -> tuple[VisitStatus, ...]:
    """Every visit on a date; ``done`` and ``missed`` hold what is recorded, by name.

    An added visit whose day has become another visit's since it was recorded is refused by its name.
    """
    done, missed = done or {}, missed or {}
    unknown = sorted({*done, *missed} - {visit.name for visit in visits})
    if unknown:
        raise VisitError(
            "visit", unknown[0], "is not in the schedule", f"use one of {', '.join(visit.name for visit in visits)}"
        )
    return tuple(
        visit_status(
            visit,
            first=first,
            today=today,
            done_on=done.get(visit.name),
            missed_because=missed.get(visit.name, ""),
            rules=rules,
        )
        for visit in visits
    )


def required_visits(visits: Iterable[VisitStatus], last_day: int) -> tuple[VisitStatus, ...]:
    """The visits that a complete DLT window needs: calendar visits and window ends planned by its last day."""
    return tuple(
        each
        for each in visits
        if each.visit.day <= last_day
        and (each.visit.calendar or "dlt_window_1" in each.visit.purposes or "dlt_window_2" in each.visit.purposes)
    )


def visits_lacking(visits: Iterable[VisitStatus]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the visits missed, and of those neither done nor missed yet."""
    listed = tuple(visits)
    return (
        tuple(each.visit.name for each in listed if each.state == "missed"),
        tuple(each.visit.name for each in listed if each.state in ("upcoming", "due", "late")),
    )
