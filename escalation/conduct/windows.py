"""DLT windows of live participants: day numbers, last days, and whether an onset lies inside.

Day 0 is the site's calendar date of the first infusion. Day numbers are differences of calendar dates in the
site's time zone, so daylight saving time moves none of them. The last day belongs to the window: of 28 days,
day 28 is inside and day 29 is not, and the window is complete from day 29 on. Moments carry their offset from
UTC and are compared as instants, never by the clock on the wall.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from escalation.errors import EscalationError, Fault
from escalation.truth import Schedule, Window

Anchor = Literal["first", "last"]
Phase = Literal["not_started", "open", "complete"]
Position = Literal["before", "inside", "after"]
Precision = Literal["day", "month", "year", "unknown"]

_PLACEHOLDER: dict[str, JsonValue] = {"source": "placeholder"}


# what all records and limits share -------------------------------------------------------------


class RecordedValueError(EscalationError):
    """A recorded value that breaks a rule of conduct: the field, the value, the rule and the remedy."""

    def __init__(self, field: str, value: object, rule: str, remedy: str) -> None:
        super().__init__(field, value, rule, remedy)
        self.field, self.value, self.rule, self.remedy = field, value, rule, remedy
        self.fault = Fault(field, f"{_shown(value)} {rule}", remedy)

    def __str__(self) -> str:
        return str(self.fault)


class WindowError(RecordedValueError):
    """A date, a time zone or an infusion that no DLT window can be computed from."""


class Limits(BaseModel):
    """Base of the limits of conduct: frozen, and aware of which defaults are only placeholders."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Limits still at a default that no protocol has confirmed."""
        return tuple(
            name
            for name, field in type(self).model_fields.items()
            if field.json_schema_extra == _PLACEHOLDER and name not in self.model_fields_set
        )


def placeholder(default: Any, description: str, **bounds: Any) -> Any:
    """A limit that no source gives: its default stands until a study replaces it by its protocol's."""
    return Field(default=default, description=description, json_schema_extra=_PLACEHOLDER, **bounds)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    return value.isoformat() if isinstance(value, date) else repr(value)


# dates and moments of a site --------------------------------------------------------------------


def site_zone(name: str) -> ZoneInfo:
    """The time zone of a site by its IANA name; raises WindowError when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise WindowError(
            "zone", name, "is no time zone of the IANA database", "write for example 'Asia/Shanghai' or 'Europe/Berlin'"
        ) from None


def instant(moment: datetime, field: str = "moment") -> datetime:
    """A moment in UTC, in which it may be compared and subtracted; raises WindowError without an offset."""
    if moment.utcoffset() is None:
        raise WindowError(
            field, moment, "does not say its offset from UTC", "add the offset, for example 2026-03-29T09:30:00+08:00"
        )
    return moment.astimezone(UTC)


def site_date(day: date, zone: ZoneInfo, field: str = "date") -> date:
    """The site's calendar date of a moment; a date is taken as one of the site's already."""
    return instant(day, field).astimezone(zone).date() if isinstance(day, datetime) else day


def hours_between(start: datetime, end: datetime) -> float:
    """Hours that really pass from one moment to another, negative when the second comes first."""
    return (instant(end) - instant(start)) / timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DateSpan:
    """The calendar dates that a partly known date can stand for; None where nothing bounds it.

    Examples
    --------
    >>> DateSpan.read("2024-02").latest, DateSpan.read("unknown").latest
    (datetime.date(2024, 2, 29), None)
    """

    text: str
    earliest: date | None
    latest: date | None

    @classmethod
    def read(cls, text: str, field: str = "onset") -> DateSpan:
        """A date as precise as it is known: ``2025-03-14``, ``2025-03``, ``2025`` or ``unknown``."""
        if text == "unknown":
            return cls(text, None, None)
        parts = [int(part) for part in text.split("-")] if re.fullmatch(r"\d{4}(-\d{2}){0,2}", text, re.ASCII) else []
        try:
            year, month, day = (*parts, None, None)[:3]
            if year is None:
                raise ValueError(text)
            months = (month, month) if month is not None else (1, 12)
            days = (day, day) if day is not None else (1, monthrange(year, months[1])[1])
            return cls(text, date(year, months[0], days[0]), date(year, months[1], days[1]))
        except ValueError:
            raise WindowError(
                field,
                text,
                "is no date, month or year of the calendar",
                "write 2025-03-14, 2025-03, 2025 or unknown, as precise as it is known",
            ) from None

    @classmethod
    def of(cls, day: date) -> DateSpan:
        """A date that is known to the day."""
        return cls(day.isoformat(), day, day)

    @property
    def precision(self) -> Precision:
        """How precisely the date is known."""
        if self.text == "unknown":
            return "unknown"
        parts: tuple[Precision, ...] = ("year", "month", "day")
        return parts[self.text.count("-")]

    def not_after(self, day: date, field: str = "onset") -> DateSpan:
        """The dates left when it lies no later than a day; raises WindowError when none is left."""
        if self.earliest is not None and self.earliest > day:
            raise WindowError(
                field, self.text, f"lies after {day.isoformat()}, when it was recorded", "correct the date"
            )
        return DateSpan(self.text, self.earliest, day if self.latest is None else min(self.latest, day))


# the window of a participant --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnsetPlace:
    """Where an onset lies: the day numbers it can have, and whether it counts as inside the window.

    Attributes
    ----------
    anchor, end
        The window asked about and its last day.
    first_day, last_day
        Least and greatest possible day number, None where nothing bounds it.
    position
        ``inside`` as long as one possible day is inside: a partial date counts until it is resolved.
    resolved
        Whether every possible day gives the same answer.
    """

    anchor: Anchor
    end: int
    first_day: int | None
    last_day: int | None
    position: Position
    resolved: bool

    @property
    def inside(self) -> bool:
        """Whether the onset counts as inside the window."""
        return self.position == "inside"

    @property
    def words(self) -> str:
        """The computation in words, for the adjudication record."""
        low, high = self.first_day, self.last_day
        if low is not None and low == high:
            days = f"day {low}"
        elif low is None:
            days = "day unknown" if high is None else f"day {high} or earlier"
        else:
            days = f"day {low} or later" if high is None else f"day {low} to {high}"
        name = "W1" if self.anchor == "first" else "W2"
        counts = f"{self.position}{' ' if self.inside else ' the end of '}{name}" if self.position != "before" else ""
        answer = counts or "before the first infusion"
        return f"{days}: {answer} (last day {self.end})" + ("" if self.resolved else ", until the date is resolved")


@dataclass(frozen=True, slots=True)
class WindowStatus:
    """A DLT window as it is shown on a day: W1 from the first infusion, W2 from the last."""

    anchor: Anchor
    decides: bool
    last_day: int
    last_date: date | None
    day: int | None
    phase: Phase

    @property
    def name(self) -> str:
        """Short name of the window."""
        return "W1" if self.anchor == "first" else "W2"


@dataclass(frozen=True, slots=True)
class DltWindow:
    """The DLT window of one participant.

    Parameters
    ----------
    window
        The protocol's window; its anchor decides, the other one is shown beside it.
    schedule
        Planned days of infusion, day 0 the first.
    zone
        Time zone of the site.
    infusions
        Start of every infusion given, with its offset from UTC; kept in UTC, in order.

    Examples
    --------
    >>> first = datetime(2025, 11, 3, 10, tzinfo=site_zone("Asia/Shanghai"))
    >>> course = DltWindow(Window(), (0, 7, 14, 21), site_zone("Asia/Shanghai"), (first,))
    >>> [(each.name, each.last_day, str(each.last_date), each.phase) for each in course.shown(date(2025, 12, 2))]
    [('W1', 28, '2025-12-01', 'complete'), ('W2', 49, '2025-12-22', 'open')]
    >>> course.place("2025-12").words
    'day 28 to 58: inside W1 (last day 28), until the date is resolved'
    """

    window: Window
    schedule: Schedule
    zone: ZoneInfo
    infusions: tuple[datetime, ...] = ()

    def __post_init__(self) -> None:
        if not self.schedule or self.schedule[0] != 0 or any(b <= a for a, b in pairwise(self.schedule)):
            raise WindowError(
                "schedule", self.schedule, "does not start at day 0 and increase", "write for example (0, 7, 14)"
            )
        moments = sorted(instant(each, "infusions") for each in self.infusions)
        for one, other in pairwise(moments):
            if one == other:
                raise WindowError("infusions", one, "is given twice", "record every infusion once")
        object.__setattr__(self, "infusions", tuple(moments))

    @property
    def day_zero(self) -> date | None:
        """The site's date of the first infusion, None before it."""
        return site_date(self.infusions[0], self.zone) if self.infusions else None

    @property
    def infusion_days(self) -> tuple[int, ...]:
        """Day numbers of the infusions given."""
        return tuple(self.day_number(each) for each in self.infusions)

    def day_number(self, day: date) -> int:
        """Day number of a date or moment; raises WindowError before the first infusion is given."""
        if self.day_zero is None:
            raise WindowError("first infusion", None, "is recorded, so there is no day 0", "record the first infusion")
        return (site_date(day, self.zone) - self.day_zero).days

    def last_day(self, anchor: Anchor | None = None) -> int:
        """Number of the last day inside; from the last infusion, planned or given, whichever is later.

        A window from the last infusion is therefore never shorter than the one that is simulated, and a
        late infusion moves its end.
        """
        last = max(self.schedule[-1], *self.infusion_days, 0)
        return self.window.model_copy(update={"anchor": anchor or self.window.anchor}).end((last,))

    def last_date(self, anchor: Anchor | None = None) -> date | None:
        """The site's calendar date of the last day inside, None before the first infusion."""
        return None if self.day_zero is None else self.day_zero + timedelta(days=self.last_day(anchor))

    def phase(self, today: date, anchor: Anchor | None = None) -> Phase:
        """Whether the window is not yet started, open, or complete: complete on the day after its last."""
        if self.day_zero is None or (day := self.day_number(today)) < 0:
            return "not_started"
        return "open" if day <= self.last_day(anchor) else "complete"

    def status(self, today: date, anchor: Anchor | None = None) -> WindowStatus:
        """The window on a day, from the protocol's anchor unless another is asked for."""
        anchor = anchor or self.window.anchor
        return WindowStatus(
            anchor=anchor,
            decides=anchor == self.window.anchor,
            last_day=self.last_day(anchor),
            last_date=self.last_date(anchor),
            day=None if self.day_zero is None else self.day_number(today),
            phase=self.phase(today, anchor),
        )

    def shown(self, today: date) -> tuple[WindowStatus, WindowStatus]:
        """W1 and W2 side by side; the one that decides says so."""
        return self.status(today, "first"), self.status(today, "last")

    def place(
        self, onset: date | DateSpan | str, *, reported: date | None = None, anchor: Anchor | None = None
    ) -> OnsetPlace:
        """Where an onset lies; a partial date counts as inside while any day it can stand for is inside.

        Parameters
        ----------
        onset
            A moment, a date, or a date as precise as it is known.
        reported
            Day on which the onset became known; the onset cannot lie later.
        anchor
            Which window to ask about; the protocol's when not given.
        """
        anchor, end = anchor or self.window.anchor, self.last_day(anchor)
        span = self._span(onset)
        if reported is not None:
            span = span.not_after(site_date(reported, self.zone, "reported"))
        if self.day_zero is None:
            return OnsetPlace(anchor, end, None, None, "before", resolved=True)
        low = None if span.earliest is None else self.day_number(span.earliest)
        high = None if span.latest is None else self.day_number(span.latest)
        if isinstance(onset, datetime) and instant(onset, "onset") < self.infusions[0]:
            return OnsetPlace(anchor, end, low, high, "before", resolved=True)
        if high is not None and high < 0:
            return OnsetPlace(anchor, end, low, high, "before", resolved=True)
        if low is not None and low > end:
            return OnsetPlace(anchor, end, low, high, "after", resolved=True)
        certain = low is not None and low >= 0 and high is not None and high <= end
        return OnsetPlace(anchor, end, low, high, "inside", resolved=certain)

    def _span(self, onset: date | DateSpan | str) -> DateSpan:
        if isinstance(onset, str):
            return DateSpan.read(onset)
        return DateSpan.of(site_date(onset, self.zone, "onset")) if isinstance(onset, date) else onset
