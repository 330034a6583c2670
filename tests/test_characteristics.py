"""Operating characteristics: rows made by hand, errors by their formulas, and the optimal benchmark."""

from __future__ import annotations

import statistics
from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalation.benchmark import benchmark, exact_benchmark
from escalation.characteristics import MEASURES, Characteristics, Distribution, Estimate, Judgement, characterise
from escalation.results import Calendar, TrialRows
from escalation.sampled import sample
from escalation.streams import tolerances

TRUTH = np.array([0.1, 0.3, 0.5])
N = [[3, 3, 0], [3, 6, 3], [3, 3, 6], [3, 0, 0], [6, 3, 6]]
DLT = [[0, 2, 0], [0, 1, 2], [0, 0, 1], [3, 0, 0], [1, 0, 3]]
SELECTED = [0, 1, 2, None, 1]
REASON = ["second_dlt", "second_dlt", "top_accepted", "lowest_failed", "second_dlt"]


@pytest.fixture(scope="module")
def three(study_of):
    return study_of({"name": "three_plus_three"}, TRUTH.tolist()).protocol.rule


def rows_of(rule, n=N, dlt=DLT, selected=SELECTED, reason=REASON, calendar=None) -> TrialRows:
    chosen = np.zeros((len(n), len(n[0])), dtype=bool)
    for row, level in enumerate(selected):
        if level is not None:
            chosen[row, level] = True
    codes = [rule.reason_index[f"three_plus_three.{code}"] for code in reason]
    return TrialRows.of(
        n=np.array(n, np.int32),
        dlt=np.array(dlt, np.int32),
        selected=chosen,
        reason=np.array(codes, np.int32),
        calendar=calendar,
    )


def mean_and_error(values) -> Estimate:
    """SD / sqrt(S), by the standard library."""
    return Estimate(statistics.mean(values), statistics.stdev(values) / sqrt(len(values)))


def share_and_error(values) -> Estimate:
    """sqrt(p (1 - p) / S)."""
    share = sum(map(bool, values)) / len(values)
    return Estimate(share, sqrt(share * (1 - share) / len(values)))


def ratio_and_error(top, bottom) -> Estimate:
    """The delta method: sqrt(sum (a - R b)^2 / (S (S - 1))) / mean of b."""
    size, ratio = len(top), sum(top) / sum(bottom)
    spread = sum((a - ratio * b) ** 2 for a, b in zip(top, bottom, strict=True))
    return Estimate(ratio, sqrt(spread / (size * (size - 1))) / statistics.mean(bottom))


def close(found: Estimate, expected: Estimate) -> None:
    assert found.value == pytest.approx(expected.value, abs=1e-14)
    if expected.mcse is None:
        assert found.mcse is None
    else:
        assert found.mcse == pytest.approx(expected.mcse, abs=1e-14)


# by hand ---------------------------------------------------------------------------------------


def test_means_and_their_errors(three):
    found = characterise(rows_of(three), three, TRUTH, Judgement(0.3))
    assert (found.exact, found.trials) == (False, 5)
    for level in range(3):
        close(
            Estimate(found.selection[level], found.selection_mcse[level]),
            share_and_error([choice == level for choice in SELECTED]),
        )
        close(Estimate(found.patients[level], found.patients_mcse[level]), mean_and_error([n[level] for n in N]))
        close(Estimate(found.dlts[level], found.dlts_mcse[level]), mean_and_error([y[level] for y in DLT]))
    close(found.no_selection, share_and_error([0, 0, 0, 1, 0]))
    close(found.total_patients.mean, mean_and_error([sum(n) for n in N]))
    close(found.total_dlts.mean, mean_and_error([sum(y) for y in DLT]))
    assert found.total_patients.sd.value == pytest.approx(statistics.stdev(sum(n) for n in N))
    assert found.total_patients.maximum == 15
    assert found.expansion is None
    assert found.duration_days is None
    assert found.true_mtd.tolist() == [False, True, False]


def test_stop_reasons_are_shares_that_sum_to_one(three):
    found = characterise(rows_of(three), three, TRUTH, Judgement(0.3)).stop_reasons
    assert next(iter(found)) == "three_plus_three.second_dlt"
    assert {code.split(".")[1]: estimate.value for code, estimate in found.items()} == {
        "second_dlt": pytest.approx(0.6),
        "top_accepted": pytest.approx(0.2),
        "lowest_failed": pytest.approx(0.2),
    }
    close(found["three_plus_three.top_accepted"], share_and_error([0, 0, 1, 0, 0]))


@pytest.mark.parametrize("trials", [100, 10_000])
def test_the_error_of_a_share_is_that_of_a_binomial(three, trials):
    hits = trials // 5
    selected = [1] * hits + [0] * (trials - hits)
    rows = rows_of(three, [[3, 3, 0]] * trials, [[0, 0, 0]] * trials, selected, ["second_dlt"] * trials)
    found = characterise(rows, three, TRUTH, Judgement(0.3)).measures["correct_selection"]
    assert found.value == pytest.approx(0.2)
    assert found.mcse == pytest.approx(sqrt(0.2 * 0.8 / trials), rel=1e-12)


def test_measures(three):
    found = characterise(rows_of(three), three, TRUTH, Judgement(0.3)).measures
    absent = {"correct_frequencies", "moderate", "escalated", "backfilled"}  # of a contour, of grades, of a backfill
    assert set(found) == set(MEASURES) - absent
    total = [sum(n) for n in N]
    above = [n[2] for n in N]
    expected = {
        "correct_selection": [0, 1, 0, 0, 1],
        "selection_within": [0, 1, 0, 0, 1],
        "selection_above": [0, 0, 1, 0, 0],
        "selection_below": [1, 0, 0, 0, 0],
        "none_though_acceptable": [0, 0, 0, 1, 0],
        "overdosing_60": [a > 0.6 * t for a, t in zip(above, total, strict=True)],
        "overdosing_80": [0] * 5,
        "poor_allocation": [n[1] < t / 3 for n, t in zip(N, total, strict=True)],
    }
    for name, values in expected.items():
        close(found[name], share_and_error(values))
    close(found["patients_at_mtd"], ratio_and_error([n[1] for n in N], total))
    close(found["patients_above"], ratio_and_error(above, total))
    close(found["patients_below"], ratio_and_error([n[0] for n in N], total))
    close(found["dlt_rate"], ratio_and_error([sum(y) for y in DLT], total))
    close(found["expected_toxicity_of_selection"], ratio_and_error([0.1, 0.3, 0.5, 0, 0.3], [1, 1, 1, 0, 1]))
    bias = [0 / 3 - 0.1, 1 / 6 - 0.3, 1 / 6 - 0.5, 0, 0 / 3 - 0.3]
    close(found["observed_rate_bias_at_selection"], ratio_and_error(bias, [1, 1, 1, 0, 1]))


def test_overdosing_is_strict_and_names_its_denominator(three):
    """6 of 10 above the target is not more than 60 %; of the 18 planned even 9 of 12 is not."""
    n = [[4, 0, 6], [3, 0, 9], [2, 0, 8], [1, 0, 9], [0, 0, 17]]
    rows = rows_of(three, n, [[0, 0, 0]] * 5, [2] * 5, ["top_accepted"] * 5)
    assert three.max_patients == 18
    for denominator, sixty, eighty in (("actual", 4, 2), ("planned", 1, 1)):
        found = characterise(rows, three, TRUTH, Judgement(0.3, overdose_denominator=denominator)).measures
        assert found["overdosing_60"].value == pytest.approx(sixty / 5), denominator
        assert found["overdosing_80"].value == pytest.approx(eighty / 5), denominator
    margin = characterise(rows, three, TRUTH, Judgement(0.3, above_margin=0.2)).measures
    assert margin["overdosing_60"].value == 0  # .5 is not above .3 + .2


def test_the_time_table(three):
    clock = {name: np.zeros(5) for name in Calendar.__dataclass_fields__}
    clock["duration_days"] = np.array([100.0, 140.0, 90.0, 60.0, 200.0])
    clock["treated"] = np.array([6.0, 14.0, 12.0, 3.0, 17.0])
    clock["not_evaluable"] = np.array([0.0, 2.0, 0.0, 0.0, 2.0])
    clock["waiting_days"] = np.array([10.0, 70.0, 0.0, 5.0, 20.0])
    clock["held_window"] = np.array([50.0, 60.0, 40.0, 25.0, 90.0])
    clock["held_review"] = np.array([4.0, 6.0, 4.0, 2.0, 8.0])
    clock["held_stagger"] = np.array([0.0, 14.0, 0.0, 0.0, 3.0])
    found = characterise(rows_of(three, calendar=Calendar(**clock)), three, TRUTH, Judgement(0.3))
    close(found.duration_days.mean, mean_and_error(clock["duration_days"].tolist()))
    held = (clock["held_window"] + clock["held_review"] + clock["held_stagger"]).tolist()
    close(found.calendar["suspended_days"], mean_and_error(held))
    close(found.calendar["suspended_share"], ratio_and_error(held, clock["duration_days"].tolist()))
    close(found.calendar["mean_wait_days"], ratio_and_error(clock["waiting_days"].tolist(), clock["treated"].tolist()))
    close(found.calendar["suspended_for_review_days"], mean_and_error(clock["held_review"].tolist()))
    close(found.calendar["not_evaluable"], mean_and_error(clock["not_evaluable"].tolist()))


def test_expansion_is_counted_apart(study_of):
    rule = study_of({"name": "three_plus_three"}, TRUTH.tolist(), expansion={"size": 6}).protocol.rule
    rows = rows_of(rule).with_expansion(
        np.array([6, 3, 6, 0, 6], np.int32), np.array([1, 3, 0, 0, 2], np.int32), np.array([0, 1, 0, 0, 0], bool)
    )
    found = characterise(rows, rule, TRUTH, Judgement(0.3))
    assert found.expansion is not None
    close(found.expansion["patients"], mean_and_error([6, 3, 6, 0, 6]))
    close(found.expansion["dlts"], mean_and_error([1, 3, 0, 0, 2]))
    close(found.expansion["withdrawn"], share_and_error([0, 1, 0, 0, 0]))
    close(found.total_patients.mean, mean_and_error([12, 15, 18, 3, 21]))
    close(found.measures["dlt_rate"], ratio_and_error([2, 3, 1, 3, 4], [sum(n) for n in N]))  # escalation only
    assert found.selection.tolist() == [pytest.approx(x) for x in (0.2, 0.4, 0.2)]  # withdrawn or not


# distributions ---------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(0, 6), min_size=2, max_size=60))
def test_quantiles_are_those_of_the_observed_distribution(three, sizes):
    n = [[3 * size, 0, 0] for size in sizes]
    rows = rows_of(three, n, [[0, 0, 0]] * len(n), [0] * len(n), ["second_dlt"] * len(n))
    found = characterise(rows, three, TRUTH, Judgement(0.3)).total_patients
    values = [3.0 * size for size in sizes]
    for q, estimate in found.quantiles.items():
        assert estimate.value == np.quantile(values, q, method="inverted_cdf"), q
        assert estimate.mcse >= 0
    assert list(found.quantiles) == [0.05, 0.25, 0.5, 0.75, 0.95]
    assert found.sd.value == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert found.maximum == max(values)


def test_bootstrap_errors_are_those_of_theory(three):
    """Durations from a normal law: the error of the median is 1.2533 SD / sqrt(S), that of the SD is SD / sqrt(2 S)."""
    size, rng = 4000, np.random.default_rng(4)
    clock = {name: np.zeros(size) for name in Calendar.__dataclass_fields__}
    clock["duration_days"] = rng.normal(400, 50, size)
    clock["treated"] = np.ones(size)
    rows = rows_of(three, [[3, 0, 0]] * size, [[0, 0, 0]] * size, [0] * size, ["second_dlt"] * size, Calendar(**clock))
    found = characterise(rows, three, TRUTH, Judgement(0.3)).duration_days
    assert found.quantiles[0.5].mcse == pytest.approx(1.2533 * 50 / sqrt(size), rel=0.2)
    density = 0.10314 / 50  # of the standard normal at its 95 % quantile
    assert found.quantiles[0.95].mcse == pytest.approx(sqrt(0.95 * 0.05 / size) / density, rel=0.2)
    assert found.sd.mcse == pytest.approx(50 / sqrt(2 * size), rel=0.2)
    again = characterise(rows, three, TRUTH, Judgement(0.3)).duration_days
    assert again == found  # the bootstrap is keyed
    assert characterise(rows, three, TRUTH, Judgement(0.3), seed=1).duration_days != found


def every_estimate(found: Characteristics):
    yield found.no_selection
    for group in (found.stop_reasons, found.measures, found.calendar, found.expansion or {}):
        yield from group.values()
    for law in (found.total_patients, found.total_dlts, found.duration_days):
        if isinstance(law, Distribution):
            yield from (law.mean, law.sd, *law.quantiles.values())


def test_exact_numbers_carry_no_error_and_simulated_ones_all_do(study_of, characteristics_of):
    study = study_of({"name": "three_plus_three"}, TRUTH.tolist(), expansion={"size": 3})
    exact = characteristics_of(study)
    assert exact.exact
    assert exact.trials is None
    assert [estimate.mcse for estimate in every_estimate(exact)] == [None] * len(list(every_estimate(exact)))
    assert exact.selection_mcse is exact.patients_mcse is exact.dlts_mcse is None
    rule = study.protocol.rule
    simulated = characterise(sample(rule, TRUTH, 1, 0, 500), rule, TRUTH, Judgement(0.3))
    assert all(estimate.mcse is not None and estimate.mcse >= 0 for estimate in every_estimate(simulated))
    assert (simulated.selection_mcse > 0).all()


def test_one_trial_tells_nothing_about_its_error(three):
    """S - 1 is 0: an error of 0 would claim certainty."""
    rows = rows_of(three, N[1:2], DLT[1:2], SELECTED[1:2], REASON[1:2])
    found = characterise(rows, three, TRUTH, Judgement(0.3))
    assert np.isnan(found.selection_mcse).all()
    assert np.isnan(found.measures["correct_selection"].mcse)
    assert np.isnan(found.measures["dlt_rate"].mcse)
    assert found.measures["dlt_rate"].value == pytest.approx(3 / 12)


# what is right ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "rule", "mtd"),
    [
        ([0.1, 0.3, 0.5], "closest", [1]),
        ([0.1, 0.2, 0.4], "closest", [1, 2]),  # both .1 away
        ([0.45, 0.55, 0.65], "closest", [0]),
        ([0.01, 0.02, 0.03], "closest", [2]),
        ([0.1, 0.3, 0.3], "equal", [1, 2]),
        ([0.1, 0.29, 0.5], "equal", []),
        ([0.1, 0.28, 0.31], "largest_le", [1]),
        ([0.1, 0.28, 0.31], "closest", [2]),
        ([0.1, 0.3, 0.5], "largest_le", [1]),
        ([0.1, 0.1, 0.5], "largest_le", [0, 1]),
        ([0.31, 0.4, 0.5], "largest_le", []),
        ([0.0, 0.5, 1.0], "largest_le", [0]),
    ],
)
def test_the_true_mtd(truth, rule, mtd):
    assert np.flatnonzero(Judgement(0.3, mtd_rule=rule).true_mtd(np.array(truth))).tolist() == mtd


def test_when_every_level_is_too_toxic_none_is_right(three):
    toxic = np.array([0.4, 0.5, 0.6])
    found = characterise(rows_of(three), three, toxic, Judgement(0.3, mtd_rule="largest_le"))
    assert not found.true_mtd.any()
    assert found.measures["correct_selection"].value == pytest.approx(0.2)  # the one trial without a selection
    assert found.measures["none_though_acceptable"].value == 0
    assert found.measures["selection_below"].value == 0
    assert found.measures["selection_above"].value == pytest.approx(0.8)
    assert found.measures["patients_at_mtd"].value == 0
    assert found.measures["patients_above"].value == 1
    nearest = characterise(rows_of(three), three, toxic, Judgement(0.3))
    assert nearest.true_mtd.tolist() == [True, False, False]
    assert nearest.measures["correct_selection"].value == pytest.approx(0.2)
    assert nearest.measures["none_though_acceptable"].value == pytest.approx(0.2)


def test_margins(three):
    judged = Judgement(0.3, above_margin=0.03, within=0.02)
    assert judged.above(np.array([0.30, 0.33, 0.34])).tolist() == [False, False, True]
    rows = rows_of(three)
    found = characterise(rows, three, np.array([0.28, 0.33, 0.36]), judged).measures
    assert found["selection_within"].value == pytest.approx(0.2)
    assert found["selection_above"].value == pytest.approx(0.2)


def test_a_contour_is_right_when_every_frequency_is(study_of):
    truth = np.array([[0.1, 0.3, 0.5], [0.2, 0.34, 0.6], [0.4, 0.5, 0.6]])
    study = study_of({"name": "three_plus_three_contour"}, truth.tolist())
    rule = study.protocol.rule
    judged = Judgement(0.3)
    # in each frequency the dose closest to the target, when it is at most .05 above; the third has none
    assert np.flatnonzero(judged.true_mtd_of(truth.reshape(-1), rule)).tolist() == [1, 4]
    chosen = np.zeros((5, 9), dtype=bool)
    for row, cells in enumerate([(1, 4), (1, 4, 6), (1, 3), (1,), ()]):
        chosen[row, list(cells)] = True
    counts = np.full((5, 9), 3, np.int32)
    rows = TrialRows.of(counts, 0 * counts, chosen, np.zeros(5, np.int32))
    found = characterise(rows, rule, truth.reshape(-1), judged)
    assert found.measures["correct_selection"].value == pytest.approx(1 / 5)
    assert found.measures["selection_above"].value == pytest.approx(2 / 5)  # .34 and .40 are above
    assert "selection_within" not in found.measures
    # the second trial selects at the frequency that has no acceptable dose, the third and fourth miss one, the last two
    assert found.measures["correct_frequencies"].value == pytest.approx((1 + 2 / 3 + 2 / 3 + 2 / 3 + 1 / 3) / 5)
    assert found.measures["patients_at_mtd"].value == pytest.approx(2 / 9)
    assert found.measures["patients_below"].value == pytest.approx(2 / 9)
    assert found.no_selection.value == pytest.approx(1 / 5)


def test_summary_indices_of_a_plus_b(study_of, characteristics_of):
    """Expected toxicity level and expected overall toxicity rate of V1, printed to four places."""
    study = study_of({"name": "three_plus_three"}, [0.05, 0.15, 0.30, 0.45, 0.60])
    found = characteristics_of(study).measures
    assert found["expected_toxicity_of_selection"].value == pytest.approx(0.2070, abs=5e-5)
    assert found["dlt_rate"].value == pytest.approx(0.2152, abs=5e-5)


def test_observed_rates_at_the_selection_are_biased_downwards(study_of, characteristics_of):
    """A 3+3 declares levels that looked mild: by hand for one level, given that it passed."""
    study = study_of({"name": "three_plus_three"}, [0.3])
    passed = {(0, 3): 0.7**3, (1, 6): 3 * 0.3 * 0.7**2 * 0.7**3}
    bias = sum(q * (y / n - 0.3) for (y, n), q in passed.items()) / sum(passed.values())
    found = characteristics_of(study).measures["observed_rate_bias_at_selection"]
    assert found.value == pytest.approx(bias, abs=1e-14)
    assert found.value < -0.2


# the optimal benchmark -------------------------------------------------------------------------


def by_hand(truth, target, participants):
    """Every combination of bands the participants' tolerances can fall into."""
    edges = np.array([0.0, *sorted(set(truth)), 1.0])
    chosen = np.zeros(len(truth))
    for bands in product(range(len(edges) - 1), repeat=participants):
        chance = np.prod(np.diff(edges)[list(bands)])
        rates = np.array([np.mean([edges[band + 1] <= p for band in bands]) for p in truth])
        distance = np.abs(rates - target)
        tied = distance <= distance.min() + 1e-12
        chosen += chance * tied / tied.sum()
    return chosen


@pytest.mark.parametrize(
    "truth", [(0.1, 0.3, 0.5), (0.3, 0.3, 0.6), (0.0, 0.25, 1.0), (0.5, 0.2, 0.35), (0.45, 0.55, 0.65)], ids=str
)
@pytest.mark.parametrize("participants", [1, 2, 5])
def test_the_exact_benchmark_by_hand(truth, participants):
    judged = Judgement(0.3)
    found = exact_benchmark(np.array(truth), judged, participants)
    expected = by_hand(truth, 0.3, participants)
    np.testing.assert_allclose(found.selection, expected, rtol=0, atol=1e-12)
    distance = np.abs(np.array(truth) - 0.3)
    right = distance <= distance.min() + 1e-12
    close(found.correct_selection, Estimate(float(expected[right].sum()), None))
    assert found.selection_mcse is None


@pytest.mark.parametrize("truth", [(0.05, 0.15, 0.3, 0.45, 0.6), (0.25, 0.3, 0.35, 0.5, 0.5)], ids=str)
def test_exact_and_simulated_benchmark_agree(truth):
    p, judged = np.array(truth), Judgement(0.3)
    exact, simulated = exact_benchmark(p, judged, 24), benchmark(p, judged, 24, seed=2, trials=20_000)
    assert (np.abs(simulated.selection - exact.selection) <= 4 * simulated.selection_mcse + 1e-4).all()
    found, expected = simulated.correct_selection, exact.correct_selection.value
    assert abs(found.value - expected) <= 4 * found.mcse
    assert exact.selection.sum() == pytest.approx(1)
    assert found.mcse == pytest.approx(sqrt(expected * (1 - expected) / 20_000), rel=0.3)


def test_the_benchmark_sees_the_participants_the_designs_are_simulated_on():
    p = np.array([0.1, 0.3, 0.6])
    chosen = np.zeros(3)
    for people in tolerances(6, 0, 50, 10):
        distance = np.abs(np.array([np.mean(people <= q) for q in p]) - 0.3)
        tied = distance <= distance.min() + 1e-12
        chosen += tied / tied.sum() / 50
    np.testing.assert_allclose(benchmark(p, Judgement(0.3), 10, seed=6, trials=50).selection, chosen, atol=1e-12)


def test_no_design_of_the_size_beats_the_benchmark(study_of, characteristics_of):
    """BOIN has no prior, so with as many participants its share of correct selections lies below."""
    truth = [0.05, 0.15, 0.3, 0.45, 0.6]
    design = characteristics_of(study_of({"name": "boin"}, truth, max_patients=30))
    reference = exact_benchmark(np.array(truth), Judgement(0.3), 30)
    assert 0.5 < design.measures["correct_selection"].value < reference.correct_selection.value
