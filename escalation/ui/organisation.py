"""Signing in with an organisation's identity provider (OpenID Connect), when the installation is configured for it.

Streamlit's ``secrets.toml`` holds the provider under ``[auth]`` and, under ``[escalation.people]``, which
verified e-mail address is which account. The provider says who somebody is; what they may do, and their
signature with their own password, stay with the accounts.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import streamlit as st

from escalation.conduct.accounts import Accounts
from escalation.errors import EscalationError

FRESH: Final = timedelta(minutes=5)
"""How long after the provider's answer a session may begin: an old answer says nothing of who sits there now."""


class NotKnownHere(EscalationError):
    """An identity the installation does not know."""

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self.identity = identity

    def __str__(self) -> str:
        return f"{self.identity} is nobody's account here; ask the administrator to enter it under [escalation.people]"


def configured() -> bool:
    """Whether an identity provider is configured."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def offer(accounts: Accounts) -> str | None:
    """The button that asks the provider, and the token of the session its fresh answer begins."""
    if not configured():
        return None
    if st.user.is_logged_in and _fresh():
        return accounts.sign_in_vouched(_account(), f"{st.user.get('iss', 'the provider')}: {_identity()}").token
    if st.button("Sign in with your organisation", icon=":material/badge:"):
        st.login()
    return None


def forget() -> None:
    """Forget the provider's answer in this browser."""
    if configured() and st.user.is_logged_in:
        st.logout()


def _fresh() -> bool:
    issued = st.user.get("iat")
    if not isinstance(issued, int | float):
        return False
    age = datetime.now(UTC) - datetime.fromtimestamp(issued, UTC)
    return -FRESH < age < FRESH


def _identity() -> str:
    address = st.user.get("email")
    if not address or st.user.get("email_verified") is not True:
        raise NotKnownHere("an identity without a verified e-mail address")
    return str(address).casefold()


def _account() -> str:
    people = st.secrets.get("escalation", {}).get("people", {})
    known = {str(address).casefold(): str(name) for address, name in people.items()}
    identity = _identity()
    if identity not in known:
        raise NotKnownHere(identity)
    return known[identity]
