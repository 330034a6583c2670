"""The calendar engine: days counted by hand, what may happen on them, and the same numbers from any executor."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

import escalation.trial_clock as clock_module
from escalation.calendar import CalendarEngine
from escalation.decision import Action, Decisions, Reason
from escalation.design import Design, Parameters, Setting
from escalation.errors import EngineError, OutcomeError
from escalation.exact import compile_graph
from escalation.outcomes import replay
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.simulate import simulate, trial_frame
from escalation.trial import Decided, DltObserved, Enrolled, Infused, NotEvaluable, TrialState, WindowCompleted

THREE = {"name": "three_plus_three"}
DAILY = {"accrual": {"law": "fixed", "gap_days": 1.0}}


class Script:
    """A truth read off a list: the day of DLT of every participant in the order of enrolment, None for none."""

    moderate = None

    def __init__(self, *days: int | None) -> None:
        self.days = list(days)

    def onset_day(self, regimen: int, tolerance: float, given: Any = None) -> int | None:
        return self.days.pop(0) if self.days else None


@pytest.fixture(scope="module")
def engine_of(study_of):
    def build(design, truth, *, scenario=None, script=None, **protocol) -> CalendarEngine:
        study = study_of(design, truth, scenario=scenario, **protocol)
        assumed = study.scenarios[0]
        engine = CalendarEngine(study.protocol, assumed, study.truth(assumed))
        if script is not None:
            engine.truth = Script(*script)
        return engine

    return build


def same(one: TrialRows, other: TrialRows) -> None:
    for part, against in ((one, other), (one.calendar, other.calendar)):
        for field in fields(part):
            left, right = getattr(part, field.name), getattr(against, field.name)
            if isinstance(left, np.ndarray):
                np.testing.assert_array_equal(left, right, err_msg=field.name)


# by hand ---------------------------------------------------------------------------------------


def test_a_trial_day_by_day(engine_of):
    """One arrival a day, two levels, a DLT-free first cohort; the queue fills the second cohort at once."""
    course = engine_of(THREE, [0.1, 0.2], scenario=DAILY, script=[]).course(1, 0)
    assert course.events == [
        *(event for k in range(3) for event in (Enrolled(k, k, 0), Infused(k, k, 1))),
        *(WindowCompleted(28 + k, k) for k in range(3)),
        Decided(30, "escalate", 1, 3, ("three_plus_three.first_cohort_clear",), ()),
        *(event for k in (3, 4, 5) for event in (Enrolled(30, k, 1), Infused(30, k, 1))),
        *(WindowCompleted(58, k) for k in (3, 4, 5)),
        Decided(58, "stop", 1, 0, ("three_plus_three.top_accepted",), (1,)),
    ]
    assert (course.reason, course.first_day, course.last_day) == ("three_plus_three.top_accepted", 0, 58)
    assert course.arrival_days == {k: k for k in range(6)}
    counts = course.counts
    assert counts["treated"] == 6
    assert counts["arrivals"] == 58  # days 0 to 57: on day 58 the decision comes first
    assert counts["waiting_days"] == 27 + 26 + 25
    assert counts["held_window"] == (30 - 2) + (58 - 30)
    assert counts["held_review"] == counts["held_stagger"] == counts["turned_away"] == counts["left_queue"] == 0


def test_stagger_and_review_day_by_day(engine_of):
    course = engine_of(
        THREE,
        [0.1],
        scenario=DAILY,
        script=[],
        stagger={"sentinel_days": 14, "between_days": 3},
        review_lag_days=5,
    ).course(1, 0)
    enrolled = [event.day for event in course.events if isinstance(event, Enrolled)]
    assert enrolled == [0, 14, 17]
    assert course.events[-1] == Decided(50, "stop", 0, 0, ("three_plus_three.top_accepted",), (0,))
    counts = course.counts
    assert counts["held_stagger"] == 14 + 3
    assert counts["held_window"] == 28  # from the last enrolment to the last window
    assert counts["held_review"] == 5
    assert counts["waiting_days"] == (14 - 1) + (17 - 2)
    assert course.last_day == 50


@pytest.mark.parametrize("lag", [0, 1, 10])
def test_the_review_begins_with_the_last_datum_needed(engine_of, lag):
    """Two DLTs decide before the third window is over; the window itself still runs to its end."""
    engine = engine_of(
        {**THREE, "variant": "V2"}, [0.1, 0.2], scenario=DAILY, script=[None, None, None, 4, 6], review_lag_days=lag
    )
    course = engine.course(1, 0)
    decided = [event for event in course.events if isinstance(event, Decided)]
    assert decided[0].day == 30 + lag
    assert (decided[1].day, decided[1].action, decided[1].regimen) == (30 + lag + 6 + lag, "de_escalate", 0)
    again = [e.day for e in course.events if isinstance(e, Enrolled)][6:]
    assert again == [decided[1].day] * 3
    assert WindowCompleted(30 + lag + 28, 5) in course.events


def test_a_dlt_on_the_last_day_of_the_window_counts(engine_of):
    """Everybody starts on day 0; what falls on day 28 is a DLT first, completed windows after, the decision last."""
    for anchor, end in (("first", 28), ("last", 35)):
        engine = engine_of(
            THREE,
            [[0.1], [0.2]],
            scenario={"accrual": {"law": "listed", "days": [0.0, 0.2, 0.9]}},
            script=[None, end, None],
            start={"frequency": 2},
            dlt_window={"days": 28, "anchor": anchor},
        )
        course = engine.course(1, 0)
        final = [event for event in course.events if event.day == end]
        assert final == [
            DltObserved(end, 1),
            WindowCompleted(end, 0),
            WindowCompleted(end, 2),
            Decided(end, "stay", 1, 3, ("three_plus_three.one_dlt",), ()),
        ]
        assert (course.state.n, course.state.dlt) == ([0, 3], [0, 1])


def test_the_order_of_one_day(engine_of):
    """An infusion due on the day of the DLT has been given; a participant comes in on the day of a decision."""
    engine = engine_of(
        {**THREE, "variant": "V2"},
        [[0.1], [0.2], [0.3]],
        scenario={"accrual": {"law": "listed", "days": [0.0, 0.0, 0.0, 7.0, 7.0, 7.0]}},
        script=[7, 7, None],
        start={"frequency": 3},
        close_cohort_when_certain=True,
    )
    events = [event for event in engine.course(1, 0).events if event.day == 7]
    assert events == [
        *(Infused(7, k, 2) for k in range(3)),
        DltObserved(7, 0),
        DltObserved(7, 1),
        Decided(7, "de_escalate", 1, 3, ("three_plus_three.de_escalate",), ()),
        *(event for k in (3, 4, 5) for event in (Enrolled(7, k, 1), Infused(7, k, 1))),
    ]


def test_a_dlt_on_the_day_of_withdrawal_counts(engine_of):
    """Everybody would withdraw on day 5: a DLT on that day has been seen, one on the day after has not."""
    engine = engine_of(THREE, [0.1], scenario={"drop_out": 0.5, **DAILY}, script=[4, 5, 6])
    engine.drop_out_day = lambda number, end: 5
    events = [e for e in engine.course(1, 0).events if isinstance(e, DltObserved | NotEvaluable)]
    assert events == [DltObserved(4, 0), DltObserved(6, 1), NotEvaluable(7, 2, "withdrew")]


def test_an_arrival_that_finds_no_place(engine_of):
    """Turned away, waiting, waiting as long as patience lasts, or waiting while there is room."""
    days = [0.0, 0.0, 0.0, 2.0, 10.0, 20.0, 27.0, 28.0, 29.0]
    expected = {
        ("turn_away", None, None): ({7: 28, 8: 29}, 4, 0),
        ("wait", None, None): ({3: 28, 4: 28, 5: 28}, 0, 0),
        ("wait", None, 18): ({4: 28, 5: 28, 6: 28}, 0, 1),
        ("wait", None, 8): ({5: 28, 6: 28, 7: 28}, 0, 2),
        ("wait", None, 7): ({6: 28, 7: 28, 8: 29}, 0, 3),
        # arrivals come before the queue is served: on day 28 the two places in the queue are still taken
        ("wait", 2, None): ({3: 28, 4: 28, 8: 29}, 3, 0),
        ("wait", 0, None): ({7: 28, 8: 29}, 4, 0),
    }
    for (policy, most, patience), (second, turned_away, left) in expected.items():
        held = {"policy": policy, "most_waiting": most, "patience_days": patience}
        scenario = {"accrual": {"law": "listed", "days": days}, "held": held}
        course = engine_of(THREE, [0.1, 0.2], scenario=scenario, script=[]).course(1, 0)
        enrolled = {event.participant: event.day for event in course.events if isinstance(event, Enrolled)}
        found = (
            {k: day for k, day in enrolled.items() if k > 2},
            course.counts["turned_away"],
            course.counts["left_queue"],
        )
        assert found == (second, turned_away, left), held


def test_arrivals_that_run_out_end_the_trial_without_a_decision(engine_of):
    scenario = {"accrual": {"law": "listed", "days": [0.0, 1.0, 2.0, 40.0]}}
    engine = engine_of(THREE, [0.1, 0.2], scenario=scenario, script=[])
    course = engine.course(1, 0)
    assert (course.reason, course.state.selected, course.state.n) == ("trial.accrual_ended", (), [3, 1])
    assert course.last_day == 68  # the last window still runs to its end
    rows, _ = engine.run(1, 0, 3)
    assert not rows.selected.any()
    assert {engine.rule.reasons[k].code for k in rows.reason} == {"trial.accrual_ended"}
    enough = engine_of(THREE, [0.1], scenario={"accrual": {"law": "listed", "days": [0.0, 1.0, 2.0]}}, script=[])
    assert enough.course(1, 0).reason == "three_plus_three.top_accepted"


def test_arrivals_that_run_out_in_the_expansion_stage_leave_the_end_of_escalation_as_it_was(engine_of):
    """Escalation has ended by its rule and selected; only the expansion stage is incomplete."""
    engine = engine_of(
        THREE,
        [0.1],
        scenario={"accrual": {"law": "listed", "days": [0.0, 1.0, 2.0, 40.0]}},
        script=[],
        expansion={"size": 3},
    )
    course = engine.course(1, 0)
    assert (course.state.selected, course.state.expansion_n) == ((0,), 1)
    assert course.reason == "three_plus_three.top_accepted"


def test_the_same_participants_whatever_happens_to_those_before_them(engine_of):
    """Turned away, they keep their number: arrival k has the same tolerance in every trial of a seed."""
    seen: dict[int, set[float]] = {}

    class Spy(Script):
        def onset_day(self, regimen, tolerance, given=None):
            latest.append(tolerance)
            return super().onset_day(regimen, tolerance, given)

    for policy, script in (("wait", [3, 4]), ("turn_away", []), ("wait", [])):
        latest: list[float] = []
        engine = engine_of(THREE, [0.1, 0.2, 0.3], scenario={**DAILY, "held": {"policy": policy}})
        engine.truth = Spy(*script)
        course = engine.course(9, 4)
        for arrival, tolerance in zip(course.state.participants, latest, strict=True):
            seen.setdefault(arrival, set()).add(tolerance)
    assert max(seen) > 20
    assert all(len(values) == 1 for values in seen.values())


# what may happen -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy(engine_of):
    """Four infusions, many DLTs, withdrawals and missed infusions."""
    engine = engine_of(
        {**THREE, "variant": "V2"},
        [[0.2], [0.3], [0.4], [0.5]],
        scenario={
            "accrual": {"law": "poisson", "mean_gap_days": 4.0},
            "drop_out": 0.2,
            "missed_infusion": 0.1,
            "screen_failure": 0.2,
        },
        start={"frequency": 3},
        evaluability={"minimum_infusions": 0.6},
    )
    return engine, [engine.course(3, replicate) for replicate in range(150)]


def test_nobody_is_infused_after_a_dlt_or_a_withdrawal(busy):
    engine, courses = busy
    ended = infused_on_the_day = 0
    for course in courses:
        over: dict[int, int] = {}
        given: dict[int, list[int]] = {}
        for event in course.events:
            if isinstance(event, Infused):
                assert event.participant not in over
                given.setdefault(event.participant, []).append(event.day)
                assert event.number == len(given[event.participant])
            elif isinstance(event, DltObserved | NotEvaluable):
                over[event.participant] = event.day
                ended += 1
                infused_on_the_day += event.day in given[event.participant]
        for number, person in course.state.participants.items():
            planned = engine.schedules[person.regimen]
            days = [day - person.enrolled for day in given[number]]
            assert days[0] == 0
            assert set(days) <= set(planned)
            assert person.infusions == len(days)
    assert ended > 300
    assert infused_on_the_day > 5


def test_who_counts(busy):
    """A DLT always counts; without one 60 % of the infusions are needed, and a window followed to its end."""
    engine, courses = busy
    causes = {"withdrew": 0, "infusions missed": 0}
    for course in courses:
        for event in course.events:
            person = course.state.participants.get(getattr(event, "participant", -1))
            if isinstance(event, NotEvaluable):
                causes[event.cause] += 1
                planned = len(engine.schedules[person.regimen])
                if event.cause == "infusions missed":
                    assert event.day == person.enrolled + 28
                    assert person.infusions < 0.6 * planned
                else:
                    assert person.enrolled <= event.day < person.enrolled + 28
            elif isinstance(event, WindowCompleted):
                assert event.day == person.enrolled + 28
                assert person.infusions >= 0.6 * len(engine.schedules[person.regimen])
            elif isinstance(event, DltObserved):
                assert person.enrolled <= event.day <= person.enrolled + 28
    assert min(causes.values()) > 5


def test_whoever_stops_counting_is_replaced(busy):
    """No decision is taken while a place of the cohort is empty: each is held by somebody evaluable or pending."""
    engine, courses = busy
    for course in courses:
        state = TrialState(engine.rule)
        for event in course.events:
            if isinstance(event, Decided):
                assert state.open_places == 0
                assert state.cohort_n + state.cohort_pending() == state.size
            state.apply(event)
        treated, counted = course.counts["treated"], sum(course.state.n)
        assert treated - counted == course.counts["not_evaluable"]
        assert course.counts["arrivals"] >= treated + course.counts["screen_failures"]


def records_of(engine, seed, trials) -> pd.DataFrame:
    return pd.DataFrame.from_records(engine.run(seed, 0, trials, records=True)[1])


def assert_staggered(people: pd.DataFrame, sentinel: int, between: int) -> None:
    for _, group in people.sort_values(["enrolled_day", "arrival"]).groupby(["trial", "dose", "frequency"]):
        gaps = np.diff(group["enrolled_day"])
        assert (gaps[:1] >= sentinel).all(), group
        assert (gaps >= between).all(), group


def test_sentinel_and_stagger(engine_of):
    stagger = {"sentinel_days": 10, "between_days": 4}
    engine = engine_of(
        {**THREE, "variant": "V3"},
        [0.1, 0.2, 0.3],
        stagger=stagger,
        scenario={"accrual": {"law": "poisson", "mean_gap_days": 2.0}},
        expansion={"size": 6},
    )
    people = records_of(engine, 4, 150)
    assert len(people) > 1500
    assert_staggered(people, 10, 4)
    exactly = people.groupby(["trial", "dose"])["enrolled_day"].apply(lambda days: days.iloc[1] - days.iloc[0])
    assert (exactly == 10).mean() > 0.8  # accrual is fast: the stagger is what holds


def test_sentinel_and_stagger_hold_when_participants_withdraw(engine_of):
    """The first participant's withdrawal frees a place at once, but the next infusion still keeps its distance."""
    engine = engine_of(
        THREE,
        [0.1, 0.2, 0.3],
        stagger={"sentinel_days": 10, "between_days": 4},
        scenario={"accrual": {"law": "poisson", "mean_gap_days": 2.0}, "drop_out": 0.4},
    )
    assert_staggered(records_of(engine, 4, 150), 10, 4)


def test_windows_complete_waits_for_every_window(engine_of):
    design, truth = {"name": "boin"}, [0.1, 0.25, 0.4]
    early = 0
    for when in ("certain", "windows_complete"):
        engine = engine_of(design, truth, max_patients=18, escalate_when=when)
        for replicate in range(60):
            state_of: dict[int, bool] = {}
            for event in engine.course(6, replicate).events:
                if isinstance(event, Enrolled):
                    state_of[event.participant] = False
                elif isinstance(event, WindowCompleted | DltObserved):
                    state_of[event.participant] = True
                elif isinstance(event, Decided) and event.action in ("escalate", "stay"):
                    early += not all(state_of.values())
                    assert when == "certain" or all(state_of.values())
    assert early > 0


def test_suspended_accrual_is_part_of_the_duration(busy):
    for course in busy[1]:
        duration = course.last_day - course.first_day
        held = sum(course.counts[cause] for cause in ("held_window", "held_review", "held_stagger"))
        assert 0 < held <= duration


def test_a_review_holds_accrual(engine_of):
    slow = engine_of(THREE, [0.1, 0.2], scenario=DAILY, script=[], review_lag_days=20).course(1, 0)
    fast = engine_of(THREE, [0.1, 0.2], scenario=DAILY, script=[]).course(1, 0)
    assert slow.last_day - fast.last_day == 40
    assert slow.counts["held_review"] == 40


# probabilities realised ------------------------------------------------------------------------


def within(found: float, expected: float, trials: float) -> bool:
    return abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / trials)


def test_drop_out(engine_of):
    """The share that withdraws, and a constant rate over the days of the window."""
    engine = engine_of(THREE, [0.0, 0.0, 0.0], scenario={"drop_out": 0.75})
    people = records_of(engine, 12, 200)
    left = people[people["outcome"] == "not_evaluable"]
    assert within(len(left) / len(people), 0.75, len(people))
    days = (left["outcome_day"] - left["enrolled_day"]).to_numpy()
    by_day = (1 - 0.25 ** (np.arange(29) / 28)) / 0.75  # of those who withdraw, the share gone by the start of each day
    assert chisquare(np.bincount(days, minlength=28), np.diff(by_day) * len(days)).pvalue > 1e-3


def test_drop_out_competes_with_toxicity(engine_of):
    """Uniform onset against a constant rate of withdrawal, day by day: a DLT on the day of withdrawal comes first."""
    p, q = 0.5, 0.4
    engine = engine_of(THREE, [p], scenario={"drop_out": q})
    people = records_of(engine, 13, 1500)
    gone = 1 - (1 - q) ** (np.arange(29) / 28)  # gone by the start of day 0, 1, ..., 28
    dlt = sum(p / 28 * (1 - gone[day]) for day in range(28))
    for outcome, share in (
        ("dlt", dlt),
        ("complete", (1 - p) * (1 - q)),
        ("not_evaluable", 1 - dlt - (1 - p) * (1 - q)),
    ):
        assert within((people["outcome"] == outcome).mean(), share, len(people)), outcome


def test_missed_infusions(engine_of):
    for minimum, evaluable in ((1.0, 0.8**3), (0.75, 0.8**3 + 3 * 0.2 * 0.8**2), (0.0, 1.0)):
        engine = engine_of(
            THREE,
            [[0.0], [0.0], [0.0], [0.0]],
            scenario={"missed_infusion": 0.2},
            start={"frequency": 4},
            evaluability={"minimum_infusions": minimum},
        )
        people = records_of(engine, 14, 400)
        assert (
            within(people["evaluable"].mean(), evaluable, len(people)) if evaluable < 1 else people["evaluable"].all()
        )
        assert within((people["infusions"] == 4).mean(), 0.8**3, len(people))
        assert people["infusions"].min() == 1


def test_screening_and_accrual(engine_of):
    engine = engine_of(
        THREE,
        [0.1, 0.2],
        scenario={
            "accrual": {"law": "poisson", "mean_gap_days": 6.0},
            "screen_failure": 0.35,
            "held": {"policy": "turn_away"},
        },
    )
    rows, people = engine.run(15, 0, 400, records=True)
    clock = rows.calendar
    arrivals = clock.arrivals.sum()
    assert within(clock.screen_failures.sum() / arrivals, 0.35, arrivals)
    np.testing.assert_array_equal(clock.arrivals, clock.treated + clock.screen_failures + clock.turned_away)
    assert not clock.waiting_days.any()
    assert not clock.left_queue.any()
    frame = pd.DataFrame.from_records(people)
    assert (frame["arrival_day"] == frame["enrolled_day"]).all()
    # gaps between arrivals have mean 6: the last participant's day over its number
    last = frame.groupby("trial").last()
    assert last["arrival_day"].sum() / last["arrival"].sum() == pytest.approx(6.0, rel=0.05)


def test_days_are_whole_and_moments_are_not(engine_of):
    """Fractions of a day are kept between arrivals: two a day come two a day."""
    scenario = {"accrual": {"law": "fixed", "gap_days": 0.5}}
    course = engine_of(THREE, [0.1], scenario=scenario, script=[]).course(1, 0)
    assert [e.day for e in course.events if isinstance(e, Enrolled)] == [0, 0, 1]


# the same numbers from any executor ------------------------------------------------------------

FULL = {
    "accrual": {"law": "poisson", "mean_gap_days": 7.0},
    "drop_out": 0.1,
    "missed_infusion": 0.05,
    "screen_failure": 0.1,
}


def test_chunks_join_to_the_whole(engine_of):
    build = {"design": THREE, "truth": [[0.1, 0.2], [0.2, 0.3]], "scenario": FULL, "expansion": {"size": 3}}
    whole, people = engine_of(**build).run(8, 0, 90, records=True)
    engine = engine_of(**build)
    parts = [engine.run(8, first, size, records=True) for first, size in ((0, 1), (1, 37), (38, 52))]
    same(whole, TrialRows.join([part for part, _ in parts]))
    assert people == [person for _, listed in parts for person in listed]
    again, _ = engine.run(8, 38, 52)  # an engine that has run before answers the same
    same(again, parts[2][0])
    course = engine.course(8, 60)
    assert course.state.n == whole.n[60].tolist()
    assert course.last_day - course.first_day == whole.calendar.duration_days[60]


@pytest.mark.parametrize(
    ("design", "protocol"),
    [
        ({"name": "tite_boin"}, {}),
        ({"name": "tite_crm", "weights": "adaptive", "stop_above": 0.3}, {"cohort_size": 1}),
        ({"name": "tite_crm"}, {"review_lag_days": 4, "stagger": {"sentinel_days": 7, "between_days": 1}}),
        ({"name": "tite_boin"}, {"close_cohort_when_certain": True, "evaluability": {"replace": False}}),
    ],
)
@pytest.mark.parametrize("mean_gap_days", [3.0, 15.0])
def test_trials_that_ask_together_are_the_trials_alone(engine_of, design, protocol, mean_gap_days):
    """Designs that read follow-up times are asked for many trials at once; each is what it is by itself."""
    scenario = {**FULL, "accrual": {"law": "poisson", "mean_gap_days": mean_gap_days}}
    engine = engine_of(design, [0.1, 0.25, 0.4], scenario=scenario, max_patients=18, **protocol)
    together, people = engine.run(5, 0, 30, records=True)
    alone = [engine.run(5, trial, 1, records=True) for trial in range(30)]
    same(together, TrialRows.join([rows for rows, _ in alone]))
    assert people == [person for _, listed in alone for person in listed]
    for trial in range(10):
        course = engine.course(5, trial)  # asks for itself
        assert course.state.n == together.n[trial].tolist()
        assert course.counts["held_window"] == together.calendar.held_window[trial]
        assert course.last_day - course.first_day == together.calendar.duration_days[trial]


def test_executors_change_nothing(study_of):
    study = study_of({"name": "boin"}, [0.1, 0.25, 0.4], max_patients=12, scenario=FULL)
    run = {"engine": "calendar", "trials": 300, "seed": 21, "records": True}
    alone = simulate(study, **run)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as processes, ThreadPoolExecutor(2) as threads:
        for executor in (processes, threads):
            other = simulate(study, executor=executor, **run)
            same(alone.scenarios[0].rows, other.scenarios[0].rows)
            pd.testing.assert_frame_equal(alone.scenarios[0].participants, other.scenarios[0].participants)
            assert (
                alone.scenarios[0].characteristics.total_patients == other.scenarios[0].characteristics.total_patients
            )
            sampled = simulate(study, engine="sampled", trials=3000, seed=3, executor=executor)
            pd.testing.assert_frame_equal(
                trial_frame(sampled.scenarios[0], study),
                trial_frame(simulate(study, engine="sampled", trials=3000, seed=3).scenarios[0], study),
            )
    assert (alone.engine, alone.trials, alone.seed) == ("calendar", 300, 21)


def test_another_seed_is_another_simulation(engine_of):
    engine = engine_of(THREE, [0.2, 0.3, 0.4], scenario=FULL)
    one, two = engine.run(1, 0, 40)[0], engine.run(2, 0, 40)[0]
    assert (one.calendar.duration_days != two.calendar.duration_days).any()


def test_progress_counts_every_trial(study_of):
    seen: list[tuple[int, int]] = []
    simulate(
        study_of(THREE, [0.1, 0.2]),
        engine="calendar",
        trials=300,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(256, 300), (300, 300)]


# designs that randomise, and what is refused ---------------------------------------------------


class Nothing(Parameters):
    """No parameters."""


class CoinFlip(Design[Nothing]):
    """Four cohorts, each after the first at level 1 with probability 0.3 and at level 2 otherwise."""

    name: ClassVar[str] = "coin_flip"
    title: ClassVar[str] = "Coin flip"
    citation: ClassVar[str] = "none"
    Parameters = Nothing
    own_maximum = 12
    share: ClassVar[tuple[float, float]] = (0.3, 0.7)
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason("coin.goes_on", "On.", "On."),
        Reason("coin.ends", "End.", "End.", stop="declared"),
    )

    def decide(self, tally):
        stay = np.full(tally.rows, Action.STAY, np.int32)
        size, reason = np.full(tally.rows, 3, np.int32), np.zeros(tally.rows, np.int32)
        share = np.tile(self.share, (tally.rows, 1))
        likely = np.full(tally.rows, np.argmax(self.share), np.int32)
        decided = Decisions(stay, likely, size, reason, allocation=share)
        return decided.stop_where(tally.total >= 12, tally.current, 1)

    def select(self, tally):
        chosen = np.zeros(tally.n.shape, dtype=bool)
        chosen[np.arange(tally.rows), tally.current] = True
        return chosen


def test_the_engine_draws_for_a_design_that_randomises(study_of, agree):
    study = study_of(THREE, [0.2, 0.4])
    rule = Rule(CoinFlip(Nothing(), Setting(study.protocol.grid, 3, 0)))
    study.protocol.__dict__["rule"] = rule  # a design need not be registered to be simulated
    assumed = study.scenarios[0]
    engine = CalendarEngine(study.protocol, assumed, study.truth(assumed))
    rows, _ = engine.run(5, 0, 3000)
    agree(rows, TrialRows.exact(compile_graph(rule), np.array([0.2, 0.4])), rule)
    same(rows, TrialRows.join([engine.run(5, 0, 1000)[0], engine.run(5, 1000, 2000)[0]]))


def test_a_history_may_follow_any_regimen_that_can_be_drawn(study_of):
    class Never(CoinFlip):
        share = (0.0, 1.0)

    grid = study_of(THREE, [0.2, 0.4]).protocol.grid
    both, second = (Rule(design(Nothing(), Setting(grid, 3, 0))) for design in (CoinFlip, Never))
    state = replay(both, "1NNN 2NNT 1NTT 2TTT").state
    assert (state.n, state.dlt) == ([6, 6], [2, 4])
    assert replay(second, "1NNN 2NNT").state.n == [3, 3]
    with pytest.raises(OutcomeError, match="participant 4 was treated at level 1, but the design goes to level 2"):
        replay(second, "1NNN 1NNN")


def test_a_trial_that_cannot_end(engine_of, monkeypatch):
    monkeypatch.setattr(clock_module, "MOST_ARRIVALS", 300)
    engine = engine_of(THREE, [0.1], scenario={"screen_failure": 0.999999, **DAILY})
    with pytest.raises(EngineError, match="did not end within 300 arrivals"):
        engine.course(1, 0)
