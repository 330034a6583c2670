"""Where single values of the study come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import streamlit as st

from escalation.plain_data import NOTHING
from escalation.study import Source
from escalation.ui import blocks
from escalation.ui.draft import Draft
from escalation.ui.parameter_form import Change, Form


def sources(form: Form, now: Draft) -> None:
    """The provenance of values: all at a glance, one at a time to edit."""
    data = now.data or {}
    part = data.get("sources")
    notes = part if isinstance(part, Mapping) else {}
    st.caption(
        "registry: in the public record. sibling: from a related trial. inferred: deduced from the record. "
        "placeholder: invented so that the study can run. A value changed in these forms becomes a placeholder, "
        "set by hand, until its source is stated again."
    )
    chosen = st.selectbox("Value", list(notes), None, key="study:source", placeholder="choose a value to edit")
    if chosen is not None and chosen in notes:
        path = ("sources", str(chosen))
        form.model(Source, path, notes[chosen])
        st.button("Remove this note", icon=":material/delete:", on_click=lambda: form.change([Change(path, NOTHING)]))
    others = [path for path in _paths(data) if path not in notes]
    new = st.selectbox("State the source of another value", others, None, key="study:source:new")
    if new is not None:
        st.button("Add a note", icon=":material/add:", on_click=_add, args=(form, new))
    rows = [
        (path, f"{note.get('source', '')}{_critical(note)}", str(note.get("reference", "")))
        for path, note in notes.items()
        if isinstance(note, Mapping)
    ]
    if rows:
        blocks.table(("value", "source", "reference"), rows, text=True)


def _critical(note: Mapping[str, Any]) -> str:
    return ", safety-critical" if note.get("safety_critical") else ""


def _add(form: Form, path: str) -> None:
    form.change([Change(("sources", path), {"source": "placeholder", "reference": "", "safety_critical": True})])
    st.session_state["study:source"] = path


def _paths(data: Mapping[str, Any]) -> list[str]:
    """Paths of values a note can be about."""
    return [path for part in ("protocol", "criteria", "scenarios") for path in _below(part, data.get(part), 3)]


def _below(path: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping) and depth:
        for key, each in value.items():
            yield f"{path}.{key}"
            yield from _below(f"{path}.{key}", each, depth - 1)
    elif isinstance(value, list) and depth:
        for each in value:
            name = (each.get("name") or each.get("guard")) if isinstance(each, Mapping) else None
            if name:
                yield f"{path}.{name}"
                yield from _below(f"{path}.{name}", each, depth - 2)
