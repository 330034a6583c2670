"""Who is signed in to conduct, and the service they act through.

The session token comes from a cookie that scripts in the browser cannot read (when ``escalation app``
serves the pages), else from this tab's memory. Whether it still counts is asked of the accounts at every run.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote, urlsplit

import streamlit as st

from escalation.conduct.accounts import Accounts, SessionEndedError, User
from escalation.conduct.installation import default_database
from escalation.conduct.passwords import Passwords
from escalation.conduct.service import INSTALLATION, Conduct
from escalation.conduct.store import Ledger, migrate
from escalation.errors import EscalationError
from escalation.ui import blocks, organisation

COOKIE: Final = "escalation_session"
SIGN_IN: Final = "/account/sign-in"
SIGN_OUT: Final = "/account/sign-out"
_TOKEN: Final = "conduct_token"
_CONDUCT: Final = "conduct_service"

passwords: Passwords | None = None
"""How passwords are hashed; as the accounts do it when None."""
served = False
"""Whether the pages are served together with the sign-in routes, which keep the token in a cookie."""


@st.cache_resource(show_spinner=False)
def _ledger(database: str) -> Ledger:
    if "://" not in database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    migrate(database)
    return Ledger.open(database, clock=_now)


def clock() -> datetime:
    """The installation's clock."""
    return datetime.now(UTC)


def _now() -> datetime:
    return clock()  # looked up at every call, so that a test can move it


def accounts() -> Accounts:
    """The accounts of the installation."""
    return Accounts(_ledger(default_database()).engine, clock=_now, passwords=passwords)


def conduct() -> Conduct:
    """The service of this browser session; sessions share the database and no state."""
    database = default_database()
    kept = st.session_state.get(_CONDUCT)
    if kept is None or kept[0] != database:
        kept = st.session_state[_CONDUCT] = (database, Conduct(_ledger(database), accounts()))
    service: Conduct = kept[1]
    return service


def token() -> str | None:
    """The session token the browser presents, if any."""
    found = st.context.cookies.get(COOKIE) if served else None
    return found or st.session_state.get(_TOKEN)


def required() -> tuple[Conduct, str, User]:
    """The service, the token and the person; shows the sign-in instead of the page when nobody is signed in."""
    service = conduct()
    if not service.ledger.head(INSTALLATION)[0]:
        st.info(
            "This installation has no administrator yet. On the server, run: "
            "`escalation trial init CODE-NAME --full-name 'Full Name'`",
            icon=":material/person_add:",
        )
        st.stop()
    presented, why = token(), ""
    if presented is not None:
        try:
            return service, presented, service.accounts.authenticate(presented)
        except SessionEndedError as error:
            why = str(error)
            st.session_state.pop(_TOKEN, None)
    return _ask(service, why)


def _ask(service: Conduct, why: str) -> NoReturn:
    if why:
        st.warning(why, icon=":material/lock_clock:")
    begun = None
    with blocks.refusals_shown():
        begun = organisation.offer(service.accounts)
    if begun is not None:
        st.session_state[_TOKEN] = begun
        st.rerun()
    if served:
        place = urlsplit(st.context.url or "/")
        query = "&".join(f"{name}={quote(value)}" for name, value in st.query_params.items())
        here = quote(place.path + (f"?{query}" if query else ""), safe="")
        blocks.link_button("Sign in", f"{SIGN_IN}?next={here}")
        st.stop()
    with st.form("sign_in"):
        name = st.text_input("Code name", autocomplete="username")
        password = st.text_input("Password", type="password", autocomplete="current-password")
        st.caption("Started without its server, the page forgets the sign-in on reload; `escalation app` keeps it.")
        if st.form_submit_button("Sign in", type="primary"):
            try:
                st.session_state[_TOKEN] = service.accounts.sign_in(name, password).token
            except EscalationError as error:
                st.error(str(error))
            else:
                st.rerun()
    st.stop()


def sign_out_button() -> None:
    """The way out, in the side bar; what was recorded stays."""
    if served and _TOKEN not in st.session_state:
        with st.sidebar:
            blocks.post_button("Sign out", SIGN_OUT)
    elif st.sidebar.button("Sign out"):
        presented = st.session_state.pop(_TOKEN, None)
        if presented is not None:
            conduct().accounts.sign_out(presented)
        organisation.forget()
        st.rerun()
