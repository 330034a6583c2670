"""A simulated trial as the records a site would make of it, to be conducted, folded and compared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal

from escalation.conduct import records as r
from escalation.conduct.state import proposal_hash
from escalation.protocol import Protocol
from escalation.trial import (
    Backfilled,
    Decided,
    DltObserved,
    Enrolled,
    Infused,
    ModerateObserved,
    NotEvaluable,
    Responded,
    WindowCompleted,
)
from escalation.trial_clock import Course


@dataclass(frozen=True, slots=True)
class Dated:
    """What a simulated trial has to be recorded at a moment: a record, or a decision that the committee takes."""

    at: datetime
    record: r.Record | None = None
    decided: Decided | None = None


NOT_SIGNED: Final = {
    "user": "simulation",
    "printed_name": "simulated trial",
    "role": "",
    "meaning": "simulated, signed by nobody",
    "signed_at": "",
    "method": "none",
    "record_hash": "",
}


class _Replayed:
    """The records of a simulated trial as they are made, event after event."""

    def __init__(self, course: Course, protocol: Protocol, origin: datetime, prefix: str, weight_kg: float) -> None:
        self.course, self.protocol, self.origin = course, protocol, origin
        self.prefix, self.weight_kg = prefix, weight_kg
        self.steps: list[Dated] = []
        self.today = self.delay = self.place = 0
        self.starts: dict[int, tuple[int, int]] = {}  # simulated and recorded day of each first infusion
        self.given: dict[int, set[int]] = {}
        self.treated: set[int] = set()
        self.lost: set[int] = set()  # not evaluable, and nobody in their place yet

    def code(self, participant: int) -> str:
        return f"{self.prefix}{participant + 1:03d}"

    def schedule(self, participant: int) -> tuple[int, ...]:
        return self.protocol.grid.schedule(self.course.state.participants[participant].regimen)

    def reach(self, day: int) -> None:
        """Go on to a day, unless it is past."""
        if day > self.today:
            self.today, self.place = day, 0

    def add(self, record: r.Record | None = None, decided: Decided | None = None) -> None:
        self.place += 1
        self.steps.append(Dated(self.moment(self.today), record, decided))

    def moment(self, day: int) -> datetime:
        return self.origin + timedelta(days=day, minutes=5 * self.place)

    def date(self, day: int) -> date:
        return (self.origin + timedelta(days=day)).date()

    def of_trial(self, day: int) -> None:
        """Go on to what concerns the trial as a whole, with the days the record has fallen behind the simulation."""
        self.reach(day + self.delay)
        self.delay = self.today - day

    def of_person(self, participant: int, day: int) -> int:
        """The day of something that happens to a participant, counted from the first infusion as recorded."""
        simulated, recorded = self.starts[participant]
        self.reach(recorded + day - simulated)
        return recorded + day - simulated

    def enrolled(self, event: Enrolled | Backfilled) -> None:
        self.of_trial(event.day)
        self.starts[event.participant], self.given[event.participant] = (event.day, self.today), set()
        code, regimen = self.code(event.participant), self.protocol.grid.regimen(event.regimen)
        people = self.course.state.participants
        expands = people[event.participant].stage == "expansion"
        role: r.Role = "regular" if event.regimen in self.treated else "sentinel"
        lost = min((who for who in self.lost if people[who].regimen == event.regimen), default=None)
        role = "expansion" if expands else role if lost is None else "replacement"
        stage: Literal["escalation", "expansion", "backfill"] = "expansion" if expands else "escalation"
        if isinstance(event, Backfilled):
            role = stage = "backfill"
        self.treated.add(event.regimen)
        self.add(r.Screened(participant=code))
        consented = self.moment(self.today)
        self.add(r.Consented(participant=code, form_version="simulated", consented_at=consented))
        self.add(r.EligibilityRecorded(participant=code, verdict="eligible"))
        self.add(
            r.Assigned(
                participant=code,
                regimen=r.RegimenLevel(dose=regimen.dose, frequency=regimen.frequency),
                role=role,
                stage=stage,
                replaces=self.code(lost) if role == "replacement" and lost is not None else None,
            )
        )
        if role == "replacement":
            self.lost.discard(lost)

    def infused(self, event: Infused) -> None:
        day = self.of_person(event.participant, event.day)
        number = self.schedule(event.participant).index(event.day - self.starts[event.participant][0]) + 1
        self.given[event.participant].add(number)
        self.missed(event.participant, event.day)
        code, grid = self.code(event.participant), self.protocol.grid
        amount = grid.amount(self.course.state.participants[event.participant].regimen)
        started = self.moment(day)
        infusion = r.InfusionRecorded(
            participant=code,
            number=number,
            started_at=started,
            ended_at=started + timedelta(minutes=4),
            weight_kg=self.weight_kg,
            cells_million=amount * (self.weight_kg if grid.unit.endswith("/kg") else 1),
            lot=f"SIM-{code}-{number}",
            viability_percent=95.0,
            release_certificate="simulated",
            premedication_at=started - timedelta(minutes=30),
            operator="simulation",
            verifier="simulation, second person",
        )
        self.add(infusion)

    def missed(self, participant: int, day: int) -> None:
        """Record the planned infusions up to a simulated day that were not given."""
        given, start = self.given[participant], self.starts[participant][0]
        for number, planned in enumerate(self.schedule(participant), 1):
            if number not in given and start + planned <= day:
                given.add(number)
                why = "missed in simulation"
                code = self.code(participant)
                self.add(r.InfusionRecorded(participant=code, number=number, given=False, interruption=why))

    def responded(self, event: Responded) -> None:
        day, code = self.of_person(event.participant, event.day), self.code(event.participant)
        self.add(r.ResponseRecorded(participant=code, on=self.date(day), criteria="simulated", assessor="simulation"))

    def moderate(self, event: ModerateObserved) -> None:
        day, code = self.of_person(event.participant, event.day), self.code(event.participant)
        self.missed(event.participant, event.day)
        self.add(_event(code, "M1", self.date(day), grade=2, term="Simulated moderate toxicity"))

    def resolved(self, event: DltObserved | WindowCompleted | NotEvaluable) -> None:
        day, code = self.of_person(event.participant, event.day), self.code(event.participant)
        self.missed(event.participant, event.day)
        if isinstance(event, WindowCompleted):
            self.reach(day + 1)  # the last day belongs to the window
            self.add(r.WindowCompleted(participant=code, on=self.date(day + 1)))
        elif isinstance(event, NotEvaluable):
            self.add(r.NotEvaluable(participant=code, cause=event.cause))
            backfilled = self.course.state.participants[event.participant].stage == "backfill"
            self.lost |= {event.participant} if self.protocol.evaluability.replace and not backfilled else set()
        else:
            for record in _toxicity(code, self.date(day)):
                self.add(record)


def events_of_simulated_trial(
    course: Course, protocol: Protocol, origin: datetime, *, prefix: str = "SIM", weight_kg: float = 70.0
) -> list[Dated]:
    """The records of a simulated trial, dated from the moment that its day 0 begins.

    Each participant is screened, consented, found eligible and assigned, is given or misses the planned infusions,
    and completes the window, stops being evaluable, or has a DLT that is proposed and adjudicated. What happens on
    one day keeps its order, five minutes apart; screening falls on the day of assignment. A window is recorded as
    complete on the day after its last, which simulation does not wait for: what follows it is recorded that much
    later, while every date of a participant keeps its distance from the first infusion.

    ``Assigned`` and ``DltDecided`` are there to be compared and folded: in a ledger the service's own methods make
    them, as they make decisions from ``decided``.
    """
    replayed = _Replayed(course, protocol, origin, prefix, weight_kg)
    for event in course.events:
        if isinstance(event, Decided):
            replayed.of_trial(event.day)
            replayed.add(decided=event)
        elif isinstance(event, Responded):
            replayed.responded(event)
        elif isinstance(event, Enrolled | Backfilled):
            replayed.enrolled(event)
        elif isinstance(event, Infused):
            replayed.infused(event)
        elif isinstance(event, ModerateObserved):
            replayed.moderate(event)
        elif isinstance(event, DltObserved | WindowCompleted | NotEvaluable):
            replayed.resolved(event)
    return replayed.steps


def _event(code: str, event: str, onset: date, *, grade: int, term: str) -> r.AdverseEvent:
    return r.AdverseEvent(
        participant=code,
        event=event,
        verbatim="simulated toxicity",
        term=term,
        grade=grade,
        onset=onset.isoformat(),
        attribution="probable",
    )


def _toxicity(code: str, onset: date) -> tuple[r.Record, ...]:
    day = onset.isoformat()
    proposed = r.DltProposed(participant=code, adjudication="A1", events=("E1",), criterion="simulated", onset=day)
    return (
        _event(code, "E1", onset, grade=3, term="Simulated dose-limiting toxicity"),
        proposed,
        r.DltDecided(
            participant=code,
            adjudication="A1",
            outcome="dlt",
            attribution="probable",
            discussion="Simulated.",
            proposal_hash=proposal_hash(proposed),
            signature=dict(NOT_SIGNED),
        ),
    )
