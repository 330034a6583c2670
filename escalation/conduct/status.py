"""A conducted trial on a day: what is urgent, who is where, what comes next, and by which date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from escalation.conduct import backfilling, gates
from escalation.conduct.decisions import advise
from escalation.conduct.infusions import infusion_course
from escalation.conduct.ledger import Head
from escalation.conduct.outlook import Awaited, cohort_complete, dated_outlook, day_words
from escalation.conduct.safety_clocks import related, serious_event_clock
from escalation.conduct.state import ConductState, Decision, Person
from escalation.conduct.treatment import dlt_window, regimen_of
from escalation.conduct.visits import visit_schedule, visits_on
from escalation.conduct.windows import RecordedValueError
from escalation.report.wording import headline

VISITS_KNOWN = frozenset({"nct07212335"})
"""Studies whose visits the schedule of visits describes."""


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done: smaller ranks are more urgent, ``due`` orders equal ones."""

    rank: int
    kind: str
    text: str
    due: str = ""
    participant: str | None = None


def status_form(state: ConductState, trial: str, now: datetime, head: Head) -> dict[str, Any]:
    """The trial on a day, for screens and scripts: tasks, participants, the open cohort and the recommendation."""
    study, today = state.in_force(), now.astimezone(state.zone).date()
    folded, advice, rule = state.trial_state(today), advise(state, today), study.protocol.rule
    people = [_person(state, person, now) for person in state.people.values()]
    found = [task for _, tasks in people for task in tasks]
    found += [*_decisions(state), *_queries(state)]
    awaited = [
        _awaited(state.people[form["participant"]], form, today)
        for form, _ in people
        if (form["outcome"] == "pending" or form["status"] == "assigned") and form["role"] != "backfill"
    ]
    places = max(folded.open_places, 0)
    refused = list(gates.places(state, now)) if not state.closed else [f"the trial is closed ({state.closed})"]
    stagger = study.protocol.stagger
    earliest = folded.earliest_next(stagger.sentinel_days, stagger.between_days)
    known = state.opened_on is not None and folded.stage != "closed" and places > 0
    if advice.decides and folded.stage != "closed" and not any(d.effective is None for d in _newest(state)):
        found.append(Task(7, "decision_ripe", "a decision can be taken now: snapshot, recommend, committee"))
    complete = cohort_complete(state, folded, awaited, today)
    beside = backfilling.form(state)
    return {
        "trial": trial,
        "study": study.id,
        "title": study.title,
        "notices": list(study.notices),
        "now": now.astimezone(state.zone).isoformat(timespec="seconds"),
        "zone": str(state.zone),
        "version": head.seq,
        "head": head.hash,
        "closed": state.closed or None,
        "tasks": [
            {"kind": t.kind, "text": t.text, "due": t.due or None, "participant": t.participant}
            for t in sorted(found, key=lambda t: (t.rank, t.due or "9", t.participant or ""))
        ],
        "participants": [form for form, _ in people],
        "cohort": {
            "stage": folded.stage,
            "regimen": rule.grid.describe(folded.regimen),
            "level": rule.grid.level(folded.regimen),
            "places": folded.size,
            "open_places": places,
            "last_window_ends": None if complete is None or folded.stage == "closed" else complete.isoformat(),
        },
        "next_assignment": {
            "permitted": not refused,
            "earliest": max(today, (state.opened_on or today) + timedelta(days=earliest)).isoformat()
            if known and not any("not treated yet" in reason for reason in refused)
            else None,
            "reasons": refused,
        },
        **({} if beside is None else {"backfill": beside}),
        "recommendation": {
            "action": advice.action.word,
            "decides": advice.decides,
            "text": headline(advice, rule),
            "reasons": [{"code": code, "line": rule.reason(code).line} for code in advice.reasons],
            "outlook": dated_outlook(advice, rule.grid, awaited, places),
        },
        "contradicted": {str(seq): codes for seq, codes in state.contradicted().items()},
        "review_due": state.review_due or None,
        "queries": {code: query.status for code, query in state.queries.items() if query.status != "closed"},
    }


def _awaited(person: Person, form: dict[str, Any], today: date) -> Awaited:
    """What the outcome of a participant waits for."""
    last = None if form["last_date"] is None else date.fromisoformat(form["last_date"])
    if None in [each.outcome for each in person.adjudications.values()]:
        return Awaited(person.code, last, "(DLT proposed) is adjudicated")
    if person.left is not None:
        return Awaited(person.code, last, f"({person.status}) is settled")
    over = last is not None and today > last
    return Awaited(person.code, last, "(window over) is recorded" if over else "")


def _before_assignment(person: Person) -> str:
    """What comes next for a candidate."""
    if person.failed or person.left is not None:
        return ""
    if person.consent is None:
        return "consent"
    after = {"": "eligibility", "eligible": "assignment", "not_eligible": "screen failure"}
    return after.get(person.verdict, "open answers")


def _person(state: ConductState, person: Person, now: datetime) -> tuple[dict[str, Any], list[Task]]:
    """A participant's row, and what is to be done for them."""
    protocol, today = state.in_force().protocol, now.astimezone(state.zone).date()
    form: dict[str, Any] = {
        "participant": person.code,
        "status": person.status,
        "outcome": person.outcome,
        "level": None,
        "role": None,
        "day": None,
        "last_day": None,
        "last_date": None,
        "infusions_given": sum(each.given for each in person.infusions.values()),
        "infusions_planned": None,
        "next": "",
    }
    if protocol.rule.reads_grades and person.moderate is not None:
        form["status"] += ", moderate toxicity"
    tasks = [*_safety(state, person, now)]
    if person.assigned is None:
        return form | {"next": _before_assignment(person)}, tasks
    index = regimen_of(state, person)
    schedule = protocol.grid.schedule(index)
    form |= {
        "level": protocol.grid.level(index),
        "role": person.assigned.role,
        "infusions_planned": len(schedule),
    }
    if person.first_infusion is None:
        if person.left is None:
            form["next"] = "infusion 1"
            since = f" since {day_words(person.assigned_on)}" if person.assigned_on else ""
            tasks.append(Task(5, "not_treated", f"{person.code} is assigned and not treated{since}", "", person.code))
        return form, tasks
    given = {n: each.started_at for n, each in person.infusions.items() if each.given and each.started_at is not None}
    try:
        window = dlt_window(state, person).status(today)
        form |= {
            "day": window.day,
            "last_day": window.last_day,
            "last_date": None if window.last_date is None else window.last_date.isoformat(),
        }
        tasks += _unproposed(state, person)
        tasks += _treatment(state, person, schedule, given, today, form)
        if state.in_force().id in VISITS_KNOWN and person.left is None:
            tasks += _visits(state, person, schedule, given, today)
    except RecordedValueError as error:
        tasks.append(Task(3, "contradiction", f"{person.code}: {error}", "", person.code))
    if person.outcome == "pending" and None not in [each.outcome for each in person.adjudications.values()]:
        if person.left is not None:
            text = (
                f"{person.code} {person.status} on {day_words(person.left.on)}: record not evaluable, or propose a DLT"
            )
            tasks.append(Task(4, "settle", text, "", person.code))
        elif form["last_date"] is not None and today > date.fromisoformat(form["last_date"]):
            ended = date.fromisoformat(form["last_date"])
            text = f"{person.code}: DLT window over since {day_words(ended)}; record its completion"
            tasks.append(Task(5, "complete", text, ended.isoformat(), person.code))
    return form, tasks


def _safety(state: ConductState, person: Person, now: datetime) -> Iterator[Task]:
    """Clocks of serious events, and proposed DLTs that nobody has decided."""
    for code, event in person.events.items():
        if event.serious and event.aware_at is not None and code not in person.reported:
            clock = serious_event_clock(event.aware_at, now=max(now, event.aware_at), zone=state.zone)
            due = clock.due
            when = f"{day_words(due.date())} {due:%H:%M}"
            left = f"LATE, was due {when}" if clock.late else f"due {when}, {clock.hours_left:.0f} h left"
            text = f"{person.code} {code} ({event.term}): serious event not reported, {left}"
            kind = "serious_late" if clock.late else "serious_due"
            yield Task(0 if clock.late else 1, kind, text, due.astimezone(UTC).isoformat(), person.code)
    for code, adjudication in person.adjudications.items():
        if adjudication.outcome is None:
            deferred = ", deferred" if adjudication.decisions else ""
            text = f"{person.code} {code}: DLT proposed{deferred}, waits for adjudication; treatment stops"
            yield Task(3, "adjudicate", text, "", person.code)


def _unproposed(state: ConductState, person: Person) -> Iterator[Task]:
    """Related events of grade 3 or more inside the window on which no DLT is proposed: a reminder, not a rule."""
    weighed = {code for each in person.adjudications.values() for code in each.proposed.events}
    for code, event in person.events.items():
        worst = max(grade for _, grade in person.grades[code])
        if code in weighed or worst < 3 or not related(event.attribution):
            continue
        named = f"{person.code} {code} ({event.term})"
        try:
            place = dlt_window(state, person).place(event.onset)
        except RecordedValueError as error:
            yield Task(3, "contradiction", f"{named}: {error}", "", person.code)
            continue
        if place.inside:
            text = f"{named}: grade {worst}, {event.attribution}, {place.words}; no DLT is proposed on it"
            yield Task(3, "consider_dlt", text, "", person.code)


def _treatment(
    state: ConductState,
    person: Person,
    schedule: tuple[int, ...],
    given: Mapping[int, datetime],
    today: date,
    form: dict[str, Any],
) -> Iterator[Task]:
    """Infusions that are due or late, while treatment goes on."""
    stopped = person.left is not None or person.discontinued
    if stopped or any(each.outcome != "not_dlt" for each in person.adjudications.values()):
        return
    missed = [number for number, each in person.infusions.items() if not each.given]
    for each in infusion_course(schedule, given, zone=state.zone, today=today, missed=missed):
        if each.number in person.infusions:
            continue
        if not form["next"]:
            form["next"] = f"infusion {each.number} on {day_words(each.planned)}"
        if each.timing in ("due", "overdue", "missed"):
            due = each.closes if each.timing == "due" else each.last_date
            words = {
                "due": f"due until {day_words(due)}",
                "overdue": f"LATE, may be given until {day_words(due)}",
                "missed": "too late to be given; record it as missed",
            }
            text = f"{person.code}: infusion {each.number} {words[each.timing]}"
            yield Task(4, f"infusion_{each.timing}", text, each.planned.isoformat(), person.code)


def _visits(
    state: ConductState, person: Person, schedule: tuple[int, ...], given: Mapping[int, datetime], today: date
) -> Iterator[Task]:
    """Visits that are due, late, or missed without a reason, in one line for each participant."""
    assert person.first_infusion is not None
    first = person.first_infusion.astimezone(state.zone).date()
    last = (max(given.values()).astimezone(state.zone).date() - first).days
    ended = person.discontinued or any(each.outcome == "dlt" for each in person.adjudications.values())
    protocol = state.in_force().protocol
    visits = visit_schedule(schedule, last_infusion=last if ended else None, window=protocol.dlt_window)
    names = {visit.name for visit in visits}
    recorded = {name: each for name, each in person.visits.items() if name in names}
    rows = visits_on(
        visits,
        first=first,
        today=today,
        done={name: each.done_on for name, each in recorded.items() if each.done_on is not None},
        missed={name: each.missed_because for name, each in recorded.items() if each.done_on is None},
    )
    for kind, words in (("late", "late"), ("due", "due"), ("missed", "missed, reason not recorded")):
        found = [each for each in rows if each.state == kind and (kind != "missed" or each.reason_required)]
        if found:
            until = f" until {day_words(max(each.closes for each in found))}" if kind == "due" else ""
            named = ", ".join(each.visit.name for each in found)
            text = f"{person.code}: visit{'s' if len(found) > 1 else ''} {named} {words}{until}"
            yield Task(10 if kind == "missed" else 9, f"visit_{kind}", text, "", person.code)


def _newest(state: ConductState) -> list[Decision]:
    """The newest committee record on the data as they are, or none."""
    newest = state.decisions.get(max(state.decisions, default=0))
    return [newest] if newest is not None and newest.snapshot.data.get("outcomes") == state.outcomes() else []


def _decisions(state: ConductState) -> Iterator[Task]:
    """What holds the trial back, and decisions on their way."""
    if state.suspended:
        yield Task(2, "suspended", f"the committee has suspended assignment: {state.suspended}")
    if state.review_due:
        yield Task(2, "review_due", f"the committee must meet again: {state.review_due}")
    for seq, codes in state.contradicted().items():
        yield Task(2, "contradicted", f"decision {seq} is contradicted by what is known now of {', '.join(codes)}")
    newest = state.decisions.get(max(state.decisions, default=0))
    if newest is None or state.closed:
        return
    action = newest.committee.action.replace("_", " ")
    if newest.effective is not None:
        if newest.circulated_at is None:
            yield Task(6, "circulate", f"decision {newest.seq} ({action}) is in effect and not circulated")
    elif _newest(state):
        needed = max(state.opened.signatures_needed if state.opened else 1, 2 if newest.committee.justification else 1)
        signed = len({each["user"] for each in newest.signatures})
        yield Task(6, "sign", f"committee record {newest.seq} ({action}) has {signed} of {needed} signatures")
    else:
        yield Task(
            6, "void", f"committee record {newest.seq} ({action}) is void: the data changed; take a new snapshot"
        )


def _queries(state: ConductState) -> Iterator[Task]:
    for code, query in state.queries.items():
        if query.status != "closed":
            raised = query.raised
            about = f" on {raised.participant}" if raised.participant else ""
            words = "critical query" if raised.critical else "query"
            text = f"{words} {code}{about} is {query.status}: {raised.question}"
            yield Task(7 if raised.critical else 8, "query", text, "", raised.participant)
