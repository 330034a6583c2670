"""Parameters of the Ivanova-Wang design, and its catalogue of reasons."""

from __future__ import annotations

from math import log
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from designs.ccd import CcdParameters
from escalation.decision import Reason
from escalation.design import Parameters


class IvanovaWangParameters(Parameters):
    """Parameters of the Ivanova-Wang design; Gamma of the up-and-down literature is ``target``."""

    target: float = Field(default=0.30, ge=0.05, le=0.5, description="Target DLT probability, from .05 to .50.")
    up_and_down: Literal["narayana", "cumulative"] = Field(
        default="narayana",
        description="How a frequency is searched: by the latest participants at the regimen and the DLT rate there "
        "together, or by the rate alone, as the cumulative cohort design.",
    )
    in_a_row: int | None = Field(
        default=None,
        ge=1,
        le=12,
        description="Latest participants at the regimen without a DLT that the Narayana rule needs to escalate; "
        "ln(.5) / ln(1 - target), rounded, if left out.",
    )
    delta: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Half width of the interval around the target of the cumulative rule; that of the cumulative "
        "cohort design if left out.",
    )
    cohorts: tuple[int, ...] | None = Field(
        default=None,
        description="Cohorts of each frequency, the lowest first; equal shares of the maximum size if left out.",
    )
    row_start: Literal["one_below", "lowest"] = Field(
        default="one_below",
        description="Where the next frequency starts: one dose below the MTD dose just found, but not above the dose "
        "now open, or at the lowest dose.",
    )
    ceiling: Literal["mtd_below", "tried_below", "none"] = Field(
        default="mtd_below",
        description="The highest dose a frequency may be given at: the MTD dose of the next lower frequency, the "
        "highest dose tried there, or any.",
    )
    elimination_certainty: float | None = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="A regimen and all at or above it are eliminated when Pr(p > target | data) exceeds this; never if "
        "empty.",
    )
    elimination_minimum: int = Field(
        default=3, ge=1, description="Evaluable participants a regimen needs before it can be eliminated."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            self.cumulative()
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        if self.cohorts is not None and any(cohorts < 1 for cohorts in self.cohorts):
            raise ValueError("cohorts: every frequency needs at least 1 cohort: give whole numbers from 1")
        return self

    def cumulative(self) -> CcdParameters:
        """The parameters of the cumulative cohort design the cumulative rule is that of."""
        return CcdParameters(target=self.target, delta=self.delta)

    @property
    def run(self) -> int:
        """Participants in a row without a DLT that the Narayana rule needs, given or worked out."""
        return self.in_a_row or max(1, round(log(0.5) / log(1 - self.target)))


REASONS = (
    Reason(
        "ivanova_wang.clear_and_below",
        "No DLT among the latest participants here and a DLT rate below the target: one dose up.",
        "The Narayana rule escalates when two things agree: the latest participants at this regimen had no DLT, and "
        "the DLT rate of everybody here is below the target. The frequency stays as it is.",
    ),
    Reason(
        "ivanova_wang.dlt_and_above",
        "A DLT among the latest participants here and a DLT rate above the target: one dose down.",
        "The Narayana rule de-escalates when two things agree: there is a DLT among the latest participants at this "
        "regimen, and the DLT rate of everybody here is above the target. The frequency stays as it is.",
    ),
    Reason(
        "ivanova_wang.undecided",
        "The latest participants and the DLT rate do not agree on a move: stay.",
        "To move, the latest outcomes at this regimen and the rate of everybody here must point the same way. They do "
        "not, so the next cohort is treated here again.",
    ),
    Reason(
        "ivanova_wang.rate_below",
        "The DLT rate at this regimen is at or below target - delta: one dose up.",
        "The rate of everybody evaluable at this regimen is clearly below the target. The frequency stays as it is.",
    ),
    Reason(
        "ivanova_wang.rate_above",
        "The DLT rate at this regimen is at or above target + delta: one dose down.",
        "The rate of everybody evaluable at this regimen is clearly above the target. The frequency stays as it is.",
    ),
    Reason(
        "ivanova_wang.rate_between",
        "The DLT rate at this regimen is less than delta from the target: stay.",
        "The rate of everybody evaluable at this regimen is close to the target. The next cohort is treated here "
        "again.",
    ),
    Reason(
        "ivanova_wang.eliminated",
        "This regimen is too toxic and is eliminated with all above it: de-escalate.",
        "With enough evaluable participants, the probability that the DLT rate of this regimen is above the target "
        "exceeds the elimination certainty. It and every regimen with at least its dose and at least its frequency "
        "are closed for the rest of the trial.",
    ),
    Reason(
        "ivanova_wang.nowhere_up",
        "The rule asks for the next dose, but there is none open at this frequency: stay.",
        "The next dose at this frequency is outside the grid or eliminated, so the next cohort is treated here again.",
    ),
    Reason(
        "ivanova_wang.at_ceiling",
        "The rule asks for the next dose, which the next lower frequency does not support: stay.",
        "A dose given more often cannot be less toxic. The next dose is above the MTD dose of the next lower "
        "frequency, or was not tried there, so the next cohort is treated here again.",
    ),
    Reason(
        "ivanova_wang.at_lowest",
        "The rule asks for a lower dose, but this is the lowest: stay.",
        "The observed rate is high, yet the data do not rule out that the true rate is acceptable. The next cohort "
        "stays here until the rate falls, the regimen is eliminated, or the frequency has its participants.",
    ),
    Reason(
        "ivanova_wang.nobody_yet",
        "Nobody is evaluable at this regimen yet: treat the cohort here.",
        "The rule reads the DLTs among the evaluable participants at this regimen, and none of them has completed the "
        "DLT window or had a DLT.",
    ),
    Reason(
        "ivanova_wang.next_frequency",
        "This frequency has its participants: the search goes on at the next higher one.",
        "Every frequency has its own number of participants, and this one has had them. The next higher frequency "
        "starts at a dose that the estimates at this frequency put at or below the target.",
    ),
    Reason(
        "ivanova_wang.complete",
        "Every frequency has its participants: escalation ends.",
        "Each frequency has been searched. The MTD dose of every frequency is selected by isotonic regression of all "
        "data together.",
        stop="declared",
    ),
    Reason(
        "ivanova_wang.higher_frequency_too_toxic",
        "The next frequency would start above the target: escalation ends.",
        "The dose at which the next higher frequency would start has an estimated DLT probability above the target "
        "already at this frequency, and given more often it cannot be less toxic. The MTD doses of the frequencies "
        "searched so far are selected.",
        stop="declared",
    ),
    Reason(
        "ivanova_wang.no_dose_at_frequency",
        "The lowest dose at this frequency is too toxic: escalation ends.",
        "With enough evaluable participants, the lowest dose at this frequency was eliminated, and with it every "
        "higher frequency. The MTD doses of the lower frequencies are selected.",
        stop="declared",
    ),
    Reason(
        "ivanova_wang.lowest_eliminated",
        "The lowest regimen is too toxic: the trial stops and nothing is recommended.",
        "With enough evaluable participants, the probability that the DLT rate of the lowest regimen is above the "
        "target exceeds the certainty the protocol asks for. Every regimen is at least as toxic, so none can be "
        "selected.",
        stop="lowest_too_toxic",
        selects=False,
    ),
)
