"""3+3 on the grid in two stages: first along one axis, then along the other.

Dose, then frequency: a 3+3 over the doses at the starting frequency finds a dose, the *hinge*;
a second 3+3 raises the frequency at that dose. Frequency, then dose is the mirror image.

Without carry-over the second stage starts afresh above the hinge, and its "no level" means: stay
at the hinge. With carry-over the participants treated at the hinge count: the hinge is the lowest
rung of the second ladder, is filled up to six before it is declared where the variant asks for
that, and may still be left downwards.

No published source gives operating characteristics of this sequence; the exact law without
carry-over is the product of two 3+3 laws, which the tests use.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from designs.a_plus_b import DONE, NOTHING, REASONS, APlusBParameters, APlusBRule, LadderMove
from designs.three_plus_three import failed_upwards
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import DecisionTable, Design, Setting
from escalation.errors import DesignError
from escalation.tally import Bools, Counts, Indices, Tally

SECOND_STAGE = Reason(
    "two_stage.second_axis",
    "The first axis is settled: escalation goes on along the other axis.",
    "The first stage has found its level, the hinge. From here the other axis is raised, one level at a time, at "
    "that level.",
)
HINGE_KEPT = Reason(
    "two_stage.hinge_kept",
    "The first level of the second axis failed: the hinge is kept.",
    "Raising the second axis was not tolerated at its first step, so the regimen found in the first stage stays "
    "the recommendation.",
    stop="declared",
)


class TwoStageParameters(APlusBParameters):
    """Parameters of the two-stage 3+3."""

    carry_over: bool = Field(
        default=False, description="Count the participants already treated at the hinge in the second stage."
    )


class TwoStage(Design[TwoStageParameters]):
    """A 3+3 along one axis, then along the other at the level found."""

    citation: ClassVar[str] = "common practice; no published source. 3+3: Storer (1989), doi:10.2307/2531693"
    Parameters = TwoStageParameters
    reasons: ClassVar[tuple[Reason, ...]] = (*REASONS, SECOND_STAGE, HINGE_KEPT)
    dose_first: ClassVar[bool]

    def __init__(self, parameters: TwoStageParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        if parameters.reading == "R3":
            raise DesignError("protocol.design.reading", "R3 counts over one ladder only", "use R1 or R2")
        self.rule = APlusBRule.of(parameters, setting)
        regimens: Counts = np.arange(self.grid.size, dtype=np.int32).reshape(self.grid.shape)
        board = regimens if self.dose_first else regimens.T  # rows: second axis; columns: first axis
        first, second = (
            (self.grid.dose_of, self.grid.frequency_of)
            if self.dose_first
            else (self.grid.frequency_of, self.grid.dose_of)
        )
        self._level = first
        self._stage_row = second
        base = int(second[setting.start])
        self._base = base
        self._first_ladder = board[base]
        self._second_ladders = board[base + 1 :].T  # (first-axis level, rungs of the second stage)

    @property
    def variant(self) -> str:
        carried = "with" if self.parameters.carry_over else "without"
        return f"{self.rule.named(self.parameters.reading)}, {carried} carry-over at the hinge"

    @property
    def own_maximum(self) -> int | None:
        return self.rule.full * (len(self._first_ladder) + int(self._second_ladders.shape[1]))

    def decide(self, tally: Tally) -> Decisions:
        """First stage until it is settled, then the second at the hinge, in every row."""
        decided = Decisions(
            action=np.full(tally.rows, Action.STOP, np.int32),
            regimen=tally.current.copy(),
            size=np.zeros(tally.rows, np.int32),
            reason=np.zeros(tally.rows, np.int32),
        )
        hinge = self._hinge(tally)
        first = np.flatnonzero(hinge == NOTHING)
        if first.size:
            self._decide_first(tally.take(first), first, decided)
        for level in np.unique(hinge[hinge != NOTHING]):
            rows = np.flatnonzero(hinge == level)
            ladder = self._ladder_at(int(level))
            move = self._step(tally.take(rows), ladder)
            self._write(decided, rows, move, ladder[move.rung])
            kept = (move.kind == DONE) & (move.declared == NOTHING) & (not self.parameters.carry_over)
            decided.reason[rows[kept]] = self.cite(HINGE_KEPT.code)
        decided.action[:] = np.where(
            decided.action == Action.STOP, Action.STOP, moves(tally.current, decided.regimen, self.grid.at_most)
        )
        return decided

    def _hinge(self, tally: Tally) -> Counts:
        """First-axis level at which the second stage runs, NOTHING while the first stage does: (S,)."""
        if not self._second_ladders.shape[1]:
            return np.full(tally.rows, NOTHING, np.int32)
        opened = (tally.n[:, self._second_ladders[:, 0]] > 0) | (
            tally.current[:, None] == self._second_ladders[None, :, 0]
        )
        hinge: Counts = np.where(opened.any(axis=1), np.argmax(opened, axis=1), NOTHING).astype(np.int32)
        return hinge

    def _ladder_at(self, level: int) -> Counts:
        """Rungs of the second stage at a hinge level; with carry-over the first ladder up to the hinge comes before."""
        upper: Counts = self._second_ladders[level]
        if not self.parameters.carry_over:
            return upper
        joined: Counts = np.concatenate([self._first_ladder[: level + 1], upper]).astype(np.int32)
        return joined

    def _step(self, tally: Tally, ladder: Counts) -> LadderMove:
        rung_of = np.full(self.grid.size, 0, np.int32)
        rung_of[ladder] = np.arange(len(ladder))
        return self.rule.step(tally.n[:, ladder], tally.dlt[:, ladder], rung_of[tally.current])

    def _decide_first(self, tally: Tally, rows: Indices, decided: Decisions) -> None:
        move = self._step(tally, self._first_ladder)
        self._write(decided, rows, move, self._first_ladder[move.rung])
        onward = (move.kind == DONE) & (move.declared != NOTHING)
        if self._second_ladders.shape[1]:
            decided.action[rows[onward]] = Action.ESCALATE
            decided.regimen[rows[onward]] = self._second_ladders[move.declared[onward], 0]
            decided.size[rows[onward]] = self.rule.a
            decided.reason[rows[onward]] = self.cite(SECOND_STAGE.code)

    @staticmethod
    def _write(decided: Decisions, rows: Indices, move: LadderMove, target: Counts) -> None:
        going = move.kind != DONE
        decided.action[rows[going]] = Action.STAY
        decided.regimen[rows[going]] = target[going]
        decided.size[rows] = move.size
        decided.reason[rows] = move.reason

    def select(self, tally: Tally) -> Bools:
        """The rung declared in the second stage, else the hinge, else the first stage's level."""
        selected = np.zeros(tally.n.shape, dtype=bool)
        hinge = self._hinge(tally)
        for level in np.unique(hinge):
            rows = np.flatnonzero(hinge == level)
            ladder = self._first_ladder if level == NOTHING else self._ladder_at(int(level))
            part = tally.take(rows)
            move = self._step(part, ladder)
            standing = self.rule.standing(part.n[:, ladder], part.dlt[:, ladder])
            rung = np.where(move.kind == DONE, move.declared, standing)
            chosen = ladder[np.maximum(rung, 0)]
            found = rung != NOTHING
            if level != NOTHING and not self.parameters.carry_over:
                chosen, found = np.where(found, chosen, self._first_ladder[level]), np.full(len(rows), True)
            selected[rows[found], chosen[found]] = True
        return selected

    def eliminated(self, tally: Tally) -> Bools:
        """Failed regimens and everything above them."""
        return failed_upwards(self.rule.failed(tally.n, tally.dlt), self.grid.at_most)

    def table(self) -> DecisionTable | None:
        """The acceptance table of either stage."""
        return self.rule.table()


class DoseThenFrequency(TwoStage):
    """3+3 over the doses at the starting frequency, then over the frequencies at the dose found."""

    name: ClassVar[str] = "dose_then_frequency"
    title: ClassVar[str] = "3+3, dose then frequency"
    dose_first: ClassVar[bool] = True


class FrequencyThenDose(TwoStage):
    """3+3 over the frequencies at the starting dose, then over the doses at the frequency found."""

    name: ClassVar[str] = "frequency_then_dose"
    title: ClassVar[str] = "3+3, frequency then dose"
    dose_first: ClassVar[bool] = False
