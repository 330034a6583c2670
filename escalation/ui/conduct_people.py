"""Accounts and delegations, by administrators: who exists, who may sign in, and who is delegated to what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import streamlit as st

from escalation.conduct.accounts import User
from escalation.conduct.roles import Permission, Role
from escalation.conduct.service import INSTALLATION, Conduct, Receipt
from escalation.trial_desk import check_version, refused
from escalation.ui import blocks
from escalation.ui.conduct_acts import Ask, Attempt, Values, Write, act, receipt_at, show_receipt
from escalation.ui.conduct_desk import Place, barred, place_of

ACCOUNT_ACTS = {
    "add": "New account",
    "reset": "Give a temporary password",
    "unlock": "Unlock",
    "deactivate": "Deactivate",
    "reactivate": "Reactivate",
}


MOST_LINES = 300
"""Lines of the account log on the screen."""


def accounts_part(conduct: Conduct, token: str, user: User) -> None:
    """All accounts, and what an administrator does with them."""
    where = place_of(conduct, token, user, INSTALLATION)
    receipt = receipt_at("account:")
    if receipt is not None:
        show_receipt(where, receipt, "Continue")
    else:
        chosen = st.pills("What to do", list(ACCOUNT_ACTS), format_func=ACCOUNT_ACTS.__getitem__, key="act:account")
        if chosen is not None:
            show, write = _new_account(where) if chosen == "add" else _account_act(where, chosen)
            act(where, f"account:{chosen}", show, write, button=ACCOUNT_ACTS[chosen], again="Continue")
    rows = [
        (
            each.name,
            each.full_name,
            "active" if each.active else "not active",
            "temporary password" if each.temporary_password else "",
        )
        for each in conduct.accounts.users()
    ]
    blocks.records(("code name", "printed name", "account", ""), rows)


def _allow(where: Place) -> str:
    user, _ = where.conduct.authorise(where.token, INSTALLATION, Permission.MANAGE_ACCOUNTS)
    return user.name


def _new_account(where: Place) -> tuple[Ask, Write]:
    def show(key: Callable[[str], str]) -> list[str]:
        st.text_input("Code name", key=key("name"), autocomplete="off")
        st.text_input("Printed name, as it stands in signatures", key=key("full_name"), autocomplete="off")
        st.text_input("Temporary password", type="password", key=key("password"), autocomplete="new-password")
        st.caption("Its owner changes it at the first sign-in.")
        return ["name", "full_name", "password"]

    def write(values: Values, attempt: Attempt) -> str:
        name, full_name, password = (str(values[field] or "") for field in ("name", "full_name", "password"))
        made = where.conduct.create_user(where.token, name, full_name, password)
        return f"{made.full_name} ({made.name}) has an account with a temporary password."

    return show, write


def _account_act(where: Place, chosen: str) -> tuple[Ask, Write]:
    accounts = where.conduct.accounts
    listed = [each for each in accounts.users() if each.active != (chosen == "reactivate")]
    names = {each.name: f"{each.full_name} ({each.name})" for each in listed}

    def show(key: Callable[[str], str]) -> list[str]:
        st.selectbox("Account", list(names), index=None, format_func=names.__getitem__, key=key("name"))
        if chosen == "reset":
            st.text_input("Temporary password", type="password", key=key("password"), autocomplete="new-password")
            return ["name", "password"]
        st.text_input("Reason", key=key("reason"))
        return ["name", "reason"]

    def write(values: Values, attempt: Attempt) -> str:
        by, name = _allow(where), values["name"]
        if name is None:
            raise refused("choose the account")
        if chosen == "reset":
            accounts.reset_password(name, str(values["password"] or ""), by=by)
            return f"{names[name]} has a temporary password; every session of theirs has ended."
        reason = str(values["reason"] or "").strip()
        if not reason:
            raise refused("the reason is missing")
        {"deactivate": accounts.deactivate, "reactivate": accounts.reactivate, "unlock": accounts.unlock}[chosen](
            name, by=by, reason=reason
        )
        done = {"deactivate": "is deactivated", "reactivate": "is active again", "unlock": "is unlocked"}[chosen]
        return f"{names[name]} {done}."

    return show, write


def account_log_part(conduct: Conduct, token: str, user: User) -> None:
    """Who signed in, who read what, what was refused, and every change of an account; the newest first."""
    where = place_of(conduct, token, user, INSTALLATION)
    _allow(where)
    names = [each.name for each in conduct.accounts.users()]
    chosen = st.selectbox("Account", names, index=None, placeholder="everybody", key="log:account")
    entries = conduct.accounts.log(account=chosen)
    st.caption(f"{len(entries):,} lines; the newest {min(len(entries), MOST_LINES)} are shown. The log only grows.")
    rows = [
        (
            f"{each.at:%Y-%m-%d %H:%M:%S}",
            each.event.replace("_", " "),
            each.account or "",
            each.actor or "",
            each.trial or "",
            (each.permission or "").replace("_", " "),
            each.detail,
        )
        for each in reversed(entries[-MOST_LINES:])
    ]
    blocks.records(("time (UTC)", "what", "account", "by", "trial", "permission", "detail"), rows)


# delegations ----------------------------------------------------------------------------------------


def delegations_part(conduct: Conduct, token: str, user: User) -> None:
    """The delegation log of a trial, and its entries."""
    known = [trial for trial in conduct.ledger.trials() if trial != INSTALLATION]
    trial = st.selectbox(
        "Trial",
        [*known, INSTALLATION],
        key="delegations:trial",
        accept_new_options=True,
        help="Choose a trial, or type the name of a new one; in the installation, administrators of every trial.",
    )
    if not trial:
        return
    where = place_of(conduct, token, user, trial)
    if barred(where, Permission.DELEGATE):
        return
    receipt = receipt_at("delegation:")
    if receipt is not None:
        show_receipt(where, receipt, "Continue")
    else:
        acts = {"give": "Delegate", "end": "End a delegation"}
        chosen = st.pills("What to do", list(acts), format_func=acts.__getitem__, key="act:delegation")
        if chosen is not None:
            show, write = _give(where) if chosen == "give" else _end(where)
            act(where, f"delegation:{chosen}:{trial}", show, write, button=acts[chosen], again="Continue")
    rows = [
        (each.user, each.role.words, str(each.starts), str(each.ends or "open"), each.granted_by)
        for each in where.delegations
        if each.trial == trial or trial == INSTALLATION
    ]
    blocks.records(("user", "role", "from", "to", "by"), rows, "Delegation log")


def _give(where: Place) -> tuple[Ask, Write]:
    names = {each.name: f"{each.full_name} ({each.name})" for each in where.conduct.accounts.users() if each.active}
    roles = [Role.ADMINISTRATOR] if where.trial == INSTALLATION else list(Role)

    def show(key: Callable[[str], str]) -> list[str]:
        left, right = st.columns(2)
        left.selectbox("Person", list(names), index=None, format_func=names.__getitem__, key=key("user"))
        right.selectbox("Role", roles, index=None, format_func=lambda role: role.words, key=key("role"))
        left.date_input("First day", where.today, key=key("starts"), format="YYYY-MM-DD")
        right.date_input("Last day (optional)", None, key=key("ends"), format="YYYY-MM-DD")
        return ["user", "role", "starts", "ends"]

    def write(values: Values, attempt: Attempt) -> Receipt:
        if values["user"] is None or values["role"] is None:
            raise refused("choose the person and the role")
        check_version(where.conduct, where.trial, attempt.version)
        return where.conduct.delegate(
            where.token,
            where.trial,
            values["user"],
            values["role"],
            values["starts"],
            values["ends"],
            key=attempt.key,
        )

    return show, write


def _end(where: Place) -> tuple[Ask, Write]:
    scope = "*" if where.trial == INSTALLATION else where.trial
    running = [
        each for each in where.delegations if each.trial == scope and (each.ends is None or each.ends >= where.today)
    ]
    names = [f"{each.user}, {each.role.words}, from {each.starts}" for each in running]

    def show(key: Callable[[str], str]) -> list[str]:
        st.selectbox("Delegation", range(len(running)), index=None, format_func=names.__getitem__, key=key("which"))
        st.date_input("Last day", where.today - timedelta(days=1), key=key("ends"), format="YYYY-MM-DD")
        st.caption("Yesterday ends it now.")
        return ["which", "ends"]

    def write(values: Values, attempt: Attempt) -> Receipt:
        if values["which"] is None:
            raise refused("choose the delegation")
        check_version(where.conduct, where.trial, attempt.version)
        chosen = running[values["which"]]
        return where.conduct.end_delegation(
            where.token, where.trial, chosen.user, chosen.role, values["ends"], key=attempt.key
        )

    return show, write
