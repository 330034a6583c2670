"""Parameters of the CRM and its catalogue of reasons."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from scipy.special import expit

from escalation.decision import Reason
from escalation.design import Parameters


class CrmParameters(Parameters):
    """Parameters of the CRM."""

    target: float = Field(default=0.25, gt=0, lt=1, description="Target DLT probability.")
    model: Literal["power", "logistic"] = Field(
        default="power", description="Power model, or one-parameter logistic model with a fixed intercept."
    )
    intercept: float = Field(
        default=3.0, ge=-5, le=10, description="Intercept of the logistic model; used with model: logistic."
    )
    skeleton: tuple[float, ...] | None = Field(
        default=None,
        description="Prior DLT probability of each level, increasing; from halfwidth and prior_mtd if left out.",
    )
    halfwidth: float = Field(
        default=0.05,
        gt=0,
        description="Half width delta of the indifference interval target - delta to target + delta of the skeleton.",
    )
    prior_mtd: int | None = Field(
        default=None,
        ge=1,
        description="Level nu whose prior DLT probability is the target, counted from 1; "
        "the middle level (the lower of two) if left out.",
    )
    # the bounds keep the prior inside the quadrature's range and wider than its step
    prior_variance: float = Field(
        default=1.34, ge=0.01, le=4, description="Variance of the normal prior of beta, from .01 to 4."
    )
    estimate: Literal["bayes", "mle"] = Field(
        default="bayes",
        description="Posterior mean of beta, or its maximum likelihood estimate once there are a DLT and a "
        "participant without one.",
    )
    curve: Literal["plug_in", "posterior_mean"] = Field(
        default="plug_in",
        description="DLT probabilities that are compared with the target: the model at the estimate of beta, or the "
        "posterior mean of each probability (R packages trialr and bcrm).",
    )
    two_stage: bool = Field(
        default=False,
        description="Escalate level by level until the first DLT and ask the model from then on; "
        "always so with estimate: mle.",
    )
    stage_one: tuple[int, ...] | None = Field(
        default=None,
        description="Level of participant 1, 2, ... in the first of two stages, counted from 1; one level up after "
        "each cohort if left out.",
    )
    no_skipping: bool = Field(
        default=True, description="Go up one level at a time, and only from a level that was tried."
    )
    no_skipping_down: bool = Field(default=False, description="Go down one level at a time as well.")
    coherent: bool = Field(
        default=True, description="Do not go up straight after a cohort whose DLT rate is at or above the target."
    )
    stop_above: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Stop without a recommendation when the DLT probability of the lowest level is above this "
        "with stop_certainty; never if left out.",
    )
    stop_certainty: float = Field(default=0.9, gt=0.5, lt=1, description="Certainty that stop_above asks for.")
    exceedance: Literal["exact", "normal"] = Field(
        default="exact",
        description="Probabilities and intervals of beta from its posterior distribution, or from a normal one with "
        "its mean and variance (R packages dfcrm and escalation).",
    )
    settled_after: int | None = Field(
        default=None,
        ge=1,
        description="Stop when this many further participants at the recommended level would leave the "
        "recommendation as it is with settled_certainty; never if left out.",
    )
    settled_certainty: float = Field(
        default=0.9, gt=0.5, lt=1, description="Probability of no change that settled_after asks for."
    )
    interval: float = Field(
        default=0.9, gt=0.5, lt=1, description="Probability that the reported intervals of the curve hold."
    )
    axis: Literal["dose", "frequency"] | None = Field(
        default=None,
        description="The axis to climb. Needed on a grid, where the other axis stays at the starting level.",
    )

    @property
    def staged(self) -> bool:
        """Whether escalation has a first stage without the model."""
        return self.two_stage or self.estimate == "mle"

    @model_validator(mode="after")
    def _usable(self) -> CrmParameters:
        if self.estimate == "mle" and self.curve == "posterior_mean":
            raise ValueError("curve: posterior_mean needs estimate: bayes, maximum likelihood has no posterior")
        highest = self.target if self.skeleton is None else max(self.skeleton, default=self.target)
        if self.stage_one is not None:
            if not self.staged:
                raise ValueError("stage_one is the first of two stages: set two_stage to true, or remove stage_one")
            if not self.stage_one or min(self.stage_one) < 1:
                raise ValueError("stage_one lists levels counted from 1: write for example [1, 1, 1, 2, 2, 2]")
        if self.skeleton is None:
            if not 0 < self.target - self.halfwidth < self.target + self.halfwidth < 1:
                raise ValueError(
                    f"halfwidth {self.halfwidth:g} takes the indifference interval around the target "
                    f"{self.target:g} out of 0 to 1: lower halfwidth"
                )
            highest = self.target + self.halfwidth
        else:
            rising = all(a < b for a, b in zip(self.skeleton, self.skeleton[1:], strict=False))
            if not (rising and all(0 < p < 1 for p in self.skeleton)):
                raise ValueError(
                    "skeleton must increase from level to level and lie between 0 and 1: correct its entries"
                )
        ceiling = float(expit(self.intercept))
        if self.model == "logistic" and highest >= ceiling:
            raise ValueError(
                f"intercept {self.intercept:g} keeps every DLT probability under {ceiling:.3g}, "
                f"and the skeleton reaches {highest:g}: raise intercept"
            )
        return self


REASONS = (
    Reason(
        "crm.closest_is_higher",
        "A higher level is estimated closest to the target: escalate.",
        "The model was refitted to all outcomes at all levels. On the fitted curve a higher level has the "
        "DLT probability closest to the target, so the next cohort is treated there.",
    ),
    Reason(
        "crm.closest_is_current",
        "This level is estimated closest to the target: stay.",
        "The model was refitted to all outcomes at all levels. On the fitted curve this level has the DLT "
        "probability closest to the target (or ties with the level above, and ties go to the lower level).",
    ),
    Reason(
        "crm.closest_is_lower",
        "A lower level is estimated closest to the target: de-escalate.",
        "The model was refitted to all outcomes at all levels. The curve has moved up so far that a lower level "
        "is now closest to the target. The way down is not restricted.",
    ),
    Reason(
        "crm.one_level_at_a_time",
        "A level further up is estimated closest to the target; go up one level only.",
        "Few outcomes at low levels move the whole curve, and the model may ask for a level several steps away. "
        "No level is skipped: the next cohort goes one level up and the model is asked again.",
    ),
    Reason(
        "crm.incoherent_escalation",
        "A higher level is estimated closest, but the last cohort's DLT rate was at or above the target: stay.",
        "The model pools all outcomes and can still favour a higher level right after DLTs. Going up then would "
        "answer toxicity with more treatment, so this cohort stays and its outcomes are awaited.",
    ),
    Reason(
        "crm.untried",
        "A higher level is estimated closest, but nobody is evaluable at this one: stay.",
        "Levels are not skipped, and going up from a level without any outcome would skip it. The next cohort is "
        "treated here first.",
    ),
    Reason(
        "crm.nobody_yet",
        "Nobody is evaluable yet: treat the cohort at this level.",
        "Without any outcome the model only repeats the prior. The protocol, not the prior, says where the "
        "first cohort is treated.",
    ),
    Reason(
        "crm.one_level_down_at_a_time",
        "A level further down is estimated closest to the target; go down one level only.",
        "The protocol lets the trial go down one level at a time. The next cohort goes one level down and the "
        "model is asked again with its outcomes.",
    ),
    Reason(
        "crm.stage_one",
        "No DLT so far: the first stage goes on without the model.",
        "Without a DLT the likelihood has no maximum, and a prior says more about the curve than the data do. "
        "Levels are climbed as the protocol lays down until the first DLT; from then on the model decides.",
    ),
    Reason(
        "crm.lowest_too_toxic",
        "The lowest level is too toxic by the model: the trial stops without a recommendation.",
        "Given all outcomes, the DLT probability of the lowest level is above the protocol's limit with the "
        "certainty it asks for. There is no lower level to turn to, so nothing can be recommended.",
        stop="lowest_too_toxic",
        selects=False,
    ),
    Reason(
        "crm.settled",
        "The recommendation is settled: further participants would hardly change it.",
        "With the probability the protocol asks for, the outcomes of the stated number of further participants at "
        "the recommended level leave the recommendation where it is. Treating them would teach little more.",
        stop="declared",
    ),
)
"""The catalogue of coded reasons of the CRM and of the TITE-CRM."""
