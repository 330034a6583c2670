"""The study as text, and what was changed in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import streamlit as st

from escalation.errors import StudyError
from escalation.plain_data import NOTHING, parse
from escalation.ui import blocks, draft
from escalation.ui.draft import Draft
from escalation.ui.form_kinds import written
from escalation.ui.parameter_form import Form


def text(form: Form, now: Draft) -> None:
    """The study file itself."""
    key = "study:text"
    if st.session_state.get(key) != now.text:
        st.session_state[key] = now.text
    st.text_area(
        "Study file",
        key=key,
        height=640,
        on_change=lambda: draft.replace(st.session_state[key]),
        help="YAML 1.2, or JSON. Leave the field or press Ctrl+Enter to have it checked.",
    )


def changes(form: Form, now: Draft) -> None:
    """What differs from what the draft was made from: value by value, then line by line."""
    name, before = draft.origin()
    if before == now.text:
        st.info(f"Nothing is changed: this is {blocks.plain(name)}.")
        return
    rows = list(_differences(before, now.text))
    if rows:
        blocks.table(("value", "before", "now"), rows, f"Changed against {name}", text=True)
    lines = difflib.unified_diff(before.splitlines(), now.text.splitlines(), name, "draft", lineterm="", n=2)
    st.code("\n".join(lines), language="diff", wrap_lines=True)


def _differences(before: str, now: str) -> Iterator[tuple[str, str, str]]:
    try:
        old, new = dict(_values((), parse(before))), dict(_values((), parse(now)))
    except StudyError:
        return
    for path in dict.fromkeys([*old, *new]):
        was, is_ = old.get(path, NOTHING), new.get(path, NOTHING)
        if was is NOTHING or is_ is NOTHING or was != is_:
            yield ".".join(path), _said(was), _said(is_)


def _values(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _values((*path, str(key)), each)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for position, each in enumerate(value, 1):
            name = (each.get("name") or each.get("guard")) if isinstance(each, Mapping) else None
            yield from _values((*path, str(name or position)), each)
    else:
        yield path, value


def _said(value: Any) -> str:
    shown = "not stated" if value is NOTHING else written(value)
    return shown if len(shown) <= 160 else f"{shown[:157]}..."
