"""Start: every preset is offered, with what a reader must know before choosing it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from escalation.conduct.installation import open_conduct
from escalation.conduct.roles import Role
from escalation.study import load, preset_names
from escalation.ui.start_page import regimens_in_words

PASSWORD = "a long walk along the river"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("ESCALATION_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("ESCALATION_DATABASE", str(tmp_path / "conduct.sqlite"))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
    assert not app.exception
    return app


def test_every_preset_is_offered_with_three_ways_to_a_first_result(start: AppTest) -> None:
    keys = {each.key for each in start.button}
    for name in preset_names():
        assert {f"go:{name}:{page}" for page in ("explore", "simulate", "rules")} <= keys
    said = " ".join(each.value for each in (*start.markdown, *start.caption)).replace("\\", "")
    for name in preset_names():
        study = load(name)
        assert study.title in said
        assert study.registry in said
        assert study.protocol.rule.design.label in said


def test_nobody_is_asked_to_sign_in_and_no_database_is_made(start: AppTest, tmp_path: Path) -> None:
    assert not [each for each in start.text_input if each.label == "Password"]
    assert not (tmp_path / "conduct.sqlite").exists()


def test_whoever_is_signed_in_finds_their_trials(start: AppTest, tmp_path: Path) -> None:
    conduct = open_conduct(str(tmp_path / "conduct.sqlite"), create=True)
    conduct.initialise("ada", "Ada Administrator", PASSWORD)
    token = conduct.accounts.sign_in("ada", PASSWORD).token
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    conduct.create_user(token, "ingrid", "Ingrid Investigator", f"first {PASSWORD}")
    conduct.accounts.change_password("ingrid", f"first {PASSWORD}", PASSWORD)
    conduct.delegate(token, "MSC-1", "ingrid", Role.INVESTIGATOR, yesterday)
    start.session_state["conduct_token"] = conduct.accounts.sign_in("ingrid", PASSWORD).token
    start.run()
    assert not start.exception
    assert "Your trials" in [each.value for each in start.subheader]
    start.session_state["conduct_token"] = "a token of nobody"
    start.run()
    assert not start.exception
    assert "Your trials" not in [each.value for each in start.subheader]


def test_a_first_result_is_one_click_away(start: AppTest) -> None:
    start.button(key="go:textbook-boin:rules").click().run()
    assert not start.exception
    assert start.title[0].value == "Rules"
    assert "textbook-boin" in start.query_params["study"]


def test_regimens_in_words() -> None:
    words = {name: regimens_in_words(load(name).protocol.grid) for name in preset_names()}
    assert words["textbook-boin"] == "5 doses, 10 to 50 mg"
    assert words["nct07212335"] == "3 frequencies (1, 2, 4 infusions) of 2 x 10^6 cells/kg"
    assert words["nct05672420"].startswith("5 doses, 0.5 to 4 x 10^6 cells/kg, by 3 frequencies")
