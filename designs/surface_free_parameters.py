"""Parameters of the surface-free design, and its catalogue of reasons."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from escalation.decision import Reason
from escalation.design import Parameters


class SurfaceFreeParameters(Parameters):
    """Parameters of the surface-free design; gamma of the paper is ``target``."""

    target: float = Field(default=0.30, ge=0.05, le=0.6, description="Target DLT probability, from .05 to .60.")
    prior_connection: float = Field(
        default=0.825,
        ge=0.5,
        le=0.99,
        description="Prior mean of every connection that the two lists below do not give: of the probability of no DLT "
        "at the lowest regimen, and of the factor by which a step in dose or frequency lowers it.",
    )
    prior_doses: tuple[float, ...] | None = Field(
        default=None, description="Prior DLT probability of every dose at the lowest frequency, increasing."
    )
    prior_frequencies: tuple[float, ...] | None = Field(
        default=None, description="Prior DLT probability of every frequency at the lowest dose, increasing."
    )
    strength: float = Field(
        default=4.0, ge=2, le=10, description="Prior sample size of every connection: the sum of its beta parameters."
    )
    estimate: Literal["product_of_means", "posterior_mean"] = Field(
        default="product_of_means",
        description="The estimated DLT probability: from the product of the posterior means of the connections, as the "
        "authors' programs do, or its own posterior mean.",
    )
    overdose_limit: float | None = Field(
        default=0.65,
        gt=0,
        lt=1,
        description="A regimen is left out while its posterior Pr(p > target) is this or more, and the trial stops "
        "when the lowest is; null never does either.",
    )
    leave_out: Literal["every_regimen", "lowest_only"] = Field(
        default="every_regimen",
        description="Hold every regimen to the overdose limit, or only the lowest, so that it stops the trial and does "
        "no more.",
    )
    reach: Literal["one_level_up", "authors_program", "anywhere"] = Field(
        default="one_level_up",
        description="Which regimens may be treated next: those at most one level up on one axis and not up on the "
        "other; those and, with the frequency falling, any dose; or all.",
    )
    ties: Literal["drawn", "dose_first", "frequency_first"] = Field(
        default="drawn",
        description="Of regimens equally close to the target, draw one, or take the one with the higher dose, or with "
        "the higher frequency.",
    )
    selection: Literal["next", "tried"] = Field(
        default="next",
        description="Select the regimen that would be treated next, tried or not, or of those tried and not left out "
        "the closest to the target.",
    )
    interval: float = Field(
        default=0.9, gt=0.5, lt=1, description="Probability that the reported intervals of the DLT probabilities hold."
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self._enough("prior_connection", self.prior_connection)
        for name in ("prior_doses", "prior_frequencies"):
            listed = getattr(self, name)
            if listed is None:
                continue
            connections = [1 - listed[0], *((1 - high) / (1 - low) for low, high in pairwise(listed) if low < 1)]
            if len(connections) < len(listed) or not all(0 < each <= 0.99 for each in connections):
                raise ValueError(
                    f"{name} must lie between 0 and 1 and increase, each entry leaving at most .99 of the probability "
                    "of no DLT before it: correct its entries"
                )
            self._enough(name, min(connections))
        both = self.prior_doses, self.prior_frequencies
        if both[0] is not None and both[1] is not None and abs(both[0][0] - both[1][0]) > 1e-9:
            raise ValueError(
                f"prior_doses starts with {both[0][0]:g} and prior_frequencies with {both[1][0]:g}: both are of the "
                "lowest regimen, give the same number"
            )
        return self

    def _enough(self, name: str, connection: float) -> None:
        """The integration is not good for flatter priors than these."""
        if connection * self.strength < 2 - 1e-9:
            raise ValueError(
                f"{name} has a connection of {connection:.3g}, which at strength {self.strength:g} is worth fewer "
                "than 2 participants without a DLT: raise strength, or the connection"
            )


REASONS = (
    Reason(
        "surface_free.nobody_yet",
        "Nobody is evaluable yet: treat the cohort here.",
        "The rule starts from the first outcomes, and nobody has completed the DLT window or had a DLT.",
    ),
    Reason(
        "surface_free.lowest_too_toxic",
        "The lowest regimen is too probably above the target: the trial stops without a recommendation.",
        "The posterior probability that the DLT probability of the lowest regimen is above the target has reached the "
        "limit. No lower regimen is left, so nothing can be recommended.",
        stop="lowest_too_toxic",
        selects=False,
    ),
    Reason(
        "surface_free.drawn",
        "Several regimens are equally close to the target: one of them is drawn.",
        "Of the regimens that may be treated next and are not too probably above the target, several have the same "
        "estimated distance from it. Each is drawn with the same probability.",
    ),
    Reason(
        "surface_free.closest",
        "This regimen is estimated to be closest to the target: treat it next.",
        "Of the regimens that may be treated next and are not too probably above the target, this one has the "
        "estimated DLT probability closest to it.",
    ),
)
