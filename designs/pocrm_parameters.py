"""Parameters of the POCRM, and its catalogue of reasons."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from designs.orderings import NAMES, OrderingName
from escalation.decision import Reason
from escalation.design import Parameters

Levels = tuple[tuple[int, int], ...]
"""An ordering as a study file writes it: pairs of dose level and frequency level."""


class PocrmParameters(Parameters):
    """Parameters of the POCRM."""

    target: float = Field(default=0.30, ge=0.05, le=0.6, description="Target DLT probability, from .05 to .60.")
    orderings: tuple[OrderingName, ...] = Field(
        default=NAMES, description="Named orderings of the regimens by toxicity; all six if left out."
    )
    further_orderings: tuple[Levels, ...] = Field(
        default=(),
        description="The study's own orderings: lists of [dose level, frequency level] from the least toxic regimen to "
        "the most.",
    )
    ordering_prior: tuple[float, ...] | None = Field(
        default=None,
        description="Prior probabilities of the orderings, those named first; equal if left out. Orderings that "
        "coincide on a grid add theirs up.",
    )
    skeleton: tuple[float, ...] | None = Field(
        default=None,
        description="Prior DLT probabilities along an ordering, increasing; from halfwidth and prior_mtd if left out.",
    )
    halfwidth: float = Field(
        default=0.03, gt=0, description="Half width of the indifference interval around the target of the skeleton."
    )
    prior_mtd: int | None = Field(
        default=None,
        ge=1,
        description="Place in an ordering whose prior DLT probability is the target, counted from 1; the middle "
        "(the lower of two) if left out.",
    )
    ordering_choice: Literal["greatest_weight", "randomised"] = Field(
        default="greatest_weight",
        description="Decide by the ordering with the greatest weight, or by one drawn with the weights.",
    )
    stage_one: OrderingName | Levels = Field(
        default="up_diagonals",
        description="The list that is climbed until there are both DLTs and participants without: a named ordering, "
        "or [dose level, frequency level] of every regimen.",
    )
    stage_one_after_dlt: Literal["step_down", "restart"] = Field(
        default="step_down",
        description="Where the list goes on while there are only DLTs: one step down, or its first regimen.",
    )
    no_skipping: bool = Field(
        default=True,
        description="Keep to regimens no more than one level above one that was tried, and never raise dose and "
        "frequency together.",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        number = len(self.orderings) + len(self.further_orderings)
        if not number:
            raise ValueError("orderings: at least 1 is needed: name one or list one")
        if self.ordering_prior is not None:
            if len(self.ordering_prior) != number:
                raise ValueError(
                    f"ordering_prior has {len(self.ordering_prior)} values for {number} orderings: give one for each"
                )
            if min(self.ordering_prior) < 0 or abs(sum(self.ordering_prior) - 1) > 1e-6:
                raise ValueError("ordering_prior must be probabilities that sum to 1: correct its entries")
        if self.skeleton is None:
            if not 0 < self.target - self.halfwidth < self.target + self.halfwidth < 1:
                raise ValueError(
                    f"halfwidth {self.halfwidth:g} takes the indifference interval around the target "
                    f"{self.target:g} out of 0 to 1: lower halfwidth"
                )
            return self
        rising = all(a < b for a, b in zip(self.skeleton, self.skeleton[1:], strict=False))
        if not (rising and all(0 < p < 1 for p in self.skeleton)):
            raise ValueError("skeleton must increase from place to place and lie between 0 and 1: correct its entries")
        return self


REASONS = (
    Reason(
        "pocrm.nobody_yet",
        "Nobody is evaluable yet: treat the cohort here.",
        "The rule starts from the first outcomes, and nobody has completed the DLT window or had a DLT.",
    ),
    Reason(
        "pocrm.no_dlt_yet",
        "No DLT so far: go on to the next regimen of the first stage.",
        "The model cannot be fitted before both a DLT and a participant without one were seen. Until then the "
        "trial climbs the list of regimens that the protocol sets.",
    ),
    Reason(
        "pocrm.list_ended",
        "No DLT so far, and the list of the first stage has ended: stay.",
        "The highest regimen of the list has been reached without any DLT.",
    ),
    Reason(
        "pocrm.only_dlts",
        "Every evaluable participant had a DLT so far: go back in the list of the first stage.",
        "The model cannot be fitted before both a DLT and a participant without one were seen. With DLTs only, "
        "the trial goes back in the list of regimens, at its first regimen it stays.",
    ),
    Reason(
        "pocrm.closest",
        "This regimen is estimated to be closest to the target: treat it next.",
        "Under the ordering with the greatest weight, the fitted DLT probability of this regimen is closest to "
        "the target among the regimens that may be treated.",
    ),
    Reason(
        "pocrm.drawn",
        "Several regimens can be the closest to the target: one of them is drawn.",
        "Equally weighted orderings, or orderings drawn by their weights, name different regimens as closest to "
        "the target. One is drawn with the probabilities the decision carries.",
    ),
)
