"""Teach: lessons with answers the engines check, and a trial run by hand."""

from __future__ import annotations

from typing import Final

import streamlit as st

from escalation.teach.patients import HIGHEST_SEED
from escalation.ui import blocks, teach_address
from escalation.ui.study_in_hand import chooser
from escalation.ui.teach_lessons import lessons
from escalation.ui.teach_trial import trial

VIEWS: Final = {"lessons": "Lessons", "trial": "Run a trial by hand"}


def page() -> None:
    """The lessons, or a trial by hand."""
    teach_address.restore()
    blocks.heading("Teach", "Do it by hand, predict, and let the engine check. The address keeps everything.")
    shown = _view()
    if shown == "trial":
        chooser()
    _side()
    with blocks.refusals_shown():
        teach_address.seed()
        if shown == "lessons":
            lessons()
        else:
            trial()
    teach_address.remember()


def _view() -> str:
    """Which half of the page is shown, as the address says."""
    shown = teach_address.value("show", "lessons")
    shown = shown if shown in VIEWS else "lessons"

    def changed() -> None:
        teach_address.put(show=str(st.session_state["teach:view"] or shown))

    st.segmented_control(
        "What to do",
        list(VIEWS),
        format_func=VIEWS.__getitem__,
        key=teach_address.follow("teach:view", shown),
        on_change=changed,
        label_visibility="collapsed",
        required=True,
    )
    return shown


def _side() -> None:
    """What belongs to the class as a whole."""

    def new_seed() -> None:
        teach_address.put(
            seed=str(int(st.session_state["teach:seed"])),
            given="",
            at="",
            **dict.fromkeys(teach_address.OF_ONE_TRIAL, ""),
        )

    def type_size() -> None:
        teach_address.put(large="1" if st.session_state["teach:large"] else "")

    seed, large = teach_address.seed_or_first(), teach_address.value("large") == "1"
    st.sidebar.number_input(
        "Seed of the class",
        0,
        HIGHEST_SEED,
        step=1,
        key=teach_address.follow("teach:seed", seed),
        on_change=new_seed,
        help="The same seed gives everybody the same patients. Another seed starts again with others.",
    )
    st.sidebar.toggle(
        "Show to the class",
        key=teach_address.follow("teach:large", large),
        on_change=type_size,
        help="Large type for a projector.",
    )
    if large:
        blocks.large_type()
