"""Response beside toxicity: exact tests against scipy and enumeration, the engines, two groups, and what is refused."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, fisher_exact, norm
from typer.testing import CliRunner

from escalation.cli import app
from escalation.compare import compare
from escalation.errors import StudyError
from escalation.response import ResponseEndpoint, critical_numbers, planned_test
from escalation.simulate import calendar_engine, simulate
from escalation.study import Study, validate
from escalation.two_groups import p_values, power

GROUPS = {"participants": 24, "control": {"label": "usual care"}, "treatment": {"label": "cells"}}
MONITOR = {"name": "toxicity_monitor", "boundary": "table", "stop_at": [[2, 4], [4, 12]]}


def data_of(family: str = "single_arm", **changes: Any) -> dict[str, Any]:
    """A study of twelve treated participants as plain data; ``changes`` replace its parts."""
    data: dict[str, Any] = {
        "schema": 1,
        "id": "test",
        "title": "A study written in a test",
        "family": family,
        "protocol": {
            "regimens": {"doses": [4], "frequencies": [[0, 7]]},
            "design": MONITOR,
            "cohort_size": 4,
            "max_patients": 12,
        },
        "criteria": {"mtd_rule": "largest_le"},
        "response": {"day": 60, "null": 0.3, "target": 0.7},
        "scenarios": [{"name": "assumed", "truth": [0.2], "response": 0.6}],
    }
    if family == "two_arm":
        data["groups"] = GROUPS
        data["scenarios"][0]["control_response"] = 0.3
    return data | changes


def study_of(family: str = "single_arm", **changes: Any) -> Study:
    return validate(data_of(family, **changes))


def measures(study: Study, **options: Any) -> dict[str, Any]:
    found = simulate(study, **options).scenarios[0].response
    assert found is not None
    return found


# one group -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "null", "level"), [(9, 0.2, 0.05), (20, 0.3, 0.05), (68, 0.4, 0.05), (35, 0.5, 0.025)])
def test_the_critical_number_is_the_first_that_the_binomial_test_rejects(n, null, level):
    critical = critical_numbers(n, null, level)[n]
    rejects = [binomtest(x, n, null, alternative="greater").pvalue <= level for x in range(n + 1)]
    assert rejects == [x >= critical for x in range(n + 1)]


def test_a_test_that_can_never_reject_says_so():
    assert critical_numbers(2, 0.5, 0.05).tolist() == [1, 2, 3]
    planned = planned_test(ResponseEndpoint(day=1, null=0.5, target=0.9), 2)
    assert (planned["critical"], planned["power"]) == (3, 0.0)


def test_response_and_safety_stopping_are_the_sum_over_every_joint_outcome():
    """Every sequence of (DLT, response) of eight participants, independent of each other, looked at after four."""
    design = {"name": "toxicity_monitor", "boundary": "table", "stop_at": [[2, 4], [3, 8]]}
    protocol = data_of()["protocol"] | {"design": design, "max_patients": 8}
    response = {"day": 60, "null": 0.3, "target": 0.7, "level": 0.1}
    got = measures(study_of(protocol=protocol, response=response))
    toxic, answers, critical = 0.2, 0.6, int(critical_numbers(8, 0.3, 0.1)[8])
    shown = complete = responders = 0.0
    for dlts in product((0, 1), repeat=8):
        chance = toxic ** sum(dlts) * (1 - toxic) ** (8 - sum(dlts))
        stopped_early, over = sum(dlts[:4]) >= 2, sum(dlts) >= 3
        seen = 4 if stopped_early else 8
        for responses in product((0, 1), repeat=seen):
            joint = chance * answers ** sum(responses) * (1 - answers) ** (seen - sum(responses))
            responders += joint * sum(responses)
            complete += joint * (not (stopped_early or over))
            shown += joint * (not (stopped_early or over) and sum(responses) >= critical)
    assert got["response_shown"].value == pytest.approx(shown, abs=1e-12)
    assert got["response_shown_if_complete"].value == pytest.approx(shown / complete, abs=1e-12)
    assert got["responders"].value == pytest.approx(responders, abs=1e-12)
    assert all(estimate.mcse is None for estimate in got.values())


def test_without_a_boundary_the_power_is_that_of_the_test():
    protocol = data_of()["protocol"] | {"design": {"name": "toxicity_monitor", "boundary": "none"}}
    scenarios = [{"name": "target", "truth": [0.5], "response": 0.7}, {"name": "null", "truth": [0.5], "response": 0.3}]
    study = study_of(protocol=protocol, scenarios=scenarios)
    planned = planned_test(study.response, 12)
    target, null = (result.response["response_shown"].value for result in simulate(study).scenarios)
    assert (target, null) == (pytest.approx(planned["power"]), pytest.approx(planned["level"]))
    assert null <= 0.05


def test_a_trial_that_loses_participants_is_tested_at_the_number_it_has():
    """Nobody is replaced: the critical number follows the evaluable, and the level is kept at each of them."""
    protocol = data_of()["protocol"] | {
        "design": {"name": "toxicity_monitor", "boundary": "none"},
        "evaluability": {"replace": False},
    }
    scenario = {"name": "assumed", "truth": [0.2], "response": 0.3, "drop_out": 0.4}
    result = simulate(study_of(protocol=protocol, scenarios=[scenario]), engine="calendar", trials=300).scenarios[0]
    n = result.rows.n[:, 0]
    assert n.min() < n.max() <= 12
    critical = critical_numbers(12, 0.3, 0.05)
    expected = np.mean(binom.sf(critical[n] - 1, n, 0.3) * result.rows.selected[:, 0])
    assert result.response["response_shown"].value == pytest.approx(expected)
    assert expected <= 0.05


# two groups ----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(control=st.integers(1, 15), treatment=st.integers(1, 15), data=st.data())
def test_fishers_p_values_are_scipys(control, treatment, data):
    x, y = data.draw(st.integers(0, control)), data.draw(st.integers(0, treatment))
    exact = fisher_exact([[y, treatment - y], [x, control - x]], alternative="greater").pvalue
    assert p_values(control, treatment, "fisher")[x, y] == pytest.approx(exact, abs=1e-12)
    observed = exact - (
        fisher_exact([[y + 1, treatment - y - 1], [x - 1, control - x + 1]], alternative="greater").pvalue
        if y < treatment and x > 0
        else 0.0
    )
    assert p_values(control, treatment, "fisher_mid_p")[x, y] == pytest.approx(exact - observed / 2, abs=1e-12)


def test_the_z_test_is_the_difference_over_its_unpooled_error():
    found = p_values(20, 30, "z_unpooled")
    score = (18 / 30 - 6 / 20) / np.sqrt(0.3 * 0.7 / 20 + 0.6 * 0.4 / 30)
    assert found[6, 18] == pytest.approx(norm.sf(score))
    assert (found[0, 0], found[20, 30], found[0, 30], found[20, 0]) == (0.5, 0.5, 0.0, 1.0)


@pytest.mark.parametrize("test", ["fisher_mid_p", "fisher", "z_unpooled"])
def test_power_is_the_sum_over_every_pair_of_counts(test):
    control, treatment, level, first, second = 9, 14, 0.05, 0.3, 0.7
    p = p_values(control, treatment, test)
    total = sum(
        binom.pmf(x, control, first) * binom.pmf(y, treatment, second)
        for x in range(control + 1)
        for y in range(treatment + 1)
        if p[x, y] <= level
    )
    assert power(control, treatment, test, level, first, second) == pytest.approx(total, abs=1e-12)


@settings(max_examples=30)
@given(
    size=st.integers(5, 40),
    first=st.floats(0.05, 0.9),
    gain=st.floats(0.0, 0.3),
    level=st.sampled_from([0.025, 0.05, 0.1]),
)
def test_fisher_keeps_its_level_and_mid_p_is_never_less_powerful(size, first, gain, level):
    second = min(first + gain, 0.95)
    exact, mid = (power(size, size, test, level, first, second) for test in ("fisher", "fisher_mid_p"))
    assert exact <= mid + 1e-12
    assert power(size, size, "fisher", level, first, first) <= level + 1e-12
    assert power(size, size, "fisher_mid_p", level, first, first) <= 1.5 * level  # close to it, not below it always


def test_two_groups_with_safety_stopping():
    study = study_of("two_arm")
    simulation = simulate(study)
    rows, got = simulation.scenarios[0].rows, simulation.scenarios[0].response
    complete = float(rows.weight @ rows.selected[:, 0])
    assert complete < 1
    test = power(12, 12, "fisher_mid_p", 0.05, 0.3, 0.6)
    assert got["response_shown"].value == pytest.approx(complete * test)
    assert got["response_shown_if_complete"].value == pytest.approx(test)
    treated = float(rows.weight @ rows.total)
    assert got["control_participants"].value == pytest.approx(treated)
    assert (got["responders"].value, got["control_responders"].value) == (
        pytest.approx(0.6 * treated),
        pytest.approx(0.3 * treated),
    )
    assert any("progression" in note for note in simulation.notes)


# engines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["sampled", "calendar"])
@pytest.mark.parametrize("family", ["single_arm", "two_arm"])
def test_the_engines_agree_on_the_response(family, engine):
    study = study_of(family)
    exact, simulated = measures(study), measures(study, engine=engine, trials=1500, seed=4)
    for name, estimate in exact.items():
        if name == "control_participants" and engine == "calendar":
            continue  # counted there, in proportion here
        if name == "control_responders" and engine == "calendar":
            continue
        found = simulated[name]
        assert abs(found.value - estimate.value) <= 4 * found.mcse + 1e-9, name


def test_the_calendar_of_two_groups_enrols_both():
    study = study_of("two_arm")
    rows = simulate(study, engine="calendar", trials=400, seed=2).scenarios[0].rows
    complete, treated, control = rows.selected[:, 0], rows.n[:, 0], rows.calendar.control
    assert complete.any()
    assert not complete.all()
    assert np.all(control[complete] == 12)
    assert np.all(control <= 12)
    assert np.all(np.abs(control - treated)[~complete] <= 2)  # a block of four can be open when toxicity stops both
    assert np.all(rows.calendar.arrivals >= treated + control)
    assert np.all(rows.calendar.enrolment_days <= rows.calendar.duration_days)


@pytest.mark.parametrize(("ratio", "participants", "treated"), [([1, 2], 18, 12), ([2, 1], 36, 12), ([3, 2], 30, 12)])
def test_the_ratio_is_kept(ratio, participants, treated):
    study = study_of("two_arm", groups=GROUPS | {"ratio": ratio, "participants": participants})
    rows = simulate(study, engine="calendar", trials=60, seed=3).scenarios[0].rows
    complete = rows.selected[:, 0]
    assert set(rows.n[complete, 0]) == {treated}
    assert set(rows.calendar.control[complete]) == {participants - treated}


def test_two_groups_enrol_twice_as_long_as_one():
    one = simulate(study_of(), engine="calendar", trials=200).scenarios[0].rows.calendar
    two = simulate(study_of("two_arm"), engine="calendar", trials=200).scenarios[0].rows.calendar
    assert two.arrivals.mean() > 1.5 * one.arrivals.mean()
    assert np.all(one.control == 0)


def test_the_same_seed_gives_the_same_two_groups():
    study = study_of("two_arm")
    engine = calendar_engine(study, "assumed")
    whole, _ = engine.run(9, 0, 20)
    part, _ = engine.run(9, 12, 8)
    assert np.array_equal(whole.calendar.control[12:], part.calendar.control)
    assert np.array_equal(whole.calendar.duration_days[12:], part.calendar.duration_days)


def test_the_response_of_a_complete_trial_is_known_after_its_last_evaluation():
    study = study_of(response={"day": 200, "null": 0.3, "target": 0.7})
    result = simulate(study, engine="calendar", trials=200).scenarios[0]
    clock, complete = result.rows.calendar, result.rows.selected[:, 0]
    expected = np.where(complete, clock.enrolment_days + 200, clock.duration_days)
    assert result.response["days_until_response_known"].value == pytest.approx(expected.mean())


# families ------------------------------------------------------------------------------------


def without(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}


def scenario(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "assumed", "truth": [0.2], **changes}]


BOIN = {"name": "boin"}
REFUSED = {
    "an escalation design in a study of one regimen": (
        data_of(protocol=data_of()["protocol"] | {"design": BOIN}),
        r"protocol\.design\.name: boin escalates, and a study of the family single_arm",
    ),
    "a monitor in an escalation": (
        data_of(family="escalation") | {"response": None, "scenarios": scenario()},
        r"toxicity_monitor watches one regimen and does not escalate .*family: single_arm",
    ),
    "a response in an escalation": (
        data_of(family="escalation", protocol=data_of()["protocol"] | {"design": BOIN}),
        "response: it is not used in a study of the family escalation",
    ),
    "an expansion of one regimen": (
        data_of(protocol=data_of()["protocol"] | {"expansion": {"size": 4}, "max_patients": 16}),
        r"protocol\.expansion: it is not used",
    ),
    "groups of one group": (data_of(groups=GROUPS), "groups: it is not used"),
    "two groups without groups": (without(data_of("two_arm"), "groups"), "groups: a study of two groups needs it"),
    "two groups without response": (
        without(data_of("two_arm"), "response") | {"scenarios": scenario(control_response=0.3)},
        "response: a study of two groups needs it",
    ),
    "groups that cannot be divided": (
        data_of("two_arm", groups=GROUPS | {"participants": 25}),
        "25 participants cannot be divided 1:1",
    ),
    "a treatment group of another size": (
        data_of("two_arm", groups=GROUPS | {"participants": 30}),
        r"protocol\.max_patients: 30 participants divided 1:1 put 15 into the treatment group",
    ),
    "an empty group": (data_of("two_arm", groups=GROUPS | {"ratio": [0, 1]}), r"groups\.ratio\.0"),
    "a scenario without its response": (data_of(scenarios=scenario()), r"scenarios\.0\.response: the study's response"),
    "a scenario without its control": (
        data_of("two_arm", scenarios=scenario(response=0.5)),
        r"scenarios\.0\.control_response",
    ),
    "a control response of one group": (
        data_of(scenarios=scenario(response=0.5, control_response=0.3)),
        "compares no such response",
    ),
    "a target below the null": (
        data_of(response={"day": 1, "null": 0.5, "target": 0.4}),
        r"response: the target 0\.4 is not above the null 0\.5",
    ),
    "a probability above one": (data_of(scenarios=scenario(response=1.5)), r"scenarios\.0\.response"),
    "an unknown family": (data_of(family="three_arm"), "family"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_family_does_not_have_is_refused_by_name(case):
    data, words = REFUSED[case]
    with pytest.raises(StudyError, match=words):
        validate(data)


def test_a_single_regimen_judged_by_its_distance_is_pointed_out():
    assert study_of().warnings() == ()
    assert any("criteria.mtd_rule closest" in line for line in study_of(criteria={}).warnings())


def test_a_study_of_an_escalation_keeps_its_hash():
    """The parts only other families have are left out of what is hashed, so that stored hashes stay true."""
    protocol = {"regimens": {"doses": [1, 2]}, "design": {"name": "three_plus_three"}}
    study = validate(
        {"schema": 1, "id": "x", "title": "x", "protocol": protocol, "scenarios": [{"name": "a", "truth": [0.1, 0.2]}]}
    )
    assert not {"family", "groups", "response"} & set(study.as_dict())
    assert set(study.as_dict()["scenarios"][0]) & {"response", "control_response"} == set()
    assert validate(study.as_dict()) == study
    other = study_of("two_arm")
    assert validate(other.as_dict()) == other
    assert {"family", "groups", "response"} <= set(other.as_dict())


# what is printed -----------------------------------------------------------------------------


def printed(study: Study, path: Any, *options: str) -> str:
    path.write_text(json.dumps(study.as_dict()), encoding="utf-8")
    result = CliRunner().invoke(app, ["simulate", str(path), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_form_holds_the_response_and_its_errors(tmp_path):
    exact = json.loads(printed(study_of("two_arm"), tmp_path / "a.json", "--json"))
    assert exact["family"] == "two_arm"
    assert exact["response_test"]["control"] == exact["response_test"]["treatment"] == 12
    (one,) = exact["scenarios"]
    assert one["mcse"] is None
    assert 0 < one["response"]["response_shown"] < 1
    options = ("--engine", "calendar", "--trials", "50", "--json")
    (one,) = json.loads(printed(study_of(), tmp_path / "a.json", *options))["scenarios"]
    assert set(one["mcse"]["response"]) == set(one["response"])
    assert one["response"]["days_until_response_known"] > 60


def test_the_table_says_what_was_tested_and_how(tmp_path):
    text = printed(study_of(), tmp_path / "a.json")
    assert "response test: exact binomial, 7 or more of 12" in text
    assert "stopped for toxicity" in text
    assert "(exact)" in text
    assert "MTD" not in text
    text = printed(study_of("two_arm"), tmp_path / "a.json")
    assert "Fisher's test with mid-P" in text
    assert "24 participants randomised 1:1 between usual care (control) and cells (treatment)" in text


def test_trials_are_written_with_their_control_group(tmp_path):
    options = ("--engine", "calendar", "--trials", "5", "--records", str(tmp_path))
    for family, held in (("two_arm", True), ("single_arm", False)):
        printed(study_of(family), tmp_path / "a.json", *options)
        columns = (tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
        assert ("control" in columns) is held


def test_a_comparison_pairs_the_response_too():
    calm = study_of(protocol=data_of()["protocol"] | {"design": {"name": "toxicity_monitor", "boundary": "none"}})
    compared = compare([study_of(), calm], trials=400, seed=5)
    (scenario,) = compared.scenarios
    single = [simulate(each, engine="sampled", trials=400, seed=5).scenarios[0].response for each in (study_of(), calm)]
    values = [each["response_shown"].value for each in single]
    difference = scenario.differences[0]["response_shown"]
    assert difference.difference == pytest.approx(values[1] - values[0])
    assert difference.difference > 0
    assert difference.distinguished
