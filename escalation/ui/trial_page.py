"""Trial: one conducted trial, today and in all its records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import streamlit as st

from escalation.ui import blocks
from escalation.ui.conduct_acts import here
from escalation.ui.conduct_adjudication import adjudication_view
from escalation.ui.conduct_dashboard import dashboard_view
from escalation.ui.conduct_data import data_view
from escalation.ui.conduct_decision import decision_view
from escalation.ui.conduct_desk import PARTICIPANT, TRIAL, VIEW, Desk, desk, go
from escalation.ui.conduct_participants import participants_view
from escalation.ui.conduct_protocol import protocol_view
from escalation.ui.conduct_trail import trail_view

VIEWS: Final[dict[str, tuple[str, Callable[[Desk], None]]]] = {
    "dashboard": ("Today", dashboard_view),
    "participants": ("Participants", participants_view),
    "adjudication": ("Adjudication", adjudication_view),
    "decision": ("Decision", decision_view),
    "trail": ("Audit trail", trail_view),
    "data": ("Data", data_view),
    "protocol": ("Protocol", protocol_view),
}
"""Views of a trial, by their name in the address."""


def page() -> None:
    """The view of the trial the address names."""
    blocks.heading(blocks.plain(st.query_params.get(TRIAL) or "Trial"))
    view = st.query_params.get(VIEW, "dashboard")
    view = view if view in VIEWS else "dashboard"
    found = desk(view)
    here(f"{found.user.name}:{found.trial}:{view}:{st.query_params.get(PARTICIPANT, '')}")
    study = found.state.study
    title = f"**{blocks.plain(study.title)}** · " if study is not None else ""
    st.markdown(f"{title}your role here: {', '.join(role.words for role in found.roles)}")
    if study is None:
        st.info("This trial is not opened yet: people are delegated, and an investigator opens it on the Trials page.")
        return
    _navigation(view)
    for notice in study.notices:
        st.warning(blocks.plain(notice), icon=":material/warning:")
    with blocks.refusals_shown():
        VIEWS[view][1](found)


def _navigation(view: str) -> None:
    key = f"view:{view}"

    def chosen() -> None:
        go(view=st.session_state[key] or view, participant="")

    st.segmented_control(
        "View",
        list(VIEWS),
        default=view,
        format_func=lambda name: VIEWS[name][0],
        key=key,
        on_change=chosen,
        label_visibility="collapsed",
    )
