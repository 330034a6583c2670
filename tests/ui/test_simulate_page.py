"""Simulate: what is asked is what runs, what is shown is what the engine says, a reload loses nothing."""

from __future__ import annotations

import json
import shlex
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from escalation.cli import app
from escalation.report.course import SimulatedTrial
from escalation.report.tables import number
from escalation.simulate import simulate
from escalation.study import load, read_text
from escalation.ui import command_lines, run_panel, runs
from tests.ui.conftest import address, button, ended, html_of

PRESET = "textbook-frequency"


def asked(**changed) -> dict:
    names = [each.name for each in load(PRESET).scenarios]
    request = {"studies": [read_text(PRESET)[0]], "scenarios": names, "engine": "calendar", "trials": 30, "seed": 4}
    return request | changed


def started(opened):
    """The page with a finished run of thirty trials."""
    at = opened("simulate_page", study=PRESET)
    at.number_input[0].set_value(30)
    at.number_input[1].set_value(4)
    at.run()
    button(at, "Simulate").click().run()
    key = address(at, "run")
    assert ended(key).status == "finished"
    return at.run(), key


def test_from_the_settings_to_the_numbers_of_the_engine(opened):
    at, key = started(opened)
    assert not at.exception
    assert {k: v for k, v in runs.look(key).request.items() if k != "asked"} == asked()
    expected = simulate(load(PRESET), engine="calendar", trials=30, seed=4)
    shown = html_of(at)
    for result in expected.scenarios:
        for estimate in (result.characteristics.measures["correct_selection"], result.characteristics.no_selection):
            assert number(estimate) in shown
        assert number(result.characteristics.duration_days.mean, 1) in shown
    assert expected.study.hash[:12] in shown
    assert "standard errors in parentheses" in shown


def test_a_reload_in_another_browser_finds_the_result_again(opened):
    at, key = started(opened)
    again = opened("simulate_page", study="nct07212335", run=key)
    table = [line for line in html_of(at).splitlines() if "esc-scroll" in line]
    assert [line for line in html_of(again).splitlines() if "esc-scroll" in line] == table
    assert "not to the one chosen at the side" in again.info[0].value


def test_a_double_click_starts_one_run(place, monkeypatch):
    begun = []
    monkeypatch.setattr(runs, "start", lambda request: begun.append(request) or "0" * 32)
    monkeypatch.setattr(runs, "look", lambda _: SimpleNamespace(open=True))
    state, address = {}, {}
    monkeypatch.setattr(run_panel.st, "session_state", state)
    monkeypatch.setattr(run_panel.st, "query_params", address)
    run_panel.begin("simulate", asked())
    run_panel.begin("simulate", asked())
    assert len(begun) == 1
    run_panel.begin("simulate", asked(seed=5))
    assert len(begun) == 2
    monkeypatch.setattr(runs, "look", lambda _: SimpleNamespace(open=False))
    run_panel.begin("simulate", asked(seed=5))
    assert len(begun) == 3, "asking again after it ended is no double click"


def test_a_run_is_cancelled_from_the_page_and_asked_again(opened):
    key = runs.start(asked(trials=100_000))
    at = opened("simulate_page", study=PRESET, run=key)
    button(at, "Cancel").click().run()
    assert ended(key).status == "cancelled"
    at.run()
    assert "there is no result" in at.info[0].value
    button(at, "Run it again").click().run()
    assert address(at, "run") != key
    runs.cancel(address(at, "run"))


def test_a_run_whose_process_died_says_so(opened):
    key = runs.start(asked(trials=100_000))
    for _ in range(400):
        if runs.look(key).status == "running":
            break
        time.sleep(0.05)
    process = runs._started[key]
    process.kill()
    process.wait()
    at = opened("simulate_page", study=PRESET, run=key)
    assert "ended before its result was written" in at.error[0].value
    assert not at.exception


def test_an_address_without_its_run_offers_to_start_one(opened):
    at = opened("simulate_page", study=PRESET, run="f" * 32)
    assert "names no run kept here" in at.info[0].value
    assert button(at, "Simulate")
    assert "run" not in at.query_params


def test_leaving_for_another_page_and_coming_back_keeps_the_run(opened):
    at, key = started(opened)
    del at.query_params["run"]
    assert address(at.run(), "run") == key
    button(at, "New simulation").click().run()
    assert button(at, "Simulate")
    assert "run" not in at.query_params


def test_a_result_of_another_study_is_not_shown_without_its_address(opened):
    at, _ = started(opened)
    del at.query_params["run"]
    at.session_state["study_in_hand"] = "nct07212335"
    at.run()
    assert button(at, "Simulate")


def test_nothing_chosen_cannot_be_started(opened):
    at = opened("simulate_page", study=PRESET)
    at.button_group[0].set_value([]).run()
    assert button(at, "Simulate").disabled


def test_a_trial_is_opened_by_rule_and_by_number_and_stepped_through(opened):
    at, _ = started(opened)
    name = load(PRESET).scenarios[0].name
    at.number_input[0].set_value(7).run()
    assert address(at, "trial") == "7"
    trial = SimulatedTrial(load(PRESET), name, 4, 6)
    assert trial.at(len(trial.steps) - 1).said in html_of(at)
    button(at, "Start").click().run()
    assert trial.at(0).said in html_of(at)
    button(at, "Next").click().run()
    assert trial.at(1).said in html_of(at)
    button(at, "Next decision").click().run()
    moment = trial.at(trial.decision_steps[0])
    assert moment.said in html_of(at)
    assert any(moment.reasons[0][1] in each.value for each in at.markdown)
    at.slider[0].set_value(3).run()
    assert trial.at(3).said in html_of(at)
    longest = (
        int(
            simulate(load(PRESET), scenarios=[name], engine="calendar", trials=30, seed=4)
            .scenarios[0]
            .rows.calendar.duration_days.argmax()
        )
        + 1
    )
    next(group for group in at.button_group if group.label == "Find").set_value("longest").run()
    assert address(at, "trial") == str(longest)


def test_the_exact_engine_has_no_single_trials_and_says_why(opened):
    key = runs.start(asked(engine="exact"))
    assert ended(key).status == "finished"
    at = opened("simulate_page", study=PRESET, run=key)
    assert not at.slider
    assert any("need the clock" in each.value for each in at.caption)
    assert "exact: no Monte Carlo error" in html_of(at)


@pytest.mark.parametrize("changed", [{}, {"engine": "exact"}, {"scenarios": [load(PRESET).scenarios[1].name]}])
def test_the_command_line_gives_the_same_numbers(changed):
    request = asked(**changed)
    command = command_lines.simulate_command(request, load(PRESET))
    printed = CliRunner().invoke(app, [*shlex.split(command)[1:], "--json"])
    assert printed.exit_code == 0, printed.output
    form = json.loads(printed.stdout)
    asked_for = {name: request[name] for name in ("scenarios", "engine", "trials", "seed")}
    expected = simulate(load(PRESET), **asked_for)
    assert [each["measures"]["correct_selection"] for each in form["scenarios"]] == [
        each.characteristics.measures["correct_selection"].value for each in expected.scenarios
    ]
