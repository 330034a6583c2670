"""BLRM for the grid: two logistic curves with an interaction, and escalation with overdose control.

The odds of a DLT are those of two agents given together::

    odds_1 = alpha_1 (d / d*) ** beta_1           odds_2 = alpha_2 (f / f*) ** beta_2
    odds   = (odds_1 + odds_2 + odds_1 odds_2) exp(eta (d / d*) (f / f*))

Without interaction (eta = 0) that is independent action. log alpha and log beta are normal, with a
common correlation within an agent, eta is normal. A regimen is admissible while the posterior
probability that its DLT probability is above ``overdose_above`` is less than ``overdose_limit``; of
the admissible regimens within reach the one with the largest posterior probability of the target
interval is treated next. When none is admissible the trial stops and nothing is recommended.

Frequency is not a drug. That it enters as the second agent, with the number of infusions as its dose
f, is an assumption of this project; ``second_doses`` replaces those numbers. So are the
default prior (a DLT probability of .15 at the reference of either agent) and the reference regimen,
the middle of each axis.

Where it departs from the paper:

* posteriors are sums over a fixed low-discrepancy set of prior points, weighted by the likelihood: nothing
  is random. Probabilities are good to about .01 with 30 participants;
* a negative interaction can make a higher regimen look safer than a lower one. Here a regimen is never
  less likely to be an overdose than the regimens at or below it: the largest of their probabilities counts;
* ``no_skipping``, on unless switched off, keeps to regimens at or below one that was tried or one level
  above it, and never raises dose and frequency together;
* at the end the best admissible regimen that was tried is selected.

As published, the rule looks for the target interval and not for the highest safe regimen: when all admissible
regimens seem to lie below the interval, a lower one can be the likelier to reach it.

References
----------
Neuenschwander B, Matano A, Tang Z, Roychoudhury S, Wandel S, Bailey S (2015) A Bayesian industry approach to
phase I combination trials in oncology. In: Zhao W, Yang H (eds) Statistical Methods in Drug Combination Studies,
chapter 6, doi:10.1201/b17965.

Examples
--------
Three doses by two frequencies, no DLT among three at the lowest regimen. Dose 2 once and dose 1 twice are within
reach, but their overdose probabilities, .26 and .33, are not below .25: the lowest regimen is treated again.
After six without a DLT both neighbours are admissible; dose 2 once lies in the target interval with the larger
probability.

>>> from designs.blrm_combination import BlrmCombination, BlrmCombinationParameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
>>> grid = RegimenGrid(doses=(1, 2, 4), schedules=((0,), (0, 7)), unit="mg")
>>> design = BlrmCombination(BlrmCombinationParameters(), Setting(grid, cohort_size=3, start=0, max_patients=30))
>>> seen = Tally.of(n=[[3, 0, 0, 0, 0, 0]], dlt=[[0, 0, 0, 0, 0, 0]], current=[0])
>>> chances = design.chances(seen)
>>> grid.matrix(chances.overdose[0].round(2)), grid.matrix(chances.target[0].round(2))
([[0.12, 0.26, 0.43], [0.33, 0.4, 0.46]], [[0.3, 0.29, 0.17], [0.26, 0.18, 0.09]])
>>> grid.level(int(design.decide(seen).regimen[0]))
'1.1'
>>> more = Tally.of(n=[[6, 0, 0, 0, 0, 0]], dlt=[[0, 0, 0, 0, 0, 0]], current=[0])
>>> grid.matrix(design.chances(more).overdose[0].round(2))
[[0.04, 0.15, 0.35], [0.21, 0.3, 0.39]]
>>> grid.level(int(design.decide(more).regimen[0]))
'2.1'
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator
from scipy.special import expit, ndtri
from scipy.stats import qmc

from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, Parameters, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.partial_order import within_reach
from escalation.tally import Bools, Floats, Indices, Tally

_TIE = 1e-9
"""Probabilities closer than this are a tie: rounding never picks the regimen."""
_POINTS = 16
"""The posterior is a sum over 2 ** 16 points."""
_CHUNK = 32
"""Rows summed at once; bounds the memory."""


class BlrmCombinationParameters(Parameters):
    """Parameters of the BLRM for the grid."""

    target: float = Field(default=0.30, gt=0, lt=1, description="Target DLT probability, by which results are judged.")
    target_interval: tuple[float, float] = Field(
        default=(0.16, 0.33), description="The interval whose posterior probability is maximised."
    )
    overdose_above: float = Field(default=0.33, gt=0, lt=1, description="A DLT probability above this is an overdose.")
    overdose_limit: float = Field(
        default=0.25, gt=0, le=1, description="A regimen is admissible while its overdose probability is below this."
    )
    intercept_mean: tuple[float, float] = Field(
        default=(-1.7346, -1.7346), description="Prior means of log alpha of the dose and of the frequency."
    )
    intercept_sd: tuple[float, float] = Field(
        default=(1.5, 1.5), description="Prior standard deviations of log alpha of the dose and of the frequency."
    )
    slope_mean: tuple[float, float] = Field(
        default=(0.0, 0.0), description="Prior means of log beta of the dose and of the frequency."
    )
    slope_sd: tuple[float, float] = Field(
        default=(0.8, 0.8), description="Prior standard deviations of log beta of the dose and of the frequency."
    )
    correlation: float = Field(
        default=0.0, gt=-1, lt=1, description="Prior correlation of log alpha and log beta within dose and frequency."
    )
    interaction_mean: float = Field(default=0.0, description="Prior mean of eta.")
    interaction_sd: float = Field(default=1.0, gt=0, description="Prior standard deviation of eta.")
    reference_dose: float | None = Field(
        default=None, gt=0, description="Reference d* in the unit of the doses; that of the middle level if left out."
    )
    reference_second: float | None = Field(
        default=None, gt=0, description="Reference f*; that of the middle frequency level if left out."
    )
    second_doses: tuple[float, ...] | None = Field(
        default=None, description="What stands for the dose of each frequency; its number of infusions if left out."
    )
    no_skipping: bool = Field(
        default=True,
        description="Keep to regimens no more than one level above one that was tried, and never raise dose and "
        "frequency together.",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        low, high = self.target_interval
        if not 0 < low < high < 1:
            raise ValueError("target_interval must be two increasing numbers between 0 and 1: correct it")
        if min(*self.intercept_sd, *self.slope_sd) <= 0:
            raise ValueError("intercept_sd and slope_sd must be above 0: correct their entries")
        listed = self.second_doses
        if listed is not None and not (min(listed) > 0 and all(a < b for a, b in pairwise(listed))):
            raise ValueError("second_doses must be above 0 and increase from level to level: correct its entries")
        return self


@dataclass(frozen=True, slots=True)
class GridChances:
    """Posterior summaries of the DLT probabilities, (S, K) each.

    ``overdose`` is the largest among the regimens at or below each.
    """

    mean: Floats
    target: Floats
    overdose: Floats


@lru_cache(maxsize=1)
def _standard_points() -> Floats:
    """Points of a Sobol sequence in the middle of their cells, as standard normal coordinates: (P, 5)."""
    uniform = qmc.Sobol(5, scramble=False).random_base2(_POINTS) + 2.0 ** -(_POINTS + 1)
    points: Floats = ndtri(uniform)
    points.setflags(write=False)
    return points


class BlrmCombination(Design[BlrmCombinationParameters]):
    """Bayesian logistic regression with overdose control on the dose-by-frequency grid, finding one regimen."""

    name: ClassVar[str] = "blrm_combination"
    title: ClassVar[str] = "BLRM-combination"
    citation: ClassVar[str] = (
        "Neuenschwander et al. (2015) Statistical Methods in Drug Combination Studies, ch. 6, doi:10.1201/b17965"
    )
    Parameters = BlrmCombinationParameters
    any_tally: ClassVar[bool] = True
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "blrm_combination.nobody_yet",
            "Nobody is evaluable yet: treat the cohort here.",
            "The rule starts from the first outcomes, and nobody has completed the DLT window or had a DLT.",
        ),
        Reason(
            "blrm_combination.best",
            "Of the admissible regimens this one most probably lies in the target interval: treat it next.",
            "Regimens whose overdose probability reaches the limit are left out. Among the others within reach, the "
            "posterior probability of the target interval is largest here.",
        ),
        Reason(
            "blrm_combination.no_admissible",
            "Every regimen is too probably an overdose: the trial stops and nothing is recommended.",
            "The posterior probability of an overdose reaches the limit at every regimen within reach, the lowest "
            "included.",
            stop="no_admissible",
            selects=False,
        ),
    )

    def __init__(self, parameters: BlrmCombinationParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        eta = self._log_odds()
        probability = expit(eta)
        low, high = parameters.target_interval
        inside = (probability >= low) & (probability < high)
        over = probability > parameters.overdose_above
        self._columns = np.concatenate([probability, inside, over], axis=1)
        self._log_outcomes = np.concatenate([-np.logaddexp(0, -eta), -np.logaddexp(0, eta)], axis=1).T.copy()

    def _log_odds(self) -> Floats:
        """Log odds of a DLT at every point and regimen: (P, K)."""
        parameters, grid, z = self.parameters, self.grid, _standard_points()
        first = np.array(grid.doses, dtype=float)
        second = self._second_doses()
        relative = (
            first / (parameters.reference_dose or first[(len(first) - 1) // 2]),
            second / (parameters.reference_second or second[(len(second) - 1) // 2]),
        )
        rho, odds = parameters.correlation, []
        for agent, doses in enumerate(relative):
            own, other = z[:, 2 * agent], z[:, 2 * agent + 1]
            intercept = parameters.intercept_mean[agent] + parameters.intercept_sd[agent] * own
            shared = rho * own + np.sqrt(1 - rho**2) * other
            slope = np.exp(parameters.slope_mean[agent] + parameters.slope_sd[agent] * shared)
            odds.append(intercept[:, None] + slope[:, None] * np.log(doses))  # log odds of one agent
        one, two = odds[0][:, grid.dose_of], odds[1][:, grid.frequency_of]
        # log(a + b + a b) = log(a) + log(1 + b / a + b), kept on the log scale
        together = np.logaddexp(np.logaddexp(one, two), one + two)
        interaction = parameters.interaction_mean + parameters.interaction_sd * z[:, 4]
        product = relative[0][grid.dose_of] * relative[1][grid.frequency_of]
        whole: Floats = together + interaction[:, None] * product
        return whole

    def _second_doses(self) -> Floats:
        listed, grid = self.parameters.second_doses, self.grid
        if listed is not None:
            if len(listed) != grid.n_frequencies:
                raise DesignError(
                    "protocol.design.second_doses",
                    f"{len(listed)} values for {grid.n_frequencies} frequencies",
                    "give one value for each frequency, or leave them out to take the numbers of infusions",
                )
            return np.array(listed)
        found = np.array([len(days) for days in grid.schedules], dtype=float)
        if (np.diff(found) <= 0).any():
            raise DesignError(
                "protocol.design.second_doses",
                "the frequency levels do not increase in their number of infusions",
                "give the value of every frequency that is to enter the model as its dose",
            )
        return found

    @property
    def variant(self) -> str:
        """The overdose limit, and the switch that is off."""
        limit = f"overdose limit {self.parameters.overdose_limit:g}"
        return limit if self.parameters.no_skipping else f"{limit}, levels may be skipped"

    def chances(self, tally: Tally) -> GridChances:
        """Posterior means and probabilities in every row."""
        outcomes = np.concatenate([tally.dlt, tally.n - tally.dlt], axis=1).astype(float)
        sums = np.empty((tally.rows, self._columns.shape[1]))
        for start in range(0, tally.rows, _CHUNK):
            density = outcomes[start : start + _CHUNK] @ self._log_outcomes
            density -= density.max(axis=1, keepdims=True)
            np.exp(density, out=density)
            sums[start : start + _CHUNK] = density @ self._columns / density.sum(axis=1, keepdims=True)
        mean, inside, over = np.split(sums, 3, axis=1)
        at_or_below = self.grid.at_most.T[None]  # (1, K, K): of each regimen those below it
        largest = np.where(at_or_below, over[:, None, :], 0.0).max(axis=2)
        return GridChances(mean, inside, largest)

    def decide(self, tally: Tally) -> Decisions:
        """The admissible regimen within reach with the largest probability of the target interval, in every row."""
        chances = self.chances(tally)
        usable = self._admissible(chances) & self._within_reach(tally)
        nobody, none = tally.total == 0, ~usable.any(axis=1)
        regimen = np.where(nobody | none, tally.current, self._best(chances, usable)).astype(np.int32)
        stops = none & ~nobody
        codes = ("nobody_yet", "no_admissible", "best")
        case = np.argmax(np.stack([nobody, none, np.ones(tally.rows, dtype=bool)]), axis=0)
        return Decisions(
            action=np.where(stops, np.int32(Action.STOP), moves(tally.current, regimen, self.grid.at_most)),
            regimen=regimen,
            size=np.where(stops, 0, self.setting.cohort_size).astype(np.int32),
            reason=np.array([self.cite(f"{self.name}.{code}") for code in codes], dtype=np.int32)[case],
        )

    def _admissible(self, chances: GridChances) -> Bools:
        admissible: Bools = chances.overdose < self.parameters.overdose_limit
        return admissible

    def _best(self, chances: GridChances, usable: Bools) -> Indices:
        """The usable regimen with the largest probability of the target interval, of equals the lowest: (S,)."""
        score = np.where(usable, chances.target, -1.0)
        best: Indices = np.argmax(score >= score.max(axis=1, keepdims=True) - _TIE, axis=1)
        return best

    def _within_reach(self, tally: Tally) -> Bools:
        if not self.parameters.no_skipping:
            return np.ones(tally.n.shape, dtype=bool)
        return within_reach(tally, self.grid)

    def select(self, tally: Tally) -> Bools:
        """Of the admissible regimens that were tried, the one with the largest probability of the target interval."""
        chances = self.chances(tally)
        usable = self._admissible(chances) & (tally.n > 0)
        selected = np.zeros(tally.n.shape, dtype=bool)
        rows = np.flatnonzero(usable.any(axis=1))
        selected[rows, self._best(chances, usable)[rows]] = True
        return selected

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the overdose control and the restriction promise about every decision."""
        return (SafetyProperty("never treats a regimen whose overdose probability reaches the limit", self._overdoses),)

    def _overdoses(self, tally: Tally, decisions: Decisions) -> Bools:
        there = decisions.regimen[:, None].astype(np.intp)
        broken: Bools = ~np.take_along_axis(self._admissible(self.chances(tally)), there, axis=1)[:, 0]
        return broken & ~decisions.stops & (tally.total > 0)
