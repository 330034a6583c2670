"""A simulated trial that is opened is the one that was simulated, and every step says what was known then."""

from __future__ import annotations

from itertools import pairwise

import pytest

from escalation.report.course import EXEMPLARS, SimulatedTrial, exemplars
from escalation.simulate import simulate
from escalation.study import load

SEED = 5


@pytest.fixture(scope="module", params=["nct07212335", "nct05672420"])
def simulation(request):
    study = load(request.param)
    name = "T1-drop-out" if request.param == "nct07212335" else study.scenarios[0].name
    return simulate(study, scenarios=[name], engine="calendar", trials=30, seed=SEED)


def test_the_trial_opened_is_the_trial_simulated(simulation):
    result = simulation.scenarios[0]
    clock = result.rows.calendar
    for replicate in (0, 7, 29):
        trial = SimulatedTrial(simulation.study, result.name, SEED, replicate)
        last = trial.at(len(trial.steps) - 1)
        assert len(last.people) == clock.treated[replicate]
        assert trial.course.last_day - last.people[0].first == clock.duration_days[replicate]
        assert sum(each.outcome == "dlt" for each in last.people) == result.rows.total_dlt[replicate]
        assert sum(each.outcome == "not_evaluable" for each in last.people) == clock.not_evaluable[replicate]


def test_the_periods_drawn_add_up_to_the_days_counted(simulation):
    result = simulation.scenarios[0]
    clock = result.rows.calendar
    columns = {"outcomes": clock.held_window, "review": clock.held_review, "stagger": clock.held_stagger}
    for replicate in range(10):
        trial = SimulatedTrial(simulation.study, result.name, SEED, replicate)
        drawn = trial.at(len(trial.steps) - 1).suspended
        for cause, counted in columns.items():
            assert sum(each.end - each.start for each in drawn if each.cause == cause) == counted[replicate]
        assert all(a.end <= b.start for a, b in pairwise(drawn))


def test_every_step_knows_what_was_known_and_nothing_later(simulation):
    trial = SimulatedTrial(simulation.study, simulation.scenarios[0].name, SEED, 3)
    days = []
    for step in range(len(trial.steps)):
        moment = trial.at(step)
        days.append(moment.day)
        assert all(each.outcome_day is None or each.outcome_day <= moment.day for each in moment.people)
        assert all(day <= moment.day for each in moment.people for day in each.infusions)
        assert all(each.end <= moment.day for each in moment.suspended)
        assert moment.said
        assert bool(moment.reasons) == (step in trial.decision_steps)
    assert days == sorted(days)


def test_a_decision_carries_the_reason_the_rule_gives(simulation):
    trial = SimulatedTrial(simulation.study, simulation.scenarios[0].name, SEED, 3)
    assert trial.decision_steps
    for step in trial.decision_steps:
        before, after = trial.at(step - 1), trial.at(step)
        assert tuple(code for code, _, _ in after.reasons) == before.advice.reasons
        rule = simulation.study.protocol.rule
        assert after.decisions[-1].reason == " ".join(rule.reason(code).line for code in before.advice.reasons)
    assert trial.at(len(trial.steps) - 1).advice.reasons == ("trial.closed",)


def test_the_rules_find_what_they_say(simulation):
    rows = simulation.scenarios[0].rows
    found = exemplars(rows)
    assert set(found) == set(EXEMPLARS)
    duration = rows.calendar.duration_days
    assert duration[found["longest"]] == duration.max()
    assert duration[found["shortest"]] == duration.min()
    assert rows.total_dlt[found["most_dlts"]] == rows.total_dlt.max()
