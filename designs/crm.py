"""CRM, the continual reassessment method with the power model, along one axis.

One parameter beta describes every level. The skeleton s_k is the DLT probability thought likely
at level k before the trial, and the model bends it::

    p_k(beta) = s_k ** exp(beta),    beta ~ N(0, prior variance)

After each cohort beta is re-estimated by its posterior mean, the curve p_k is read off at that
value, and the level closest to the target is recommended. When two levels are equally close the
lower one is taken; when every level is at or below the target the highest is recommended, when
every level is at or above it the lowest.

Where the rule departs from the 1990 paper, following later practice and R package dfcrm:

* power model and normal prior with variance 1.34 instead of hyperbolic tangent model and
  exponential prior; the curve is the model at the posterior mean of beta (plug-in), not the
  posterior mean of the curve;
* ``no_skipping`` and ``coherent`` restrict the way up, as in Goodman, Zahurak & Piantadosi (1995)
  and Cheung (2005). De-escalation is not restricted;
* the first cohort is treated at the protocol's starting level, not at the prior MTD.

At the end the level closest to the target given all data is selected, without the two
restrictions, even when nobody was treated there; only a trial without any outcome selects
nothing. The design does not stop by itself: put a
``too_toxic`` guard beside it where the lowest level may be unsafe.

References
----------
O'Quigley J, Pepe M, Fisher L (1990) Biometrics 46:33-48, doi:10.2307/2531628.
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
>>> belief = design.estimates(seen)
>>> belief.mean.round(2), belief.curve.round(2)
(array([0.71]), array([[0.02, 0.06, 0.12]]))
>>> decision = design.decide(seen)
>>> int(decision.regimen[0]) + 1, design.reasons[decision.reason[0]].code
(2, 'crm.one_level_at_a_time')
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from designs.axis import ladder_along
from escalation.decision import Action, Decisions, Reason
from escalation.design import Design, Parameters, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.tally import Bools, Counts, Floats, Tally

_TIE = 1e-10
"""Distances to the target closer than this are a tie: rounding never picks the level."""

_CHUNK = 64
"""Rows integrated at once: few enough to stay in cache, and for the matrix product to stay on one thread."""


class CrmParameters(Parameters):
    """Parameters of the CRM with the power model."""

    target: float = Field(default=0.25, gt=0, lt=1, description="Target DLT probability.")
    skeleton: tuple[float, ...] | None = Field(
        default=None,
        description="Prior DLT probability of each level, increasing; from halfwidth and prior_mtd if left out.",
    )
    halfwidth: float = Field(
        default=0.05,
        gt=0,
        description="Half width delta of the indifference interval target - delta to target + delta of the skeleton.",
    )
    prior_mtd: int | None = Field(
        default=None,
        ge=1,
        description="Level nu whose prior DLT probability is the target, counted from 1; "
        "the middle level (the lower of two) if left out.",
    )
    # the bounds keep the prior inside the quadrature's range and wider than its step
    prior_variance: float = Field(
        default=1.34, ge=0.01, le=4, description="Variance of the normal prior of beta, from .01 to 4."
    )
    no_skipping: bool = Field(
        default=True, description="Go up one level at a time, and only from a level that was tried."
    )
    coherent: bool = Field(
        default=True, description="Do not go up straight after a cohort whose DLT rate is at or above the target."
    )
    axis: Literal["dose", "frequency"] | None = Field(
        default=None,
        description="The axis to climb. Needed on a grid, where the other axis stays at the starting level.",
    )

    @model_validator(mode="after")
    def _usable(self) -> CrmParameters:
        if self.skeleton is None:
            if not 0 < self.target - self.halfwidth < self.target + self.halfwidth < 1:
                raise ValueError(
                    f"halfwidth {self.halfwidth:g} takes the indifference interval around the target "
                    f"{self.target:g} out of 0 to 1: lower halfwidth"
                )
            return self
        rising = all(a < b for a, b in zip(self.skeleton, self.skeleton[1:], strict=False))
        if not (rising and all(0 < p < 1 for p in self.skeleton)):
            raise ValueError("skeleton must increase from level to level and lie between 0 and 1: correct its entries")
        return self


def indifference_skeleton(target: float, halfwidth: float, prior_mtd: int, levels: int) -> Floats:
    """The skeleton whose neighbouring levels meet at the edges of the indifference interval.

    At the value of beta that puts level k at target - delta, level k+1 lies at target + delta, for
    every k; level ``prior_mtd`` (counted from 1) has the target itself.

    Examples
    --------
    >>> indifference_skeleton(0.25, 0.05, prior_mtd=3, levels=5).round(3)
    array([0.084, 0.157, 0.25 , 0.355, 0.46 ])
    """
    ratio = log(target + halfwidth) / log(target - halfwidth)
    skeleton: Floats = np.exp(log(target) * ratio ** (np.arange(1.0, levels + 1) - prior_mtd))
    return skeleton


class PowerModel:
    """The posterior of beta in p_k = s_k ** exp(beta), beta ~ N(0, variance), for rows of counts.

    By the trapezoid rule on a fixed grid over (-10, 10). For a smooth integrand that is already
    gone at both ends this rule converges faster than any power of its step, as long as the step
    is no wider than about the posterior standard deviation: the moments are good to 1e-9 (to 1e-6
    at the largest prior variance, 4, whose tails reach the ends). Gauss-Hermite nodes placed by
    the prior miss a posterior that has moved away from it.

    Parameters
    ----------
    skeleton
        (L,) prior DLT probabilities.
    variance
        Prior variance of beta.
    """

    def __init__(self, skeleton: Floats, variance: float) -> None:
        beta = np.linspace(-10.0, 10.0, 401)
        log_dlt = np.exp(beta) * np.log(skeleton)[:, None]
        # log(1 - p) through expm1, so that p close to 1 keeps its digits
        log_no_dlt = np.log(-np.expm1(log_dlt))
        self.skeleton = skeleton
        self._log_prior = -(beta**2) / (2 * variance)
        self._log_outcomes = np.concatenate([log_dlt, log_no_dlt])
        weight = np.ones_like(beta)
        weight[[0, -1]] = 0.5
        self._powers = weight[:, None] * np.stack([np.ones_like(beta), beta, beta**2], axis=1)

    def moments(self, n: Counts, dlt: Counts) -> tuple[Floats, Floats]:
        """Posterior mean and variance of beta, (S,) each, from (S, L) counts."""
        outcomes = np.concatenate([dlt, n - dlt], axis=1).astype(float)
        sums = np.empty((len(outcomes), 3))
        for first in range(0, len(outcomes), _CHUNK):
            rows = slice(first, first + _CHUNK)
            density = outcomes[rows] @ self._log_outcomes
            density += self._log_prior
            # relative to the highest point: with many participants the likelihood itself underflows
            density -= density.max(axis=1, keepdims=True)
            np.exp(density, out=density)
            sums[rows] = density @ self._powers
        mean = sums[:, 1] / sums[:, 0]
        return mean, sums[:, 2] / sums[:, 0] - mean**2

    def curve(self, beta: Floats) -> Floats:
        """DLT probabilities of the levels at given values of beta: (S, L)."""
        probabilities: Floats = self.skeleton ** np.exp(beta)[:, None]
        return probabilities


@dataclass(frozen=True, slots=True)
class CrmEstimates:
    """What the model believes, one row per trial.

    Attributes
    ----------
    mean, variance
        (S,) posterior mean and variance of beta.
    curve
        (S, K) DLT probabilities at the posterior mean of beta, NaN at regimens off the ladder.
    """

    mean: Floats
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
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "crm.closest_is_higher",
            "A higher level is estimated closest to the target: escalate.",
            "The model was refitted to all outcomes at all levels. On the fitted curve a higher level has the "
            "DLT probability closest to the target, so the next cohort is treated there.",
        ),
        Reason(
            "crm.closest_is_current",
            "This level is estimated closest to the target: stay.",
            "The model was refitted to all outcomes at all levels. On the fitted curve this level has the DLT "
            "probability closest to the target (or ties with the level above, and ties go to the lower level).",
        ),
        Reason(
            "crm.closest_is_lower",
            "A lower level is estimated closest to the target: de-escalate.",
            "The model was refitted to all outcomes at all levels. The curve has moved up so far that a lower level "
            "is now closest to the target. The way down is not restricted.",
        ),
        Reason(
            "crm.one_level_at_a_time",
            "A level further up is estimated closest to the target; go up one level only.",
            "Few outcomes at low levels move the whole curve, and the model may ask for a level several steps away. "
            "No level is skipped: the next cohort goes one level up and the model is asked again.",
        ),
        Reason(
            "crm.incoherent_escalation",
            "A higher level is estimated closest, but the last cohort's DLT rate was at or above the target: stay.",
            "The model pools all outcomes and can still favour a higher level right after DLTs. Going up then would "
            "answer toxicity with more treatment, so this cohort stays and its outcomes are awaited.",
        ),
        Reason(
            "crm.untried",
            "A higher level is estimated closest, but nobody is evaluable at this one: stay.",
            "Levels are not skipped, and going up from a level without any outcome would skip it. The next cohort is "
            "treated here first.",
        ),
        Reason(
            "crm.nobody_yet",
            "Nobody is evaluable yet: treat the cohort at this level.",
            "Without any outcome the model only repeats the prior. The protocol, not the prior, says where the "
            "first cohort is treated.",
        ),
    )

    def __init__(self, parameters: CrmParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.ladder = ladder_along(setting, parameters.axis)
        self.skeleton = self._skeleton()
        self.model = PowerModel(self.skeleton, parameters.prior_variance)

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
        skeleton = indifference_skeleton(parameters.target, parameters.halfwidth, prior_mtd, levels)
        if skeleton[0] < 1e-12 or skeleton[-1] > 1 - 1e-12:
            raise DesignError(
                "protocol.design.halfwidth",
                f"the skeleton runs from {skeleton[0]:.3g} to {skeleton[-1]:.3g}, too close to 0 or 1 for the model",
                "lower halfwidth, or give the skeleton",
            )
        return skeleton

    @property
    def lowest(self) -> int:
        return self.ladder.regimens[0]

    @property
    def variant(self) -> str:
        """The model and the restrictions that are off."""
        parameters = self.parameters
        free = (
            (parameters.no_skipping, "levels may be skipped"),
            (parameters.coherent, "escalation after DLTs allowed"),
        )
        return ", ".join(["power model", *(name for kept, name in free if not kept)])

    def decide(self, tally: Tally) -> Decisions:
        """The level closest to the target, held back by the two restrictions, in every row."""
        parameters = self.parameters
        level = self.ladder.position(tally.current)
        best = self._closest(tally)
        tried = tally.at_current(tally.n) > 0
        toxic = self._toxic_cohort(tally) if parameters.coherent else np.zeros(tally.rows, dtype=bool)
        skips = best > level + 1 if parameters.no_skipping else np.zeros(tally.rows, dtype=bool)
        higher = best > level

        # the first case that holds decides
        cases = (
            ("crm.nobody_yet", ~self._anybody(tally), level),
            ("crm.closest_is_current", best == level, level),
            ("crm.closest_is_lower", best < level, best),
            ("crm.incoherent_escalation", higher & toxic, level),
            ("crm.untried", higher & ~tried & parameters.no_skipping, level),
            ("crm.one_level_at_a_time", skips, level + 1),
            ("crm.closest_is_higher", higher, best),
        )
        case = np.argmax(np.stack([holds for _, holds, _ in cases]), axis=0)
        target = np.choose(case, [there for _, _, there in cases])
        action = np.where(target > level, Action.ESCALATE, np.where(target < level, Action.DE_ESCALATE, Action.STAY))
        return Decisions(
            action=action.astype(np.int32),
            regimen=self.ladder.index[target].astype(np.int32),
            size=np.full(tally.rows, self.setting.cohort_size, dtype=np.int32),
            reason=np.array([self.cite(code) for code, _, _ in cases], dtype=np.int32)[case],
        )

    def select(self, tally: Tally) -> Bools:
        """The level closest to the target given all data, tried or not; none when nobody was evaluable."""
        return self.ladder.mark(self._closest(tally), self._anybody(tally), self.grid.size)

    def estimates(self, tally: Tally) -> CrmEstimates:
        """Posterior mean and variance of beta and the curve at the mean, in every row."""
        mean, variance = self._moments(tally)
        return CrmEstimates(mean, variance, self.ladder.spread(self.model.curve(mean), self.grid.size))

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the restrictions in force promise about every decision."""
        promised = []
        if self.parameters.no_skipping:
            promised.append(SafetyProperty("never goes up more than one level at a time", self._skips))
        if self.parameters.coherent:
            promised.append(
                SafetyProperty(
                    "never escalates straight after a cohort with a DLT rate at or above the target", self._incoherent
                )
            )
        return tuple(promised)

    def _moments(self, tally: Tally) -> tuple[Floats, Floats]:
        return self.model.moments(tally.n[:, self.ladder.index], tally.dlt[:, self.ladder.index])

    def _anybody(self, tally: Tally) -> Bools:
        anybody: Bools = tally.n[:, self.ladder.index].sum(axis=1) > 0
        return anybody

    def _closest(self, tally: Tally) -> Counts:
        """Level closest to the target on the fitted curve, counted from 0, ties to the lower: (S,)."""
        curve, target = self.model.curve(self._moments(tally)[0]), self.parameters.target
        # the curve increases: only the last level at or below the target and the first above it can be closest
        above = np.minimum((curve <= target).sum(axis=1), len(self.ladder) - 1)
        below = np.maximum((curve <= target).sum(axis=1) - 1, 0)
        rows = np.arange(tally.rows)
        nearer = np.abs(curve[rows, above] - target) < np.abs(curve[rows, below] - target) - _TIE
        closest: Counts = np.where(nearer, above, below).astype(np.int32)
        return closest

    def _toxic_cohort(self, tally: Tally) -> Bools:
        """Rows whose last cohort had a DLT rate at or above the target; none where nobody of it was evaluable."""
        toxic: Bools = (tally.cohort_n > 0) & (tally.cohort_dlt >= self.parameters.target * tally.cohort_n - 1e-12)
        return toxic

    def _skips(self, tally: Tally, decisions: Decisions) -> Bools:
        broken: Bools = self.ladder.position(decisions.regimen) > self.ladder.position(tally.current) + 1
        return broken

    def _incoherent(self, tally: Tally, decisions: Decisions) -> Bools:
        broken: Bools = self._toxic_cohort(tally) & (decisions.action == Action.ESCALATE)
        return broken
