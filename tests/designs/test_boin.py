from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import isotonic_regression
from scipy.stats import beta

from designs.boin import Boin, BoinParameters
from escalation.decision import Action, Decisions
from escalation.design import Setting
from escalation.errors import DesignError, OutcomeError
from escalation.numerics import NEVER, isotonic
from escalation.regimens import RegimenGrid
from escalation.tally import Tally

GOLDEN = Path(__file__).parents[1] / "golden"


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GOLDEN / name).read_text())["cases"]
    return found


def boin(levels: int = 5, start: int = 0, max_patients: int | None = 30, **parameters: Any) -> Boin:
    grid = RegimenGrid(doses=tuple(range(1, levels + 1)), schedules=((0,),))
    return Boin(BoinParameters(**parameters), Setting(grid, 3, start, max_patients))


SPELLING = {
    "target": "target",
    "p.saf": "p_saf",
    "p.tox": "p_tox",
    "cutoff.eli": "elimination_certainty",
    "extrasafe": "extra_safe",
    "offset": "extra_safe_offset",
    "boundMTD": "bound_mtd",
}
"""Arguments of R package BOIN and what they are called here."""


def parameters_of(given: dict[str, Any]) -> dict[str, Any]:
    return {SPELLING[key]: value for key, value in given.items() if key in SPELLING}


BOUNDARY_CASES = cases("boin_boundary.json")


@pytest.mark.parametrize("case", [case for case in BOUNDARY_CASES if "full" in case["output"]])
def test_boundaries_are_those_of_get_boundary(case):
    given, expected = case["input"], case["output"]
    planned = min(given["ncohort"] * given["cohortsize"], given["n.earlystop"])
    design = boin(max_patients=planned, **parameters_of(given))
    assert design.lambda_e == pytest.approx(expected["lambda_e"], abs=1e-12)
    assert design.lambda_d == pytest.approx(expected["lambda_d"], abs=1e-12)
    table, full = design.table(), expected["full"]
    assert list(table.n) == full["n"]
    assert list(table.escalate_if_at_most) == full["escalate_le"]
    assert list(table.de_escalate_if_at_least) == full["deescalate_ge"]
    assert list(table.eliminate_if_at_least) == full["eliminate_ge"]
    if "stop" in expected:
        stop = [None if count == NEVER else count for count in design.boundaries.stop[1:].tolist()]
        assert stop == expected["stop"]["stop_ge"]


def test_every_boundary_case_is_used():
    tables = sum("full" in case["output"] for case in BOUNDARY_CASES)
    refused = sum(case["output"].get("error", "").startswith("the ") for case in BOUNDARY_CASES)
    # the rest: an early-stopping warning and a lowest target that pass, and two slips of the package that are not
    # refusals (its extra-safe rule at target .6, and a table of a single participant)
    assert (tables, refused, len(BOUNDARY_CASES) - tables - refused) == (96, 4, 4)


@pytest.mark.parametrize(
    "case", [case for case in BOUNDARY_CASES if case["output"].get("error", "").startswith("the ")]
)
def test_what_get_boundary_refuses_is_refused(case):
    with pytest.raises(ValidationError):
        BoinParameters(**parameters_of(case["input"]))


@pytest.mark.parametrize(
    ("given", "planned"),
    [({"target": 0.05}, 30), ({"target": 0.6, "extra_safe": True}, 30), ({"target": 0.3}, 1), ({"target": 0.3}, 6)],
)
def test_what_get_boundary_trips_over_works(given, planned):
    assert len(boin(max_patients=planned, **given).table().n) == planned


PUBLISHED = {
    0.20: ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4], [1, 2, 3, 3, 4, 5, 6, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8, 8, 9, 10]),
    0.25: ([0, 1, 1, 2, 2, 3, 4, 4, 5, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9, 9], [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    0.30: ([0, 1, 2, 2, 3, 4, 4, 5, 6, 7], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [3, 4, 5, 7, 8, 9, 10, 11, 12, 14]),
    0.33: ([0, 1, 2, 3, 3, 4, 5, 6, 7, 7], [2, 3, 4, 5, 6, 8, 9, 10, 11, 12], [3, 4, 6, 7, 8, 10, 11, 12, 13, 15]),
}
LAMBDAS = {
    0.20: (0.1572423, 0.2384624),
    0.25: (0.1968009, 0.2983922),
    0.30: (0.2364907, 0.3585195),
    0.33: (0.2603767, 0.3947159),
}


@pytest.mark.parametrize("target", PUBLISHED)
def test_table_in_cohorts_of_three(target):
    design = boin(target=target)
    assert (round(design.lambda_e, 7), round(design.lambda_d, 7)) == LAMBDAS[target]
    table = design.table()
    columns = (table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least)
    assert tuple(list(column[2::3]) for column in columns) == PUBLISHED[target]


@pytest.mark.parametrize("case", cases("boin_select_mtd.json"))
def test_selection_is_that_of_select_mtd(case):
    given, expected = case["input"], case["output"]
    n, dlt = given["npts"], given["ntox"]
    design = boin(levels=len(n), max_patients=None, **parameters_of(given))
    tally = Tally.of(n=[n], dlt=[dlt], current=[0])
    selected = np.flatnonzero(design.select(tally)[0]) + 1
    assert selected.tolist() == ([] if expected["MTD"] == 99 else [expected["MTD"]])
    full = np.array(expected["phat_isotonic_full"], dtype=float)
    assert np.allclose(design.isotonic_estimates(tally)[0], full, rtol=0, atol=1e-10, equal_nan=True)


def counts_of(outcomes: str, levels: int) -> tuple[list[int], list[int], int]:
    """Counts and the open level from '1NNN 2NTT'."""
    n, dlt, current = [0] * levels, [0] * levels, 0
    for cohort in outcomes.split():
        current = int(cohort[0]) - 1
        n[current] += len(cohort) - 1
        dlt[current] += cohort.count("T")
    return n, dlt, current


def switches_of(given: dict[str, Any]) -> dict[str, Any]:
    """The switches of get_boin: the published design has neither."""
    off = {} if given.get("use_stopping_rule", True) else {"elimination_certainty": None}
    return off | {"stop_when_deescalation_impossible": given.get("stop_when_deescalation_impossible", False)}


@pytest.mark.parametrize(
    "case", cases("escalation_boin.json"), ids=lambda case: " ".join(map(str, case["input"].values()))
)
def test_decisions_are_those_of_get_boin(case):
    given, expected = case["input"], case["output"]
    n, dlt, current = counts_of(given["outcomes"], given["num_doses"])
    assert (n, dlt) == (expected["n_at_dose"], expected["tox_at_dose"])
    design = boin(given["num_doses"], target=given["target"], **switches_of(given))
    tally = Tally.of(n=[n], dlt=[dlt], current=[current])
    decisions = design.decide(tally)
    assert (not decisions.stops[0]) == expected["continue"]
    assert (None if decisions.stops[0] else decisions.regimen[0] + 1) == expected["recommended_dose"]
    assert (~design.eliminated(tally)[0]).tolist() == expected["dose_admissible"]


# Edges, one row each: counts, current level, options, then what must come out.
EDGES = [
    ("boin.at_or_below_lambda_e", [3, 0, 0], [0, 0, 0], 0, {}, Action.ESCALATE, 1),
    ("boin.between", [3, 3, 0], [0, 1, 0], 1, {}, Action.STAY, 1),
    ("boin.at_or_above_lambda_d", [3, 3, 0], [0, 2, 0], 1, {}, Action.DE_ESCALATE, 0),
    ("boin.eliminated", [3, 3, 0], [0, 3, 0], 1, {}, Action.DE_ESCALATE, 0),
    ("boin.at_top", [3, 3, 3], [0, 0, 0], 2, {}, Action.STAY, 2),
    ("boin.next_eliminated", [3, 3, 0], [0, 3, 0], 0, {}, Action.STAY, 0),
    ("boin.at_lowest", [3, 0, 0], [2, 0, 0], 0, {}, Action.STAY, 0),
    ("boin.nobody_yet", [0, 0, 0], [0, 0, 0], 0, {}, Action.STAY, 0),
    ("boin.nobody_yet", [3, 0, 0], [0, 0, 0], 1, {}, Action.STAY, 1),
    ("boin.lowest_eliminated", [3, 0, 0], [3, 0, 0], 0, {}, Action.STOP, 0),
    ("boin.lowest_eliminated", [6, 3, 0], [4, 0, 0], 1, {}, Action.STOP, 1),
    ("boin.at_lowest", [9, 0, 0], [4, 0, 0], 0, {}, Action.STAY, 0),
    ("boin.extra_safe", [12, 0, 0], [6, 0, 0], 0, {"extra_safe": True}, Action.STOP, 0),
    ("boin.lowest_eliminated", [9, 0, 0], [5, 0, 0], 0, {"extra_safe": True}, Action.STOP, 0),
    (
        "boin.deescalation_impossible",
        [3, 0, 0],
        [2, 0, 0],
        0,
        {"stop_when_deescalation_impossible": True},
        Action.STOP,
        0,
    ),
    ("boin.at_lowest", [3, 0, 0], [3, 0, 0], 0, {"elimination_certainty": None}, Action.STAY, 0),
    ("boin.at_or_above_lambda_d", [3, 3, 0], [0, 1, 0], 1, {"target": 0.25}, Action.DE_ESCALATE, 0),
    ("boin.between", [3, 3, 0], [0, 1, 0], 1, {"target": 0.25, "stay_on_1_of_3": True}, Action.STAY, 1),
    # after a departure: the level below is closed too, so the way leads to the highest open one
    ("boin.eliminated", [3, 6, 3], [0, 4, 0], 2, {}, Action.DE_ESCALATE, 0),
]


@pytest.mark.parametrize(("code", "n", "dlt", "current", "options", "action", "there"), EDGES)
def test_edge(code, n, dlt, current, options, action, there):
    design = boin(3, **options)
    decisions = design.decide(Tally.of(n=[n], dlt=[dlt], current=[current]))
    assert design.reasons[decisions.reason[0]].code == code
    assert (decisions.action[0], decisions.regimen[0]) == (action, there)
    assert decisions.size[0] == (0 if action == Action.STOP else 3)


def test_every_reason_is_reached_and_worded():
    assert {code for code, *_ in EDGES} == {reason.code for reason in Boin.reasons}
    assert all(reason.line.endswith(".") and len(reason.paragraph) > 100 for reason in Boin.reasons)
    stopping = [reason for reason in Boin.reasons if reason.stop]
    assert all(reason.stop == "lowest_too_toxic" and not reason.selects for reason in stopping)


def test_start_above_the_lowest_level_goes_down_to_it():
    design = boin(3, start=1)
    assert design.start == 1
    decisions = design.decide(Tally.of(n=[[0, 3, 0]], dlt=[[0, 3, 0]], current=[1]))
    assert (decisions.action[0], decisions.regimen[0]) == (Action.DE_ESCALATE, 0)


def test_elimination_comes_before_stay_on_1_of_3():
    # Pr(p > .05 | 1 of 3) = .986
    design = boin(3, target=0.05, stay_on_1_of_3=True)
    assert design.eliminated(Tally.of(n=[[3, 3, 0]], dlt=[[0, 1, 0]], current=[1]))[0].tolist() == [False, True, True]


def test_exactly_lambda_d_stays():
    # p_tox chosen so that lambda_d is .4: two of five equal it
    lower, upper = 0.42, 0.6
    for _ in range(60):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if boin(target=0.3, p_tox=middle).lambda_d < 0.4 else (lower, middle)
    design = boin(target=0.3, p_tox=upper)
    assert design.lambda_d == pytest.approx(0.4, abs=1e-13)
    assert design.table().de_escalate_if_at_least[4] == 3


def test_more_participants_than_planned_are_decided_by_the_same_rule():
    small, large = boin(max_patients=12), boin(max_patients=600)
    rows = Tally.of(
        n=np.full((501, 5), 500), dlt=np.repeat(np.arange(501)[:, None], 5, axis=1), current=np.full(501, 2)
    )
    assert np.array_equal(small.decide(rows).reason, large.decide(rows).reason)
    assert np.array_equal(small.select(rows), large.select(rows))


@pytest.mark.parametrize(
    ("options", "variant"),
    [
        ({}, "BOIN"),
        ({"stay_on_1_of_3": True}, "BOIN, stay on 1 of 3"),
        ({"extra_safe": True, "bound_mtd": True}, "BOIN, extra safe, bounded MTD"),
    ],
)
def test_variant_is_named(options, variant):
    assert boin(**options).label == variant


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": 0.3, "p_saf": 0.3},
        {"target": 0.3, "p_saf": 0.28},
        {"target": 0.3, "p_tox": 0.25},
        {"target": 0.3, "p_tox": 0.32},
        {"target": 0.04},
        {"extra_safe": True, "elimination_certainty": 0.6, "extra_safe_offset": 0.1},
        {"lambda_e": 0.2},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        BoinParameters(**wrong)


def test_one_tenth_from_the_target_is_far_enough():
    assert boin(target=0.3, p_saf=0.27, p_tox=0.33).lambda_e < 0.3


GRID = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7)))


def on_grid(axis: Any, start: int = 3) -> Boin:
    return Boin(BoinParameters(axis=axis), Setting(GRID, 3, start, 30))


def test_on_a_grid_an_axis_must_be_chosen():
    with pytest.raises(DesignError, match=r"protocol\.design\.axis"):
        on_grid(None)


def test_on_a_grid_only_the_ladder_is_treated_and_selected():
    doses, frequencies = on_grid("dose"), on_grid("frequency")
    tally = Tally.of(n=[[3, 0, 0, 3, 0, 0]], dlt=[[0] * 6], current=[3])
    assert doses.decide(tally).regimen[0] == 4
    assert doses.reasons[frequencies.decide(tally).reason[0]].code == "boin.at_top"
    assert np.flatnonzero(doses.select(tally)[0]).tolist() == [3]
    assert np.isnan(doses.isotonic_estimates(tally)[0, [0, 1, 2]]).all()


def test_elimination_goes_up_both_axes():
    # dose 2 at the lower frequency: everything at dose 2 or more is closed, at either frequency
    tally = Tally.of(n=[[0, 3, 0, 3, 0, 0]], dlt=[[0, 3, 0, 0, 0, 0]], current=[3])
    design = on_grid("dose")
    assert GRID.matrix(design.eliminated(tally)[0]) == [[False, True, True], [False, True, True]]
    assert design.reasons[design.decide(tally).reason[0]].code == "boin.next_eliminated"


def test_open_regimen_off_the_ladder_is_refused():
    with pytest.raises(OutcomeError, match="not on the ladder"):
        on_grid("dose").decide(Tally.of(n=[[3, 0, 0, 0, 0, 0]], dlt=[[0] * 6], current=[0]))


# --- against a second implementation, one state at a time -------------------------------------------------------------


def plain_decision(design: Boin, n: list[int], dlt: list[int], level: int) -> tuple[str, int]:
    """The rule from rates and probabilities, without tables: action and level."""
    parameters = design.parameters
    above = [beta.sf(parameters.target, y + 1, m - y + 1) if m >= 3 else 0.0 for m, y in zip(n, dlt, strict=True)]
    closed = [k for k, chance in enumerate(above) if chance > parameters.elimination_certainty]
    n_open = min(closed, default=len(n))
    if n_open == 0 or (
        parameters.extra_safe and above[0] > parameters.elimination_certainty - parameters.extra_safe_offset
    ):
        return "stop", level
    if level >= n_open:
        return "de_escalate", n_open - 1
    if n[level] == 0:
        return "stay", level
    rate = dlt[level] / n[level]
    if rate <= design.lambda_e:
        return ("escalate", level + 1) if level + 1 < n_open else ("stay", level)
    if rate >= design.lambda_d and level > 0 and not (parameters.stay_on_1_of_3 and (n[level], dlt[level]) == (3, 1)):
        return "de_escalate", level - 1
    return "stay", level


def plain_selection(design: Boin, n: list[int], dlt: list[int]) -> list[int]:
    parameters = design.parameters
    above = [beta.sf(parameters.target, y + 1, m - y + 1) if m >= 3 else 0.0 for m, y in zip(n, dlt, strict=True)]
    n_open = min((k for k, chance in enumerate(above) if chance > parameters.elimination_certainty), default=len(n))
    if parameters.extra_safe and above[0] > parameters.elimination_certainty - parameters.extra_safe_offset:
        n_open = 0
    tried = [k for k in range(n_open) if n[k] > 0]
    if not tried:
        return []
    y, m = np.array(dlt)[tried] + 0.05, np.array(n)[tried] + 0.1
    fit = isotonic_regression(y / m, weights=m**2 * (m + 1) / (y * (m - y))).x + 1e-10 * np.arange(1, len(tried) + 1)
    distance = np.abs(fit - parameters.target)
    if parameters.bound_mtd:
        distance[fit > design.lambda_d] = np.inf
    return [tried[int(np.argmin(distance))]] if np.isfinite(distance).any() else []


@st.composite
def batches(draw: st.DrawFn, levels: int = 5, rows: int = 12) -> Tally:
    size = draw(st.integers(1, rows))
    n = np.array(
        draw(st.lists(st.lists(st.integers(0, 24), min_size=levels, max_size=levels), min_size=size, max_size=size))
    )
    share = np.array(
        draw(st.lists(st.lists(st.floats(0, 1), min_size=levels, max_size=levels), min_size=size, max_size=size))
    )
    current = draw(st.lists(st.integers(0, levels - 1), min_size=size, max_size=size))
    return Tally.of(n=n, dlt=np.rint(n * share).astype(int), current=current)


options = st.fixed_dictionaries(
    {
        "target": st.sampled_from([0.1, 0.2, 0.25, 0.3, 1 / 3, 0.4]),
        "elimination_certainty": st.sampled_from([0.8, 0.9, 0.95, 0.99]),
        "stay_on_1_of_3": st.booleans(),
        "extra_safe": st.booleans(),
        "bound_mtd": st.booleans(),
    }
)


@settings(deadline=None)
@given(options=options, tally=batches())
def test_agrees_with_the_plain_rule(options, tally):
    design = boin(**options)
    decisions, selected = design.decide(tally), design.select(tally)
    for row in range(tally.rows):
        n, dlt = tally.n[row].tolist(), tally.dlt[row].tolist()
        action, level = plain_decision(design, n, dlt, int(tally.current[row]))
        assert (Action(decisions.action[row]).word, decisions.regimen[row]) == (action, level)
        assert np.flatnonzero(selected[row]).tolist() == plain_selection(design, n, dlt)


@settings(deadline=None)
@given(options=options, tally=batches(), data=st.data())
def test_rows_are_decided_independently(options, tally, data):
    design = boin(**options)
    order = np.array(data.draw(st.permutations(range(tally.rows))))
    whole, permuted = design.decide(tally).take(order), design.decide(tally.take(order))
    for field in ("action", "regimen", "size", "reason"):
        assert np.array_equal(getattr(whole, field), getattr(permuted, field))
    assert np.array_equal(design.select(tally)[order], design.select(tally.take(order)))
    assert np.array_equal(design.eliminated(tally)[order], design.eliminated(tally.take(order)))


@settings(deadline=None)
@given(options=options, tally=batches())
def test_promises_hold_for_any_counts(options, tally):
    design = boin(**options)
    decisions = design.decide(tally)
    for promise in design.properties():
        assert not promise.breaks(tally, decisions).any(), promise.name


def test_promises_notice_a_broken_rule():
    design = boin(3)
    tally = Tally.of(n=[[3, 3, 0], [3, 0, 0], [3, 0, 0]], dlt=[[0, 3, 0], [2, 0, 0], [0, 0, 0]], current=[1, 0, 0])
    wrong = Decisions(
        action=np.array([Action.STAY, Action.ESCALATE, Action.ESCALATE], np.int32),
        regimen=np.array([1, 1, 2], np.int32),
        size=np.full(3, 3, np.int32),
        reason=np.zeros(3, np.int32),
    )
    broken = [promise.breaks(tally, wrong).tolist() for promise in design.properties()]
    assert broken == [[True, False, False], [False, True, False], [False, False, True]]


@settings(deadline=None)
@given(
    target=st.floats(0.05, 0.6), p_saf=st.floats(0.3, 0.85), p_tox=st.floats(1.15, 1.6), certainty=st.floats(0.8, 0.99)
)
def test_boundaries_grow_with_n(target, p_saf, p_tox, certainty):
    given = BoinParameters(
        target=target, p_saf=p_saf * target, p_tox=p_tox * target, elimination_certainty=certainty, extra_safe=True
    )
    bound = Boin.tabulate(given, 60)
    n = np.arange(1, 61)
    for boundary in (bound.escalate[1:], bound.de_escalate[1:], bound.eliminate[3:], bound.stop[3:]):
        known = boundary[boundary != NEVER].astype(int)
        assert set(np.diff(known).tolist()) <= {0, 1}
    assert (bound.escalate < bound.de_escalate).all()
    assert (bound.de_escalate[1:] <= n).all()
    assert (bound.de_escalate <= bound.eliminate).all()
    assert (bound.stop <= bound.eliminate).all()


@settings(deadline=None)
@given(
    rows=st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0, 3.0, 250.0])), min_size=5, max_size=5),
        min_size=1,
        max_size=8,
    )
)
def test_isotonic_is_pooled_adjacent_violators_row_by_row(rows):
    table = np.array(rows)
    values, weights = table[..., 0], table[..., 1]
    fit = isotonic(values, weights)
    for value, weight, row in zip(values, weights, fit, strict=True):
        tried = weight > 0
        assert np.isnan(row[~tried]).all()
        if tried.any():
            assert np.allclose(row[tried], isotonic_regression(value[tried], weights=weight[tried]).x, atol=1e-12)
