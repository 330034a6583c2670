"""Guards: safety rules any design can be put under, applied in the order a protocol lists them.

A guard sees the tally and the decision so far. It may hold a move back or end the trial; it never
sends anyone to a higher regimen than the design did. One keeps a trial open instead, to treat more
participants at the regimen that would be selected.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design
from escalation.numerics import beta_exceedance_boundary
from escalation.regimens import RegimenGrid
from escalation.tally import Bools, Counts, Tally


class Guard(BaseModel):
    """Base of the guards: parameters, coded reasons and one method."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    reasons: ClassVar[tuple[Reason, ...]]

    @abstractmethod
    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        """The decisions after this guard; ``offset`` is where its reasons start in the catalogue."""

    @abstractmethod
    def describe(self) -> str:
        """The guard in one line."""


def without(decisions: Decisions, forbidden: Bools) -> Decisions:
    """The same decisions, randomised allocations no longer drawing the forbidden regimens (S, K)."""
    if decisions.allocation is None:
        return decisions
    share = np.where(forbidden, 0.0, decisions.allocation)
    total = share.sum(axis=1, keepdims=True)
    return replace(decisions, allocation=np.where(total > 0, share / np.where(total > 0, total, 1.0), 0.0))


def hold(decisions: Decisions, tally: Tally, rows: Bools, design: Design[Any], reason: int) -> Decisions:
    """Stay at the current regimen in the given rows, with a full cohort.

    Where the design has eliminated the current regimen, the highest open one below it is treated instead.
    """
    if not rows.any():
        return decisions
    grid, there = design.grid, tally.current
    closed = design.eliminated(tally)
    leave = rows & np.take_along_axis(closed, tally.current[:, None].astype(np.intp), axis=1)[:, 0]
    if leave.any():
        there = np.where(leave, highest_open_below(tally, closed, grid), there).astype(np.int32)
    return replace(
        decisions,
        action=np.where(rows, moves(tally.current, there, grid.at_most), decisions.action),
        regimen=np.where(rows, there, decisions.regimen),
        size=np.where(rows, np.int32(design.setting.cohort_size), decisions.size),
        reason=np.where(rows, np.int32(reason), decisions.reason),
    )


def highest_open_below(tally: Tally, closed: Bools, grid: RegimenGrid) -> Counts:
    """The open regimen at or below the current one with the most levels, the higher dose of equals: (S,).

    The current regimen itself where none is open.
    """
    open_below = grid.at_most[:, tally.current].T & ~closed
    height = (grid.dose_of + grid.frequency_of) * grid.n_doses + grid.dose_of
    highest = np.argmax(np.where(open_below, height, -1), axis=1)
    return np.where(open_below.any(axis=1), highest, tally.current).astype(np.int32)


class TooToxicAtLowest(Guard):
    """End the trial when the lowest regimen is probably above the target.

    Stops when Pr(p > target | data) > certainty under a Beta prior at the lowest regimen, with at
    least ``minimum`` evaluable participants there.
    """

    guard: Literal["too_toxic"] = "too_toxic"
    target: float = Field(gt=0, lt=1, description="DLT probability the lowest regimen must not exceed.")
    certainty: float = Field(default=0.95, gt=0.5, lt=1, description="Stop when this certain that it does.")
    minimum: int = Field(default=3, ge=1, description="Evaluable participants needed there before the rule speaks.")
    prior: tuple[float, float] = Field(default=(1.0, 1.0), description="The two parameters of the Beta prior.")

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "guard.too_toxic",
            "The lowest regimen is too toxic: the trial stops without a recommendation.",
            "Given the DLTs at the lowest regimen, its DLT probability is above the target with more than the "
            "stated certainty. No lower regimen is left, so nothing can be recommended.",
            stop="lowest_too_toxic",
            selects=False,
        ),
    )

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        n, dlt = tally.n[:, design.lowest], tally.dlt[:, design.lowest]
        boundary = beta_exceedance_boundary(
            int(n.max(initial=0)), self.target, self.certainty, minimum=self.minimum, prior=self.prior
        )
        return decisions.stop_where(dlt >= boundary[n], tally.current, offset)

    def describe(self) -> str:
        return (
            f"stop when Pr(DLT probability at the lowest regimen > {self.target:g}) > {self.certainty:g} "
            f"with {self.minimum} or more evaluable there"
        )


class StopAtN(Guard):
    """End escalation when a regimen has ``n`` evaluable participants, in one of the three meanings in use.

    ``next_regimen_full``: the regimen the next cohort would get has them, wherever the trial stands.
    ``reached``: the current regimen has them, whatever the decision.
    ``reached_and_stay``: the current regimen has them, and the decision is to treat it again.
    """

    guard: Literal["stop_at_n"] = "stop_at_n"
    n: int = Field(ge=1, title="Participants", description="Evaluable participants that are enough at one regimen.")
    rule: Literal["next_regimen_full", "reached", "reached_and_stay"] = Field(
        default="next_regimen_full",
        description="Whether the regimen treated next, the current regimen, or the current regimen when it is to be "
        "treated again must have n evaluable participants.",
    )

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "guard.enough_at_regimen",
            "The regimen recommended next already has enough participants: escalation ends.",
            "The protocol ends escalation once the regimen that would be treated next has the stated number of "
            "evaluable participants; treating more there would tell little more.",
            stop="n_at_regimen",
        ),
        Reason(
            "guard.enough_at_current",
            "The current regimen has enough participants: escalation ends.",
            "The protocol ends escalation as soon as any regimen has the stated number of evaluable participants, "
            "whether the next cohort would stay there or go elsewhere.",
            stop="n_at_regimen",
        ),
        Reason(
            "guard.enough_and_staying",
            "The current regimen has enough participants and would be treated again: escalation ends.",
            "The protocol ends escalation when the design has come to rest: the decision is to treat the current "
            "regimen again, and it has the stated number of evaluable participants already.",
            stop="n_at_regimen",
        ),
    )

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        rules = ("next_regimen_full", "reached", "reached_and_stay")
        where = decisions.regimen if self.rule == "next_regimen_full" else tally.current
        full = np.take_along_axis(tally.n, where[:, None].astype(np.intp), axis=1)[:, 0] >= self.n
        if self.rule == "reached_and_stay":
            full &= decisions.action == Action.STAY
        full &= decisions.action != Action.WAIT
        return decisions.stop_where(full, tally.current, offset + rules.index(self.rule))

    def describe(self) -> str:
        what = {
            "next_regimen_full": "the next regimen already has",
            "reached": "the current regimen has",
            "reached_and_stay": "the decision is to stay and the current regimen has",
        }
        return f"stop when {what[self.rule]} {self.n} evaluable participants"


class NoSkipping(Guard):
    """Hold back a move up that would pass over an untried level or raise dose and frequency together.

    The move is shortened to the highest regimen one step above the current one, along the axis
    (dose first) in which the design wanted to go up.
    """

    guard: Literal["no_skipping"] = "no_skipping"

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "guard.one_level_at_a_time",
            "The design would go further up; only one level at a time is allowed.",
            "Skipping a level would expose participants to a regimen whose neighbour below nobody has had. "
            "The move is shortened to the next level.",
        ),
    )

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        grid = design.grid
        dose, often = grid.dose_of, grid.frequency_of
        here, there = tally.current, decisions.regimen
        up_dose = dose[there] - dose[here]
        up_often = often[there] - often[here]
        rows = ~decisions.stops & ((up_dose > 1) | (up_often > 1) | ((up_dose > 0) & (up_often > 0)))
        dose_up, often_up = dose[None, :] - dose[here][:, None], often[None, :] - often[here][:, None]
        decisions = without(decisions, (dose_up > 1) | (often_up > 1) | ((dose_up > 0) & (often_up > 0)))
        if not rows.any():
            return decisions
        step = np.where(up_dose > 0, 1, grid.n_doses)
        shortened = np.where(rows, here + step, there).astype(np.int32)
        closed = np.take_along_axis(design.eliminated(tally), shortened[:, None].astype(np.intp), axis=1)[:, 0]
        held = hold(decisions, tally, rows & closed, design, offset)
        rows = rows & ~closed
        return replace(
            held,
            regimen=np.where(rows, shortened, held.regimen),
            action=np.where(rows, np.int32(Action.ESCALATE), held.action),
            reason=np.where(rows, np.int32(offset), held.reason),
        )

    def describe(self) -> str:
        return "never skip a level and never raise dose and frequency together"


class Coherence(Guard):
    """Hold back an escalation straight after a cohort whose observed DLT rate is at or above the target."""

    guard: Literal["coherence"] = "coherence"
    target: float = Field(gt=0, lt=1, description="DLT rate of a cohort after which nobody escalates.")

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "guard.incoherent_escalation",
            "The last cohort's DLT rate is at or above the target: no escalation now.",
            "Escalating straight after a cohort with a DLT rate at or above the target would answer toxicity with "
            "a higher regimen. The trial stays where it is.",
        ),
    )

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        high = tally.cohort_dlt >= self.target * np.maximum(tally.cohort_n, 1) - 1e-12
        high &= tally.cohort_dlt > 0
        rows = (decisions.action == Action.ESCALATE) & high
        lower = design.grid.at_most[:, tally.current].T  # regimens at or below the current one
        decisions = without(decisions, high[:, None] & ~lower)
        return hold(decisions, tally, rows, design, offset)

    def describe(self) -> str:
        return f"no escalation after a cohort with a DLT rate of {self.target:g} or more"


class PermittedIncrements(Guard):
    """Hold back a rise of the dose amount beyond a share of the current amount.

    The move is shortened to the highest open regimen on its way that is permitted, else the trial
    stays. Only the amount of an infusion is limited; going up in frequency is not.
    """

    guard: Literal["permitted_increments"] = "permitted_increments"
    max_increase: float = Field(
        gt=0, description="Largest rise of the dose amount, as a share of the current one: 1.0 permits doubling it."
    )
    after_dlt: float | None = Field(
        default=None, gt=0, description="The same once any participant has had a DLT; max_increase if left out."
    )

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "guard.increment_limited",
            "The design would raise the dose by more than is permitted: a smaller step is taken.",
            "The protocol limits how far the dose amount may rise at once, as a share of the present amount. The move "
            "is shortened to the highest dose within the limit, and where there is none the trial stays.",
        ),
    )

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        grid, here, there = design.grid, tally.current, decisions.regimen
        amount = np.array(grid.doses, dtype=float)[grid.dose_of]
        share = np.full(tally.rows, self.max_increase)
        if self.after_dlt is not None:
            share = np.where(tally.dlt.sum(axis=1) > 0, self.after_dlt, share)
        # a hair of room, so that 1.5 times 0.1 is not more than 50 percent above it
        over = amount[None, :] > (amount[here] * (1 + share))[:, None] * (1 + 1e-9)
        decisions = without(decisions, over)
        beyond = np.take_along_axis(over, there[:, None].astype(np.intp), axis=1)[:, 0] & ~decisions.stops
        if not beyond.any():
            return decisions
        order = grid.at_most
        on_the_way = order[here] & order[:, there].T & ~over & ~design.eliminated(tally)
        height = grid.dose_of + grid.frequency_of
        on_the_way &= height > height[here][:, None]
        shortened = np.argmax(np.where(on_the_way, height * grid.n_doses + grid.dose_of, -1), axis=1).astype(np.int32)
        step = beyond & on_the_way.any(axis=1)
        held = hold(decisions, tally, beyond & ~step, design, offset)
        return replace(
            held,
            regimen=np.where(step, shortened, held.regimen),
            action=np.where(step, np.int32(Action.ESCALATE), held.action),
            reason=np.where(step, np.int32(offset), held.reason),
        )

    def describe(self) -> str:
        after = "" if self.after_dlt is None else f", {self.after_dlt:.0%} after a DLT"
        return f"raise the dose by at most {self.max_increase:.0%} at once{after}"


class MinimumBeforeSelection(Guard):
    """No regimen is selected with fewer than ``n`` evaluable participants.

    When the trial would end with such a selection, that regimen is treated instead; when it cannot
    go on, because the maximum size is reached, nothing is selected. A trial that ends without any
    selection ends.
    """

    guard: Literal["minimum_before_selection"] = "minimum_before_selection"
    n: int = Field(ge=1)

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "guard.more_before_selection",
            "The regimen that would be selected has too few participants: treat more there.",
            "The protocol selects a regimen only once a stated number of evaluable participants have had it. The "
            "trial would end here, and the regimen it would select has fewer, so the next cohort is treated there.",
        ),
    )

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        return decisions

    def fill(self, tally: Tally, decisions: Decisions, selected: Bools, design: Design[Any], offset: int) -> Decisions:
        """The decisions, with ends that would select a regimen too early turned into a cohort there.

        ``selected`` is (S, K): what each row would select if it ended for the reason it is given.
        """
        rows = decisions.stops & (selected & ~self.enough(tally)).any(axis=1)
        there = np.where(rows, np.argmax(selected, axis=1), decisions.regimen).astype(np.int32)
        return replace(
            decisions,
            action=np.where(rows, moves(tally.current, there, design.grid.at_most), decisions.action),
            regimen=there,
            size=np.where(rows, np.int32(design.setting.cohort_size), decisions.size),
            reason=np.where(rows, np.int32(offset), decisions.reason),
        )

    def enough(self, tally: Tally) -> Bools:
        """Regimens with enough participants to be selected: (S, K)."""
        reached: Bools = tally.n >= self.n
        return reached

    def describe(self) -> str:
        return f"select no regimen with fewer than {self.n} evaluable participants; treat more there first"


class MaximumSize(Guard):
    """End escalation when the next cohort would take it past its largest size."""

    guard: Literal["max_patients"] = "max_patients"
    limit: int = Field(ge=1)
    last_cohort: Literal["whole", "partial"] = "whole"

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "guard.max_patients",
            "The maximum number of participants is reached: escalation ends.",
            "The protocol limits the number of participants. The next cohort would go past it, so escalation ends "
            "and the selection is made from what is known.",
            stop="max_n",
        ),
    )

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        room = self.limit - tally.total
        full = decisions.size > room if self.last_cohort == "whole" else room <= 0
        ended = decisions.stop_where(full & (decisions.action != Action.WAIT), tally.current, offset)
        if self.last_cohort == "whole":
            return ended
        return replace(ended, size=np.minimum(ended.size, np.maximum(room, 0)).astype(np.int32))

    def describe(self) -> str:
        return f"stop at {self.limit} evaluable participants" + (
            " (the last cohort may be smaller)" if self.last_cohort == "partial" else ""
        )
