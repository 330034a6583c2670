"""Guards of the partial order: what must be known below a regimen, and what toxicity closes above one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design
from escalation.guards import Guard, highest_open_below, hold, without
from escalation.numerics import beta_exceedance_boundary
from escalation.regimens import RegimenGrid
from escalation.tally import Bools, Tally


def redrawn(decisions: Decisions, forbidden: Bools, tally: Tally, grid: RegimenGrid) -> Decisions:
    """The same decisions, naming a regimen that can still be drawn where the one they named is forbidden."""
    if decisions.allocation is None:
        return decisions
    named = np.take_along_axis(forbidden, decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
    rows = named & ~decisions.stops & (decisions.allocation.sum(axis=1) > 0)
    there = np.where(rows, np.argmax(decisions.allocation, axis=1), decisions.regimen).astype(np.int32)
    action = np.where(rows, moves(tally.current, there, grid.at_most), decisions.action)
    return replace(decisions, regimen=there, action=action)


class PredecessorCleared(Guard):
    """Hold back a move up onto a regimen whose predecessor on an axis the move climbs has not been cleared.

    A regimen is cleared by ``n`` evaluable participants with a DLT rate of at most ``rate``. The predecessor on an
    axis is the regimen one level lower on it; with ``axes: both`` the predecessors on both axes count, also for an
    axis the move does not climb. A regimen that was treated before needs no clearing again.
    """

    guard: Literal["predecessor_cleared"] = "predecessor_cleared"
    n: int = Field(default=3, ge=1, description="Evaluable participants that clear a regimen.")
    rate: float = Field(default=1 / 3, ge=0, lt=1, description="Highest DLT rate with which a regimen is cleared.")
    axes: Literal["climbed", "both"] = Field(
        default="climbed",
        description="Whether the predecessors on the axes the move climbs count, or those on both axes.",
    )

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "guard.predecessor_not_cleared",
            "The regimen below on the axis that rises has not been cleared: no escalation there now.",
            "The protocol opens a regimen only after the one just below it, on the axis that rises, has had enough "
            "evaluable participants and a DLT rate that is low enough. The trial stays where it is.",
        ),
    )

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        forbidden = self.forbidden(tally, design.grid)
        decisions = redrawn(without(decisions, forbidden), forbidden, tally, design.grid)
        rows = np.take_along_axis(forbidden, decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
        rows = rows & ~decisions.stops & (decisions.action != Action.WAIT)
        return hold(decisions, tally, rows, design, offset)

    def forbidden(self, tally: Tally, grid: RegimenGrid) -> Bools:
        """Untreated regimens that the current one may not be left for: (S, K)."""
        cleared = (tally.n >= self.n) & (tally.dlt <= self.rate * tally.n + 1e-12)
        cells = cleared.reshape(tally.rows, *grid.shape)
        by_dose, by_frequency = np.ones(cells.shape, dtype=bool), np.ones(cells.shape, dtype=bool)
        by_dose[:, :, 1:], by_frequency[:, 1:] = cells[:, :, :-1], cells[:, :-1]
        dose_ok, frequency_ok = by_dose.reshape(tally.n.shape), by_frequency.reshape(tally.n.shape)
        here = tally.current[:, None]
        climbs_dose, climbs_frequency = grid.dose_of > grid.dose_of[here], grid.frequency_of > grid.frequency_of[here]
        climbs = climbs_dose | climbs_frequency
        if self.axes == "both":
            climbs_dose = climbs_frequency = climbs
        shut: Bools = (climbs_dose & ~dose_ok) | (climbs_frequency & ~frequency_ok)
        shut &= climbs & (tally.n == 0)
        return shut

    def describe(self) -> str:
        which = "on both axes" if self.axes == "both" else "on the axis that rises"
        return (
            f"open a regimen only when the one below {which} has {self.n} or more evaluable participants "
            f"and a DLT rate of {self.rate:.3g} or less"
        )


class ExcludeToxic(Guard):
    """Never treat or select a regimen that is probably above the target, nor any at or above it.

    A regimen is excluded by Pr(p > target | data) > certainty under a Beta prior with at least ``minimum``
    evaluable participants. A move onto an excluded regimen, or staying on one, becomes a move to the highest open
    regimen at or below the current one; when none is open the trial ends without a selection. It is listed last:
    a guard after it could hold the trial at the excluded regimen.
    """

    guard: Literal["exclude_toxic"] = "exclude_toxic"
    target: float = Field(gt=0, lt=1)
    certainty: float = Field(default=0.95, gt=0.5, lt=1)
    minimum: int = Field(default=3, ge=1)
    prior: tuple[float, float] = (1.0, 1.0)

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "guard.excluded",
            "The regimen is excluded as too toxic, or lies above one that is: a lower one is treated.",
            "Given the DLTs, the DLT probability of a regimen is above the target with more than the stated certainty. "
            "It and every regimen with at least its dose and at least its frequency are not treated. The next cohort "
            "gets the highest regimen at or below the current one that is open.",
        ),
        Reason(
            "guard.all_excluded",
            "Every regimen at or below the current one is excluded as too toxic: the trial stops.",
            "The lowest regimen itself is excluded, so that no lower one is left to treat or to recommend.",
            stop="lowest_too_toxic",
            selects=False,
        ),
    )

    def excluded(self, tally: Tally, grid: RegimenGrid) -> Bools:
        """Excluded regimens: (S, K)."""
        boundary = beta_exceedance_boundary(
            int(tally.n.max(initial=0)), self.target, self.certainty, minimum=self.minimum, prior=self.prior
        )
        closed: Bools = (tally.dlt >= boundary[tally.n]).astype(np.float32) @ grid.at_most.astype(np.float32) > 0
        return closed

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        grid, here = design.grid, tally.current
        closed = self.excluded(tally, grid)
        decisions = redrawn(without(decisions, closed), closed, tally, grid)
        rows = np.take_along_axis(closed, decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
        rows = rows & ~decisions.stops & (decisions.action != Action.WAIT)
        if not rows.any():
            return decisions
        closed = closed | design.eliminated(tally)
        lower = highest_open_below(tally, closed, grid)
        some = ~np.take_along_axis(closed, lower[:, None].astype(np.intp), axis=1)[:, 0]
        there = np.where(rows & some, lower, decisions.regimen).astype(np.int32)
        moved = replace(
            decisions,
            action=np.where(rows & some, moves(here, there, grid.at_most), decisions.action),
            regimen=there,
            size=np.where(rows & some, np.int32(design.setting.cohort_size), decisions.size),
            reason=np.where(rows & some, np.int32(offset), decisions.reason),
        )
        return moved.stop_where(rows & ~some, here, offset + 1)

    def describe(self) -> str:
        return (
            f"exclude a regimen and all at or above it when Pr(its DLT probability > {self.target:g}) > "
            f"{self.certainty:g} with {self.minimum} or more evaluable there"
        )
