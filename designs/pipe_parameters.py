"""Parameters of PIPE, and its catalogue of reasons."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from escalation.decision import Reason
from escalation.design import Parameters
from escalation.tally import Floats

Matrix = tuple[tuple[float, ...], ...]


class PipeParameters(Parameters):
    """Parameters of PIPE; theta and epsilon of the paper are ``target`` and ``epsilon``."""

    target: float = Field(default=0.30, ge=0.05, le=0.6, description="Target DLT probability, from .05 to .60.")
    prior_median: Matrix | None = Field(
        default=None,
        description="Prior median of each DLT probability, frequencies by doses, from the lowest up; a smooth rise "
        "with dose level plus frequency level, to the target just below the highest, if left out.",
    )
    prior_size: float | Matrix | None = Field(
        default=None,
        description="Prior sample size of each regimen, one number for all or a matrix; one participant shared "
        "equally by all regimens if left out.",
    )
    epsilon: float | None = Field(
        default=0.8,
        gt=0,
        lt=1,
        description="A regimen is left out while its model-averaged probability of lying above the contour is this "
        "or more; null leaves none out.",
    )
    stop_certainty: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Stop when the lowest regimen's own posterior Pr(p > target) exceeds this; null never does.",
    )
    constraint: Literal["neighbouring", "no_skip", "none"] = Field(
        default="neighbouring",
        description="Which regimens may be treated next: those one level around the current one, those no more than "
        "one level above a regimen that was tried, or all.",
    )
    diagonal: bool = Field(default=False, description="Whether dose and frequency may be raised together.")
    candidates: Literal["closest", "adjacent"] = Field(
        default="closest",
        description="Regimens considered next: those closest to the modal contour, or all that touch it.",
    )
    strategy: Literal["sample_size", "sample_size_random"] = Field(
        default="sample_size",
        description="Treat the candidate with the smallest prior and observed sample size, or draw one with "
        "probability proportional to the inverse of it.",
    )
    alternate: bool = Field(
        default=False,
        description="Whether candidates on the other side of the modal contour than the current regimen go first: "
        "from above the contour down below it, and from below it up above it.",
    )
    non_admissible: tuple[tuple[int, int], ...] = Field(
        default=(), description="Regimens that are never treated or recommended, as [dose, frequency] levels."
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.prior_median is not None:
            median = _matrix(self.prior_median, "prior_median")
            if not ((median > 0) & (median < 1)).all():
                raise ValueError("prior_median must lie between 0 and 1: correct its entries")
            if (np.diff(median, axis=0) < 0).any() or (np.diff(median, axis=1) < 0).any():
                raise ValueError("prior_median must not fall with dose or frequency: correct its entries")
        if self.prior_size is not None:
            size = (
                np.array(self.prior_size)
                if isinstance(self.prior_size, float)
                else _matrix(self.prior_size, "prior_size")
            )
            if (size <= 0).any():
                raise ValueError("prior_size must be above 0: correct its entries")
        return self


def _matrix(rows: Matrix, name: str) -> Floats:
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{name} needs rows of one length, a row for each frequency: correct its entries")
    return np.array(rows)


REASONS = (
    Reason(
        "pipe.least_studied",
        "This candidate next to the contour is the least studied: treat it next.",
        "The most probable contour separates the regimens thought to be at or below the target from those above. "
        "Of the admissible regimens closest to it, the one with the smallest prior and observed sample size is "
        "treated next.",
    ),
    Reason(
        "pipe.drawn",
        "Several candidates next to the contour can be treated next: one of them is drawn.",
        "The most probable contour separates the regimens thought to be at or below the target from those above. "
        "Of the admissible regimens closest to it, one is drawn with the probabilities the decision carries.",
    ),
    Reason(
        "pipe.nobody_yet",
        "Nobody is evaluable yet: treat the cohort here.",
        "The rule starts from the first outcomes, and nobody has completed the DLT window or had a DLT.",
    ),
    Reason(
        "pipe.no_admissible",
        "No regimen that may be treated next is safe: escalation ends.",
        "Every regimen the escalation constraint allows lies above the contour with a probability of epsilon or "
        "more, averaged over all contours, or is not admissible by the protocol. What was tried and is still safe "
        "can be recommended.",
        stop="no_admissible",
    ),
    Reason(
        "pipe.lowest_too_toxic",
        "The lowest regimen is too toxic: the trial stops and nothing is recommended.",
        "The probability that the DLT rate of the lowest regimen is above the target exceeds the certainty the "
        "protocol asks for.",
        stop="lowest_too_toxic",
        selects=False,
    ),
)
