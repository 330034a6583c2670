"""CRM, the continual reassessment method, along one axis.

One parameter beta describes every level. The skeleton s_k is the DLT probability thought likely
at level k before the trial, and the model bends it::

    power       p_k(beta) = s_k ** exp(beta)
    logistic    logit p_k(beta) = a + exp(beta) (logit s_k - a),    a = 3 unless stated

with beta ~ N(0, prior variance). After each cohort beta is re-estimated by its posterior mean, the
curve p_k is read off at that value, and the level closest to the target is recommended. When two
levels are equally close the lower one is taken; when every level is at or below the target the
highest is recommended, when every level is at or above it the lowest.

``estimate: mle`` takes the maximum of the likelihood instead. It exists only once there is a DLT
and a participant without one, so escalation has two stages: level by level (or along
``stage_one``) until the first DLT, then by the model. ``two_stage`` does the same before a Bayesian
second stage.

Where the rule departs from the 1990 paper, following later practice and R package dfcrm:

* power or logistic model and normal prior with variance 1.34 instead of hyperbolic tangent model and
  exponential prior; the curve is the model at the posterior mean of beta (plug-in), not the
  posterior mean of the curve, unless ``curve: posterior_mean`` asks for it;
* ``no_skipping`` and ``coherent`` restrict the way up, as in Goodman, Zahurak & Piantadosi (1995)
  and Cheung (2005). De-escalation is not restricted unless ``no_skipping_down`` is set;
* the first cohort is treated at the protocol's starting level, not at the prior MTD;
* when every participant had a DLT the maximum of the likelihood lies at infinity; the lowest level
  is then recommended (dfcrm refuses to estimate).

The trial ends by itself in two cases, both off unless asked for. ``stop_above``: the lowest level
is above that DLT probability with ``stop_certainty``; nothing is selected. ``settled_after``: with
probability ``settled_certainty`` or more the outcomes of that many further participants at the
recommended level would not change the recommendation, after O'Quigley & Reiner (1998). They look at
every path of the remaining participants; here all of them are treated at the recommended level, with
its estimated DLT probability. A ``stop_at_n`` guard ends the trial at a number of participants.

At the end the level closest to the target given all data is selected, without the restrictions,
even when nobody was treated there; only a trial without any outcome selects nothing.

References
----------
O'Quigley J, Pepe M, Fisher L (1990) Biometrics 46:33-48, doi:10.2307/2531628.
O'Quigley J, Shen LZ (1996) Biometrics 52:673-684, doi:10.2307/2532905 (maximum likelihood, two stages).
O'Quigley J, Reiner E (1998) Biometrika 85:741-748, doi:10.1093/biomet/85.3.741 (stopping).
Lee SM, Cheung YK (2009) Clin Trials 6:227-238, doi:10.1177/1740774509105076 (the skeleton).
Goodman SN, Zahurak ML, Piantadosi S (1995) Stat Med 14:1149-1161, doi:10.1002/sim.4780141102.
Cheung YK (2005) Biometrika 92:863-873, doi:10.1093/biomet/92.4.863.

Examples
--------
Three levels, target .25. The skeleton has the target at level 2, the prior MTD, and level 3 where
the power model puts it when the indifference interval is .20 to .30: log(.25) log(.30)/log(.20)
is the logarithm of .3545.

>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> design = Crm(CrmParameters(target=0.25, halfwidth=0.05), Setting(grid, cohort_size=3, start=0))
>>> design.skeleton.round(3)
array([0.157, 0.25 , 0.355])

Three participants without DLT at level 1 make beta positive and the curve lower: level 3 is now
closest to the target, but the next cohort may only go to level 2.

>>> seen = Tally.of(n=[[3, 0, 0]], dlt=[[0, 0, 0]], current=[0], cohort_n=[3], cohort_dlt=[0])
>>> belief = design.posterior(seen)
>>> belief.beta.round(2), belief.curve.round(2)
(array([0.71]), array([[0.02, 0.06, 0.12]]))
>>> decision = design.decide(seen)
>>> int(decision.regimen[0]) + 1, design.reasons[decision.reason[0]].code
(2, 'crm.one_level_at_a_time')
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom

from designs.axis import ladder_along
from designs.crm_model import LogisticModel, OneParameterModel, Partial, PowerModel, indifference_skeleton
from designs.crm_parameters import REASONS, CrmParameters
from escalation.decision import Action, Decisions, Reason
from escalation.design import Design, Estimates, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.tally import Bools, Counts, Floats, Tally

_TIE = 1e-10
"""Distances to the target closer than this are a tie: rounding never picks the level."""


_CASES = (
    "crm.lowest_too_toxic",
    "crm.nobody_yet",
    "crm.stage_one",
    "crm.settled",
    "crm.closest_is_current",
    "crm.one_level_down_at_a_time",
    "crm.closest_is_lower",
    "crm.incoherent_escalation",
    "crm.untried",
    "crm.one_level_at_a_time",
    "crm.closest_is_higher",
)
"""Reasons of the decision in the order its cases are tried."""

_STOP = np.int32(Action.STOP)
_MOVES = np.array([Action.STAY, Action.ESCALATE, Action.DE_ESCALATE], dtype=np.int32)
"""Actions by the sign of the move: none, up and, from the end, down."""


@dataclass(frozen=True, slots=True)
class CrmPosterior:
    """What the model believes, one row per trial.

    Attributes
    ----------
    beta, variance
        (S,) estimate of beta and its variance: posterior mean and variance, or the maximum of the
        likelihood and the inverse of its curvature there.
    curve
        (S, K) DLT probabilities compared with the target, NaN at regimens off the ladder.
    """

    beta: Floats
    variance: Floats
    curve: Floats


class Crm(Design[CrmParameters]):
    """The continual reassessment method along the dose axis or the frequency axis.

    Participants treated off the ladder, after a departure from the protocol, have no skeleton value
    and do not enter the likelihood.
    """

    name: ClassVar[str] = "crm"
    title: ClassVar[str] = "CRM"
    citation: ClassVar[str] = "O'Quigley, Pepe & Fisher (1990) Biometrics 46:33-48, doi:10.2307/2531628"
    Parameters = CrmParameters
    any_tally: ClassVar[bool] = True
    uses_last_cohort: ClassVar[bool] = True
    reasons: ClassVar[tuple[Reason, ...]] = REASONS

    def __init__(self, parameters: CrmParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.ladder = ladder_along(setting, parameters.axis)
        self.skeleton = self._skeleton()
        self.model = self._model()
        self._stage_one = self._list_of_stage_one()
        self._regimens = self.ladder.index.astype(np.int32)
        self._reasons = np.array([self.cite(code) for code in _CASES], dtype=np.int32)
        self._ends = np.array([self.reasons[reason].stop is not None for reason in self._reasons])

    def _model(self) -> OneParameterModel:
        parameters = self.parameters
        if parameters.model == "power":
            return PowerModel(self.skeleton, parameters.prior_variance)
        return LogisticModel(self.skeleton, parameters.prior_variance, parameters.intercept)

    def _skeleton(self) -> Floats:
        parameters, levels = self.parameters, len(self.ladder)
        if parameters.skeleton is not None:
            if len(parameters.skeleton) != levels:
                raise DesignError(
                    "protocol.design.skeleton",
                    f"{len(parameters.skeleton)} values for {levels} levels",
                    "give one DLT probability per level, or leave the skeleton out to have it computed",
                )
            return np.array(parameters.skeleton)
        prior_mtd = parameters.prior_mtd or (levels + 1) // 2
        if prior_mtd > levels:
            raise DesignError(
                "protocol.design.prior_mtd", f"level {prior_mtd} does not exist", f"use a level from 1 to {levels}"
            )
        intercept = parameters.intercept if parameters.model == "logistic" else None
        skeleton = indifference_skeleton(parameters.target, parameters.halfwidth, prior_mtd, levels, intercept)
        if skeleton[0] < 1e-12 or skeleton[-1] > 1 - 1e-12:
            raise DesignError(
                "protocol.design.halfwidth",
                f"the skeleton runs from {skeleton[0]:.3g} to {skeleton[-1]:.3g}, too close to 0 or 1 for the model",
                "lower halfwidth, or give the skeleton",
            )
        return skeleton

    def _list_of_stage_one(self) -> Counts | None:
        listed = self.parameters.stage_one
        if listed is None:
            return None
        start = int(self.ladder.position(np.array([self.start], dtype=np.int32))[0]) + 1
        if max(listed) > len(self.ladder) or listed[0] != start:
            raise DesignError(
                "protocol.design.stage_one",
                f"it starts at level {listed[0]} and reaches level {max(listed)}",
                f"start it at level {start}, where the protocol starts, and stay within {len(self.ladder)} levels",
            )
        return np.array(listed, dtype=np.int32) - 1

    @property
    def lowest(self) -> int:
        return self.ladder.regimens[0]

    @property
    def line(self) -> tuple[int, ...]:
        """The levels from the start upwards."""
        levels = self.ladder.regimens
        return levels[levels.index(self.start) :]

    @property
    def variant(self) -> str:
        """The model and the switches that are not at their default."""
        parameters = self.parameters
        named = (
            (parameters.estimate == "mle", "maximum likelihood"),
            (parameters.curve == "posterior_mean", "posterior mean of the curve"),
            (parameters.staged, "two-stage"),
            (not parameters.no_skipping, "levels may be skipped"),
            (parameters.no_skipping_down, "no skipping down"),
            (not parameters.coherent, "escalation after DLTs allowed"),
            (parameters.stop_above is not None, f"stops above {parameters.stop_above or 0:g}"),
            (parameters.settled_after is not None, f"stops when settled for {parameters.settled_after}"),
            (parameters.exceedance == "normal", "normal approximation"),
        )
        return ", ".join([f"{parameters.model} model", *(name for on, name in named if on)])

    def constants(self) -> dict[str, float | str | list[float]]:
        """The skeleton in force, and the prior."""
        parameters = self.parameters
        named: dict[str, float | str | list[float]] = {"skeleton": self.skeleton.tolist()}
        if parameters.model == "logistic":
            named["intercept"] = parameters.intercept
        return named | {"prior_variance": parameters.prior_variance}

    def decide(self, tally: Tally) -> Decisions:
        """The level closest to the target, held back by the restrictions, in every row."""
        parameters, nowhere = self.parameters, np.zeros(tally.rows, dtype=bool)
        level = self.ladder.position(tally.current)
        best = self._closest(tally)
        tried = tally.at_current(self._treated(tally)) > 0
        toxic = self._toxic_cohort(tally) if parameters.coherent else nowhere
        skips = best > level + 1 if parameters.no_skipping else nowhere
        falls = best < level - 1 if parameters.no_skipping_down else nowhere
        higher, anybody = best > level, self._anybody(tally)
        first, first_level = self._in_stage_one(tally, level)

        # the first case that holds decides; the reasons of the cases are in _CASES
        cases = (
            (anybody & self._too_toxic(tally), level),
            (~anybody, level),
            (first, first_level),
            (self._settled(tally, level, best), level),
            (best == level, level),
            (falls, level - 1),
            (best < level, best),
            (higher & toxic, level),
            (higher & ~tried & parameters.no_skipping, level),
            (skips, level + 1),
            (higher, best),
        )
        case = np.argmax(np.array([holds for holds, _ in cases]), axis=0)
        target = np.array([there for _, there in cases])[case, np.arange(tally.rows)]
        ends = self._ends[case]
        action = np.where(ends, _STOP, _MOVES[np.sign(target - level)])
        return Decisions(
            action=action,
            regimen=np.where(ends, tally.current, self._regimens[target]),
            size=np.where(ends, np.int32(0), np.int32(self.setting.cohort_size)),
            reason=self._reasons[case],
        )

    def select(self, tally: Tally) -> Bools:
        """The level closest to the target given all data, tried or not; none when nobody was evaluable."""
        best = self._closest(tally)
        first, first_level = self._in_stage_one(tally, self.ladder.position(tally.current))
        return self.ladder.mark(np.where(first, first_level, best), self._anybody(tally), self.grid.size)

    def posterior(self, tally: Tally) -> CrmPosterior:
        """The estimate of beta, its variance and the curve in force, in every row."""
        n, dlt, partial = self._seen(tally)
        if self.parameters.estimate == "mle":
            beta = self.model.most_likely(n, dlt, partial)
            variance = self.model.variance_at(beta, n, dlt, partial)
        else:
            beta, variance = self.model.moments(n, dlt, partial)
        if self.parameters.curve == "posterior_mean":
            curve = self.model.mean_curve(n, dlt, partial)
        else:
            curve = self.model.curve(beta)
        return CrmPosterior(beta, variance, self.ladder.spread(curve, self.grid.size))

    def estimates(self, tally: Tally) -> Estimates:
        """The curve at the estimate of beta, and the model at the ends of an equal-tailed interval of beta."""
        parameters, found = self.parameters, self.posterior(tally)
        tail = (1 - parameters.interval) / 2
        if self._normal:
            spread = NormalDist().inv_cdf(1 - tail) * np.sqrt(found.variance)
            low, high = found.beta - spread, found.beta + spread
        else:
            low, high = self.model.quantiles(np.array([tail, 1 - tail]), *self._seen(tally)).T
        # a larger beta makes the curve lower
        lower, upper = self.model.curve(np.minimum(high, 700)), self.model.curve(low)
        at = "maximum likelihood estimate" if parameters.estimate == "mle" else "posterior mean"
        named = f"{parameters.model} model at the {at} of beta"
        if parameters.curve == "posterior_mean":
            named = f"posterior mean of the {parameters.model} model"
        of = "normal interval of beta" if self._normal else "credible interval of beta"
        return Estimates(
            curve=found.curve,
            lower=self.ladder.spread(lower, self.grid.size),
            upper=self.ladder.spread(upper, self.grid.size),
            level=parameters.interval,
            method=f"{named}; {of}",
            parameters={"beta": found.beta, "variance": found.variance},
        )

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the restrictions in force promise about every decision."""
        promised = []
        if self.parameters.no_skipping and self.parameters.stage_one is None:
            promised.append(SafetyProperty("never goes up more than one level at a time", self._skips))
        if self.parameters.coherent:
            promised.append(
                SafetyProperty(
                    "never escalates straight after a cohort with a DLT rate at or above the target", self._incoherent
                )
            )
        if self.parameters.stop_above is not None:
            promised.append(
                SafetyProperty(
                    f"never treats anyone once the lowest level is above {self.parameters.stop_above:g} "
                    f"with certainty {self.parameters.stop_certainty:g}",
                    lambda tally, decisions: self._anybody(tally) & self._too_toxic(tally) & ~decisions.stops,
                )
            )
        return tuple(promised)

    def _seen(self, tally: Tally) -> tuple[Counts, Counts, Partial | None]:
        """What enters the likelihood: (S, L) evaluable participants and DLTs, and participants in follow-up."""
        return tally.n[:, self.ladder.index], tally.dlt[:, self.ladder.index], None

    def _treated(self, tally: Tally) -> Counts:
        """Participants that count as treated at each regimen: (S, K)."""
        return tally.n

    def _anybody(self, tally: Tally) -> Bools:
        anybody: Bools = self._treated(tally)[:, self.ladder.index].sum(axis=1) > 0
        return anybody

    @property
    def _normal(self) -> bool:
        """Whether intervals are those of a normal distribution of beta."""
        return self.parameters.exceedance == "normal" or self.parameters.estimate == "mle"

    def _curve(self, n: Counts, dlt: Counts, partial: Partial | None) -> Floats:
        """The DLT probabilities that are compared with the target: (S, L)."""
        if self.parameters.curve == "posterior_mean":
            return self.model.mean_curve(n, dlt, partial)
        if self.parameters.estimate == "mle":
            return self.model.curve(self.model.most_likely(n, dlt, partial))
        return self.model.curve(self.model.moments(n, dlt, partial)[0])

    def _closest(self, tally: Tally) -> Counts:
        """Level closest to the target on the fitted curve, counted from 0, ties to the lower: (S,)."""
        return self._closest_on(self._curve(*self._seen(tally)))

    def _closest_on(self, curve: Floats) -> Counts:
        target = self.parameters.target
        # the curve increases: only the last level at or below the target and the first above it can be closest
        under = (curve <= target).sum(axis=1)
        above, below = np.minimum(under, len(self.ladder) - 1), np.maximum(under - 1, 0)
        rows = np.arange(len(curve))
        nearer = np.abs(curve[rows, above] - target) < np.abs(curve[rows, below] - target) - _TIE
        closest: Counts = np.where(nearer, above, below).astype(np.int32)
        return closest

    def _in_stage_one(self, tally: Tally, level: Counts) -> tuple[Bools, Counts]:
        """Rows still in the first stage, and the level of their next cohort."""
        if not self.parameters.staged:
            return np.zeros(tally.rows, dtype=bool), level
        first = tally.dlt[:, self.ladder.index].sum(axis=1) == 0
        if self._stage_one is None:
            tried = tally.at_current(self._treated(tally)) > 0
            return first, np.where(tried, np.minimum(level + 1, len(self.ladder) - 1), level).astype(np.int32)
        number = self._treated(tally)[:, self.ladder.index].sum(axis=1)
        return first, self._stage_one[np.minimum(number, len(self._stage_one) - 1)]

    def _too_toxic(self, tally: Tally) -> Bools:
        """Rows in which the lowest level is above the limit with the certainty asked for."""
        limit = self.parameters.stop_above
        if limit is None:
            return np.zeros(tally.rows, dtype=bool)
        cut, seen = self.model.cut(0, limit), self._seen(tally)
        if self.parameters.exceedance == "normal":
            mean, variance = self.model.moments(*seen)
            above = ndtr((cut - mean) / np.sqrt(variance))
        else:
            above = self.model.below(cut, *seen)
        toxic: Bools = above > self.parameters.stop_certainty
        return toxic

    def _settled(self, tally: Tally, level: Counts, best: Counts) -> Bools:
        """Rows in which further participants at the recommended level would hardly change the recommendation."""
        more, settled = self.parameters.settled_after, np.zeros(tally.rows, dtype=bool)
        if more is None:
            return settled
        rows = np.flatnonzero((best == level) & (tally.at_current(tally.n) > 0))
        if not rows.size:
            return settled
        n, dlt, partial = self._seen(tally.take(rows))
        chosen = best[rows]
        each = np.arange(len(rows))
        p = self._curve(n, dlt, partial)[each, chosen]
        n = n.copy()
        n[each, chosen] += more
        unchanged = np.zeros(len(rows))
        for further in range(more + 1):
            worse = dlt.copy()
            worse[each, chosen] += further
            same = self._closest_on(self._curve(n, worse, partial)) == chosen
            unchanged += same * binom.pmf(further, more, p)
        settled[rows] = unchanged >= self.parameters.settled_certainty
        return settled

    def _toxic_cohort(self, tally: Tally) -> Bools:
        """Rows whose last cohort had a DLT rate at or above the target; none where nobody of it was evaluable."""
        toxic: Bools = (tally.cohort_n > 0) & (tally.cohort_dlt >= self.parameters.target * tally.cohort_n - 1e-12)
        return toxic

    def _skips(self, tally: Tally, decisions: Decisions) -> Bools:
        broken: Bools = self.ladder.position(decisions.regimen) > self.ladder.position(tally.current) + 1
        return broken

    def _incoherent(self, tally: Tally, decisions: Decisions) -> Bools:
        stage_one = decisions.reason == self.cite("crm.stage_one")
        broken: Bools = self._toxic_cohort(tally) & (decisions.action == Action.ESCALATE) & ~stage_one
        return broken
