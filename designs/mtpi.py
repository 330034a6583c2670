"""mTPI, the modified toxicity probability interval design, along one axis.

0..1 is cut into three: below phi - epsilon1, the proper interval up to phi + epsilon2, and above it.
y DLTs among n at the current level and a uniform prior give the posterior Beta(1 + y, 1 + n - y). The
unit probability mass of an interval is its posterior probability divided by its length. The largest
of the three escalates, stays or de-escalates. A level where Pr(p > phi) exceeds the elimination
certainty is eliminated with everything above it.

Because the outer intervals are long, their unit probability masses are small, and the rule stays
more readily than others: at phi = .30 it stays at three DLTs among six. mTPI-2 mends this.

Where the rule departs from the paper:

* an eliminated level is left even where the largest mass says stay (7 DLTs among 20 at phi = .20);
  the R package escalation 0.2.3 stays there;
* at the end the level is selected whose isotonic posterior mean is closest to the target, among
  treated levels only. The prior is the uniform one of the decisions, as in that package; the authors'
  own program takes Beta(.005, .005) here (``selection_prior: 0.005``). ``untried_levels: true`` lets
  levels nobody was treated at enter the isotonic regression at their prior mean, as in the package.

The rule of elimination states no least number of participants; ``elimination_minimum: 3`` asks for
three, as later designs do, and 2 is what the package asks of a level before it bars escalation to it.

References
----------
Ji Y, Liu P, Li Y, Bekele BN (2010) Clin Trials 7:653-663, doi:10.1177/1740774510382799.

Examples
--------
Target .30, epsilon1 = epsilon2 = .05, three DLTs among six: the posterior is Beta(4, 4). Below .25 it
has .071 of its probability over a length of .25, in the proper interval .129 over .10, above .35
the remaining .800 over .65. Per unit of length that is .28, 1.29 and 1.23: stay.

>>> from designs.mtpi import Mtpi, MtpiParameters
>>> from scipy.stats import beta
>>> below, up_to = beta(4, 4).cdf([0.25, 0.35])
>>> [round(float(mass), 2) for mass in (below / 0.25, (up_to - below) / 0.10, (1 - up_to) / 0.65)]
[0.28, 1.29, 1.23]
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> table = Mtpi(MtpiParameters(target=0.30), Setting(grid, cohort_size=3, start=0, max_patients=9)).table()
>>> for n in (3, 6, 9):
...     n, *(column[n - 1] for column in (
...         table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least
...     ))
(3, 0, 2, 3)
(6, 1, 4, 4)
(9, 1, 5, 5)
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from designs.boundaries import boundaries_of
from designs.interval import IntervalDesign, IntervalParameters, with_shared_reasons
from designs.posterior import densest_interval
from designs.selection import IsotonicSelection
from escalation.decision import Reason
from escalation.tally import Counts


class MtpiParameters(IntervalParameters):
    """Parameters of mTPI; the proper interval runs from target - epsilon1 to target + epsilon2."""

    epsilon1: float = Field(default=0.05, gt=0, lt=1, description="Target less the lower end of the proper interval.")
    epsilon2: float = Field(default=0.05, gt=0, lt=1, description="Upper end of the proper interval less the target.")
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

    @property
    def proper(self) -> tuple[float, float]:
        """The proper interval."""
        return self.target - self.epsilon1, self.target + self.epsilon2

    @model_validator(mode="after")
    def _proper_inside(self) -> Self:
        lower, upper = self.proper
        if lower < 0.001:
            raise ValueError(
                f"epsilon1 {self.epsilon1:g} takes the proper interval of target {self.target:g} down to 0: lower it"
            )
        if upper > 0.999:
            raise ValueError(
                f"epsilon2 {self.epsilon2:g} takes the proper interval of target {self.target:g} up to 1: lower it"
            )
        if upper - lower < 0.005:
            raise ValueError("the proper interval is narrower than .005: raise epsilon1 or epsilon2")
        return self


class Mtpi(IntervalDesign[MtpiParameters]):
    """mTPI along the dose axis or the frequency axis."""

    name: ClassVar[str] = "mtpi"
    title: ClassVar[str] = "mTPI"
    citation: ClassVar[str] = "Ji, Liu, Li & Bekele (2010) Clin Trials 7:653-663, doi:10.1177/1740774510382799"
    Parameters = MtpiParameters
    escalates: ClassVar[str] = "mtpi.under_dosing"
    stays: ClassVar[str] = "mtpi.proper_dosing"
    de_escalates: ClassVar[str] = "mtpi.over_dosing"
    reasons: ClassVar[tuple[Reason, ...]] = with_shared_reasons(
        "mtpi",
        Reason(
            "mtpi.under_dosing",
            "The interval below the proper one has the largest unit probability mass: escalate.",
            "Per unit of length, the posterior favours DLT probabilities below the proper interval over those in it "
            "and above it. The next cohort goes one level up.",
        ),
        Reason(
            "mtpi.proper_dosing",
            "The proper interval has the largest unit probability mass: stay.",
            "Per unit of length, the posterior favours DLT probabilities in the proper interval around the target "
            "over those below and above it. The next cohort is treated here again.",
        ),
        Reason(
            "mtpi.over_dosing",
            "The interval above the proper one has the largest unit probability mass: de-escalate.",
            "Per unit of length, the posterior favours DLT probabilities above the proper interval over those in it "
            "and below it. The next cohort goes one level down.",
        ),
    )

    @classmethod
    def limits(cls, parameters: MtpiParameters, n_max: int) -> tuple[Counts, Counts]:
        """The boundaries at which another interval has the largest unit probability mass."""
        edges = np.array([0.0, *parameters.proper, 1.0])
        return boundaries_of(densest_interval(n_max, (1.0, 1.0), edges, 1, ties="mildest"))

    @property
    def selection(self) -> IsotonicSelection:
        """Posterior means under ``selection_prior``."""
        a = self.parameters.selection_prior
        return IsotonicSelection(prior=(a, a), untried=self.parameters.untried_levels)
