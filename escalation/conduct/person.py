"""A participant as the ledger tells it: what was recorded, what it counts as, and where in the course it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from escalation.conduct import canonical
from escalation.conduct import records as r
from escalation.conduct.windows import DateSpan

Outcome = Literal["untreated", "pending", "dlt", "complete", "not_evaluable"]


@dataclass
class Adjudication:
    """A proposed DLT with its latest decision; None while it is open."""

    proposed: r.DltProposed
    proposed_by: str
    decisions: list[r.DltDecided] = field(default_factory=list)

    @property
    def outcome(self) -> str | None:
        """``dlt``, ``not_dlt``, or None while nothing final is decided on the proposal as it stands."""
        if not self.decisions or self.decisions[-1].proposal_hash != proposal_hash(self.proposed):
            return None
        last = self.decisions[-1].outcome
        return None if last == "deferred" else last


def proposal_hash(proposed: r.DltProposed) -> str:
    """What a signature under an adjudication covers of the proposal."""
    return canonical.digest(proposed.model_dump(mode="json"))


@dataclass
class Person:
    """A participant as the ledger tells it."""

    code: str
    screened: int
    consent: r.Consented | None = None
    verdict: str = ""
    triggered: bool = False
    failed: str = ""
    assigned: r.Assigned | None = None
    assigned_seq: int = 0
    assigned_at: datetime | None = None
    assigned_on: date | None = None
    infusions: dict[int, r.InfusionRecorded] = field(default_factory=dict)
    treated_seq: int = 0
    events: dict[str, r.AdverseEvent] = field(default_factory=dict)
    grades: dict[str, list[tuple[date | None, int]]] = field(default_factory=dict)
    reported: dict[str, datetime] = field(default_factory=dict)
    adjudications: dict[str, Adjudication] = field(default_factory=dict)
    completed: date | None = None
    excluded: str = ""
    discontinued: str = ""
    left: r.LeftStudy | None = None
    window_last: date | None = None
    infusions_needed: float = 0.0
    visits: dict[str, r.Visit] = field(default_factory=dict)
    response: r.ResponseRecorded | None = None

    @property
    def first_infusion(self) -> datetime | None:
        """Start of the first infusion, None before it."""
        first = self.infusions.get(1)
        return first.started_at if first is not None and first.given else None

    @property
    def outcome(self) -> Outcome:
        """What the participant counts as in the decision; a proposed DLT keeps it pending, never negative."""
        if self.first_infusion is None:
            return "untreated"
        found = [each.outcome for each in self.adjudications.values()]
        if "dlt" in found:
            return "dlt"
        if None in found or self.unjudged:
            return "pending"
        if self.excluded:
            return "not_evaluable"
        given = sum(each.given for each in self.infusions.values())
        return "complete" if self.completed and given >= self.infusions_needed else "pending"

    @property
    def moderate(self) -> date | None:
        """Last possible day of the first moderate toxicity of a participant without a DLT, None without one.

        An event of grade 2 or more that is at least possibly related and possibly in the window, at its worst grade.
        What is proposed as a DLT, or would have to be, counts once it is adjudicated not to be one, with the
        relation to treatment found then.
        """
        first, waits = self.first_infusion, set(self.unjudged)
        if first is None or self.outcome == "dlt":
            return None
        judged: dict[str, str] = {}
        for each in self.adjudications.values():
            if each.outcome is None:
                waits.update(each.proposed.events)
            else:
                judged.update(dict.fromkeys(each.proposed.events, each.decisions[-1].attribution))
        days = []
        for code, event in self.events.items():
            if code in waits or judged.get(code, event.attribution) in ("unrelated", "unlikely"):
                continue
            if self._worst(code, in_window=True) >= 2 and self._may_be_in_window(event.onset, first):
                span = DateSpan.read(event.onset)
                days.append(min(day for day in (span.latest, self.window_last, date.max) if day is not None))
        return min(days, default=None)

    def _worst(self, event: str, *, in_window: bool = False) -> int:
        """The worst grade of an event, or the worst it had before the window ended."""
        until = self.window_last if in_window else None
        return max(grade for on, grade in self.grades[event] if on is None or until is None or on <= until)

    def _may_be_in_window(self, onset: str, first: datetime) -> bool:
        span = DateSpan.read(onset)
        late = self.window_last is not None and span.earliest is not None and span.earliest > self.window_last
        early = span.latest is not None and span.latest < first.date()
        return not late and not early

    @property
    def unjudged(self) -> list[str]:
        """Events of grade 3 or more, at least possibly related, possibly in the window, that no adjudication names."""
        first = self.first_infusion
        named = {event for each in self.adjudications.values() for event in each.proposed.events}
        found = []
        for code, event in self.events.items():
            if code in named or event.attribution in ("unrelated", "unlikely") or first is None:
                continue
            if self._worst(code) >= 3 and self._may_be_in_window(event.onset, first):
                found.append(code)
        return found

    @property
    def status(self) -> str:
        """The place in the participant's course, in one word or two."""
        if self.failed:
            return "screen failed"
        if self.left is not None:
            return self.left.how.replace("_", " ")
        if self.first_infusion is not None:
            names = {
                "pending": "window open",
                "complete": "window complete",
                "dlt": "DLT",
                "not_evaluable": "not evaluable",
            }
            return names.get(self.outcome, self.outcome)
        if self.assigned is not None:
            return "assigned"
        if self.verdict == "eligible":
            return "eligible"
        return "consented" if self.consent is not None else "screened"
