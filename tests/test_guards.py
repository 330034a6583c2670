"""Guards: each on rows made by hand, and together in the order a protocol lists them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from escalation.advice import Advisor
from escalation.branching import Branches, Front, branch, onward
from escalation.decision import Action, Decisions, moves
from escalation.errors import EngineError, StudyError
from escalation.exact import compile_graph
from escalation.guards import (
    Coherence,
    MaximumSize,
    MinimumBeforeSelection,
    NoSkipping,
    PermittedIncrements,
    StopAtN,
    TooToxicAtLowest,
)
from escalation.outcomes import replay
from escalation.regimens import Regimen
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.sampled import sample
from escalation.tally import Tally

OFFSET = 7
"""Where the reasons of the guard under test start in the catalogue."""


@pytest.fixture(scope="module")
def ladder(study_of):
    return study_of({"name": "boin"}, [0.1] * 5, max_patients=60).protocol.rule.design


@pytest.fixture(scope="module")
def board(study_of):
    """Four doses by three frequencies."""
    return study_of({"name": "dose_then_frequency"}, [[0.1] * 4] * 3).protocol.rule.design


def decided(design, current, regimen, size=3, allocation=None) -> Decisions:
    """Decisions that send each row from its current regimen to another."""
    here, there = np.asarray(current, np.int32), np.asarray(regimen, np.int32)
    return Decisions(
        action=moves(here, there, design.grid.at_most),
        regimen=there,
        size=np.full(len(here), size, np.int32),
        reason=np.zeros(len(here), np.int32),
        allocation=allocation,
    )


def stopped(design, current) -> Decisions:
    here = np.asarray(current, np.int32)
    nothing = np.zeros(len(here), np.int32)
    return Decisions(np.full(len(here), Action.STOP, np.int32), here, nothing, nothing + 3)


def tally_of(design, n, dlt, current, **more) -> Tally:
    rows, size = len(n), design.grid.size
    wide_n, wide_dlt = np.zeros((rows, size)), np.zeros((rows, size))
    wide_n[:, : np.shape(n)[1]], wide_dlt[:, : np.shape(dlt)[1]] = n, dlt
    return Tally.of(wide_n, wide_dlt, current, **more)


# one by one ------------------------------------------------------------------------------------


@given(
    target=st.floats(0.05, 0.6),
    certainty=st.floats(0.55, 0.99),
    minimum=st.integers(1, 9),
    prior=st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)),
)
def test_too_toxic_at_the_lowest(ladder, target, certainty, minimum, prior):
    """Every count up to 24, against the Beta posterior of scipy; counts on the edge by a hair are left out."""
    guard = TooToxicAtLowest(target=target, certainty=certainty, minimum=minimum, prior=prior)
    counts = [(n, y) for n in range(25) for y in range(n + 1)]
    tally = tally_of(ladder, [[n, 6] for n, _ in counts], [[y, 6] for _, y in counts], [1] * len(counts))
    found = guard.apply(tally, decided(ladder, [1] * len(counts), [0] * len(counts)), ladder, OFFSET)
    for row, (n, y) in enumerate(counts):
        above = beta.sf(target, prior[0] + y, prior[1] + n - y)
        if abs(above - certainty) > 1e-9:
            expected = n >= minimum and y > 0 and above > certainty
            assert bool(found.stops[row]) is bool(expected), (n, y, above)
    stops = found.stops
    assert (found.reason[stops] == OFFSET).all()
    assert (found.size[stops] == 0).all()
    assert (found.regimen[stops] == 1).all()  # the current regimen, wherever the design was going
    assert (found.regimen[~stops] == 0).all()
    assert not guard.reasons[0].selects


def test_too_toxic_where_the_design_has_no_lower_regimen(study_of):
    """A design that climbs the frequencies of dose 2 cannot go below dose 2 at frequency 1:
    3 of 3 participants with a DLT there have to stop the trial."""
    study = study_of(
        {"name": "crm", "axis": "frequency"},
        [[0.3, 0.5], [0.4, 0.6]],
        start={"dose": 2},
        max_patients=18,
        guards=[{"guard": "too_toxic", "target": 0.25}],
    )
    rule = study.protocol.rule
    advice = Advisor(rule).advise(replay(rule, "2.1TTT").state)
    assert (advice.action, advice.reasons) == (Action.STOP, ("guard.too_toxic",))


def test_enough_at_the_next_regimen(ladder):
    guard = StopAtN(n=9)
    n = [[3, 9, 6], [3, 9, 6], [3, 6, 9], [9, 3, 0]]
    tally = tally_of(ladder, n, np.zeros((4, 3)), [2, 1, 1, 1])
    found = guard.apply(tally, decided(ladder, [2, 1, 1, 1], [1, 1, 1, 2]), ladder, OFFSET)
    assert found.stops.tolist() == [True, True, False, False]
    assert found.reason.tolist() == [OFFSET, OFFSET, 0, 0]
    assert guard.reasons[0].selects


@pytest.mark.parametrize(
    ("rule", "code", "ends"),
    [
        # at level 3 with 9: going down to 9, staying, going up to 3; at level 2 with 6: staying, going up to 9
        ("next_regimen_full", "guard.enough_at_regimen", [True, True, False, False, True]),
        ("reached", "guard.enough_at_current", [True, True, True, False, False]),
        ("reached_and_stay", "guard.enough_and_staying", [False, True, False, False, False]),
    ],
)
def test_three_meanings_of_enough_participants(ladder, rule, code, ends):
    guard = StopAtN(n=9, rule=rule)
    n = [[3, 9, 9, 3], [3, 9, 9, 3], [3, 9, 9, 3], [3, 6, 9, 0], [3, 6, 9, 0]]
    tally = tally_of(ladder, n, np.zeros((5, 4)), [2, 2, 2, 1, 1])
    found = guard.apply(tally, decided(ladder, [2, 2, 2, 1, 1], [1, 2, 3, 1, 2]), ladder, OFFSET)
    assert found.stops.tolist() == ends
    assert {guard.reasons[reason - OFFSET].code for reason in found.reason[found.stops]} == {code}


@pytest.mark.parametrize(
    ("doses", "increase", "after_dlt", "dlt", "here", "there", "held"),
    [
        ((10, 20, 40, 80), 1.0, None, 0, 0, 1, 1),
        ((10, 20, 40, 80), 1.0, None, 0, 0, 3, 1),  # shortened to the highest permitted
        ((10, 12, 14, 80), 0.5, None, 0, 0, 3, 2),
        ((10, 20, 40, 80), 0.9, None, 0, 0, 1, 0),  # nothing in between: stay
        ((0.1, 0.15, 0.4), 0.5, None, 0, 0, 1, 1),  # exactly half as much again
        ((10, 20, 40, 80), 1.0, 0.5, 0, 1, 2, 2),
        ((10, 20, 40, 80), 1.0, 0.5, 1, 1, 2, 1),  # a DLT anywhere tightens it
        ((10, 20, 40, 80), 0.1, None, 0, 3, 0, 0),  # down as far as the design wants
    ],
)
def test_permitted_increments(study_of, doses, increase, after_dlt, dlt, here, there, held):
    study = study_of({"name": "boin"}, [0.1] * len(doses), max_patients=60)
    grid = study.protocol.grid.__class__(doses=doses, schedules=((0,),))
    design = type(study.protocol.rule.design)(
        study.protocol.rule.design.parameters, study.protocol.setting.__class__(grid, 3, 0, 60)
    )
    guard = PermittedIncrements(max_increase=increase, after_dlt=after_dlt)
    tally = tally_of(design, [[6]], [[dlt]], [here])
    found = guard.apply(tally, decided(design, [here], [there]), design, OFFSET)
    assert found.regimen.tolist() == [held]
    assert found.reason.tolist() == [0 if held == there else OFFSET]
    assert found.action.tolist() == moves(tally.current, found.regimen, grid.at_most).tolist()
    assert found.size.tolist() == [3]


def test_increments_on_a_grid_limit_the_amount_only(board):
    """Doses 10, 20, 30, 40: from 10, level 3 at the next frequency is shortened to level 2 there."""
    guard = PermittedIncrements(max_increase=1.0)
    at = [board.grid.index(Regimen(*level)) for level in ((1, 1), (3, 2), (2, 2), (1, 3))]
    found = guard.apply(tally_of(board, [[3]], [[0]], [at[0]]), decided(board, [at[0]], [at[1]]), board, OFFSET)
    assert found.regimen.tolist() == [at[2]]
    found = guard.apply(tally_of(board, [[3]], [[0]], [at[0]]), decided(board, [at[0]], [at[3]]), board, OFFSET)
    assert found.regimen.tolist() == [at[3]]


def test_an_increment_does_not_end_at_an_eliminated_regimen(ladder):
    """Level 2 is eliminated, so a shortened move may not stop there."""
    guard = PermittedIncrements(max_increase=1.0)
    tally = tally_of(ladder, [[3, 6]], [[0, 6]], [0])
    found = guard.apply(tally, decided(ladder, [0], [3]), ladder, OFFSET)
    assert (found.action.tolist(), found.regimen.tolist()) == ([Action.STAY], [0])


def test_minimum_before_selection(study_of):
    """Three participants at the level that would be selected: three more are treated there; six are enough."""
    study = study_of(
        {"name": "boin"},
        [0.1, 0.2, 0.3],
        max_patients=18,
        guards=[{"guard": "stop_at_n", "n": 6, "rule": "reached"}, {"guard": "minimum_before_selection", "n": 6}],
    )
    rule = study.protocol.rule
    tally = Tally.of(
        [[6, 3, 0], [6, 6, 0], [3, 6, 3], [3, 0, 0]], [[1, 1, 0], [0, 1, 0], [0, 5, 3], [3, 0, 0]], [0, 1, 2, 0]
    )
    found = rule.decide(tally)
    assert [rule.reasons[reason].code for reason in found.reason] == [
        "guard.more_before_selection",  # level 2 (1 of 3) is closest to .30
        "guard.enough_at_current",
        "boin.eliminated",
        "boin.lowest_eliminated",
    ]
    assert (found.regimen[0], found.size[0], found.action[0]) == (1, 3, Action.ESCALATE)
    rows = TrialRows.exact(compile_graph(rule), np.array([0.1, 0.2, 0.3]))
    assert (rows.n[rows.selected] >= 6).all()
    # with the maximum reached nothing is left but to select none
    full = Tally.of([[9, 6, 3]], [[0, 0, 1]], [2])
    decision = rule.decide(full)
    assert rule.reasons[decision.reason[0]].code == "guard.max_patients"
    assert rule.design.select(full).tolist() == [[False, False, True]]
    assert not rule.select(full, decision.reason).any()


def test_minimum_before_selection_needs_a_design_for_any_counts(study_of):
    with pytest.raises(StudyError, match=r"protocol\.guards\.0: 3\+3 has its own rule"):
        study_of({"name": "three_plus_three"}, [0.1, 0.2], guards=[{"guard": "minimum_before_selection", "n": 6}])


@pytest.mark.parametrize(
    ("here", "there", "held"),
    [
        ((1, 1), (2, 1), (2, 1)),
        ((1, 1), (1, 2), (1, 2)),
        ((1, 1), (3, 1), (2, 1)),
        ((1, 1), (4, 1), (2, 1)),
        ((1, 1), (1, 3), (1, 2)),
        ((1, 1), (2, 2), (2, 1)),  # dose first
        ((2, 2), (4, 3), (3, 2)),
        ((4, 1), (4, 3), (4, 2)),
        ((3, 3), (1, 1), (1, 1)),  # down as far as the design wants
        ((3, 1), (2, 2), (2, 2)),
        ((2, 2), (2, 2), (2, 2)),
    ],
)
def test_one_level_at_a_time(board, here, there, held):
    at = [board.grid.index(Regimen(*level)) for level in (here, there, held)]
    tally = tally_of(board, [[3]], [[0]], [at[0]])
    before = decided(board, [at[0]], [at[1]])
    found = NoSkipping().apply(tally, before, board, OFFSET)
    assert found.regimen.tolist() == [at[2]]
    assert found.reason.tolist() == [OFFSET if held != there else 0]
    assert found.action.tolist() == moves(tally.current, found.regimen, board.grid.at_most).tolist()
    assert found.size.tolist() == [3]


@given(here=st.integers(0, 11), there=st.integers(0, 11))
def test_what_is_held_back_is_no_higher_than_what_was_wanted(board, here, there):
    grid = board.grid
    found = NoSkipping().apply(tally_of(board, [[3]], [[0]], [here]), decided(board, [here], [there]), board, OFFSET)
    held = int(found.regimen[0])
    assert not (grid.at_most[there, held] and held != there)
    step = np.subtract(grid.regimen(held), grid.regimen(here))
    assert step.max() <= 1
    assert not (step == 1).all()


@pytest.mark.parametrize(
    ("cohort_n", "cohort_dlt", "held"),
    [(3, 0, False), (3, 1, True), (4, 1, False), (10, 3, True), (10, 2, False), (0, 0, False), (1, 1, True)],
)
def test_coherence(ladder, cohort_n, cohort_dlt, held):
    """Target .3: escalation is held back from a rate of .3 in the last cohort on."""
    guard = Coherence(target=0.3)
    tally = tally_of(
        ladder, [[9, 9]] * 3, [[0, 1]] * 3, [1, 1, 1], cohort_n=[cohort_n] * 3, cohort_dlt=[cohort_dlt] * 3
    )
    found = guard.apply(tally, decided(ladder, [1, 1, 1], [2, 1, 0], size=1), ladder, OFFSET)
    assert found.regimen.tolist() == [1 if held else 2, 1, 0]
    assert found.action.tolist() == [Action.STAY if held else Action.ESCALATE, Action.STAY, Action.DE_ESCALATE]
    assert found.reason.tolist() == [OFFSET if held else 0, 0, 0]
    assert found.size.tolist() == [3 if held else 1, 1, 1]  # held back, a full cohort is treated


@pytest.mark.parametrize(
    ("last_cohort", "total", "size", "ends", "left"),
    [
        ("whole", 9, 3, False, 3),
        ("whole", 10, 3, True, 0),
        ("whole", 12, 3, True, 0),
        ("whole", 10, 2, False, 2),
        ("partial", 9, 3, False, 3),
        ("partial", 10, 3, False, 2),
        ("partial", 11, 3, False, 1),
        ("partial", 12, 3, True, 0),
        ("partial", 13, 3, True, 0),
    ],
)
def test_maximum_size(ladder, last_cohort, total, size, ends, left):
    guard = MaximumSize(limit=12, last_cohort=last_cohort)
    tally = tally_of(ladder, [[3, total - 3]], [[0, 0]], [1])
    found = guard.apply(tally, decided(ladder, [1], [2], size=size), ladder, OFFSET)
    assert bool(found.stops[0]) is ends
    assert found.size.tolist() == [left]
    assert found.reason.tolist() == [OFFSET if ends else 0]


ALL = [
    TooToxicAtLowest(target=0.2, certainty=0.6),
    StopAtN(n=3),
    NoSkipping(),
    Coherence(target=0.1),
    MaximumSize(limit=3),
    StopAtN(n=3, rule="reached"),
    StopAtN(n=3, rule="reached_and_stay"),
    PermittedIncrements(max_increase=0.5, after_dlt=0.25),
    MinimumBeforeSelection(n=6),
]


@pytest.mark.parametrize("guard", ALL, ids=lambda guard: type(guard).__name__)
def test_a_trial_that_has_ended_stays_ended(ladder, guard):
    tally = tally_of(ladder, [[6, 6]], [[5, 5]], [1], cohort_n=[3], cohort_dlt=[3])
    before = stopped(ladder, [1])
    after = guard.apply(tally, before, ladder, OFFSET)
    for column in ("action", "regimen", "size", "reason"):
        assert getattr(after, column).tolist() == getattr(before, column).tolist()


@pytest.mark.parametrize("guard", ALL, ids=lambda guard: type(guard).__name__)
def test_guards_answer_row_by_row(ladder, guard):
    rng = np.random.default_rng(5)
    n = rng.integers(0, 7, (200, 5))
    dlt = rng.binomial(n, 0.4)
    here, there = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    seen = rng.integers(0, 4, 200)
    tally = Tally.of(n, dlt, here, cohort_n=np.full(200, 3), cohort_dlt=seen)
    before = decided(ladder, here, there)
    kept = {name: getattr(before, name).copy() for name in ("action", "regimen", "size", "reason")}
    together = guard.apply(tally, before, ladder, OFFSET)
    order = rng.permutation(200)
    shuffled = guard.apply(tally.take(order), before.take(order), ladder, OFFSET)
    for name, values in kept.items():
        np.testing.assert_array_equal(getattr(together, name)[order], getattr(shuffled, name))
        np.testing.assert_array_equal(getattr(before, name), values)  # the design's answer is left alone


def test_lines_for_people():
    assert [guard.describe() for guard in ALL] == [
        "stop when Pr(DLT probability at the lowest regimen > 0.2) > 0.6 with 3 or more evaluable there",
        "stop when the next regimen already has 3 evaluable participants",
        "never skip a level and never raise dose and frequency together",
        "no escalation after a cohort with a DLT rate of 0.1 or more",
        "stop at 3 evaluable participants",
        "stop when the current regimen has 3 evaluable participants",
        "stop when the decision is to stay and the current regimen has 3 evaluable participants",
        "raise the dose by at most 50% at once, 25% after a DLT",
        "select no regimen with fewer than 6 evaluable participants; treat more there first",
    ]
    assert MaximumSize(limit=4, last_cohort="partial").describe().endswith("(the last cohort may be smaller)")


# together --------------------------------------------------------------------------------------


def test_the_order_of_the_guards_is_that_of_the_protocol(study_of):
    """Shortened to level 2, which has enough; or judged at level 3, which has not, and then shortened."""
    listed = {"no_skipping": {"guard": "no_skipping"}, "stop_at_n": {"guard": "stop_at_n", "n": 3}}
    design = {"name": "crm", "no_skipping": False, "coherent": False, "target": 0.3, "skeleton": [0.05, 0.1, 0.3]}
    for order, reason in (
        (("no_skipping", "stop_at_n"), "guard.enough_at_regimen"),
        (("stop_at_n", "no_skipping"), ""),
    ):
        study = study_of(design, [0.1, 0.2, 0.3], max_patients=30, guards=[listed[name] for name in order])
        rule = study.protocol.rule
        assert [guard.describe()[:5] for guard in rule.guards][-1] == "stop "  # the maximum size comes last
        tally = Tally.of([[6, 3, 0]], [[0, 0, 0]], [0], cohort_n=[3], cohort_dlt=[0])
        found = rule.decide(tally)
        code = rule.reasons[int(found.reason[0])].code
        assert code == (reason or "guard.one_level_at_a_time")
        assert rule.steps()[0].startswith("CRM")
        assert len(rule.steps()) == 4


def test_reasons_point_into_one_catalogue(study_of):
    study = study_of(
        {"name": "boin"},
        [0.4, 0.5, 0.6],
        max_patients=12,
        guards=[
            {"guard": "coherence", "target": 0.3},
            {"guard": "too_toxic", "target": 0.3, "certainty": 0.7},
            {"guard": "stop_at_n", "n": 6},
        ],
    )
    rule = study.protocol.rule
    assert len(rule.reason_index) == len(rule.reasons)
    advisor = Advisor(rule)
    for text, code in (
        ("1NNT", "boin.between"),
        ("1NTT", "guard.too_toxic"),
        ("1NNT 1NNT", "guard.enough_at_regimen"),
        ("1NNN 2NNN", "boin.at_or_below_lambda_e"),
    ):
        assert advisor.advise(replay(rule, text).state).reasons == (code,), text
    for name in ("guard.too_toxic", "guard.max_patients", "guard.enough_at_regimen", "trial.accrual_ended"):
        assert rule.reason(name).code == name
    # every stop reason of the exact law is in the catalogue, and selects only where it says so
    rows = TrialRows.exact(compile_graph(rule), np.array([0.4, 0.5, 0.6]))
    for reason, chosen in zip(rows.reason, rows.selected, strict=True):
        assert rule.reasons[reason].stop is not None
        assert rule.reasons[reason].selects or not chosen.any()


def test_the_maximum_of_a_rule(study_of):
    boin = study_of({"name": "boin"}, [0.1] * 3, max_patients=30).protocol.rule.design
    three = study_of({"name": "three_plus_three"}, [0.1] * 3).protocol.rule.design
    assert Rule(three).max_patients == 18
    assert Rule(three, (MaximumSize(limit=12),)).max_patients == 12
    assert Rule(three, (MaximumSize(limit=30),)).max_patients == 18
    assert Rule(boin, (MaximumSize(limit=12), StopAtN(n=9), MaximumSize(limit=9))).max_patients == 9
    with pytest.raises(EngineError, match=r"set protocol\.max_patients"):
        _ = Rule(boin).max_patients


# randomised allocations ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guard", "share"),
    [
        (NoSkipping(), [0.5, 0.0, 0.5, 0.0, 0.0]),  # half of the draws would skip level 2
        (Coherence(target=0.3), [0.0, 1.0, 0.0, 0.0, 0.0]),  # all of them go up after three DLTs
    ],
    ids=["no skipping", "coherence"],
)
def test_a_guard_holds_back_what_a_randomised_allocation_can_draw(ladder, guard, share):
    """The engines draw from the allocation, so holding back the named regimen alone holds back nothing."""
    tally = tally_of(ladder, [[3]], [[3]], [0], cohort_n=[3], cohort_dlt=[3])
    before = decided(ladder, [0], [int(np.argmax(share[1:])) + 1], allocation=np.array([share]))
    after = guard.apply(tally, before, ladder, OFFSET)
    front = Front(
        n=np.zeros((1, 5), np.int32),
        dlt=np.zeros((1, 5), np.int32),
        regimen=np.zeros(1, np.int32),
        size=np.array([3], np.int32),
        memory=np.zeros((1, 0), np.int32),
        ways=np.ones(1),
    )
    branches = branch(front)
    last = Branches(branches.tally.take(slice(3, 4)), branches.ways[3:], branches.parent[3:])  # 3 of 3
    onto, _ = onward(last, after)
    allowed = {0, 1} if isinstance(guard, NoSkipping) else {0}
    assert set(onto.regimen.tolist()) <= allowed


def test_a_stopped_row_draws_nothing(ladder):
    share = np.array([[0.5, 0.5, 0.0, 0.0, 0.0]])
    tally = tally_of(ladder, [[6]], [[6]], [0])
    before = decided(ladder, [0], [0], allocation=share)
    after = TooToxicAtLowest(target=0.2).apply(tally, before, ladder, OFFSET)
    assert after.stops.all()
    assert after.allocation.tolist() == [[0.0] * 5]
    assert share.sum() == 1  # the design's own array is left alone


def test_a_guarded_study_is_the_same_in_exact_and_sampled(study_of, agree):
    study = study_of(
        {"name": "crm", "no_skipping": False, "coherent": False},
        [0.2, 0.3, 0.5],
        max_patients=15,
        guards=[
            {"guard": "coherence", "target": 0.25},
            {"guard": "no_skipping"},
            {"guard": "too_toxic", "target": 0.25, "certainty": 0.8},
            {"guard": "stop_at_n", "n": 9},
        ],
    )
    rule, p = study.protocol.rule, np.array([0.2, 0.3, 0.5])
    agree(sample(rule, p, 4, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)
