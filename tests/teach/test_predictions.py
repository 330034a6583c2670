"""Predictions: kept as text, marked by the rule on what was known when they were made."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from escalation.decision import Action
from escalation.errors import OutcomeError
from escalation.study import load
from escalation.teach.hand_run import added, followed_up, hand_run, resolved, undone
from escalation.teach.patients import patients_of
from escalation.teach.predictions import Prediction, answer, choices, marked, moment_of, read, written

STUDIES = ("textbook-5-doses", "textbook-boin", "textbook-crm", "nct07212335", "textbook-grid-3x3", "nct05672420")


@pytest.mark.parametrize("text", ["3E2", "6S2_9X1", "3p3W", "6p2-5W_6?", "12D2.1", "30X2.1+1.2", "9X"])
def test_predictions_are_written_as_they_are_read(text):
    assert written(read(text)) == text


@pytest.mark.parametrize("text", ["E2", "3", "3Q1", "3E2;", "3pE2", "x" * 99, "9" * 5000 + "E2"])
def test_a_text_that_is_no_prediction_is_refused(text):
    with pytest.raises(OutcomeError, match="no prediction"):
        read(text)


@settings(max_examples=40)
@given(st.sampled_from(STUDIES), st.integers(0, 999), st.lists(st.text("NNNTP", min_size=3, max_size=3), max_size=8))
def test_the_rules_own_answer_can_always_be_predicted_and_is_marked_right_and_no_other_is(name, seed, cohorts):
    study = load(name)
    run = hand_run(study, "", seed)
    kept = []
    for letters in cohorts:
        if run.opening is None and run.pending:
            run = followed_up(run, patients_of(study, study.scenarios[0].name, seed))
        if run.opening is None:
            break
        run = added(run, letters[: run.opening.places])
        if run.asks:
            offered = [
                Prediction(*moment_of(run), action, levels)
                for action, listed in choices(run).items()
                for levels in listed
            ]
            right = answer(run)
            assert offered.count(right) == 1
            assert [each.right for each in marked(run, offered)] == [each == right for each in offered]
            kept.append(right)
    assert all(each.right for each in marked(run, kept))
    assert read(written(kept)) == tuple(kept)


def test_a_prediction_made_while_a_patient_was_pending_is_marked_on_what_was_known_then():
    study = load("textbook-5-doses")
    run = hand_run(study, "1NNP")
    wait = Prediction(3, (2,), Action.WAIT)
    later = resolved(run, 2, "T")
    up = Prediction(3, (), Action.ESCALATE, ("2",))
    found = marked(later, [wait, up])
    assert [(each.right, each.answer.action) for each in found] == [(True, Action.WAIT), (False, Action.STAY)]


def test_undoing_leaves_predictions_of_later_moments_out():
    run = hand_run(load("textbook-5-doses"), "1NNN 2NTN")
    made = [Prediction(3, (), Action.ESCALATE, ("2",)), Prediction(6, (), Action.STAY, ("2",))]
    assert len(marked(run, made)) == 2
    assert len(marked(undone(run), made)) == 1


def test_the_right_step_with_another_level_is_told_apart():
    run = hand_run(load("textbook-5-doses"), "1NNN")
    (found,) = marked(run, [Prediction(3, (), Action.ESCALATE, ("3",))])
    assert (found.right, found.action_right) == (False, True)


def test_the_start_and_a_cohort_with_open_places_ask_nothing():
    study = load("textbook-5-doses")
    assert not hand_run(study, "").asks
    assert not hand_run(study, "1NN").asks
    assert hand_run(study, "1TT").asks
