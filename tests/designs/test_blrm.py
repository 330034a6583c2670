from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import expit

from designs.blrm import Blrm, BlrmParameters
from designs.blrm_model import LogisticPosterior
from escalation.branching import Front, branch, merge, onward
from escalation.decision import Action
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.exact import compile_graph
from escalation.guards import MaximumSize
from escalation.outcomes import parse
from escalation.regimens import RegimenGrid
from escalation.rule import Rule
from escalation.tally import Tally

GOLDEN = Path(__file__).parents[1] / "golden"
DOSES = (10, 25, 50, 100, 150)


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GOLDEN / name).read_text())["cases"]
    return found


def blrm(doses: tuple[float, ...] = DOSES, **parameters: Any) -> Blrm:
    grid = RegimenGrid(doses=doses, schedules=((0,),))
    return Blrm(BlrmParameters(**parameters), Setting(grid, 3, 0, 30))


def state(n: list[int], dlt: list[int], current: int, cohort: tuple[int, int] = (0, 0)) -> Tally:
    return Tally.of(n=[n], dlt=[dlt], current=[current], cohort_n=[cohort[0]], cohort_dlt=[cohort[1]])


def treated(outcomes: str, grid: RegimenGrid) -> Tally:
    n, dlt = [0] * grid.size, [0] * grid.size
    current = 0
    for cohort in parse(outcomes, grid):
        current = cohort.regimen
        n[current] += len(cohort.letters)
        dlt[current] += cohort.letters.count("T")
    return state(n, dlt, current)


EXACT = [case for case in cases("bcrm_exact.json") if case["input"]["ff"] == "logit2" and "error" not in case["output"]]


def test_the_exact_cases_are_here():
    assert len(EXACT) == 5


@pytest.mark.parametrize("case", EXACT)
def test_posterior_is_that_of_bcrm(case):
    """The log alpha of bcrm is its first parameter, log beta the second; both are normal there too."""
    given, expected = case["input"], case["output"]
    covariance = np.array(given["prior_cov"])
    sd = np.sqrt(np.diag(covariance))
    model = LogisticPosterior(
        np.exp(given["sdose"]),
        tuple(given["prior_mean"]),
        (float(sd[0]), float(sd[1])),
        float(covariance[0, 1] / sd.prod()),
        np.array([0.16, 0.33]),
        30,
    )
    found = model.summaries(np.array([given["n"]]), np.array([given["tox"]]))
    assert found.mean[0] == pytest.approx(np.array(expected["dose.mean"]), abs=1e-4)
    assert found.sd[0] == pytest.approx(np.array(expected["dose.sd"]), abs=1e-4)


@pytest.mark.parametrize("case", cases("crmpack_blrm.json"))
def test_probabilities_and_next_dose_are_those_of_crmpack(case):
    """50,000 draws: means were checked within .004 and probabilities within .014 of a dense grid."""
    given, expected = case["input"], case["output"]
    options: dict[str, Any] = {
        "target_interval": given["target"],
        "overdose_above": given["overdose_from"],
        "overdose_limit": given["max_overdose_prob"],
        "prior_mean": given["prior_mean"],
        "prior_sd": given["prior_sd"],
        "reference_dose": given["ref_dose"],
        "no_skipping": False,
    }
    doses = tuple(given["dose_grid"])
    design = blrm(doses, **options)
    tally = treated(given["outcomes"], design.grid)
    chances = design.chances(tally)
    assert chances.mean[0] == pytest.approx(np.array(expected["mean"]), abs=0.006)
    assert chances.target[0] == pytest.approx(np.array(expected["p_target"]), abs=0.015)
    assert chances.overdose[0] == pytest.approx(np.array(expected["p_overdose"]), abs=0.015)
    for limited, wanted in ((None, "next_dose_no_limit"), (1.0, "next_dose_with_limit")):
        decisions = blrm(doses, **options, max_increase=limited).decide(tally)
        chosen = None if decisions.stops[0] else doses[decisions.regimen[0]]
        assert chosen == expected[wanted]


@pytest.mark.parametrize("case", [c for c in cases("trialr_mcmc.json") if c["input"]["fn"] == "stan_nbg"])
def test_posterior_is_that_of_trialr(case):
    """20,000 draws: means were checked within .006 and overdose probabilities within .009 of a dense grid."""
    given, expected = case["input"], case["output"]
    design = blrm(
        tuple(given["real_doses"]),
        target=given["target"],
        recommend="closest_mean",
        overdose_limit=1.0,
        prior_mean=(given["alpha_mean"], given["beta_mean"]),
        prior_sd=(given["alpha_sd"], given["beta_sd"]),
        reference_dose=given["d_star"],
        no_skipping=False,
    )
    tally = treated(given["outcomes"], design.grid)
    chances = design.chances(tally)
    assert chances.mean[0] == pytest.approx(np.array(expected["prob_tox"]), abs=0.008)
    assert chances.overdose[0] == pytest.approx(np.array(expected["p_over_033"]), abs=0.012)
    assert chances.target[0] == pytest.approx(np.array(expected["p_target_016_033"]), abs=0.012)
    assert design.decide(tally).regimen[0] + 1 == expected["recommended_dose"]


def dense(design: Blrm, n: np.ndarray, dlt: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, target and overdose probabilities by plain sums over a very fine rectangular grid."""
    parameters = design.parameters
    first, second = np.linspace(-6.5, 6.5, 1601), np.linspace(-6.5, 6.5, 801)
    rho = parameters.prior_correlation
    log_beta = parameters.prior_mean[1] + parameters.prior_sd[1] * second
    log_alpha = parameters.prior_mean[0] + parameters.prior_sd[0] * (
        rho * second + np.sqrt(1 - rho**2) * first[:, None]
    )
    eta = log_alpha + np.exp(log_beta) * np.log(design.doses / design.reference)[:, None, None]
    likelihood = sum(
        dlt[k] * -np.logaddexp(0, -eta[k]) + (n[k] - dlt[k]) * -np.logaddexp(0, eta[k]) for k in range(len(n))
    )
    density = likelihood - (first[:, None] ** 2 + second**2) / 2
    density = np.exp(density - density.max())
    density /= density.sum()
    p = expit(eta)
    low, high = parameters.target_interval
    return tuple(
        np.array([(density * part).sum() for part in values])
        for values in (p, (p > low) & (p < high), p > parameters.overdose_threshold)
    )


@pytest.mark.parametrize("correlation", [0.0, -0.4])
@pytest.mark.parametrize(
    ("n", "dlt"),
    [
        ([3, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
        ([3, 3, 6, 3, 0], [0, 0, 2, 2, 0]),
        ([3, 0, 0, 0, 0], [3, 0, 0, 0, 0]),
        ([3, 6, 12, 9, 0], [0, 1, 3, 4, 0]),
        ([0, 0, 0, 0, 30], [0, 0, 0, 0, 1]),
    ],
)
def test_quadrature_agrees_with_a_much_finer_grid(n, dlt, correlation):
    design = blrm(prior_correlation=correlation)
    chances = design.chances(state(n, dlt, 0))
    mean, target, overdose = dense(design, np.array(n), np.array(dlt))
    assert chances.mean[0] == pytest.approx(mean, abs=1e-6)
    # the fine grid cuts between nodes, so its own probabilities are good to about a step of its density
    assert chances.target[0] == pytest.approx(target, abs=2e-3)
    assert chances.overdose[0] == pytest.approx(overdose, abs=2e-3)


def test_the_grid_grows_with_the_participants():
    """Twice as many nodes change nothing that matters, at 30 and at 60 participants."""
    generator = np.random.default_rng(3)
    doses = np.array(DOSES) / 50
    for participants in (30, 60):
        n = generator.multinomial(participants, np.full(5, 0.2), size=40)
        dlt = generator.binomial(n, np.sort(generator.uniform(0, 0.7, (40, 5)), axis=1))
        prior = ((-0.847, 0.381), (2.015, 1.027), 0.0, np.array([0.16, 0.33]))
        found = LogisticPosterior(doses, *prior, participants).summaries(n, dlt)
        finer = LogisticPosterior(doses, *prior, 4 * participants).summaries(n, dlt)
        assert found.mean == pytest.approx(finer.mean, abs=1e-7)
        assert found.sd == pytest.approx(finer.sd, abs=1e-7)
        assert found.below == pytest.approx(finer.below, abs=1e-5)


def test_quantiles_leave_the_right_mass_below():
    design = blrm()
    n, dlt = np.array([[3, 6, 3, 0, 0]]), np.array([[0, 1, 1, 0, 0]])
    quantiles = design.model.quantiles(np.array([0.05, 0.5, 0.95]), n, dlt)[0]
    assert (np.diff(quantiles, axis=1) > 0).all()
    for level in range(5):
        model = LogisticPosterior(
            design.doses / 50, (-0.847, 0.381), (2.015, 1.027), 0.0, np.sort(quantiles[level]), 30
        )
        assert model.summaries(n, dlt).below[0, level] == pytest.approx([0.05, 0.5, 0.95], abs=1e-7)


def test_only_the_prior_without_outcomes():
    """log alpha is the logit of the DLT probability at the reference dose, normal(-.847, 2.015) by itself."""
    from scipy.stats import norm

    chances = blrm().chances(state([0] * 5, [0] * 5, 0))
    z = (np.log([0.16 / 0.84, 0.33 / 0.67]) + 0.847) / 2.015
    assert chances.target[0, 2] == pytest.approx(norm.cdf(z[1]) - norm.cdf(z[0]), abs=1e-7)
    assert chances.overdose[0, 2] == pytest.approx(1 - norm.cdf(z[1]), abs=1e-7)


EDGES = [
    ("blrm.nobody_yet", state([0] * 5, [0] * 5, 0), {}, Action.STAY, 0),
    ("blrm.best_is_higher", state([3, 0, 0, 0, 0], [0] * 5, 0), {}, Action.ESCALATE, 1),
    ("blrm.limited", state([3, 3, 0, 0, 0], [0] * 5, 0), {}, Action.ESCALATE, 1),
    ("blrm.limited", state([3, 0, 0, 0, 0], [0] * 5, 0), {"max_increase": 1.0}, Action.STAY, 0),
    ("blrm.best_is_current", state([3, 3, 0, 0, 0], [0, 1, 0, 0, 0], 1), {}, Action.STAY, 1),
    ("blrm.best_is_lower", state([3, 6, 9, 0, 0], [0, 1, 4, 0, 0], 2), {"overdose_limit": 1.0}, Action.DE_ESCALATE, 1),
    ("blrm.overdose", state([3, 3, 0, 0, 0], [0, 2, 0, 0, 0], 1), {}, Action.DE_ESCALATE, 0),
    (
        "blrm.incoherent_escalation",
        state([3, 18, 0, 0, 0], [0, 1, 0, 0, 0], 1, (3, 1)),
        {"coherent": True},
        Action.STAY,
        1,
    ),
    ("blrm.no_admissible", state([3, 0, 0, 0, 0], [2, 0, 0, 0, 0], 0), {}, Action.STOP, 0),
    (
        "blrm.declared",
        state([3, 3, 15, 0, 0], [0, 0, 3, 0, 0], 2),
        {"declare_after": 6, "overdose_limit": 0.5},
        Action.STOP,
        2,
    ),
    (
        "blrm.declared",
        state([3, 9, 0, 0, 0], [0, 2, 0, 0, 0], 1),
        {"declare_after": 9, "declare_probability": 0.9, "declare_total": 12},
        Action.STOP,
        1,
    ),
]


@pytest.mark.parametrize(("expected", "tally", "options", "action", "there"), EDGES)
def test_edge(expected, tally, options, action, there):
    design = blrm(**options)
    decisions = design.decide(tally)
    assert design.reasons[decisions.reason[0]].code == expected
    size = 0 if action == Action.STOP else 3
    assert (decisions.action[0], decisions.regimen[0], decisions.size[0]) == (action, there, size)


def test_every_reason_is_reached_and_worded():
    assert {expected for expected, *_ in EDGES} == {reason.code for reason in Blrm.reasons}
    assert all(reason.line.endswith(".") and len(reason.paragraph) > 100 for reason in Blrm.reasons)


def test_the_recommendations_differ_where_they_should():
    tally = state([3, 6, 0, 0, 0], [0, 1, 0, 0, 0], 1)
    chances = blrm().chances(tally)
    admissible = chances.overdose[0] < 0.5
    best = {
        "target_interval": int(np.argmax(np.where(admissible, chances.target[0], -1))),
        "largest_admissible": int(admissible.sum()) - 1,
        "closest_mean": int(np.argmin(np.where(admissible, np.abs(chances.mean[0] - 0.2), 9))),
    }
    assert len(set(best.values())) > 1
    for name, level in best.items():
        design = blrm(recommend=name, target=0.2, overdose_limit=0.5, no_skipping=False)
        assert design.decide(tally).regimen[0] == level


def test_selection_is_among_levels_tried():
    tally = state([3, 3, 0, 0, 0], [0, 0, 0, 0, 0], 1)
    assert np.flatnonzero(blrm().select(tally)[0]).tolist() == [1]
    free = blrm(select_untried=True, overdose_limit=0.6)
    assert np.flatnonzero(free.select(tally)[0])[0] > 1
    assert not blrm().select(state([0] * 5, [0] * 5, 0)).any()
    assert not blrm().select(state([3, 0, 0, 0, 0], [3, 0, 0, 0, 0], 0)).any()


def test_promises_hold_on_every_reachable_state():
    design = blrm()
    rule = Rule(design, (MaximumSize(limit=24),))
    front, seen = Front.start(rule), 0
    while front.rows:
        branches = merge(branch(front), keep_cohort=True)
        decisions = rule.decide(branches.tally)
        seen += branches.tally.rows
        for promise in design.properties():
            assert not promise.breaks(branches.tally, decisions).any(), promise.name
        front, _ = onward(branches, decisions)
    assert seen > 300


def test_promises_notice_a_broken_rule():
    design, loose = blrm(), blrm(overdose_limit=1.0, no_skipping=False)
    tally = state([3, 0, 0, 0, 0], [2, 0, 0, 0, 0], 0)
    assert design.properties()[0].breaks(tally, loose.decide(tally)).all()
    clear = state([3, 0, 0, 0, 0], [0, 0, 0, 0, 0], 0)
    assert design.properties()[1].breaks(clear, loose.decide(clear)).all()


def test_exact_characteristics_are_a_law():
    rule = Rule(blrm(), (MaximumSize(limit=18),))
    graph = compile_graph(rule)
    share = graph.probabilities([[0.05, 0.1, 0.2, 0.35, 0.5], [0.5, 0.6, 0.7, 0.8, 0.9]])
    assert share.sum(axis=1) == pytest.approx(1)
    selected = share @ graph.selected
    assert selected[0].argmax() in (1, 2)
    assert selected[1].sum() < 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_interval": (0.3, 0.2)},
        {"overdose_above": 0.2},
        {"prior_sd": (0.0, 1.0)},
        {"prior_sd": (1.0, 9.0)},
        {"prior_correlation": 1.0},
        {"doses": (2.0, 1.0)},
        {"doses": (0.0, 1.0)},
        {"declare_total": 12},
        {"recommend": "middle"},
        {"reference_dose": 0},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        BlrmParameters(**wrong)


def test_doses_must_fit_the_levels():
    grid = RegimenGrid(doses=DOSES, schedules=((0,),))
    with pytest.raises(DesignError, match=r"protocol\.design\.doses"):
        Blrm(BlrmParameters(doses=(1.0, 2.0)), Setting(grid, 3, 0, 30))


def test_along_frequencies_the_dose_is_the_number_of_infusions():
    grid = RegimenGrid(doses=(1, 2), schedules=((0,), (0, 7), (0, 7, 14)))
    design = Blrm(BlrmParameters(axis="frequency"), Setting(grid, 3, 1, 18))
    assert design.doses.tolist() == [1, 2, 3]
    assert "dose is the number of infusions" in design.label
    assert design.constants()["reference_dose"] == 2
    same = RegimenGrid(doses=(1,), schedules=((0, 1), (0, 7)))
    with pytest.raises(DesignError, match=r"protocol\.design\.doses"):
        Blrm(BlrmParameters(), Setting(same, 3, 0, 18))
