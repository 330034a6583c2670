"""Trials: the trials somebody may read, opening one, and for administrators accounts and delegations."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from escalation.conduct.accounts import User
from escalation.conduct.roles import Permission, Role, permitted
from escalation.conduct.service import INSTALLATION, Conduct
from escalation.trial_desk import roles_today
from escalation.ui import blocks
from escalation.ui.conduct_acts import here, receipt_at
from escalation.ui.conduct_desk import TRIAL, own_password, person, trials_of
from escalation.ui.conduct_opening import opening_part
from escalation.ui.conduct_people import account_log_part, accounts_part, delegations_part
from escalation.ui.router import page_named

Part = Callable[[Conduct, str, User], None]


def page() -> None:
    """The trials of the person signed in, and what else they may do here."""
    blocks.heading("Trials", "Live conduct: the software recommends; people decide and dose.")
    conduct, token, user = person()
    parts: dict[str, Part] = {"Your trials": _trials}
    if _unopened(conduct, user) or receipt_at("open:") is not None:
        parts["Open a trial"] = lambda c, t, u: opening_part(c, t, u, _unopened(c, u))
    if may_here(conduct, user, INSTALLATION, Permission.MANAGE_ACCOUNTS):
        parts |= {"Accounts": accounts_part, "Account log": account_log_part}
    if any(Role.ADMINISTRATOR in roles for roles in roles_today(conduct, user.name).values()):
        parts["Delegations"] = delegations_part
    parts["Own password"] = lambda c, t, u: own_password(c, u)
    chosen = st.segmented_control(
        "Part", list(parts), default="Your trials", key="trials:part", label_visibility="collapsed"
    )
    here(f"{user.name}:trials:{chosen}")
    with blocks.refusals_shown():
        parts.get(chosen or "", _trials)(conduct, token, user)


def may_here(conduct: Conduct, user: User, trial: str, permission: Permission) -> bool:
    """Whether somebody may do something today, without a line in the log."""
    today = conduct.accounts.now().date()
    return permitted(conduct.delegations(trial), user.name, trial, permission, today).allowed


def _unopened(conduct: Conduct, user: User) -> list[str]:
    """Trials in which somebody is delegated to open them, and which are not opened yet."""
    return [
        trial
        for trial in trials_of(conduct, user)
        if may_here(conduct, user, trial, Permission.OPEN_TRIAL)
        and not any(entry.type == "trial_opened" for entry in conduct.ledger.entries(trial))
    ]


def _trials(conduct: Conduct, token: str, user: User) -> None:
    listed = trials_of(conduct, user)
    if not listed:
        st.info("No trial is delegated to you today. An administrator enters delegations.")
    for trial, roles in listed.items():
        readable = may_here(conduct, user, trial, Permission.READ_TRIAL)
        with st.container(border=True):
            words = ", ".join(role.words for role in roles)
            st.markdown(f"**{blocks.plain(trial)}** · {words} · {conduct.ledger.head(trial).seq} entries")
            if readable:
                st.page_link(
                    page_named("trial"),
                    label=f"Go to {blocks.plain(trial)}",
                    icon=":material/monitor_heart:",
                    query_params={TRIAL: trial},
                )
            else:
                st.caption("Your role runs the system without seeing participants.")
    with st.expander("Try it without a trial of your own"):
        st.markdown("The demonstration replays a published trial into a database of its own, never into this one:")
        st.code("escalation trial demo --database demo.sqlite\nESCALATION_DATABASE=demo.sqlite escalation app", "shell")
