"""BLRM on the grid: posteriors against MCMC and against the plain sum, overdose control, engines, properties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm, qmc

from designs.blrm_combination import BlrmCombination, BlrmCombinationParameters
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.exact import compile_graph
from escalation.regimens import RegimenGrid
from escalation.results import TrialRows
from escalation.sampled import sample
from escalation.tally import Tally
from escalation.verify import verify

TRUTH = [[0.06, 0.14, 0.28], [0.12, 0.26, 0.42]]


def combination(doses=(1.0, 2.0, 4.0), second=2, **parameters) -> BlrmCombination:
    grid = RegimenGrid(doses=doses, schedules=tuple(tuple(range(f + 1)) for f in range(second)))
    return BlrmCombination(
        BlrmCombinationParameters.model_validate(parameters), Setting(grid, cohort_size=3, start=0, max_patients=30)
    )


def case_of(case, **more) -> tuple[BlrmCombination, Tally]:
    """Rows of the package's matrices are drug A, here the doses; columns are drug B, here the second agent."""
    given = case["input"]
    design = combination(
        tuple(given["doses_A"]),
        len(given["doses_B"]),
        second_doses=given["doses_B"],
        reference_dose=given["ref_A"],
        reference_second=given["ref_B"],
        intercept_mean=[given["prior_intercept_mean"]] * 2,
        intercept_sd=[given["prior_intercept_sd"]] * 2,
        slope_mean=[given["prior_logslope_mean"]] * 2,
        slope_sd=[given["prior_logslope_sd"]] * 2,
        interaction_mean=given["prior_eta_mean"],
        interaction_sd=given["prior_eta_sd"],
        **more,
    )
    n, dlt = np.zeros((1, design.grid.size), int), np.zeros((1, design.grid.size), int)
    for a, b, toxic, size in given["cohorts"]:
        k = (b - 1) * design.grid.n_doses + a - 1
        n[0, k] += size
        dlt[0, k] += toxic
    return design, Tally.of(n=n, dlt=dlt, current=[0])


def largest_at_or_below(values: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate(np.maximum.accumulate(values, axis=0), axis=1)


def test_posteriors_are_those_of_the_package(golden):
    """Its samples are good to .005 in the means and .009 in the probabilities, our sums to about .01."""
    for case in golden("oncobayes2_dual_blrm"):
        design, tally = case_of(case)
        found = design.chances(tally)
        shape = (3, 5)
        assert pytest.approx(np.array(case["output"]["mean"]), abs=0.007) == found.mean[0].reshape(shape).T
        over = largest_at_or_below(np.array(case["output"]["p_over_033"]))
        assert pytest.approx(over, abs=0.015) == found.overdose[0].reshape(shape).T
        inside = 1 - np.array(case["output"]["p_under_016"]) - np.array(case["output"]["p_over_033"])
        assert pytest.approx(inside, abs=0.02) == found.target[0].reshape(shape).T


@pytest.mark.parametrize("rho", [0.0, -0.5])
def test_posteriors_are_those_of_the_formula(rho):
    """An independent sum over 2 ** 17 scrambled points of the model as it is written, with 30 participants."""
    design = combination(correlation=rho)
    n, dlt = np.array([3, 6, 6, 6, 6, 3]), np.array([0, 1, 1, 1, 2, 2])
    z = norm.ppf(qmc.Sobol(5, scramble=True, seed=3).random_base2(17))
    la1, la2 = -1.7346 + 1.5 * z[:, 0], -1.7346 + 1.5 * z[:, 2]
    b1 = np.exp(0.8 * (rho * z[:, 0] + np.sqrt(1 - rho**2) * z[:, 1]))
    b2 = np.exp(0.8 * (rho * z[:, 2] + np.sqrt(1 - rho**2) * z[:, 3]))
    probability = np.empty((len(z), 6))
    for k in range(6):
        d, f = (0.5, 1.0, 2.0)[k % 3], (1.0, 2.0)[k // 3]
        one, two = np.exp(la1) * d**b1, np.exp(la2) * f**b2
        odds = (one + two + one * two) * np.exp(z[:, 4] * d * f)
        probability[:, k] = odds / (1 + odds)
    likelihood = (probability**dlt * (1 - probability) ** (n - dlt)).prod(axis=1)
    weight = likelihood / likelihood.sum()
    found = design.chances(Tally.of(n=[n], dlt=[dlt], current=[0]))
    assert found.mean[0] == pytest.approx(weight @ probability, abs=0.003)
    inside = (probability >= 0.16) & (probability < 0.33)
    assert found.target[0] == pytest.approx(weight @ inside, abs=0.015)
    over = (weight @ (probability > 0.33)).reshape(2, 3)
    assert found.overdose[0] == pytest.approx(largest_at_or_below(over).ravel(), abs=0.015)


def test_the_log_odds_by_hand():
    """At the prior means of everything, regimen 1.1 of references 2 and 1: alpha exp(log .5) and alpha, eta 0."""
    design = combination()
    alpha = np.exp(-1.7346)
    one, two = alpha * 0.5, alpha
    middle = expit(np.log(one + two + one * two))
    centre = np.argmin(np.abs(design._columns[:, 0] - middle))
    assert design._columns[centre, 0] == pytest.approx(middle, abs=1e-3)


def test_overdose_control_stops_and_holds_back():
    design = combination()
    toxic = Tally.of(n=[[3, 0, 0, 0, 0, 0]], dlt=[[2, 0, 0, 0, 0, 0]], current=[0])
    assert design.chances(toxic).overdose[0, 0] > 0.25
    assert design.reasons[design.decide(toxic).reason[0]].code == "blrm_combination.no_admissible"
    assert not design.select(toxic).any()
    lax = combination(overdose_limit=1.0)
    assert not lax.decide(toxic).stops[0]
    nobody = Tally.of(n=[[0] * 6], dlt=[[0] * 6], current=[0])
    assert design.reasons[design.decide(nobody).reason[0]].code == "blrm_combination.nobody_yet"


def test_wrong_parameters_are_refused():
    with pytest.raises(DesignError, match="3 values for 2 frequencies"):
        combination(second_doses=[1, 2, 3])
    with pytest.raises(ValueError, match="increase from level to level"):
        BlrmCombinationParameters(second_doses=(2.0, 1.0))
    with pytest.raises(ValueError, match="two increasing numbers"):
        BlrmCombinationParameters(target_interval=(0.33, 0.16))
    grid = RegimenGrid(doses=(1,), schedules=((0, 3), (0, 7)))
    with pytest.raises(DesignError, match="do not increase in their number of infusions"):
        BlrmCombination(BlrmCombinationParameters(), Setting(grid, cohort_size=3, start=0))


def test_exact_and_sampled_agree(agree, study_of):
    rule = study_of({"name": "blrm_combination"}, TRUTH, max_patients=15).protocol.rule
    p = np.ravel(TRUTH)
    agree(sample(rule, p, 7, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)


def test_properties_on_every_reachable_state(study_of):
    """As published, the rule looks for the target interval: when every admissible regimen seems to lie below it, a
    lower one can be the likelier, so that a further DLT sends the next cohort higher (3.1NNN goes to 1.1, 3.1NNT
    stays)."""
    proof = verify(study_of({"name": "blrm_combination"}, TRUTH, max_patients=24).protocol.rule)
    assert {verdict.name for verdict in proof.verdicts if not verdict.holds} == {"coherent"}
    assert proof.states > 1_000
