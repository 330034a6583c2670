"""The trial today: what is urgent, who is where in the window, what comes next, and what the design says."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import streamlit as st

from escalation.conduct.outlook import day_words
from escalation.conduct.status import status_form
from escalation.ui import blocks
from escalation.ui.conduct_desk import Desk, go, refreshing
from escalation.ui.conduct_figures import figures
from escalation.ui.conduct_participants import day_bar, task_line

REFRESH: int = 30
"""Seconds after which the dashboard looks again."""


def dashboard_view(desk: Desk) -> None:
    """The trial today, looking again by itself."""
    refreshing(desk, "dashboard", _today, REFRESH)


def _today(desk: Desk) -> None:
    form = status_form(desk.state, desk.trial, desk.now, desk.head)
    now = datetime.fromisoformat(form["now"])
    st.caption(
        f"{day_words(now.date())}, {now:%H:%M} {form['zone']} · entry {form['version']} · looks again every "
        f"{REFRESH} seconds"
    )
    if form["closed"]:
        st.warning(blocks.plain(f"The trial is closed: {form['closed']}"), icon=":material/lock:")
    _tasks(form)
    _next(form)
    _people(form)
    _advice(form)
    figures(desk)
    blocks.trace(
        desk.state.in_force(),
        f"trial {desk.trial}, entry {form['version']}, head {form['head'][:16]} · the same on the command line: "
        f"escalation trial status {desk.trial}",
    )


def _tasks(form: dict[str, Any]) -> None:
    st.markdown("#### To do, most urgent first")
    if not form["tasks"]:
        st.success("Nothing is due.", icon=":material/check:")
        return
    blocks.lines(task_line(each) for each in form["tasks"])
    named = list(dict.fromkeys(each["participant"] for each in form["tasks"] if each["participant"]))
    with st.container(horizontal=True):
        for code in named:
            st.button(
                f"Open {code}", key=f"task:{code}", on_click=go, kwargs={"view": "participants", "participant": code}
            )


def _next(form: dict[str, Any]) -> None:
    cohort, following = form["cohort"], form["next_assignment"]
    st.markdown("#### Who may be treated next")
    taken = f"{cohort['places'] - cohort['open_places']} of {cohort['places']}"
    when = "today" if following["permitted"] else "not now"
    if not following["permitted"] and following["earliest"]:
        when = day_words(date.fromisoformat(following["earliest"]))
    ends = cohort["last_window_ends"]
    shown = [
        ("Open regimen", "none" if cohort["stage"] == "closed" else f"level {cohort['level']}", cohort["regimen"]),
        ("Places taken", taken if cohort["stage"] != "closed" else "0", cohort["stage"]),
        (
            "Next assignment",
            when,
            "permitted" if following["permitted"] else "earliest" if following["earliest"] else "see why below",
        ),
        ("Last window ends", day_words(date.fromisoformat(ends)) if ends else "not known yet", "of the open cohort"),
    ]
    blocks.cards(shown)
    for reason in following["reasons"]:
        st.markdown(f":material/block: {blocks.plain(reason)}")
    if "backfill" in form:
        _backfill(form["backfill"])


def _backfill(beside: dict[str, Any]) -> None:
    """The regimens open for backfill, and who is there."""
    st.markdown("#### Backfill")
    levels = ", ".join(beside["open"])
    st.markdown(f"Open for backfill: **{f'level {levels}' if levels else 'none'}**")
    st.caption(beside["rule"])
    if beside["regimens"]:
        blocks.table(
            ("level", "treated", "at most with backfill", "responses", "backfilled", "with a DLT", "pending"),
            [
                tuple(
                    str(each[key]) for key in ("level", "treated", "cap", "responses", "evaluable", "dlts", "pending")
                )
                for each in beside["regimens"]
            ],
        )


def _people(form: dict[str, Any]) -> None:
    st.markdown("#### Who is where")
    rows = [
        (
            each["participant"],
            blocks.tag(each["status"]),
            each["level"] or "",
            day_bar(each),
            f"{each['infusions_given']} of {each['infusions_planned']}" if each["infusions_planned"] else "",
            each["next"],
        )
        for each in form["participants"]
    ]
    if rows:
        blocks.records(("participant", "status", "level", "DLT window", "infusions", "next"), rows)
    else:
        st.caption("Nobody is screened yet.")


def _advice(form: dict[str, Any]) -> None:
    advice = form["recommendation"]
    st.markdown("#### The design says now")
    blocks.say(advice["text"])
    st.caption("A recommendation; the committee decides.")
    for reason in advice["reasons"]:
        st.markdown(f"- {blocks.plain(reason['line'])}")
    for line in advice["outlook"]:
        st.markdown(f":material/event_upcoming: {blocks.plain(line)}")
    for seq, codes in form["contradicted"].items():
        st.error(
            f"Decision {seq} is contradicted by what is known now of {', '.join(codes)}; "
            "the committee must meet again.",
            icon=":material/warning:",
        )
