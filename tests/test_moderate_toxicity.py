"""Titration that ends on moderate toxicities: the third outcome in the rule and in every engine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalation.advice import Advisor
from escalation.calendar import CalendarEngine
from escalation.compare import compare
from escalation.design import SafetyProperty
from escalation.errors import OutcomeError, StudyError, TrialError
from escalation.exact import compile_graph
from escalation.outcomes import parse, replay, settle
from escalation.pathways import pathways
from escalation.regimens import RegimenGrid
from escalation.report.wording import outlook_lines
from escalation.results import TrialRows
from escalation.sampled import sample
from escalation.simulate import evaluate, simulate, trial_frame
from escalation.study import load
from escalation.trial import (
    DltObserved,
    Enrolled,
    ModerateObserved,
    NotEvaluable,
    TrialState,
    WindowCompleted,
)
from escalation.truth import HazardTruth, TableTruth, Window, bind
from escalation.verify import verify

TRUTH = [0.05, 0.15, 0.30, 0.45]
MODERATE = [0.10, 0.20, 0.25, 0.30]
BOIN = {"name": "boin"}
GRADED = {"until": "moderate_toxicity"}


@pytest.fixture(scope="module")
def graded(study_of):
    """A study titrating on grades, by design and further values."""

    def build(design=BOIN, truth=TRUTH, moderate=MODERATE, titration=GRADED, scenario=None, **protocol):
        if design["name"] != "three_plus_three":
            protocol = {"max_patients": 18, "last_cohort": "partial"} | protocol
        assumed = {"moderate": moderate} | (scenario or {})
        return study_of(design, truth, titration=titration, scenario=assumed, **protocol)

    return build


@pytest.fixture(scope="module")
def rule(graded):
    return graded().protocol.rule


# the rule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "level", "size", "code"),
    [
        ("", 1, 1, "trial.cohort_open"),
        ("1M", 2, 1, "titration.clear"),
        ("1N 2M", 3, 1, "titration.clear"),
        ("1M 2M", 2, 2, "titration.moderate"),
        ("1M 2N 3M", 3, 2, "titration.moderate"),
        ("1M 2N 3N 4M", 4, 2, "titration.moderate"),
        ("1M 2N 3N 4N", 4, 2, "titration.top"),
        ("1M 2T", 2, 2, "titration.first_dlt"),
        # the level is filled, then the design decides on DLTs alone
        ("1M 2M 2NN", 3, 3, "boin.at_or_below_lambda_e"),
        ("1M 2M 2MM", 3, 3, "boin.at_or_below_lambda_e"),
        ("1M 2M 2NT", 2, 3, "boin.between"),
        ("1M 2M 2NN 3MMM", 4, 3, "boin.at_or_below_lambda_e"),
        # a participant lost after a moderate toxicity has had one all the same
        ("1M 2X 2N", 3, 1, "titration.clear"),
    ],
)
def test_two_participants_with_a_moderate_toxicity_end_titration(rule, outcomes, level, size, code):
    advisor = Advisor(rule)
    replayed = replay(rule, outcomes, advisor=advisor)
    advice = advisor.advise(replayed.state)
    assert replayed.departures == ()
    assert (advice.regimen + 1, advice.size, advice.reasons) == (level, size, (code,))


@pytest.mark.parametrize(("limit", "outcomes"), [(1, "1N 2M"), (2, "1N 2M 3M"), (3, "1M 2M 3M")])
def test_the_limit_is_a_parameter(graded, limit, outcomes):
    rule = graded(titration=GRADED | {"moderate_limit": limit}).protocol.rule
    advisor = Advisor(rule)
    *before, last = (advisor.advise(replay(rule, text).state) for text in (outcomes.rpartition(" ")[0], outcomes))
    assert before[0].reasons == ("titration.clear",)
    assert last.reasons == ("titration.moderate",)


def test_without_grades_a_moderate_toxicity_is_no_dlt(study_of):
    rule = study_of(BOIN, TRUTH, titration={}, max_patients=18).protocol.rule
    advisor = Advisor(rule)
    assert not rule.reads_grades
    assert advisor.advise(replay(rule, "1M 2M").state) == advisor.advise(replay(rule, "1N 2N").state)


def test_it_is_printed_with_its_limit(graded):
    assert (
        "until the first DLT or until 2 participants have had a moderate toxicity" in graded().protocol.rule.steps()[0]
    )
    one = graded(titration=GRADED | {"moderate_limit": 1}).protocol.rule.steps()[0]
    assert "1 participant has had a moderate toxicity" in one


# open windows -------------------------------------------------------------------------------------------


def test_an_open_window_has_three_outcomes(rule):
    advice = Advisor(rule).advise(replay(rule, "1M 2P").state)
    assert advice.action.word == "wait"
    assert [(p.further, p.moderate, p.action.word, p.regimen) for p in advice.outlook] == [
        ((0,), (0,), "escalate", 2),
        ((0,), (1,), "stay", 1),
        ((1,), (0,), "stay", 1),
    ]
    assert outlook_lines(advice, rule.grid) == [
        "escalates to level 3: neither moderate toxicity nor DLT at level 2",
        "treats more at level 2: a moderate toxicity at level 2, a DLT at level 2",
    ]


def told(rule, *events):
    state = TrialState(rule)
    for event in events:
        state.apply(event)
    return state


def test_a_moderate_toxicity_decides_before_the_window_is_complete(rule):
    """The second one ends titration whatever is still to come: the level is filled at once."""
    advisor = Advisor(rule)
    state = told(rule, Enrolled(0, 0, 0), ModerateObserved(4, 0))
    first = advisor.advise(state)
    assert not first.decides  # a DLT would end titration here
    assert [(p.further, p.moderate) for p in first.outlook] == [((0,), (1,)), ((1,), (0,))]
    state.apply(WindowCompleted(28, 0))
    settle(state, advisor.advise(state), 1)
    state.apply(Enrolled(29, 1, 1))
    assert not advisor.advise(state).decides
    state.apply(ModerateObserved(33, 1))
    now = advisor.advise(state)
    assert (now.decides, now.certain, now.regimen, now.size) == (True, True, 1, 2)
    assert now.reasons == ("titration.moderate", "titration.first_dlt")  # both completions fill the level


def test_the_fold_keeps_the_worst_outcome(rule):
    state = told(rule, Enrolled(0, 0, 0), ModerateObserved(4, 0))
    assert (state.moderate, state.pending_moderate(), state.tally().moderate.tolist()) == (
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [[1, 0, 0, 0]],
    )
    worse = state.fork()
    worse.apply(DltObserved(9, 0))
    assert (worse.moderate, worse.dlt) == ([0] * 4, [1, 0, 0, 0])
    done = state.fork()
    done.apply(WindowCompleted(28, 0))
    assert (done.moderate, done.pending_moderate(), done.n) == ([1, 0, 0, 0], [0] * 4, [1, 0, 0, 0])
    lost = state.fork()
    lost.apply(NotEvaluable(9, 0, "withdrew"))
    assert (lost.moderate, lost.n) == ([1, 0, 0, 0], [0] * 4)
    lost.apply(Enrolled(10, 1, 0))
    lost.apply(ModerateObserved(12, 1))
    lost.apply(WindowCompleted(38, 1))
    assert Advisor(rule).advise(lost).reasons == ("titration.moderate",)  # of two participants at level 1


@pytest.mark.parametrize(
    "events",
    [
        (ModerateObserved(1, 0),),
        (Enrolled(0, 0, 0), WindowCompleted(28, 0), ModerateObserved(29, 0)),
        (Enrolled(0, 0, 0), DltObserved(3, 0), ModerateObserved(4, 0)),
        (Enrolled(0, 0, 0), ModerateObserved(3, 0), ModerateObserved(4, 0)),
    ],
    ids=["not enrolled", "complete", "after the DLT", "twice"],
)
def test_contradictions_are_refused(rule, events):
    with pytest.raises(TrialError, match="first moderate toxicity"):
        told(rule, *events)


# the laws -----------------------------------------------------------------------------------------------


def titrated_3_plus_3(p, m, limit, six_at_top):
    """Chances of each MTD and mean participants by level, one participant after another, three outcomes each.

    Everything is told as (chances of level 1, 2, ... or none as MTD, mean participants by level) from here on.
    """
    top, levels = len(p) - 1, len(p)

    def end(n, mtd):
        return np.append(np.eye(levels + 1)[levels if mtd is None else mtd], n)

    def with_more(counts, level, more):
        return (*counts[:level], counts[level] + more, *counts[level + 1 :])

    def filled(n, y, level, size):
        told = 0
        for dlt in range(size + 1):
            ways = comb(size, dlt) * p[level] ** dlt * (1 - p[level]) ** (size - dlt)
            told = told + ways * standard(with_more(n, level, size), with_more(y, level, dlt), level)
        return told

    def single(n, y, moderates, level):
        n = with_more(n, level, 1)
        told = p[level] * filled(n, with_more(y, level, 1), level, 2)
        for more, share in ((1, m[level]), (0, 1 - p[level] - m[level])):
            ends = moderates + more >= limit or level == top
            told = told + share * (filled(n, y, level, 2) if ends else single(n, y, moderates + more, level + 1))
        return told

    @cache
    def standard(n, y, level):
        if y[level] >= 2:
            if level == 0:
                return end(n, None)
            if n[level - 1] == 6:
                return end(n, level - 1)
            return filled(n, y, level - 1, (3 if n[level - 1] < 3 else 6) - n[level - 1])
        if n[level] == 3 and y[level] == 1:
            return filled(n, y, level, 3)
        if level < top and y[level + 1] >= 2:
            return end(n, level) if n[level] == 6 else filled(n, y, level, 3)
        if level < top:
            return filled(n, y, level + 1, 3 - n[level + 1])
        if six_at_top and n[level] < 6:
            return filled(n, y, level, 3)
        return end(n, level)

    told = single((0,) * levels, (0,) * levels, 0, 0)
    return {k if k < levels else None: float(told[k]) for k in range(levels + 1)}, told[levels + 1 :]


@pytest.mark.parametrize("variant", ["V2", "V3"])
@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize(
    ("p", "m"),
    [
        ((0.1, 0.3), (0.2, 0.4)),
        ((0.05, 0.2, 0.4), (0.3, 0.1, 0.5)),
        ((0.0, 0.1, 0.25, 0.5), (0.2, 0.3, 0.75, 0.0)),  # probabilities that use up the whole, and none at all
    ],
    ids=str,
)
def test_3_plus_3_after_graded_titration_by_hand(graded, variant, limit, p, m):
    design = {"name": "three_plus_three", "variant": variant}
    study = graded(design, list(p), list(m), GRADED | {"moderate_limit": limit})
    rows = TrialRows.exact(compile_graph(study.protocol.rule), np.array(p), np.array(m))
    mtds, mean = titrated_3_plus_3(p, m, limit, six_at_top=variant == "V3")
    assert sum(mtds.values()) == pytest.approx(1)
    assert rows.weight @ rows.selected == pytest.approx([mtds.get(level, 0.0) for level in range(len(p))])
    assert rows.weight @ rows.n == pytest.approx(mean)
    # every participant without a DLT is as likely to have had a moderate toxicity as assumed
    assert rows.weight @ rows.moderate == pytest.approx(mean * m)


PRINTED = {  # in scenarios/textbook-titration.yaml: selection and none in per cent, mean participants and DLTs
    "announced": (0.20, 0.46, 2.13, 10.49, 35.25, 36.73, 14.69, 0.05, 16.34, 2.94),
    "silent": (0.20, 0.45, 1.96, 9.54, 33.75, 37.38, 16.67, 0.05, 16.01, 3.02),
    "early": (9.78, 34.66, 37.27, 14.85, 2.03, 0.06, 0.00, 1.34, 14.37, 3.79),
}


@pytest.mark.parametrize("name", PRINTED)
def test_the_textbook_study_by_hand(name):
    """What its header prints follows from one outcome after another, and from the exact engine."""
    study = load("textbook-titration")
    truth = study.truth(study.scenario(name))
    p, m = truth.probability.tolist(), truth.moderate.tolist()
    mtds, mean = titrated_3_plus_3(p, m, 2, six_at_top=False)
    selected = [100 * mtds.get(level, 0.0) for level in (*range(7), None)]
    by_hand = [*selected, mean.sum(), float(mean @ np.array(p))]
    assert by_hand == pytest.approx(PRINTED[name], abs=0.0051)
    rows = TrialRows.exact(_textbook(), truth.probability, truth.moderate)
    exact = [*(100 * rows.weight @ rows.selected), 100 * float(rows.weight @ ~rows.selected.any(axis=1))]
    exact += [float(rows.weight @ rows.n.sum(axis=1)), float(rows.weight @ rows.dlt.sum(axis=1))]
    assert exact == pytest.approx(by_hand)


@cache
def _textbook():
    return compile_graph(load("textbook-titration").protocol.rule)


def test_grades_are_forgotten_once_nobody_reads_them(study_of):
    """The states after titration are those of titration on DLTs, each with its ways from every exit."""
    alone = study_of(
        {"name": "three_plus_three", "variant": "V2"}, [0.1] * 7, titration={}, max_patients=42
    ).protocol.rule
    plain, graph = compile_graph(alone), _textbook()
    assert graph.rows < 1.05 * plain.rows
    assert graph.ways.shape == (graph.rows, graph.courses.exits)
    assert len(graph.courses.exit) > 3 * graph.courses.exits  # many courses lead to one exit


def test_how_titration_ends_in_closed_form(graded):
    """At level 2 or before: a DLT in the first two, or moderate toxicities in both."""
    study = graded(max_patients=3, last_cohort="partial")
    rows = TrialRows.exact(compile_graph(study.protocol.rule), np.array(TRUTH), np.array(MODERATE))
    (p1, p2), (m1, m2) = TRUTH[:2], MODERATE[:2]
    reached_3 = (1 - p1) * (1 - p2) - m1 * m2
    assert rows.weight @ (rows.n[:, 2] > 0) == pytest.approx(reached_3)


def test_without_moderate_toxicities_it_is_titration_on_dlts(graded, study_of):
    alone = study_of(BOIN, TRUTH, titration={}, max_patients=18, last_cohort="partial").protocol.rule
    known = TrialRows.exact(compile_graph(alone), np.array(TRUTH))
    graph = compile_graph(graded().protocol.rule)
    for nothing in (np.zeros(4), None):
        rows = TrialRows.exact(graph, np.array(TRUTH), nothing)
        assert rows.weight @ rows.selected == pytest.approx(known.weight @ known.selected)
        assert rows.weight @ rows.n == pytest.approx(known.weight @ known.n)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=4, max_size=4))
def test_probabilities_sum_to_one(graded, pairs):
    graph = _graph(graded)
    p = np.array([first for first, _ in pairs])
    m = np.array([share for _, share in pairs]) * (1 - p)
    law = graph.probabilities(p, m)[0]
    assert law.sum() == pytest.approx(1)
    assert law @ graph.expected_moderate(p, m) == pytest.approx((law @ graph.n) * m)


_GRAPHS: list = []


def _graph(graded):
    if not _GRAPHS:
        _GRAPHS.append(compile_graph(graded().protocol.rule))
    return _GRAPHS[0]


@pytest.mark.parametrize("design", ["boin", "keyboard", "crm", "three_plus_three"])
def test_the_engines_agree(agree, graded, design):
    study = graded(
        {"name": design} | ({"variant": "V3"} if design == "three_plus_three" else {}),
        scenario={"accrual": {"law": "poisson", "mean_gap_days": 9.0}},
        **({} if design == "three_plus_three" else {"max_patients": 15}),
    )
    rule, scenario = study.protocol.rule, study.scenarios[0]
    p, m = np.array(TRUTH), np.array(MODERATE)
    exact = TrialRows.exact(compile_graph(rule), p, m)
    drawn = sample(rule, p, 3, 0, 20_000, m)
    clocked, _ = CalendarEngine(study.protocol, scenario, study.truth(scenario)).run(4, 0, 2000)
    for rows in (drawn, clocked):
        agree(rows, exact, rule)
        error = rows.moderate.std(axis=0) / np.sqrt(rows.trials)
        assert np.abs(rows.moderate.mean(axis=0) - exact.weight @ exact.moderate).max() <= 4 * error.max()
    # the same participants: without a clock to matter the two simulations are the same trials
    same, _ = CalendarEngine(study.protocol, scenario, study.truth(scenario)).run(3, 0, 200)
    for name in ("n", "dlt", "selected", "moderate"):
        assert np.array_equal(getattr(same, name), getattr(drawn, name)[:200]), name


def test_it_treats_more_where_toxicity_announces_itself(graded, study_of):
    """Ending on moderate toxicities slows the climb: fewer DLTs, more participants at the low levels."""
    without = study_of(BOIN, TRUTH, titration={}, max_patients=18, last_cohort="partial").protocol.rule
    plain = TrialRows.exact(compile_graph(without), np.array(TRUTH))
    rows = TrialRows.exact(compile_graph(graded().protocol.rule), np.array(TRUTH), np.array(MODERATE))
    assert rows.weight @ rows.n[:, 3] < plain.weight @ plain.n[:, 3]
    assert rows.weight @ rows.dlt.sum(axis=1) < plain.weight @ plain.dlt.sum(axis=1)


def test_operating_characteristics_count_them_where_assumed(graded, study_of):
    study = graded()
    exact = simulate(study, engine="exact").scenarios[0].characteristics
    drawn = simulate(study, engine="sampled", trials=4000).scenarios[0].characteristics
    assert exact.measures["moderate"].value == pytest.approx(float(exact.patients @ np.array(MODERATE)))
    error = drawn.measures["moderate"].mcse
    assert error is not None
    assert abs(drawn.measures["moderate"].value - exact.measures["moderate"].value) < 4 * error
    # a rule that does not read grades counts them too, and decides as before
    assumed = study_of(BOIN, TRUTH, max_patients=18, scenario={"moderate": MODERATE})
    plain = study_of(BOIN, TRUTH, max_patients=18)
    graph = compile_graph(assumed.protocol.rule)
    assert graph.courses is None
    found, known = (evaluate(each, graph).scenarios[0].characteristics for each in (assumed, plain))
    assert found.measures["moderate"].value == pytest.approx(float(found.patients @ np.array(MODERATE)))
    assert "moderate" not in known.measures
    assert found.selection == pytest.approx(known.selection)


def test_a_comparison_is_on_the_same_moderate_toxicities(graded, study_of):
    """Titration on grades beside titration on DLTs, on common participants; different assumptions are refused."""
    study, other = graded(), graded(titration={})
    found = compare([study, other], trials=300)
    assert found.scenarios[0].differences[0]["moderate"].mcse > 0
    assert found.scenarios[0].measures[0]["dlts"].value < found.scenarios[0].measures[1]["dlts"].value
    with pytest.raises(StudyError, match="different truths"):
        compare([study, graded(moderate=[0.1] * 4)], trials=10)


def test_records_of_trials_and_participants_tell_them(graded):
    study = graded()
    run = simulate(study, engine="calendar", trials=20, records=True)
    (result,) = run.scenarios
    people = result.participants
    assert people.loc[people["outcome"] == "dlt", "moderate"].sum() == 0
    frame = trial_frame(result, study)
    told = frame[[f"moderate_{k}" for k in range(1, 5)]].sum(axis=1)
    escalation = people[people["stage"] == "escalation"]
    assert told.tolist() == escalation.groupby("trial")["moderate"].sum().tolist()
    assert told.sum() > 0


def test_they_are_counted_in_a_randomised_study_too():
    study = load("nct05794425", overrides=["scenarios.0.moderate=[0.2]"])
    first = study.scenarios[0].name
    plain = simulate(load("nct05794425"), scenarios=[first], engine="calendar", trials=20).scenarios[0].rows
    rows = simulate(study, scenarios=[first], engine="calendar", trials=20).scenarios[0].rows
    assert np.array_equal(rows.n, plain.n)
    assert 0 < rows.moderate.sum() < rows.n.sum()


@pytest.mark.parametrize("design", [{"name": "boin"}, {"name": "tite_crm"}], ids=str)
def test_a_rule_that_reads_no_grades_runs_the_same_course(study_of, design):
    """On the calendar an assumed moderate toxicity is heard of, and moves nothing."""
    courses = []
    for scenario in ({}, {"moderate": [0.3, 0.3, 0.3, 0.3]}):
        study = study_of(design, TRUTH, max_patients=15, scenario=scenario | {"drop_out": 0.1})
        engine = CalendarEngine(study.protocol, study.scenarios[0], study.truth(study.scenarios[0]))
        courses.append([engine.course(5, k) for k in range(8)])
    heard = 0
    for plain, told_of in zip(*courses, strict=True):
        kept = [event for event in told_of.events if not isinstance(event, ModerateObserved)]
        heard += len(told_of.events) - len(kept)
        assert kept == plain.events
    assert heard > 5


# pathways and proof -------------------------------------------------------------------------------------


def test_pathways_follow_three_outcomes_while_the_trial_titrates(rule):
    advisor = Advisor(rule)
    nodes = pathways(advisor, TrialState(rule), "", 3, np.array(TRUTH), np.array(MODERATE))
    first = [node for node in nodes if node.depth == 1]
    assert [(node.outcomes, node.probability) for node in first] == [
        ("1N", pytest.approx(0.85)),
        ("1M", pytest.approx(0.10)),
        ("1T", pytest.approx(0.05)),
    ]
    parents = {node.parent for node in nodes}
    assert sum(node.probability for k, node in enumerate(nodes) if k not in parents) == pytest.approx(1)
    for node in nodes:  # the string says all there is to know
        assert advisor.advise(replay(rule, node.outcomes, advisor=advisor).state) == node.advice
    filled = [node.outcomes for node in nodes if node.depth == 3 and node.outcomes.startswith("1M 2M")]
    assert filled == ["1M 2M 2NN", "1M 2M 2NT", "1M 2M 2TT"]


def test_pathways_of_a_pending_participant_known_to_have_had_one(rule):
    state = told(rule, Enrolled(0, 0, 0), ModerateObserved(4, 0))
    nodes = pathways(Advisor(rule), state, "1P", 1, np.array(TRUTH), np.array(MODERATE))
    assert [(node.outcomes, node.probability) for node in nodes[1:]] == [
        ("1M", pytest.approx(0.10 / 0.15)),
        ("1T", pytest.approx(0.05 / 0.15)),
    ]


def test_its_promises_hold(rule, graded, study_of):
    proof = verify(rule)
    broken = {verdict.name: verdict.counterexample for verdict in proof.verdicts if not verdict.holds}
    assert set(broken) <= {"no_escalation_after_two_dlts", "coherent"}  # as for BOIN without titration
    for text in broken.values():
        assert replay(rule, text).departures == ()
    plain = study_of(BOIN, TRUTH, titration={}, max_patients=18, last_cohort="partial").protocol.rule
    assert proof.states > verify(plain).states


def test_a_counterexample_is_written_with_its_grades(graded):
    """A rule made to climb after moderate toxicities breaks coherence, and the way there says M."""
    rule = graded().protocol.rule
    design = rule.design

    class Promised(type(design)):
        def properties(self):
            return (SafetyProperty("nobody has two", lambda tally, _: tally.moderate.sum(axis=1) >= 2),)

    promised = replace(rule, design=Promised(design.parameters, design.setting))
    found = {each.name: each.counterexample for each in verify(promised).verdicts}
    assert found["boin.nobody_has_two"] == "1M 2M"


# what is assumed ----------------------------------------------------------------------------------------

GRID = RegimenGrid(doses=(1.0, 2.0), schedules=((0,),))


def test_one_tolerance_gives_both_outcomes():
    truth = bind(TableTruth(table=[[0.2, 0.4]]), GRID, Window(), ((0.3, 0.1),))
    for u in np.linspace(0.001, 1, 777):
        for k, (p, m) in enumerate(((0.2, 0.3), (0.4, 0.1))):
            day = truth.moderate_day(k, u)
            assert (day is not None) == (p < u <= p + m)
            assert truth.occurs(k, u) == (u <= p)
            assert day is None or 0 <= day <= 28


@pytest.mark.parametrize("onset", ["uniform", "weibull", {"law": "acute", "tau": 6}], ids=str)
def test_their_onset_follows_the_law_of_the_dlts(onset):
    truth = bind(TableTruth(table=[[0.3, 0.0]], onset=onset), GRID, Window(), ((0.3, 0.5),))
    for k, (p, m) in enumerate(((0.3, 0.3), (0.0, 0.5))):
        as_dlts = bind(TableTruth(table=[[m, m]], onset=onset), GRID, Window())
        beyond = np.linspace(0.001, m - 0.001, 500)
        days = [truth.moderate_day(k, p + x) for x in beyond]
        assert days == [as_dlts.onset_day(k, x) for x in beyond]
        assert min(days) == 0
        assert max(days) > 14


def test_under_a_hazard_and_with_infusions_missed():
    hazard = HazardTruth.model_validate({"hazard": {"acute": {"a": 0.05}, "delayed": {"a": 0.1}}})
    grid = RegimenGrid(doses=(2.0, 4.0), schedules=((0, 7, 14),))
    truth = bind(hazard, grid, Window(), ((0.2, 0.2),))
    p = float(truth.probability[1])
    assert truth.moderate_day(1, p + 0.1) is not None
    assert truth.moderate_day(1, p + 0.2001) is None
    fewer = truth.course(1, (0, 7)).probability
    assert fewer < p
    assert truth.moderate_day(1, fewer + 0.1, (0, 7)) is not None
    assert truth.moderate_day(1, fewer + 0.2001, (0, 7)) is None


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        ({}, r"scenarios.0.moderate: titration ends on moderate toxicities, and their probabilities are not assumed"),
        ({"moderate": [0.1, 0.2]}, r"scenarios.0.moderate: 1 x 2 probabilities for 1 x 4 regimens"),
        ({"moderate": [0.1, 0.2, 0.3, 0.6]}, r"0.45 for a DLT and 0.6 for a moderate toxicity, together more than 1"),
        ({"moderate": [0.1, 0.2, 0.3, 45]}, r"45 in row 1, column 4 is not a probability"),
        ({"moderate": 0.2}, r"list probabilities of a moderate toxicity"),
    ],
)
def test_faults_are_named(study_of, scenario, says):
    with pytest.raises(StudyError, match=says):
        study_of(BOIN, TRUTH, titration=GRADED, max_patients=18, scenario=scenario)


def test_probabilities_need_not_rise(graded):
    assert graded(moderate=[0.4, 0.1, 0.3, 0.0]).warnings() == ()


def test_the_hash_of_studies_without_them_is_what_it_was(study_of):
    data = study_of(BOIN, TRUTH, titration={}, max_patients=18).as_dict()
    assert data["protocol"]["titration"] == {"until": "first_dlt"}
    assert "moderate" not in data["scenarios"][0]


def test_letters_of_outcome_strings():
    grid = RegimenGrid(doses=(1, 2), schedules=((0,),))
    assert [cohort.letters for cohort in parse("1nmt 2MX", grid)] == ["NMT", "MX"]
    with pytest.raises(OutcomeError, match="M moderate toxicity"):
        parse("1NQ", grid)
