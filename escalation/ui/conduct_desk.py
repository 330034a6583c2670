"""The desk of whoever is signed in: the trial as it stands for them, what they may do, and where the address points.

Reading a trial is written to the account log once for every view and every version read, not at every refresh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Final, NoReturn
from zoneinfo import ZoneInfo

import streamlit as st

from escalation.conduct.accounts import SessionEndedError, User
from escalation.conduct.book import Book
from escalation.conduct.ledger import Head
from escalation.conduct.roles import Delegation, Permission, Role, permitted, roles_held
from escalation.conduct.service import INSTALLATION, Conduct
from escalation.conduct.state import ConductState
from escalation.errors import EscalationError
from escalation.trial_desk import roles_today
from escalation.ui import blocks, signed_in

TRIAL: Final = "trial"
VIEW: Final = "view"
PARTICIPANT: Final = "participant"
_READ: Final = "conduct_read"


@dataclass(frozen=True)
class Place:
    """Where somebody acts: a stream of the ledger at the version shown on the screen."""

    conduct: Conduct
    token: str
    user: User
    trial: str
    version: int
    zone: ZoneInfo

    @property
    def now(self) -> datetime:
        """The moment, at the site."""
        return self.conduct.accounts.now().astimezone(self.zone)

    @property
    def today(self) -> date:
        return self.now.date()

    @cached_property
    def delegations(self) -> list[Delegation]:
        return self.conduct.delegations(self.trial)

    @property
    def roles(self) -> tuple[Role, ...]:
        """Roles held today."""
        return roles_held(self.delegations, self.user.name, self.trial, self.today)

    def may(self, permission: Permission) -> bool:
        """Whether the person may do something today; the service asks again when they do it."""
        return not self.why_not(permission)

    def why_not(self, permission: Permission) -> str:
        """Why the person may not do something, empty when they may."""
        found = permitted(self.delegations, self.user.name, self.trial, permission, self.today)
        return "" if found.allowed else found.reason

    def local(self, moment: datetime | str) -> str:
        """A moment as people at the site read it: day, time and offset from UTC."""
        moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        here = moment.astimezone(self.zone)
        return f"{here:%Y-%m-%d %H:%M} {offset_words(here)}"


@dataclass(frozen=True)
class Desk(Place):
    """A trial on the screen of somebody who may read it."""

    state: ConductState
    head: Head

    @cached_property
    def book(self) -> Book:
        """The entries of the trial, as listings read them."""
        return Book.of(self.conduct.ledger.entries(self.trial))

    @classmethod
    def of(cls, conduct: Conduct, token: str, user: User, trial: str, state: ConductState) -> Desk:
        """The desk of somebody over a trial that has been read; the head is that of the version read."""
        head = conduct.ledger.head(trial)
        if head.seq != state.version:  # somebody has recorded in between
            head = Head(state.version, conduct.ledger.entries(trial, state.version - 1)[0].hash)
        return cls(conduct, token, user, trial, state.version, state.zone, state, head)


def offset_words(moment: datetime) -> str:
    """The offset of a moment from UTC, as people write it."""
    text = f"{moment:%z}"
    return "UTC" if text in ("", "+0000") else f"UTC{text[:3]}:{text[3:]}"


def person() -> tuple[Conduct, str, User]:
    """The service, the token and the person, with the side bar that says so; asks for an own password first."""
    conduct, token, user = signed_in.required()
    st.sidebar.markdown(f"Signed in as **{blocks.plain(user.full_name)}** ({blocks.plain(user.name)})")
    signed_in.sign_out_button()
    if user.temporary_password:
        own_password(conduct, user, "Somebody else knows your password. Choose your own before you go on.")
        st.stop()
    return conduct, token, user


def own_password(conduct: Conduct, user: User, why: str = "") -> None:
    """The form with which the owner of an account chooses another password; every session ends with it."""
    if why:
        st.warning(why, icon=":material/key:")
    with st.form("own_password", clear_on_submit=True):
        present = st.text_input("Present password", type="password", autocomplete="current-password")
        new = st.text_input("New password", type="password", autocomplete="new-password")
        again = st.text_input("New password, again", type="password", autocomplete="new-password")
        st.caption("Every session of yours ends; sign in again with the new password.")
        if st.form_submit_button("Change password", type="primary"):
            if new != again:
                st.error("The two new passwords differ; nothing was changed.")
                return
            try:
                conduct.accounts.change_password(user, present, new)
            except EscalationError as error:
                st.error(blocks.plain(str(error)))
            else:
                st.rerun()


def trials_of(conduct: Conduct, user: User) -> dict[str, tuple[Role, ...]]:
    """The trials a person holds a role in today, the installation itself left out."""
    return {trial: roles for trial, roles in roles_today(conduct, user.name).items() if trial != INSTALLATION}


def desk(view: str) -> Desk:
    """The trial of the address for the person signed in; shows why not instead of the page where it cannot be read."""
    conduct, token, user = person()
    trial = st.query_params.get(TRIAL, "")
    if not trial or trial not in conduct.ledger.trials():
        _choose(conduct, user, trial)
    try:
        state = read(conduct, token, user, trial, view)
    except EscalationError as error:
        blocks.show_refusal(error)
        st.stop()
    return Desk.of(conduct, token, user, trial, state)


def _choose(conduct: Conduct, user: User, asked: str) -> NoReturn:
    if asked:
        st.error(blocks.plain(f"There is no trial {asked!r} here."))
    listed = trials_of(conduct, user)
    if not listed:
        st.info("No trial is delegated to you today; an administrator enters delegations.")
    for trial in listed:
        st.button(blocks.plain(trial), on_click=go, kwargs={"trial": trial}, key=f"choose:{trial}")
    st.stop()


def barred(desk: Place, permission: Permission) -> bool:
    """Whether the person may not do something; says why in the place of its form."""
    why = desk.why_not(permission)
    if why:
        st.caption(f":material/block: {blocks.plain(why)}")
    return bool(why)


def place_of(conduct: Conduct, token: str, user: User, trial: str) -> Place:
    """Where somebody acts who does not read the participants: delegations, and trials not opened yet."""
    return Place(conduct, token, user, trial, conduct.ledger.head(trial).seq, ZoneInfo("UTC"))


def read(conduct: Conduct, token: str, user: User, trial: str, view: str) -> ConductState:
    """The trial as it stands. The first reading of a version in a view is written to the account log."""
    if _read_before().get((user.name, trial, view)) == conduct.ledger.head(trial).seq:
        return conduct.watched(token, trial)
    state = conduct.state(token, trial)
    _read_before()[user.name, trial, view] = state.version
    return state


def _read_before() -> dict[tuple[str, str, str], int]:
    """The version of each view of a trial that is in the account log as read, in this tab."""
    found: dict[tuple[str, str, str], int] = st.session_state.setdefault(_READ, {})
    return found


def refreshing(found: Desk, view: str, show: Callable[[Desk], None], seconds: int = 30) -> None:
    """Show a part of the page again every so often. It neither keeps the session alive nor outlives it."""

    def again() -> None:
        try:
            state = read_again(found, view)
        except SessionEndedError:
            st.rerun(scope="app")
        except EscalationError as error:
            blocks.show_refusal(error)
            return
        show(Desk.of(found.conduct, found.token, found.user, found.trial, state))

    st.fragment(again, run_every=seconds)()


def read_again(found: Desk, view: str) -> ConductState:
    """The trial for a refresh: a version that is new since the page was opened is written to the log, nothing else."""
    state = found.conduct.watched(found.token, found.trial)
    place = (found.user.name, found.trial, view)
    if _read_before().get(place) != state.version:
        found.conduct.accounts.log_access(found.user.name, found.trial, Permission.READ_TRIAL)
        _read_before()[place] = state.version
    return state


def go(**where: str) -> None:
    """Point the address somewhere else on this page; empty takes a part of it away."""
    for name, value in where.items():
        if value:
            st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]
