"""i3+3, the interval 3+3 design, along one axis.

The observed DLT rate y/n at the current level is held against an equivalence interval
[phi - epsilon1, phi + epsilon2] around the target phi:

* below the interval: escalate;
* in it, ends included: stay;
* above it: de-escalate, unless one DLT fewer, (y - 1)/n, would already be below the interval. Then a
  single DLT jumps over the interval, n is too small to tell, and the trial stays.

A level with at least three evaluable participants and Pr(p > phi | data) above .95 under a uniform
prior is eliminated with everything above it; when the lowest is eliminated the trial ends.

At the end the level is selected whose isotonic estimate is closest to the target. The estimate is the
posterior mean under a Beta(.05, .05) prior, as for BOIN and Keyboard: an assumption, close to the
isotonic regression of the observed rates (``selection_prior`` changes it).

References
----------
Liu M, Wang SJ, Ji Y (2020) J Biopharm Stat 30:294-304, doi:10.1080/10543406.2019.1636811.

Examples
--------
Target .30, epsilon1 = epsilon2 = .05: the interval is [.25, .35]. One DLT among three (.333) lies in it: stay.
One among two (.50) lies above it, and none among two below it: stay. Two among three (.667) lies
above it, and one among three is not below it: de-escalate. One among six (.167): escalate.

>>> from designs.i3plus3 import I3Plus3, I3Plus3Parameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> design = I3Plus3(I3Plus3Parameters(target=0.30), Setting(grid, cohort_size=3, start=0, max_patients=9))
>>> seen = Tally.of(n=[[3, 3, 0], [3, 2, 0], [3, 3, 0], [3, 6, 0]], dlt=[[0, 1, 0], [0, 1, 0], [0, 2, 0], [0, 1, 0]],
...                 current=[1, 1, 1, 1])
>>> [design.reasons[reason].code for reason in design.decide(seen).reason]
['i3plus3.in_interval', 'i3plus3.one_dlt_jumps_over', 'i3plus3.above_interval', 'i3plus3.below_interval']

The decision table for 3, 6 and 9 evaluable participants at a level:

>>> table = design.table()
>>> for n in (3, 6, 9):
...     n, *(column[n - 1] for column in (
...         table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least
...     ))
(3, 0, 2, 3)
(6, 1, 3, 4)
(9, 2, 4, 5)
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from designs.boundaries import boundaries_of, counts_to
from designs.interval import IntervalDesign, IntervalParameters, with_shared_reasons
from escalation.decision import Reason
from escalation.tally import Bools, Counts

_ROUNDING = 1e-9
"""A rate this close to an end of the interval is on it."""


class I3Plus3Parameters(IntervalParameters):
    """Parameters of i3+3; the equivalence interval runs from target - epsilon1 to target + epsilon2."""

    epsilon1: float = Field(
        default=0.05, ge=0, lt=1, description="Target less the lower end of the equivalence interval."
    )
    epsilon2: float = Field(
        default=0.05, ge=0, lt=1, description="Upper end of the equivalence interval less the target."
    )

    @model_validator(mode="after")
    def _interval_inside(self) -> Self:
        if self.target - self.epsilon1 <= 0:
            raise ValueError(
                f"epsilon1 {self.epsilon1:g} takes the interval down to 0, with no rate below it: lower it"
            )
        if self.target + self.epsilon2 >= 1:
            raise ValueError(f"epsilon2 {self.epsilon2:g} takes the interval up to 1, with no rate above it: lower it")
        return self


class I3Plus3(IntervalDesign[I3Plus3Parameters]):
    """i3+3 along the dose axis or the frequency axis."""

    name: ClassVar[str] = "i3plus3"
    title: ClassVar[str] = "i3+3"
    citation: ClassVar[str] = "Liu, Wang & Ji (2020) J Biopharm Stat 30:294-304, doi:10.1080/10543406.2019.1636811"
    Parameters = I3Plus3Parameters
    escalates: ClassVar[str] = "i3plus3.below_interval"
    stays: ClassVar[str] = "i3plus3.in_interval"
    de_escalates: ClassVar[str] = "i3plus3.above_interval"
    reasons: ClassVar[tuple[Reason, ...]] = with_shared_reasons(
        "i3plus3",
        Reason(
            "i3plus3.below_interval",
            "The DLT rate at this level is below the equivalence interval: escalate.",
            "Rates in the equivalence interval are taken to be as good as the target. The observed rate is lower "
            "than any of them, so the next cohort goes one level up.",
        ),
        Reason(
            "i3plus3.in_interval",
            "The DLT rate at this level is in the equivalence interval: stay.",
            "Rates in the equivalence interval are taken to be as good as the target. The observed rate is one of "
            "them, so the next cohort is treated here again.",
        ),
        Reason(
            "i3plus3.one_dlt_jumps_over",
            "The DLT rate is above the equivalence interval, but with one DLT fewer it would be below it: stay.",
            "With so few participants a single DLT carries the rate from below the interval to above it. One more or "
            "one fewer DLT would turn the decision round, so the trial stays and treats more participants.",
        ),
        Reason(
            "i3plus3.above_interval",
            "The DLT rate at this level is above the equivalence interval: de-escalate.",
            "The observed rate is higher than the equivalence interval, and would not fall below the interval with "
            "one DLT fewer. The next cohort goes one level down.",
        ),
    )

    @classmethod
    def limits(cls, parameters: I3Plus3Parameters, n_max: int) -> tuple[Counts, Counts]:
        """The boundaries of the observed rate against the equivalence interval."""
        n, dlt = counts_to(n_max)
        lower, upper = parameters.target - parameters.epsilon1, parameters.target + parameters.epsilon2
        below = dlt < lower * n - _ROUNDING
        jumps_over = dlt - 1 < lower * n - _ROUNDING
        above = (dlt > upper * n + _ROUNDING) & ~jumps_over
        return boundaries_of(np.where(below, 0, np.where(above, 2, 1)).astype(np.int8))

    def _reasons_to_stay(self, n: Counts, dlt: Counts) -> tuple[tuple[str, Bools], ...]:
        above: Bools = dlt > (self.parameters.target + self.parameters.epsilon2) * n + _ROUNDING
        return (("i3plus3.one_dlt_jumps_over", above), *super()._reasons_to_stay(n, dlt))
