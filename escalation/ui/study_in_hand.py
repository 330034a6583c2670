"""The study the reader works with on every page: a preset, or a text of their own, named in the address."""

from __future__ import annotations

from typing import Final

import streamlit as st

from escalation.plain_data import parse
from escalation.study import Study, preset_names, read_text, validate
from escalation.ui import workspace

ADDRESS: Final = "study"
"""Query parameter that names the study."""
FIRST: Final = "nct07212335"
REPLACED: Final = "replaced_studies"
"""Where this tab remembers the versions that later ones took the place of."""
_KEY: Final = "study_in_hand"
_CHOICE: Final = "study_choice"


def key_in_hand() -> str:
    """Name of the preset, or key of the kept text."""
    if _KEY not in st.session_state:
        asked = st.query_params.get(ADDRESS, FIRST)
        st.session_state[_KEY] = asked if asked in preset_names() or workspace.is_kept(asked) else FIRST
        if st.session_state[_KEY] != asked:
            st.toast(f"The address names no study kept here; this is {FIRST}.")
    key = str(st.session_state[_KEY])
    if st.query_params.get(ADDRESS) != key:
        st.query_params[ADDRESS] = key
    return key


def text_in_hand() -> str:
    """The study's text, as a file would hold it."""
    key = key_in_hand()
    return read_text(key)[0] if key in preset_names() else workspace.kept_study(key)


def take(text_or_preset: str, *, instead_of: str | None = None) -> None:
    """Work with another study from now on: the name of a preset, or the text of a study.

    ``instead_of`` is the key of an earlier version, which the list of studies need not keep.
    """
    is_preset = text_or_preset in preset_names()
    key = text_or_preset if is_preset else workspace.keep_study(text_or_preset)
    st.session_state[_KEY] = key
    st.session_state.pop(_CHOICE, None)
    own = st.session_state.setdefault("own_studies", [])
    if instead_of in own:
        own.remove(instead_of)
        st.session_state.setdefault(REPLACED, []).append(instead_of)
    if not is_preset and key not in own:
        own.append(key)


def file_name() -> str:
    """How the command line names the study: a preset, or the file it is saved as."""
    key = key_in_hand()
    return key if key in preset_names() else f"{study_in_hand().id}.yaml"


def study_in_hand() -> Study:
    """The study, validated; raises StudyError."""
    return study_of(text_in_hand())


@st.cache_resource(max_entries=64, show_spinner=False)
def study_of(text: str) -> Study:
    """The validated study of a text; the same text always gives the same study."""
    return validate(parse(text, "study"), "study")


@st.cache_data(max_entries=256, show_spinner=False)
def title_of(key: str) -> str:
    """How lists name a study."""
    text = read_text(key)[0] if key in preset_names() else workspace.kept_study(key)
    data = parse(text, "study")
    own = "" if key in preset_names() else " (yours)"
    return f"{data.get('id', key)}{own}"


def chooser() -> None:
    """The choice of the study in the side bar."""
    key = key_in_hand()
    own = [each for each in st.session_state.get("own_studies", []) if each != key]
    options = list(dict.fromkeys([*preset_names(), *own, key]))
    if st.session_state.get(_CHOICE) not in options:
        st.session_state[_CHOICE] = key

    def chosen() -> None:
        st.session_state[_KEY] = st.session_state[_CHOICE]

    st.sidebar.selectbox("Study", options, key=_CHOICE, format_func=title_of, on_change=chosen)
