"""TPI, the toxicity probability interval design, along one axis.

y DLTs among n at the current level and a Beta(.005, .005) prior give the posterior of the DLT
probability there, with standard deviation s. The interval around the target phi is as wide as the
data are vague: from phi - k2 s to phi + k1 s. The posterior probabilities below it, in it and above
it are compared: the largest escalates, stays or de-escalates. A level where Pr(p > phi) exceeds the
elimination certainty under the same prior is eliminated with everything above it.

Where the rule departs from the paper:

* ties, which need exactly equal probabilities, escalate before they stay and stay before they
  de-escalate, as in the R package escalation 0.2.3;
* at the end the level is selected whose isotonic posterior mean under a uniform prior is closest to
  the target, again as in that package, but among treated levels only (``untried_levels: true`` lets
  levels nobody was treated at enter the isotonic regression at their prior mean, as it does).

The rule of elimination states no least number of participants, so one DLT in a first participant
eliminates a level: its prior is so weak that Pr(p > .30) is then .99. ``elimination_minimum: 3`` asks
for three, as later designs do. The package differs in one more point: it closes a level only while
looking at it, so that a level is not barred by a single participant there.

References
----------
Ji Y, Li Y, Bekele BN (2007) Clin Trials 4:235-244, doi:10.1177/1740774507079442.

Examples
--------
Target .30, k1 = 1, k2 = 1.5, one DLT among three: the posterior Beta(1.005, 2.005) has mean .334 and
standard deviation .236, so the interval runs from 0 (.30 - 1.5 x .236 is below it) to .536. No
probability lies below it, most lies in it: stay.

>>> from designs.tpi import Tpi, TpiParameters
>>> from scipy.stats import beta
>>> posterior = beta(1.005, 2.005)
>>> [round(float(x), 3) for x in (posterior.mean(), posterior.std(), posterior.cdf(0.30 + posterior.std()))]
[0.334, 0.236, 0.784]
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> table = Tpi(TpiParameters(target=0.30), Setting(grid, cohort_size=3, start=0, max_patients=9)).table()
>>> for n in (3, 6, 9):
...     n, *(column[n - 1] for column in (
...         table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least
...     ))
(3, 0, 2, 3)
(6, 0, 3, 4)
(9, 1, 5, 6)
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from designs.boundaries import boundaries_of, counts_to
from designs.interval import IntervalDesign, IntervalParameters, with_shared_reasons
from designs.posterior import likeliest_interval
from designs.selection import IsotonicSelection
from escalation.decision import Reason
from escalation.tally import Counts

_PRIOR = (0.005, 0.005)


class TpiParameters(IntervalParameters):
    """Parameters of TPI."""

    k1: float = Field(
        default=1.0, gt=0, le=5, description="The interval ends k1 posterior standard deviations above the target."
    )
    k2: float = Field(
        default=1.5, gt=0, le=5, description="The interval begins k2 posterior standard deviations below the target."
    )
    elimination_minimum: int = Field(
        default=1, ge=1, description="Evaluable participants a level needs before it can be eliminated."
    )
    selection_prior: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="a of the Beta(a, a) prior of each level's estimate when the MTD is selected; "
        "0.005 in the authors' program.",
    )
    untried_levels: bool = Field(
        default=False,
        description="Whether levels nobody was treated at enter the isotonic regression at the end, at their "
        "prior mean. They are never selected.",
    )


class Tpi(IntervalDesign[TpiParameters]):
    """TPI along the dose axis or the frequency axis."""

    name: ClassVar[str] = "tpi"
    title: ClassVar[str] = "TPI"
    citation: ClassVar[str] = "Ji, Li & Bekele (2007) Clin Trials 4:235-244, doi:10.1177/1740774507079442"
    Parameters = TpiParameters
    escalates: ClassVar[str] = "tpi.below_interval"
    stays: ClassVar[str] = "tpi.in_interval"
    de_escalates: ClassVar[str] = "tpi.above_interval"
    elimination_prior: ClassVar[tuple[float, float]] = _PRIOR
    reasons: ClassVar[tuple[Reason, ...]] = with_shared_reasons(
        "tpi",
        Reason(
            "tpi.below_interval",
            "The DLT probability of this level most probably lies below the interval: escalate.",
            "The interval around the target is a number of posterior standard deviations wide. More posterior "
            "probability lies below it than in it or above it, so the next cohort goes one level up.",
        ),
        Reason(
            "tpi.in_interval",
            "The DLT probability of this level most probably lies in the interval: stay.",
            "The interval around the target is a number of posterior standard deviations wide. More posterior "
            "probability lies in it than below or above it, so the next cohort is treated here again.",
        ),
        Reason(
            "tpi.above_interval",
            "The DLT probability of this level most probably lies above the interval: de-escalate.",
            "The interval around the target is a number of posterior standard deviations wide. More posterior "
            "probability lies above it than in it or below it, so the next cohort goes one level down.",
        ),
    )

    @classmethod
    def limits(cls, parameters: TpiParameters, n_max: int) -> tuple[Counts, Counts]:
        """The boundaries at which another part of 0..1 becomes the most probable."""
        n, dlt = counts_to(n_max)
        a, b = _PRIOR[0] + np.minimum(dlt, n), _PRIOR[1] + n - np.minimum(dlt, n)
        spread = np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
        edges = np.stack([parameters.target - parameters.k2 * spread, parameters.target + parameters.k1 * spread], -1)
        return boundaries_of(likeliest_interval(n_max, _PRIOR, np.clip(edges, 0, 1), ties="mildest"))

    @property
    def selection(self) -> IsotonicSelection:
        """Posterior means under ``selection_prior``."""
        a = self.parameters.selection_prior
        return IsotonicSelection(prior=(a, a), untried=self.parameters.untried_levels)
