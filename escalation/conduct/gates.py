"""The gates: what must hold before a record enters the ledger. None of them can be overridden.

G1 nobody is assigned to a regimen that is not open. G2 a regimen opens only by a signed decision that
predates the first dosing in it. G3 the decision rests on a frozen, hashed snapshot. G4 the snapshot
is complete or lists its gaps. G5 the signer holds a valid delegation. G6 there are no eligibility
waivers. G7 the decision was circulated before the next dosing.

Each gate is a pure function of the state, the record and the time; it answers with what is in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from escalation.conduct import backfilling, decision_gates, treatment_gates
from escalation.conduct import records as r
from escalation.conduct.criteria import load_criteria
from escalation.conduct.state import ConductState, Person
from escalation.conduct.treatment_gates import CLOCK_TOLERANCE
from escalation.errors import EscalationError
from escalation.regimens import Regimen


class GateRefused(EscalationError):
    """A record that may not enter the ledger; carries everything that is in the way."""

    def __init__(self, what: str, reasons: tuple[str, ...]) -> None:
        super().__init__(what, reasons)
        self.what = what
        self.reasons = reasons

    def __str__(self) -> str:
        return f"{self.what.replace('_', ' ')} refused: " + "; ".join(self.reasons)


Refusals = Iterator[str]

_MOMENTS = (
    "started_at",
    "ended_at",
    "premedication_at",
    "consented_at",
    "sampled_at",
    "given_at",
    "aware_at",
    "sent_at",
    "at",
)
"""Fields that hold a moment; none may lie in the future."""


def check(state: ConductState, record: r.Record, now: datetime) -> None:
    """Raise GateRefused with every reason why a record may not enter the ledger now."""
    kind = str(getattr(record, "type", type(record).__name__))
    reasons = [*_general(state, record, now)]
    if not reasons:
        reasons = [reason for gate in _GATES.get(type(record), ()) for reason in gate(state, record, now)]
    if reasons:
        raise GateRefused(kind, tuple(reasons))


def _general(state: ConductState, record: r.Record, now: datetime) -> Refusals:
    if isinstance(record, r.TrialOpened):
        if state.opened is not None:
            yield "the trial is open already; amend the protocol instead"
        return
    if state.opened is None:
        if not isinstance(record, (r.Delegated, r.DelegationEnded)):
            yield "the trial is not opened; open it with its study file first"
        return
    if state.closed and not isinstance(record, _AFTER_CLOSING):
        yield f"the trial is closed ({state.closed})"
    code = getattr(record, "participant", None)
    if code is not None and not isinstance(record, r.Screened):
        person = state.people.get(code)
        if person is None:
            yield f"participant {code} is unknown; record the screening first"
        elif person.failed and not isinstance(record, (r.QueryRaised, r.Deviation)):
            yield f"participant {code} failed screening ({person.failed})"
        elif (
            person.left is not None and person.left.how == "withdrew_consent" and not _may_follow(state, person, record)
        ):
            yield f"participant {code} withdrew consent on {person.left.on}: nothing collected since can be recorded"
    for name in _MOMENTS:
        moment = getattr(record, name, None)
        if moment is not None and moment > now + CLOCK_TOLERANCE:
            yield f"{name} {moment.isoformat()} lies in the future"
    for name in ("on", "done_on"):
        day = getattr(record, name, None)
        if day is not None and day > now.astimezone(state.zone).date():
            yield f"{name} {day.isoformat()} lies in the future"


_AFTER_CLOSING = (
    r.QueryRaised,
    r.QueryAnswered,
    r.QueryClosed,
    r.Corrected,
    r.Deviation,
    r.AdverseEvent,
    r.Regraded,
    r.SeriousEventReported,
    r.DltProposed,
    r.DltDecided,
    r.Laboratory,
    r.Transfusion,
    r.Visit,
    r.ResponseRecorded,
    r.LeftStudy,
)
"""Safety follow-up and questions go on after a trial is closed to treatment."""

_AFTER_WITHDRAWAL = (
    r.QueryRaised,
    r.QueryAnswered,
    r.QueryClosed,
    r.Corrected,
    r.Deviation,
    r.SeriousEventReported,
    r.DltDecided,
    r.NotEvaluable,
    r.LeftStudy,
)
"""What may be recorded of a participant who has withdrawn consent: nothing newly collected."""


def _may_follow(state: ConductState, person: Person, record: r.Record) -> bool:
    """Whether a record is about something before its participant withdrew consent, or nothing collected at all."""
    if person.left is None or person.left.how != "withdrew_consent" or isinstance(record, _AFTER_WITHDRAWAL):
        return True
    about = r.effective_of(record)
    if about is None:
        return isinstance(record, r.AdverseEvent | r.DltProposed) and record.onset <= person.left.on.isoformat()
    day = datetime.fromisoformat(about)
    return (day.astimezone(state.zone) if day.tzinfo else day).date() <= person.left.on


def _eligibility(state: ConductState, record: r.EligibilityRecorded, now: datetime) -> Refusals:
    if record.verdict == "eligible" and record.findings:
        yield "findings stand against eligibility; a participant with failed criteria is not eligible (G6)"
    if state.people[record.participant].assigned is not None:
        yield "the participant is assigned already; correct the record instead"


def _screen_failure(state: ConductState, record: r.ScreenFailed, now: datetime) -> Refusals:
    if state.people[record.participant].assigned is not None:
        yield "the participant is assigned; record the discontinuation or the departure"


def _new_code(state: ConductState, record: r.Screened, now: datetime) -> Refusals:
    if record.participant in state.people:
        yield f"participant {record.participant} is recorded already; use a new code"


def _consent(state: ConductState, record: r.Consented, now: datetime) -> Refusals:
    person = state.people[record.participant]
    if person.consent is not None and person.consent.form_version == record.form_version:
        yield f"consent to form {record.form_version} is recorded already"


def _after_consent(state: ConductState, record: Any, now: datetime) -> Refusals:
    if state.people[record.participant].consent is None:
        yield "consent is missing"


def _assignment(state: ConductState, record: r.Assigned, now: datetime) -> Refusals:
    person = state.people[record.participant]
    if person.consent is None:
        yield "consent is missing"
    if person.verdict != "eligible":
        yield f"eligibility is {person.verdict.replace('_', ' ') or 'not recorded'}; there are no waivers (G6)"
    criteria = state.opened.criteria if state.opened is not None else None
    if criteria is not None and not person.triggered and _waits_for_a_trigger(criteria):
        yield "the condition that starts treatment is not recorded yet"
    if person.assigned is not None:
        yield f"participant {person.code} is assigned already"
    if person.left is not None:
        yield f"participant {person.code} has left ({person.left.how.replace('_', ' ')})"
    if person.discontinued:
        yield f"treatment of participant {person.code} has ended ({person.discontinued})"
    held = [*places(state, now)]
    if record.stage == "backfill":
        yield from backfilling.assignment(state, record, held, now)
        return
    yield from held
    trial = state.trial_state()
    grid = trial.rule.grid
    asked = Regimen(record.regimen.dose, record.regimen.frequency)
    if trial.stage != "closed" and grid.regimen(trial.regimen) != asked:
        open_level = grid.level(trial.regimen)
        yield f"dose {asked.dose}, frequency {asked.frequency} is not open (G1); the open regimen is level {open_level}"


@cache
def _waits_for_a_trigger(criteria: str) -> bool:
    """Whether participants of a trial consent before the condition that starts treatment occurs."""
    return load_criteria(criteria).consented_not_yet_triggered


def places(state: ConductState, now: datetime) -> Refusals:
    """Why nobody can be assigned now, with the earliest permitted day where the stagger holds."""
    if state.suspended:
        yield f"the committee has suspended assignment: {state.suspended}"
    if state.review_due:
        yield f"the committee must meet again: {state.review_due}"
    trial, protocol = state.trial_state(), state.in_force().protocol
    if trial.stage == "closed":
        yield "the trial has ended by its rule; no regimen is open (G1)"
        return
    if trial.open_places <= 0:
        yield "the cohort is full; the next regimen opens with a signed decision (G1, G2)"
        return
    stagger = protocol.stagger
    if not (stagger.sentinel_days or stagger.between_days):
        return
    waiting = [
        p.code
        for p in state.people.values()
        if p.assigned is not None
        and p.outcome == "untreated"
        and p.left is None
        and p.assigned.stage != "backfill"
        and _level(p) == trial.rule.grid.regimen(trial.regimen)
    ]
    if waiting:
        yield f"{', '.join(waiting)} is assigned and not treated yet; the stagger counts from the first infusion"
        return
    earliest = trial.earliest_next(stagger.sentinel_days, stagger.between_days)
    if earliest > state.day(now):
        assert state.opened_on is not None
        yield f"the stagger allows the next participant from {state.opened_on + timedelta(days=earliest)} on"


def _level(person: Person) -> Regimen:
    assert person.assigned is not None
    return Regimen(person.assigned.regimen.dose, person.assigned.regimen.frequency)


def _query_open(state: ConductState, record: Any, now: datetime) -> Refusals:
    query = state.queries.get(record.query)
    if query is None:
        yield f"query {record.query} is unknown"
    elif query.status == "closed" and not getattr(record, "reopened", False):
        yield f"query {record.query} is closed; re-open it first"


def _query_new(state: ConductState, record: r.QueryRaised, now: datetime) -> Refusals:
    if record.query in state.queries:
        yield f"query {record.query} exists already"
    if record.about is not None and not 1 <= record.about <= state.version:
        yield f"entry {record.about} does not exist; entries run from 1 to {state.version}"


_GATES: dict[type[r.Record], tuple[Callable[[ConductState, Any, datetime], Refusals], ...]] = {
    r.TrialOpened: (decision_gates.opening,),
    r.TrialClosed: (decision_gates.closing,),
    r.ProtocolAmended: (decision_gates.amendment,),
    r.Screened: (_new_code,),
    r.Consented: (_consent,),
    r.EligibilityRecorded: (_after_consent, _eligibility),
    r.Triggered: (_after_consent,),
    r.ScreenFailed: (_screen_failure,),
    r.Assigned: (_assignment,),
    r.InfusionRecorded: (treatment_gates.infusion,),
    r.AdverseEvent: (_after_consent, treatment_gates.event),
    r.Regraded: (treatment_gates.regrade,),
    r.SeriousEventReported: (treatment_gates.serious_report,),
    r.DltProposed: (treatment_gates.proposal,),
    r.DltDecided: (treatment_gates.adjudication,),
    r.WindowCompleted: (treatment_gates.completion,),
    r.NotEvaluable: (treatment_gates.exclusion,),
    r.Discontinued: (treatment_gates.discontinuation,),
    r.Visit: (treatment_gates.visit,),
    r.ResponseRecorded: (backfilling.response,),
    r.LeftStudy: (treatment_gates.departure_of_participant,),
    r.QueryRaised: (_query_new,),
    r.QueryAnswered: (_query_open,),
    r.QueryClosed: (_query_open,),
    r.Recommended: (decision_gates.recommendation,),
    r.CommitteeRecorded: (decision_gates.committee,),
    r.DecisionSigned: (decision_gates.signature,),
    r.Circulated: (decision_gates.circulation,),
}
