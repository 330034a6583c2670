"""Gates of treatment and follow-up: infusions, events, adjudications, windows and visits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from escalation.conduct import records as r
from escalation.conduct.backfilling import opened_by
from escalation.conduct.state import ConductState, Decision, Person
from escalation.conduct.treatment import dlt_window, infusion_findings, regimen_of
from escalation.conduct.windows import DateSpan, WindowError

Refusals = Iterator[str]

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far a time may lie ahead of the clock, or before an act it follows, by differences of clocks."""


def opening_decision(state: ConductState, person: Person) -> Decision | None:
    """The decision that opened the cohort, or the backfilled regimen, of a participant; None for the first cohort."""
    if person.assigned is not None and person.assigned.stage == "backfill":
        return opened_by(state, regimen_of(state, person), person.assigned_seq)
    before = [each for each in state.effective() if (each.effective or 0) < person.assigned_seq]
    return before[-1] if before else None


def effective_at(state: ConductState, decision: Decision) -> datetime:
    """When the last signature a decision needed was given."""
    return max(datetime.fromisoformat(each["signed_at"]) for each in decision.signatures)


def opened_before(state: ConductState, person: Person, started: datetime) -> Refusals:
    """Why a first infusion at a time was given before its regimen was open (G2) or known to be (G7)."""
    opening = opening_decision(state, person)
    if opening is None:
        return
    if effective_at(state, opening) > started:
        yield "the decision that opened this regimen was signed after the infusion (G2)"
    if opening.circulated_at is None or opening.circulated_at > started:
        yield "the decision that opened this regimen was not circulated to clinic and pharmacy before (G7)"


def infusion(state: ConductState, record: r.InfusionRecorded, now: datetime) -> Refusals:
    """An infusion is the next one planned, of a released product, given by two people, in an opened regimen."""
    person = state.people[record.participant]
    if person.assigned is None:
        yield "the participant is not assigned to a regimen"
        return
    protocol = state.in_force().protocol
    planned = protocol.grid.schedule(regimen_of(state, person))
    if record.number in person.infusions:
        yield f"infusion {record.number} is recorded already; correct it instead"
        return
    if record.number > len(planned):
        yield f"the regimen has {len(planned)} infusions; number {record.number} is not planned"
        return
    if record.number > 1 and record.number - 1 not in person.infusions:
        yield f"infusion {record.number - 1} is not recorded yet"
        return
    if person.left is not None or person.discontinued:
        yield "treatment has ended"
    if any(each.outcome != "not_dlt" for each in person.adjudications.values()):
        yield "a DLT is proposed or confirmed: treatment stops"
    if not record.given:
        if record.number == 1:
            yield "a first infusion that is not given is no infusion; end the participation instead"
        return
    if record.started_at is None:
        yield "started_at is missing"
        return
    if record.ended_at is not None and record.ended_at <= record.started_at:
        yield "ended_at does not lie after started_at"
        return
    if person.assigned_at is not None and record.started_at < person.assigned_at - CLOCK_TOLERANCE:
        yield f"the infusion lies before the assignment of {person.assigned_at:%Y-%m-%d %H:%M} UTC (G1)"
    if person.consent is not None and record.started_at < person.consent.consented_at:
        yield "the infusion lies before the consent"
    yield from (found.message for found in infusion_findings(state, person, record) if found.blocking)
    if record.number == 1:
        yield from first_infusion(state, person, record.started_at)


def first_infusion(state: ConductState, person: Person, started: datetime) -> Refusals:
    """A first infusion waits for the decision, its circulation, the committee and the stagger."""
    if state.suspended:
        yield f"the committee has suspended dosing: {state.suspended}"
    if state.review_due:
        yield f"the committee must meet again: {state.review_due}"
    yield from opened_before(state, person, started)
    earlier = [
        p.first_infusion
        for p in state.people.values()
        if p.assigned is not None and p.first_infusion is not None and regimen_of(state, p) == regimen_of(state, person)
    ]
    stagger = state.in_force().protocol.stagger
    if earlier:
        gap = max(stagger.sentinel_days, stagger.between_days) if len(earlier) == 1 else stagger.between_days
        last = max(moment for moment in earlier if moment is not None)
        if state.day(started) < state.day(last) + gap:
            yield f"the stagger of {gap} days since the last first infusion at this regimen is not over"


def event(state: ConductState, record: r.AdverseEvent, now: datetime) -> Refusals:
    """An adverse event is new, has a possible onset, and an awareness when it is serious."""
    if record.event in state.people[record.participant].events:
        yield f"event {record.event} is recorded already; regrade or correct it"
    yield from onset_date(state, record.onset, now)
    if record.ended is not None:
        yield from onset_date(state, record.ended, now)
    if record.serious and record.aware_at is None:
        yield "aware_at is missing: the 24-hour clock of a serious event starts with awareness"


def onset_date(state: ConductState, onset: str, now: datetime) -> Refusals:
    """A date of onset exists and does not lie in the future."""
    try:
        DateSpan.read(onset).not_after(now.astimezone(state.zone).date())
    except WindowError as error:
        yield str(error)


def regrade(state: ConductState, record: r.Regraded, now: datetime) -> Refusals:
    """A grade changes after the onset of a known event."""
    event = state.people[record.participant].events.get(record.event)
    if event is None:
        yield f"event {record.event} is unknown"
        return
    earliest = DateSpan.read(event.onset).earliest
    if earliest is not None and record.on < earliest:
        yield f"the grade cannot change on {record.on}, before the onset {event.onset}"


def serious_report(state: ConductState, record: r.SeriousEventReported, now: datetime) -> Refusals:
    """A report belongs to a serious event and follows the awareness of it."""
    event = state.people[record.participant].events.get(record.event)
    if event is None:
        yield f"event {record.event} is unknown"
    elif not event.serious:
        yield f"event {record.event} is not recorded as serious"
    elif event.aware_at is not None and record.sent_at < event.aware_at:
        yield "sent_at lies before the awareness of the event"


def proposal(state: ConductState, record: r.DltProposed, now: datetime) -> Refusals:
    """A DLT is proposed for a treated participant, with its onset in the window."""
    person = state.people[record.participant]
    if person.first_infusion is None:
        yield "the participant was not treated"
    if record.adjudication in person.adjudications:
        yield f"adjudication {record.adjudication} exists already"
    unknown = [event for event in record.events if event not in person.events]
    if unknown:
        yield f"events {', '.join(unknown)} are unknown"
    faults = [*onset_date(state, record.onset, now)]
    yield from faults
    if not faults and person.first_infusion is not None and person.assigned is not None:
        place = dlt_window(state, person).place(record.onset)
        if not place.inside:
            yield f"the onset does not lie in the DLT window ({place.words})"


def adjudication(state: ConductState, record: r.DltDecided, now: datetime) -> Refusals:
    """A proposed DLT is settled by somebody else than who proposed it."""
    person = state.people[record.participant]
    proposal = person.adjudications.get(record.adjudication)
    if proposal is None:
        yield f"adjudication {record.adjudication} was not proposed"
        return
    if record.signature["user"] == proposal.proposed_by:
        yield "who proposed a DLT does not settle it alone; another committee member has to"
    if record.outcome == "dlt":
        place = dlt_window(state, person).place(proposal.proposed.onset)
        if not place.inside:
            yield f"the onset does not lie in the DLT window ({place.words})"


def completion(state: ConductState, record: r.WindowCompleted, now: datetime) -> Refusals:
    """A window is complete after its last day, with the infusions asked for and nothing left to judge."""
    person = state.people[record.participant]
    start = person.first_infusion
    if start is None or person.assigned is None:
        yield "the participant was not treated"
        return
    protocol = state.in_force().protocol
    schedule = protocol.grid.schedule(regimen_of(state, person))
    end = dlt_window(state, person).last_date()
    assert end is not None
    if record.on <= end:
        yield f"the DLT window is open until {end} (that day included); it is complete from the day after"
    given = sum(each.given for each in person.infusions.values())
    if given < protocol.evaluability.minimum_infusions * len(schedule) - 1e-9:
        yield f"{given} of {len(schedule)} infusions were given: below the evaluability limit, record not evaluable"
    if person.outcome in ("dlt", "not_evaluable"):
        yield f"the participant counts as {person.outcome.replace('_', ' ')} already"
    if person.left is not None and person.left.on < end:
        yield f"the participant left on {person.left.on}, before the window was complete"
    if person.unjudged:
        yield f"{', '.join(person.unjudged)} may be a DLT and is not adjudicated"


def exclusion(state: ConductState, record: r.NotEvaluable, now: datetime) -> Refusals:
    """Somebody stops counting only without a DLT, and after a death only by adjudication."""
    person = state.people[record.participant]
    if person.first_infusion is None:
        yield "the participant was not treated"
    elif person.outcome == "dlt":
        yield "a DLT always counts"
    elif person.outcome == "complete":
        yield "the window is complete; correct that first"
    settled = {each.outcome for each in person.adjudications.values()}
    died = person.left is not None and person.left.how == "died"
    if died and settled != {"not_dlt"} and left_inside(person):
        yield "a death in the window is settled by adjudication first, never by default"
    if person.unjudged:
        yield f"{', '.join(person.unjudged)} may be a DLT and is not adjudicated"


def left_inside(person: Person) -> bool:
    """Whether a participant left the study before the DLT window was over."""
    return person.left is not None and person.window_last is not None and person.left.on <= person.window_last


def visit(state: ConductState, record: r.Visit, now: datetime) -> Refusals:
    """A visit is either done or missed."""
    if (record.done_on is None) == (not record.missed_because.strip()):
        yield "a visit is done on a day or missed for a reason; give one of the two"


def discontinuation(state: ConductState, record: r.Discontinued, now: datetime) -> Refusals:
    """Treatment ends only where it was assigned."""
    if state.people[record.participant].assigned is None:
        yield "the participant is not assigned; record the screen failure or the withdrawal"


def departure_of_participant(state: ConductState, record: r.LeftStudy, now: datetime) -> Refusals:
    """A participant leaves once."""
    person = state.people[record.participant]
    if person.left is not None and person.left.how == record.how:
        yield f"participant {person.code} has left already"
