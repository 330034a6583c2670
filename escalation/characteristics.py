"""Operating characteristics: what a design does under an assumed truth, with its Monte Carlo error.

One function serves every engine: exact rows carry their probabilities and no error, simulated
rows carry equal weights and a standard error on each number. Ratios (shares of patients, the DLT
rate) use the delta method; quantiles a bootstrap over trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from escalation.numerics import sum_by
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.streams import PURPOSES
from escalation.tally import Bools, Floats

MtdRule = Literal["closest", "equal", "largest_le"]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What counts as right: the target and how the true MTD follows from it."""

    target: float
    mtd_rule: MtdRule = "closest"
    above_margin: float = 0.0
    within: float = 0.05
    overdose_denominator: Literal["actual", "planned"] = "actual"

    def true_mtd(self, truth: Floats) -> Bools:
        """The regimens that are the true MTD, all False when none is acceptable: (K,)."""
        distance = np.abs(truth - self.target)
        if self.mtd_rule == "closest":
            return np.asarray(distance <= distance.min() + 1e-9)
        if self.mtd_rule == "equal":
            return np.asarray(distance < 1e-9)
        below = truth <= self.target + 1e-9
        return np.asarray(below & (truth >= np.max(truth, where=below, initial=-1.0) - 1e-9))

    def true_mtd_of(self, truth: Floats, rule: Rule) -> Bools:
        """The true MTD a design is asked for: for a contour, in each frequency the dose closest to the
        target when its DLT probability is at most target + 0.05 (Zhang & Yuan 2016); else :meth:`true_mtd`.
        """
        rows = truth.reshape(rule.grid.shape)
        if self.mtd_rule == "largest_le" and rule.grid.axis == "grid" and not rule.design.selects_contour:
            return np.concatenate([self.true_mtd(row) for row in rows])  # in each frequency the largest not above
        if not rule.design.selects_contour:
            return self.true_mtd(truth)
        distance = np.abs(rows - self.target)
        closest = distance <= distance.min(axis=1, keepdims=True) + 1e-9
        right: Bools = (closest & (rows <= self.target + 0.05 + 1e-9)).reshape(-1)
        return right

    def above(self, truth: Floats) -> Bools:
        """The regimens that are too toxic: (K,)."""
        toxic: Bools = truth > self.target + self.above_margin + 1e-9
        return toxic


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its Monte Carlo standard error, None when it is exact."""

    value: float
    mcse: float | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """Mean, standard deviation, quantiles and maximum of a quantity over trials."""

    mean: Estimate
    sd: Estimate
    quantiles: dict[float, Estimate]
    maximum: float


@dataclass(frozen=True)
class Characteristics:
    """Operating characteristics of one design under one truth.

    Matrices are flat arrays over the regimens, (K,); the ``*_mcse`` arrays are None when exact. ``patients`` and
    ``dlts`` are those of escalation and backfill together, ``backfill`` the backfilled among them, None without any.
    """

    exact: bool
    trials: int | None
    selection: Floats
    selection_mcse: Floats | None
    no_selection: Estimate
    patients: Floats
    patients_mcse: Floats | None
    dlts: Floats
    dlts_mcse: Floats | None
    total_patients: Distribution
    total_dlts: Distribution
    stop_reasons: dict[str, Estimate]
    expansion: dict[str, Estimate] | None
    duration_days: Distribution | None
    calendar: dict[str, Estimate] = field(default_factory=dict)
    measures: dict[str, Estimate] = field(default_factory=dict)
    true_mtd: Bools = field(default_factory=lambda: np.zeros(0, dtype=bool))
    backfill: Floats | None = None
    backfill_mcse: Floats | None = None

    @property
    def stages(self) -> str:
        """The stages whose participants are counted together, in words."""
        more = [name for name, part in (("expansion", self.expansion), ("backfill", self.backfill)) if part is not None]
        return " and ".join([", ".join(["escalation", *more[:-1]]), *more[-1:]])


class _Rows:
    """Weighted means over trial rows, and their errors."""

    def __init__(self, rows: TrialRows, seed: int) -> None:
        self.weight = rows.weight
        self.trials = rows.trials
        self.seed = seed

    def error(self, values: Floats, mean: Any, *, share: bool = False) -> Any:
        """MCSE of a mean over trials, SD / sqrt(S), along the first axis; of a share sqrt(p (1 - p) / S)."""
        if self.trials is None:
            return None
        if self.trials < 2:
            return np.full(np.shape(mean), np.nan) if np.ndim(mean) else float("nan")
        spread = np.maximum(self.weight @ (values - mean) ** 2, 0)
        return np.sqrt(spread / (self.trials if share else self.trials - 1))

    def mean(self, values: Any) -> Estimate:
        share = np.asarray(values).dtype == np.bool_
        values = np.asarray(values, dtype=float)
        mean = float(self.weight @ values)
        error = self.error(values, mean, share=share)
        return Estimate(mean, None if error is None else float(error))

    def means(self, values: Any) -> tuple[Floats, Floats | None]:
        share = np.asarray(values).dtype == np.bool_
        values = np.asarray(values, dtype=float)
        mean = self.weight @ values
        return mean, self.error(values, mean, share=share)

    def ratio(self, top: Any, bottom: Any) -> Estimate:
        """A ratio of means, its error by the delta method."""
        top, bottom = np.asarray(top, dtype=float), np.asarray(bottom, dtype=float)
        below = float(self.weight @ bottom)
        if below <= 0:
            return Estimate(float("nan"), None if self.trials is None else float("nan"))
        ratio = float(self.weight @ top) / below
        if self.trials is None:
            return Estimate(ratio, None)
        if self.trials < 2:
            return Estimate(ratio, float("nan"))
        spread = float(self.weight @ (top - ratio * bottom) ** 2)
        return Estimate(ratio, float(np.sqrt(spread / (self.trials - 1)) / below))

    def distribution(self, values: Any) -> Distribution:
        values = np.asarray(values, dtype=float)
        mean = self.mean(values)
        spread = max(float(self.weight @ (values - mean.value) ** 2), 0.0)
        if self.trials is not None and self.trials > 1:
            spread *= self.trials / (self.trials - 1)
        support, inverse = np.unique(values, return_inverse=True)
        mass = sum_by(inverse, self.weight, len(support))
        again = self._resampled(mass)
        points = _quantiles(support, mass[None, :])[0]
        errors = None if again is None else _quantiles(support, again).std(axis=0, ddof=1)
        sd_error = None if again is None else float(_spreads(support, again).std(ddof=1))
        held = support[mass > 1e-12]
        return Distribution(
            mean,
            Estimate(float(np.sqrt(spread)), sd_error),
            {
                q: Estimate(float(points[place]), None if errors is None else float(errors[place]))
                for place, q in enumerate(QUANTILES)
            },
            float(held.max(initial=0.0)),
        )

    def _resampled(self, mass: Floats) -> Floats | None:
        """Bootstrap samples of the trials, as masses on the support: (200, values); None when exact."""
        if self.trials is None:
            return None
        key = np.random.SeedSequence(self.seed, spawn_key=(PURPOSES.index("bootstrap"),))
        drawn = np.random.default_rng(key).multinomial(self.trials, mass / mass.sum(), size=200)
        return drawn / self.trials


def mean_over(rows: TrialRows, values: Any) -> Estimate:
    """The mean of a (T,) quantity over trials, with its error."""
    return _Rows(rows, 0).mean(values)


def ratio_over(rows: TrialRows, top: Any, bottom: Any) -> Estimate:
    """The ratio of the means of two (T,) quantities, its error by the delta method."""
    return _Rows(rows, 0).ratio(top, bottom)


def _spreads(support: Floats, mass: Floats) -> Floats:
    """Standard deviations of distributions on a common support, row by row."""
    mean = mass @ support
    return np.sqrt(np.maximum(mass @ support**2 - mean**2, 0.0))


def _quantiles(support: Floats, mass: Floats) -> Floats:
    """The smallest value at which the distribution reaches each quantile, row by row."""
    reached = np.cumsum(mass, axis=1)
    place = np.stack([(reached < q - 1e-9).sum(axis=1) for q in QUANTILES], axis=1)
    found: Floats = support[np.minimum(place, len(support) - 1)]
    return found


def characterise(rows: TrialRows, rule: Rule, truth: Floats, judgement: Judgement, *, seed: int = 0) -> Characteristics:
    """Operating characteristics of finished trials.

    Parameters
    ----------
    rows
        Trials of any engine.
    rule
        The rule they ran under; its catalogue names the stop reasons.
    truth
        (K,) assumed DLT probabilities.
    judgement
        What counts as right.
    seed
        Keys the bootstrap of the quantiles' errors.
    """
    over = _Rows(rows, seed)
    selection, selection_mcse = over.means(rows.selected)
    patients, patients_mcse = over.means(rows.at_regimen)
    dlts, dlts_mcse = over.means(rows.dlt_at_regimen)
    backfill, backfill_mcse = (None, None) if rows.backfill_n is None else over.means(rows.backfill_n)
    reasons = {
        reason.code: over.mean(rows.reason == position)
        for position, reason in enumerate(rule.reasons)
        if (rows.weight[rows.reason == position] > 0).any()
    }
    expansion = None
    if rule.expansion is not None:
        expansion = {
            "patients": over.mean(rows.expansion_n),
            "dlts": over.mean(rows.expansion_dlt),
            "withdrawn": over.mean(rows.withdrawn),
        }
    calendar = rows.calendar
    return Characteristics(
        exact=rows.trials is None,
        trials=rows.trials,
        selection=selection,
        selection_mcse=selection_mcse,
        no_selection=over.mean(~rows.selected.any(axis=1)),
        patients=patients,
        patients_mcse=patients_mcse,
        dlts=dlts,
        dlts_mcse=dlts_mcse,
        total_patients=over.distribution(rows.total),
        total_dlts=over.distribution(rows.total_dlt),
        stop_reasons=dict(sorted(reasons.items(), key=lambda item: -item[1].value)),
        expansion=expansion,
        duration_days=over.distribution(calendar.duration_days) if calendar is not None else None,
        calendar=_calendar(over, rows) if calendar is not None else {},
        measures=_measures(over, rows, rule, truth, judgement),
        true_mtd=judgement.true_mtd_of(truth, rule),
        backfill=backfill,
        backfill_mcse=backfill_mcse,
    )


def measure_rows(rows: TrialRows, rule: Rule, truth: Floats, judgement: Judgement) -> dict[str, Any]:
    """Quantities that belong to single trials, whose means are operating characteristics: each (T,), shares bool."""
    mtd, above = judgement.true_mtd_of(truth, rule), judgement.above(truth)
    total = np.maximum(rows.at_regimen.sum(axis=1), 1)
    chosen = rows.selected.any(axis=1)
    near = np.abs(truth - judgement.target) <= judgement.within + 1e-9
    planned = float(rule.max_patients)
    denominator = total if judgement.overdose_denominator == "actual" else planned
    overdosed = (rows.at_regimen * above).sum(axis=1) / denominator
    below_mtd = (truth < (truth[mtd].min() if mtd.any() else 0.0)) & ~mtd
    measured = {
        "correct_selection": _correct(rows.selected, mtd, rule),
        "correct_frequencies": _correct_frequencies(rows.selected, mtd, rule) if rule.design.selects_contour else None,
        "selection_within": (rows.selected & near).any(axis=1) if not rule.design.selects_contour else None,
        "selection_above": (rows.selected & above).any(axis=1),
        "selection_below": (rows.selected & below_mtd).any(axis=1) if not rule.design.selects_contour else None,
        "none_though_acceptable": ~chosen & mtd.any(),
        "overdosing_60": overdosed > 0.6,
        "overdosing_80": overdosed > 0.8,
        "poor_allocation": (rows.at_regimen * mtd).sum(axis=1) < total / rule.grid.size,
        "patients": rows.total,
        "dlts": rows.total_dlt,
        "escalated": None if rows.backfill_n is None else rows.n.sum(axis=1),
        "backfilled": None if rows.backfill_n is None else rows.backfill_n.sum(axis=1),
        "moderate": None if rows.moderate is None else rows.moderate.sum(axis=1),
    }
    return {name: np.asarray(values) for name, values in measured.items() if values is not None}


def _correct(selected: Bools, mtd: Bools, rule: Rule) -> Bools:
    """Trials whose selection is right; for a contour every frequency's at once."""
    if rule.design.selects_contour:
        return np.asarray(_right_at(selected, mtd, rule).all(axis=1))
    if not mtd.any():
        return np.asarray(~selected.any(axis=1))
    return np.asarray((selected & mtd).any(axis=1))


def _correct_frequencies(selected: Bools, mtd: Bools, rule: Rule) -> Floats:
    """Share of the frequencies whose selection is right, in every trial."""
    return np.asarray(_right_at(selected, mtd, rule).mean(axis=1))


def _right_at(selected: Bools, mtd: Bools, rule: Rule) -> Bools:
    """Frequencies at which a true MTD dose is selected, or none where there is none: (T, F)."""
    chosen, right = selected.reshape(-1, *rule.grid.shape), mtd.reshape(rule.grid.shape)
    return np.where(right.any(axis=1), (chosen & right).any(axis=2), ~chosen.any(axis=2))


def _measures(over: _Rows, rows: TrialRows, rule: Rule, truth: Floats, judgement: Judgement) -> dict[str, Estimate]:
    mtd, above = judgement.true_mtd_of(truth, rule), judgement.above(truth)
    measured = {
        name: over.mean(values)
        for name, values in measure_rows(rows, rule, truth, judgement).items()
        if name not in ("patients", "dlts")
    }
    escalation = rows.at_regimen.sum(axis=1)
    measured["patients_at_mtd"] = over.ratio((rows.at_regimen * mtd).sum(axis=1), escalation)
    measured["patients_above"] = over.ratio((rows.at_regimen * above).sum(axis=1), escalation)
    measured["patients_below"] = over.ratio((rows.at_regimen * (~mtd & ~above)).sum(axis=1), escalation)
    measured["dlt_rate"] = over.ratio(rows.dlt_at_regimen.sum(axis=1), escalation)
    chosen = rows.selected.sum(axis=1)
    measured["expected_toxicity_of_selection"] = over.ratio((rows.selected * truth).sum(axis=1), chosen)
    measured["observed_rate_bias_at_selection"] = _bias(over, rows, truth)
    return measured


def _bias(over: _Rows, rows: TrialRows, truth: Floats) -> Estimate:
    """Mean difference between the observed DLT rate at the selected regimen and its truth, given a selection."""
    n, dlt = rows.at_regimen, rows.dlt_at_regimen
    tried = rows.selected & (n > 0)
    rate = np.where(tried, dlt / np.maximum(n, 1) - truth, 0.0)
    return over.ratio(rate.sum(axis=1), tried.sum(axis=1))


def _calendar(over: _Rows, rows: TrialRows) -> dict[str, Estimate]:
    clock = rows.calendar
    assert clock is not None
    suspended = clock.held_window + clock.held_review + clock.held_stagger
    return {
        "treated": over.mean(clock.treated),
        "enrolment_days": over.mean(clock.enrolment_days),
        "not_evaluable": over.mean(clock.not_evaluable),
        "arrivals": over.mean(clock.arrivals),
        "screen_failures": over.mean(clock.screen_failures),
        "turned_away": over.mean(clock.turned_away),
        "left_queue": over.mean(clock.left_queue),
        "mean_wait_days": over.ratio(clock.waiting_days, clock.treated + clock.control),
        "suspended_days": over.mean(suspended),
        "suspended_share": over.ratio(suspended, clock.duration_days),
        "suspended_for_outcomes_days": over.mean(clock.held_window),
        "suspended_for_review_days": over.mean(clock.held_review),
        "suspended_for_stagger_days": over.mean(clock.held_stagger),
    }


MEASURES: Mapping[str, tuple[str, str]] = {
    "correct_selection": (
        "Correct selection (PCS)",
        "share of trials that select a true MTD, or none when there is none",
    ),
    "correct_frequencies": (
        "Frequencies selected right",
        "for a contour: mean share of the frequencies at which a true MTD dose is selected, or rightly none",
    ),
    "selection_within": ("Selected within the band", "share of trials whose selection lies in target +- the band"),
    "selection_above": ("Selected above the target", "share of trials that select a regimen above the target"),
    "selection_below": ("Selected below the MTD", "share of trials that select a regimen below every true MTD"),
    "none_though_acceptable": (
        "None though one is acceptable",
        "share of trials that select nothing although a true MTD exists",
    ),
    "escalated": ("Participants of escalation", "mean number evaluable, those of a backfill apart"),
    "backfilled": ("Backfilled participants", "mean number evaluable at regimens below the one under escalation"),
    "patients_at_mtd": (
        "Patients at the MTD (PCA)",
        "share of all patients of escalation, backfill included over trials",
    ),
    "patients_above": (
        "Patients above the target",
        "share of all patients of escalation, backfill included over trials",
    ),
    "patients_below": (
        "Patients below the MTD",
        "share of them at regimens that are neither a true MTD nor above the target",
    ),
    "overdosing_60": ("Risk of overdosing 60 %", "share of trials with more than 60 % of patients above the target"),
    "overdosing_80": ("Risk of overdosing 80 %", "share of trials with more than 80 % of patients above the target"),
    "poor_allocation": ("Poor allocation", "share of trials with fewer than N/K patients at the MTD"),
    "moderate": (
        "Moderate toxicities",
        "mean number of patients of escalation whose worst event is a moderate toxicity, where these are assumed",
    ),
    "dlt_rate": ("DLT rate (EOTR)", "DLTs over patients of escalation, backfill included"),
    "expected_toxicity_of_selection": (
        "Toxicity of the selection (ETL)",
        "mean true DLT probability of what is selected",
    ),
    "observed_rate_bias_at_selection": ("Bias of the observed rate", "observed minus true DLT rate at the selection"),
}
"""Names and definitions of the measures, in the order they are printed."""
