"""Eligibility by criterion: an answer with value, unit and source for every question; the verdict is worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final

import streamlit as st

from escalation.conduct import records as r
from escalation.conduct.criteria import (
    NEVER,
    Answer,
    CodeRule,
    Criteria,
    Criterion,
    EventRule,
    JudgementRule,
    Question,
    ValueRule,
    load_criteria,
)
from escalation.conduct.service import Receipt
from escalation.conduct.state import Person
from escalation.conduct.units import ULN, analyte
from escalation.trial_desk import refused
from escalation.ui import blocks
from escalation.ui.conduct_acts import Attempt, Values, act
from escalation.ui.conduct_desk import Desk
from escalation.ui.conduct_fields import at_site, site_minute, word

_YES_NO: Final = ("applies", "does not apply")
_DAY_OR_NEVER: Final = ("never", "on")


def eligibility_form(desk: Desk, person: Person, area: str) -> None:
    """The questions of the trial's criteria, one after the other; the answers are recorded together."""
    assert desk.state.opened is not None
    assert desk.state.opened.criteria is not None
    criteria = load_criteria(desk.state.opened.criteria)
    before = last_answers(desk, person)
    if criteria.note:
        st.caption(blocks.plain(criteria.note))

    own = st.toggle(
        "Answers with their own source and time", bool(before), key=f"act:own:{desk.trial}:{person.code}:{bool(before)}"
    )

    def show(key: Callable[[str], str]) -> list[str]:
        return list(_show(criteria, before, key, desk, person, own=own))

    def write(values: Values, attempt: Attempt) -> Receipt:
        answers, anchors = read_answers(criteria, values, desk)
        return desk.conduct.record_eligibility(
            desk.token,
            desk.trial,
            person.code,
            answers,
            anchors=anchors,
            expected_version=attempt.version,
            key=attempt.key,
        )

    act(desk, area, show, write, button="Evaluate and record")


def last_answers(desk: Desk, person: Person) -> dict[str, dict[str, Any]]:
    """The answers of the last eligibility form of a participant, by question."""
    found: dict[str, dict[str, Any]] = {}
    for _, record in desk.book.all_of(r.EligibilityRecorded):
        if record.participant == person.code:
            found = {str(each["criterion"]): each for each in record.answers}
    return found


def _show(
    criteria: Criteria,
    before: Mapping[str, dict[str, Any]],
    key: Callable[[str], str],
    desk: Desk,
    person: Person,
    *,
    own: bool,
) -> Iterator[str]:
    """Show the days, the common source, and every question under its criterion; the names of the fields."""
    st.markdown("**Days the criteria count from**")
    for column, (name, told) in zip(st.columns(max(len(criteria.anchors), 1)), criteria.anchors.items(), strict=False):
        day = _screened_on(desk, person) if name == "screening" else desk.today
        column.date_input(told, day, key=key(f"anchor:{name}"), format="YYYY-MM-DD", min_value=_FIRST)
        yield f"anchor:{name}"
    st.markdown("**For every answer that says nothing else**")
    left, middle, right = st.columns(3)
    left.text_input("Source document", "", key=key("source"), help="Where the values stand, for instance a report.")
    middle.datetime_input(
        "Sampled or assessed", site_minute(desk.now), step=60, format="YYYY-MM-DD", key=key("sampled")
    )
    right.text_input("Assessor", desk.user.full_name, key=key("assessor"))
    yield from ("source", "sampled", "assessor")
    if criteria.facts:
        st.markdown("**About the participant**")
        for fact in criteria.facts:
            yield from _question(criteria.questions[fact.id], before.get(fact.id), key, desk, own=own)
    asked = {fact.id for fact in criteria.facts}
    for criterion in criteria.criteria:
        _heading(criterion)
        for name, question in criteria.questions.items():
            if name not in asked and (name == criterion.id or name.startswith(f"{criterion.id}.")):
                yield from _question(question, before.get(name), key, desk, own=own)


_FIRST: Final = date(1900, 1, 1)


def _screened_on(desk: Desk, person: Person) -> date:
    """The day the participant's screening was recorded."""
    return desk.book.local_day(desk.book.entries[person.screened - 1].recorded_at)


def _heading(criterion: Criterion) -> None:
    only = ", ".join(f"{name} is {' or '.join(codes)}" for name, codes in criterion.applies_when.items())
    when = f" *Only when {only}.*" if only else ""
    st.markdown(f"**{criterion.id}** ({criterion.kind}) {blocks.plain(criterion.wording)}{when}")
    if criterion.note:
        st.caption(blocks.plain(criterion.note))


_QUIET: Final[dict[str, Any]] = {"label_visibility": "collapsed"}
"""Labels that only a screen reader needs, because the row says them."""


def _question(
    question: Question, before: Mapping[str, Any] | None, key: Callable[[str], str], desk: Desk, *, own: bool
) -> Iterator[str]:
    """The fields of one question: the answer in its kind, and where asked for a source and time of its own."""
    name, rule, known = question.id, question.rule, before or {}
    value, wide, *rest = st.columns([4, 3, 3, 3] if own else [3, 2], vertical_alignment="bottom")
    label = blocks.plain(question.wording)
    if isinstance(rule, JudgementRule):
        met = known.get("met")
        place = None if met is None else 0 if met else 1
        value.radio(label, _YES_NO, index=place, horizontal=True, key=key(f"{name}:met"))
        yield f"{name}:met"
    elif isinstance(rule, CodeRule):
        place = rule.values.index(known["value"]) if known.get("value") in rule.values else None
        value.selectbox(label, rule.values, index=place, format_func=word, key=key(f"{name}:code"))
        yield f"{name}:code"
    elif isinstance(rule, EventRule):
        given = known.get("value")
        place = None if given is None else 0 if given == NEVER else 1
        value.radio(label, _DAY_OR_NEVER, index=place, horizontal=True, key=key(f"{name}:ever"))
        day = date.fromisoformat(given) if isinstance(given, str) and given != NEVER else None
        wide.date_input(
            f"{label}: day",
            day,
            format="YYYY-MM-DD",
            key=key(f"{name}:day"),
            min_value=_FIRST,
            **_QUIET,
        )
        yield from (f"{name}:ever", f"{name}:day")
    else:
        yield from _measured(name, label, rule, known, key, value, wide)
    if own:
        yield from _own_source(name, label, known, key, desk, *rest)


def _own_source(
    name: str, label: str, known: Mapping[str, Any], key: Callable[[str], str], desk: Desk, source: Any, sampled: Any
) -> Iterator[str]:
    """Source and time of one answer; those of an earlier form stand there again, with its answer."""
    first = known.get("source_document", "")
    source.text_input(f"{label}: source", first, key=key(f"{name}:source"), placeholder="source, if another", **_QUIET)
    taken = known.get("sample_time")
    when = None if taken is None else site_minute(datetime.fromisoformat(taken).astimezone(desk.zone))
    field = key(f"{name}:sampled")
    sampled.datetime_input(f"{label}: sampled", when, step=60, format="YYYY-MM-DD", key=field, **_QUIET)
    yield from (f"{name}:source", f"{name}:sampled")


def _measured(
    name: str,
    label: str,
    rule: ValueRule,
    known: Mapping[str, Any],
    key: Callable[[str], str],
    value: Any,
    wide: Any,
) -> Iterator[str]:
    """Value, unit, and the laboratory's limit where the rule counts in multiples of it."""
    value.number_input(label, value=known.get("value"), format="%g", key=key(f"{name}:value"))
    measured = analyte(rule.analyte)
    units = tuple(measured.units)
    inner = wide.columns(2) if rule.unit == ULN else (wide,)
    usual = rule.unit if rule.unit in units else measured.unit  # the protocol's own unit stands there at first
    place = units.index(known["unit"] if known.get("unit") in units else usual)
    inner[0].selectbox(f"{label}: unit", units, index=place, key=key(f"{name}:unit"), **_QUIET)
    yield from (f"{name}:value", f"{name}:unit")
    if rule.unit == ULN:
        limit = key(f"{name}:uln")
        inner[-1].number_input(
            f"{label}: ULN", value=known.get("uln"), format="%g", key=limit, placeholder="ULN", **_QUIET
        )
        yield f"{name}:uln"


def read_answers(criteria: Criteria, values: Values, desk: Desk) -> tuple[list[Answer], dict[str, date]]:
    """The answers that were given, each with its source, and the days the criteria count from."""
    anchors = {name: values[f"anchor:{name}"] for name in criteria.anchors if values.get(f"anchor:{name}")}
    answers = []
    for name, question in criteria.questions.items():
        given = _given(name, question, values)
        if given is None:
            continue
        source = str(values.get(f"{name}:source") or values.get("source") or "").strip()
        if not source:
            raise refused(f"{name}: the answer has no source document; name one for this answer or for all")
        sampled = values.get(f"{name}:sampled") or values.get("sampled")
        if not isinstance(sampled, datetime):
            raise refused(f"{name}: when the sample was taken or the judgement made is missing")
        moment = at_site(sampled, desk.state.zone, desk.now)
        more = {"sample_time": moment, "source_document": source, "assessor": str(values.get("assessor") or "").strip()}
        answers.append(Answer.model_validate({"criterion": name, **given, **more}))
    if not answers:
        raise refused("no question is answered")
    return answers, anchors


def _given(name: str, question: Question, values: Values) -> dict[str, Any] | None:
    """What was answered, None where nothing was."""
    rule = question.rule
    if isinstance(rule, JudgementRule):
        said = values.get(f"{name}:met")
        return None if said is None else {"met": said == _YES_NO[0]}
    if isinstance(rule, CodeRule):
        code = values.get(f"{name}:code")
        return None if code is None else {"value": code}
    if isinstance(rule, EventRule):
        ever = values.get(f"{name}:ever")
        if ever is None:
            return None
        if ever == _DAY_OR_NEVER[0]:
            return {"value": NEVER}
        day = values.get(f"{name}:day")
        if not isinstance(day, date):
            raise refused(f"{name}: choose the day, or say never")
        return {"value": day}
    number = values.get(f"{name}:value")
    if number is None:
        return None
    given: dict[str, Any] = {"value": float(number), "unit": values.get(f"{name}:unit") or ""}
    limit = values.get(f"{name}:uln")
    return given if limit is None else given | {"uln": float(limit)}


def eligibility_shown(desk: Desk, person: Person) -> None:
    """The last eligibility form as it was recorded: answers with their sources, and what speaks against it."""
    found = [(e, x) for e, x in desk.book.all_of(r.EligibilityRecorded) if x.participant == person.code]
    if not found:
        return
    entry, record = found[-1]
    st.markdown(
        f"Eligibility: **{word(record.verdict)}** (entry {entry.seq}, {desk.local(entry.recorded_at)}, {entry.actor})"
    )
    for finding in record.findings:
        st.markdown(f"- {blocks.plain(finding)}")
    if record.answers:
        rows = [
            (
                str(a["criterion"]),
                _answer_words(a),
                str(a["source_document"]),
                str(a["sample_time"])[:16],
                str(a["assessor"]),
            )
            for a in record.answers
        ]
        blocks.records(("question", "answer", "source", "sampled or assessed", "assessor"), rows)


_PROVENANCE: Final = ("source_document", "sample_time", "assessor")


def _answer_words(answer: Mapping[str, Any]) -> str:
    if answer.get("met") is not None:
        return "applies" if answer["met"] else "does not apply"
    limit = f" (ULN {answer['uln']:g})" if answer.get("uln") is not None else ""
    value = answer.get("value")
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{shown} {answer.get('unit') or ''}".strip() + limit
