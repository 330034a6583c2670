"""Listings of a conducted trial: participants, infusions, adverse events, adjudications, decisions, signatures.

Every function is pure: the same entries give the same frames. Times are the site's with their offset
from UTC; times of recording are UTC, as the ledger keeps them. Missing cells are empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import pandas as pd

from escalation.conduct import records as r
from escalation.conduct.audit_trail import audit_trail
from escalation.conduct.book import Book, Row
from escalation.conduct.decision_gates import departs
from escalation.conduct.draws import draw_words
from escalation.conduct.ledger import Entry
from escalation.conduct.safety_clocks import serious_event_clock
from escalation.conduct.state import Person
from escalation.conduct.windows import RecordedValueError


def listings(entries: Sequence[Entry] | Book, at: datetime) -> dict[str, pd.DataFrame]:
    """Every listing of a trial by its name; ``at`` is the moment open clocks are read at."""
    book = Book.of(entries)
    found = {name: book.frame(columns, list(rows(book, at))) for name, (columns, rows) in LISTINGS.items()}
    return found | {"audit_trail": audit_trail(book)}


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _by(entry: Entry) -> Row:
    return {"recorded_by": entry.actor, "recorded_at": entry.recorded_at, "entry": entry.seq}


def _participants(book: Book, at: datetime) -> Iterator[Row]:
    recorded = {entry.seq: entry.recorded_at for entry in book.entries}
    graded = book.state.study is not None and book.state.study.protocol.rule.reads_grades
    for person in book.state.people.values():
        plan, window, index = person.assigned, book.window(person), book.regimen(person)
        ends = [] if window is None else [window.last_date("first"), window.last_date("last")]
        given = sum(each.given for each in person.infusions.values())
        yield {
            "participant": person.code,
            "status": person.status,
            "screened": book.local(recorded[person.screened]),
            "consented": book.local(person.consent.consented_at) if person.consent else None,
            "consent_form": person.consent.form_version if person.consent else None,
            "eligibility": person.verdict.replace("_", " ") or None,
            "screen_failure": person.failed or None,
            "dose_level": plan.regimen.dose if plan else None,
            "frequency_level": plan.regimen.frequency if plan else None,
            "regimen": None if index is None else book.grid.describe(index),
            "role": plan.role if plan else None,
            "stage": plan.stage if plan else None,
            "replaces": plan.replaces if plan else None,
            "assigned": _day(book.local_day(recorded[person.assigned_seq])) if plan else None,
            "first_infusion": book.local(person.first_infusion),
            "infusions_given": given if plan else None,
            "infusions_planned": len(book.schedule(person)) if plan else None,
            "w1_end": _day(ends[0]) if ends else None,
            "w2_end": _day(ends[1]) if ends else None,
            "deciding_window": window.status(book.local_day(at)).name if window is not None else None,
            "outcome": person.outcome.replace("_", " "),
            "moderate_toxicity": _day(person.moderate) if graded else None,
            "window_completed": _day(person.completed),
            "not_evaluable_because": person.excluded or None,
            "discontinued_because": person.discontinued or None,
            "left": person.left.how.replace("_", " ") if person.left else None,
            "left_on": _day(person.left.on) if person.left else None,
        }


def _infusions(book: Book, at: datetime) -> Iterator[Row]:
    weighed = book.state.study is not None and book.grid.unit == "10^6 cells/kg"
    for entry, record in book.all_of(r.InfusionRecorded):
        person = book.state.people[record.participant]
        index, schedule, first = book.regimen(person), book.schedule(person), person.first_infusion
        planned = schedule[record.number - 1] if record.number <= len(schedule) else None
        start, amount = record.started_at, book.grid.amount(index) if index is not None else None
        per_kg = record.cells_million / record.weight_kg if record.cells_million and record.weight_kg else None
        yield {
            "participant": record.participant,
            "number": record.number,
            "planned_day": planned,
            "given": "yes" if record.given else "missed",
            "started": book.local(start),
            "ended": book.local(record.ended_at),
            "day": (book.local_day(start) - book.local_day(first)).days if start and first else None,
            "minutes": (record.ended_at - start).total_seconds() / 60 if start and record.ended_at else None,
            "weight_kg": record.weight_kg,
            "cells_million": record.cells_million,
            "cells_million_per_kg": round(per_kg, 6) if per_kg is not None else None,
            "planned_amount": amount,
            "unit": book.grid.unit,
            "percent_of_plan": round(100 * per_kg / amount, 1) if weighed and per_kg and amount else None,
            "lot": record.lot or None,
            "viability_percent": record.viability_percent,
            "release_certificate": record.release_certificate or None,
            "premedication": book.local(record.premedication_at),
            "operator": record.operator or None,
            "verifier": record.verifier or None,
            "interruption": record.interruption or None,
            "findings": "; ".join(record.findings) or None,
        } | _by(entry)


def grade_history(person: Person, event: str) -> list[tuple[str, int]]:
    """Grades of an event with the day each began, in the order of the days; the first from the onset on."""
    first, *later = person.grades[event]
    ordered = sorted(((on, grade) for on, grade in later if on is not None), key=lambda pair: pair[0])
    return [(person.events[event].onset, first[1]), *((on.isoformat(), grade) for on, grade in ordered)]


def _sae_clock(book: Book, event: r.AdverseEvent, sent: datetime | None, at: datetime) -> Row:
    if not event.serious or event.aware_at is None:
        return {}
    try:
        clock = serious_event_clock(event.aware_at, now=max(at, sent or at), zone=book.state.zone, sent_at=sent)
    except RecordedValueError as error:
        return {"sae_clock": str(error)}
    hours = f"{abs(clock.hours_left):.1f} h"
    if sent is None:
        words = f"OVERDUE by {hours}" if clock.late else f"open, {hours} left"
    else:
        words = f"LATE: reported {hours} after it was due" if clock.late else f"reported {hours} before it was due"
    return {"sae_due": book.local(clock.due), "sae_reported": book.local(sent), "sae_clock": words}


def _adverse_events(book: Book, at: datetime) -> Iterator[Row]:
    sent: dict[tuple[str, str], datetime] = {}
    for _, report in book.all_of(r.SeriousEventReported):
        key = (report.participant, report.event)
        sent[key] = min(sent.get(key, report.sent_at), report.sent_at)
    for entry, record in book.all_of(r.AdverseEvent):
        person, window = book.state.people[record.participant], book.window(book.state.people[record.participant])
        history = grade_history(person, record.event)
        place = window.place(record.onset) if window is not None and person.first_infusion is not None else None
        proposed = [name for name, each in person.adjudications.items() if record.event in each.proposed.events]
        yield {
            "participant": record.participant,
            "event": record.event,
            "verbatim": record.verbatim,
            "term": record.term,
            "onset": record.onset,
            "ended": record.ended,
            "place_in_window": place.words if place is not None else "before the first infusion",
            "grade_at_onset": history[0][1],
            "grade_now": history[-1][1],
            "highest_grade": max(grade for _, grade in history),
            "grade_history": "; ".join(f"{on}: grade {grade}" for on, grade in history),
            "attribution": record.attribution,
            "infusion": record.infusion,
            "adjudications": ", ".join(proposed) or None,
            "serious": "yes" if record.serious else "no",
            "serious_because": "; ".join(record.serious_because) or None,
            "aware": book.local(record.aware_at),
            **_sae_clock(book, record, sent.get((record.participant, record.event)), at),
        } | _by(entry)


def _adjudications(book: Book, at: datetime) -> Iterator[Row]:
    proposals = [(entry, record) for entry, record in book.all_of(r.DltProposed)]
    decided = list(book.all_of(r.DltDecided))
    for entry, proposal in proposals:
        person = book.state.people[proposal.participant]
        window = book.window(person)
        row = {
            "participant": proposal.participant,
            "adjudication": proposal.adjudication,
            "criterion": proposal.criterion,
            "events": ", ".join(proposal.events) or None,
            "onset": proposal.onset,
            "place_in_window": window.place(proposal.onset).words if window is not None else None,
            "proposed_by": entry.actor,
            "proposed_at": entry.recorded_at,
        }
        mine = [
            (e, d)
            for e, d in decided
            if (d.participant, d.adjudication) == (proposal.participant, proposal.adjudication)
        ]
        if not mine:
            yield row | {"decision": 0, "outcome": "open: counts as pending", "entry": entry.seq}
        for number, (signed, decision) in enumerate(mine, 1):
            yield row | {
                "decision": number,
                "outcome": decision.outcome.replace("_", " "),
                "in_force": "yes" if number == len(mine) else "superseded",
                "attribution": decision.attribution,
                "discussion": decision.discussion,
                "signed": signature_words(decision.signature),
                "entry": signed.seq,
            }


def signature_words(signature: Mapping[str, Any]) -> str:
    """A signature with printed name, role, time and meaning."""
    role = str(signature.get("role", "")).replace("_", " ")
    return (
        f"{signature.get('printed_name', '')}{f' ({role})' if role else ''}, {signature.get('signed_at', '')}: "
        f"{signature.get('meaning', '')}"
    )


def _laboratory(book: Book, at: datetime) -> Iterator[Row]:
    for entry, record in book.all_of(r.Laboratory):
        yield {
            "participant": record.participant,
            "analyte": record.analyte,
            "value": record.value,
            "unit": record.unit,
            "sampled": book.local(record.sampled_at),
        } | _by(entry)


def _transfusions(book: Book, at: datetime) -> Iterator[Row]:
    for entry, record in book.all_of(r.Transfusion):
        yield {
            "participant": record.participant,
            "product": record.product.replace("_", " "),
            "units": record.units,
            "given": book.local(record.given_at),
        } | _by(entry)


def _visits(book: Book, at: datetime) -> Iterator[Row]:
    for entry, record in book.all_of(r.Visit):
        first = book.state.people[record.participant].first_infusion
        yield {
            "participant": record.participant,
            "visit": record.visit,
            "done_on": _day(record.done_on),
            "day": (record.done_on - book.local_day(first)).days if record.done_on and first else None,
            "missed_because": record.missed_because or None,
        } | _by(entry)


def _responses(book: Book, at: datetime) -> Iterator[Row]:
    for entry, record in book.all_of(r.ResponseRecorded):
        first = book.state.people[record.participant].first_infusion
        yield {
            "participant": record.participant,
            "on": _day(record.on),
            "day": (record.on - book.local_day(first)).days if first else None,
            "criteria": record.criteria,
            "assessor": record.assessor,
        } | _by(entry)


def _deviations(book: Book, at: datetime) -> Iterator[Row]:
    for entry, record in book.all_of(r.Deviation):
        row = {"participant": record.participant, "category": record.category, "description": record.description}
        yield row | _by(entry)


def _queries(book: Book, at: datetime) -> Iterator[Row]:
    answers = list(book.all_of(r.QueryAnswered))
    closings = list(book.all_of(r.QueryClosed))
    for entry, record in book.all_of(r.QueryRaised):
        said = [f"{e.recorded_at} {e.actor}: {a.answer}" for e, a in answers if a.query == record.query]
        ends = [
            f"{e.recorded_at} {e.actor}: {'re-opened' if c.reopened else 'closed'}"
            for e, c in closings
            if c.query == record.query
        ]
        yield {
            "query": record.query,
            "participant": record.participant,
            "about_entry": record.about,
            "critical": "yes" if record.critical else "no",
            "status": book.state.queries[record.query].status,
            "question": record.question,
            "answers": "\n".join(said) or None,
            "closings": "\n".join(ends) or None,
        } | _by(entry)


def _decisions(book: Book, at: datetime) -> Iterator[Row]:
    contradicted, told = book.state.contradicted(), list(book.all_of(r.Circulated))
    for entry, record in book.all_of(r.CommitteeRecorded):
        decision = book.state.decisions[entry.seq]
        advice, snapshot = decision.recommendation.advice, decision.snapshot
        names = [f"{each.dose}.{each.frequency}" for each in record.selected]
        changed = contradicted.get(entry.seq)
        yield {
            "meeting": record.meeting,
            "data_up_to_entry": snapshot.as_of,
            "data_hash": snapshot.data_hash,
            "gaps": "; ".join(snapshot.gaps) or "none",
            "recommendation_entry": record.recommendation,
            "design": advice.get("design"),
            "recommended": advice.get("text") or advice.get("action"),
            "reasons": ", ".join(advice.get("reasons", ())) or None,
            "decision": record.action.replace("_", " "),
            "dose_level": record.regimen.dose if record.regimen else None,
            "frequency_level": record.regimen.frequency if record.regimen else None,
            "participants": record.size or None,
            "selected": ", ".join(names) or None,
            "departs": "yes" if departs(record, advice) else "no",
            "justification": record.justification or None,
            "drawn_with": draw_words(advice["draw"]) if "draw" in advice else None,
            "draw_set_aside": record.draw_set_aside or None,
            "discussion": record.discussion,
            "dissent": record.dissent or None,
            "attendance": "; ".join(record.attendance),
            "acknowledged": "; ".join(record.acknowledged) or None,
            "signatures": "\n".join(signature_words(each) for each in decision.signatures) or "none: not in effect",
            "in_effect_from_entry": decision.effective,
            "circulated": "\n".join(
                f"{book.local(each.at)}: {', '.join(each.to)}" for _, each in told if each.committee == entry.seq
            )
            or None,
            "contradicted_since": f"yes: outcome of {', '.join(changed)} has changed" if changed else "no",
        } | _by(entry)


def _signatures(book: Book, at: datetime) -> Iterator[Row]:
    for entry, record in book.current:
        signature = getattr(record, "signature", None)
        if signature is not None:
            names = ("printed_name", "user", "role", "signed_at", "meaning", "method", "record_hash")
            yield {name: signature.get(name) for name in names} | {"signs": entry.type, "entry": entry.seq}


def _delegations(book: Book, at: datetime) -> Iterator[Row]:
    ended = list(book.all_of(r.DelegationEnded))
    for entry, record in book.all_of(r.Delegated):
        ends, by = record.ends, None
        for later, end in ended:
            same = later.seq > entry.seq and (end.user, end.role) == (record.user, record.role)
            if same and record.starts <= end.ends and (ends is None or end.ends < ends):  # as the state counts it
                ends, by = end.ends, later.actor
        yield {
            "user": record.user,
            "role": record.role.replace("_", " "),
            "starts": _day(record.starts),
            "ends": _day(ends),
            "ended_by": by,
        } | _by(entry)


_BY = "recorded_by recorded_at entry"
LISTINGS: Final[dict[str, tuple[str, Any]]] = {
    "participants": (
        "participant status screened consented consent_form eligibility screen_failure dose_level frequency_level "
        "regimen role stage replaces assigned first_infusion infusions_given infusions_planned w1_end w2_end "
        "deciding_window outcome moderate_toxicity window_completed not_evaluable_because discontinued_because left "
        "left_on",
        _participants,
    ),
    "infusions": (
        "participant number planned_day given started ended day minutes weight_kg cells_million cells_million_per_kg "
        "planned_amount unit percent_of_plan lot viability_percent release_certificate premedication operator verifier "
        f"interruption findings {_BY}",
        _infusions,
    ),
    "adverse_events": (
        "participant event verbatim term onset ended place_in_window grade_at_onset grade_now highest_grade "
        "grade_history attribution infusion adjudications serious serious_because aware sae_due sae_reported sae_clock "
        f"{_BY}",
        _adverse_events,
    ),
    "adjudications": (
        "participant adjudication criterion events onset place_in_window proposed_by proposed_at decision outcome "
        "in_force attribution discussion signed entry",
        _adjudications,
    ),
    "laboratory": (f"participant analyte value unit sampled {_BY}", _laboratory),
    "transfusions": (f"participant product units given {_BY}", _transfusions),
    "visits": (f"participant visit done_on day missed_because {_BY}", _visits),
    "responses": (f"participant on day criteria assessor {_BY}", _responses),
    "deviations": (f"participant category description {_BY}", _deviations),
    "queries": (f"query participant about_entry critical status question answers closings {_BY}", _queries),
    "decisions": (
        "meeting data_up_to_entry data_hash gaps recommendation_entry design recommended reasons decision dose_level "
        "frequency_level participants selected departs justification drawn_with draw_set_aside discussion dissent "
        f"attendance acknowledged signatures in_effect_from_entry circulated contradicted_since {_BY}",
        _decisions,
    ),
    "signatures": ("printed_name user role signed_at meaning method signs record_hash entry", _signatures),
    "delegations": (f"user role starts ends ended_by {_BY}", _delegations),
}
"""Every listing: its columns and the function that gives its rows. The audit trail comes beside them."""
