"""Toxicity monitoring of one regimen: participants are treated until a stopping boundary is reached or all are in.

Nothing is escalated. After every group of participants (a group of one is continuous monitoring) the DLTs so far are
compared with an integer boundary that is computed once. The boundary is one of:

* ``table``: pairs [DLTs, participants], such as at least 2 of 3, 2 of 6 or 3 of 9. A number of DLTs that will stop at
  the next listed size stops as soon as it is there;
* ``bayes``: stop when Pr(p > limit | data) > certainty, the DLT probability p having a Beta prior;
* ``pocock``: the Pocock-type boundary of Ivanova, Qaqish and Schell (2005): the same pointwise level at every look,
  the largest with which the probability of ever stopping is at most ``overall`` when p equals the limit;
* ``none``: DLTs are counted, nothing stops.

The paper monitors after every participant; with larger groups the pointwise level is found for the looks there are.

References
----------
Ivanova A, Qaqish BF, Schell MJ (2005) Biometrics 61:540-545, doi:10.1111/j.1541-0420.2005.00311.x.
Thall PF, Simon RM, Estey EH (1995) Stat Med 14:357-379, doi:10.1002/sim.4780140404 (posterior probability as the
stopping rule).

Examples
--------
Nine participants in groups of three, an explicit table: two DLTs among six stop the trial, one does not.

>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(4,), schedules=((0, 2, 4),))
>>> parameters = ToxicityMonitorParameters(boundary="table", stop_at=((2, 3), (2, 6), (3, 9)))
>>> design = ToxicityMonitor(parameters, Setting(grid, cohort_size=3, start=0, max_patients=9))
>>> seen = Tally.of(n=[[6], [6], [9]], dlt=[[1], [2], [2]], current=[0, 0, 0])
>>> decisions = design.decide(seen)
>>> [design.reasons[reason].code for reason in decisions.reason]
['toxicity_monitor.below_boundary', 'toxicity_monitor.boundary_reached', 'toxicity_monitor.complete']
>>> design.select(seen)[:, 0]
array([ True, False,  True])
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.stats import beta

from designs.stopping_boundaries import listed_boundary, looks_at, pocock_boundary
from escalation.decision import Action, Decisions, Reason
from escalation.design import DecisionTable, Design, Parameters, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.numerics import NEVER, beta_exceedance_boundary
from escalation.tally import Bools, Counts, Tally

REASONS = (
    Reason(
        "toxicity_monitor.below_boundary",
        "Fewer DLTs than the stopping boundary: treat the next participants.",
        "The number of participants with a DLT is below the boundary for the number evaluable so far. The trial goes "
        "on at its one regimen.",
    ),
    Reason(
        "toxicity_monitor.boundary_reached",
        "The stopping boundary is reached: the trial stops for toxicity.",
        "The number of participants with a DLT has reached the boundary for the number evaluable. Nobody else is "
        "treated, and the regimen is not carried forward.",
        stop="lowest_too_toxic",
        selects=False,
    ),
    Reason(
        "toxicity_monitor.complete",
        "All planned participants are evaluable and the boundary was not reached.",
        "The trial has its planned size and was never stopped for toxicity. This says that the regimen passed its "
        "safety monitoring, not that it works.",
        stop="max_n",
    ),
)


class ToxicityMonitorParameters(Parameters):
    """Parameters of toxicity monitoring."""

    boundary: Literal["table", "bayes", "pocock", "none"] = Field(
        default="pocock", description="Where the stopping boundary comes from."
    )
    stop_at: tuple[tuple[int, int], ...] = Field(
        default=(), description="table: [DLTs, participants] pairs; the last holds the planned number of participants."
    )
    limit: float = Field(default=0.30, gt=0, lt=1, description="bayes, pocock: the largest acceptable DLT probability.")
    certainty: float = Field(
        default=0.95, gt=0.5, lt=1, description="bayes: posterior probability of exceeding the limit that stops."
    )
    prior: tuple[float, float] = Field(default=(1.0, 1.0), description="bayes: the Beta prior of the DLT probability.")
    overall: float = Field(
        default=0.05, gt=0, lt=1, description="pocock: largest probability of stopping when p equals the limit."
    )
    minimum: int = Field(
        default=1, ge=1, description="bayes, pocock: fewest evaluable participants at which the trial can stop."
    )

    @model_validator(mode="after")
    def _boundary_has_its_numbers(self) -> ToxicityMonitorParameters:
        if min(self.prior) <= 0:
            raise ValueError("the two numbers of the Beta prior must be positive; write for example prior: [1, 1]")
        if self.boundary != "table":
            if self.stop_at:
                raise ValueError(
                    f"stop_at is not used with boundary: {self.boundary}; remove it or use boundary: table"
                )
            return self
        if not self.stop_at:
            raise ValueError("boundary: table needs its numbers; write for example stop_at: [[2, 3], [2, 6], [3, 9]]")
        last = (0, 0)
        for dlt, n in self.stop_at:
            if not 1 <= dlt <= n:
                raise ValueError(f"stop_at: {dlt} of {n} is not a number of DLTs among {n}; use 1 to {n}")
            if n <= last[1] or dlt < last[0]:
                raise ValueError(
                    f"stop_at: {dlt} of {n} comes after {last[0]} of {last[1]}; list more participants each time and "
                    "never fewer DLTs, for a number that stops later stops now"
                )
            last = (dlt, n)
        return self


class ToxicityMonitor(Design[ToxicityMonitorParameters]):
    """Stopping for toxicity at one regimen."""

    name: ClassVar[str] = "toxicity_monitor"
    title: ClassVar[str] = "Toxicity monitoring"
    citation: ClassVar[str] = "Ivanova et al. (2005) Biometrics 61:540, doi:10.1111/j.1541-0420.2005.00311.x"
    Parameters = ToxicityMonitorParameters
    reasons: ClassVar[tuple[Reason, ...]] = REASONS
    chooses_regimen: ClassVar[bool] = False
    any_tally: ClassVar[bool] = True

    def __init__(self, parameters: ToxicityMonitorParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        if setting.grid.size != 1:
            raise DesignError(
                "protocol.design.name",
                f"{self.title} watches one regimen, and the study has {setting.grid.size}",
                "leave one dose and one frequency, or choose a design that escalates",
            )
        if setting.max_patients is not None:
            _ = self.boundary  # a boundary that cannot be had is a fault of the study, not of the first decision

    @property
    def variant(self) -> str:
        p = self.parameters
        group = self.setting.cohort_size
        often = "continuous" if group == 1 else f"every {group}"
        return {
            "table": "stop at " + ", ".join(f"{dlt} of {n}" for dlt, n in p.stop_at),
            "bayes": f"stop when Pr(p > {p.limit:g}) > {p.certainty:g}, Beta({p.prior[0]:g}, {p.prior[1]:g}), {often}",
            "pocock": f"Pocock-type boundary, {p.overall:g} at p = {p.limit:g}, {often}",
            "none": "no stopping boundary",
        }[p.boundary]

    @property
    def target(self) -> float | None:
        """The largest acceptable DLT probability; the table and no boundary name none."""
        return self.parameters.limit if self.parameters.boundary in ("bayes", "pocock") else None

    @property
    def own_maximum(self) -> int | None:
        return self.setting.max_patients

    @property
    def planned(self) -> int:
        """Participants when the trial is not stopped; raises DesignError when the protocol does not say."""
        if self.setting.max_patients is None:
            raise DesignError(
                "protocol.max_patients",
                f"{self.title} needs the planned number of participants",
                "set it, for example 30",
            )
        return self.setting.max_patients

    @cached_property
    def looks(self) -> tuple[int, ...]:
        """Numbers of evaluable participants at which the trial can stop when every group is whole."""
        return looks_at(self.setting.cohort_size, self._first, self.planned)

    @property
    def _first(self) -> int:
        """Fewest evaluable participants at which the boundary is looked at."""
        return self.parameters.minimum if self.parameters.boundary in ("bayes", "pocock") else 1

    @cached_property
    def boundary(self) -> Counts:
        """Fewest DLTs that stop the trial among n = 0..planned; :data:`NEVER` where none does."""
        boundary = self._boundary().copy()
        n = np.arange(len(boundary))
        boundary[boundary > n] = NEVER
        boundary[: self._first] = NEVER
        boundary.setflags(write=False)
        return boundary

    def _boundary(self) -> Counts:
        p, planned = self.parameters, self.planned
        if self._first > planned:
            raise DesignError(
                "protocol.design.minimum",
                f"no look with {p.minimum} or more among {planned} participants",
                f"use at most {planned}",
            )
        if p.boundary == "none":
            return np.full(planned + 1, NEVER)
        if p.boundary == "bayes":
            return beta_exceedance_boundary(planned, p.limit, p.certainty, minimum=p.minimum, prior=p.prior)
        if p.boundary == "pocock":
            found = pocock_boundary(self.looks, p.limit, p.overall)
            if found is None:
                raise DesignError(
                    "protocol.design.overall",
                    f"no boundary for {planned} participants stops with a probability of at most {p.overall:g}",
                    "raise overall or max_patients",
                )
            return found[0]
        if p.stop_at[-1][1] != planned:
            raise DesignError(
                "protocol.design.stop_at",
                f"the table ends at {p.stop_at[-1][1]} participants and protocol.max_patients is {planned}",
                "make the last pair and max_patients the same",
            )
        return listed_boundary(p.stop_at, planned)

    def _reached(self, tally: Tally) -> Bools:
        """Rows whose DLTs reach the boundary; participants beyond the planned number meet its last entry."""
        n, dlt = tally.n[:, 0], tally.dlt[:, 0]
        reached: Bools = dlt >= self.boundary[np.minimum(n, self.planned)]
        return reached

    def decide(self, tally: Tally) -> Decisions:
        """The next group, or the end: at the boundary, or with everybody in."""
        reached, room = self._reached(tally), self.planned - tally.n[:, 0]
        over = reached | (room <= 0)
        reason = np.where(reached, 1, np.where(over, 2, 0))
        return Decisions(
            action=np.where(over, np.int32(Action.STOP), np.int32(Action.STAY)),
            regimen=tally.current.copy(),
            size=np.where(over, 0, np.minimum(self.setting.cohort_size, room)).astype(np.int32),
            reason=reason.astype(np.int32),
        )

    def select(self, tally: Tally) -> Bools:
        """The regimen, where it was not stopped."""
        return ~self._reached(tally)[:, None] & (tally.n > 0)

    def eliminated(self, tally: Tally) -> Bools:
        """The regimen, where it was stopped."""
        return self._reached(tally)[:, None]

    def table(self) -> DecisionTable | None:
        """The stopping boundary as the elimination column; nothing escalates or de-escalates."""
        n = tuple(range(1, self.planned + 1))
        nothing = (None,) * len(n)
        stops = tuple(None if limit == NEVER else int(limit) for limit in self.boundary[1:])
        return DecisionTable(n, nothing, nothing, stops)

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What stopping for toxicity promises; the statements do not use the integer table they are checked on."""

        def goes_on_where_fewer_dlts_stop(tally: Tally, decisions: Decisions) -> Bools:
            fewer = Tally.of(n=tally.n, dlt=np.maximum(tally.dlt - 1, 0), current=tally.current)
            stopped = self.decide(fewer).reason == 1
            return np.asarray(stopped & (decisions.reason != 1))

        def goes_on_in_spite_of_the_posterior(tally: Tally, decisions: Decisions) -> Bools:
            p = self.parameters
            n, dlt = tally.n[:, 0], tally.dlt[:, 0]
            above = beta.sf(p.limit, p.prior[0] + dlt, p.prior[1] + n - dlt)
            toxic = (above > p.certainty + 1e-12) & (dlt > 0) & (n >= p.minimum)
            return np.asarray(toxic & (decisions.reason != 1))

        def goes_on_past_a_listed_pair(tally: Tally, decisions: Decisions) -> Bools:
            n, dlt = tally.n[:, 0], tally.dlt[:, 0]
            listed = np.zeros(tally.rows, dtype=bool)
            for most, size in self.parameters.stop_at:
                listed |= (n == size) & (dlt >= most)
            return np.asarray(listed & (decisions.reason != 1))

        found = [SafetyProperty("a further DLT never undoes a stop for toxicity", goes_on_where_fewer_dlts_stop)]
        if self.parameters.boundary == "bayes":
            found.append(
                SafetyProperty(
                    "stops whenever the posterior probability of exceeding the limit is above the certainty",
                    goes_on_in_spite_of_the_posterior,
                )
            )
        if self.parameters.boundary == "table":
            found.append(SafetyProperty("stops at every pair of the table", goes_on_past_a_listed_pair))
        return tuple(found)
