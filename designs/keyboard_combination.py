"""Keyboard-combination: Keyboard on the dose-by-frequency grid, finding one regimen.

As BOIN-combination, with the decisions of the Keyboard design: escalate when the strongest key lies
below the target key, de-escalate when it lies above. Neighbours are compared by the posterior
probability of the target key under a Beta(.5, .5) prior, plus .0005 for every evaluable participant.

Equally good neighbours are drawn with equal probabilities. The function for conduct in the R package
Keyboard 0.1.3 (``next.comb.kb``) seeds its own random numbers and so always answers alike. It also hands
its margins on in the wrong places: the key it decides by reaches from target - margin to target + the
elimination certainty, so that it escalates at one DLT among three and de-escalates only from an
eliminated regimen. ``decision_key: next_comb_kb`` reproduces that, for comparison with the package and
never for a trial.

References
----------
Pan H, Lin R, Zhou Y, Yuan Y (2020) Contemp Clin Trials 92:105972, doi:10.1016/j.cct.2020.105972.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from designs.boundaries import ESCALATE, STAY, Boundaries, Ties, boundaries_of
from designs.grid_interval import GridIntervalDesign, GridIntervalParameters, with_grid_reasons
from designs.keyboard import Keyboard, KeyboardParameters
from designs.posterior import posterior_cdf
from escalation.decision import Reason


class KeyboardCombinationParameters(GridIntervalParameters):
    """Parameters of Keyboard-combination; the target key runs from target - margin_below to target + margin_above."""

    margin_below: float = Field(default=0.05, gt=0, lt=1, description="Target less the lower end of the target key.")
    margin_above: float = Field(default=0.05, gt=0, lt=1, description="Upper end of the target key less the target.")
    decision_key: Literal["target_key", "next_comb_kb"] = Field(
        default="target_key",
        description="target_key: the published rule; next_comb_kb: the key the R package's function for conduct uses "
        "by mistake, which is far too wide. Only for reproducing that package.",
    )
    key_ties: Ties = Field(default="most_toxic", description="Which of equally strong keys decides.")

    @model_validator(mode="after")
    def _as_keyboard(self) -> Self:
        try:
            self.one_axis()
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self

    def one_axis(self) -> KeyboardParameters:
        """The parameters of Keyboard these boundaries are taken from."""
        return KeyboardParameters(
            target=self.target,
            margin_below=self.margin_below,
            margin_above=self.margin_above,
            ties=self.key_ties,
            elimination_certainty=self.elimination_certainty,
            elimination_minimum=self.elimination_minimum,
            extra_safe=self.extra_safe,
            extra_safe_offset=self.extra_safe_offset,
        )


class KeyboardCombination(GridIntervalDesign[KeyboardCombinationParameters]):
    """Keyboard on the dose-by-frequency grid, finding one regimen."""

    name: ClassVar[str] = "keyboard_combination"
    title: ClassVar[str] = "Keyboard-combination"
    citation: ClassVar[str] = (
        "Pan, Lin, Zhou & Yuan (2020) Contemp Clin Trials 92:105972, doi:10.1016/j.cct.2020.105972"
    )
    Parameters = KeyboardCombinationParameters
    escalates: ClassVar[str] = "keyboard_combination.strongest_below_target"
    stays: ClassVar[str] = "keyboard_combination.strongest_is_target"
    de_escalates: ClassVar[str] = "keyboard_combination.strongest_above_target"
    reasons: ClassVar[tuple[Reason, ...]] = with_grid_reasons(
        "keyboard_combination",
        Reason(
            "keyboard_combination.strongest_below_target",
            "The strongest key lies below the target key: escalate by one dose or one frequency.",
            "Of all intervals as wide as the target key, the one that most probably holds the DLT probability of "
            "this regimen lies below the target. Of one dose up and one frequency up, the one that more probably "
            "lies in the target key is treated next; both axes are never raised together.",
        ),
        Reason(
            "keyboard_combination.strongest_is_target",
            "The target key is the strongest: stay.",
            "Of all intervals as wide as the target key, the target key itself most probably holds the DLT "
            "probability of this regimen. The next cohort is treated here again.",
        ),
        Reason(
            "keyboard_combination.strongest_above_target",
            "The strongest key lies above the target key: de-escalate by one dose or one frequency.",
            "Of all intervals as wide as the target key, the one that most probably holds the DLT probability of "
            "this regimen lies above the target. Of one dose down and one frequency down, the one that more "
            "probably lies in the target key is treated next.",
        ),
    )

    def tabulate(self, n_max: int) -> Boundaries:
        bound = Keyboard.tabulate(self.parameters.one_axis(), n_max)
        return bound if self.parameters.decision_key == "target_key" else self._mistaken(bound, n_max)

    def _mistaken(self, bound: Boundaries, n_max: int) -> Boundaries:
        """Boundaries of a key of full width 1 above its lower end, against the shorter key below scaled up to it."""
        lower = self.parameters.target - self.parameters.margin_above
        below = posterior_cdf(n_max, (1.0, 1.0), np.array([lower]))[..., 0]
        width = self.parameters.margin_above + self.parameters.elimination_certainty
        moves = np.where(below * width / lower > 1 - below, ESCALATE, STAY).astype(np.int8)
        escalate, _ = boundaries_of(moves)
        escalate[0] = -1
        return Boundaries(np.minimum(escalate, bound.eliminate - 1), bound.eliminate, bound.eliminate, bound.stop)

    def switches(self) -> Iterator[str]:
        """The switches that are on, each in words."""
        if self.parameters.decision_key == "next_comb_kb":
            yield "decides by the mistaken key of next.comb.kb"
        yield from super().switches()

    @property
    def favoured(self) -> tuple[float, float]:
        return self.parameters.one_axis().target_key
