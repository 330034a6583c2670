"""The Trials page: opening a trial, accounts, delegations, and passwords that somebody else knows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from escalation.conduct.roles import Role
from escalation.study import load
from escalation.ui import signed_in
from tests.conduct import kit
from tests.ui.conduct_screen import Screen


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[kit.Site]:
    found = kit.Site(tmp_path, opened=False)
    monkeypatch.setenv("ESCALATION_DATABASE", str(found.path))
    monkeypatch.setenv("ESCALATION_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setattr(signed_in, "clock", found.clock)
    monkeypatch.setattr(signed_in, "passwords", kit.fast())
    yield found
    found.close()


def test_a_trial_is_opened_with_the_study_in_hand(site: kit.Site) -> None:
    screen = Screen(site, "ingrid", page="trials", study="nct07212335").choose("Part", "Open a trial")
    assert load("nct07212335").hash in screen.text
    assert "NOT protocol-complete" in screen.text
    assert screen.widget("Eligibility criteria").value == "nct07212335"
    screen.fill(**{"Your password, to sign": "wrong"}).press("Sign and open the trial")
    assert not [entry for entry in site.entries() if entry.type == "trial_opened"]
    assert "Nothing was recorded" in screen.text
    assert screen.widget("Your password, to sign").value == "", "a password is asked for at every signing"
    screen.fill(**{"Time zone of the site": "Asia/Shanghai", "Your password, to sign": kit.PASSWORD})
    screen.press("Sign and open the trial")
    opened = site.entries()[-1]
    assert opened.type == "trial_opened"
    assert opened.payload["zone"] == "Asia/Shanghai"
    assert opened.payload["study_hash"] == load("nct07212335").hash
    assert "Recorded." in screen.text


def test_an_administrator_makes_an_account_whose_password_is_changed_first(site: kit.Site) -> None:
    screen = Screen(site, "admin", page="trials").choose("Part", "Accounts").choose("What to do", "add")
    screen.fill(**{"Code name": "nora", "Printed name, as it stands in signatures": "Nora Nurse"})
    screen.fill(**{"Temporary password": "a first word for nora"}).press("New account")
    assert "Nora Nurse (nora) has an account" in screen.text
    token = site.conduct.accounts.sign_in("nora", "a first word for nora").token
    site._tokens["nora"] = token, site.clock.moment
    nora = Screen(site, "nora", page="trials")
    assert "Choose your own before you go on" in nora.text
    assert "Your trials" not in [option for group in nora.at.get("button_group") for option in group.options]
    nora.fill(**{"Present password": "a first word for nora", "New password": kit.PASSWORD})
    nora.fill(**{"New password, again": kit.PASSWORD + "x"}).press("Change password")
    assert "The two new passwords differ" in nora.text
    nora.fill(**{"Present password": "a first word for nora", "New password": kit.PASSWORD})
    nora.fill(**{"New password, again": kit.PASSWORD}).press("Change password")
    assert "the password was changed" in nora.text
    assert not site.conduct.accounts.user("nora").temporary_password


def test_deactivating_needs_its_reason_and_ends_the_session(site: kit.Site) -> None:
    mona = Screen(site, "mona", page="trials")
    screen = Screen(site, "admin", page="trials").choose("Part", "Accounts").choose("What to do", "deactivate")
    screen.fill(Account="mona").press("Deactivate")
    assert "the reason is missing" in screen.text
    screen.fill(Reason="left the hospital").press("Deactivate")
    assert not site.conduct.accounts.user("mona").active
    assert "the account was deactivated" in mona.run().text


def test_a_delegation_is_given_and_ended(site: kit.Site) -> None:
    site.employ("nora")
    screen = Screen(site, "admin", page="trials").choose("Part", "Delegations").choose("Trial", "T-1")
    screen.choose("What to do", "give").fill(Person="nora", Role=Role.MONITOR).press("Delegate")
    given = site.entries()[-1]
    assert (given.type, given.payload["user"], given.payload["role"]) == ("delegated", "nora", "monitor")
    screen.press("Continue").choose("What to do", "end")
    running = screen.widget("Delegation").options
    assert running[-1].startswith("nora, monitor")
    site.wait(days=3)
    site._tokens.clear()
    later = Screen(site, "admin", page="trials").choose("Part", "Delegations").choose("What to do", "end")
    later.fill(Delegation=len(running) - 1).press("End a delegation")
    assert site.entries()[-1].payload["ends"] == (site.today - timedelta(days=1)).isoformat()


def test_somebody_else_sees_neither_accounts_nor_delegations(site: kit.Site) -> None:
    parts = Screen(site, "carlos", page="trials").widget("Part").options
    assert parts == ["Your trials", "Own password"]


def test_an_empty_installation_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.testing.v1 import AppTest

    from tests.ui.conduct_screen import _trials

    monkeypatch.setenv("ESCALATION_DATABASE", str(tmp_path / "new" / "conduct.sqlite"))
    at = AppTest.from_function(_trials, default_timeout=60).run()
    assert not at.exception
    assert "escalation trial init" in at.info[0].value


def test_signing_in_on_the_page_when_it_is_started_without_its_server(site: kit.Site) -> None:
    from streamlit.testing.v1 import AppTest

    from tests.ui.conduct_screen import _trials

    at = AppTest.from_function(_trials, default_timeout=60).run()
    at.text_input[0].set_value("carlos")
    at.text_input[1].set_value("wrong")
    at.button[0].click().run()
    assert "the user name or the password is not right" in at.error[0].value
    at.text_input[1].set_value(kit.PASSWORD)
    at.button[0].click().run()
    assert "Carlos Tester" in at.sidebar.markdown[0].value
    at.sidebar.button[0].click().run()
    assert at.text_input[0].label == "Code name"


def test_the_account_log_is_for_administrators(site: kit.Site) -> None:
    screen = Screen(site, "admin", page="trials").choose("Part", "Account log")
    assert "signed in" in screen.text
    assert "The log only grows." in screen.text
    assert "Account log" not in Screen(site, "ingrid", page="trials").widget("Part").options
