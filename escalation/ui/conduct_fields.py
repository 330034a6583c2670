"""Fields of the conduct forms, read off the record models: a widget for every kind of value, labels in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo

import streamlit as st
from pydantic import BaseModel

from escalation.conduct.ledger import Entry
from escalation.trial_desk import read_moment

LABELS: Final[dict[str, tuple[str, str]]] = {
    "participant": ("Participant code", "Letters, digits and hyphens. Names never enter the ledger."),
    "form_version": ("Version of the consent form", "As printed on the form that was signed."),
    "consented_at": ("Consent given", "Day and time at the site."),
    "verdict": ("Eligibility as assessed", "There are no waivers."),
    "findings": ("Findings", ""),
    "description": ("Description", ""),
    "number": ("Infusion number", "Counted from 1."),
    "given": ("Was it given?", ""),
    "started_at": ("Start", "Actual start, day and time at the site."),
    "ended_at": ("End", "Actual end."),
    "weight_kg": ("Body weight used (kg)", "The weight the dose was worked out with."),
    "cells_million": ("Cells given (10^6)", "Total of this infusion, in millions."),
    "lot": ("Lot or bag", ""),
    "viability_percent": ("Viability (%)", "As on the release certificate or the bedside count."),
    "release_certificate": ("Release certificate", "Its reference."),
    "premedication_at": ("Premedication given", "Leave empty when there was none."),
    "operator": ("Given by", "Who infused."),
    "verifier": ("Verified by", "A second person."),
    "interruption": ("Interruption, or why it was missed", "What happened, and for how long."),
    "event": ("Event code", "Unique for this participant, such as E1."),
    "verbatim": ("Event in the reporter's words", ""),
    "term": ("CTCAE term", "As CTCAE v5 names it."),
    "grade": ("CTCAE grade", ""),
    "onset": ("Onset", "As precise as it is known: 2026-03-03, 2026-03, 2026 or unknown."),
    "ended": ("Ended", "As precise as it is known; empty while it lasts."),
    "attribution": ("Related to the product", ""),
    "serious": ("Serious event", "Then the 24-hour clock runs from awareness."),
    "serious_because": ("Serious because of", ""),
    "aware_at": ("Site became aware", "The 24-hour clock of a serious event starts here."),
    "infusion": ("After infusion number", "The infusion before it."),
    "on": ("Day", ""),
    "sent_at": ("Report sent", ""),
    "adjudication": ("Adjudication code", "Unique for this participant, such as A1."),
    "events": ("Events it rests on", ""),
    "criterion": ("Criterion of the DLT definition", "The part of the protocol's definition it meets."),
    "outcome": ("Outcome", ""),
    "discussion": ("What was weighed", ""),
    "cause": ("Why", ""),
    "how": ("How the participation ends", ""),
    "analyte": ("What was measured", ""),
    "value": ("Value", ""),
    "unit": ("Unit", ""),
    "sampled_at": ("Sample taken", ""),
    "product": ("Product", ""),
    "units": ("Units", ""),
    "given_at": ("Given", ""),
    "visit": ("Visit", "As the schedule names it."),
    "criteria": ("Criteria met", "The response criteria of the protocol that are met."),
    "assessor": ("Assessed by", "Who assessed the response."),
    "done_on": ("Done on", "Empty when it was missed."),
    "missed_because": ("Missed because", "Empty when it was done."),
    "category": ("Category", "For instance dosing, visit, consent, eligibility."),
    "query": ("Query code", "Unique in the trial, such as Q1."),
    "about": ("About entry", "Number of the entry it asks about; empty for none."),
    "question": ("Question", ""),
    "critical": ("Critical", "Holds back the decision until it is closed."),
    "answer": ("Answer", ""),
    "reason": ("Reason", "Why, in words."),
    "meeting": ("Meeting", "Its name or number."),
    "attendance": ("Attendance, one person a line", "Name and role."),
    "action": ("Decision", ""),
    "size": ("Participants of the next cohort", ""),
    "justification": ("Justification", "Needed when the decision departs from the recommendation."),
    "draw_set_aside": ("Why the draw is set aside", "Needed when another regimen the design allows is treated."),
    "draws": ("Stream of the draws", ""),
    "dissent": ("Dissent", "Who disagreed, and why; empty when nobody did."),
    "acknowledged": ("Acknowledged, one a line", "What the committee acknowledges expressly."),
    "to": ("Told to, one a line", "Clinic and pharmacy at least."),
    "at": ("Told at", ""),
}
"""Label and help of every field, by the name it has in the records."""

WORDS: Final[dict[str, str]] = {
    "not_eligible": "not eligible",
    "withdrew_consent": "withdrew consent (nothing more is collected)",
    "withdrew_study": "withdrew from the study (follow-up ends)",
    "lost": "lost to follow-up",
    "red_cells": "red cells",
    "not_dlt": "not a DLT",
    "dlt": "DLT",
    "de_escalate": "de-escalate",
}
"""Values that read better in other words."""

SERIOUSNESS: Final = (
    "death",
    "life-threatening",
    "hospitalisation",
    "disability",
    "congenital anomaly",
    "other important event",
)
_LONG: Final = frozenset(
    {"description", "interruption", "verbatim", "criterion", "discussion", "cause", "question", "answer", "reason"}
    | {"justification", "draw_set_aside", "dissent", "missed_because"}
)

Kind = Literal["text", "long", "moment", "day", "number", "whole", "yes_no", "choice", "several", "lines"]


@dataclass(frozen=True, slots=True)
class Field:
    """A value a form asks for: its name in the record, what kind of value it is, and what stands there at first."""

    name: str
    kind: Kind
    required: bool
    choices: tuple[Any, ...] = ()
    first: Any = None
    label: str = ""
    help: str = ""

    def starting(self, first: Any, **more: Any) -> Field:
        """The same field with another value standing there at first."""
        return replace(self, first=first, **more)


def label_of(name: str) -> str:
    """What a field is called on the screen."""
    return LABELS.get(name, (name.replace("_", " ").capitalize(), ""))[0]


def word(value: Any) -> str:
    """A value in words."""
    return WORDS.get(str(value), str(value).replace("_", " "))


def record_words(entry: Entry, zone: ZoneInfo) -> str:
    """What an entry holds, in words and in the site's time; what is nested is in the exports."""
    payload = entry.payload
    if entry.type == "corrected":
        old, new = _value_words(payload["old"], zone), _value_words(payload["new"], zone)
        return f"entry {payload['entry']}, {label_of(payload['field'])}: {old or 'empty'} becomes {new or 'empty'}"
    shown = []
    for name, value in payload.items():
        if name == "signature":
            shown.append(f"signed by {value['printed_name']}: {value['meaning']}")
        elif name == "answers":
            shown += [f"{len(value)} answers"] if value else []
        elif name not in _NESTED and value not in (None, "", [], False):
            shown.append(f"{label_of(name)}: {_value_words(value, zone)}")
    return "; ".join(shown)


_NESTED: Final = frozenset({"participant", "study", "data", "advice", "data_hash", "study_hash", "proposal_hash"})


def _value_words(value: Any, zone: ZoneInfo) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{label_of(name)} {_value_words(each, zone)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(_value_words(each, zone) for each in value)
    if isinstance(value, str) and len(value) > 10 and value[4:5] == "-" and "T" in value[:11]:
        return f"{datetime.fromisoformat(value).astimezone(zone):%Y-%m-%d %H:%M}"
    return word(value) if isinstance(value, str) and value in WORDS else "" if value is None else str(value)


def plain_fault(fault: Mapping[str, Any]) -> str:
    """What is wrong with a value, as people say it."""
    known = {
        "missing": "is missing",
        "string_too_short": "is empty; fill it in",
        "string_too_long": "is too long",
        "too_short": "is empty; fill it in",
        "string_type": "is empty; fill it in",
        "literal_error": "choose one",
        "int_type": "is missing",
        "float_type": "is missing",
        "datetime_type": "is missing",
        "date_type": "is missing",
    }
    kind = str(fault["type"])
    if kind == "string_pattern_mismatch" and "unknown" in str(fault.get("ctx", {}).get("pattern", "")):
        return "write a date as precise as it is known: 2026-03-03, 2026-03, 2026 or unknown"
    if kind == "string_pattern_mismatch":
        return "letters, digits and hyphens only, 20 at most, such as P-001"
    return known.get(kind, str(fault["msg"]).removeprefix("Value error, "))


def fields_of(model: type[BaseModel], *names: str) -> list[Field]:
    """The named fields of a record model, in that order."""
    return [_field(name, model.model_fields[name]) for name in names]


def _field(name: str, info: Any) -> Field:
    kind, core = _core(info.annotation)
    required = bool(info.is_required())
    label, told = LABELS.get(name, (name.replace("_", " ").capitalize(), ""))
    field = Field(name, "text", required, label=label, help=told)
    if name == "grade":
        return replace(field, kind="choice", choices=(1, 2, 3, 4, 5))
    if name == "serious_because":
        return replace(field, kind="several", choices=SERIOUSNESS)
    if get_origin(core) is Literal:
        return replace(field, kind="choice", choices=get_args(core))
    if get_origin(core) is tuple:
        return replace(field, kind="lines")
    if kind is bool:
        return replace(field, kind="yes_no", first=bool(info.default) if not required else False)
    if kind is int:
        return replace(field, kind="whole")
    if kind is float:
        return replace(field, kind="number")
    if getattr(kind, "__name__", "") == "date":
        return replace(field, kind="day")
    if getattr(kind, "__name__", "") in ("datetime", "AwareDatetime"):
        return replace(field, kind="moment")
    return replace(field, kind="long" if name in _LONG else "text")


def _core(annotation: Any) -> tuple[Any, Any]:
    """The type below Annotated and optional."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType):
            annotation = next(each for each in get_args(annotation) if each is not type(None))
        else:
            return annotation, annotation


# on the screen ------------------------------------------------------------------------------------

FOLD: Final = "hour_twice"
_SHORT: Final = frozenset({"text", "moment", "day", "number", "whole"})


def ask(fields: Sequence[Field], key: Callable[[str], str], now: datetime) -> list[str]:
    """Show the fields, short ones two beside each other; ``now`` is the moment at the site."""
    waiting: list[Field] = []
    for field in fields:
        if field.kind in _SHORT:
            waiting.append(field)
            if len(waiting) == 2:
                _beside(waiting, key, now)
                waiting = []
            continue
        _beside(waiting, key, now)
        waiting = []
        _show(field, key(field.name), now)
    _beside(waiting, key, now)
    names = [field.name for field in fields]
    if any(field.kind == "moment" for field in fields) and _clock_changed(now):
        st.selectbox(
            "Where the clock went back and an hour happened twice",
            ("first", "second"),
            format_func=lambda each: f"times are of its {each} passing",
            key=key(FOLD),
        )
        names.append(FOLD)
    return names


def _beside(fields: Sequence[Field], key: Callable[[str], str], now: datetime) -> None:
    if fields:
        for column, field in zip(st.columns(2), fields, strict=False):
            with column:
                _show(field, key(field.name), now)


def _show(field: Field, key: str, now: datetime) -> None:
    label = field.label + ("" if field.required or field.kind == "yes_no" else " (optional)")
    about: dict[str, Any] = {"key": key, "help": field.help or None}
    if field.kind == "text":
        st.text_input(label, field.first or "", **about)
    elif field.kind in ("long", "lines"):
        st.text_area(label, field.first or "", height=80, **about)
    elif field.kind == "moment":
        st.datetime_input(label, field.first, step=60, format="YYYY-MM-DD", **_no_later(now, field), **about)
    elif field.kind == "day":
        st.date_input(
            label, field.first, format="YYYY-MM-DD", max_value=now.date(), min_value=_EARLIEST.date(), **about
        )
    elif field.kind == "number":
        st.number_input(label, value=field.first, format="%g", step=None, **about)
    elif field.kind == "whole":
        st.number_input(label, value=field.first, step=1, **about)
    elif field.kind == "yes_no":
        st.checkbox(label, bool(field.first), **about)
    elif field.kind == "several":
        st.multiselect(label, field.choices, default=field.first or [], format_func=word, **about)
    elif len(field.choices) <= 5:
        st.radio(label, field.choices, index=_place(field), format_func=word, horizontal=True, **about)
    else:
        st.selectbox(label, field.choices, index=_place(field), format_func=word, **about)


_EARLIEST: Final = datetime(1900, 1, 1)


def _no_later(now: datetime, field: Field) -> dict[str, Any]:
    return {"min_value": _EARLIEST, "max_value": datetime.combine(now.date(), time(23, 59))}


def _place(field: Field) -> int | None:
    return field.choices.index(field.first) if field.first in field.choices else None


def site_minute(now: datetime) -> datetime:
    """The moment at the site as its fields hold it."""
    return now.replace(tzinfo=None, second=0, microsecond=0)


def _clock_changed(now: datetime, days: int = 45) -> bool:
    """Whether the site's clock was put back lately, so that an hour happened twice."""
    zone = now.tzinfo
    earlier = (now.astimezone(UTC) - timedelta(days=days)).astimezone(zone)
    return (now.utcoffset() or timedelta()) < (earlier.utcoffset() or timedelta())


# read back ----------------------------------------------------------------------------------------


def read_fields(fields: Iterable[Field], values: Mapping[str, Any], zone: ZoneInfo, now: datetime) -> dict[str, Any]:
    """What stands in the fields, as the record wants it; empty optional fields are left out."""
    found: dict[str, Any] = {}
    for field in fields:
        value = values.get(field.name)
        if field.kind == "moment" and value is not None:
            value = at_site(value, zone, now, second=values.get(FOLD) == "second")
        elif field.kind == "lines":
            value = tuple(line.strip() for line in (value or "").splitlines() if line.strip())
        elif field.kind == "several":
            value = tuple(value or ())
        if value is None or (value == "" and not field.required):
            continue
        found[field.name] = value
    return found


def at_site(value: datetime | date, zone: ZoneInfo, now: datetime, *, second: bool = False) -> datetime:
    """A moment of a field at the site; where the clock was put back, ``second`` says which of the two."""
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    first, later = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    if (first.utcoffset() or timedelta()) > (later.utcoffset() or timedelta()):
        return later if second else first
    return read_moment(moment.isoformat(), zone, now)
