"""Scenarios: what is assumed to be true, apart from any design."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from escalation.protocol import Model
from escalation.regimens import RegimenGrid
from escalation.tally import Floats
from escalation.truth import Probabilities, Truth, fitted_to, probability_rows


class PoissonAccrual(Model):
    """Eligible participants arrive at random, one every ``mean_gap_days`` on average."""

    law: Literal["poisson"] = "poisson"
    mean_gap_days: float = Field(default=14.0, gt=0, description="Mean days between two arrivals.")


class UniformAccrual(Model):
    """Days between two arrivals are uniform from 0 to twice ``mean_gap_days``."""

    law: Literal["uniform"] = "uniform"
    mean_gap_days: float = Field(gt=0, description="Mean days between two arrivals.")


class FixedAccrual(Model):
    """An eligible participant arrives every ``gap_days`` days."""

    law: Literal["fixed"] = "fixed"
    gap_days: float = Field(gt=0, description="Days between two arrivals.")


class ListedAccrual(Model):
    """Eligible participants arrive on the given days; the trial ends incomplete when they run out."""

    law: Literal["listed"] = "listed"
    days: tuple[float, ...] = Field(min_length=1, description="Days of arrival, in order.")

    @field_validator("days")
    @classmethod
    def _in_order(cls, days: tuple[float, ...]) -> tuple[float, ...]:
        if days[0] < 0 or any(b < a for a, b in pairwise(days)):
            raise ValueError("arrival days must not be negative and must be in order; sort them")
        return days


AccrualLaw = Annotated[PoissonAccrual | UniformAccrual | FixedAccrual | ListedAccrual, Field(discriminator="law")]


class Held(Model):
    """What happens to those who arrive while nobody can be enrolled."""

    policy: Literal["wait", "turn_away"] = Field(default="wait", description="Whether they wait or are turned away.")
    most_waiting: int | None = Field(
        default=None, ge=0, description="Places in the queue; further arrivals are turned away."
    )
    patience_days: int | None = Field(default=None, ge=0, description="Longest wait before a participant leaves.")


class Scenario(Model):
    """An assumed truth with its accrual and drop-out."""

    name: str = Field(min_length=1)
    description: str = ""
    truth: Truth
    moderate: Probabilities | None = Field(
        default=None,
        description="Probability of a moderate toxicity (grade 2 or more, attributable, no DLT) as the worst event "
        "within the DLT window, for every regimen; needed where titration ends on moderate toxicities.",
    )
    response: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Response probability with the regimen; of two groups, the treatment's.",
    )
    control_response: float | None = Field(
        default=None, ge=0, le=1, description="Response probability in the control group."
    )
    responses: tuple[tuple[float, ...], ...] | None = Field(
        default=None,
        description="Response probability of every regimen, as the table of DLT probabilities is written; a response "
        "opens a regimen for backfill.",
    )
    response_day: int | None = Field(
        default=None,
        ge=0,
        description="Day of the response assessment, counted from the first infusion; the last day of the DLT window "
        "if left out.",
    )
    accrual: AccrualLaw = Field(default_factory=PoissonAccrual)
    held: Held = Field(
        default_factory=Held,
        title="Arrivals while nobody can be enrolled",
        description="Whether they wait, how many and how long.",
    )
    screen_failure: float = Field(
        default=0.0, ge=0, lt=1, description="Probability that an arriving candidate fails screening."
    )
    drop_out: float = Field(
        default=0.0, ge=0, lt=1, description="Probability of withdrawing within the DLT window, at a constant rate."
    )
    missed_infusion: float = Field(
        default=0.0, ge=0, lt=1, description="Probability that an infusion after the first is missed."
    )

    @field_validator("responses", mode="before")
    @classmethod
    def _table(cls, value: Any) -> Any:
        return None if value is None else probability_rows(value, "response probabilities")

    def response_probabilities(self, grid: RegimenGrid) -> Floats | None:
        """The response probabilities in the order of the grid's regimens, None when none are given.

        Raises DesignError when the table does not fit the regimens.
        """
        if self.responses is None:
            return None
        return fitted_to(self.responses, grid, "responses")

    @field_validator("moderate", mode="before")
    @classmethod
    def _by_regimen(cls, value: Any) -> Any:
        return None if value is None else probability_rows(value, "probabilities of a moderate toxicity")
