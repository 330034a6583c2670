"""Parameters of the waterfall design, and its catalogue of reasons."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from designs.boin import BoinParameters
from escalation.decision import Reason
from escalation.design import Parameters


class WaterfallParameters(Parameters):
    """Parameters of the waterfall design; phi, phi1 and phi2 of BOIN are ``target``, ``p_saf`` and ``p_tox``."""

    target: float = Field(default=0.30, ge=0.05, le=0.6, description="Target DLT probability, from .05 to .60.")
    p_saf: float | None = Field(
        default=None, gt=0, lt=1, description="phi1: so low that the trial should escalate; .6 of the target."
    )
    p_tox: float | None = Field(
        default=None, gt=0, lt=1, description="phi2: so high that the trial should de-escalate; 1.4 times the target."
    )
    elimination_certainty: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="A regimen and all at or above it are eliminated when Pr(p > target | data) exceeds this.",
    )
    elimination_minimum: int = Field(
        default=3, ge=1, description="Evaluable participants a regimen needs before it can be eliminated."
    )
    extra_safe: bool = Field(
        default=False,
        description="End a sub-trial without MTD already when Pr(p > target | data) at its lowest regimen exceeds "
        "the elimination certainty less extra_safe_offset.",
    )
    extra_safe_offset: float = Field(
        default=0.05, gt=0, lt=0.5, description="How much sooner the extra-safe rule ends it; used with extra_safe."
    )
    cohorts: tuple[int, ...] | None = Field(
        default=None,
        description="Cohorts of each sub-trial, the path first, then the frequencies from the highest but one down; "
        "enough for four participants a regimen if left out.",
    )
    full_at: int = Field(
        default=12, ge=1, description="A sub-trial ends when its next regimen has this many evaluable participants."
    )
    frequency_without_mtd: Literal["stop", "next_frequency"] = Field(
        default="stop",
        description="When no dose above the lowest is acceptable at a frequency: end the trial, or go on with the "
        "frequency below.",
    )
    select_elimination: Literal["rectangle", "ladder"] = Field(
        default="rectangle",
        description="What an eliminated regimen closes at the selection: everything at or above it, or, as the "
        "released software, the rest of its sub-trial.",
    )
    regression: Literal["closed_as_toxic", "all_estimates"] = Field(
        default="closed_as_toxic",
        description="Whether closed regimens enter the final regression as too toxic, or with their own data and are "
        "closed afterwards.",
    )
    raise_lower_frequencies: bool = Field(
        default=True,
        description="Raise the MTD dose of a frequency to that of the next higher one where it is lower.",
    )
    round_estimates: bool = Field(
        default=False,
        description="Round the isotonic estimates to two decimals before comparing them with the target, as the "
        "exported selection function of the R package does.",
    )

    @model_validator(mode="after")
    def _as_boin(self) -> Self:
        try:
            self.one_axis()
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        if self.cohorts is not None and any(cohorts < 1 for cohorts in self.cohorts):
            raise ValueError("cohorts: every sub-trial needs at least 1 cohort: give whole numbers from 1")
        return self

    def one_axis(self) -> BoinParameters:
        """The parameters of BOIN its sub-trials run under."""
        return BoinParameters(
            target=self.target,
            p_saf=self.p_saf,
            p_tox=self.p_tox,
            elimination_certainty=self.elimination_certainty,
            elimination_minimum=self.elimination_minimum,
            extra_safe=self.extra_safe,
            extra_safe_offset=self.extra_safe_offset,
        )


REASONS = (
    Reason(
        "waterfall.at_or_below_lambda_e",
        "The DLT rate at this regimen is at or below lambda_e: escalate along the sub-trial.",
        "The observed DLT rate is so low that a true rate clearly under the target is the best explanation. The next "
        "cohort gets the next regimen of the running sub-trial, one level up on one axis.",
    ),
    Reason(
        "waterfall.between",
        "The DLT rate at this regimen lies between lambda_e and lambda_d: stay.",
        "The observed DLT rate is close to the target. Neither moving up nor moving down is supported, so the next "
        "cohort adds information where the design believes the target to be.",
    ),
    Reason(
        "waterfall.at_or_above_lambda_d",
        "The DLT rate at this regimen is at or above lambda_d: de-escalate along the sub-trial.",
        "The observed DLT rate is so high that a true rate clearly over the target is the best explanation. The next "
        "cohort gets the regimen before this one in the running sub-trial.",
    ),
    Reason(
        "waterfall.eliminated",
        "This regimen is too toxic and is eliminated with all above it: de-escalate.",
        "With enough evaluable participants, the probability that the DLT rate of this regimen is above the target "
        "exceeds the elimination certainty. It and every regimen with at least its dose and at least its frequency "
        "are closed for the rest of the trial.",
    ),
    Reason(
        "waterfall.nowhere_up",
        "The DLT rate is low enough to escalate, but the sub-trial has no open regimen above: stay.",
        "The rule asks for the next regimen of the sub-trial. There is none, or it is eliminated, so the next cohort "
        "is treated here again.",
    ),
    Reason(
        "waterfall.at_lowest",
        "The DLT rate asks for a lower regimen, but this is the lowest of the sub-trial: stay.",
        "The observed rate is high, yet the data do not rule out that the true rate is acceptable. The next cohort "
        "stays here until the rate falls, or the regimen is eliminated and the sub-trial ends.",
    ),
    Reason(
        "waterfall.nobody_yet",
        "Nobody is evaluable at this regimen yet: treat the cohort here.",
        "The rule reads the DLTs among the evaluable participants at this regimen, and none of them has completed the "
        "DLT window or had a DLT.",
    ),
    Reason(
        "waterfall.next_frequency",
        "The sub-trial is complete: the next one opens at the frequency below, one dose above the MTD just found.",
        "The sub-trial has its participants or its next regimen has enough of them, and its MTD is found. At the "
        "frequency below, doses up to that MTD cannot be more toxic, so the search goes on one dose above it.",
    ),
    Reason(
        "waterfall.doses_at_this_frequency",
        "The MTD so far is the lowest dose, and its DLT rate still asks to escalate: try higher doses at its "
        "frequency.",
        "The first sub-trial found the lowest dose at a frequency below the highest to be its MTD. Higher "
        "frequencies are not tried any more. As the DLT rate there is low, one more sub-trial climbs the doses at "
        "this frequency.",
    ),
    Reason(
        "waterfall.complete",
        "Every sub-trial is complete: escalation ends.",
        "Each frequency that can be tried has been searched. The MTD of every frequency is selected from all data "
        "together.",
        stop="declared",
    ),
    Reason(
        "waterfall.no_dose_at_frequency",
        "No dose above the lowest is acceptable at this frequency: escalation ends.",
        "The lowest dose of the running sub-trial was eliminated. The protocol does not go on with the frequency "
        "below; the MTDs are selected from all data so far.",
        stop="declared",
    ),
    Reason(
        "waterfall.lowest_eliminated",
        "The lowest regimen is too toxic: the trial stops and nothing is recommended.",
        "With enough evaluable participants, the probability that the DLT rate of the lowest regimen is above the "
        "target exceeds the certainty the protocol asks for. Every regimen is at least as toxic, so none can be "
        "selected.",
        stop="lowest_too_toxic",
        selects=False,
    ),
)
