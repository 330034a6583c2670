"""The interval designs against golden tables and selections, and against their rules written out state by state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import quad
from scipy.optimize import isotonic_regression
from scipy.stats import beta

from designs.boundaries import boundaries_of, largest
from designs.ccd import Ccd
from designs.i3plus3 import I3Plus3
from designs.interval import IntervalDesign
from designs.keyboard import Keyboard
from designs.mtpi import Mtpi
from designs.mtpi2 import Mtpi2
from designs.posterior import tiles
from designs.tpi import Tpi
from escalation.decision import Action
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.numerics import NEVER
from escalation.regimens import RegimenGrid
from escalation.tally import Tally

GOLDEN = Path(__file__).parents[1] / "golden"
DESIGNS = {cls.name: cls for cls in (Keyboard, Tpi, Mtpi, Mtpi2, I3Plus3, Ccd)}


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())["cases"]
    return found


def design_of(cls: Any, levels: int = 5, max_patients: int | None = 30, **parameters: Any) -> Any:
    grid = RegimenGrid(doses=tuple(range(1, levels + 1)), schedules=((0,),))
    return cls(cls.Parameters(**parameters), Setting(grid, 3, 0, max_patients))


def counts_of(outcomes: str, levels: int) -> tuple[list[int], list[int], int]:
    """Counts and the open level from '1NNN 2NTT'."""
    n, dlt, current = [0] * levels, [0] * levels, 0
    for cohort in outcomes.split():
        current = int(cohort[0]) - 1
        n[current] += len(cohort) - 1
        dlt[current] += cohort.count("T")
    return n, dlt, current


def never_as_none(boundary: np.ndarray) -> list[int | None]:
    return [None if count == NEVER else count for count in boundary.tolist()]


# --- tables -----------------------------------------------------------------------------------------------------------

R_NAMES = {"get_tpi": Tpi, "get_mtpi": Mtpi, "get_mtpi2": Mtpi2}
OPTIONS = ("target", "k1", "k2", "epsilon1", "epsilon2")


def ours(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of R package escalation as they are called here."""
    named = {key: given[key] for key in OPTIONS if key in given}
    return {**named, "elimination_certainty": given["exclusion_certainty"]}


@pytest.mark.parametrize("case", cases("mtpi_tables"), ids=lambda case: f"{case['input']['design']} {case['input']}")
def test_every_cell_of_the_tables_of_package_escalation(case):
    given, columns = case["input"], case["output"]["decisions"]
    cls = R_NAMES[given["design"]]
    parameters = cls.Parameters(**ours(given), elimination_minimum=2)
    escalate, de_escalate = cls.limits(parameters, given["n_max"])
    eliminate, _ = cls.eliminations(parameters, given["n_max"])
    assert len(columns) == given["n_max"]
    for n, column in enumerate(columns, 1):
        assert len(column) == n + 1
        for dlt, cell in enumerate(column):
            move = "E" if dlt <= escalate[n] else "D" if dlt >= de_escalate[n] else "S"
            assert move + "U" * bool(dlt >= eliminate[n]) == cell, (n, dlt)


def test_an_excluded_level_is_left_although_mtpi_says_stay():
    """Package escalation stays there: the two cells of its tables that are 'SU'."""
    stay_and_excluded = [
        (case["input"]["target"], n, dlt)
        for case in cases("mtpi_tables")
        for n, column in enumerate(case["output"]["decisions"], 1)
        for dlt, cell in enumerate(column)
        if cell == "SU"
    ]
    assert stay_and_excluded == [(0.2, 20, 7), (0.2, 24, 8)]
    for target, n, dlt in stay_and_excluded:
        design = design_of(Mtpi, 3, target=target)
        decision = design.decide(Tally.of(n=[[3, n, 0]], dlt=[[0, dlt, 0]], current=[1]))
        assert (design.reasons[decision.reason[0]].code, decision.regimen[0]) == ("mtpi.eliminated", 0)


@pytest.mark.parametrize("case", cases("keyboard_boundary"), ids=lambda case: str(case["input"]))
def test_every_entry_of_the_tables_of_package_keyboard(case):
    given, full = case["input"], case["output"]["full"]
    spelling = {"target": "target", "marginL": "margin_below", "marginR": "margin_above"}
    spelling |= {"cutoff.eli": "elimination_certainty", "extrasafe": "extra_safe", "offset": "extra_safe_offset"}
    options = {spelling[key]: value for key, value in given.items() if key in spelling}
    planned = given["ncohort"] * given["cohortsize"]
    bound = design_of(Keyboard, max_patients=planned, elimination_minimum=1, **options).boundaries
    assert full["n"] == list(range(1, planned + 1))
    assert bound.escalate[1:].tolist() == full["escalate_le"]
    assert never_as_none(bound.de_escalate[1:]) == full["deescalate_ge"]
    assert never_as_none(bound.eliminate[1:]) == full["eliminate_ge"]
    if "stop" in case["output"]:
        # the package's extra-safe rule has its own least number, three
        assert never_as_none(bound.stop[3:]) == case["output"]["stop"]["stop_ge"][2:]


def test_keyboard_and_mtpi2_differ_in_ties_only():
    for target in np.arange(0.1, 0.61, 0.05):
        for margin in (0.03, 0.05, 0.08):
            key = {"target": float(target), "elimination_minimum": 3}
            keyboard = design_of(Keyboard, margin_below=margin, margin_above=margin, **key).boundaries
            mtpi2 = design_of(Mtpi2, epsilon1=margin, epsilon2=margin, ties="most_toxic", **key).boundaries
            assert all(np.array_equal(a, b) for a, b in zip(keyboard, mtpi2, strict=True))
    # three DLTs among six at target .45: the keys (.40, .50) and (.50, .60) mirror each other about .50
    assert design_of(Keyboard, target=0.45).boundaries.de_escalate[6] == 3
    assert design_of(Mtpi2, target=0.45).boundaries.de_escalate[6] == 4


# --- decisions and selections -----------------------------------------------------------------------------------------

DECISIONS = [
    pytest.param(cls, case, id=f"{cls.name} {case['input']['target']} {case['input']['outcomes']}")
    for cls in (Tpi, Mtpi, Mtpi2)
    for case in cases(f"escalation_{cls.name}")
]


@pytest.mark.parametrize(("cls", "case"), DECISIONS)
def test_decisions_are_those_of_package_escalation(cls, case):
    given, expected = case["input"], case["output"]
    n, dlt, current = counts_of(given["outcomes"], given["num_doses"])
    assert (n, dlt) == (expected["n_at_dose"], expected["tox_at_dose"])
    design = design_of(cls, given["num_doses"], **ours(given))
    tally = Tally.of(n=[n], dlt=[dlt], current=[current])
    decisions = design.decide(tally)
    assert (not decisions.stops[0]) == expected["continue"]
    assert (None if decisions.stops[0] else decisions.regimen[0] + 1) == expected["recommended_dose"]
    if (
        given["outcomes"] != "1T"
    ):  # one participant does not make a level inadmissible there, although it ends the trial
        assert (~design.eliminated(tally)[0]).tolist() == expected["dose_admissible"]


SELECTIONS = [
    case
    for case in cases("escalation_mtd_selectors")
    if not case["output"]["continue"] and case["input"]["design"].startswith(("get_mtpi", "get_tpi"))
]


@pytest.mark.parametrize(
    "case", SELECTIONS, ids=lambda case: f"{case['input']['design'][:9]} {case['input']['outcomes']}"
)
def test_selections_and_estimates_are_those_of_package_escalation(case):
    given, expected = case["input"], case["output"]
    cls = R_NAMES[given["design"].split("(")[0]]
    n, dlt, _ = counts_of(given["outcomes"], 5)
    tally = Tally.of(n=[n], dlt=[dlt], current=[0])
    for untried in (False, True):
        design = design_of(cls, target=0.3, untried_levels=untried)
        selected = (np.flatnonzero(design.select(tally)[0]) + 1).tolist()
        assert selected == ([] if expected["recommended_dose"] is None else [expected["recommended_dose"]])
    tried = np.array(n) > 0
    estimates = np.array(expected["mean_prob_tox"], dtype=float)
    assert np.allclose(design.isotonic_estimates(tally)[0, tried], estimates[tried], rtol=0, atol=1e-12)


def test_the_selections_are_many():
    assert len(SELECTIONS) == 42


def test_the_prior_of_the_selection_is_a_switch():
    """2 of 6 and 3 of 6, target .42: .375 and .5 under a uniform prior, .334 and .5 under Beta(.005, .005)."""
    tally = Tally.of(n=[[6, 6, 0]], dlt=[[2, 3, 0]], current=[1])
    selected = [
        np.flatnonzero(design_of(Mtpi, 3, target=0.42, selection_prior=a).select(tally)[0]).tolist()
        for a in (1.0, 0.005)
    ]
    assert selected == [[0], [1]]
    assert design_of(Mtpi, selection_prior=0.005).label == "mTPI, selection under Beta(0.005, 0.005)"


@pytest.mark.parametrize("case", cases("keyboard_select_mtd"))
def test_selection_is_that_of_select_mtd_kb(case):
    given, expected = case["input"], case["output"]["MTD"]
    design = design_of(Keyboard, len(given["npts"]), target=given["target"], extra_safe=given.get("extrasafe", False))
    selected = np.flatnonzero(design.select(Tally.of(n=[given["npts"]], dlt=[given["ntox"]], current=[0]))[0]) + 1
    assert selected.tolist() == ([] if expected == 99 else [expected])


# --- each rule written out from its paper -----------------------------------------------------------------------------


def mass(low: float, high: float, n: int, dlt: int, a: float = 1.0) -> float:
    """Posterior probability of an interval, by integrating the density."""
    density = beta(a + dlt, a + n - dlt).pdf
    if a < 1:  # the density has poles at the ends; the distribution function does not
        return float(beta(a + dlt, a + n - dlt).cdf(high) - beta(a + dlt, a + n - dlt).cdf(low))
    return float(quad(density, low, high, epsabs=1e-13)[0])


def plain_keyboard(p: Any, n: int, dlt: int) -> str:
    lower, upper = p.target - p.margin_below, p.target + p.margin_above
    width, keys = upper - lower, [(lower, upper)]
    while keys[0][0] > 1e-9:
        keys.insert(0, (max(keys[0][0] - width, 0.0), keys[0][0]))
    while keys[-1][1] < 1 - 1e-9:
        keys.append((keys[-1][1], min(keys[-1][1] + width, 1.0)))
    strength = [round(mass(*key, n, dlt) / (key[1] - key[0]), 9) for key in keys if key[1] - key[0] > 1e-9]
    strongest = len(strength) - 1 - strength[::-1].index(max(strength))
    target = [key for key in keys if key[1] - key[0] > 1e-9].index((lower, upper))
    return "S" if strongest == target else "E" if strongest < target else "D"


def plain_mtpi(p: Any, n: int, dlt: int) -> str:
    lower, upper = p.target - p.epsilon1, p.target + p.epsilon2
    parts = [(0.0, lower), (lower, upper), (upper, 1.0)]
    unit = [mass(*part, n, dlt) / (part[1] - part[0]) for part in parts]
    return "ESD"[int(np.argmax(unit))]


def plain_tpi(p: Any, n: int, dlt: int) -> str:
    s = beta(0.005 + dlt, 0.005 + n - dlt).std()
    lower, upper = max(p.target - p.k2 * s, 0), min(p.target + p.k1 * s, 1)
    return "ESD"[int(np.argmax([mass(a, b, n, dlt, 0.005) for a, b in ((0, lower), (lower, upper), (upper, 1))]))]


def plain_i3plus3(p: Any, n: int, dlt: int) -> str:
    lower, upper = p.target - p.epsilon1, p.target + p.epsilon2
    if dlt / n < lower - 1e-9:
        return "E"
    if dlt / n <= upper + 1e-9:
        return "S"
    return "S" if (dlt - 1) / n < lower - 1e-9 else "D"


def plain_ccd(p: Any, n: int, dlt: int) -> str:
    if dlt / n <= p.target - p.half_width + 1e-9:
        return "E"
    if p.upper_edge == "stay":
        return "D" if dlt / n > p.target + p.half_width + 1e-9 else "S"
    return "D" if dlt / n >= p.target + p.half_width - 1e-9 else "S"


PLAIN = {
    "keyboard": (plain_keyboard, [{}, {"target": 0.2, "margin_above": 0.08}, {"target": 0.33, "margin_below": 0.03}]),
    "mtpi": (plain_mtpi, [{}, {"target": 0.25, "epsilon1": 0.1}]),
    "tpi": (plain_tpi, [{}, {"target": 0.2, "k1": 0.7, "k2": 1.2}]),
    "i3plus3": (plain_i3plus3, [{}, {"target": 0.25}, {"target": 0.2, "epsilon1": 0.02}, {"target": 1 / 3}]),
    "ccd": (plain_ccd, [{}, {"target": 0.2}, {"target": 0.4}, {"target": 0.5}, {"upper_edge": "stay"}]),
}


@pytest.mark.parametrize(("name", "options"), [(name, each) for name, (_, all_) in PLAIN.items() for each in all_])
def test_the_table_is_the_rule_of_the_paper(name, options):
    plain, cls = PLAIN[name][0], DESIGNS[name]
    parameters = cls.Parameters(**options)
    escalate, de_escalate = cls.limits(parameters, 18)
    for n in range(1, 19):
        for dlt in range(n + 1):
            found = "E" if dlt <= escalate[n] else "D" if dlt >= de_escalate[n] else "S"
            assert found == plain(parameters, n, dlt), (n, dlt)


CCD_DELTAS = {0.10: 0.09, 0.25: 0.09, 0.29: 0.09, 0.30: 0.10, 0.35: 0.10, 0.40: 0.12, 0.45: 0.13, 0.50: 0.13}


@pytest.mark.parametrize("target", CCD_DELTAS)
def test_delta_of_the_cumulative_cohort_design(target):
    assert Ccd.Parameters(target=target).half_width == CCD_DELTAS[target]
    assert Ccd.Parameters(target=target, delta=0.05).half_width == 0.05


def test_ccd_never_eliminates_unless_asked():
    tally = Tally.of(n=[[9, 0, 0]], dlt=[[9, 0, 0]], current=[0])
    published, with_rule = design_of(Ccd, 3), design_of(Ccd, 3, elimination_certainty=0.95)
    assert published.reasons[published.decide(tally).reason[0]].code == "ccd.at_lowest"
    assert with_rule.reasons[with_rule.decide(tally).reason[0]].code == "ccd.lowest_eliminated"
    assert set(published.table().eliminate_if_at_least) == {None}


# --- what holds for all of them ---------------------------------------------------------------------------------------

FAMILY: dict[str, type[IntervalDesign[Any]]] = dict(DESIGNS)

options = st.fixed_dictionaries(
    {
        "target": st.sampled_from([0.15, 0.2, 0.25, 0.3, 1 / 3, 0.4]),
        "elimination_certainty": st.sampled_from([None, 0.8, 0.95, 0.99]),
        "elimination_minimum": st.sampled_from([1, 3, 6]),
        "stop_when_deescalation_impossible": st.booleans(),
    }
)


@st.composite
def batches(draw: st.DrawFn, levels: int = 5, rows: int = 10) -> Tally:
    size = draw(st.integers(1, rows))
    n = np.array(
        draw(st.lists(st.lists(st.integers(0, 24), min_size=levels, max_size=levels), min_size=size, max_size=size))
    )
    share = np.array(
        draw(st.lists(st.lists(st.floats(0, 1), min_size=levels, max_size=levels), min_size=size, max_size=size))
    )
    current = draw(st.lists(st.integers(0, levels - 1), min_size=size, max_size=size))
    return Tally.of(n=n, dlt=np.rint(n * share).astype(int), current=current)


def plain_decision(design: Any, n: list[int], dlt: list[int], level: int) -> tuple[str, int]:
    """The engine's rule one state at a time, the table's letter given: action and level."""
    p = design.parameters
    a = design.elimination_prior[0]
    above = [
        beta.sf(p.target, a + y, a + m - y) if m >= p.elimination_minimum and y else 0.0
        for m, y in zip(n, dlt, strict=True)
    ]
    closed = [] if p.elimination_certainty is None else [k for k, x in enumerate(above) if x > p.elimination_certainty]
    n_open = min(closed, default=len(n))
    if n_open == 0:
        return "stop", level
    if level >= n_open:
        return "de_escalate", n_open - 1
    if n[level] == 0:
        return "stay", level
    escalate, de_escalate = type(design).limits(p, 30)
    if dlt[level] <= escalate[n[level]]:
        return ("escalate", level + 1) if level + 1 < n_open else ("stay", level)
    if dlt[level] >= de_escalate[n[level]]:
        if level:
            return "de_escalate", level - 1
        return ("stop" if p.stop_when_deescalation_impossible else "stay"), level
    return "stay", level


def plain_selection(design: Any, n: list[int], dlt: list[int]) -> list[int]:
    p, (a, _) = design.parameters, design.selection.prior
    eliminated = design.eliminated(Tally.of(n=[n], dlt=[dlt], current=[0]))[0]
    tried = [k for k in range(len(n)) if n[k] > 0 and not eliminated[k]]
    if not tried:
        return []
    y, m = np.array(dlt)[tried] + a, np.array(n)[tried] + 2 * a
    fit = isotonic_regression(y / m, weights=m**2 * (m + 1) / (y * (m - y))).x + 1e-10 * np.arange(1, len(tried) + 1)
    return [tried[int(np.argmin(np.abs(fit - p.target)))]]


@pytest.mark.parametrize("name", FAMILY)
@settings(deadline=None, max_examples=60)
@given(options=options, tally=batches())
def test_agrees_with_the_plain_rule(name, options, tally):
    design = design_of(FAMILY[name], **options)
    decisions, selected = design.decide(tally), design.select(tally)
    for row in range(tally.rows):
        n, dlt = tally.n[row].tolist(), tally.dlt[row].tolist()
        action, level = plain_decision(design, n, dlt, int(tally.current[row]))
        assert (Action(decisions.action[row]).word, decisions.regimen[row]) == (action, level)
        assert np.flatnonzero(selected[row]).tolist() == plain_selection(design, n, dlt)


@pytest.mark.parametrize("name", FAMILY)
@settings(deadline=None, max_examples=40)
@given(options=options, tally=batches())
def test_promises_hold_for_any_counts(name, options, tally):
    design = design_of(FAMILY[name], **options)
    decisions = design.decide(tally)
    for promise in design.properties():
        assert not promise.breaks(tally, decisions).any(), promise.name


@pytest.mark.parametrize("name", FAMILY)
@settings(deadline=None, max_examples=40)
@given(target=st.floats(0.15, 0.45), certainty=st.floats(0.8, 0.99))
def test_tables_are_ordered(name, target, certainty):
    """More DLTs, one more participant with a DLT, or as many DLTs among fewer: never a milder decision."""
    cls = FAMILY[name]
    parameters = cls.Parameters(target=target, elimination_certainty=certainty)
    for boundary in (*cls.limits(parameters, 40), *cls.eliminations(parameters, 40)):
        known = boundary[1:][boundary[1:] != NEVER].astype(int)
        assert set(np.diff(known[parameters.elimination_minimum :]).tolist()) <= {0, 1}
    bound = cls.tabulate(parameters, 40)
    assert (bound.escalate[1:] < bound.de_escalate[1:]).all()
    assert (bound.de_escalate <= bound.eliminate).all()


EDGES = {
    "at_top": ([3, 3, 3], [0, 0, 0], 2, {}),
    "next_eliminated": ([3, 6, 0], [0, 6, 0], 0, {}),
    "at_lowest": ([3, 0, 0], [2, 0, 0], 0, {}),
    "nobody_yet": ([0, 0, 0], [0, 0, 0], 0, {}),
    "eliminated": ([3, 6, 0], [0, 6, 0], 1, {}),
    "lowest_eliminated": ([6, 0, 0], [6, 0, 0], 0, {}),
    "deescalation_impossible": ([3, 0, 0], [2, 0, 0], 0, {"stop_when_deescalation_impossible": True}),
    # 14 of 30: Pr(p > .30) is .97 under either prior
    "extra_safe": (
        [30, 0, 0],
        [14, 0, 0],
        0,
        {"extra_safe": True, "elimination_certainty": 0.99, "elimination_minimum": 3},
    ),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", FAMILY)
def test_edge(name, edge):
    n, dlt, current, options = EDGES[edge]
    options = {"elimination_certainty": 0.95} | options
    design = design_of(FAMILY[name], 3, **options)
    decisions = design.decide(Tally.of(n=[n], dlt=[dlt], current=[current]))
    assert design.reasons[decisions.reason[0]].code == f"{name}.{edge}"
    assert decisions.stops[0] == (edge in {"lowest_eliminated", "deescalation_impossible", "extra_safe"})


@pytest.mark.parametrize("name", FAMILY)
def test_every_reason_is_worded_and_reached(name):
    design = design_of(FAMILY[name], 3)
    counts = [(n, dlt) for n in range(1, 31) for dlt in range(n + 1)]
    tally = Tally.of(n=[[3, n, 0] for n, _ in counts], dlt=[[0, y, 0] for _, y in counts], current=[1] * len(counts))
    reached = {design.reasons[reason].code for reason in design.decide(tally).reason}
    assert reached | {f"{name}.{edge}" for edge in EDGES} == {reason.code for reason in design.reasons}
    assert all(reason.line.endswith(".") and len(reason.paragraph) > 100 for reason in design.reasons)


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("keyboard", {"margin_below": 0.3}, "margin_below 0.3 takes the target key"),
        ("keyboard", {"margin_above": 0.7}, "margin_above 0.7 takes the target key"),
        ("keyboard", {"margin_below": 0.001, "margin_above": 0.001}, "narrower than .005"),
        ("mtpi", {"target": 0.05}, "epsilon1 0.05 takes the proper interval"),
        ("mtpi2", {"target": 0.96}, "epsilon2 0.05 takes the proper interval"),
        ("mtpi2", {"epsilon1": 0.001, "epsilon2": 0.001}, "narrower than .005"),
        ("i3plus3", {"target": 0.05}, "no rate below it"),
        ("i3plus3", {"target": 0.95}, "no rate above it"),
        ("ccd", {"target": 0.08}, "delta 0.09 takes the interval"),
        ("tpi", {"k1": 0}, "greater than 0"),
        ("mtpi", {"extra_safe": True, "elimination_certainty": None}, "give it a value"),
        ("keyboard", {"extra_safe": True, "elimination_certainty": 0.6, "extra_safe_offset": 0.2}, "lower it"),
        ("ccd", {"extra_safe": True}, "elimination_certainty, which is null"),
        ("keyboard", {"ties": "first"}, "most_toxic"),
    ],
)
def test_wrong_parameters_are_refused(name, wrong, says):
    with pytest.raises(ValidationError, match=says):
        FAMILY[name].Parameters(**wrong)


@pytest.mark.parametrize(
    ("name", "options", "label"),
    [
        ("mtpi", {}, "mTPI"),
        ("ccd", {}, "CCD"),
        ("mtpi", {"elimination_certainty": None}, "mTPI, no elimination"),
        ("keyboard", {"elimination_minimum": 1}, "Keyboard, elimination from 1 evaluable"),
        ("i3plus3", {"stop_when_deescalation_impossible": True}, "i3+3, stops below the lowest level"),
    ],
)
def test_variant_is_named(name, options, label):
    assert design_of(FAMILY[name], **options).label == label


def test_a_table_that_no_boundary_describes_is_refused():
    moves = np.zeros((4, 4), dtype=np.int8)
    moves[3] = [0, 2, 1, 2]
    with pytest.raises(DesignError, match="2 DLTs among 3 give a milder decision than 1"):
        boundaries_of(moves)


def test_ties_up_to_rounding():
    scores = np.array([0.1 + 0.2, 0.3, 0.25])
    assert (largest(scores, ties="mildest"), largest(scores, ties="most_toxic")) == (0, 1)


@given(target=st.floats(0.05, 0.9), below=st.floats(0.01, 0.3), above=st.floats(0.01, 0.3))
def test_tiles_cover_everything_once(target, below, above):
    lower, upper = max(target - below, 0.005), min(target + above, 0.995)
    edges, middle = tiles(lower, upper)
    length = np.diff(edges)
    assert (edges[0], edges[-1]) == (0, 1)
    assert (edges[middle], edges[middle + 1]) == pytest.approx((lower, upper))
    assert (length > 0).all()
    assert (length <= upper - lower + 1e-9).all()
    assert np.allclose(length[1:-1], upper - lower)
