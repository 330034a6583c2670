"""CCD, the cumulative cohort design, along one axis.

The DLT rate y/n of everybody evaluable at the current level is held against the target phi: at or
below phi - delta escalate, at or above phi + delta de-escalate, in between stay. The paper chooses
delta by the target, and so does this design when none is given (the values as the released code of
Lin & Yin, IntervalDesign, restates them):

* .09 below a target of .30;
* .10 from .30 to below .40;
* .12 from .40 to below .45;
* .13 from .45 on.

As published the design never closes a level, and at the lowest level a high rate stays. Neither
elimination nor a stopping rule is therefore in force by default: put a ``too_toxic`` guard beside it, or
set ``elimination_certainty: 0.95`` for the elimination of the other interval designs.

Where the rule departs from the paper: between the targets the paper names, delta is that of the
nearest one below; at the end the level is selected whose isotonic estimate is closest to the target,
with the Beta(.05, .05) prior of BOIN in place of the isotonic regression of the rates themselves.
A rate of exactly phi + delta de-escalates; ``upper_edge: stay`` stays there, as some published
comparisons have it.

References
----------
Ivanova A, Flournoy N, Chung Y (2007) J Stat Plan Inference 137:2316-2327, doi:10.1016/j.jspi.2006.07.009.

Examples
--------
Target .30, so delta = .10: escalate up to a rate of .20, de-escalate from .40. One DLT among three (.333)
stays; one among five (.20) escalates; two among five (.40) de-escalates.

>>> from designs.ccd import Ccd, CcdParameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> table = Ccd(CcdParameters(target=0.30), Setting(grid, cohort_size=3, start=0, max_patients=9)).table()
>>> for n in (3, 5, 6, 9):
...     n, *(column[n - 1] for column in (
...         table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least
...     ))
(3, 0, 2, None)
(5, 1, 2, None)
(6, 1, 3, None)
(9, 1, 4, None)
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from designs.interval import IntervalDesign, IntervalParameters, with_shared_reasons
from escalation.decision import Reason
from escalation.tally import Counts

_ROUNDING = 1e-9
"""A rate this close to an edge is on it."""

_DELTAS = ((0.45, 0.13), (0.40, 0.12), (0.30, 0.10), (0.0, 0.09))
"""From which target on the paper's delta is this."""


class CcdParameters(IntervalParameters):
    """Parameters of the cumulative cohort design."""

    delta: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Half width of the interval around the target; the paper's for the target if left out.",
    )
    upper_edge: Literal["de_escalate", "stay"] = Field(
        default="de_escalate", description="What a DLT rate of exactly target + delta does."
    )
    elimination_certainty: float | None = Field(
        default=None,
        gt=0.5,
        lt=1,
        description="A level is eliminated when Pr(p > target | data) exceeds this; never if left out, as published.",
    )

    @property
    def half_width(self) -> float:
        """delta, given or the paper's."""
        if self.delta is not None:
            return self.delta
        return next(delta for least, delta in _DELTAS if self.target >= least - _ROUNDING)

    @model_validator(mode="after")
    def _interval_inside(self) -> Self:
        if not 0 <= self.target - self.half_width < self.target + self.half_width < 1:
            raise ValueError(
                f"delta {self.half_width:g} takes the interval around target {self.target:g} out of 0 to 1: lower delta"
            )
        return self


class Ccd(IntervalDesign[CcdParameters]):
    """The cumulative cohort design along the dose axis or the frequency axis."""

    name: ClassVar[str] = "ccd"
    title: ClassVar[str] = "CCD"
    citation: ClassVar[str] = (
        "Ivanova, Flournoy & Chung (2007) J Stat Plan Inference 137:2316-2327, doi:10.1016/j.jspi.2006.07.009"
    )
    Parameters = CcdParameters
    escalates: ClassVar[str] = "ccd.at_or_below_lower"
    stays: ClassVar[str] = "ccd.between"
    de_escalates: ClassVar[str] = "ccd.at_or_above_upper"
    reasons: ClassVar[tuple[Reason, ...]] = with_shared_reasons(
        "ccd",
        Reason(
            "ccd.at_or_below_lower",
            "The DLT rate at this level is at or below target - delta: escalate.",
            "The rate of everybody evaluable at this level, not only of the last cohort, is clearly below the "
            "target. The next cohort goes one level up.",
        ),
        Reason(
            "ccd.between",
            "The DLT rate at this level is less than delta from the target: stay.",
            "The rate of everybody evaluable at this level, not only of the last cohort, is close to the target. "
            "The next cohort is treated here again.",
        ),
        Reason(
            "ccd.at_or_above_upper",
            "The DLT rate at this level is at or above target + delta: de-escalate.",
            "The rate of everybody evaluable at this level, not only of the last cohort, is clearly above the "
            "target. The next cohort goes one level down.",
        ),
    )

    @classmethod
    def limits(cls, parameters: CcdParameters, n_max: int) -> tuple[Counts, Counts]:
        """The boundaries of (phi - delta) n and (phi + delta) n."""
        n, delta = np.arange(n_max + 1), parameters.half_width
        escalate = np.floor((parameters.target - delta) * n + _ROUNDING).astype(np.int32)
        edge = (parameters.target + delta) * n
        stays = parameters.upper_edge == "stay"
        de_escalate = np.floor(edge + _ROUNDING) + 1 if stays else np.ceil(edge - _ROUNDING)
        return escalate, de_escalate.astype(np.int32)
