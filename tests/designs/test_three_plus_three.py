"""3+3 and A+B against closed forms, plain recursion, printed tables and the R packages."""

from __future__ import annotations

import json
from collections import defaultdict
from math import comb, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalation.advice import Advisor
from escalation.branching import Front, branch, decide, onward
from escalation.decision import Action
from escalation.errors import OutcomeError, StudyError
from escalation.exact import compile_graph
from escalation.outcomes import replay
from escalation.tally import Tally

GOLDEN = Path(__file__).parents[1] / "golden"
CURVES = {
    "mtd-3": (0.05, 0.15, 0.30, 0.45, 0.60),
    "even": (0.1, 0.2, 0.3, 0.4, 0.5),
    "mtd-1": (0.30, 0.45, 0.55, 0.65, 0.75),
    "mtd-5": (0.02, 0.04, 0.08, 0.15, 0.30),
}
HALF = 0.5001
"""Half a unit in the last printed place, and a hair."""


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return found


def b(k: int, n: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)


# two independent routes to the law of a ladder -------------------------------------------------


def lin_shih(p, rule, *, deescalate):
    """Selection by the A+B formulas of Lin & Shih (2001): P(none), P(level 1), ..."""
    A, B, C, D, E = rule
    one = range(C, D + 1)
    p0 = [sum(b(k, A, q) for k in range(C)) for q in p]
    q0 = [sum(b(k, A, q) * b(m, B, q) for k in one for m in range(min(E - k, B) + 1)) for q in p]
    q1 = [sum(b(k, A, q) * b(m, B, q) for k in range(C) for m in range(min(E - k, B) + 1)) for q in p]
    q2 = [sum(b(k, A, q) * b(m, B, q) for k in range(C) for m in range(max(0, E + 1 - k), B + 1)) for q in p]
    up = [x + y for x, y in zip(p0, q0, strict=True)]
    n = len(p)
    if not deescalate:
        return [1 - up[0], *((1 - up[i + 1]) * prod(up[: i + 1]) for i in range(n - 1)), prod(up)]
    none = sum(prod(q2[:k]) * (1 - up[k]) for k in range(n))
    middle = [
        sum(prod(up[:i]) * (q0[i] + q1[i]) * prod(q2[i + 1 : k]) * (1 - up[k]) for k in range(i + 1, n))
        for i in range(n - 1)
    ]
    return [none, *middle, prod(up)]


def lin_shih_patients(p, rule):
    """E[N_j] without de-escalation from the conditional expectations of Lin & Shih (2001)."""
    A, B, C, D, E = rule
    chosen = lin_shih(p, rule, deescalate=False)
    p0 = [sum(b(k, A, q) for k in range(C)) for q in p]
    p1 = [sum(b(k, A, q) for k in range(C, D + 1)) for q in p]
    q0 = [sum(b(k, A, q) * b(m, B, q) for k in range(C, D + 1) for m in range(min(E - k, B) + 1)) for q in p]
    expected = []
    for j in range(len(p)):
        passed = (A * p0[j] + (A + B) * q0[j]) / (p0[j] + q0[j])
        failed = (A * (1 - p0[j] - p1[j]) + (A + B) * (p1[j] - q0[j])) / (1 - p0[j] - q0[j])
        expected.append(sum(chosen[j + 1 :]) * passed + chosen[j] * failed)
    return expected


def walked(p, rule=(3, 3, 1, 1, 1), *, deescalate=False, six_at_top=False, start=0):
    """Law of (n, dlt, declared level) by plain recursion over cohorts, written from the text of the variants."""
    A, B, C, D, E = rule
    law: dict[tuple[Any, ...], float] = defaultdict(float)
    top = len(p) - 1

    def treat(k, size, n, y, chance, then):
        for t in range(size + 1):
            more_n, more_y = list(n), list(y)
            more_n[k] += size
            more_y[k] += t
            then(k, tuple(more_n), tuple(more_y), chance * b(t, size, p[k]))

    def end(level, n, y, chance):
        law[n, y, level] += chance

    def first(k, n, y, chance):
        treat(k, A, n, y, chance, after_first)

    def after_first(k, n, y, chance):
        if y[k] < C:
            passed(k, n, y, chance)
        elif y[k] <= D:
            treat(k, B, n, y, chance, lambda k, n, y, q: (passed if y[k] <= E else failed)(k, n, y, q))
        else:
            failed(k, n, y, chance)

    def passed(k, n, y, chance):
        if k < top:
            first(k + 1, n, y, chance)
        elif six_at_top and n[k] == A:
            treat(k, B, n, y, chance, lambda k, n, y, q: passed(k, n, y, q) if y[k] <= E else failed(k, n, y, q))
        else:
            end(k, n, y, chance)

    def failed(k, n, y, chance):
        if k == 0:
            end(None, n, y, chance)
        elif deescalate:
            back(k - 1, n, y, chance)
        else:
            end(k - 1 if n[k - 1] else None, n, y, chance)

    def back(k, n, y, chance):
        """The level above has failed: this one is declared with A + B participants and at most E DLTs."""
        if n[k] == A + B:
            end(k, n, y, chance)
        elif n[k] == A:
            treat(k, B, n, y, chance, lambda k, n, y, q: end(k, n, y, q) if y[k] <= E else failed(k, n, y, q))
        else:

            def judged(k, n, y, q):
                failed(k, n, y, q) if y[k] > D else back(k, n, y, q)

            treat(k, A, n, y, chance, judged)

    zero = (0,) * len(p)
    first(start, zero, zero, 1.0)
    return dict(law)


def law_of(graph, p) -> dict[tuple[Any, ...], float]:
    """The exact engine's law in the same form."""
    law: dict[tuple[Any, ...], float] = defaultdict(float)
    chances = graph.probabilities(np.asarray(p, dtype=float).reshape(-1))[0]
    for n, y, chosen, chance in zip(graph.n, graph.dlt, graph.selected, chances, strict=True):
        level = np.flatnonzero(chosen).tolist()
        law[tuple(n.tolist()), tuple(y.tolist()), level[0] if level else None] += float(chance)
    return dict(law)


def assert_same_law(found, expected, tolerance=1e-12):
    assert sorted(map(str, found.keys() ^ expected.keys()))[:3] == []  # a few ends that only one of them has
    worst = max(expected, key=lambda key: abs(found[key] - expected[key]))
    assert found[worst] == pytest.approx(expected[worst], abs=tolerance), worst


def a_plus_b(rule, **more):
    A, B, C, D, E = rule
    design = {"name": "three_plus_three", "expand_by": B, "escalate_below": C, "expand_up_to": D, "accept_up_to": E}
    return {**design, **more}, A


@pytest.fixture(scope="module")
def ladder(study_of):
    """The rule of a 3+3 on a ladder of doses."""

    def build(levels=5, *, cohort_size=3, start=1, **design):
        truth = [0.1] * levels
        study = study_of({"name": "three_plus_three", **design}, truth, cohort_size=cohort_size, start={"dose": start})
        return study.protocol.rule

    return build


# closed forms and recursion --------------------------------------------------------------------

RULES = [(3, 3, 1, 1, 1), (4, 4, 1, 2, 2), (2, 4, 1, 1, 2), (3, 3, 1, 2, 2)]


@pytest.mark.parametrize("p", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize("deescalate", [False, True], ids=["V1", "V2"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_selection_is_that_of_lin_and_shih(study_of, rule, deescalate, p):
    design, size = a_plus_b(rule, variant="V2" if deescalate else "V1")
    graph = compile_graph(study_of(design, p, cohort_size=size).protocol.rule)
    chance = graph.probabilities(p)[0]
    found = [chance[~graph.selected.any(axis=1)].sum(), *(chance @ graph.selected)]
    np.testing.assert_allclose(found, lin_shih(p, rule, deescalate=deescalate), rtol=0, atol=1e-12)
    if not deescalate:
        np.testing.assert_allclose(chance @ graph.n, lin_shih_patients(p, rule), rtol=0, atol=1e-12)


@pytest.mark.parametrize("switches", [(False, False), (True, False), (True, True), (False, True)], ids=str)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_terminal_state_has_its_probability(study_of, rule, switches):
    """Not only selection: counts, DLTs and declared level of every end, for all combinations of the switches."""
    deescalate, six_at_top = switches
    design, size = a_plus_b(rule, deescalate=deescalate, six_at_top=six_at_top)
    p = (0.12, 0.31, 0.44, 0.2)
    graph = compile_graph(study_of(design, p, cohort_size=size).protocol.rule)
    assert_same_law(law_of(graph, p), walked(p, rule, deescalate=deescalate, six_at_top=six_at_top))


@given(data=st.data())
def test_any_a_plus_b_rule(study_of, data):
    A, B = data.draw(st.integers(1, 4), "A"), data.draw(st.integers(1, 4), "B")
    C = data.draw(st.integers(1, A), "C")
    D = data.draw(st.integers(C - 1, A), "D")
    E = data.draw(st.integers(C - 1, A + B - 1), "E")
    levels, switches = data.draw(st.integers(1, 3)), data.draw(st.tuples(st.booleans(), st.booleans()))
    start = data.draw(st.integers(1, levels))
    p = [0.2, 0.35, 0.5][:levels]
    design, size = a_plus_b((A, B, C, D, E), deescalate=switches[0], six_at_top=switches[1])
    graph = compile_graph(study_of(design, p, cohort_size=size, start={"dose": start}).protocol.rule)
    expected = walked(p, (A, B, C, D, E), deescalate=switches[0], six_at_top=switches[1], start=start - 1)
    assert_same_law(law_of(graph, p), expected)


@pytest.mark.parametrize("variant", ["V1", "V2", "V3"])
@pytest.mark.parametrize("start", [2, 3, 4])
def test_start_above_the_lowest_level(ladder, variant, start):
    p = (0.1, 0.2, 0.3, 0.4)
    graph = compile_graph(ladder(4, variant=variant, start=start))
    expected = walked(p, deescalate=variant != "V1", six_at_top=variant == "V3", start=start - 1)
    assert_same_law(law_of(graph, p), expected)
    untouched = graph.n[:, : start - 1].sum()
    assert bool(untouched == 0) is (variant == "V1")


def test_failure_at_the_start_without_deescalation_recommends_nothing(ladder):
    rule = ladder(4, start=2)
    advice = Advisor(rule).advise(replay(rule, "2NTT").state)
    assert (advice.action, advice.selected, advice.reasons) == (Action.STOP, (), ("three_plus_three.nothing_below",))


# printed numbers -------------------------------------------------------------------------------

SELECTION = {
    ("mtd-3", "V1"): (".02656 .18126 .40063 .29980 .08418 .00756", 12.7094, 2.7353),
    ("mtd-3", "V2"): (".02785 .20058 .42878 .27647 .05876 .00756", 15.1165, 3.1984),
    ("mtd-3", "V3"): (".02785 .20058 .42895 .27745 .06142 .00376", 15.1450, 3.2134),
    ("even", "V1"): (".09385 .26404 .32474 .21920 .08129 .01687", 12.0355, 2.7059),
    ("even", "V2"): (".10041 .28458 .33349 .20333 .06131 .01687", 14.1880, 3.1500),
    ("even", "V3"): (".10041 .28460 .33370 .20461 .06594 .01074", 14.2414, 3.1746),
    ("mtd-1", "V1"): (".50574 .37845 .10174 .01333 .00073 .00001", 6.9297, 2.5275),
    ("mtd-1", "V2"): (".56734 .34936 .07515 .00783 .00031 .00001", 8.0474, 2.9056),
    ("mtd-1", "V3"): (".56734 .34936 .07516 .00783 .00031 .00000", 8.0474, 2.9056),
    ("mtd-5", "V1"): (".00457 .01734 .06175 .17063 .37713 .36858", 16.8862, 1.9921),
    ("mtd-5", "V2"): (".00459 .01759 .06432 .18508 .35984 .36858", 18.4330, 2.1656),
    ("mtd-5", "V3"): (".00459 .01759 .06435 .18757 .41256 .31333", 19.3319, 2.4151),
}
PATIENTS = {
    ("mtd-3", "V1"): "3.4061 3.8698 3.4246 1.6543 .3545",
    ("mtd-3", "V2"): "3.9395 4.8872 4.1017 1.8336 .3545",
    ("mtd-3", "V3"): "3.9395 4.8876 4.1041 1.8418 .3721",
    ("even", "V1"): "3.7290 3.7623 2.7758 1.3634 .4049",
    ("even", "V2"): "4.4317 4.5439 3.2738 1.5337 .4049",
    ("even", "V3"): "4.4317 4.5444 3.2769 1.5466 .4417",
    ("mtd-1", "V1"): "4.3230 2.0883 .4635 .0523 .0026",
    ("mtd-1", "V2"): "5.1786 2.3177 .4945 .0541 .0026",
    ("mtd-1", "V3"): "5.1786 2.3177 .4945 .0541 .0026",
    ("mtd-5", "V1"): "3.1729 3.3165 3.5303 3.6428 3.2237",
    ("mtd-5", "V2"): "3.2228 3.4910 3.9989 4.4966 3.2237",
    ("mtd-5", "V3"): "3.2228 3.4911 4.0052 4.6217 3.9910",
}


@pytest.mark.parametrize(("curve", "variant"), SELECTION, ids=str)
def test_printed_operating_characteristics(study_of, characteristics_of, curve, variant):
    design = {"name": "three_plus_three", "variant": variant}
    found = characteristics_of(study_of(design, CURVES[curve], max_patients=30))
    chosen, patients, dlts = SELECTION[curve, variant]
    numbers = [found.no_selection.value, *found.selection]
    np.testing.assert_allclose(numbers, [float(x) for x in chosen.split()], rtol=0, atol=HALF * 1e-5)
    listed = [float(x) for x in PATIENTS[curve, variant].split()]
    np.testing.assert_allclose(found.patients, listed, rtol=0, atol=HALF * 1e-4)
    assert found.total_patients.mean.value == pytest.approx(patients, abs=HALF * 1e-4)
    assert found.total_dlts.mean.value == pytest.approx(dlts, abs=HALF * 1e-4)
    assert found.exact
    assert found.selection_mcse is None


@pytest.mark.parametrize(
    ("variant", "counts"),
    [
        ("V1", (19, 43, 91, 187, 379, 763, 1531)),
        ("V2", (34, 118, 346, 922, 2314, 5578, 13066)),
        ("V3", (46, 154, 442, 1162, 2890, 6922, 16138)),
    ],
)
def test_number_of_paths(ladder, variant, counts):
    """Every sequence of cohort outcomes, walked without merging equal states."""
    for levels, expected in enumerate(counts, 2):
        rule = ladder(levels, variant=variant)
        front, ended = Front.start(rule), 0
        while front.rows:
            branches = branch(front)
            decisions = decide(rule, branches.tally)
            ended += int(decisions.stops.sum())
            front, _ = onward(branches, decisions)
        assert ended == expected, levels


def passes(graph, p) -> float:
    """Probability that a single level is passed."""
    return float(graph.probabilities([p])[0] @ graph.selected[:, 0])


def test_probability_of_passing_a_level(ladder):
    graph = compile_graph(ladder(1))
    printed = {0.10: 0.9061, 0.20: 0.7086, 0.25: 0.5999, 0.30: 0.4943, 0.33: 0.4344, 0.40: 0.3093, 0.50: 0.1719}
    for p, expected in printed.items():
        assert passes(graph, p) == pytest.approx(expected, abs=HALF * 1e-4), p
    assert passes(graph, 0.29715) > 0.5 > passes(graph, 0.29725)  # even at .2972


# the R packages --------------------------------------------------------------------------------


def check_exact(rule, p, expected, key, patients, dlts):
    graph = compile_graph(rule)
    chance = graph.probabilities(p)[0]
    found = chance @ graph.selected
    np.testing.assert_allclose(found, expected[key], rtol=0, atol=1e-9)
    assert chance[~graph.selected.any(axis=1)].sum() == pytest.approx(expected["prob_none"], abs=1e-9)
    np.testing.assert_allclose(chance @ graph.n, expected[patients], rtol=0, atol=1e-9)
    np.testing.assert_allclose(chance @ graph.dlt, expected[dlts], rtol=0, atol=1e-9)
    total = graph.n.sum(axis=1)
    assert chance @ total == pytest.approx(expected["expected_n"], abs=1e-9)
    sizes = {entry["n"]: entry["prob"] for entry in expected["prob_total_n"]}
    for size in range(rule.max_patients + 1):
        found = float(chance[total == size].sum())
        assert found == pytest.approx(sizes[size], abs=1e-9) if size in sizes else found < 1e-6, size


@pytest.mark.parametrize("case", cases("escalation_3plus3_exact"))
def test_exact_numbers_of_package_escalation(ladder, case):
    given, expected = case["input"], case["output"]
    rule = ladder(given["num_doses"], variant="V2" if given["allow_deescalate"] else "V1")
    check_exact(
        rule, given["true_prob_tox"], expected, "prob_recommend", "expected_n_per_dose", "expected_tox_per_dose"
    )
    assert rule.max_patients == expected.get("max_patients", 6 * given["num_doses"])


@pytest.mark.parametrize("case", cases("bcrm_threep3_exact"))
def test_exact_numbers_of_package_bcrm(ladder, case):
    given, expected = case["input"], case["output"]
    rule = ladder(len(given["truep"]), variant="V1" if given["esc_only"] else "V2")
    check_exact(rule, given["truep"], expected, "prob_mtd", "n_average", "dlt_average")


DECISIONS = cases("escalation_3plus3_decisions")


@pytest.mark.parametrize(
    "case", [c for c in DECISIONS if "strict_mode" not in c["input"]], ids=lambda c: c["input"]["outcomes"] or "start"
)
def test_decisions_of_package_escalation(ladder, case):
    given, expected = case["input"], case["output"]
    rule = ladder(given["num_doses"], variant="V2" if given["allow_deescalate"] else "V1")
    reading = replay(rule, given["outcomes"])
    advice = Advisor(rule).advise(reading.state)
    assert reading.departures == ()
    if expected["continue"]:
        assert advice.action != Action.STOP
        assert advice.regimen == expected["recommended_dose"] - 1
        assert advice.size > 0
    else:
        assert advice.action == Action.STOP
        chosen = expected["recommended_dose"]
        assert advice.selected == (() if chosen is None else (chosen - 1,))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("2NNN", "participant 1 "),
        ("1NNN 3NNN", "participant 4 "),
        ("1NTT 2NNN", "participant 4 "),
        ("1NNN 1NNN 1NNN", "participant 4 "),
        ("1NNNN", "participant 4 "),
        ("6NNN", "'6NNN'"),
    ],
)
@pytest.mark.parametrize("variant", ["V1", "V2", "V3"])
def test_histories_that_break_the_rules_are_refused(ladder, variant, text, names):
    """Package escalation accepts the first and the third of these."""
    assert any(case["input"]["outcomes"] == text for case in DECISIONS if "strict_mode" in case["input"])
    with pytest.raises(OutcomeError, match=names):
        replay(ladder(variant=variant), text)


def reachable(n, dlt, last) -> bool:
    """Whether a 3+3 without de-escalation can be in this state: six come only after one DLT in the first three."""
    levels = zip(n[: last - 1], dlt[: last - 1], strict=True)
    below = all((size, seen) in ((3, 0), (6, 1)) for size, seen in levels)
    here = (n[last - 1], dlt[last - 1])
    return below and not any(n[last:]) and (here[0] == 3 or (here[0] == 6 and 1 <= here[1] <= 4))


UBCRM = cases("ubcrm")


@pytest.mark.parametrize(
    "given_and_expected",
    [
        (c["input"], c["output"])
        for c in UBCRM
        if c["input"]["fn"] == "troisPtrois"
        and reachable(c["input"]["npt"], c["input"]["ndlt"], c["input"]["lastdose"])
    ],
)
def test_decisions_of_package_ubcrm(ladder, given_and_expected):
    given, expected = given_and_expected
    design = ladder().design
    tally = Tally.of(n=[given["npt"]], dlt=[given["ndlt"]], current=[given["lastdose"] - 1])
    decisions = design.decide(tally)
    if expected["nextdose"] is not None:
        assert not decisions.stops[0]
        assert decisions.regimen[0] == expected["nextdose"] - 1
        return
    assert decisions.stops[0]
    chosen = np.flatnonzero(design.select(tally)[0]).tolist()
    assert chosen == ([] if expected["mtd"] is None else [expected["mtd"] - 1])


@pytest.mark.parametrize("case", [c for c in UBCRM if c["input"]["fn"] == "ssim3p3"])
def test_simulations_of_package_ubcrm(ladder, case):
    given, expected = case["input"], case["output"]
    graph, p = compile_graph(ladder()), given["truerate"]
    chance = graph.probabilities(p)[0]

    def close(values, printed):
        mean = chance @ values
        error = np.sqrt(np.maximum(chance @ values**2 - mean**2, 0) / given["n"])
        assert (np.abs(np.asarray(printed) - mean) <= 4 * error + 1e-9).all()

    close(graph.selected.astype(float), np.array(expected["recommendation"]) / 100)
    close((~graph.selected.any(axis=1)).astype(float), expected["norecommendation"] / 100)
    close(graph.n.astype(float), expected["npt"])
    close(graph.dlt.astype(float), expected["ndlt"])
    close(graph.n.sum(axis=1).astype(float), expected["mean.npt"])


@pytest.mark.parametrize(
    ("design", "variant"),
    [("get_three_plus_three(5)", "V1"), ("get_three_plus_three(5, allow_deescalate=TRUE)", "V2")],
)
def test_simulated_trials_of_package_escalation(ladder, design, variant):
    """Every decision of forty trials, cohort by cohort, and the final recommendation."""
    case = next(c for c in cases("escalation_simulate_trials") if c["input"]["design"] == design)
    rule = ladder(variant=variant)
    advisor = Advisor(rule)
    assert len(case["output"]["trials"]) == 40
    for trial in case["output"]["trials"]:
        cohorts: dict[int, str] = {}
        for dose, toxic, number in zip(trial["doses"], trial["tox"], trial["cohort"], strict=True):
            cohorts.setdefault(number, str(dose))
            cohorts[number] += "T" if toxic else "N"
        tokens = list(cohorts.values())
        for seen in range(len(tokens)):
            text = " ".join(tokens[:seen])
            advice = advisor.advise(replay(rule, text, advisor=advisor).state)
            assert advice.action != Action.STOP, text
            assert (advice.regimen, advice.size) == (int(tokens[seen][0]) - 1, 3), text
        advice = advisor.advise(replay(rule, " ".join(tokens), advisor=advisor).state)
        assert advice.action == Action.STOP
        chosen = trial["recommended_dose"]
        assert advice.selected == (() if chosen in (None, "NA") else (chosen - 1,))


# switches and readings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switches", "name"),
    [
        ({}, "V1, reading R1"),
        ({"variant": "V2"}, "V2, reading R1"),
        ({"variant": "V3"}, "V3, reading R1"),
        ({"variant": "V1", "deescalate": True}, "V2, reading R1"),
        ({"variant": "V2", "six_at_top": True}, "V3, reading R1"),
        ({"variant": "V3", "six_at_top": False}, "V2, reading R1"),
        ({"variant": "V3", "deescalate": False}, "V1 with six at the top, reading R1"),
        ({"reading": "R2"}, "V1, reading R2"),
        ({"reading": "R3"}, "V1, reading R3"),
        ({"expand_by": 2, "accept_up_to": 2}, "V1, A+B (3,2,1,1,2)"),
    ],
)
def test_the_variant_names_what_is_in_force(ladder, switches, name):
    assert ladder(**switches).design.label == f"3+3, {name}"


@pytest.mark.parametrize(
    ("written", "same_as"),
    [
        ({"variant": "V1", "deescalate": True}, {"variant": "V2"}),
        ({"variant": "V2", "six_at_top": True}, {"variant": "V3"}),
        ({"variant": "V3", "six_at_top": False}, {"variant": "V2"}),
        ({"variant": "V2", "deescalate": False}, {"variant": "V1"}),
    ],
)
def test_switches_override_the_variant(ladder, written, same_as):
    p = CURVES["even"]
    assert_same_law(law_of(compile_graph(ladder(**written)), p), law_of(compile_graph(ladder(**same_as)), p))


@pytest.mark.parametrize(
    ("text", "without", "required"),
    [
        ("1NNN 2NNN", Action.STOP, Action.STAY),  # 0/3 at the top
        ("1NNN 2NNT 2NNN", Action.STOP, Action.STOP),  # 1/6 at the top has its six
    ],
)
def test_six_at_the_top(ladder, text, without, required):
    for six_at_top, action in ((False, without), (True, required)):
        rule = ladder(2, variant="V2", six_at_top=six_at_top)
        advice = Advisor(rule).advise(replay(rule, text).state)
        assert advice.action == action
        assert advice.selected == ((1,) if action == Action.STOP else ())


def test_a_trial_cut_short_does_not_declare_a_top_level_that_still_needs_six(ladder, study_of):
    """Every variant that asks for six at the top: with 0/3 there at the maximum size, it is not selected."""
    for deescalate, expected in ((True, []), (False, [0])):
        design = {"name": "three_plus_three", "deescalate": deescalate, "six_at_top": True}
        rule = study_of(design, [0.1, 0.2], max_patients=6).protocol.rule
        advice = Advisor(rule).advise(replay(rule, "1NNN 2NNN").state)
        assert advice.reasons == ("guard.max_patients",)
        assert list(advice.selected) == expected, deescalate


@pytest.mark.parametrize(
    ("variant", "text", "selected"),
    [
        ("V1", "1NNN 2NNN", (1,)),
        ("V2", "1NNN 2NNN", ()),  # nobody had six
        ("V2", "1NNT 1NNN", (0,)),
        ("V1", "1NNN 2NNT", (0,)),  # one of three neither passes nor fails
    ],
)
def test_selection_of_a_trial_cut_short(study_of, variant, text, selected):
    size = sum(letter in "NT" for letter in text)
    study = study_of({"name": "three_plus_three", "variant": variant}, [0.1] * 5, max_patients=size)
    rule = study.protocol.rule
    advice = Advisor(rule).advise(replay(rule, text).state)
    assert advice.action == Action.STOP
    assert advice.reasons == ("guard.max_patients",)
    assert advice.selected == selected


@pytest.mark.parametrize(
    ("p", "cleared"),
    [
        ((0.02, 0.04, 0.08), {"R1": 0.9163, "R2": 0.9761, "R3": 0.9383}),
        ((0.05, 0.10, 0.18), {"R1": 0.6629, "R2": 0.8824, "R3": 0.7409}),
    ],
)
def test_readings_of_two_or_more_dlts(ladder, p, cleared):
    for reading, printed in cleared.items():
        graph = compile_graph(ladder(3, reading=reading))
        chance = graph.probabilities(p)[0]
        assert chance @ graph.selected[:, 2] == pytest.approx(printed, abs=HALF * 1e-4), reading
    # by hand, the whole law of R2 and R3
    graph = compile_graph(ladder(3, reading="R2"))
    up = [b(0, 3, q) + b(1, 3, q) for q in p]
    expected = [1 - up[0], up[0] * (1 - up[1]), up[0] * up[1] * (1 - up[2]), prod(up)]
    chance = graph.probabilities(p)[0]
    found = [chance[~graph.selected.any(axis=1)].sum(), *(chance @ graph.selected)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    graph = compile_graph(ladder(3, reading="R3"))
    seen, expected = {0: 1.0, 1: 0.0}, []
    for q in p:
        stays = {0: seen[0] * b(0, 3, q), 1: seen[0] * b(1, 3, q) + seen[1] * b(0, 3, q)}
        expected.append(sum(seen.values()) - sum(stays.values()))
        seen = stays
    chance = graph.probabilities(p)[0]
    found = [chance[~graph.selected.any(axis=1)].sum(), *(chance @ graph.selected)]
    np.testing.assert_allclose(found, [*expected, sum(seen.values())], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("p", "stops", "size"),
    [
        ((0.01, 0.01, 0.01), ".0012 .0012 .0012 .9965", 9.25),
        ((0.02, 0.04, 0.08), ".0046 .0173 .0617 .9163", 10.02),
        ((0.05, 0.10, 0.18), ".0266 .0914 .2191 .6629", 10.64),
        ((0.11, 0.21, 0.34), ".1108 .2784 .3572 .2536", 10.15),
        ((0.044, 0.076, 0.100), ".0209 .0563 .0866 .8362", 10.31),
        ((0.044, 0.091, 0.183), ".0209 .0778 .2297 .6716", 10.66),
        ((0.05, 0.05, 0.05), ".0266 .0259 .0252 .9224", 9.95),
        ((0.010, 0.030, 0.139), ".0012 .0100 .1626 .8262", 10.22),
    ],
)
def test_stopping_level_by_level(ladder, p, stops, size):
    graph = compile_graph(ladder(3))
    chance = graph.probabilities(p)[0]
    found = [chance[~graph.selected.any(axis=1)].sum(), *(chance @ graph.selected)]
    np.testing.assert_allclose(found, [float(x) for x in stops.split()], rtol=0, atol=HALF * 1e-4)
    assert chance @ graph.n.sum(axis=1) == pytest.approx(size, abs=HALF * 1e-2)


@pytest.mark.parametrize(
    ("design", "words"),
    [
        ({"reading": "R2", "variant": "V2"}, "need variant V1"),
        ({"reading": "R3", "deescalate": True}, "need variant V1"),
        ({"escalate_below": 3, "expand_up_to": 1}, "at least escalate_below"),
        ({"variant": "V4"}, "design.variant"),
        ({"six_at_the_top": True}, "did you mean 'six_at_top'"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(ladder, design, words):
    with pytest.raises(StudyError, match=words):
        ladder(**design)


# axes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["V1", "V2", "V3"])
def test_frequency_axis_is_the_dose_axis(study_of, variant):
    p = [0.1, 0.25, 0.4]
    design = {"name": "three_plus_three", "variant": variant}
    doses = compile_graph(study_of(design, p).protocol.rule)
    often = compile_graph(study_of(design, [[q] for q in p]).protocol.rule)
    assert often.rule.grid.axis == "frequency"
    assert_same_law(law_of(often, p), law_of(doses, p), tolerance=0)


@pytest.mark.parametrize(("axis", "line"), [("dose", (3, 4, 5)), ("frequency", (1, 4)), (None, (3, 4, 5))])
def test_one_line_of_a_grid(study_of, axis, line):
    """On a grid the other axis stays at the starting level, and nothing off the line is treated."""
    p = np.array([[0.1, 0.2, 0.3], [0.15, 0.3, 0.45]])
    start = {"dose": 2, "frequency": 1} if axis == "frequency" else {"frequency": 2}
    design = {"name": "three_plus_three", "variant": "V2"} | ({"axis": axis} if axis else {})
    graph = compile_graph(study_of(design, p.tolist(), start=start).protocol.rule)
    off = np.setdiff1d(np.arange(6), line)
    assert graph.n[:, off].sum() == 0
    expected = {
        (tuple(n), tuple(y), None if level is None else line[level]): chance
        for (n, y, level), chance in walked(p.reshape(-1)[list(line)], deescalate=True).items()
    }
    found = {
        (tuple(np.array(n)[list(line)]), tuple(np.array(y)[list(line)]), level): chance
        for (n, y, level), chance in law_of(graph, p).items()
    }
    assert_same_law(found, expected)


def test_table_is_what_decide_compares_with(ladder):
    rule = ladder(3, cohort_size=4, expand_by=4, expand_up_to=2, accept_up_to=2)
    table = rule.design.table()
    assert table is not None
    for n, up, down in zip(table.n, table.escalate_if_at_most, table.de_escalate_if_at_least, strict=True):
        for dlt in range(n + 1):
            decision = rule.design.decide(Tally.of(n=[[4, n, 0]], dlt=[[0, dlt, 0]], current=[1]))
            assert bool(decision.action[0] == Action.ESCALATE) is (dlt <= up), (n, dlt)
            assert bool(decision.stops[0]) is (dlt >= down), (n, dlt)
    assert ladder(reading="R3").design.table() is None
