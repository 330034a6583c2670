"""BOIN-combination and Keyboard-combination: the packages' answers, their figures, and the rails of the grid."""

from __future__ import annotations

import numpy as np
import pytest

from designs.boin_combination import BoinCombination, BoinCombinationParameters
from designs.keyboard_combination import KeyboardCombination, KeyboardCombinationParameters
from escalation.design import Setting
from escalation.regimens import RegimenGrid
from escalation.simulate import simulate
from escalation.study import validate
from escalation.tally import Tally
from escalation.verify import verify

SURFACES = {
    "s1": [[0.05, 0.10, 0.15, 0.30, 0.45], [0.10, 0.15, 0.30, 0.45, 0.55], [0.15, 0.30, 0.45, 0.50, 0.60]],
    "s3": [[0.02, 0.07, 0.10, 0.15, 0.30], [0.07, 0.10, 0.15, 0.30, 0.45], [0.10, 0.15, 0.30, 0.45, 0.55]],
    "s4": [[0.30, 0.45, 0.60, 0.70, 0.80], [0.45, 0.55, 0.65, 0.75, 0.85], [0.50, 0.60, 0.70, 0.80, 0.90]],
    "s6": [[0.05, 0.08, 0.10, 0.13, 0.15], [0.09, 0.12, 0.15, 0.30, 0.45], [0.15, 0.30, 0.45, 0.50, 0.60]],
}
"""DLT probabilities by frequency (rows) and dose; published benchmark surfaces."""


def grid_of(shape: tuple[int, int]) -> RegimenGrid:
    frequencies, doses = shape
    return RegimenGrid(
        doses=tuple(range(1, doses + 1)), schedules=tuple(tuple(range(0, 7 * f + 1, 7)) for f in range(frequencies))
    )


def tally_of(case) -> tuple[Tally, RegimenGrid]:
    n, dlt = np.array(case["input"]["npts"]), np.array(case["input"]["ntox"])
    grid = grid_of(n.shape)
    frequency, dose = case["input"].get("dose.curr", (1, 1))
    here = (frequency - 1) * n.shape[1] + dose - 1
    return Tally.of(n=[n.ravel()], dlt=[dlt.ravel()], current=[here]), grid


def cells(mask: np.ndarray, grid: RegimenGrid) -> list[list[int]]:
    return sorted([[int(grid.frequency_of[k]) + 1, int(grid.dose_of[k]) + 1] for k in np.flatnonzero(mask)])


def setting(grid: RegimenGrid) -> Setting:
    return Setting(grid, cohort_size=3, start=0, max_patients=90)


def test_next_regimens_are_those_of_the_package_for_conduct(golden):
    checked = 0
    for case in golden("boin_next_comb"):
        if "error" in case["output"] or "n.earlystop" in case["input"]:  # stopping at n is a guard here
            continue
        tally, grid = tally_of(case)
        switches = {"extra_safe": case["input"].get("extrasafe", False), "block": "conduct"}
        design = BoinCombination(BoinCombinationParameters(target=case["input"]["target"], **switches), setting(grid))
        decided = design.decide(tally)
        given = [[None, None]] if decided.stops[0] else cells(decided.allocation[0] > 0, grid)
        assert given == sorted(case["output"]["next_set"], key=str), case["input"]
        if not decided.stops[0]:
            drawn = decided.allocation[0][decided.allocation[0] > 0]
            assert drawn == pytest.approx(1 / len(drawn))
        checked += 1
    assert checked == 48


def test_the_documented_case_in_which_the_package_simulates_another_rule():
    """n and DLTs (1,1) 3/0, (2,1) 6/1, (3,1) 6/3, (2,2) 6/1, at (2,2), as [frequency, dose]."""
    n = np.zeros((3, 5), int)
    dlt = np.zeros((3, 5), int)
    for (f, d), (of, with_dlt) in {(1, 1): (3, 0), (2, 1): (6, 1), (3, 1): (6, 3), (2, 2): (6, 1)}.items():
        n[f - 1, d - 1], dlt[f - 1, d - 1] = of, with_dlt
    grid = grid_of((3, 5))
    tally = Tally.of(n=[n.ravel()], dlt=[dlt.ravel()], current=[6])
    answers = {}
    for block in ("conduct", "simulate"):
        design = BoinCombination(BoinCombinationParameters(block=block), setting(grid))
        answers[block] = cells(design.decide(tally).allocation[0] > 0, grid)
    assert answers == {"conduct": [[2, 3]], "simulate": [[2, 3], [3, 2]]}


def test_selections_are_those_of_the_package(golden):
    checked = 0
    for case in golden("boin_select_mtd_comb"):
        given = case["input"]
        if "error" in case["output"] or given.get("mtd.contour"):  # a contour is the waterfall's
            continue
        tally, grid = tally_of(case)
        design = BoinCombination(
            BoinCombinationParameters(
                target=given["target"],
                elimination_certainty=given.get("cutoff.eli", 0.95),
                extra_safe=given.get("extrasafe", False),
                bound_mtd=given.get("boundMTD", False),
                select_elimination="cross",
                round_estimates=True,
            ),
            setting(grid),
        )
        selected = cells(design.select(tally)[0], grid) or [[99, 99]]
        assert selected == case["output"]["MTD"], given
        shown = np.array(case["output"]["p_est_2dp"]).ravel()
        assert design.isotonic_estimates(tally)[0] == pytest.approx(shown, abs=0.0051)
        checked += 1
    assert checked >= 20


def test_keyboard_decisions_are_those_of_the_package_with_its_mistaken_key(golden):
    for case in golden("keyboard_next_comb"):
        tally, grid = tally_of(case)
        parameters = KeyboardCombinationParameters(target=case["input"]["target"], decision_key="next_comb_kb")
        decided = KeyboardCombination(parameters, setting(grid)).decide(tally)
        assert case["output"]["next_dc"] in cells(decided.allocation[0] > 0, grid)


def study_of(design: str, surface: list[list[float]], size: int, **parameters: object):
    regimens = {"doses": [1, 2, 3, 4, 5], "frequencies": [[0], [0, 7], [0, 7, 14]]}
    protocol = {"regimens": regimens, "design": {"name": design, **parameters}, "max_patients": size}
    scenarios = [{"name": "assumed", "truth": surface}]
    return validate({"schema": 1, "id": "grid", "title": "grid", "protocol": protocol, "scenarios": scenarios})


@pytest.mark.parametrize(
    ("surface", "pcs", "stop", "dlts"),
    [("s1", 69.0, 0.01, 15.9), ("s3", 66.7, 0.0, 14.7), ("s4", 61.9, 21.14, 18.0), ("s6", 57.0, 0.02, 15.2)],
)
def test_operating_characteristics_are_those_of_the_package(surface, pcs, stop, dlts):
    """R package BOIN 2.7.2, get.oc.comb, target .30, 20 cohorts of 3, 10,000 trials; MCSE at most .5 points."""
    c = simulate(study_of("boin_combination", SURFACES[surface], 60), engine="sampled", trials=10_000, seed=11)
    found = c.scenarios[0].characteristics
    for ours, theirs in ((found.measures["correct_selection"], pcs / 100), (found.no_selection, stop / 100)):
        assert ours.mcse is not None
        theirs_mcse = np.sqrt(max(theirs * (1 - theirs), 1e-4) / 10_000)
        assert abs(ours.value - theirs) < 4 * np.hypot(ours.mcse, theirs_mcse)
    assert found.total_dlts.mean.value == pytest.approx(dlts, abs=0.05 + 4 * 0.07)


@pytest.mark.parametrize("design", ["boin_combination", "keyboard_combination"])
@pytest.mark.parametrize("ties", ["random", "dose_first", "frequency_first"])
def test_exact_and_sampled_agree(design, ties):
    study = study_of(design, SURFACES["s4"], 15, ties=ties)
    (exact,) = simulate(study, engine="exact").scenarios
    (sampled,) = simulate(study, engine="sampled", trials=20_000, seed=5).scenarios
    error = np.maximum(sampled.characteristics.selection_mcse, 1e-4)
    assert (np.abs(exact.characteristics.selection - sampled.characteristics.selection) < 4 * error).all()
    error = np.maximum(sampled.characteristics.patients_mcse, 1e-3)
    assert (np.abs(exact.characteristics.patients - sampled.characteristics.patients) < 4 * error).all()


@pytest.mark.parametrize("design", ["boin_combination", "keyboard_combination"])
def test_the_rails_of_the_grid_hold_on_every_reachable_state(design):
    proof = verify(study_of(design, SURFACES["s1"], 18).protocol.rule)
    broken = {verdict.name for verdict in proof.verdicts if not verdict.holds}
    # as BOIN itself: two DLTs of the last three can be outweighed by earlier participants at the regimen
    assert broken <= {"no_escalation_after_two_dlts"}
    assert proof.states > 1_000
