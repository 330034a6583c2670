from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit

from designs.crm import Crm, CrmParameters
from designs.crm_model import LogisticModel, PowerModel, indifference_skeleton
from escalation.decision import Action, Decisions
from escalation.design import Setting
from escalation.errors import DesignError, OutcomeError
from escalation.guards import StopAtN
from escalation.outcomes import parse
from escalation.regimens import RegimenGrid
from escalation.rule import Rule
from escalation.tally import Tally

GOLDEN = Path(__file__).parents[1] / "golden"
SKELETON = (0.0839734913056243, 0.156741021142636, 0.25, 0.354500427615112, 0.460343111085307)


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GOLDEN / name).read_text())["cases"]
    return found


def crm(levels: int = 5, start: int = 0, **parameters: Any) -> Crm:
    grid = RegimenGrid(doses=tuple(range(1, levels + 1)), schedules=((0,),))
    return Crm(CrmParameters(**parameters), Setting(grid, 3, start, 30))


def code(design: Crm, decisions: Decisions, row: int = 0) -> str:
    return design.reasons[decisions.reason[row]].code


BAYES = [case for case in cases("dfcrm_crm.json") if "method" not in case["input"]]
MLE = [case for case in cases("dfcrm_crm.json") if case["input"].get("method") == "mle"]


def fitted(case: dict[str, Any], **more: Any) -> tuple[Crm, Tally]:
    """The design and the data of a call of dfcrm's crm or titecrm."""
    given = case["input"]
    levels = len(given["prior"])
    n = np.bincount(np.array(given["level"]) - 1, minlength=levels)
    dlt = np.bincount(np.array(given["level"]) - 1, weights=given["tox"], minlength=levels).astype(int)
    design = crm(
        levels,
        target=given["target"],
        skeleton=given["prior"],
        prior_variance=given["scale"] ** 2 if "scale" in given else 1.34,
        model={"empiric": "power", "logistic": "logistic"}[given["model"]],
        intercept=given.get("intcpt", 3),
        **more,
    )
    return design, Tally.of(n=[n], dlt=[dlt], current=[given["level"][-1] - 1])


def test_all_cases_are_here():
    assert (len(BAYES), len(MLE)) == (74, 15)


@pytest.mark.parametrize("case", BAYES)
def test_estimates_and_mtd_are_those_of_dfcrm(case):
    expected = case["output"]
    design, tally = fitted(case, exceedance="normal", interval=case["input"].get("conf.level", 0.9))
    belief = design.posterior(tally)
    assert belief.beta[0] == pytest.approx(expected["estimate"], abs=1e-5)
    assert belief.variance[0] == pytest.approx(expected["post.var"], abs=1e-5)
    assert belief.curve[0] == pytest.approx(np.array(expected["ptox"]), abs=1e-5)
    assert (np.flatnonzero(design.select(tally)[0]) + 1).tolist() == [expected["mtd"]]
    estimates = design.estimates(tally)
    assert estimates.lower[0] == pytest.approx(np.array(expected["ptoxL"]), abs=1e-5)
    assert estimates.upper[0] == pytest.approx(np.array(expected["ptoxU"]), abs=1e-5)


@pytest.mark.parametrize("case", MLE)
def test_maximum_likelihood_is_that_of_dfcrm(case):
    """dfcrm maximises to 1e-4; its variance of the estimate is not the curvature (it can be negative) and is left."""
    expected = case["output"]
    design, tally = fitted(case, estimate="mle")
    if "error" in expected:
        assert tally.dlt.sum() in (0, tally.n.sum())
        return
    belief = design.posterior(tally)
    assert belief.beta[0] == pytest.approx(expected["estimate"], abs=1e-4)
    assert belief.curve[0] == pytest.approx(np.array(expected["ptox"]), abs=1e-4)
    assert (np.flatnonzero(design.select(tally)[0]) + 1).tolist() == [expected["mtd"]]


def test_the_maximum_is_a_maximum_and_its_variance_the_curvature():
    n, dlt = np.array([[3, 6, 3, 0, 0]]), np.array([[0, 1, 2, 0, 0]])
    for model in (PowerModel(np.array(SKELETON), 1.34), LogisticModel(np.array(SKELETON), 1.34)):
        beta = np.linspace(-3, 3, 60001)
        p = model.curve(beta)
        likelihood = (dlt * np.log(p) + (n - dlt) * np.log1p(-p)).sum(axis=1)
        best = likelihood.argmax()
        found = model.most_likely(n, dlt)
        assert found[0] == pytest.approx(beta[best], abs=1e-4)
        second = np.gradient(np.gradient(likelihood, beta), beta)[best]
        assert model.variance_at(found, n, dlt)[0] == pytest.approx(-1 / second, rel=1e-3)


@pytest.mark.parametrize("case", cases("dfcrm_getprior.json"))
def test_skeleton_is_that_of_getprior(case):
    given = case["input"]
    logistic = given["model"] == "logistic"
    intercept = given.get("intcpt", 3.0) if logistic else None
    skeleton = indifference_skeleton(given["target"], given["halfwidth"], given["nu"], given["nlevel"], intercept)
    assert skeleton == pytest.approx(np.array(case["output"]["prior"]), abs=1e-12)
    design = crm(
        given["nlevel"],
        target=given["target"],
        halfwidth=given["halfwidth"],
        prior_mtd=given["nu"],
        **({"model": "logistic", "intercept": intercept} if logistic else {}),
    )
    assert np.array_equal(design.skeleton, skeleton)


POSTERIORS = [
    case
    for case in cases("bcrm_exact.json")
    if case["input"]["ff"] in ("power", "logit1") and case["input"]["prior.alpha"][0] == 3
]


@pytest.mark.parametrize("case", POSTERIORS)
def test_quantiles_are_those_of_bcrm(case):
    """bcrm's quantiles are good to about 1e-3; they are quantiles of the curve, so the model's at quantiles of beta."""
    given, expected = case["input"], case["output"]
    scaled, variance = np.array(given["sdose"]), given["prior.alpha"][2]
    # beta = 0 is bcrm's alpha = 1
    model = PowerModel(scaled, variance) if given["ff"] == "power" else LogisticModel(expit(3 + scaled), variance)
    n, dlt = np.array([given["n"]]), np.array([given["tox"]])
    quantiles = model.quantiles(1 - np.array([0.025, 0.25, 0.5, 0.75, 0.975]), n, dlt)[0]
    assert model.curve(quantiles) == pytest.approx(np.array(expected["dose.quantiles"]), abs=2e-3)


@pytest.mark.parametrize("case", POSTERIORS)
def test_the_posterior_mean_of_the_curve_is_that_of_bcrm(case):
    given, expected = case["input"], case["output"]
    scaled, variance = np.array(given["sdose"]), given["prior.alpha"][2]
    model = PowerModel(scaled, variance) if given["ff"] == "power" else LogisticModel(expit(3 + scaled), variance)
    found = model.mean_curve(np.array([given["n"]]), np.array([given["tox"]]))[0]
    assert found == pytest.approx(np.array(expected["dose.mean"]), abs=1e-4)


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in cases("trialr_mcmc.json")
        if c["input"]["fn"] == "stan_crm" and c["input"]["model"] != "logistic_gamma"
    ],
)
def test_the_posterior_mean_of_the_curve_is_that_of_trialr(case):
    """20,000 draws: means were checked within .006 of a dense grid."""
    given, expected = case["input"], case["output"]
    model = {"empiric": "power", "logistic": "logistic"}[given["model"]]
    design = crm(
        5,
        target=given["target"],
        skeleton=given["skeleton"],
        model=model,
        prior_variance=given["beta_sd"] ** 2,
        curve="posterior_mean",
    )
    n, dlt = [0] * 5, [0] * 5
    for cohort in parse(given["outcomes"], design.grid):
        n[cohort.regimen] += len(cohort.letters)
        dlt[cohort.regimen] += cohort.letters.count("T")
    tally = Tally.of(n=[n], dlt=[dlt], current=[0])
    assert design.estimates(tally).curve[0] == pytest.approx(np.array(expected["prob_tox"]), abs=0.008)
    assert (np.flatnonzero(design.select(tally)[0]) + 1).tolist() == [expected["recommended_dose"]]


@pytest.mark.parametrize("case", [c for c in cases("ubcrm.json") if c["input"]["fn"] == "Crm"])
def test_power_curves_are_those_of_ubcrm(case):
    """Its 1.34 is the standard deviation; its other models and estimates are not the CRM's here."""
    given, expected = case["input"], case["output"]
    how = {"fpost": {}, "ppostp": {"curve": "posterior_mean"}, None: {"estimate": "mle"}}
    if given.get("model", "power") != "power" or given.get("method") not in how:
        return
    design = crm(5, target=given["target"], skeleton=given["prior"], prior_variance=1.34**2, **how[given.get("method")])
    tally = Tally.of(n=[given["npt"]], dlt=[given["ndlt"]], current=[given["lastdose"] - 1])
    assert design.posterior(tally).curve[0] == pytest.approx(np.array(expected["prob"]), abs=1e-6)


DESIGNS = {
    "get_dfcrm": {},
    "get_dfcrm %>% dont_skip_doses(when_escalating=TRUE, when_deescalating=FALSE)": {"no_skipping": True},
    "get_dfcrm %>% dont_skip_doses(both) %>% stop_when_n_at_dose(n=6, dose='recommended')": {
        "no_skipping": True,
        "no_skipping_down": True,
    },
    "get_dfcrm %>% stop_when_too_toxic(dose=1, tox_threshold=0.35, confidence=0.8)": {
        "stop_above": 0.35,
        "stop_certainty": 0.8,
    },
}


@pytest.mark.parametrize("exceedance", ["exact", "normal"])
@pytest.mark.parametrize("case", cases("escalation_dfcrm.json"))
def test_recommendations_are_those_of_the_escalation_package(case, exceedance):
    given, expected = case["input"], case["output"]
    options = {"no_skipping": False, "coherent": False} | DESIGNS[given["design"]]
    if options.get("no_skipping_down") and given["outcomes"] == "3NTT":
        pytest.skip("the package skips level 2 on the way down here, though told not to skip in either direction")
    model = {"empiric": "power", "logistic": "logistic"}[given["model"]]
    design = crm(5, target=given["target"], skeleton=given["skeleton"], model=model, exceedance=exceedance, **options)
    treated = parse(given["outcomes"], design.grid)
    tally = Tally.of(
        n=[expected["n_at_dose"]], dlt=[expected["tox_at_dose"]], current=[treated[-1].regimen if treated else 0]
    )
    assert design.posterior(tally).curve[0] == pytest.approx(np.array(expected["mean_prob_tox"]), abs=1e-5)
    rule = Rule(design, (StopAtN(n=6),) if "stop_when_n" in given["design"] else ())
    decisions = rule.decide(tally)
    assert bool(decisions.stops[0]) is not expected["continue"]
    if expected["continue"]:
        assert decisions.regimen[0] + 1 == expected["recommended_dose"]


def test_neighbouring_levels_meet_at_the_edges_of_the_indifference_interval():
    skeleton = indifference_skeleton(0.3, 0.07, prior_mtd=2, levels=6)
    for lower, upper in pairwise(skeleton):
        power = np.log(0.23) / np.log(lower)
        assert upper**power == pytest.approx(0.37, abs=1e-12)


@pytest.mark.parametrize(("levels", "middle"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)])
def test_prior_mtd_is_the_middle_level_unless_stated(levels, middle):
    assert crm(levels).skeleton[middle - 1] == pytest.approx(0.25, abs=1e-15)


def dense(skeleton: np.ndarray, variance: float, n: np.ndarray, dlt: np.ndarray) -> tuple[float, float]:
    """Posterior mean and variance on a grid fifty times finer."""
    beta = np.linspace(-10, 10, 20001)
    weight = np.where(np.abs(beta) == 10, 0.5, 1.0)
    log_p = np.exp(beta) * np.log(skeleton)[:, None]
    density = dlt @ log_p + (n - dlt) @ np.log(-np.expm1(log_p)) - beta**2 / (2 * variance)
    density = weight * np.exp(density - density.max())
    mean = (density @ beta) / density.sum()
    return mean, (density @ (beta - mean) ** 2) / density.sum()


@pytest.mark.parametrize("size", [1, 3, 30, 200])
@pytest.mark.parametrize("variance", [0.01, 0.25, 1.34, 4.0])
def test_quadrature_agrees_with_a_finer_grid(size, variance):
    generator = np.random.default_rng(7)
    skeleton = np.array(SKELETON)
    n = generator.multinomial(size, np.full(5, 0.2), size=30)
    dlt = generator.binomial(n, generator.uniform(0, 1, (30, 1)))
    mean, spread = PowerModel(skeleton, variance).moments(n, dlt)
    for row in range(30):
        expected = dense(skeleton, variance, n[row], dlt[row])
        # at variance 4 the tails reach the ends of the grid, where the rule is only of order 2
        assert (mean[row], spread[row]) == pytest.approx(expected, abs=1e-9 if variance < 4 else 1e-6)


def test_many_participants_do_not_underflow():
    mean, spread = PowerModel(np.array(SKELETON), 1.34).moments(np.full((1, 5), 400), np.full((1, 5), 100))
    assert np.isfinite(mean).all()
    assert 0 < spread[0] < 0.01


def test_no_outcome_leaves_the_prior():
    belief = crm(skeleton=SKELETON).posterior(Tally.of(n=[[0] * 5], dlt=[[0] * 5], current=[0]))
    assert belief.beta[0] == pytest.approx(0, abs=1e-12)
    assert belief.variance[0] == pytest.approx(1.34, abs=1e-9)
    assert belief.curve[0] == pytest.approx(np.array(SKELETON), abs=1e-12)


def closest(curve: list[float], target: float = 0.25) -> int:
    """Level recommended when the fitted curve is the given one: beta is 0 without outcomes."""
    design = crm(len(curve), target=target, skeleton=curve, start=0)
    return int(design._closest(Tally.of(n=[[0] * len(curve)], dlt=[[0] * len(curve)], current=[0]))[0]) + 1


@pytest.mark.parametrize(
    ("curve", "level"),
    [
        ([0.1, 0.2, 0.3], 2),  # equally close: the lower
        ([0.1, 0.2, 0.29], 3),
        ([0.1, 0.2, 0.31], 2),
        ([0.05, 0.1, 0.2], 3),  # all at or below the target: the highest
        ([0.3, 0.4, 0.5], 1),  # all at or above: the lowest
        ([0.1, 0.25, 0.26], 2),
        ([0.2], 1),
        ([0.9], 1),
    ],
)
def test_closest_level(curve, level):
    assert closest(curve) == level


def test_saturated_curves_go_to_the_end_of_the_ladder():
    design = crm(3, target=0.25, skeleton=(1e-9, 1e-8, 1e-7))
    untoxic = Tally.of(n=[[0, 0, 60]], dlt=[[0, 0, 0]], current=[2])
    assert np.flatnonzero(design.select(untoxic)[0]).tolist() == [2]
    design = crm(3, target=0.25, skeleton=(0.9, 0.99, 0.999))
    toxic = Tally.of(n=[[60, 0, 0]], dlt=[[60, 0, 0]], current=[0])
    assert np.flatnonzero(design.select(toxic)[0]).tolist() == [0]


def state(n: list[int], dlt: list[int], current: int, cohort: tuple[int, int] = (0, 0)) -> Tally:
    return Tally.of(n=[n], dlt=[dlt], current=[current], cohort_n=[cohort[0]], cohort_dlt=[cohort[1]])


# counts, current level, last cohort (evaluable, DLTs), options, then action and level
EDGES = [
    ("crm.one_level_at_a_time", state([3, 0, 0, 0, 0], [0] * 5, 0, (3, 0)), {}, Action.ESCALATE, 1),
    ("crm.closest_is_higher", state([3, 0, 0, 0, 0], [0] * 5, 0, (3, 0)), {"no_skipping": False}, Action.ESCALATE, 4),
    ("crm.closest_is_higher", state([3, 12, 0, 0, 0], [0, 2, 0, 0, 0], 1, (3, 0)), {}, Action.ESCALATE, 2),
    ("crm.incoherent_escalation", state([3, 12, 0, 0, 0], [0, 2, 0, 0, 0], 1, (3, 1)), {}, Action.STAY, 1),
    ("crm.incoherent_escalation", state([3, 12, 0, 0, 0], [0, 2, 0, 0, 0], 1, (4, 1)), {}, Action.STAY, 1),
    ("crm.closest_is_higher", state([3, 12, 0, 0, 0], [0, 2, 0, 0, 0], 1, (5, 1)), {}, Action.ESCALATE, 2),
    ("crm.closest_is_higher", state([3, 12, 0, 0, 0], [0, 2, 0, 0, 0], 1, (0, 0)), {}, Action.ESCALATE, 2),
    (
        "crm.closest_is_higher",
        state([3, 12, 0, 0, 0], [0, 2, 0, 0, 0], 1, (3, 1)),
        {"coherent": False},
        Action.ESCALATE,
        2,
    ),
    ("crm.closest_is_current", state([3, 3, 6, 0, 0], [0, 0, 2, 0, 0], 2, (3, 1)), {}, Action.STAY, 2),
    ("crm.closest_is_lower", state([3, 3, 3, 3, 0], [0, 1, 2, 3, 0], 3, (3, 3)), {}, Action.DE_ESCALATE, 0),
    ("crm.untried", state([3, 0, 0, 0, 0], [0] * 5, 1), {}, Action.STAY, 1),
    ("crm.nobody_yet", state([0] * 5, [0] * 5, 1), {}, Action.STAY, 1),
    (
        "crm.one_level_down_at_a_time",
        state([3, 3, 3, 3, 0], [0, 1, 2, 3, 0], 3, (3, 3)),
        {"no_skipping_down": True},
        Action.DE_ESCALATE,
        2,
    ),
    ("crm.stage_one", state([3, 0, 0, 0, 0], [0] * 5, 0, (3, 0)), {"estimate": "mle"}, Action.ESCALATE, 1),
    ("crm.stage_one", state([3, 3, 3, 3, 3], [0] * 5, 4, (3, 0)), {"two_stage": True}, Action.STAY, 4),
    (
        "crm.stage_one",
        state([3, 0, 0, 0, 0], [0] * 5, 0, (3, 0)),
        {"two_stage": True, "stage_one": (1, 1, 1, 1, 1, 1, 3)},
        Action.STAY,
        0,
    ),
    (
        "crm.stage_one",
        state([6, 0, 0, 0, 0], [0] * 5, 0, (3, 0)),
        {"two_stage": True, "stage_one": (1, 1, 1, 1, 1, 1, 3)},
        Action.ESCALATE,
        2,
    ),
    # every participant with a DLT: no maximum of the likelihood, the lowest level
    (
        "crm.closest_is_lower",
        state([0, 3, 0, 0, 0], [0, 3, 0, 0, 0], 1, (3, 3)),
        {"estimate": "mle"},
        Action.DE_ESCALATE,
        0,
    ),
    ("crm.lowest_too_toxic", state([6, 0, 0, 0, 0], [5, 0, 0, 0, 0], 0, (3, 3)), {"stop_above": 0.35}, Action.STOP, 0),
    # with no DLT-free participant there is no maximum of the likelihood, and the safety stop must hold all the same
    (
        "crm.lowest_too_toxic",
        state([3, 0, 0, 0, 0], [3, 0, 0, 0, 0], 0, (3, 3)),
        {"stop_above": 0.35, "estimate": "mle"},
        Action.STOP,
        0,
    ),
    ("crm.settled", state([3, 3, 24, 0, 0], [0, 0, 6, 0, 0], 2, (3, 1)), {"settled_after": 3}, Action.STOP, 2),
]


@pytest.mark.parametrize(("expected", "tally", "options", "action", "there"), EDGES)
def test_edge(expected, tally, options, action, there):
    design = crm(skeleton=SKELETON, **options)
    decisions = design.decide(tally)
    assert code(design, decisions) == expected
    size = 0 if action == Action.STOP else 3
    assert (decisions.action[0], decisions.regimen[0], decisions.size[0]) == (action, there, size)


def test_every_reason_is_reached_and_worded():
    assert {expected for expected, *_ in EDGES} == {reason.code for reason in Crm.reasons}
    assert all(reason.line.endswith(".") and len(reason.paragraph) > 100 for reason in Crm.reasons)
    stops = {reason.code: reason.selects for reason in Crm.reasons if reason.stop}
    assert stops == {"crm.lowest_too_toxic": False, "crm.settled": True}


def test_the_exceedance_is_the_posterior_mass_under_the_cut():
    n, dlt = np.array([[6, 3, 0, 0, 0], [3, 3, 6, 0, 0]]), np.array([[2, 2, 0, 0, 0], [0, 0, 2, 0, 0]])
    for model in (PowerModel(np.array(SKELETON), 1.34), LogisticModel(np.array(SKELETON), 1.34)):
        beta = np.linspace(-6, 3, 900001)  # beyond it there is less than 1e-9
        p = model.curve(beta)
        for row in range(2):
            likelihood = (dlt[row] * np.log(p) + (n[row] - dlt[row]) * np.log1p(-p)).sum(axis=1) - beta**2 / 2.68
            density = np.exp(likelihood - likelihood.max())
            density /= density.sum()
            above = density[p[:, 1] > 0.3].sum()
            assert model.below(model.cut(1, 0.3), n, dlt)[row] == pytest.approx(above, abs=1e-5)
            at = np.searchsorted(density.cumsum(), [0.05, 0.95])
            quantiles = model.quantiles(np.array([0.05, 0.95]), n, dlt)[row]
            assert quantiles == pytest.approx(beta[at], abs=2e-4)
    assert LogisticModel(np.array(SKELETON), 1.34).cut(0, 0.96) == -np.inf  # the curve ends at expit(3)


def test_settled_counts_every_outcome_of_the_further_participants():
    """By hand: 0 to 3 DLTs among three more at level 3, each refitted, weighted by the estimate there."""
    design = crm(skeleton=SKELETON, settled_after=3)
    tally = state([3, 3, 18, 0, 0], [0, 0, 5, 0, 0], 2, (3, 1))
    p = design.posterior(tally).curve[0, 2]
    share = 0.0
    for more in range(4):
        after = Tally.of(n=[[3, 3, 21, 0, 0]], dlt=[[0, 0, 5 + more, 0, 0]], current=[2])
        if np.flatnonzero(design.select(after)[0]).tolist() == [2]:
            share += [1, 3, 3, 1][more] * p**more * (1 - p) ** (3 - more)
    assert 0.5 < share < 1
    for certainty, stops in ((share - 1e-9, True), (share + 1e-9, False)):
        design = crm(skeleton=SKELETON, settled_after=3, settled_certainty=certainty)
        assert bool(design.decide(tally).stops[0]) is stops


def test_selection_ignores_the_restrictions_and_may_be_untried():
    design = crm(skeleton=SKELETON)
    tally = state([3, 0, 0, 0, 0], [0] * 5, 0, (3, 0))
    assert np.flatnonzero(design.select(tally)[0]).tolist() == [4]
    assert not design.select(state([0] * 5, [0] * 5, 0)).any()


def test_never_ends_by_itself():
    design = crm(skeleton=SKELETON)
    decisions = design.decide(state([30, 0, 0, 0, 0], [30, 0, 0, 0, 0], 0, (3, 3)))
    assert not decisions.stops.any()
    assert design.own_maximum is None
    assert design.table() is None
    assert not design.eliminated(state([3, 0, 0, 0, 0], [3, 0, 0, 0, 0], 0)).any()


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "CRM, power model"),
        ({"no_skipping": False}, "CRM, power model, levels may be skipped"),
        ({"coherent": False}, "CRM, power model, escalation after DLTs allowed"),
        ({"model": "logistic", "estimate": "mle"}, "CRM, logistic model, maximum likelihood, two-stage"),
        ({"stop_above": 0.3, "settled_after": 6}, "CRM, power model, stops above 0.3, stops when settled for 6"),
    ],
)
def test_variant_is_named(options, label):
    assert crm(**options).label == label


@pytest.mark.parametrize(
    "wrong",
    [
        {"skeleton": (0.1, 0.1, 0.2)},
        {"skeleton": (0.3, 0.2)},
        {"skeleton": (0.0, 0.2)},
        {"skeleton": (0.2, 1.0)},
        {"target": 0.25, "halfwidth": 0.25},
        {"target": 0.9, "halfwidth": 0.1},
        {"prior_variance": 0.0},
        {"prior_variance": 5.0},
        {"prior_mtd": 0},
        {"model": "probit"},
        {"model": "logistic", "intercept": -1},
        {"model": "logistic", "intercept": 0, "skeleton": (0.2, 0.6)},
        {"stage_one": (1, 2)},
        {"two_stage": True, "stage_one": ()},
        {"two_stage": True, "stage_one": (0, 1)},
        {"stop_above": 0.3, "stop_certainty": 0.4},
        {"settled_after": 0},
        {"estimate": "mle", "curve": "posterior_mean"},
        {"interval": 1.0},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        CrmParameters(**wrong)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"skeleton": (0.1, 0.2)}, "protocol.design.skeleton"),
        ({"two_stage": True, "stage_one": (2, 3)}, "protocol.design.stage_one"),
        ({"two_stage": True, "stage_one": (1, 6)}, "protocol.design.stage_one"),
        ({"prior_mtd": 6}, "protocol.design.prior_mtd"),
        ({"target": 0.25, "halfwidth": 0.249}, "protocol.design.halfwidth"),
    ],
)
def test_parameters_that_do_not_fit_the_regimens_are_refused(options, path):
    with pytest.raises(DesignError) as raised:
        crm(**options)
    assert raised.value.fault.path == path
    assert raised.value.fault.remedy


GRID = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7)))


def test_on_a_grid_only_the_ladder_counts():
    with pytest.raises(DesignError, match=r"protocol\.design\.axis"):
        Crm(CrmParameters(), Setting(GRID, 3, 3))
    design = Crm(CrmParameters(axis="dose"), Setting(GRID, 3, 3))
    ladder_only = Tally.of(n=[[0, 0, 0, 3, 0, 0]], dlt=[[0] * 6], current=[3])
    with_others = Tally.of(n=[[3, 3, 3, 3, 0, 0]], dlt=[[3, 3, 3, 0, 0, 0]], current=[3])
    for tally in (ladder_only, with_others):
        assert design.decide(tally).regimen[0] == 4
        assert np.flatnonzero(design.select(tally)[0]).tolist() == [5]
    assert np.isnan(design.estimates(with_others).curve[0]).tolist() == [True] * 3 + [False] * 3
    with pytest.raises(OutcomeError, match="not on the ladder"):
        design.decide(Tally.of(n=[[3, 0, 0, 0, 0, 0]], dlt=[[0] * 6], current=[0]))


@st.composite
def batches(draw: st.DrawFn, rows: int = 12) -> Tally:
    size = draw(st.integers(1, rows))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = generator.integers(0, 13, (size, 5))
    dlt = generator.binomial(n, generator.uniform(0, 1, (size, 5)))
    cohort_n = generator.integers(0, 4, size)
    return Tally.of(
        n=n,
        dlt=dlt,
        current=generator.integers(0, 5, size),
        cohort_n=cohort_n,
        cohort_dlt=generator.binomial(cohort_n, 0.3),
    )


restrictions = st.fixed_dictionaries({"no_skipping": st.booleans(), "coherent": st.booleans()})


@settings(deadline=None)
@given(options=restrictions, tally=batches(), data=st.data())
def test_rows_are_decided_independently(options, tally, data):
    design = crm(skeleton=SKELETON, **options)
    order = np.array(data.draw(st.permutations(range(tally.rows))))
    whole, permuted = design.decide(tally).take(order), design.decide(tally.take(order))
    for field in ("action", "regimen", "size", "reason"):
        assert np.array_equal(getattr(whole, field), getattr(permuted, field))
    assert np.array_equal(design.select(tally)[order], design.select(tally.take(order)))


@settings(deadline=None)
@given(options=restrictions, tally=batches())
def test_one_trial_is_decided_as_in_a_batch(options, tally):
    design = crm(skeleton=SKELETON, **options)
    whole = design.decide(tally)
    for row in range(tally.rows):
        alone = design.decide(tally.take(slice(row, row + 1)))
        assert (alone.regimen[0], alone.reason[0]) == (whole.regimen[row], whole.reason[row])


@settings(deadline=None)
@given(options=restrictions, tally=batches())
def test_promises_hold_for_any_counts(options, tally):
    design = crm(skeleton=SKELETON, **options)
    decisions = design.decide(tally)
    assert len(design.properties()) == sum(options.values())
    for promise in design.properties():
        assert not promise.breaks(tally, decisions).any(), promise.name


def test_promises_notice_a_broken_rule():
    design = crm(skeleton=SKELETON)
    tally = Tally.of(n=[[3] * 5] * 2, dlt=[[0] * 5] * 2, current=[0, 0], cohort_n=[3, 3], cohort_dlt=[0, 2])
    wrong = Decisions(
        action=np.full(2, Action.ESCALATE, np.int32),
        regimen=np.array([2, 1], np.int32),
        size=np.full(2, 3, np.int32),
        reason=np.zeros(2, np.int32),
    )
    assert [promise.breaks(tally, wrong).tolist() for promise in design.properties()] == [[True, False], [False, True]]


@settings(deadline=None)
@given(tally=batches(), level=st.integers(0, 4))
def test_one_more_dlt_never_raises_the_recommendation(tally, level):
    rows = tally.dlt[:, level] < tally.n[:, level]
    if not rows.any():
        return
    fewer = tally.take(rows)
    dlt = fewer.dlt.copy()
    dlt[:, level] += 1
    more = Tally.of(n=fewer.n, dlt=dlt, current=fewer.current)
    design = crm(skeleton=SKELETON)
    assert (design.posterior(more).beta < design.posterior(fewer).beta).all()
    assert (design.select(more).argmax(axis=1) <= design.select(fewer).argmax(axis=1)).all()
