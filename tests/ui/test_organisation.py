"""Signing in through an organisation: who is known, how fresh the answer must be, and what it does not replace."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from escalation.conduct.installation import open_conduct
from escalation.conduct.service import Conduct

PASSWORD = "a passphrase long enough"
PAGE = """
import streamlit as st
from escalation.ui.signed_in import required, sign_out_button
_, _, user = required()
sign_out_button()
st.write(f"signed in: {user.name}")
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conduct:
    monkeypatch.setenv("ESCALATION_DATABASE", str(tmp_path / "conduct.sqlite"))
    conduct = open_conduct(str(tmp_path / "conduct.sqlite"), create=True)
    conduct.initialise("ada", "Ada Administrator", PASSWORD)
    return conduct


def visit(**claims: object) -> AppTest:
    at = AppTest.from_string(PAGE, default_timeout=30)
    at.secrets["auth"] = {"redirect_uri": "http://localhost/oauth2callback", "cookie_secret": "x"}
    at.secrets["escalation"] = {"people": {"Ada@Hospital.example": "ada"}}
    if claims:
        at.user.update({"is_logged_in": True, "iss": "https://login.hospital.example", **claims})
    at.run()
    return at


def said(at: AppTest) -> str:
    return " ".join(each.value for kind in (at.markdown, at.error, at.warning) for each in kind)


def test_a_fresh_verified_identity_begins_a_session_that_is_logged(site):
    at = visit(email="ada@hospital.example", email_verified=True, iat=time.time() - 20)
    assert "signed in: ada" in said(at)
    last = site.accounts.log(account="ada")[-1]
    assert last.event == "signed_in"
    assert "https://login.hospital.example: ada@hospital.example" in last.detail


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"email": "eve@hospital.example", "email_verified": True}, "nobody's account"),
        ({"email": "ada@hospital.example"}, "without a verified"),
        ({"email": "ada@hospital.example", "email_verified": "true"}, "without a verified"),
        ({"sub": "ada"}, "without a verified"),
    ],
)
def test_an_identity_nobody_entered_or_verified_is_refused(site, claims, words):
    at = visit(iat=time.time(), **claims)
    assert words in said(at)
    assert "signed in" not in said(at)


@pytest.mark.parametrize("age", [600, -600])
def test_an_old_answer_begins_nothing(site, age):
    at = visit(email="ada@hospital.example", email_verified=True, iat=time.time() - age)
    assert "signed in" not in said(at)
    assert any(button.label == "Sign in with your organisation" for button in at.button)


def test_a_closed_account_stays_closed(site):
    site.create_user(site.accounts.sign_in("ada", PASSWORD).token, "ben", "Ben Bystander", "another long passphrase")
    site.accounts.deactivate("ada", by="ben", reason="left")
    at = visit(email="ada@hospital.example", email_verified=True, iat=time.time())
    assert "signed in" not in said(at)
    assert "not active" in said(at)


def test_without_a_provider_the_local_accounts_are_asked(site):
    at = AppTest.from_string(PAGE, default_timeout=30).run()
    assert not any("organisation" in button.label for button in at.button)
    at.text_input[0].set_value("ada")
    at.text_input[1].set_value(PASSWORD)
    at.button[0].click().run()
    assert "signed in: ada" in said(at)
