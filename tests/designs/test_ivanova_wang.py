"""Ivanova-Wang: the up-and-down rule by hand and beside a plain one, frequencies in turn, engines and promises."""

from __future__ import annotations

import numpy as np
import pytest

from designs.ccd import Ccd, CcdParameters
from designs.ivanova_wang import IvanovaWang, IvanovaWangParameters
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.exact import compile_graph
from escalation.regimens import RegimenGrid
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.sampled import sample
from escalation.tally import Tally
from escalation.verify import verify


def grid_of(shape: tuple[int, int]) -> RegimenGrid:
    frequencies, doses = shape
    return RegimenGrid(
        doses=tuple(range(1, doses + 1)), schedules=tuple(tuple(range(0, 7 * f + 1, 7)) for f in range(frequencies))
    )


def ivanova(shape=(3, 5), cohort_size=3, max_patients=60, **parameters) -> IvanovaWang:
    setting = Setting(grid_of(shape), cohort_size=cohort_size, start=0, max_patients=max_patients)
    return IvanovaWang(IvanovaWangParameters(**parameters), setting)


def state(design: IvanovaWang, current: str, counts: dict[str, tuple[int, int]], cohort: tuple[int, int]) -> Tally:
    levels = [design.grid.level(k) for k in range(design.grid.size)]
    pairs = [counts.get(level, (0, 0)) for level in levels]
    return Tally.of(
        n=[[n for n, _ in pairs]],
        dlt=[[dlt for _, dlt in pairs]],
        current=[levels.index(current)],
        cohort_n=[cohort[0]],
        cohort_dlt=[cohort[1]],
        memory=[[0] * design.memory_size],
    )


def decided(design: IvanovaWang, current: str, counts: dict[str, tuple[int, int]], cohort: tuple[int, int]):
    tally = state(design, current, counts, cohort)
    decision = design.decide(tally)
    selected = [design.grid.level(int(k)) for k in np.flatnonzero(design.select(tally)[0])]
    where = None if decision.stops[0] else design.grid.level(int(decision.regimen[0]))
    return design.reasons[decision.reason[0]].code.removeprefix("ivanova_wang."), where, selected


# the rule at one frequency ------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "run"), [(0.50, 1), (0.33, 2), (0.30, 2), (0.25, 2), (0.20, 3), (0.10, 7)])
def test_participants_in_a_row(target, run):
    """k in a row aims at 1 - (1/2)^(1/k): .500, .293, .206; the k of the nearest target on that scale is taken."""
    assert IvanovaWangParameters(target=target).run == run
    assert IvanovaWangParameters(target=target, in_a_row=4).run == 4


@pytest.mark.parametrize(
    ("here", "cohort", "code", "where"),
    [
        ((3, 0), (3, 0), "clear_and_below", "3.1"),
        ((3, 1), (3, 1), "dlt_and_above", "1.1"),  # .33 is above .30
        ((6, 1), (3, 0), "clear_and_below", "3.1"),
        ((6, 1), (3, 1), "undecided", "2.1"),  # .17 is below, but the last cohort had a DLT
        ((6, 2), (3, 0), "undecided", "2.1"),  # .33 is above, but the last cohort had none
        ((10, 3), (3, 0), "undecided", "2.1"),  # exactly the target
        ((10, 3), (3, 2), "undecided", "2.1"),
        ((4, 0), (1, 0), "clear_and_below", "3.1"),  # a cohort cut short, nobody had a DLT
        ((4, 1), (1, 0), "undecided", "2.1"),  # a cohort cut short does not make a row of two
        ((3, 3), (3, 3), "eliminated", "1.1"),
        ((0, 0), (0, 0), "nobody_yet", "2.1"),
    ],
)
def test_narayana_by_hand(here, cohort, code, where):
    assert decided(ivanova(), "2.1", {"1.1": (3, 0), "2.1": here}, cohort)[:2] == (code, where)


def test_at_the_edges():
    design = ivanova()
    assert decided(design, "1.1", {"1.1": (3, 1)}, (3, 1))[:2] == ("at_lowest", "1.1")
    assert decided(design, "1.1", {"1.1": (3, 3)}, (3, 3)) == ("lowest_eliminated", None, [])
    assert decided(design, "5.1", {"1.1": (3, 0), "5.1": (3, 0)}, (3, 0))[:2] == ("nowhere_up", "5.1")
    closed = {"1.1": (3, 0), "2.1": (6, 0), "3.1": (3, 3)}
    assert decided(design, "2.1", closed, (3, 0))[:2] == ("nowhere_up", "2.1")
    free = ivanova(elimination_certainty=None)
    assert decided(free, "1.1", {"1.1": (3, 3)}, (3, 3))[:2] == ("at_lowest", "1.1")


def test_the_cumulative_rule_is_that_of_the_cumulative_cohort_design():
    """Every count up to 24 at the middle of three doses, beside the design it is taken from."""
    ours = ivanova((1, 3), max_patients=60, up_and_down="cumulative", elimination_certainty=None)
    theirs = Ccd(CcdParameters(), Setting(grid_of((1, 3)), cohort_size=3, start=0, max_patients=60))
    pairs = [(n, dlt) for n in range(1, 25) for dlt in range(n + 1)]
    zero = [0] * len(pairs)
    tally = Tally.of(
        n=[[3, n, 0] for n, _ in pairs], dlt=[[0, dlt, 0] for _, dlt in pairs], current=[1] * len(pairs), cohort_n=zero
    )
    np.testing.assert_array_equal(ours.decide(tally).regimen, theirs.decide(tally).regimen)
    assert {0, 1, 2} == set(ours.decide(tally).regimen.tolist())


# beside a plain rule, participant by participant --------------------------------------------------


def plain(outcomes: list[tuple[int, list[int]]], at: int, target: float, run: int) -> int:
    """Up (1), down (-1) or stay (0) from cohorts of (regimen, outcomes), read backwards at one regimen."""
    here = [cohort for regimen, cohort in outcomes if regimen == at]
    rate = sum(map(sum, here)) / sum(map(len, here))
    latest: list[int] = []
    for cohort in reversed(here):
        if len(latest) >= run:
            break
        latest += cohort
    if len(latest) >= run and not any(latest):
        return 1 if rate < target - 1e-12 else 0
    return -1 if any(latest) and rate > target + 1e-12 else 0


@pytest.mark.parametrize(("cohort_size", "target"), [(1, 0.3), (1, 0.2), (2, 0.2), (2, 0.3), (3, 0.3), (3, 0.2)])
def test_whole_trials_are_those_of_a_plain_rule(cohort_size, target):
    """On one frequency, 300 trials of up to 36 participants, so that regimens are left and come back to."""
    design = ivanova((1, 4), cohort_size, 36, target=target, elimination_certainty=None)
    rng = np.random.default_rng(11)
    came_back = 0
    for _ in range(300):
        p = np.sort(rng.uniform(0, 0.7, 4))
        n, dlt, here, memory = np.zeros((1, 4), int), np.zeros((1, 4), int), 0, np.zeros((1, design.memory_size), int)
        seen: list[tuple[int, list[int]]] = []
        for _ in range(36 // cohort_size):
            cohort = (rng.random(cohort_size) < p[here]).astype(int).tolist()
            seen.append((here, cohort))
            n[0, here] += cohort_size
            dlt[0, here] += sum(cohort)
            tally = Tally.of(
                n=n, dlt=dlt, current=[here], cohort_n=[cohort_size], cohort_dlt=[sum(cohort)], memory=memory
            )
            decision = design.decide(tally)
            if decision.stops[0]:
                assert n.sum() == 36
                break
            expected = min(max(here + plain(seen, here, target, design.parameters.run), 0), 3)
            assert decision.regimen[0] == expected
            came_back += expected < here
            here = expected
            memory = memory if decision.memory is None else decision.memory
    assert came_back > 50


def test_allocation_gathers_at_the_target():
    """The known property of the rule: with many participants nearly all get the dose at the target or beside it."""
    p = np.array([0.05, 0.12, 0.30, 0.50, 0.65])
    for size in (1, 3):
        design = ivanova((1, 5), size, 360, elimination_certainty=None)
        rows = sample(Rule(design), p, 3, 0, 400)
        share = rows.n.sum(axis=0) / rows.n.sum()
        assert np.argmax(share) == 2
        assert share[1:4].sum() > 0.95
        assert rows.selected.mean(axis=0)[2] > 0.95


# one frequency after another ----------------------------------------------------------------------


def test_participants_of_each_frequency():
    assert ivanova().places == (21, 21, 18)
    assert ivanova(cohorts=(2, 3, 4)).places == (6, 9, 12)
    assert ivanova((2, 2), max_patients=None).places == (9, 6)  # four for each of four regimens, in whole cohorts
    with pytest.raises(DesignError, match="3 frequencies"):
        ivanova(cohorts=(2, 3))
    with pytest.raises(DesignError, match="lowest frequency"):
        IvanovaWang(IvanovaWangParameters(), Setting(grid_of((3, 5)), cohort_size=3, start=5))
    with pytest.raises(ValueError, match="at least 1 cohort"):
        IvanovaWangParameters(cohorts=(2, 0))
    with pytest.raises(ValueError, match="delta"):
        IvanovaWangParameters(delta=0.4)


FIRST = {"1.1": (3, 0), "2.1": (3, 0), "3.1": (9, 2), "4.1": (6, 3)}
"""21 participants at frequency 1; dose 3 has .22, dose 4 has .50: the MTD dose is 3."""


def test_the_next_frequency_opens_one_dose_below_the_mtd():
    assert decided(ivanova(), "3.1", FIRST, (3, 0))[:2] == ("next_frequency", "2.2")
    assert decided(ivanova(row_start="lowest"), "3.1", FIRST, (3, 0))[:2] == ("next_frequency", "1.2")
    low = FIRST | {"1.1": (6, 0), "2.1": (0, 0)}  # never above the dose now open: both axes would rise
    assert decided(ivanova(), "1.1", low, (3, 0))[:2] == ("next_frequency", "1.2")


def test_the_ceiling():
    counts = FIRST | {"2.2": (3, 0), "3.2": (3, 0)}
    assert decided(ivanova(), "3.2", counts, (3, 0))[:2] == ("at_ceiling", "3.2")
    assert decided(ivanova(ceiling="tried_below"), "3.2", counts, (3, 0))[:2] == ("clear_and_below", "4.2")
    counts = counts | {"4.2": (3, 0)}
    assert decided(ivanova(ceiling="tried_below"), "4.2", counts, (3, 0))[:2] == ("at_ceiling", "4.2")
    free = ivanova(ceiling="none", elimination_certainty=None)
    assert decided(free, "4.2", counts, (3, 0))[:2] == ("clear_and_below", "5.2")


def test_endings():
    toxic = {"1.1": (21, 8)}  # .38, not eliminated, yet above the target: a higher frequency is not opened
    assert decided(ivanova(), "1.1", toxic, (3, 1)) == ("higher_frequency_too_toxic", None, ["1.1"])
    shut = {"1.1": (21, 2), "1.2": (3, 3)}
    assert decided(ivanova(), "1.2", shut, (3, 3)) == ("no_dose_at_frequency", None, ["1.1"])
    done = FIRST | {"2.2": (9, 2), "3.2": (12, 6), "1.3": (9, 2), "2.3": (9, 5)}
    assert decided(ivanova(), "2.3", done, (3, 1)) == ("complete", None, ["3.1", "2.2", "1.3"])


def test_selection_shares_what_all_frequencies_show():
    """2.2 shows no DLT among three, yet 2.1 had 3 of 9: together 3 of 12, so 2.2 is put beside 2.1 and not below it."""
    design = ivanova((2, 2), elimination_certainty=None)
    tally = state(design, "2.2", {"1.1": (6, 0), "2.1": (9, 3), "1.2": (6, 1), "2.2": (3, 0)}, (3, 0))
    estimate = design.isotonic_estimates(tally)[0]
    assert estimate[1] == pytest.approx((3 + 0.05 + 0.05) / 12.2)
    assert estimate[3] == pytest.approx(estimate[1])
    assert np.flatnonzero(design.select(tally)[0]).tolist() == [1, 3]


def test_two_dlts_in_the_last_cohort_need_not_keep_the_next_frequency_closed():
    """The one property of every design that it breaks: 2 of 9 are below the target, whatever the last three had."""
    design = ivanova((2, 2), max_patients=18)
    assert decided(design, "1.1", {"1.1": (9, 2)}, (3, 2))[:2] == ("next_frequency", "1.2")


# engines and properties ---------------------------------------------------------------------------

TRUTH = [[0.06, 0.14, 0.28], [0.12, 0.26, 0.42]]
KINDS = {
    "cohorts of three": ({}, {"max_patients": 21}),
    "one by one": ({}, {"max_patients": 12, "cohort_size": 1}),
    "cumulative": ({"up_and_down": "cumulative", "row_start": "lowest"}, {"max_patients": 21}),
    "no rails": ({"ceiling": "none", "elimination_certainty": None, "target": 0.2}, {"max_patients": 18}),
}


@pytest.mark.parametrize("truth", [TRUTH, [[0.3, 0.5, 0.6], [0.4, 0.6, 0.8]]])
@pytest.mark.parametrize("kind", KINDS)
def test_exact_and_sampled_agree(agree, study_of, kind, truth):
    parameters, protocol = KINDS[kind]
    rule = study_of({"name": "ivanova_wang", **parameters}, truth, **protocol).protocol.rule
    p = np.array(truth).ravel()
    agree(sample(rule, p, 7, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)


@pytest.mark.parametrize("kind", KINDS)
def test_properties_on_every_reachable_state(study_of, kind):
    """All hold, but for the one the module names; that one is broken by the history shown there and no other way."""
    parameters, protocol = KINDS[kind]
    proof = verify(study_of({"name": "ivanova_wang", **parameters}, TRUTH, **protocol).protocol.rule)
    broken = {verdict.name: verdict.counterexample for verdict in proof.verdicts if not verdict.holds}
    expected = {"no_escalation_after_two_dlts": "1.1NNN 2.1TTT 1.1NNN 1.1NTT"}
    assert broken == (expected if "one by one" not in kind and "no rails" not in kind else {})
    assert proof.states > 500
