from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from designs.crm import Crm, CrmParameters
from designs.tite_crm import TiteCrm, TiteCrmParameters, adaptive_weights
from escalation.decision import Action
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.regimens import RegimenGrid
from escalation.tally import Tally

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "dfcrm_titecrm.json").read_text(encoding="utf-8")
)["cases"]
SKELETON = (0.0839734913056243, 0.156741021142636, 0.25, 0.354500427615112, 0.460343111085307)


def tite(levels: int = 5, grid: RegimenGrid | None = None, **parameters: Any) -> TiteCrm:
    grid = grid or RegimenGrid(doses=tuple(range(1, levels + 1)), schedules=((0,),))
    return TiteCrm(TiteCrmParameters(**parameters), Setting(grid, 1, 0, 30))


def seen(levels: int, level: list[int], time: list[float], dlt: list[int], current: int | None = None) -> Tally:
    """Participants one by one: level from 0, fraction of the window, and whether there is a DLT."""
    at, toxic, share = np.array(level), np.array(dlt, bool), np.array(time)
    done = toxic | (share >= 1)
    counts = {
        "n": np.bincount(at[done], minlength=levels),
        "dlt": np.bincount(at[toxic], minlength=levels),
        "pending": np.bincount(at[~done], minlength=levels),
        "exposure": np.bincount(at[~done], weights=share[~done], minlength=levels),
    }
    told = ~done | toxic
    people = {"person_at": [at[told]], "person_time": [share[told]], "person_dlt": [toxic[told]]}
    return Tally.of(**{name: [values] for name, values in counts.items()}, current=[current or level[-1]], **people)


@pytest.mark.parametrize("case", CASES)
def test_estimates_and_mtd_are_those_of_dfcrm(case):
    given, expected = case["input"], case["output"]
    if "error" in expected:
        pytest.skip("dfcrm gives no answer here")
    levels = len(given["prior"])
    design = tite(
        levels,
        target=given["target"],
        skeleton=given["prior"],
        model={"empiric": "power", "logistic": "logistic"}[given["model"]],
        weights=given.get("scheme", "linear"),
        estimate=given.get("method", "bayes"),
    )
    time = given["weights"] if "weights" in given else np.minimum(np.array(given["followup"]) / given["obswin"], 1)
    tally = seen(levels, [level - 1 for level in given["level"]], list(time), given["tox"])
    found = design.posterior(tally)
    # dfcrm maximises the likelihood to 1e-4
    within = 1e-4 if given.get("method") == "mle" else 1e-5
    assert found.beta[0] == pytest.approx(expected["estimate"], abs=within)
    assert found.curve[0] == pytest.approx(np.array(expected["ptox"]), abs=within)
    assert (np.flatnonzero(design.select(tally)[0]) + 1).tolist() == [expected["mtd"]]


def test_most_cases_have_an_answer():
    assert sum("error" not in case["output"] for case in CASES) == 54


@pytest.mark.parametrize("case", [case for case in CASES if case["input"].get("scheme") == "adaptive"])
def test_adaptive_weights_are_those_of_dfcrm(case):
    time = np.minimum(np.array(case["input"]["followup"]) / case["input"]["obswin"], 1)[None]
    toxic = np.array(case["input"]["tox"], bool)[None]
    weights = np.where(toxic, 1.0, adaptive_weights(time, toxic))
    assert weights[0] == pytest.approx(np.array(case["output"]["weights"]), abs=1e-12)


@pytest.mark.parametrize("weights", ["linear", "adaptive"])
def test_with_every_window_complete_it_is_the_crm(weights):
    generator = np.random.default_rng(5)
    n = generator.integers(0, 9, (200, 5))
    tally = Tally.of(n=n, dlt=generator.binomial(n, 0.25), current=generator.integers(0, 5, 200))
    setting = Setting(RegimenGrid(doses=(1, 2, 3, 4, 5), schedules=((0,),)), 1, 0, 30)
    crm, timed = Crm(CrmParameters(coherent=False), setting), TiteCrm(TiteCrmParameters(weights=weights), setting)
    for one, other in ((crm.decide(tally), timed.decide(tally)), (crm.posterior(tally), timed.posterior(tally))):
        assert np.array_equal(getattr(one, "regimen", 0), getattr(other, "regimen", 0))
        assert np.array_equal(getattr(one, "beta", 0), getattr(other, "beta", 0))
    assert np.array_equal(crm.select(tally), timed.select(tally))


def test_weights_go_from_nobody_to_a_complete_window():
    """Without follow-up a participant adds nothing, with a whole window as much as a complete one."""
    design = tite(skeleton=SKELETON)
    known = seen(5, [0, 0, 1], [1, 1, 0.4], [0, 0, 1])
    plus_nothing = seen(5, [0, 0, 1, 1], [1, 1, 0.4, 0.0], [0, 0, 1, 0])
    almost = seen(5, [0, 0, 1, 1], [1, 1, 0.4, 1 - 1e-9], [0, 0, 1, 0])
    complete = seen(5, [0, 0, 1, 1], [1, 1, 0.4, 1], [0, 0, 1, 0])
    assert design.posterior(plus_nothing).beta == pytest.approx(design.posterior(known).beta, abs=1e-12)
    assert design.posterior(almost).beta == pytest.approx(design.posterior(complete).beta, abs=1e-7)


def test_more_follow_up_without_dlt_never_raises_the_curve():
    design = tite(skeleton=SKELETON)
    curves = [design.posterior(seen(5, [0, 1, 1], [1, 0.5, time], [0, 1, 0])).curve[0] for time in np.linspace(0, 1, 9)]
    assert (np.diff(curves, axis=0) < 0).all()


def test_each_participant_has_a_weight_of_its_own():
    """Two participants followed for .2 and .8 are not two followed for .5: the likelihood is a product."""
    design = tite(skeleton=SKELETON)
    apart = design.posterior(seen(5, [0, 0], [0.2, 0.8], [0, 0])).beta[0]
    alike = design.posterior(seen(5, [0, 0], [0.5, 0.5], [0, 0])).beta[0]
    assert abs(apart - alike) > 1e-3
    # totals alone are taken for equal follow-up
    totals = Tally.of(n=[[0] * 5], dlt=[[0] * 5], pending=[[2, 0, 0, 0, 0]], exposure=[[1, 0, 0, 0, 0]], current=[0])
    assert design.posterior(totals).beta[0] == pytest.approx(alike, abs=1e-12)


GRID = RegimenGrid(doses=(1, 2), schedules=((0,), (0, 7, 14)))
TRIANGLE = {"delayed": {"a": 1.0, "kernel": {"law": "triangular", "rise": 5, "fall": 16}}}


def test_hazard_weights_are_the_share_of_the_hazard_that_has_acted():
    """One infusion: after 5 of 21 days of the triangle 5/21 of it. Three: by day 14 less than two thirds."""
    setting = Setting(GRID, 1, 0, 30, (28, 28, 28, 28))
    design = TiteCrm(TiteCrmParameters(weights="hazard", hazard=TRIANGLE, axis="dose"), setting)
    day = np.array([[5, 14, 5, 14, 28]]) / 28
    at = np.array([[0, 0, 2, 2, 2]], np.int32)
    found = design._weights(at, day, np.zeros((1, 5), bool))[0]
    first = 25 / (5 * 21)

    def kernel(since: float) -> float:
        return since**2 / 105 if since <= 5 else 1 - max(21 - since, 0) ** 2 / (16 * 21)

    whole = kernel(28) + kernel(21) + kernel(14)
    expected = [first, kernel(14), first / whole, (kernel(14) + kernel(7)) / whole, 1]
    assert found == pytest.approx(expected, abs=1e-9)
    assert found[3] < 14 / 28 + 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": "hazard"},
        {"hazard": {"delayed": {"a": 1.0}}},
        {"weights": "hazard", "hazard": {"delayed": {}}},
        {"weights": "hazard", "hazard": {"delayed": {}, "calibrate": {"probability": 0.3, "acute_share": 0.0}}},
        {"weights": "kernel"},
        {"minimum_follow_up": 2},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        TiteCrmParameters(**wrong)


def test_a_hazard_that_never_acts_is_refused():
    with pytest.raises(DesignError, match=r"protocol\.design\.hazard"):
        tite(weights="hazard", hazard={"background": 0.0})


def test_follow_up_holds_an_escalation_back_when_asked():
    tally = seen(5, [0, 0, 0], [1, 1, 0.2], [0, 0, 0])
    free, held = tite(skeleton=SKELETON), tite(skeleton=SKELETON, minimum_follow_up=0.5)
    assert free.decide(tally).action[0] == Action.ESCALATE
    decision = held.decide(tally)
    assert (decision.action[0], decision.regimen[0]) == (Action.STAY, 0)
    assert held.reasons[decision.reason[0]].code == "tite_crm.too_little_follow_up"
    assert held.decide(seen(5, [0, 0, 0], [1, 1, 0.5], [0, 0, 0])).action[0] == Action.ESCALATE
    # a DLT needs no follow-up, and the way down is never held back
    down = seen(5, [1, 1, 1], [0.1, 0.1, 0.1], [1, 1, 0])
    assert held.decide(down).action[0] == Action.DE_ESCALATE


def test_without_any_follow_up_the_prior_does_not_escalate():
    design = tite(skeleton=SKELETON)
    decision = design.decide(seen(5, [0, 0], [0.0, 0.0], [0, 0]))
    assert design.reasons[decision.reason[0]].code == "crm.nobody_yet"


def test_labels_name_the_weights():
    assert tite().label == "TITE-CRM, linear weights, power model"
    assert tite(weights="adaptive", coherent=True).label == "TITE-CRM, adaptive weights, power model, coherent"
    assert "25% follow-up" in tite(minimum_follow_up=0.25).label
