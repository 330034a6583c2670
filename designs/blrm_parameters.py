"""Parameters of the BLRM and its catalogue of reasons."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from escalation.decision import Reason
from escalation.design import Parameters


class BlrmParameters(Parameters):
    """Parameters of the Bayesian logistic regression model with overdose control."""

    target_interval: tuple[float, float] = Field(
        default=(0.16, 0.33), description="DLT probabilities wanted, from the first to the second."
    )
    target: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Target DLT probability that results are judged by and recommend: closest_mean aims at; "
        "the middle of the target interval if left out.",
    )
    overdose_above: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="A DLT probability above this is an overdose; the end of the target interval if left out.",
    )
    overdose_limit: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="A level is admissible when its overdose probability is less than this; 1 switches this off.",
    )
    recommend: Literal["target_interval", "largest_admissible", "closest_mean"] = Field(
        default="target_interval",
        description="Which admissible level is recommended: the largest probability of the target interval, the "
        "highest level, or the posterior mean closest to the target.",
    )
    prior_mean: tuple[float, float] = Field(
        default=(-0.847, 0.381), description="Prior means of log alpha and log beta. The default is an assumption."
    )
    prior_sd: tuple[float, float] = Field(
        default=(2.015, 1.027),
        description="Prior standard deviations of log alpha and log beta, from .05 to 5. The default is an assumption.",
    )
    prior_correlation: float = Field(
        default=0.0, ge=-0.95, le=0.95, description="Prior correlation of log alpha and log beta."
    )
    reference_dose: float | None = Field(
        default=None, gt=0, description="Reference dose d* of the model; the dose of the middle level if left out."
    )
    doses: tuple[float, ...] | None = Field(
        default=None,
        description="Dose of each level as it enters the model, increasing; the amounts of the regimens if left out, "
        "and along frequencies the number of infusions.",
    )
    no_skipping: bool = Field(
        default=True, description="Go up one level at a time, and only from a level that was tried."
    )
    max_increase: float | None = Field(
        default=None, gt=0, description="Largest relative step up from the current dose; 1 allows doubling."
    )
    coherent: bool = Field(
        default=False, description="Do not go up straight after a cohort whose DLT rate is at or above the target."
    )
    declare_after: int | None = Field(
        default=None,
        ge=1,
        description="Declare the recommended level once it is the current one with this many evaluable and "
        "declare_probability or declare_total is reached; never if left out.",
    )
    declare_probability: float = Field(
        default=0.5, gt=0, lt=1, description="Probability of the target interval that declare_after asks for."
    )
    declare_total: int | None = Field(
        default=None, ge=1, description="Evaluable participants in all that satisfy declare_after instead."
    )
    select_untried: bool = Field(default=False, description="Whether a level nobody was treated at can be selected.")
    interval: float = Field(
        default=0.9, gt=0.5, lt=1, description="Probability that the reported intervals of the curve hold."
    )
    axis: Literal["dose", "frequency"] | None = Field(
        default=None,
        description="The axis to climb. Needed on a grid, where the other axis stays at the starting level.",
    )

    @property
    def target_probability(self) -> float:
        """Target DLT probability, the middle of the target interval unless given."""
        return sum(self.target_interval) / 2 if self.target is None else self.target

    @property
    def overdose_threshold(self) -> float:
        """The DLT probability above which there is overdosing."""
        return self.target_interval[1] if self.overdose_above is None else self.overdose_above

    @model_validator(mode="after")
    def _usable(self) -> BlrmParameters:
        low, high = self.target_interval
        if not 0 < low < high < 1:
            raise ValueError(f"target_interval ({low:g}, {high:g}) must increase and lie between 0 and 1: correct it")
        if self.overdose_threshold < high:
            raise ValueError(
                f"overdose_above {self.overdose_threshold:g} lies inside the target interval, which ends at {high:g}: "
                "raise overdose_above"
            )
        if not all(0.05 <= sd <= 5 for sd in self.prior_sd):
            raise ValueError(f"prior_sd {self.prior_sd} must lie between .05 and 5: correct it")
        if self.doses is not None and not (
            all(dose > 0 for dose in self.doses)
            and all(a < b for a, b in zip(self.doses, self.doses[1:], strict=False))
        ):
            raise ValueError("doses must be above 0 and increase from level to level: correct them")
        if self.declare_total is not None and self.declare_after is None:
            raise ValueError("declare_total is read together with declare_after: give declare_after as well")
        return self


REASONS = (
    Reason(
        "blrm.best_is_higher",
        "A higher level is admissible and the best one: escalate.",
        "The model was refitted to all outcomes. The next level is not too likely to be an overdose, and by the "
        "rule of the protocol it is the best of the admissible levels.",
    ),
    Reason(
        "blrm.best_is_current",
        "This level is admissible and the best one: stay.",
        "The model was refitted to all outcomes. By the rule of the protocol this level is the best of those that are "
        "not too likely to be an overdose (equal levels go to the lower).",
    ),
    Reason(
        "blrm.best_is_lower",
        "A lower level is better than this one: de-escalate.",
        "The model was refitted to all outcomes. This level is still admissible, but by the rule of the protocol a "
        "lower one is better. The way down is not limited.",
    ),
    Reason(
        "blrm.overdose",
        "This level is too likely to be an overdose: de-escalate to the best admissible level.",
        "The probability that the DLT probability of this level is above the overdose threshold has reached the limit "
        "of the protocol. Overdose control closes it until other outcomes say otherwise.",
    ),
    Reason(
        "blrm.limited",
        "A level further up would be better, but the step up is limited.",
        "Few outcomes at low levels can make the model favour a level several steps away. The protocol limits the step "
        "up, and the best level within the limit is treated first.",
    ),
    Reason(
        "blrm.incoherent_escalation",
        "A higher level is best, but the last cohort's DLT rate was at or above the target: stay.",
        "The model pools all outcomes and can still favour a higher level right after DLTs. Going up then would "
        "answer toxicity with more treatment, so this cohort stays and its outcomes are awaited.",
    ),
    Reason(
        "blrm.nobody_yet",
        "Nobody is evaluable yet: treat the cohort at this level.",
        "Without any outcome the model only repeats the prior. The protocol, not the prior, says where the first "
        "cohort is treated.",
    ),
    Reason(
        "blrm.no_admissible",
        "Every level is too likely to be an overdose: the trial stops without a recommendation.",
        "Even at the lowest level the probability that the DLT probability is above the overdose threshold has "
        "reached the limit of the protocol. No level is left to treat, so nothing can be recommended.",
        stop="no_admissible",
        selects=False,
    ),
    Reason(
        "blrm.declared",
        "Enough participants at the recommended level: it is declared.",
        "The recommended level has the number of evaluable participants the protocol asks for, and its target "
        "probability or the total number of participants is large enough. Escalation ends with the selection.",
        stop="declared",
    ),
)
"""The catalogue of coded reasons of the BLRM."""
