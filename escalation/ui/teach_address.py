"""What Teach keeps in the address: a reload loses nothing, and a class can be given the state."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode, urlsplit

import streamlit as st

from escalation.errors import StudyError
from escalation.teach.patients import checked_seed
from escalation.ui.study_in_hand import ADDRESS, key_in_hand

KEPT: Final = (
    "show",
    "lesson",
    "at",
    "given",
    "seed",
    "design",
    "scenario",
    "outcomes",
    "said",
    "beside",
    "on",
    "truth",
    "large",
)
"""Query parameters of this page, besides that of the study."""
OF_ONE_TRIAL: Final = ("outcomes", "said", "truth")
"""Those that belong to one trial by hand."""
FIRST_SEED: Final = 2
_MEMORY: Final = "teach:address"
_STUDY: Final = "teach:study"


def value(name: str, default: str = "") -> str:
    """A parameter of the address."""
    return str(st.query_params.get(name, default))


def put(**changes: str) -> None:
    """Change parameters of the address; an empty text takes one away."""
    for name, text in changes.items():
        if text:
            st.query_params[name] = text
        elif name in st.query_params:
            del st.query_params[name]


def follow(key: str, text: object) -> str:
    """Let a widget show what the address says, also after the browser's back button; returns the widget's key."""
    if st.session_state.get(key) != text:
        st.session_state[key] = text
    return key


def restore() -> None:
    """Coming back from another page, take up where this page was left; another study starts another trial."""
    memory = st.session_state.get(_MEMORY)
    if memory and not any(name in st.query_params for name in KEPT):
        put(**memory)
    key = key_in_hand()
    if st.session_state.get(_STUDY, key) != key:
        put(scenario="", design="", beside="", **dict.fromkeys(OF_ONE_TRIAL, ""))
    st.session_state[_STUDY] = key


def remember() -> None:
    """Keep the address for coming back."""
    st.session_state[_MEMORY] = {name: value(name) for name in KEPT if name in st.query_params}


def seed() -> int:
    """The seed of the class; raises StudyError when the address holds none."""
    return checked_seed(value("seed", str(FIRST_SEED)))


def seed_or_first() -> int:
    """The seed of the class, the first one when the address holds none that can be used."""
    try:
        return seed()
    except StudyError:
        return FIRST_SEED


def class_link(**parameters: str) -> str:
    """An address that opens the same page, on the same patients, for everybody who has it."""
    here = urlsplit(st.context.url or "")
    asked = urlencode({name: text for name, text in parameters.items() if text})
    base = f"{here.scheme}://{here.netloc}" if here.netloc else ""
    return f"{base}/teach?{asked}"


def study_parameter(key: str) -> dict[str, str]:
    """The study's part of a link."""
    return {ADDRESS: key}
