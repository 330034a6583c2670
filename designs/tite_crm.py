"""TITE-CRM, the time-to-event continual reassessment method, along one axis.

The CRM with a likelihood that also counts participants whose DLT window is open: one followed for
a part of it without a DLT adds the factor 1 - w p, with a weight w from 0 to 1; one with a DLT or
a complete window counts in full. Nobody waits for windows to complete: the next cohort is assigned
as soon as somebody is there, with what is known on that day. The weight of u days of a window of T:

* ``linear``: u / T, as if a DLT were as likely on any day;
* ``adaptive``: with DLTs at times t_1 <= ... <= t_z of the window among the participants so far, a
  participant followed past k of them has (k + (u - t_k) / (t_{k+1} - t_k)) / (z + 1), where t_0 = 0
  and t_{z+1} = T. Times are fractions of each participant's own window;
* ``hazard``: the share of a stated hazard that has acted by day u, for schedules of several
  infusions, on which a linear weight credits follow-up before the last infusion too much.

``minimum_follow_up`` holds back an escalation until everybody at the current level has been followed
for that share of the window or had a DLT; without it, as published, the first cohorts can climb on very
little follow-up. With no follow-up at all the design stays: the model would only repeat the prior.

With every window complete it is the CRM. As in dfcrm's simulations the way up is limited to one
level at a time; ``coherent`` is off by default, because the last cohort is rarely complete.

References
----------
Cheung YK, Chappell R (2000) Biometrics 56:1177-1182, doi:10.1111/j.0006-341X.2000.01177.x.

Examples
--------
Three participants at level 1, one of them followed to the end, two for half and a quarter of the
window, none with a DLT. Half a participant without a DLT is less evidence than a whole one: the
estimate lies between that of one and that of three complete windows.

>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> design = TiteCrm(TiteCrmParameters(target=0.25), Setting(grid, cohort_size=1, start=0))
>>> def beta(n, time):
...     open_ = {"pending": [[3 - n, 0, 0]], "person_at": [[0] * (3 - n)], "person_time": [time[: 3 - n]]}
...     seen = Tally.of(n=[[n, 0, 0]], dlt=[[0, 0, 0]], current=[0], **open_, person_dlt=[[False] * (3 - n)])
...     return float(design.posterior(seen).beta[0].round(3))
>>> beta(1, [0.0, 0.0]), beta(1, [0.5, 0.25]), beta(3, [])
(0.366, 0.501, 0.711)
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from designs.crm import Crm
from designs.crm_model import Partial
from designs.crm_parameters import REASONS, CrmParameters
from escalation.decision import Action, Decisions, Reason
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.tally import Bools, Counts, Floats, Tally
from escalation.truth import HazardOnset


class TiteCrmParameters(CrmParameters):
    """Parameters of the TITE-CRM: those of the CRM, and the weights."""

    coherent: bool = Field(
        default=False, description="Do not go up straight after a cohort whose DLT rate is at or above the target."
    )
    weights: Literal["linear", "adaptive", "hazard"] = Field(
        default="linear",
        description="Weight of a participant in follow-up: linear in time, adapted to the DLT times seen so far, or "
        "the share of a hazard that has acted.",
    )
    hazard: HazardOnset | None = Field(
        default=None,
        description="Hazard of a DLT over a course of infusions, of which only the shape matters; "
        "needed with weights: hazard.",
    )

    minimum_follow_up: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the window that everybody at the current level must have been followed for, or have "
        "had a DLT, before the trial goes up; 0 as published.",
    )

    @model_validator(mode="after")
    def _weighted(self) -> TiteCrmParameters:
        if (self.weights == "hazard") is not (self.hazard is not None):
            raise ValueError("weights: hazard and the hazard itself go together: give both or neither")
        if self.hazard is not None and self.hazard.calibrate is not None:
            raise ValueError("only the shape of the hazard matters here: give a of its terms instead of calibrate")
        return self


class TiteCrm(Crm):
    """The time-to-event continual reassessment method along the dose axis or the frequency axis."""

    name: ClassVar[str] = "tite_crm"
    title: ClassVar[str] = "TITE-CRM"
    citation: ClassVar[str] = "Cheung & Chappell (2000) Biometrics 56:1177-1182, doi:10.1111/j.0006-341X.2000.01177.x"
    Parameters = TiteCrmParameters
    needs_clock: ClassVar[bool] = True
    reasons: ClassVar[tuple[Reason, ...]] = (
        *REASONS,
        Reason(
            "tite_crm.too_little_follow_up",
            "A higher level is estimated closest, but participants here have been followed too shortly: stay.",
            "The protocol asks for a minimum follow-up of everybody at the current level before the trial goes up. "
            "Until then the next cohort is treated here.",
        ),
    )
    parameters: TiteCrmParameters

    def __init__(self, parameters: TiteCrmParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        if parameters.hazard is not None and any(shape[-1] <= 0 for shape in self._acted):
            raise DesignError(
                "protocol.design.hazard",
                "the hazard has no effect within the DLT window of a regimen",
                "choose a hazard that acts there",
            )

    @property
    def variant(self) -> str:
        """The weights, the model and the switches that are not at their default."""
        named = super().variant.replace(", escalation after DLTs allowed", "")
        least = self.parameters.minimum_follow_up
        more = f", {least:.0%} follow-up before escalation" if least else ""
        return f"{self.parameters.weights} weights, {named}" + (", coherent" if self.parameters.coherent else "") + more

    def decide(self, tally: Tally) -> Decisions:
        """The level closest to the target with windows open, held back by the restrictions, in every row."""
        decisions = super().decide(tally)
        least = self.parameters.minimum_follow_up
        if not least or not tally.pending.any():
            return decisions
        here = (tally.person_at == tally.current[:, None]) & ~tally.person_dlt
        short = (decisions.action == Action.ESCALATE) & (here & (tally.person_time < least - 1e-12)).any(axis=1)
        return replace(
            decisions,
            action=np.where(short, np.int32(Action.STAY), decisions.action),
            regimen=np.where(short, tally.current, decisions.regimen),
            reason=np.where(short, np.int32(self.cite("tite_crm.too_little_follow_up")), decisions.reason),
        )

    @cached_property
    def _acted(self) -> tuple[Floats, ...]:
        """For each regimen, the cumulative hazard at the end of day 0, 1, ... of its window."""
        hazard, grid = self.parameters.hazard, self.grid
        if hazard is None:
            return ()
        return tuple(
            hazard.risk(grid.schedule(k), grid.amount(k), np.arange(self.setting.window(k) + 1.0))
            for k in range(grid.size)
        )

    def _seen(self, tally: Tally) -> tuple[Counts, Counts, Partial | None]:
        n, dlt, _ = super()._seen(tally)
        if not tally.pending.any():
            return n, dlt, None
        at, time, toxic = tally.person_at, tally.person_time, tally.person_dlt
        if not at.shape[1]:  # only totals are known: every pending participant at the mean of the regimen
            most = int(tally.pending.max())
            share = tally.exposure / np.maximum(tally.pending, 1)
            here = np.arange(most) < tally.pending[:, :, None]
            at = np.where(here, np.arange(tally.n.shape[1])[:, None], -1).reshape(tally.rows, -1).astype(np.int32)
            time = np.where(here, share[:, :, None], 0.0).reshape(tally.rows, -1)
            toxic = np.zeros(at.shape, dtype=bool)
        level = self.ladder.level_of(at)
        weight = np.where(toxic | (level < 0), 0.0, self._weights(at, time, toxic))
        return n, dlt, Partial(np.maximum(level, 0).astype(np.intp), weight)

    def _treated(self, tally: Tally) -> Counts:
        return tally.n + tally.pending

    def _anybody(self, tally: Tally) -> Bools:
        here = self.ladder.index
        anybody: Bools = (tally.n[:, here].sum(axis=1) > 0) | (tally.exposure[:, here].sum(axis=1) > 0)
        return anybody

    def _weights(self, at: Counts, time: Floats, toxic: Bools) -> Floats:
        """Weights of participants followed for fractions of their windows, (S, Q)."""
        if self.parameters.weights == "adaptive":
            return adaptive_weights(time, toxic & (at >= 0))
        if self.parameters.weights == "hazard":
            weights = np.zeros(time.shape)
            for regimen, acted in enumerate(self._acted):
                days = time * (len(acted) - 1)
                here = np.interp(days, np.arange(len(acted)), acted) / acted[-1]
                weights = np.where(at == regimen, here, weights)
            return weights
        return time


def adaptive_weights(time: Floats, toxic: Bools) -> Floats:
    """Weights of participants by the DLT times of the same row.

    Parameters
    ----------
    time
        (S, Q) fraction of the window followed, or at the onset of the DLT.
    toxic
        (S, Q) participants with a DLT.

    Examples
    --------
    One DLT at half the window: the first half is worth as much as the second.

    >>> adaptive_weights(np.array([[0.25, 0.75, 0.5]]), np.array([[False, False, True]]))[:, :2]
    array([[0.25, 0.75]])
    >>> adaptive_weights(np.array([[0.1, 0.6, 0.2]]), np.array([[False, False, True]]))[:, :2]
    array([[0.25, 0.75]])
    """
    onset = np.where(toxic, time, np.inf)[:, None, :]
    passed = onset <= time[:, :, None]
    before = np.where(passed, onset, 0.0).max(axis=2, initial=0.0)
    after = np.where(passed, np.inf, onset).min(axis=2, initial=1.0)
    share = (time - before) / np.where(after > before, after - before, 1.0)
    weights: Floats = np.minimum((passed.sum(axis=2) + share) / (toxic.sum(axis=1, keepdims=True) + 1), 1.0)
    return weights
