"""A trial run by hand: the dice are the sampled engine's, and the string is all there is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from escalation.cli import app
from escalation.errors import OutcomeError, StudyError
from escalation.sampled import sample
from escalation.study import load
from escalation.teach.hand_run import (
    added,
    before,
    figure_records,
    followed_up,
    hand_run,
    look_ahead,
    resolved,
    rolled,
    to_the_end,
    under,
    undone,
)
from escalation.teach.patients import Patients, Treated, checked_seed, hidden_scenario, patients_of

PRESETS = (
    "textbook-5-doses",
    "textbook-boin",
    "textbook-crm",
    "textbook-frequency",
    "textbook-grid-3x3",
    "textbook-titration",
    "nct07212335",
    "nct05672420",
)


@pytest.mark.parametrize("name", PRESETS)
def test_a_trial_run_with_the_dice_is_the_trial_the_sampled_engine_runs(name):
    study = load(name)
    scenario = study.scenarios[0]
    truth = study.truth(scenario).probability
    for seed in range(12):
        run = to_the_end(hand_run(study, "", seed), patients_of(study, scenario.name, seed))
        rows = sample(study.protocol.rule, truth, seed, 0, 1, study.truth(scenario).moderate)
        extra = int(rows.expansion_n[0])
        escalation = run.treated[: len(run.treated) - extra]
        n, dlt = np.zeros_like(rows.n[0]), np.zeros_like(rows.n[0])
        for person in escalation:
            n[person.regimen] += 1
            dlt[person.regimen] += person.letter == "T"
        assert (n == rows.n[0]).all()
        assert (dlt == rows.dlt[0]).all()
        assert sum(person.letter == "T" for person in run.treated[len(escalation) :]) == rows.expansion_dlt[0]
        chosen = () if rows.withdrawn[0] else tuple(np.flatnonzero(rows.selected[0]))
        assert run.selected == chosen
        assert run.ends


def test_moderate_toxicities_of_a_trial_by_hand():
    study = load("textbook-titration")
    run = hand_run(study, "1N 2M 3P")
    assert [person.letter for person in run.treated] == ["N", "M", "P"]
    assert resolved(run, 2, "M").advice.reasons == ("titration.moderate",)
    assert resolved(run, 2, "N").advice.reasons == ("titration.clear",)
    assert "a moderate toxicity at level 3" in " ".join(look_ahead(run))
    assert [person.outcome for person in figure_records(run)[0]] == ["complete", "moderate", "pending"]
    patients = patients_of(study, "announced", 4)
    for letters in ("NNN", "MMM", "TMN", "NTM"):
        told = tuple(Treated(k, letter) for k, letter in zip((2, 3, 4), letters, strict=True))
        seen = patients.seen(told)
        assert [seen.letter(i, k) for i, (k, _) in enumerate(told)] == list(letters)
        assert seen.seen(told).known == seen.known


@pytest.mark.parametrize("name", PRESETS)
def test_the_decision_is_that_of_the_decide_command(name):
    study = load(name)
    run = to_the_end(hand_run(study, "", 5), patients_of(study, study.scenarios[-1].name, 5))
    for participants in (1, 3, 5, len(run.treated)):
        then = before(run, min(participants, len(run.treated)), ())
        printed = CliRunner().invoke(app, ["decide", name, "--outcomes", then.text, "--json"])
        assert json.loads(printed.stdout)["action"] == then.advice.action.word


@st.composite
def acts(draw):
    name = draw(st.sampled_from(("textbook-5-doses", "textbook-boin", "nct07212335", "textbook-grid-3x3")))
    steps = draw(st.lists(st.tuples(st.text("NNNTPX", min_size=1, max_size=3), st.sampled_from("NTX")), max_size=12))
    return name, draw(st.integers(0, 10**9)), steps


@settings(max_examples=40)
@given(acts())
def test_whatever_is_done_by_hand_the_string_gives_the_same_trial_and_the_same_design_the_same_path(drawn):
    name, seed, steps = drawn
    study = load(name)
    run = hand_run(study, "", seed)
    for letters, outcome in steps:
        if run.opening is None:
            if not run.pending:
                break
            run = resolved(run, run.pending[0], outcome)
        else:
            run = added(run, (letters * 3)[: run.opening.places])
        again = hand_run(study, run.text, seed)
        assert (again.treated, again.advice) == (run.treated, run.advice)
        assert len(undone(run).treated) == len(run.treated) - run.cohorts[-1][0]
    patients = patients_of(study, study.scenarios[0].name, seed).seen(run.treated)
    for arrival, (regimen, letter) in enumerate(run.treated):
        if letter in "NT":
            assert patients.letter(arrival, regimen) == letter
    if not any(set(letters) & set("PX") for letters, _ in steps):  # outcomes in the order they became known
        assert under(study, run.treated, patients).text == run.text


def test_a_tolerance_fixes_the_outcome_under_every_design():
    study, other = load("textbook-5-doses"), load("textbook-5-doses", design="boin")
    run = hand_run(study, "1NNN 2TNN 2NNN 3TTN", 11)
    patients = patients_of(study, "mtd-3", 11).seen(run.treated)
    path = under(other, run.treated, patients)
    assert path.study.protocol.rule.design.name == "boin"
    for arrival, (mine, theirs) in enumerate(zip(run.treated, path.treated, strict=False)):
        if mine.letter == "T" and theirs.regimen >= mine.regimen:
            assert theirs.letter == "T", arrival
        if mine.letter == "N" and theirs.regimen <= mine.regimen:
            assert theirs.letter == "N", arrival


@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(0, 3), st.sampled_from("NT")), max_size=9))
def test_tolerances_made_to_agree_stay_inside_their_part_and_leave_the_others_alone(seed, seen):
    truth = np.array([0.0, 0.2, 0.6, 1.0])
    drawn = Patients(truth, seed)
    made = drawn.seen(tuple(Treated(regimen, letter) for regimen, letter in seen))
    for arrival, (regimen, letter) in enumerate(seen):
        assert made.letter(arrival, regimen) == letter
        if drawn.letter(arrival, regimen) == letter:
            assert made.tolerance(arrival) == drawn.tolerance(arrival)
    assert made.tolerance(len(seen)) == drawn.tolerance(len(seen))


def test_pending_patients_stay_pending_under_another_design_and_nobody_is_used_twice():
    study = load("textbook-5-doses")
    run = hand_run(study, "1NNN 2NXP", 3)
    patients = patients_of(study, "mtd-3", 3).seen(run.treated)
    path = under(load("textbook-5-doses", design="crm"), run.treated, patients)
    assert [person.letter for person in path.treated][4:6] == ["X", "P"]


def test_following_up_uses_the_same_tolerances_as_rolling_at_once():
    study = load("textbook-5-doses")
    patients = patients_of(study, "mtd-3", 7)
    waited = followed_up(added(hand_run(study, "", 7), "PPP"), patients)
    assert waited.text == rolled(hand_run(study, "", 7), patients).text


def test_the_look_ahead_names_the_patient_and_the_day():
    study = load("textbook-5-doses")
    said = look_ahead(hand_run(study, "1NNN 2NPN"))
    assert said == ["escalates to level 3 if 005 completes by day 28 without DLT, treats more at level 2 otherwise"]
    assert look_ahead(hand_run(study, "1NNN 2TTP")) == []


def test_the_figure_leaves_out_the_decision_still_to_be_predicted():
    run = hand_run(load("textbook-5-doses"), "1NNN 2NTN")
    people, decisions = figure_records(run)
    assert [each.regimen for each in people] == ["1", "1", "1", "2", "2", "2"]
    assert [each.action.word for each in decisions] == ["escalate", "stay"]
    assert [each.action.word for each in figure_records(run, last_decision=False)[1]] == ["escalate"]


@pytest.mark.parametrize("text", ["1NNQ", "7NNN", "1NNN 3NNN", "1NNN " * 2000])
def test_a_string_that_cannot_be_is_refused(text):
    with pytest.raises(OutcomeError):
        hand_run(load("textbook-5-doses"), text)


def test_more_patients_than_places_are_refused():
    run = hand_run(load("textbook-5-doses"), "1NN")
    with pytest.raises(OutcomeError, match="1 open places"):
        added(run, "NN")


@pytest.mark.parametrize("text", ["", "-1", "1.5", "abc", "1000000001", "²", "9" * 5000])
def test_a_seed_that_is_none_is_refused(text):
    with pytest.raises(StudyError, match="seed"):
        checked_seed(text)


def test_the_hidden_truth_is_one_of_the_studys_and_every_one_can_be_drawn():
    study = load("textbook-5-doses")
    drawn = {hidden_scenario(study, seed) for seed in range(60)}
    assert drawn == {each.name for each in study.scenarios}
