"""mTPI-2, the interval design with intervals of equal length, along one axis.

As mTPI, except that the regions below and above the proper interval are themselves cut into
intervals of its length, so that no interval is at a disadvantage for being long. The interval with
the largest unit probability mass decides: below the proper one escalate, the proper one stay, above it
de-escalate. The pieces left over at 0 and 1 are shorter and count by their own length.

With equal margins this is the Keyboard design. The two differ when two intervals have exactly the
same mass: here the milder decision is taken, as in the R package escalation 0.2.3
(``ties: most_toxic`` takes Keyboard's).

Elimination and selection are those of mTPI, with the same departures from the paper.

References
----------
Guo W, Wang SJ, Yang S, Lynn H, Ji Y (2017) Contemp Clin Trials 58:23-33, doi:10.1016/j.cct.2017.04.006.

Examples
--------
Target .30, epsilon1 = epsilon2 = .05, three DLTs among six, where mTPI stays. The posterior Beta(4, 4) is
densest at .50, and the interval (.45, .55) has .217 of it against .129 in the proper interval, at the
same length: de-escalate.

>>> from designs.mtpi2 import Mtpi2, Mtpi2Parameters
>>> from scipy.stats import beta
>>> [round(float(beta(4, 4).cdf(upper) - beta(4, 4).cdf(upper - 0.10)), 3) for upper in (0.25, 0.35, 0.45, 0.55)]
[0.058, 0.129, 0.192, 0.217]
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> table = Mtpi2(Mtpi2Parameters(target=0.30), Setting(grid, cohort_size=3, start=0, max_patients=9)).table()
>>> for n in (3, 6, 9):
...     n, *(column[n - 1] for column in (
...         table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least
...     ))
(3, 0, 2, 3)
(6, 1, 3, 4)
(9, 2, 4, 5)
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from designs.boundaries import Ties, boundaries_of
from designs.interval import IntervalDesign, with_shared_reasons
from designs.mtpi import MtpiParameters
from designs.posterior import densest_interval, tiles
from designs.selection import IsotonicSelection
from escalation.decision import Reason
from escalation.tally import Counts


class Mtpi2Parameters(MtpiParameters):
    """Parameters of mTPI-2; the proper interval runs from target - epsilon1 to target + epsilon2."""

    ties: Ties = Field(
        default="mildest", description="Which of intervals with the same mass decides: mildest, or most_toxic."
    )


class Mtpi2(IntervalDesign[Mtpi2Parameters]):
    """mTPI-2 along the dose axis or the frequency axis."""

    name: ClassVar[str] = "mtpi2"
    title: ClassVar[str] = "mTPI-2"
    citation: ClassVar[str] = (
        "Guo, Wang, Yang, Lynn & Ji (2017) Contemp Clin Trials 58:23-33, doi:10.1016/j.cct.2017.04.006"
    )
    Parameters = Mtpi2Parameters
    escalates: ClassVar[str] = "mtpi2.under_dosing"
    stays: ClassVar[str] = "mtpi2.proper_dosing"
    de_escalates: ClassVar[str] = "mtpi2.over_dosing"
    reasons: ClassVar[tuple[Reason, ...]] = with_shared_reasons(
        "mtpi2",
        Reason(
            "mtpi2.under_dosing",
            "An interval below the proper one has the largest unit probability mass: escalate.",
            "Of all intervals of the same length, the one the posterior favours most lies below the proper interval "
            "around the target. The next cohort goes one level up.",
        ),
        Reason(
            "mtpi2.proper_dosing",
            "The proper interval has the largest unit probability mass: stay.",
            "Of all intervals of the same length, the posterior favours the proper interval around the target most. "
            "The next cohort is treated here again.",
        ),
        Reason(
            "mtpi2.over_dosing",
            "An interval above the proper one has the largest unit probability mass: de-escalate.",
            "Of all intervals of the same length, the one the posterior favours most lies above the proper interval "
            "around the target. The next cohort goes one level down.",
        ),
    )

    @classmethod
    def limits(cls, parameters: Mtpi2Parameters, n_max: int) -> tuple[Counts, Counts]:
        """The boundaries at which the largest unit probability mass leaves the proper interval."""
        edges, proper = tiles(*parameters.proper)
        return boundaries_of(densest_interval(n_max, (1.0, 1.0), edges, proper, ties=parameters.ties))

    @property
    def selection(self) -> IsotonicSelection:
        """Posterior means under ``selection_prior``."""
        a = self.parameters.selection_prior
        return IsotonicSelection(prior=(a, a), untried=self.parameters.untried_levels)
