"""POCRM: the R package's fits, recommendations and operating characteristics; orderings and their checks."""

from __future__ import annotations

import numpy as np
import pytest

from designs.orderings import NAMES, broken_pair, named_ordering, not_separated
from designs.pocrm import Pocrm, PocrmParameters
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.exact import compile_graph
from escalation.guards import MaximumSize, StopAtN
from escalation.partial_order import lower_sets
from escalation.regimens import RegimenGrid
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.sampled import sample
from escalation.tally import Tally
from escalation.verify import verify

PUBLISHED = {
    "across_rows": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    "up_columns": [1, 6, 11, 2, 7, 12, 3, 8, 13, 4, 9, 14, 5, 10, 15],
    "up_diagonals": [1, 6, 2, 11, 7, 3, 12, 8, 4, 13, 9, 5, 14, 10, 15],
    "down_diagonals": [1, 2, 6, 3, 7, 11, 4, 8, 12, 5, 9, 13, 10, 14, 15],
    "alternating_down_first": [1, 2, 6, 11, 7, 3, 4, 8, 12, 13, 9, 5, 10, 14, 15],
    "alternating_up_first": [1, 6, 2, 3, 7, 11, 12, 8, 4, 5, 9, 13, 14, 10, 15],
}
"""On five doses by three frequencies, cells counted along the doses (Wages & Conaway 2013)."""
SURFACES = {
    "s1": [[0.05, 0.10, 0.15, 0.30, 0.45], [0.10, 0.15, 0.30, 0.45, 0.55], [0.15, 0.30, 0.45, 0.50, 0.60]],
    "s3": [[0.02, 0.07, 0.10, 0.15, 0.30], [0.07, 0.10, 0.15, 0.30, 0.45], [0.10, 0.15, 0.30, 0.45, 0.55]],
}
SELECTED = {
    "s1": [[0, 0, 0.05, 0.23, 0.05], [0, 0.03, 0.26, 0.04, 0], [0.03, 0.24, 0.06, 0, 0]],
    "s3": [[0, 0, 0, 0.05, 0.21], [0, 0, 0.03, 0.28, 0.05], [0, 0.06, 0.26, 0.05, 0]],
}
TREATED = {
    "s1": [[0.02, 0.03, 0.07, 0.15, 0.05], [0.03, 0.06, 0.20, 0.06, 0.01], [0.06, 0.16, 0.07, 0.01, 0]],
    "s3": [[0.02, 0.02, 0.03, 0.08, 0.13], [0.02, 0.03, 0.07, 0.17, 0.06], [0.03, 0.08, 0.18, 0.08, 0.02]],
}
"""R package pocrm 0.13, pocrm.sim: six orderings, equal prior, skeleton getprior(.03, .30, 8, 15), N = 60, one at a
time, first stage along the up diagonals, 1,000 trials; the package rounds to two decimals."""
PUBLISHED_RULE = {"no_skipping": False}


def grid_of(doses: int, frequencies: int) -> RegimenGrid:
    return RegimenGrid(
        doses=tuple(range(1, doses + 1)), schedules=tuple(tuple(range(f + 1)) for f in range(frequencies))
    )


GRID = grid_of(5, 3)


def pocrm(grid: RegimenGrid = GRID, cohort_size: int = 1, **parameters) -> Pocrm:
    return Pocrm(PocrmParameters.model_validate(parameters), Setting(grid, cohort_size=cohort_size, start=0))


def levels(ordering, grid: RegimenGrid = GRID) -> list[list[int]]:
    """Cells counted from 1 along the doses, as pairs of dose and frequency level."""
    return [[(cell - 1) % grid.n_doses + 1, (cell - 1) // grid.n_doses + 1] for cell in ordering]


# orderings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_named_orderings_are_the_published_ones(name):
    assert [k + 1 for k in named_ordering(name, GRID)] == PUBLISHED[name]


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (2, 2), (4, 4), (3, 6)])
@pytest.mark.parametrize("name", NAMES)
def test_named_orderings_are_linear_extensions_of_any_grid(name, shape):
    grid = grid_of(*shape)
    ordering = named_ordering(name, grid)
    assert sorted(ordering) == list(range(grid.size))
    assert broken_pair(ordering, grid) is None


def test_orderings_that_coincide_count_once():
    assert len(pocrm(grid_of(4, 1)).orderings) == 1
    both = pocrm(grid_of(2, 2), orderings=NAMES[:3], ordering_prior=(0.5, 0.2, 0.3))
    assert both.prior == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([[1, 1], [2, 1], [2, 2], [1, 2]], "level 2.2 comes before level 1.2, which is below it"),
        ([[1, 1], [2, 1], [1, 2]], "3 entries do not name each of 4 regimens once"),
        ([[1, 1], [2, 1], [1, 2], [1, 2]], "4 entries do not name each of 4 regimens once"),
        ([[1, 1], [3, 1], [1, 2], [2, 2]], r"\[3, 1\] is not on the grid of 2 doses by 2 frequencies"),
    ],
)
def test_an_ordering_against_the_partial_order_is_refused(given, said):
    with pytest.raises(DesignError, match=said):
        pocrm(grid_of(2, 2), further_orderings=[given])
    with pytest.raises(DesignError, match=said):
        pocrm(grid_of(2, 2), stage_one=given)


def test_what_orderings_do_not_separate():
    """Each ordering separates one pair per place; the six leave candidates in the middle of the grid uncovered."""
    six = tuple(named_ordering(name, GRID) for name in NAMES)
    missing = not_separated(six, GRID)
    every = 0
    for inside in lower_sets(*GRID.shape):
        below = set(np.flatnonzero(inside).tolist())
        smaller = [set(np.flatnonzero(GRID.at_most[:, k]).tolist()) - {k} for k in range(15)]
        every += sum(k not in below and smaller[k] <= below for k in range(15))
    covered = {(k, frozenset(ordering[:place])) for ordering in six for place, k in enumerate(ordering)}
    assert len(missing) == every - len(covered) > 0
    # dose 3 once is the MTD, dose 2 twice lies below the target, dose 1 three times above: no named ordering says so
    assert (2, frozenset({0, 1, 5, 6})) in missing
    added = (0, 1, 5, 6, 2, 10, 3, 7, 11, 4, 8, 12, 9, 13, 14)
    assert (2, frozenset({0, 1, 5, 6})) not in not_separated((*six, added), GRID)


# fits ---------------------------------------------------------------------------------------------


def case_of(case) -> tuple[Pocrm, Tally]:
    given = case["input"]
    size = len(given["skeleton"])
    grid = GRID if size == 15 else grid_of(size, 1)
    parameters = {
        "target": given["theta"],
        "skeleton": given["skeleton"],
        "ordering_prior": given["prior.o"],
        **PUBLISHED_RULE,
    }
    if size == 15:
        design = pocrm(grid, **parameters, orderings=[], further_orderings=[levels(o) for o in given["orders"]])
    else:  # the package's example knows no grid: its orderings are not extensions of an axis

        class Free(Pocrm):
            def _orderings(self):
                orders = tuple(tuple(k - 1 for k in order) for order in given["orders"])
                return orders, np.array(given["prior.o"])

        setting = Setting(grid, cohort_size=1, start=0)
        names = {"orderings": NAMES + NAMES[:2]}
        design = Free(PocrmParameters.model_validate({**parameters, **names}), setting)
    n, dlt = np.zeros((1, size), int), np.zeros((1, size), int)
    np.add.at(n[0], np.array(given["combos"]) - 1, 1)
    np.add.at(dlt[0], np.array(given["combos"]) - 1, given["y"])
    return design, Tally.of(n=n, dlt=dlt, current=[given["combos"][-1] - 1])


def test_fits_and_recommendations_are_those_of_the_package(golden):
    checked = 0
    for case in golden("pocrm_imp"):
        design, tally = case_of(case)
        shown = case["output"]
        fit = design.fit(tally)
        if "error" in shown:
            assert np.isnan(fit.exponent).all()
            continue
        precise = shown["full_precision"]
        assert fit.exponent[0] == pytest.approx(precise["a"], rel=2e-7)
        assert fit.log_likelihood[0] == pytest.approx(precise["loglik"], rel=1e-12)
        assert fit.weight[0] == pytest.approx(precise["ord.prob"], rel=1e-9)
        assert fit.exponent[0] == pytest.approx(precise["a"], rel=2e-7)
        share = design.decide(tally).allocation[0]
        assert {k - 1 for k in shown["dose.rec_set"]} == set(np.flatnonzero(share).tolist())
        checked += 1
    assert checked == 17


def test_the_weights_decide_or_are_drawn():
    counts = {"n": [[3, 3, 0, 0, 0, 3] + [0] * 9], "dlt": [[0, 0, 0, 0, 0, 1] + [0] * 9], "current": [5]}
    tally = Tally.of(**counts)
    best = pocrm(**PUBLISHED_RULE).decide(tally).allocation[0]
    design = pocrm(ordering_choice="randomised", **PUBLISHED_RULE)
    drawn = design.decide(tally).allocation[0]
    assert best.max() == 1
    fit = design.fit(tally)
    expected = np.zeros(15)
    for number, ordering in enumerate(design.orderings):
        estimate = design.skeleton ** fit.exponent[0, number]
        expected[ordering[int(np.argmin(np.abs(estimate - 0.3)))]] += fit.weight[0, number]
    assert drawn == pytest.approx(expected)


# two stages -----------------------------------------------------------------------------------------


def next_level(design: Pocrm, current: int, n: dict[int, int], dlt: dict[int, int]) -> tuple[str, str]:
    of, with_dlt = np.zeros((1, 15), int), np.zeros((1, 15), int)
    for k, count in n.items():
        of[0, k] = count
    for k, count in dlt.items():
        with_dlt[0, k] = count
    decided = design.decide(Tally.of(n=of, dlt=with_dlt, current=[current]))
    return design.grid.level(int(decided.regimen[0])), design.reasons[decided.reason[0]].code.removeprefix("pocrm.")


def test_the_first_stage_climbs_its_list():
    design = pocrm()
    assert next_level(design, 0, {}, {}) == ("1.1", "nobody_yet")
    assert next_level(design, 0, {0: 1}, {}) == ("1.2", "no_dlt_yet")
    assert next_level(design, 5, {0: 1, 5: 1}, {}) == ("2.1", "no_dlt_yet")
    assert next_level(design, 14, {0: 1, 14: 1}, {}) == ("5.3", "list_ended")
    across = pocrm(stage_one=levels(PUBLISHED["across_rows"]))
    assert next_level(across, 0, {0: 1}, {}) == ("2.1", "no_dlt_yet")


def test_only_dlts_go_back_as_the_two_functions_of_the_package_do():
    assert next_level(pocrm(), 1, {1: 1}, {1: 1}) == ("1.2", "only_dlts")
    assert next_level(pocrm(stage_one_after_dlt="restart"), 1, {1: 1}, {1: 1}) == ("1.1", "only_dlts")
    assert next_level(pocrm(), 0, {0: 1}, {0: 1}) == ("1.1", "only_dlts")


def test_what_is_selected_without_both_outcomes():
    tally = Tally.of(n=[[2, 2] + [0] * 13, [1] + [0] * 14, [0] * 15], dlt=[[0] * 15, [1] + [0] * 14, [0] * 15],
                     current=[1, 0, 0])  # fmt: skip
    assert [np.flatnonzero(row).tolist() for row in pocrm().select(tally)] == [[1], [], []]


def test_the_restriction_holds_a_jump_back():
    """Twelve without a DLT below, one of two at 1.2: unrestricted the next regimen lies far from any that was tried."""
    counts = ({0: 12, 5: 2}, {5: 1})
    free, _ = next_level(pocrm(**PUBLISHED_RULE), 0, *counts)
    held, _ = next_level(pocrm(), 0, *counts)
    tried = [(1, 1), (1, 2)]
    near = {(d + 1, f) for d, f in tried} | {(d, f + 1) for d, f in tried} | set(tried)
    assert tuple(int(part) for part in held.split(".")) in near
    assert free.count(".") == 1


# operating characteristics, engines, properties -----------------------------------------------------


@pytest.mark.parametrize("surface", SURFACES)
def test_operating_characteristics_are_those_of_the_package(surface):
    trials, theirs = 2_000, 1_000
    rows = sample(Rule(pocrm(**PUBLISHED_RULE), (MaximumSize(limit=60),)), np.ravel(SURFACES[surface]), 3, 0, trials)
    near_enough(rows, SELECTED[surface], TREATED[surface], trials, theirs)


def near_enough(rows: TrialRows, selected, treated, trials: int, theirs: int) -> None:
    """Within 4 standard errors and what two decimals leave open."""
    ours, shown = rows.selected.mean(axis=0), np.ravel(selected)
    share = np.clip((ours * trials + shown * theirs) / (trials + theirs), 2e-3, 1)
    error = np.sqrt(share * (1 - share) * (1 / trials + 1 / theirs))
    assert (np.abs(ours - shown) < 4 * error + 0.005).all(), np.abs(ours - shown) / error
    part = rows.n / rows.n.sum(axis=1, keepdims=True)
    error = part.std(axis=0) * np.sqrt(1 / trials + 1 / theirs) + 1e-4
    assert (np.abs(rows.n.sum(axis=0) / rows.n.sum() - np.ravel(treated)) < 4 * error + 0.0051).all()


def test_the_simulations_of_the_package_on_this_grid(golden):
    checked = 0
    for case in golden("pocrm_sim"):
        given, shown = case["input"], case["output"]
        if len(given["r"]) != 15:
            continue
        guards = (MaximumSize(limit=given["n"]), StopAtN(n=given["stop"]))
        design = pocrm(skeleton=given["skeleton"], stage_one=levels(given["x0"]), **PUBLISHED_RULE)
        rows = sample(Rule(design, guards), np.array(given["r"]), 3, 0, 2_000)
        near_enough(rows, shown["MTD.selection"], shown["patient.allocation"], 2_000, given["nsim"])
        size = rows.n.sum(axis=1)
        error = size.std() * np.sqrt(1 / 2_000 + 1 / given["nsim"])
        assert abs(size.mean() - shown["mean.n"]) <= 4 * error
        checked += 1
    assert checked == 2


TRUTH = [[0.06, 0.14, 0.28], [0.12, 0.26, 0.42]]


@pytest.mark.parametrize("choice", ["greatest_weight", "randomised"])
def test_exact_and_sampled_agree(agree, study_of, choice):
    rule = study_of({"name": "pocrm", "ordering_choice": choice}, TRUTH, max_patients=12).protocol.rule
    p = np.ravel(TRUTH)
    agree(sample(rule, p, 7, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)


def test_properties_on_every_reachable_state(study_of):
    """The model weighs all data, so a cohort with two DLTs need not hold it back: the published rule has no such
    promise, the guard ``coherence`` gives it."""
    proof = verify(study_of({"name": "pocrm"}, TRUTH, max_patients=15).protocol.rule)
    broken = {verdict.name for verdict in proof.verdicts if not verdict.holds}
    assert broken == {"no_escalation_after_two_dlts"}
    assert proof.states > 300
