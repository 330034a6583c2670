"""Safety clocks and grade histories: when a report is due, how an event changed, when a DLT is to be adjudicated.

Clocks run on instants or on the site's calendar dates; nothing here reads the time. A proposal never decides:
the participant is pending until the committee has adjudicated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import Field

from escalation.conduct.records import Attribution
from escalation.conduct.windows import (
    DateSpan,
    DltWindow,
    Limits,
    OnsetPlace,
    RecordedValueError,
    hours_between,
    instant,
    site_date,
)

_Named = Literal["infusion_reaction", "thromboembolism", "pulmonary_embolism", "arterial", "cytokine", "acute_gvhd"]
Category = _Named | Literal["haematologic", "transient", "alopecia", "relapse", "other"]
"""Kinds of event that triggers tell apart; ``cytokine`` is CRS, ICANS or HLH, ``transient`` fever, nausea,
vomiting, fatigue or a change of electrolytes."""

ATTRIBUTIONS: tuple[Attribution, ...] = get_args(Attribution)
"""The five levels of relatedness, weakest first."""


class SafetyError(RecordedValueError):
    """A grade, an attribution or a report that contradicts what is recorded."""


# clocks -----------------------------------------------------------------------------------------


class ReportingRules(Limits):
    """Time limits of safety reports; expedited reports after China CDE and ICH E2A."""

    serious_hours: float = Field(default=24, gt=0, description="Serious event to the sponsor, from awareness.")
    fatal_days: int = Field(default=7, ge=1, description="Fatal or life-threatening SUSAR, first report.")
    fatal_follow_up_days: int = Field(default=8, ge=1, description="Further days for its follow-up report.")
    other_days: int = Field(default=15, ge=1, description="Any other SUSAR.")


DEFAULT_RULES = ReportingRules()


@dataclass(frozen=True, slots=True)
class HourClock:
    """A report due at an instant; ``hours_left`` is what was left when it was sent, negative when late."""

    due: datetime
    sent_at: datetime | None
    hours_left: float

    @property
    def late(self) -> bool:
        """Whether the limit is passed, by the report or by now; the limit itself is in time."""
        return self.hours_left < 0


@dataclass(frozen=True, slots=True)
class DayClock:
    """A report due by the end of a calendar day; ``days_left`` as for the hours."""

    name: str
    due: date
    sent_on: date | None
    days_left: int

    @property
    def late(self) -> bool:
        """Whether the last day is over, for the report or today."""
        return self.days_left < 0


def serious_event_clock(
    aware_at: datetime,
    *,
    now: datetime,
    zone: ZoneInfo,
    sent_at: datetime | None = None,
    rules: ReportingRules = DEFAULT_RULES,
) -> HourClock:
    """The 24 hours from awareness of a serious event, true hours across daylight saving; due shown at the site."""
    _not_before("now", now, "aware_at", aware_at)
    if sent_at is not None:
        _not_before("sent_at", sent_at, "aware_at", aware_at)
        _not_before("now", now, "sent_at", sent_at)
    due = instant(aware_at, "aware_at") + timedelta(hours=rules.serious_hours)
    return HourClock(due.astimezone(zone), sent_at, hours_between(now if sent_at is None else sent_at, due))


def susar_clocks(
    aware_at: datetime,
    *,
    fatal_or_life_threatening: bool,
    today: date,
    zone: ZoneInfo,
    sent_on: date | None = None,
    followed_up_on: date | None = None,
    rules: ReportingRules = DEFAULT_RULES,
) -> tuple[DayClock, ...]:
    """Clocks of a suspected unexpected serious adverse reaction, in calendar days after the day of awareness.

    Fatal or life-threatening: 7 days and 8 more for the follow-up. Any other: 15 days.
    """
    day_zero, today = site_date(aware_at, zone, "aware_at"), site_date(today, zone, "today")
    limits = [("report", rules.other_days, sent_on)]
    if fatal_or_life_threatening:
        further = rules.fatal_days + rules.fatal_follow_up_days
        limits = [("first report", rules.fatal_days, sent_on), ("follow-up report", further, followed_up_on)]
    clocks = []
    for name, days, sent in limits:
        if sent is not None and not day_zero <= sent <= today:
            raise SafetyError(
                name, sent, f"is not between awareness on {day_zero.isoformat()} and today", "correct the date"
            )
        due = day_zero + timedelta(days=days)
        clocks.append(DayClock(name, due, sent, (due - (sent or today)).days))
    return tuple(clocks)


def _not_before(field: str, moment: datetime, earlier: str, than: datetime) -> None:
    if instant(moment, field) < instant(than, earlier):
        raise SafetyError(field, moment, f"lies before {earlier}, {than.isoformat()}", "correct one of the two")


# relatedness ------------------------------------------------------------------------------------


def related(attribution: str, least: Attribution = "possible") -> bool:
    """Whether an event counts as related: at least possibly, unless another level is asked for.

    Examples
    --------
    >>> [level for level in ATTRIBUTIONS if related(level)]
    ['possible', 'probable', 'definite']
    """
    if attribution not in ATTRIBUTIONS:
        raise SafetyError("attribution", attribution, "is no level", f"use one of {', '.join(ATTRIBUTIONS)}")
    return ATTRIBUTIONS.index(attribution) >= ATTRIBUTIONS.index(least)


def is_susar(*, serious: bool, attribution: str, expected: bool) -> bool:
    """Whether an event is a suspected unexpected serious adverse reaction."""
    return related(attribution) and serious and not expected


@dataclass(frozen=True, slots=True)
class SinceInfusion:
    """Hours from the last infusion to an onset; a range when only the date of onset is known."""

    number: int
    least: float
    most: float


def since_infusion(onset: date | DateSpan, infusions: Mapping[int, datetime], zone: ZoneInfo) -> SinceInfusion | None:
    """The last infusion that may precede an onset, and the hours since; None before it or without a day.

    An onset on the day of an infusion is counted from that infusion.
    """
    if isinstance(onset, DateSpan):
        if onset.precision != "day" or onset.earliest is None:
            return None
        onset = onset.earliest
    if isinstance(onset, datetime):
        begins = ends = instant(onset, "onset")
    else:
        midnight = datetime(onset.year, onset.month, onset.day, tzinfo=zone)
        begins, ends = instant(midnight), instant(midnight + timedelta(days=1))
    starts = {number: instant(start, f"infusion {number}") for number, start in infusions.items()}
    before = {number: start for number, start in starts.items() if start <= begins or start < ends}
    if not before:
        return None
    number = max(before, key=before.__getitem__)
    return SinceInfusion(number, max(0.0, hours_between(before[number], begins)), hours_between(before[number], ends))


# grades -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GradeChange:
    """A grade and the date from which it holds."""

    grade: int
    on: date


@dataclass(frozen=True, slots=True)
class GradeHistory:
    """An adverse event from onset to end: its CTCAE grade at onset and every change, each with its date.

    Examples
    --------
    >>> history = GradeHistory(DateSpan.read("2025-03"), 2).regraded(3, date(2025, 3, 20))
    >>> history.grade_on(date(2025, 3, 19)), history.current, history.worst
    (2, 3, 3)
    """

    onset: DateSpan
    grade: int
    changes: tuple[GradeChange, ...] = ()
    ended: DateSpan | None = None

    def __post_init__(self) -> None:
        _ctcae(self.grade)
        before, since = self.grade, self.onset.earliest
        for change in self.changes:
            _ctcae(change.grade)
            if before == 5:
                raise SafetyError("grade", change.grade, "follows grade 5, death", "correct the earlier grade")
            if since is not None and change.on < since:
                raise SafetyError(
                    "on", change.on, f"lies before the onset or an earlier change, {since.isoformat()}", "correct it"
                )
            if change.grade == before:
                raise SafetyError(
                    "grade", change.grade, f"is no change on {change.on.isoformat()}", "record changes only"
                )
            before, since = change.grade, change.on
        end = self.ended.latest if self.ended is not None else None
        if self.ended is not None and end is not None and since is not None and end < since:
            raise SafetyError(
                "ended", self.ended.text, f"lies before the onset or the last change, {since.isoformat()}", "correct it"
            )

    def regraded(self, grade: int, on: date) -> GradeHistory:
        """The history with one more change, put in the order of its date; nothing is replaced."""
        return replace(self, changes=tuple(sorted((*self.changes, GradeChange(grade, on)), key=lambda each: each.on)))

    @property
    def current(self) -> int:
        """The latest grade recorded."""
        return self.changes[-1].grade if self.changes else self.grade

    @property
    def worst(self) -> int:
        """The highest grade recorded."""
        return max([self.grade, *(change.grade for change in self.changes)])

    def grade_on(self, day: date) -> int | None:
        """The grade on a date, None certainly before the onset or after the end."""
        if self.onset.earliest is not None and day < self.onset.earliest:
            return None
        if self.ended is not None and self.ended.latest is not None and day > self.ended.latest:
            return None
        return next((change.grade for change in reversed(self.changes) if change.on <= day), self.grade)

    def rows(self) -> tuple[tuple[int, str, str], ...]:
        """One row for each grade: the grade, from when, and until when (empty while it lasts)."""
        starts = [(self.grade, self.onset.text), *((each.grade, each.on.isoformat()) for each in self.changes)]
        end = self.ended.text if self.ended is not None else ""
        closed = [(grade, start, after) for (grade, start), (_, after) in pairwise(starts)]
        return (*closed, (*starts[-1], end))


def _ctcae(grade: int) -> None:
    if type(grade) is not int or not 1 <= grade <= 5:
        raise SafetyError(
            "grade", grade, "is no CTCAE grade", "use 1 to 5; an event that is over gets an end date, not grade 0"
        )


def refuse_future(history: GradeHistory, today: date) -> None:
    """Raise when an onset, a change or an end certainly lies after today."""
    history.onset.not_after(today)
    for change in history.changes:
        DateSpan.of(change.on).not_after(today, "on")
    if history.ended is not None:
        history.ended.not_after(today, "ended")


# proposals of adjudication ----------------------------------------------------------------------


class Trigger(Limits):
    """What makes an adverse event one to adjudicate: every condition given must hold.

    What is not known does not silence it: an event that may still last, or whose relatedness is not judged yet,
    is proposed. Only a fall from baseline must be known.
    """

    item: str = Field(min_length=1, description="Item of the DLT definition.")
    words: str = Field(min_length=1, description="The criterion, as the adjudication shows it.")
    source: Literal["protocol", "placeholder"] = "protocol"
    categories: tuple[Category, ...] = Field(default=(), description="Kinds of event; empty means any.")
    grades: tuple[int, ...] = Field(min_length=1, description="CTCAE grades, or those of the criterion's own scale.")
    least_attribution: Attribution = Field(default="possible", description="Weakest relatedness to the product.")
    lasting_hours: float | None = Field(default=None, ge=0, description="Only when it lasts longer than this.")
    excused_hours: float | None = Field(default=None, ge=0, description="Not when it resolves within this.")
    new: bool = Field(default=False, description="Only when it is new, or worse by the grades that worse_by names.")
    worse_by: int | None = Field(default=None, ge=1, description="Only when worse than baseline by these grades.")
    fall_percent: float | None = Field(default=None, gt=0, description="Only with this fall from baseline.")
    fall_days: float = Field(default=0, ge=0, description="Days that the fall must exceed.")


@dataclass(frozen=True, slots=True)
class EventFacts:
    """What triggers read of an adverse event beside its grades; None where it is not known.

    ``hours_to_resolution`` runs until the event is down to the grade the criterion names, ``hours_so_far`` while
    it is not; ``fall_percent`` and ``fall_days`` are those of a blood count from baseline, without infection or
    relapse; ``baseline_grade`` is 0 for an event that is new.
    """

    category: Category
    attribution: Attribution | None = None
    baseline_grade: int = 0
    hours_to_resolution: float | None = None
    hours_so_far: float | None = None
    fall_percent: float | None = None
    fall_days: float | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """An adjudication to propose: the criterion, the grade that meets it, and where onset and grade lie."""

    trigger: Trigger
    grade: int
    onset: OnsetPlace
    reached: OnsetPlace


def _template(item: str, words: str, grades: tuple[int, ...], *categories: Category, **more: Any) -> Trigger:
    return Trigger(item=item, words=words, grades=grades, categories=categories, source="placeholder", **more)


DLT_TRIGGERS = (
    _template("1", "infusion reaction or anaphylaxis of grade 3 or more", (3, 4, 5), "infusion_reaction"),
    _template("1", "infusion reaction of grade 2 for over 24 hours", (2,), "infusion_reaction", lasting_hours=24),
    _template("2", "thrombo-embolic event of grade 3 or more", (3, 4, 5), "thromboembolism"),
    _template("2", "pulmonary embolism of any grade", (1, 2, 3, 4, 5), "pulmonary_embolism"),
    _template("2", "symptomatic arterial event of any grade", (1, 2, 3, 4, 5), "arterial"),
    _template("3", "other non-haematologic event of grade 3 or more", (3, 4, 5), "other"),
    _template("3", "transient event of grade 3, not down to grade 2 in 72 hours", (3,), "transient", excused_hours=72),
    _template("3", "fever, nausea, vomiting, fatigue or electrolytes of grade 4 or more", (4, 5), "transient"),
    _template("4", "CRS, ICANS or HLH, new or worse by 2 grades", (1, 2, 3, 4, 5), "cytokine", new=True, worse_by=2),
    _template("4", "new acute GVHD of grade II or more", (2, 3, 4), "acute_gvhd", new=True),
    _template("5", "count halved for over 14 days", (1, 2, 3, 4), "haematologic", fall_percent=50, fall_days=14),
    _template("6", "death, related or not: adjudication decides", (5,), least_attribution="unrelated"),
)
"""A template of triggers, a placeholder until the protocol's DLT definition replaces it."""


def propose(
    history: GradeHistory,
    facts: EventFacts,
    window: DltWindow,
    *,
    triggers: Sequence[Trigger] = DLT_TRIGGERS,
    reported: date | None = None,
) -> tuple[Proposal, ...]:
    """The adjudications that an event calls for: its onset inside the window, and a grade that meets a trigger.

    The onset decides; that a grade was reached only after the window is shown for the committee to weigh.
    """
    onset = window.place(history.onset, reported=reported)
    if not onset.inside:
        return ()
    grades = [(history.grade, history.onset), *((each.grade, DateSpan.of(each.on)) for each in history.changes)]
    met = (
        (trigger, next(((grade, since) for grade, since in grades if _meets(trigger, grade, facts)), None))
        for trigger in triggers
    )
    return tuple(Proposal(trigger, row[0], onset, window.place(row[1])) for trigger, row in met if row is not None)


def _meets(trigger: Trigger, grade: int, facts: EventFacts) -> bool:
    if grade not in trigger.grades or (trigger.categories and facts.category not in trigger.categories):
        return False
    if facts.attribution is not None and not related(facts.attribution, trigger.least_attribution):
        return False
    lasted = facts.hours_so_far if facts.hours_to_resolution is None else facts.hours_to_resolution
    if trigger.lasting_hours is not None and lasted is not None and lasted <= trigger.lasting_hours:
        return False
    resolved = facts.hours_to_resolution
    if trigger.excused_hours is not None and resolved is not None and resolved <= trigger.excused_hours:
        return False
    if trigger.new or trigger.worse_by is not None:
        worse = trigger.worse_by is not None and grade - facts.baseline_grade >= trigger.worse_by
        if not (worse or (trigger.new and facts.baseline_grade == 0)):
            return False
    if trigger.fall_percent is None:
        return True
    fell = facts.fall_percent is not None and facts.fall_percent >= trigger.fall_percent
    return fell and facts.fall_days is not None and facts.fall_days > trigger.fall_days
