"""Keyboard: the strongest key of the posterior against the target key, along one axis.

The target key is an interval around the target, and 0..1 is laid out in keys of that width to both
sides of it. After every cohort the posterior of the DLT probability at the current level is formed
from the participants there, with a uniform prior. The strongest key holds the most posterior
probability. It lies left of the target key: escalate; it is the target key: stay; it lies right of
it: de-escalate. The answer depends on the two counts only, so the whole design is a table.

Following the authors' released software (R package Keyboard 0.1.3):

* a key at the end that is cut short by 0 or 1 counts with its probability scaled up to full width;
* when two keys are equally strong the more toxic one decides (``ties: mildest`` is the choice of
  mTPI-2, otherwise the same design as Keyboard with equal margins);
* selection is BOIN's.

The package's table eliminates from the first participant on, its simulator from the third, as here;
``elimination_minimum: 1`` gives the table. Its simulator ignores the margins and the certainty it is
given; here they are what they say.

References
----------
Yan F, Mandrekar SJ, Yuan Y (2017) Clin Cancer Res 23:3994-4003, doi:10.1158/1078-0432.CCR-17-0220.

Examples
--------
Target .30 with margins of .05: the target key is (.25, .35), and the keys below it are (.15, .25),
(.05, .15) and the short one (0, .05). One DLT among three gives a posterior Beta(2, 3), densest at
.33: the target key is the strongest. No DLT among three is Beta(1, 4), densest at 0: escalate.

>>> import numpy as np
>>> from designs.keyboard import Keyboard, KeyboardParameters
>>> from designs.posterior import posterior_cdf, tiles
>>> edges, target_key = tiles(0.25, 0.35)
>>> key_probability = np.diff(posterior_cdf(3, (1, 1), edges)[3, 1])
>>> key_probability[:6].round(3), target_key
(array([0.014, 0.096, 0.152, 0.175, 0.172, 0.149]), 3)

The fourth key, the target key, is the strongest by a little: stay.

The decision table for 3, 6 and 9 evaluable participants at a level:

>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> design = Keyboard(KeyboardParameters(target=0.30), Setting(grid, cohort_size=3, start=0, max_patients=9))
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

from pydantic import Field, model_validator

from designs.boundaries import Ties, boundaries_of
from designs.interval import IntervalDesign, IntervalParameters, with_shared_reasons
from designs.posterior import densest_interval, tiles
from escalation.decision import Reason
from escalation.tally import Counts


class KeyboardParameters(IntervalParameters):
    """Parameters of Keyboard; the target key runs from target - margin_below to target + margin_above."""

    margin_below: float = Field(default=0.05, gt=0, lt=1, description="Target less the lower end of the target key.")
    margin_above: float = Field(default=0.05, gt=0, lt=1, description="Upper end of the target key less the target.")
    ties: Ties = Field(
        default="most_toxic", description="Which of equally strong keys decides: most_toxic, or mildest."
    )

    @property
    def target_key(self) -> tuple[float, float]:
        """The two ends of the target key."""
        return self.target - self.margin_below, self.target + self.margin_above

    @model_validator(mode="after")
    def _key_inside(self) -> Self:
        lower, upper = self.target_key
        if lower < 0.001:
            raise ValueError(
                f"margin_below {self.margin_below:g} takes the target key of target {self.target:g} down to 0: lower it"
            )
        if upper > 0.999:
            raise ValueError(
                f"margin_above {self.margin_above:g} takes the target key of target {self.target:g} up to 1: lower it"
            )
        if upper - lower < 0.005:
            raise ValueError("the target key is narrower than .005: raise margin_below or margin_above")
        return self


class Keyboard(IntervalDesign[KeyboardParameters]):
    """Keyboard along the dose axis or the frequency axis."""

    name: ClassVar[str] = "keyboard"
    title: ClassVar[str] = "Keyboard"
    citation: ClassVar[str] = (
        "Yan, Mandrekar & Yuan (2017) Clin Cancer Res 23:3994-4003, doi:10.1158/1078-0432.CCR-17-0220"
    )
    Parameters = KeyboardParameters
    escalates: ClassVar[str] = "keyboard.strongest_below_target"
    stays: ClassVar[str] = "keyboard.strongest_is_target"
    de_escalates: ClassVar[str] = "keyboard.strongest_above_target"
    reasons: ClassVar[tuple[Reason, ...]] = with_shared_reasons(
        "keyboard",
        Reason(
            "keyboard.strongest_below_target",
            "The strongest key lies below the target key: escalate.",
            "Of all intervals as wide as the target key, the one that most probably holds the DLT probability of "
            "this level lies below the target. The next cohort goes one level up.",
        ),
        Reason(
            "keyboard.strongest_is_target",
            "The target key is the strongest: stay.",
            "Of all intervals as wide as the target key, the target key itself most probably holds the DLT "
            "probability of this level. The next cohort is treated here again.",
        ),
        Reason(
            "keyboard.strongest_above_target",
            "The strongest key lies above the target key: de-escalate.",
            "Of all intervals as wide as the target key, the one that most probably holds the DLT probability of "
            "this level lies above the target. The next cohort goes one level down.",
        ),
    )

    @classmethod
    def limits(cls, parameters: KeyboardParameters, n_max: int) -> tuple[Counts, Counts]:
        """The boundaries at which the strongest key leaves the target key.

        Examples
        --------
        >>> escalate, de_escalate = Keyboard.limits(KeyboardParameters(target=0.30), 9)
        >>> escalate[3::3].tolist(), de_escalate[3::3].tolist()
        ([0, 1, 2], [2, 3, 4])
        """
        edges, key = tiles(*parameters.target_key)
        return boundaries_of(densest_interval(n_max, (1.0, 1.0), edges, key, ties=parameters.ties))
