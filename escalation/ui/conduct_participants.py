"""Participants: the list, one participant's course with all records in order, and what can be recorded now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import streamlit as st

from escalation.conduct import records as r
from escalation.conduct.roles import Permission
from escalation.conduct.state import Person
from escalation.conduct.status import status_form
from escalation.conduct.treatment import dlt_window, regimen_of
from escalation.conduct.windows import DateSpan
from escalation.report.charts.participants import Mark, Span, participant_timeline
from escalation.report.conduct_tables import audit_rows
from escalation.ui import blocks
from escalation.ui.conduct_acts import act, receipt_at, show_receipt
from escalation.ui.conduct_desk import PARTICIPANT, Desk, barred, go
from escalation.ui.conduct_eligibility import eligibility_shown
from escalation.ui.conduct_fields import ask, fields_of, record_words
from escalation.ui.conduct_participant_acts import ACTS, offered, participant_act, writer


def participants_view(desk: Desk) -> None:
    """The list, or the participant the address names."""
    code = st.query_params.get(PARTICIPANT, "")
    if code and code not in desk.state.people:
        st.error(blocks.plain(f"There is no participant {code} in this trial."))
        code = ""
    _choice(desk, code)
    if code:
        _participant(desk, desk.state.people[code])
    else:
        _list(desk)


def _choice(desk: Desk, code: str) -> None:
    codes = list(desk.state.people)
    if not codes:
        return
    key = f"participant:{desk.trial}:{code}"

    def chosen() -> None:
        go(participant=st.session_state[key] or "")

    place = codes.index(code) if code else None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox("Participant", codes, index=place, placeholder="Everybody", key=key, on_change=chosen)
        if code:
            st.button("All participants", on_click=go, kwargs={"participant": ""})


def _list(desk: Desk) -> None:
    form = status_form(desk.state, desk.trial, desk.now, desk.head)
    rows = [
        (each["participant"], each["status"], each["level"] or "", each["role"] or "", day_bar(each), each["next"])
        for each in form["participants"]
    ]
    if rows:
        blocks.records(("participant", "status", "level", "role", "DLT window", "next"), rows)
    else:
        st.info("Nobody is screened yet.")
    with st.container(horizontal=True):
        for each in form["participants"]:
            code = each["participant"]
            st.button(f"Open {code}", key=f"open:{code}", on_click=go, kwargs={"participant": code})
    st.subheader("Screen a candidate", anchor=False)
    if barred(desk, Permission.SCREEN):
        return
    fields = fields_of(r.Screened, "participant")
    act(
        desk,
        "screen",
        lambda key: ask(fields, key, desk.now),
        writer(desk, r.Screened, fields, {}),
        button="Record screening",
        again="Screen another",
    )


def day_bar(form: dict[str, Any]) -> str | blocks.Markup:
    """The day of the window, with how much of it is over."""
    if form["day"] is None:
        return ""
    if form["outcome"] != "pending":
        return {"dlt": "DLT", "complete": "complete", "not_evaluable": "not evaluable"}.get(form["outcome"], "")
    over = form["day"] > form["last_day"]
    said = (
        f"over since {form['last_date']}"
        if over
        else f"day {form['day']} of {form['last_day']}, to {form['last_date']}"
    )
    return blocks.bar(min(form["day"] / max(form["last_day"], 1), 1.0), said, "#E69F00")


def _participant(desk: Desk, person: Person) -> None:
    status = status_form(desk.state, desk.trial, desk.now, desk.head)
    form = next(each for each in status["participants"] if each["participant"] == person.code)
    st.subheader(f"{person.code}: {person.status}", anchor=False)
    _cards(form)
    tasks = [each for each in status["tasks"] if each["participant"] == person.code]
    blocks.lines(task_line(each) for each in tasks)
    _acts(desk, person)
    _course(desk, person)
    eligibility_shown(desk, person)
    _records(desk, person)
    blocks.trace(desk.state.in_force(), f"trial {desk.trial}, entry {desk.head.seq}, head {desk.head.hash[:16]}")


def task_line(task: dict[str, Any]) -> tuple[str, str]:
    """A task with its urgency in one word."""
    urgent = {"serious_late", "serious_due", "suspended", "review_due", "contradicted", "contradiction", "adjudicate"}
    urgent |= {"consider_dlt", "infusion_overdue", "infusion_missed", "void"}
    return ("now" if task["kind"] in urgent else "soon"), task["text"]


def _cards(form: dict[str, Any]) -> None:
    given = "" if form["infusions_planned"] is None else f"{form['infusions_given']} of {form['infusions_planned']}"
    day = "" if form["day"] is None else f"day {form['day']}"
    blocks.cards(
        [
            ("Counts as", form["outcome"].replace("_", " "), "in the decision"),
            ("Level", form["level"] or "none", form["role"] or "not assigned"),
            ("Infusions", given or "none", form["next"]),
            ("DLT window", day or "not begun", f"last day {form['last_date']}" if form["last_date"] else ""),
        ]
    )


def _acts(desk: Desk, person: Person) -> None:
    """What can be recorded now; a receipt stands in the place of the form it came from."""
    st.markdown("#### Record")
    receipt = receipt_at(f"participant:{person.code}:")
    if receipt is not None:
        show_receipt(desk, receipt, "Record another")
        return
    allowed = [name for name in offered(desk, person) if desk.may(ACTS[name].permission)]
    if not allowed:
        if not barred(desk, Permission.RECORD_EVENT):
            st.caption("Nothing can be recorded of this participant now.")
        return
    chosen = st.pills(
        "What happened?", allowed, format_func=lambda name: ACTS[name].label, key=f"act:{desk.trial}:{person.code}"
    )
    if chosen is not None:
        participant_act(desk, person, chosen)


def _course(desk: Desk, person: Person) -> None:
    if person.first_infusion is None or person.assigned is None:
        return
    st.markdown("#### Course")
    spans, marks, today = course_of(desk, person)
    told = "; ".join([*(f"{s.lane}: {s.said}" for s in spans), *(f"{m.lane}: {m.said}" for m in marks)])
    st.altair_chart(participant_timeline(spans, marks, today), alt=f"Course of {person.code}. {told}")


def course_of(desk: Desk, person: Person) -> tuple[list[Span], list[Mark], float]:
    """Windows, infusions, visits and events of a treated participant in days from the first infusion, and today."""
    assert person.first_infusion is not None
    first = person.first_infusion.astimezone(desk.state.zone).date()

    def day(when: date) -> float:
        return float((when - first).days)

    today = day(desk.today)
    spans = []
    for window in dlt_window(desk.state, person).shown(desk.today):
        lane = f"{window.name}, decides" if window.decides else window.name
        spans.append(Span(lane, 0, window.last_day, f"day 0 to {window.last_day}, until {window.last_date}"))
    schedule = desk.state.in_force().protocol.grid.schedule(regimen_of(desk.state, person))
    marks = [Mark("infusions", float(each), "planned", f"planned on day {each}") for each in schedule]
    for number, infusion in person.infusions.items():
        if infusion.started_at is not None:
            on = day(infusion.started_at.astimezone(desk.state.zone).date())
            marks.append(Mark("infusions", on, "given", f"infusion {number} given on day {on:g}"))
        else:
            marks.append(Mark("infusions", float(schedule[number - 1]), "missed", f"infusion {number} missed"))
    for name, visit in person.visits.items():
        if visit.done_on is not None:
            marks.append(Mark("visits", day(visit.done_on), "visit", f"{name} on day {day(visit.done_on):g}"))
    for code in person.events:
        spans += list(_grades(desk, person, code, first, today))
    for code, each in person.adjudications.items():
        if each.outcome == "dlt":
            onset = DateSpan.read(each.proposed.onset).earliest
            marks.append(Mark("adjudicated", 0.0 if onset is None else day(onset), "DLT", f"{code}: DLT"))
    return spans, marks, today


def _grades(desk: Desk, person: Person, code: str, first: date, today: float) -> Iterator[Span]:
    """An event as one span for each of its grades; an unknown onset is drawn from the first infusion on."""
    event = person.events[code]
    begun, ended = DateSpan.read(event.onset).earliest, None
    if event.ended is not None:
        ended = DateSpan.read(event.ended).latest
    steps = [(begun or first, person.grades[code][0][1])]
    steps += sorted((on, grade) for on, grade in person.grades[code][1:] if on is not None)
    last = today if ended is None else float((ended - first).days)
    for place, (on, grade) in enumerate(steps):
        end = float((steps[place + 1][0] - first).days) if place + 1 < len(steps) else last
        yield Span(f"{code} {event.term}", float((on - first).days), end, f"grade {grade} from {on}", grade)


def _records(desk: Desk, person: Person) -> None:
    """Every entry that concerns the participant, in the order recorded."""
    st.markdown("#### All records, in order")
    mended = {e.payload["entry"]: e.seq for e in desk.book.entries if e.type == "corrected"}
    rows = [
        (
            str(entry.seq),
            desk.local(entry.recorded_at),
            entry.type.replace("_", " "),
            record_words(entry, desk.zone),
            entry.actor,
            (entry.reason or "") + (f" (corrected by entry {mended[entry.seq]})" if entry.seq in mended else ""),
        )
        for entry in audit_rows(desk.book.entries, person.code)
    ]
    blocks.records(("entry", "recorded", "what", "values", "by", "reason"), rows)
