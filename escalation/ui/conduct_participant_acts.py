"""What can be recorded of a participant now, and the form of each act."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st
from pydantic import BaseModel

from escalation.conduct import records as r
from escalation.conduct.acts import NEEDED
from escalation.conduct.backfilling import next_backfill, open_regimens
from escalation.conduct.criteria import load_criteria
from escalation.conduct.infusions import infusion_course
from escalation.conduct.roles import Permission
from escalation.conduct.service import Receipt
from escalation.conduct.state import Person
from escalation.conduct.status import VISITS_KNOWN
from escalation.conduct.treatment import regimen_of
from escalation.conduct.units import ANALYTES
from escalation.conduct.visits import visit_schedule
from escalation.regimens import Regimen
from escalation.ui.conduct_acts import Attempt, Values, act
from escalation.ui.conduct_desk import Desk
from escalation.ui.conduct_eligibility import eligibility_form
from escalation.ui.conduct_fields import Field, ask, fields_of, read_fields, site_minute


@dataclass(frozen=True, slots=True)
class Kind:
    """An act on a participant: what it is called, the record it makes, and the fields it asks for."""

    label: str
    record: type[r.Record]
    fields: tuple[str, ...] = ()
    button: str = "Record"

    @property
    def permission(self) -> Permission:
        return NEEDED[self.record]


_INFUSION: Final = (
    *("started_at", "ended_at", "weight_kg", "cells_million", "viability_percent", "lot", "release_certificate"),
    *("premedication_at", "operator", "verifier", "interruption"),
)
_EVENT: Final = (
    *("event", "term", "verbatim", "grade", "attribution", "onset", "ended", "infusion"),
    *("serious", "aware_at", "serious_because"),
)

ACTS: Final[dict[str, Kind]] = {
    "consent": Kind("Consent", r.Consented, ("form_version", "consented_at")),
    "eligibility": Kind("Eligibility", r.EligibilityRecorded, ("verdict", "findings")),
    "trigger": Kind("Condition that starts treatment", r.Triggered, ("description",)),
    "assign": Kind("Assign", r.Assigned, button="Assign"),
    "backfill": Kind("Backfill", r.Assigned, button="Backfill"),
    "infusion": Kind(
        "Infusion",
        r.InfusionRecorded,
        _INFUSION,
    ),
    "missed": Kind("Infusion missed", r.InfusionRecorded, ("interruption",)),
    "event": Kind(
        "Adverse event",
        r.AdverseEvent,
        _EVENT,
    ),
    "regrade": Kind("Grade changed", r.Regraded, ("event", "grade", "on")),
    "report": Kind("Serious event reported", r.SeriousEventReported, ("event", "sent_at")),
    "propose": Kind("Propose DLT", r.DltProposed, ("adjudication", "onset", "events", "criterion"), "Propose"),
    "complete": Kind("Window completed", r.WindowCompleted, ("on",)),
    "not_evaluable": Kind("Not evaluable", r.NotEvaluable, ("cause",)),
    "discontinue": Kind("Treatment ends early", r.Discontinued, ("on", "cause")),
    "left": Kind("Withdrawal, death, completed", r.LeftStudy, ("how", "on", "cause")),
    "laboratory": Kind("Laboratory value", r.Laboratory, ("analyte", "value", "unit", "sampled_at")),
    "transfusion": Kind("Transfusion", r.Transfusion, ("product", "units", "given_at")),
    "response": Kind("Response", r.ResponseRecorded, ("on", "criteria", "assessor")),
    "visit": Kind("Visit", r.Visit, ("visit", "done_on", "missed_because")),
    "screen_failure": Kind("Screen failure", r.ScreenFailed, ("description",)),
    "deviation": Kind("Deviation", r.Deviation, ("category", "description")),
    "query": Kind("Query", r.QueryRaised, ("query", "about", "question", "critical"), "Raise query"),
}
"""Every act on a participant, by its name in addresses."""


def offered(desk: Desk, person: Person) -> list[str]:
    """What a participant's course may bring next, the likeliest first; the gates decide when it is recorded."""
    always = ["deviation", "query"]
    if person.failed:
        return always
    samples = ["laboratory", "transfusion", "visit"]
    if person.consent is None:
        return ["consent", "screen_failure", *always]
    if person.assigned is None:
        places = ["assign", *(["backfill"] if open_regimens(desk.state) else [])]
        first = ["eligibility"] if person.verdict != "eligible" else [*_trigger(desk, person), *places, "eligibility"]
        return [*first, "screen_failure", "left", "event", *samples, "consent", *always]
    infusion = [] if _next_infusion(desk, person) is None else ["infusion"]
    if person.first_infusion is None:
        return [*infusion, "left", "event", *samples, "consent", *always]
    later = [*infusion, "missed"] if infusion else []
    events = ["event", *(["regrade"] if person.events else []), *(["report"] if _unreported(person) else [])]
    open_window = ["complete", "not_evaluable"] if person.outcome == "pending" else []
    response = ["response"] if person.response is None else []
    return [*later, *events, "propose", *open_window, *response, *samples, "discontinue", "left", "consent", *always]


def _trigger(desk: Desk, person: Person) -> list[str]:
    criteria = desk.state.opened.criteria if desk.state.opened is not None else None
    waits = criteria is not None and load_criteria(criteria).consented_not_yet_triggered
    return ["trigger"] if waits and not person.triggered else []


def _next_infusion(desk: Desk, person: Person) -> int | None:
    """Number of the infusion that is to be recorded next, None when none is planned any more."""
    planned = desk.state.in_force().protocol.grid.schedule(regimen_of(desk.state, person))
    number = len(person.infusions) + 1
    return number if number <= len(planned) and not person.discontinued and person.left is None else None


def _unreported(person: Person) -> list[str]:
    return [code for code, each in person.events.items() if each.serious and code not in person.reported]


def participant_act(desk: Desk, person: Person, name: str) -> None:
    """The form of one act on a participant."""
    kind, area = ACTS[name], area_of(person, name)
    if name == "eligibility" and desk.state.opened is not None and desk.state.opened.criteria is not None:
        eligibility_form(desk, person, area)
        return
    if name in ("assign", "backfill"):
        _assignment(desk, person, area, backfill=name == "backfill")
        return
    fields = _fields(desk, person, name, kind)
    fixed: dict[str, Any] = {"participant": person.code}
    if name in ("infusion", "missed"):
        number = _next_infusion(desk, person) or 1
        fixed |= {"number": number, "given": name == "infusion"}
        _planned(desk, person, number)
    act(
        desk, area, lambda key: ask(fields, key, desk.now), writer(desk, kind.record, fields, fixed), button=kind.button
    )


def area_of(person: Person, name: str) -> str:
    """The place on the screen where an act on a participant is under way."""
    return f"participant:{person.code}:{name}"


def writer(
    desk: Desk, record: type[BaseModel], fields: list[Field], fixed: Mapping[str, Any], now_where_empty: str = ""
) -> Callable[[Values, Attempt], Receipt]:
    """What a form does when it is sent: the record of its fields, made by the service."""

    def write(values: Values, attempt: Attempt) -> Receipt:
        given = read_fields(fields, values, desk.state.zone, desk.now)
        if now_where_empty:
            given.setdefault(now_where_empty, desk.now)
        made = record.model_validate({**given, **fixed})
        assert isinstance(made, r.Record)
        return desk.conduct.record(desk.token, desk.trial, made, expected_version=attempt.version, key=attempt.key)

    return write


def next_code(letter: str, taken: Mapping[str, Any]) -> str:
    """The next free code: E1, E2 and so on."""
    number = len(taken) + 1
    while f"{letter}{number}" in taken:
        number += 1
    return f"{letter}{number}"


def _fields(desk: Desk, person: Person, name: str, kind: Kind) -> list[Field]:
    """The fields of an act with what stands in them at first."""
    now, found = site_minute(desk.now), {field.name: field for field in fields_of(kind.record, *kind.fields)}

    def start(field: str, first: Any = None, **more: Any) -> None:
        if field in found:
            found[field] = found[field].starting(first, **more)

    for moment in ("consented_at", "started_at", "sent_at", "sampled_at", "given_at"):
        start(moment, now, required=True)
    for day in ("on", "done_on"):
        start(day, desk.today, required=day == "on")
    if name == "infusion":
        for needed in ("weight_kg", "cells_million", "viability_percent", "lot", "release_certificate"):
            start(needed, None, required=True)
        for needed in ("operator", "verifier"):
            start(needed, required=True)
        start("interruption", label="Interruption or delay")
        start("operator", desk.user.full_name, required=True)
        last = [each.weight_kg for each in person.infusions.values() if each.weight_kg is not None]
        start("weight_kg", last[-1] if last else None, required=True)
    if name == "missed":
        start("interruption", label="Why it was missed", required=True)
    if name == "event":
        start("event", next_code("E", person.events))
        start("onset", desk.today.isoformat(), required=True)
        given = tuple(number for number, each in person.infusions.items() if each.given)
        start("infusion", given[-1] if given else None, kind="choice", choices=given)
        if not given:
            del found["infusion"]
    if name in ("regrade", "report"):
        start("event", kind="choice", choices=tuple(person.events) if name == "regrade" else tuple(_unreported(person)))
    if name == "propose":
        start("adjudication", next_code("A", person.adjudications))
        unjudged = person.unjudged
        start("events", unjudged, kind="several", choices=tuple(person.events))
        onset = person.events[unjudged[0]].onset if unjudged else desk.today.isoformat()
        start("onset", onset, required=True)
    if name == "laboratory":
        start("analyte", kind="choice", choices=tuple(sorted(each.label for each in ANALYTES.values())))
    if name == "query":
        start("query", next_code("Q", desk.state.queries))
    if name == "visit" and desk.state.in_force().id in VISITS_KNOWN and person.assigned is not None:
        protocol = desk.state.in_force().protocol
        schedule = protocol.grid.schedule(regimen_of(desk.state, person))
        names = tuple(each.name for each in visit_schedule(schedule, window=protocol.dlt_window))
        start("visit", kind="choice", choices=tuple(each for each in names if each not in person.visits))
    if name == "eligibility":
        start("verdict", required=True)
        start("findings", label="Criteria not met, one a line", help="Empty when the participant is eligible.")
    return list(found.values())


def _planned(desk: Desk, person: Person, number: int) -> None:
    """What the plan says about an infusion, beside what was done."""
    grid, regimen = desk.state.in_force().protocol.grid, regimen_of(desk.state, person)
    schedule = grid.schedule(regimen)
    amount = f"{grid.amount(regimen):g} {grid.unit}"
    if number == 1:
        st.markdown(f"**Infusion 1 of {len(schedule)}**, planned {amount}. The DLT window starts with it.")
        return
    given = {n: each.started_at for n, each in person.infusions.items() if each.given and each.started_at is not None}
    missed = [n for n, each in person.infusions.items() if not each.given]
    course = infusion_course(schedule, given, zone=desk.state.zone, today=desk.today, missed=missed)
    due = course[number - 1]
    st.markdown(
        f"**Infusion {number} of {len(schedule)}**, planned {amount} on {due.planned}, "
        f"from {due.opens} until {due.closes}; {due.timing} today."
    )


def _assignment(desk: Desk, person: Person, area: str, *, backfill: bool) -> None:
    trial = desk.state.trial_state()
    open_level = "no regimen is open" if trial.stage == "closed" else trial.rule.grid.describe(trial.regimen)
    line = f"Assign **{person.code}** to the open regimen: **{open_level}**."
    if backfill:
        below = next_backfill(desk.state, person.code)
        level = None if below is None else Regimen(below.regimen.dose, below.regimen.frequency)
        where = "no regimen is open" if level is None else trial.rule.grid.describe(trial.rule.grid.index(level))
        line = f"Backfill **{person.code}** at the open regimen below the current one: **{where}**."

    def show(key: Callable[[str], str]) -> list[str]:
        st.markdown(line)
        return []

    def write(values: Values, attempt: Attempt) -> Receipt:
        return desk.conduct.assign(
            desk.token,
            desk.trial,
            person.code,
            backfill=backfill,
            expected_version=attempt.version,
            key=attempt.key,
        )

    act(desk, area, show, write, button="Backfill" if backfill else "Assign")
