"""PIPE: the R package's posterior, candidates, recommendations and operating characteristics."""

from __future__ import annotations

import numpy as np
import pytest

from designs.pipe import Pipe, PipeParameters, beta_of_median
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.exact import compile_graph
from escalation.guards import MaximumSize
from escalation.regimens import RegimenGrid
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.sampled import sample
from escalation.tally import Tally
from escalation.verify import verify

CONSTRAINTS = {"neighbouring": "neighbouring", "no.dose.skip": "no_skip", "none": "none"}
SURFACES = {
    "s1": [[0.05, 0.10, 0.15, 0.30, 0.45], [0.10, 0.15, 0.30, 0.45, 0.55], [0.15, 0.30, 0.45, 0.50, 0.60]],
    "s3": [[0.02, 0.07, 0.10, 0.15, 0.30], [0.07, 0.10, 0.15, 0.30, 0.45], [0.10, 0.15, 0.30, 0.45, 0.55]],
    "s6": [[0.05, 0.08, 0.10, 0.13, 0.15], [0.09, 0.12, 0.15, 0.30, 0.45], [0.15, 0.30, 0.45, 0.50, 0.60]],
}
MEDIAN = ((0.02, 0.05, 0.10, 0.16, 0.23), (0.05, 0.10, 0.16, 0.23, 0.30), (0.10, 0.16, 0.23, 0.30, 0.38))
RECOMMENDED = {
    "s1": [[0, 0, 12.4, 15.5, 3.0], [0.7, 11.7, 16.1, 2.7, 0], [19.0, 16.3, 2.5, 0, 0]],
    "s3": [[0, 0, 0.4, 12.8, 16.0], [0, 0.7, 13.2, 15.1, 1.6], [4.7, 20.9, 13.5, 0.9, 0]],
    "s6": [[0, 0, 0.3, 5.0, 28.2], [0, 2.1, 17.5, 12.1, 1.6], [13.8, 15.2, 4.1, 0.1, 0]],
}
"""Percent of all recommendations: R package pipe.design 0.5.1, N = 60, cohorts of 3, theta .30, prior.ss 1/15,
strategy ss, admis closest, constraint neighbouring-nodiag, epsilon .8, 400 trials."""
NUMBER = {"s1": 2.22, "s3": 2.40, "s6": 2.55}
"""Mean number of recommended regimens in a trial of the same simulations."""
AT_MTD = {"s1": 38.3, "s3": 44.0, "s6": 21.7}
"""Percent of participants at regimens with a DLT probability equal to the target."""


def grid_of(shape: tuple[int, int]) -> RegimenGrid:
    frequencies, doses = shape
    return RegimenGrid(
        doses=tuple(range(1, doses + 1)), schedules=tuple(tuple(range(f + 1)) for f in range(frequencies))
    )


def pipe(shape=(3, 5), **parameters) -> Pipe:
    return Pipe(PipeParameters(**parameters), Setting(grid_of(shape), cohort_size=3, start=0, max_patients=60))


class GivenPrior(Pipe):
    """PIPE with the package's own, less precise, prior parameters."""

    given: tuple[np.ndarray, np.ndarray]

    def _prior(self):
        return self.given


def case_of(case, exact_prior: bool) -> tuple[Pipe, Tally]:
    given, shown = case["input"], case["output"]
    n, dlt = np.array(shown["n"]), np.array(shown["r"])
    constraint, _, no_diagonal = given["constraint"].partition("-")
    prior = {"prior_median": given["prior.med"], "prior_size": given["prior.ss"]} if "prior.med" in given else {}
    parameters = PipeParameters.model_validate(
        {
            **prior,
            "target": given["theta"],
            "epsilon": given["epsilon"],
            "constraint": CONSTRAINTS[constraint],
            "diagonal": not no_diagonal,
            "candidates": given["admis"],
            "strategy": {"ss": "sample_size", "ss-random": "sample_size_random"}[given["strategy"]],
            "stop_certainty": given.get("stop"),
            "alternate": given["alternate"],
            "non_admissible": [
                (dose + 1, often + 1) for often, dose in np.argwhere(given.get("non.admissible", np.zeros(n.shape)))
            ],
        }
    )
    setting = Setting(grid_of(n.shape), cohort_size=given["c"], start=0, max_patients=60)
    if exact_prior or not prior:
        GivenPrior.given = (np.ravel(shown["prior_a"]), np.ravel(shown["prior_b"]))
        design: Pipe = GivenPrior(parameters, setting)
    else:
        design = Pipe(parameters, setting)
    seen = given.get("data", {"doseA": [1], "doseB": [1]})
    here = (seen["doseA"][-1] - 1) * n.shape[1] + seen["doseB"][-1] - 1
    return design, Tally.of(n=[n.ravel()], dlt=[dlt.ravel()], current=[here])


def cells(mask: np.ndarray, grid: RegimenGrid) -> list[list[int]]:
    return sorted([[int(grid.frequency_of[k]) + 1, int(grid.dose_of[k]) + 1] for k in np.flatnonzero(mask)])


@pytest.mark.parametrize("exact_prior", [True, False], ids=["its prior", "our prior"])
def test_next_regimens_are_those_of_the_package(golden, exact_prior):
    checked = 0
    for case in golden("pipe_design"):
        design, tally = case_of(case, exact_prior)
        shown, shape = case["output"], design.grid.shape
        posterior = design.posterior(tally)
        if exact_prior:  # a prior median that is the target ties contours, which only rounding in the package decides
            assert (~posterior.modal_below[0]).reshape(shape).astype(int).tolist() == shown["mtc_mode"]
        tolerance = 1e-9 if exact_prior else 2e-3
        assert posterior.above[0] == pytest.approx(np.ravel(shown["prob_above_mtc"]), abs=tolerance)
        decided = design.decide(tally)
        if tally.total[0]:
            given = [[0, 0]] if decided.stops[0] else cells(decided.allocation[0] > 0, design.grid)
            assert given == shown["next_set"], case["input"]
        assert (cells(design.select(tally)[0], design.grid) or None) == (
            sorted(shown["rpII"]) if shown["rpII"] else None
        )
        checked += 1
    assert checked == 45


def test_alternating_goes_to_the_other_side_of_the_contour():
    """The example of the module, contour around 1.1, 2.1 and 1.2: from 1.1 below it, candidates 2.1 and 1.2 below
    and 2.2 above; alternating takes 2.2, from 2.2 above it 2.1 and 1.2. Without one on the other side nothing changes.
    """
    prior = {"prior_median": ((0.1, 0.2), (0.2, 0.4)), "epsilon": None, "diagonal": True}
    n, dlt = [[3, 0, 0, 0]] * 2, [[1, 0, 0, 0]] * 2
    tally = Tally.of(n=n, dlt=dlt, current=[0, 3])
    free, other = pipe((2, 2), **prior), pipe((2, 2), **prior, alternate=True)
    assert free.posterior(tally).modal_below.tolist() == [[True, True, True, False]] * 2
    assert free.decide(tally).allocation.tolist() == [[0, 1 / 3, 1 / 3, 1 / 3]] * 2
    assert other.decide(tally).allocation.tolist() == [[0, 0, 0, 1], [0, 0.5, 0.5, 0]]
    straight = pipe((2, 2), **prior | {"diagonal": False}, alternate=True)
    assert straight.decide(tally.take(np.array([0]))).allocation.tolist() == [[0, 0.5, 0.5, 0]]


def test_regimens_ruled_out_are_neither_treated_nor_recommended(study_of):
    ruled_out = ((2, 1), (3, 2))
    rule = study_of({"name": "pipe", "non_admissible": ruled_out}, TRUTH, max_patients=15).protocol.rule
    rows = sample(rule, np.ravel(TRUTH), 3, 0, 4_000)
    closed = [rule.grid.level(k) in ("2.1", "3.2") for k in range(6)]
    assert not rows.n[:, closed].any()
    assert not rows.selected[:, closed].any()
    assert (rows.n.sum(axis=0)[~np.array(closed)] > 0).all()
    assert "never at 2.1 3.2" in rule.design.label
    proof = verify(rule)
    assert {verdict.name: verdict.holds for verdict in proof.verdicts}["pipe.never_treats_a_non_admissible_regimen"]


def test_ruling_out_what_does_not_exist_or_the_start_is_refused():
    with pytest.raises(DesignError, match="not a regimen of this study"):
        pipe((2, 2), non_admissible=((3, 1),))
    with pytest.raises(DesignError, match="the trial starts there"):
        pipe((2, 2), non_admissible=((1, 1),))


def test_priors_have_their_median(golden):
    for case in golden("pipe_design"):
        if "prior.med" not in case["input"]:
            continue
        for median, size, a in zip(
            np.ravel(case["input"]["prior.med"]),
            np.ravel(case["input"]["prior.ss"]),
            np.ravel(case["output"]["prior_a"]),
            strict=True,
        ):
            assert beta_of_median(float(median), float(size))[0] == pytest.approx(a, abs=1e-4)


def test_randomised_strategy_draws_by_the_inverse_of_the_size():
    """At 2.1 three participants, at 1.2 none: with 1/4 of a participant each, 1/3.25 against 1/.25."""
    design = pipe((2, 2), prior_median=((0.1, 0.2), (0.2, 0.4)), strategy="sample_size_random")
    tally = Tally.of(n=[[3, 3, 0, 0]], dlt=[[1, 1, 0, 0]], current=[0])
    share = design.decide(tally).allocation[0]
    assert share[[1, 2]] == pytest.approx(np.array([1 / 3.25, 1 / 0.25]) / (1 / 3.25 + 1 / 0.25))


@pytest.mark.parametrize("surface", SURFACES)
def test_operating_characteristics_are_those_of_the_package(surface):
    trials, theirs = 4_000, 400
    rule = Rule(pipe(prior_median=MEDIAN, prior_size=1 / 15), (MaximumSize(limit=60),))
    p = np.ravel(SURFACES[surface])
    rows = sample(rule, p, 3, 0, trials)
    number = rows.selected.sum(axis=1)
    error = number.std() * np.sqrt(1 / trials + 1 / theirs)
    assert abs(number.mean() - NUMBER[surface]) < 4 * error + 0.005
    share = rows.selected.sum(axis=0) / number.sum()
    residual = rows.selected - share * number[:, None]
    error = residual.std(axis=0) / number.mean() * np.sqrt(1 / trials + 1 / theirs) + 1e-3
    assert (np.abs(share - np.ravel(RECOMMENDED[surface]) / 100) < 4 * error).all()
    at_mtd = rows.n[:, np.abs(p - 0.3) < 1e-9].sum(axis=1) / rows.n.sum(axis=1)
    error = at_mtd.std() * np.sqrt(1 / trials + 1 / theirs)
    assert abs(at_mtd.mean() - AT_MTD[surface] / 100) < 4 * error + 5e-4


def test_the_documented_simulation_of_the_package(golden):
    (case,) = golden("pipe_design_sim")
    given, shown = case["input"], case["output"]
    median = tuple(tuple(row) for row in given["prior.med"])
    design = pipe((5, 3), prior_median=median, prior_size=given["prior.ss"], diagonal=True)
    rows = sample(Rule(design, (MaximumSize(limit=30),)), np.ravel(given["pi"]), 3, 0, 4_000)
    number = rows.selected.sum(axis=1)
    error = number.std() * np.sqrt(1 / 4_000 + 1 / given["S"])
    assert abs(number.mean() - shown["mean_n_rpII"]) < 4 * error
    share = rows.selected.sum(axis=0) / number.sum()
    residual = rows.selected - share * number[:, None]
    error = residual.std(axis=0) / number.mean() * np.sqrt(1 / 4_000 + 1 / given["S"]) + 1e-3
    assert (np.abs(share - np.ravel(shown["recommendation"])) < 4 * error).all()
    treated = rows.n.sum(axis=0) / rows.n.sum()
    error = rows.n.std(axis=0) / 30 * np.sqrt(1 / 4_000 + 1 / given["S"]) + 1e-3
    assert (np.abs(treated - np.ravel(shown["experimentation"])) < 4 * error).all()


def test_wrong_matrices_are_refused():
    with pytest.raises(DesignError, match="2 by 2 values for 3 frequencies by 5 doses"):
        pipe(prior_median=((0.1, 0.2), (0.2, 0.4)))
    with pytest.raises(ValueError, match="must not fall"):
        PipeParameters(prior_median=((0.2, 0.1),))
    with pytest.raises(ValueError, match="rows of one length"):
        PipeParameters(prior_median=((0.1, 0.2), (0.2,)))
    with pytest.raises(ValueError, match="above 0"):
        PipeParameters(prior_size=0.0)


TRUTH = [[0.06, 0.14, 0.28], [0.12, 0.26, 0.42]]


@pytest.mark.parametrize(
    "switches",
    [
        {"strategy": "sample_size"},
        {"strategy": "sample_size_random"},
        {"alternate": True, "non_admissible": [[3, 2]]},
    ],
    ids=["least studied", "randomised", "alternating"],
)
def test_exact_and_sampled_agree(agree, study_of, switches):
    rule = study_of({"name": "pipe", **switches}, TRUTH, max_patients=15).protocol.rule
    p = np.ravel(TRUTH)
    agree(sample(rule, p, 7, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)


def test_properties_on_every_reachable_state(study_of):
    """As published, PIPE weighs all data together: two DLTs of the last three need not hold it back when earlier
    participants at the regimen had none (1.1NNN 1.2TTT 2.1NNT 2.1NNT 1.1NNN 1.1NTT)."""
    proof = verify(study_of({"name": "pipe"}, [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]], max_patients=21).protocol.rule)
    broken = {verdict.name for verdict in proof.verdicts if not verdict.holds}
    assert broken == {"no_escalation_after_two_dlts"}
    assert proof.states > 1_000
