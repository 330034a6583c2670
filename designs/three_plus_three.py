"""3+3 and A+B along one axis: the dose axis or the frequency axis.

Cohorts of three climb a ladder of levels. 0/3 DLTs escalate, 1/3 treats three more, two or more
end the climb; at most 1/6 passes. What happens after a failed level, and how many participants
the declared level must have, separates the named variants V1, V2 and V3; what the phrase
"2 or more DLTs" counts separates the readings R1, R2 and R3.

References
----------
Storer BE (1989) Biometrics 45:925-937, doi:10.2307/2531693.
Korn EL et al. (1994) Stat Med 13:1799-1806, doi:10.1002/sim.4780131802.
Lin Y, Shih WJ (2001) Biostatistics 2:203-215, doi:10.1093/biostatistics/2.2.203.

Examples
--------
Two levels, one DLT among the first three at level 1: three more are treated there.

>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
>>> grid = RegimenGrid(doses=(1, 2), schedules=((0,),))
>>> design = ThreePlusThree(ThreePlusThreeParameters(), Setting(grid, cohort_size=3, start=0))
>>> decisions = design.decide(Tally.of(n=[[3, 0]], dlt=[[1, 0]], current=[0]))
>>> design.reasons[decisions.reason[0]].code, int(decisions.size[0])
('three_plus_three.one_dlt', 3)
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from designs.a_plus_b import DONE, NOTHING, REASONS, APlusBParameters, APlusBRule
from designs.axis import ladder_along
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import DecisionTable, Design, Setting
from escalation.tally import Bools, Counts, Tally


class ThreePlusThreeParameters(APlusBParameters):
    """Parameters of 3+3 along one axis."""

    axis: Literal["dose", "frequency"] | None = Field(
        default=None,
        description="The axis to climb; on a grid the dose axis at the starting frequency unless stated.",
    )


def failed_upwards(failed: Bools, order: Bools) -> Bools:
    """Every regimen at or above a failed one: (S, K)."""
    closed: Bools = (failed.astype(np.int32) @ order.astype(np.int32)) > 0
    return closed


class LadderDesign(Design[APlusBParameters]):
    """A 3+3 on a fixed ladder of regimens; subclasses say which."""

    citation: ClassVar[str] = "Storer (1989) Biometrics 45:925, doi:10.2307/2531693"
    reasons: ClassVar[tuple[Reason, ...]] = REASONS

    def __init__(self, parameters: APlusBParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.rule = APlusBRule.of(parameters, setting)

    @cached_property
    def ladder(self) -> Counts:
        """Regimens of the rungs, lowest first: (L,)."""
        raise NotImplementedError

    @cached_property
    def rung_of(self) -> Counts:
        """Rung of every regimen, NOTHING off the ladder: (K,)."""
        rungs = np.full(self.grid.size, NOTHING, np.int32)
        rungs[self.ladder] = np.arange(len(self.ladder))
        return rungs

    @property
    def lowest(self) -> int:
        return int(self.ladder[0])

    @property
    def variant(self) -> str:
        return self.rule.named(self.parameters.reading)

    @property
    def own_maximum(self) -> int | None:
        return self.rule.full * len(self.ladder)

    def decide(self, tally: Tally) -> Decisions:
        """One rung up, more at this rung, one rung down or finished, in every row."""
        move = self.rule.step(tally.n[:, self.ladder], tally.dlt[:, self.ladder], self.rung_of[tally.current])
        target = np.where(move.kind == DONE, tally.current, self.ladder[move.rung]).astype(np.int32)
        action = np.where(move.kind == DONE, np.int32(Action.STOP), moves(tally.current, target, self.grid.at_most))
        return Decisions(action=action, regimen=target, size=move.size, reason=move.reason)

    def select(self, tally: Tally) -> Bools:
        """The declared rung; for a trial cut short, the highest rung that could be declared."""
        n, dlt = tally.n[:, self.ladder], tally.dlt[:, self.ladder]
        move = self.rule.step(n, dlt, self.rung_of[tally.current])
        rung = np.where(move.kind == DONE, move.declared, self.rule.standing(n, dlt))
        selected = np.zeros(tally.n.shape, dtype=bool)
        chosen = rung != NOTHING
        selected[np.flatnonzero(chosen), self.ladder[rung[chosen]]] = True
        return selected

    def eliminated(self, tally: Tally) -> Bools:
        """Failed levels and everything above them."""
        failed = np.zeros(tally.n.shape, dtype=bool)
        failed[:, self.ladder] = self.rule.failed(tally.n[:, self.ladder], tally.dlt[:, self.ladder])
        return failed_upwards(failed, self.grid.at_most)

    def table(self) -> DecisionTable | None:
        """The acceptance table; none for the cumulative reading, which looks at the whole trial."""
        return self.rule.table()


class ThreePlusThree(LadderDesign):
    """3+3 (or A+B) escalation along the dose axis or the frequency axis."""

    name: ClassVar[str] = "three_plus_three"
    title: ClassVar[str] = "3+3"
    Parameters = ThreePlusThreeParameters

    def __init__(self, parameters: ThreePlusThreeParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.axis: Literal["dose", "frequency"] | None = parameters.axis

    @cached_property
    def ladder(self) -> Counts:
        axis = self.axis or ("dose" if self.grid.axis == "grid" else None)
        return np.array(ladder_along(self.setting, axis, "protocol.design.axis").regimens, dtype=np.int32)

    @property
    def line(self) -> tuple[int, ...]:
        regimens: list[int] = self.ladder.tolist()
        return tuple(regimens[regimens.index(self.start) :])

    @property
    def follows_titration(self) -> bool:
        """Only where a failed level sends the trial down to fill the one below: V1 would declare it with one."""
        return self.rule.deescalate
