"""The draft of the study in hand: every change is kept at once, a sound one is taken in hand, a faulty one is not.

The draft's text is kept in the workspace and named in the address, so that a reload shows it again. Earlier
versions stay in the workspace too; this tab remembers their order for undoing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st

from escalation.errors import Fault, StudyError
from escalation.plain_data import NOTHING, parse
from escalation.study import Study, preset_names, read_text
from escalation.study_text import StudyText
from escalation.ui import workspace
from escalation.ui.parameter_form import Change
from escalation.ui.study_in_hand import key_in_hand, study_of, take

ADDRESS: Final = "draft"
"""Query parameter that names a draft with faults."""
BASE: Final = "from"
"""Query parameter that names what the draft was made from."""
_DRAFTS: Final = "study_drafts"
_BASES: Final = "study_bases"
_PAST: Final = "study_past"


@dataclass(frozen=True, slots=True)
class Draft:
    """A study text being written, what is wrong in it, and the study it is when nothing is.

    ``data`` is None when the text is not even YAML.
    """

    text: str
    data: dict[str, Any] | None
    faults: tuple[Fault, ...]
    study: Study | None


def _remembered(name: str) -> dict[str, str]:
    found: dict[str, str] = st.session_state.setdefault(name, {})
    return found


def restore() -> None:
    """Take up the draft and the origin named in the address, once for a visit; keep the address in step."""
    key = key_in_hand()
    if "study_draft_restored" not in st.session_state:
        st.session_state["study_draft_restored"] = True
        asked, base = st.query_params.get(ADDRESS), st.query_params.get(BASE)
        if asked and workspace.is_kept(asked):
            _remembered(_DRAFTS)[key] = asked
        if base and (base in preset_names() or workspace.is_kept(base)):
            _remembered(_BASES)[_here()] = base
    here = _here()
    for name, held in ((ADDRESS, None if here == key else here), (BASE, _remembered(_BASES).get(here))):
        if held is None:
            st.query_params.pop(name, None)
        elif st.query_params.get(name) != held:
            st.query_params[name] = held


def _here() -> str:
    """Key of the draft's text: that of the study in hand until something in it is faulty."""
    key = key_in_hand()
    return _remembered(_DRAFTS).get(key, key)


def _text_of(key: str) -> str:
    return read_text(key)[0] if key in preset_names() else workspace.kept_study(key)


def text() -> str:
    """The draft's text."""
    return _text_of(_here())


def draft() -> Draft:
    """The draft as it stands."""
    here = text()
    data, faults = _checked(here)
    return Draft(here, data, faults, None if faults else study_of(here))


@st.cache_data(max_entries=64, show_spinner=False)
def _checked(here: str) -> tuple[dict[str, Any] | None, tuple[Fault, ...]]:
    """Plain data of a text, None where it is not YAML, and what is wrong in it."""
    data = None
    try:
        data = parse(here, "study")
        study_of(here)
    except StudyError as error:
        return data, error.faults
    return data, ()


def origin() -> tuple[str, str]:
    """Name and text of what the draft was made from: a preset, or the text first loaded."""
    here = _here()
    base = _remembered(_BASES).get(here, here)
    return (base if base in preset_names() else "the text first loaded"), _text_of(base)


def change(changes: Sequence[Change]) -> None:
    """Apply the changes of a form."""
    document = StudyText(text())
    for each in changes:
        now = document.get(each.path, NOTHING)
        if not each.always and now is not each.instead_of and now != each.instead_of:
            continue
        *above, last = each.path
        if each.value is NOTHING:
            document.remove(each.path)
        elif isinstance(last, int) and last == len(document.get(tuple(above)) or ()):
            document.insert(tuple(above), last, each.value)
        else:
            document.set(each.path, each.value)
    replace(document.text())


def replace(new: str) -> None:
    """Let a text be the draft; it is taken in hand when it is sound."""
    here = _here()
    base = _remembered(_BASES).get(here, here)
    if new != _text_of(here):
        _put(base if new == _text_of(base) else new)
        if _here() != base:
            _remembered(_BASES)[_here()] = base


def load(new: str) -> None:
    """Begin with another text, which is compared with nothing but itself."""
    _put(new, replaces=False)
    _remembered(_BASES).pop(_here(), None)


def _put(new: str, *, replaces: bool = True) -> None:
    key, drafts = key_in_hand(), _remembered(_DRAFTS)
    past: list[tuple[str, str | None]] = st.session_state.setdefault(_PAST, [])
    past.append((key, drafts.get(key)))
    if new in preset_names() or not _checked(new)[1]:
        drafts.pop(key, None)
        take(new, instead_of=key if replaces else None)
    else:
        drafts[key] = workspace.keep_study(new)


def can_undo() -> bool:
    """Whether this tab remembers an earlier version."""
    return bool(st.session_state.get(_PAST))


def undo() -> None:
    """Go back to the version before the last change."""
    past: list[tuple[str, str | None]] = st.session_state.get(_PAST, [])
    if past:
        key, held = past.pop()
        here = key_in_hand()
        _remembered(_DRAFTS).pop(here, None)
        take(key if key in preset_names() else workspace.kept_study(key), instead_of=here if here != key else None)
        if held is not None:
            _remembered(_DRAFTS)[key] = held


def discard() -> None:
    """Leave the faulty draft and go back to the study in hand."""
    key = key_in_hand()
    held = _remembered(_DRAFTS).pop(key, None)
    if held is not None:
        st.session_state.setdefault(_PAST, []).append((key, held))
