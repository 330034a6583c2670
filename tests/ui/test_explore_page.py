"""Explore without a browser: what is moved is what is worked out, by the functions of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from escalation.report.tables import number
from escalation.shapes import shapes
from escalation.simulate import simulate
from escalation.study import load
from escalation.ui.engine import fitting_designs, truth_text, with_truth, with_values

PAGE = "from escalation.ui.explore_page import page; page()"


@pytest.fixture(autouse=True)
def workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ESCALATION_WORKSPACE", str(tmp_path))


def explore(study: str) -> AppTest:
    at = AppTest.from_string(PAGE, default_timeout=60)
    at.query_params["study"] = study
    at.run()
    assert not at.exception
    return at


def printed(at: AppTest) -> str:
    """All HTML blocks of the page."""
    return "".join(str(each.proto.body) for each in at.get("html"))


def test_a_moved_slider_is_worked_out_as_the_command_line_does():
    at = explore("textbook-boin")
    (slider,) = [each for each in at.slider if each.label == "dose 3"]
    slider.set_value(22.5).run()
    study = load("textbook-boin", truth=".05 .15 .225 .45 .60")
    (expected,) = simulate(study, engine="exact").scenarios
    shown = printed(at)
    for measure in ("correct_selection", "selection_above", "patients_above", "dlt_rate"):
        assert number(expected.characteristics.measures[measure]) in shown
    assert study.hash[:12] in shown
    assert any('--truth "0.05 0.15 0.225 0.45 0.6"' in code.value for code in at.code)


def test_moderate_toxicities_stay_and_make_room_for_dlts():
    at = explore("textbook-titration")
    assert any("those of scenario announced." in each.value for each in at.caption)
    (slider,) = [each for each in at.slider if each.label == "dose 7"]
    slider.set_value(90.0).run()
    assert not at.exception
    assert not at.error
    assert any("lowered where the DLTs leave no room" in each.value for each in at.caption)
    moderate = "scenarios.0.moderate=[[0.03, 0.08, 0.15, 0.25, 0.35, 0.4, 0.1]]"
    study = load("textbook-titration", truth=".01 .02 .03 .06 .12 .25 .9", overrides=[moderate])
    assert study.hash[:12] in printed(at)
    assert any(f'--set "{moderate}"' in code.value for code in at.code)
    (expected,) = simulate(study, engine="exact").scenarios
    assert number(expected.characteristics.measures["correct_selection"]) in printed(at)


def test_the_size_of_the_trial_is_said_as_the_command_line_says_it():
    at = explore("textbook-boin")
    (most,) = [each for each in at.slider if each.label == "Participants at most"]
    most.set_value(24).run()
    study = load("textbook-boin", overrides=["protocol.max_patients=24"], truth=truth_of("textbook-boin"))
    (expected,) = simulate(study, engine="exact").scenarios
    assert number(expected.characteristics.measures["correct_selection"]) in printed(at)
    assert any("--set protocol.max_patients=24" in code.value for code in at.code)


def truth_of(name: str) -> str:
    study = load(name)
    return truth_text(study, study.truth(study.scenarios[0]).probability)


def test_every_scenario_side_by_side_equals_a_simulation_of_the_study():
    at = explore("textbook-5-doses")
    at.toggle[0].set_value(True).run()
    shown = printed(at)
    for result in simulate(load("textbook-5-doses"), engine="exact").scenarios:
        assert result.name in shown
        assert number(result.characteristics.measures["correct_selection"]) in shown


def test_a_curve_that_falls_is_allowed_and_said():
    at = explore("textbook-5-doses")
    (slider,) = [each for each in at.slider if each.label == "dose 1"]
    slider.set_value(90.0).run()
    assert any("less toxic than a lower one" in each.value for each in at.caption)


def test_an_unknown_address_falls_back_and_says_so():
    at = explore("../../etc/passwd")
    assert any("names no study" in each.value for each in at.toast)
    assert at.query_params["study"] == "nct07212335"


@pytest.mark.parametrize("name", ["textbook-5-doses", "nct05672420", "nct07212335"])
def test_every_shape_is_a_truth_of_the_regimens(name):
    study = load(name)
    for truth in shapes(study.protocol.grid, study.target).values():
        assert truth.shape == (study.protocol.grid.size,)
        assert with_truth(study, truth).truth(with_truth(study, truth).scenarios[0]).probability == pytest.approx(truth)


def test_designs_that_do_not_fit_the_regimens_are_not_offered():
    one_axis, grid = fitting_designs(load("textbook-5-doses")), fitting_designs(load("nct05672420"))
    assert next(iter(one_axis)) == "three_plus_three"
    assert {"boin", "crm"} <= set(one_axis)
    assert "dose_then_frequency" in grid
    assert "boin" not in grid
    for each in grid.values():
        assert each.protocol.grid.shape == (3, 5)


def test_replaced_values_count_as_placeholders():
    changed = with_values(load("nct07212335"), ["protocol.max_patients=18"])
    assert changed.protocol.max_patients == 18
    assert "protocol.max_patients" in changed.placeholders


def test_one_regimen_shows_its_monitoring_and_its_response_test():
    at = explore("nct06171906")
    shown = printed(at)
    study = load("nct06171906")
    (expected,) = simulate(study, scenarios=[study.scenarios[0].name], engine="exact").scenarios
    assert "Stopped for toxicity" in shown
    assert number(expected.characteristics.no_selection, 4) in shown
    assert number(expected.response["response_shown"], 4) in shown
    assert "Correct selection" not in shown
