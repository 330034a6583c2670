"""The expansion stage: more participants at the selected regimen, monitored, able to withdraw it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from escalation.numerics import NEVER, beta_exceedance_boundary
from escalation.regimens import RegimenGrid
from escalation.tally import Counts


class Monitor(BaseModel):
    """When the expansion stage withdraws the recommendation.

    Withdraws when Pr(p > threshold | data) > certainty under a Beta prior, the data being all
    evaluable participants at the selected regimen: those of escalation (``pooled``) and those of
    the expansion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    threshold: float = Field(default=1 / 3, gt=0, lt=1, description="DLT probability that must not be exceeded.")
    certainty: float = Field(default=0.8, gt=0.5, lt=1, description="Withdraw when this certain that it is.")
    prior: tuple[float, float] = Field(default=(1.0, 1.0), description="The two parameters of the Beta prior.")
    pooled: bool = Field(default=True, description="Count escalation and expansion together.")

    def boundary(self, n_max: int) -> Counts:
        """Fewest DLTs among n at which the recommendation is withdrawn, n = 0..n_max."""
        return beta_exceedance_boundary(n_max, self.threshold, self.certainty, prior=self.prior)


class Expansion(BaseModel):
    """Participants treated at the selected regimen after escalation.

    Attributes
    ----------
    size
        Evaluable participants in the expansion stage when it runs to its end.
    look_every
        Participants between two looks of the monitor; outcomes of a group are complete before the next is opened.
    monitor
        The withdrawal rule, None for an expansion that is only observed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=1, description="Evaluable participants of the stage.")
    look_every: int = Field(default=3, ge=1, description="Participants between two looks of the monitor.")
    monitor: Monitor | None = Field(
        default_factory=Monitor, description="When the recommendation is withdrawn; without it the stage only observes."
    )

    def withdraws(self, n: Any, dlt: Any, stage_n: Any, stage_dlt: Any) -> Any:
        """Whether the recommendation is withdrawn.

        Parameters
        ----------
        n, dlt
            Evaluable participants and DLTs at the selected regimen in escalation; arrays of one shape, or numbers.
        stage_n, stage_dlt
            The same for the expansion stage.
        """
        if self.monitor is None:
            return np.zeros(np.shape(stage_n), dtype=bool)
        total = np.asarray(stage_n) + (np.asarray(n) if self.monitor.pooled else 0)
        seen = np.asarray(stage_dlt) + (np.asarray(dlt) if self.monitor.pooled else 0)
        boundary = self.monitor.boundary(int(np.max(total, initial=0)))
        return seen >= boundary[total]

    def next_group(self, stage_n: int) -> int:
        """Participants in the next group, 0 when the stage is complete."""
        return max(0, min(self.look_every, self.size - stage_n))

    def describe(self, grid: RegimenGrid) -> str:
        """The stage in one line."""
        line = f"expansion: {self.size} more at the selected regimen"
        if self.monitor is None:
            return f"{line}, not monitored"
        boundary = self.monitor.boundary(24)
        marks = [f"{boundary[n]} of {n}" for n in (6, 9, 12) if boundary[n] < NEVER]
        pooled = "escalation and expansion together" if self.monitor.pooled else "expansion alone"
        return (
            f"{line}, a look every {self.look_every}; withdrawn when Pr(DLT probability > "
            f"{self.monitor.threshold:.3g}) > {self.monitor.certainty:g} ({', '.join(marks)}; {pooled})"
        )
