"""Backfill on the pages: in the study's form, among the results, and in a conducted trial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from escalation.plain_data import parse
from escalation.simulate import simulate
from escalation.study import load, read_text
from escalation.ui import signed_in, workspace
from tests.conduct import kit
from tests.conduct.test_backfilling import decide, study
from tests.ui.conduct_screen import Screen
from tests.ui.conftest import Opener

PRESET = "textbook-bf-boin"


def test_the_form_of_a_study_changes_the_cap(opened: Opener) -> None:
    app = opened("study", study=PRESET, part="Timing")
    (cap,) = [each for each in app.number_input if each.label == "Cap"]
    assert cap.value == 12
    cap.set_value(9).run()
    found_draft = app.query_params.get("draft", "") or app.query_params.get("study", "")
    key = found_draft if isinstance(found_draft, str) else found_draft[0]
    assert parse(workspace.kept_study(key))["protocol"]["backfill"] == {"cap": 9}
    assert parse(read_text(PRESET)[0])["protocol"]["backfill"] == {}


def test_the_form_of_a_scenario_asks_for_responses_where_the_protocol_backfills(opened: Opener) -> None:
    app = opened("study", study=PRESET, part="Scenarios")
    assert any("Response" in each.label for kind in ("text_input", "text_area") for each in app.get(kind)), [
        each.label for kind in ("text_input", "text_area", "number_input", "checkbox") for each in app.get(kind)
    ]
    plain = opened("study", study="textbook-boin", part="Scenarios")
    assert not any("Response" in each.label for kind in ("text_input", "text_area") for each in plain.get(kind))


def test_results_show_the_backfilled_beside_the_participants(opened: Opener) -> None:
    from tests.ui.test_simulate_page import button, ended, html_of

    at = opened("simulate_page", study=PRESET)
    at.number_input[0].set_value(5)
    at.run()
    button(at, "Simulate").click().run()
    run = at.query_params.get("run", "")
    assert ended(run if isinstance(run, str) else run[0]).status == "finished"
    at.run()
    assert not at.exception
    assert "of them backfilled" in html_of(at)
    assert "Backfilled participants" in html_of(at)
    assert simulate(load(PRESET), trials=2).engine == "calendar"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = kit.Site(tmp_path, study())
    monkeypatch.setenv("ESCALATION_DATABASE", str(made.path))
    monkeypatch.setenv("ESCALATION_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setattr(signed_in, "clock", made.clock)
    monkeypatch.setattr(signed_in, "passwords", kit.fast())
    made.cohort("P1", "P2", "P3")
    decide(made)
    for code in ("P4", "P5", "P6"):
        made.treat(code)
    made.screen("P7")
    yield made
    made.close()


def test_a_response_opens_a_regimen_and_somebody_is_backfilled(site: kit.Site) -> None:
    waits = Screen(site, "ingrid", view="participants", participant="P7")
    assert "backfill" not in waits.widget("What happened?").options
    screen = Screen(site, "ingrid", view="participants", participant="P2")
    screen.choose("What happened?", "response")
    screen.fill(**{"Criteria met": "complete response", "Assessed by": "Dr Reader"}).press("Record")
    assert site.entries()[-1].type == "response_recorded"
    backfills = Screen(site, "ingrid", view="participants", participant="P7")
    backfills.choose("What happened?", "backfill")
    assert "below the current one" in backfills.text
    backfills.press("Backfill")
    made = site.entries()[-1].payload
    assert (made["stage"], made["role"], made["regimen"]["dose"]) == ("backfill", "backfill", 1)
    today = Screen(site, "ingrid", view="today")
    assert "Open for backfill: **level 1**" in today.text
    assert "backfilled" in today.text
