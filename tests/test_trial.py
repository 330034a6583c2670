"""The fold of a trial's events: what contradicts it is refused, and what was simulated is what is conducted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from escalation.advice import Advisor
from escalation.calendar import CalendarEngine
from escalation.errors import TrialError
from escalation.trial import (
    Decided,
    DltObserved,
    Enrolled,
    Extended,
    Infused,
    NotEvaluable,
    TrialState,
    WindowCompleted,
)

FIVE = [0.1, 0.2, 0.3, 0.4, 0.5]
GRID = [[0.1, 0.2, 0.35], [0.2, 0.3, 0.45]]


@pytest.fixture(scope="module")
def rule(study_of):
    return study_of({"name": "three_plus_three", "variant": "V2"}, FIVE).protocol.rule


def stay(regimen: int, size: int = 3) -> Decided:
    return Decided(30, "stay", regimen, size, ("test",), ())


STOPPED = Decided(30, "stop", 0, 0, ("test",), ())


# contradictions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "event", "words"),
    [
        ([], Enrolled(0, 0, 1), "participant 1 cannot be treated at level 2: the open regimen is level 1"),
        ([Enrolled(0, 0, 0)], Enrolled(1, 0, 0), "participant 1 is enrolled already"),
        ([Enrolled(0, k, 0) for k in range(3)], Enrolled(1, 3, 0), "participant 4 has no place"),
        ([STOPPED], Enrolled(31, 0, 0), "participant 1 has no place.*trial is closed"),
        ([], DltObserved(1, 0), "participant 1 is not enrolled"),
        ([], WindowCompleted(28, 4), "participant 5 is not enrolled"),
        ([], NotEvaluable(3, 0, "withdrew"), "participant 1 is not enrolled"),
        ([Enrolled(0, 0, 0), DltObserved(4, 0)], WindowCompleted(28, 0), r"has an outcome already \(dlt\)"),
        ([Enrolled(0, 0, 0), WindowCompleted(28, 0)], DltObserved(29, 0), r"has an outcome already \(complete\)"),
        (
            [Enrolled(0, 0, 0), NotEvaluable(3, 0, "withdrew")],
            DltObserved(4, 0),
            r"has an outcome already \(not evaluable\)",
        ),
        ([], Infused(0, 0, 1), "participant 1 cannot be infused: not enrolled"),
        ([Enrolled(0, 0, 0), DltObserved(4, 0)], Infused(7, 0, 2), "treatment has ended"),
        ([Enrolled(0, 0, 0), NotEvaluable(4, 0, "withdrew")], Infused(7, 0, 2), "treatment has ended"),
        ([STOPPED], stay(0), "the trial is closed"),
        ([STOPPED], Extended(31, 1), "the trial is closed"),
    ],
)
def test_events_that_contradict_the_trial_are_refused(rule, before, event, words):
    state = TrialState(rule)
    for earlier in before:
        state.apply(earlier)
    kept = snapshot(state)
    with pytest.raises(TrialError, match=words):
        state.apply(event)
    assert snapshot(state) == kept  # a refused event leaves no trace


# counting by hand ------------------------------------------------------------------------------


def test_a_cohort_by_hand(rule):
    state = TrialState(rule)
    assert (state.regimen, state.size, state.open_places, state.stage) == (0, 3, 3, "escalation")
    for day, person in ((0, 0), (2, 1), (5, 2)):
        state.apply(Enrolled(day, person, 0))
        state.apply(Infused(day, person, 1))
    assert (state.open_places, state.pending[0], state.cohort_pending(), state.anyone_pending) == (0, 3, 3, True)
    state.apply(DltObserved(9, 1))
    state.apply(NotEvaluable(11, 2, "withdrew"))
    assert (state.n[0], state.dlt[0], state.pending[0], state.open_places, state.treated[0]) == (1, 1, 1, 1, 3)
    state.apply(Enrolled(12, 3, 0))
    state.apply(WindowCompleted(28, 0))
    state.apply(WindowCompleted(40, 3))
    assert (state.n[0], state.dlt[0], state.cohort_n, state.cohort_dlt, state.anyone_pending) == (3, 1, 3, 1, False)
    tally = state.tally()
    assert (tally.n.tolist(), tally.dlt.tolist()) == ([[3, 0, 0, 0, 0]], [[1, 0, 0, 0, 0]])
    assert (tally.current.tolist(), tally.cohort_n.tolist(), tally.cohort_dlt.tolist()) == ([0], [3], [1])
    state.apply(stay(0))
    assert (state.cohort, state.enrolled, state.cohort_n, state.cohort_dlt, state.open_places) == (2, 0, 0, 0, 3)
    assert [person.cohort for person in state.participants.values()] == [1, 1, 1, 1]
    assert [person.resolved for person in state.participants.values()] == [28, 9, 11, 40]


def test_whoever_is_not_evaluable_frees_a_place_or_shrinks_the_cohort(rule):
    for replaced, size, places in ((True, 3, 3), (False, 2, 2)):
        state = TrialState(rule, replace_not_evaluable=replaced)
        state.apply(Enrolled(0, 0, 0))
        state.apply(NotEvaluable(1, 0, "withdrew"))
        assert (state.size, state.open_places) == (size, places)


def test_an_outcome_after_the_decision_counts_but_not_in_the_new_cohort(rule):
    state = TrialState(rule)
    for person in range(3):
        state.apply(Enrolled(0, person, 0))
    for person in (0, 1):
        state.apply(WindowCompleted(28, person))
    state.apply(Decided(28, "escalate", 1, 3, ("test",), ()))
    state.apply(DltObserved(28, 2))
    assert (state.n[0], state.dlt[0], state.cohort_n, state.cohort_dlt, state.open_places) == (3, 1, 0, 0, 3)
    # and whoever stops counting after the decision is not replaced in the new cohort
    other = TrialState(rule)
    other.apply(Enrolled(0, 0, 0))
    other.apply(Decided(1, "escalate", 1, 3, ("test",), ()))
    other.apply(NotEvaluable(2, 0, "withdrew"))
    assert (other.open_places, other.size, other.n[0], other.treated[0]) == (3, 3, 0, 1)


def test_stages(study_of):
    design = {"name": "three_plus_three"}
    rule = study_of(design, FIVE, expansion={"size": 4, "look_every": 3}).protocol.rule
    state = TrialState(rule)
    state.apply(Decided(30, "stop", 0, 0, ("test",), (1,)))
    assert (state.stage, state.regimen, state.size, state.selected) == ("expansion", 1, 3, (1,))
    state.apply(Enrolled(31, 0, 1))
    state.apply(DltObserved(32, 0))
    assert (state.n, state.expansion_n, state.expansion_dlt, state.treated[1]) == ([0] * 5, 1, 1, 1)
    state.apply(Decided(60, "stay", 1, 1, ("test",), (1,)))
    assert (state.stage, state.open_places) == ("expansion", 1)
    for selected, withdrawn in (((1,), False), ((), True)):
        again = TrialState(rule)
        again.apply(Decided(30, "stop", 0, 0, ("test",), (1,)))
        again.apply(Decided(60, "stop", 1, 0, ("test",), selected))
        assert (again.stage, again.withdrawn, again.selected) == ("closed", withdrawn, (1,))
        assert again.open_places == 0
    nothing = TrialState(rule)
    nothing.apply(STOPPED)
    assert nothing.stage == "closed"


def test_a_cohort_made_larger(rule):
    state = TrialState(rule)
    for person in range(3):
        state.apply(Enrolled(0, person, 0))
        state.apply(WindowCompleted(28, person))
    state.apply(Extended(29, 2))
    assert (state.cohort, state.size, state.open_places, state.cohort_n) == (1, 5, 2, 3)
    state.apply(Enrolled(29, 3, 0))
    state.apply(DltObserved(30, 3))
    assert (state.open_places, state.cohort_n, state.cohort_dlt, state.n[0]) == (1, 4, 1, 4)


def test_a_fork_goes_its_own_way(rule):
    state = TrialState(rule)
    for event in (Enrolled(0, 0, 0), Infused(0, 0, 1), Enrolled(1, 1, 0), DltObserved(4, 1)):
        state.apply(event)
    kept, other = snapshot(state), state.fork()
    assert snapshot(other) == kept
    for event in (
        WindowCompleted(28, 0),
        Enrolled(28, 2, 0),
        NotEvaluable(29, 2, "withdrew"),
        stay(1),
        Extended(31, 1),
    ):
        other.apply(event)
    assert snapshot(state) == kept
    state.apply(DltObserved(5, 0))
    assert (state.dlt[0], other.dlt[0], other.n[0]) == (2, 1, 2)


def test_stagger_by_hand(rule):
    state = TrialState(rule)
    assert state.earliest_next(14, 3) == 0
    state.apply(Enrolled(10, 0, 0))
    assert state.earliest_next(14, 3) == 24  # after the sentinel
    assert state.earliest_next(2, 3) == 13  # the longer of the two
    state.apply(Enrolled(24, 1, 0))
    assert state.earliest_next(14, 3) == 27
    state.apply(Enrolled(27, 2, 0))
    state.apply(stay(0))
    assert (
        state.earliest_next(14, 3) == 30
    )  # the next cohort of the same regimen keeps its distance, without a sentinel
    state.apply(Decided(60, "escalate", 1, 3, ("test",), ()))
    assert state.earliest_next(14, 3) == 0  # another regimen begins anew
    state.apply(Enrolled(60, 3, 1))
    assert state.earliest_next(14, 3) == 74
    state.apply(Decided(62, "de_escalate", 0, 3, ("test",), ()))
    assert state.earliest_next(14, 40) == 67  # coming back, the days still run from day 27


def test_the_stagger_holds_although_the_sentinel_stops_counting(rule):
    """The days run between first infusions at a regimen; that the first participant withdrew frees
    a place of the cohort, not the time the next one has to wait."""
    state = TrialState(rule)
    state.apply(Enrolled(10, 0, 0))
    state.apply(NotEvaluable(12, 0, "withdrew"))
    assert state.earliest_next(14, 3) == 24


# simulated trials are conducted alike ----------------------------------------------------------

THREE = "three_plus_three"
STUDIES: dict[str, tuple[dict[str, Any], list[Any], dict[str, Any]]] = {
    "V1": ({"name": THREE}, FIVE, {}),
    "V2 closes early": ({"name": THREE, "variant": "V2"}, FIVE, {"close_cohort_when_certain": True}),
    "V3 expansion": ({"name": THREE, "variant": "V3"}, FIVE, {"expansion": {"size": 6}}),
    "A+B": ({"name": THREE, "variant": "V2", "expand_by": 4, "expand_up_to": 2, "accept_up_to": 2}, FIVE, {}),
    "path": ({"name": "three_plus_three_path", "variant": "V2"}, GRID, {"close_cohort_when_certain": True}),
    "contour": ({"name": "three_plus_three_contour"}, GRID, {}),
    "ivanova-wang": ({"name": "ivanova_wang"}, GRID, {"max_patients": 18}),
    "surface-free": ({"name": "surface_free", "ties": "dose_first"}, GRID, {"max_patients": 15}),
    "ivanova-wang, two in a row": ({"name": "ivanova_wang"}, GRID, {"max_patients": 11, "cohort_size": 1}),
    "two stages": (
        {"name": "dose_then_frequency", "variant": "V2", "carry_over": True},
        GRID,
        {"expansion": {"size": 5, "look_every": 2}},
    ),
    "frequency first": ({"name": "frequency_then_dose", "variant": "V3"}, GRID, {}),
    "boin": (
        {"name": "boin"},
        FIVE,
        {
            "max_patients": 24,
            "expansion": {"size": 6},
            "guards": [{"guard": "stop_at_n", "n": 9}, {"guard": "coherence", "target": 0.3}],
        },
    ),
    "boin closes early": ({"name": "boin"}, FIVE, {"max_patients": 20, "close_cohort_when_certain": True}),
    "crm": ({"name": "crm"}, FIVE, {"max_patients": 17, "last_cohort": "partial", "cohort_size": 2}),
}
COURSES = {
    "quiet": ({}, {}),
    "drop-out": (
        {"stagger": {"sentinel_days": 7, "between_days": 1}, "review_lag_days": 3},
        {"drop_out": 0.25, "missed_infusion": 0.1, "screen_failure": 0.1},
    ),
    "windows": (
        {"escalate_when": "windows_complete", "evaluability": {"replace": False}},
        {"drop_out": 0.15, "held": {"policy": "turn_away"}},
    ),
    "fast": ({"review_lag_days": 1}, {"drop_out": 0.1}),
}


@pytest.fixture(scope="module")
def engines(study_of):
    built: dict[tuple[str, str], CalendarEngine] = {}

    def engine(design: str, course: str) -> CalendarEngine:
        if (design, course) not in built:
            parameters, truth, protocol = STUDIES[design]
            conduct, scenario = COURSES[course]
            gap = 1.0 if course == "fast" else 8.0
            study = study_of(
                parameters,
                truth,
                scenario={"accrual": {"law": "poisson", "mean_gap_days": gap}, **scenario},
                **protocol,
                **conduct,
            )
            assumed = study.scenarios[0]
            built[design, course] = CalendarEngine(study.protocol, assumed, study.truth(assumed))
        return built[design, course]

    return engine


def snapshot(state: TrialState) -> dict[str, Any]:
    """Everything a state holds, in a form that can be compared."""
    held = {name: getattr(state, name) for name in TrialState.__slots__ if name not in ("rule", "participants")}
    people = {number: tuple(getattr(p, slot) for slot in p.__slots__) for number, p in state.participants.items()}
    return {key: list(value) if isinstance(value, list) else value for key, value in held.items()} | {"people": people}


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("design", STUDIES)
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32), replicate=st.integers(0, 10**6))
def test_replaying_a_simulated_trial_gives_the_same_state_and_the_same_decisions(
    engines, design, course, seed, replicate
):
    engine = engines(design, course)
    simulated = engine.course(seed, replicate)
    state = TrialState(engine.rule, replace_not_evaluable=engine.protocol.evaluability.replace)
    advisor = Advisor(engine.rule, windows_complete=engine.protocol.escalate_when == "windows_complete")
    for event in simulated.events:
        if isinstance(event, Decided):
            advice = advisor.advise(state)
            assert advice.decides
            assert (
                advice.action.word,
                advice.regimen,
                advice.size,
                advice.reasons,
                advice.selected,
                advice.memory,
            ) == (
                event.action,
                event.regimen,
                event.size,
                event.reasons,
                event.selected,
                event.memory,
            )
        state.apply(event)
    assert snapshot(state) == snapshot(simulated.state)
    assert state.stage == "closed"
    assert not state.anyone_pending


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("design", STUDIES)
def test_counts_are_those_of_the_participants(engines, design, course):
    """Recounted from the participants of simulated trials."""
    engine = engines(design, course)
    for replicate in range(15):
        simulated = engine.course(77, replicate)
        state = simulated.state
        regimens = range(engine.rule.grid.size)
        counts = Counter((p.stage, p.regimen, p.status) for p in state.participants.values())

        def count(stage, k, *statuses, counts=counts):
            return sum(counts[stage, k, status] for status in statuses)

        assert state.n == [count("escalation", k, "complete", "dlt") for k in regimens]
        assert state.dlt == [count("escalation", k, "dlt") for k in regimens]
        assert state.expansion_n == sum(count("expansion", k, "complete", "dlt") for k in regimens)
        assert state.expansion_dlt == sum(count("expansion", k, "dlt") for k in regimens)
        assert sum(state.treated) == len(state.participants) == simulated.counts["treated"]
        assert len({p.stage for p in state.participants.values()} - {"escalation"}) <= bool(state.selected)
        days = [event.day for event in simulated.events]
        assert days == sorted(days)
        at_most = engine.rule.max_patients
        assert np.sum(state.n) <= at_most


# follow-up -------------------------------------------------------------------------------------


def test_follow_up_is_a_share_of_the_window_of_each_regimen(study_of):
    """Last-infusion windows: 28 days at the first frequency, 35 at the second. Dose 1 of each."""
    study = study_of({"name": "tite_crm", "axis": "dose"}, GRID, max_patients=12, dlt_window={"anchor": "last"})
    state = TrialState(study.protocol.rule)
    for event in (
        Enrolled(0, 0, 0),
        Enrolled(7, 1, 0),
        Enrolled(10, 2, 0),
        DltObserved(14, 1),
        Decided(20, "stay", 3, 2, ("test",), ()),
        Enrolled(21, 3, 3),
        NotEvaluable(25, 2, "withdrew"),
    ):
        state.apply(event)
    tally = state.tally(28 + 7)
    assert tally.pending.tolist() == [[1, 0, 0, 1, 0, 0]]
    assert tally.exposure[0] == pytest.approx([1, 0, 0, 14 / 35, 0, 0])  # never more than the window
    assert tally.person_at.tolist() == [[0, 0, 3]]
    assert tally.person_time[0] == pytest.approx([1, 7 / 28, 14 / 35])
    assert tally.person_dlt.tolist() == [[False, True, False]]
    assert state.tally().exposure[0] == pytest.approx([25 / 28, 0, 0, 4 / 35, 0, 0])  # to the latest day heard of
    state.apply(WindowCompleted(36, 0))
    assert state.tally().person_at.tolist() == [[0, 3]]
    assert state.tally().n.tolist() == [[2, 0, 0, 0, 0, 0]]


def test_the_expansion_stage_is_not_followed_up_for_escalation(study_of):
    study = study_of({"name": "tite_boin"}, FIVE, max_patients=12, expansion={"size": 3, "look_every": 3})
    state = TrialState(study.protocol.rule)
    state.apply(Decided(0, "stop", 0, 0, ("test",), (1,)))
    state.apply(Enrolled(1, 0, 1))
    assert state.tally(9).exposure.sum() == 0
    assert state.tally(9).person_at.shape == (1, 0)


def test_selecting_waits_for_every_window_and_stopping_for_safety_does_not(study_of):
    study = study_of({"name": "tite_boin", "target": 0.3}, FIVE, max_patients=6)
    advisor, state = Advisor(study.protocol.rule), TrialState(study.protocol.rule)
    for person in range(3):
        state.apply(Enrolled(0, person, 0))
    state.apply(DltObserved(1, 0))
    assert advisor.advise(state, 2).reasons == ("tite_boin.suspended",)
    state.apply(DltObserved(3, 1))
    # two DLTs among three: nothing lower to go to, and not certainly too toxic
    state.apply(WindowCompleted(28, 2))
    state.apply(Decided(28, "stay", 0, 3, ("test",), ()))
    for person in range(3, 6):
        state.apply(Enrolled(30, person, 0))
    full = advisor.advise(state, 31)
    assert (full.action.word, full.reasons, full.decides) == ("wait", ("trial.outcomes_pending",), False)
    for person in (3, 4):
        state.apply(DltObserved(33, person))
    unsafe = advisor.advise(state, 33)
    assert (unsafe.action.word, unsafe.selected, unsafe.decides) == ("stop", (), True)
    assert unsafe.reasons == ("tite_boin.lowest_eliminated",)


def test_open_places_are_filled_unless_the_decision_leads_down(study_of):
    study = study_of({"name": "tite_crm", "target": 0.25}, FIVE, max_patients=12)
    advisor, state = Advisor(study.protocol.rule), TrialState(study.protocol.rule)
    for person in range(3):
        state.apply(Enrolled(0, person, 0))
        state.apply(WindowCompleted(28, person))
    state.apply(Decided(28, "escalate", 1, 3, ("test",), ()))
    state.apply(Enrolled(30, 3, 1))
    filling = advisor.advise(state, 40)
    assert (filling.action.word, filling.size, filling.reasons) == ("stay", 2, ("trial.cohort_open",))
    state.apply(DltObserved(41, 3))
    state.apply(Enrolled(42, 4, 1))
    state.apply(DltObserved(43, 4))
    down = advisor.advise(state, 43)
    assert (down.action.word, down.regimen, down.decides) == ("de_escalate", 0, True)


def test_the_day_of_the_question_matters(study_of):
    """Nine at level 2, one DLT, four pending: little follow-up stays, more follow-up escalates (threshold 2.15)."""
    study = study_of({"name": "tite_boin", "target": 0.2}, FIVE, max_patients=30)
    advisor, state = Advisor(study.protocol.rule), TrialState(study.protocol.rule)
    state.apply(Decided(0, "escalate", 1, 9, ("test",), ()))
    for person in range(9):
        state.apply(Enrolled(0 if person < 5 else 40, person, 1))
    state.apply(DltObserved(5, 0))
    for person in range(1, 5):
        state.apply(WindowCompleted(28, person))
    assert advisor.advise(state, 40 + 15).action.word == "stay"  # 4 x 15/28 = 2.14
    assert advisor.advise(state, 40 + 16).action.word == "escalate"
