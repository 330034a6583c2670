"""Row-wise contour 3+3: an MTD dose for each frequency.

Frequencies are taken from the lowest upwards. In each a 3+3 runs over the doses; whatever is at or
above a regimen that failed at a lower frequency is closed, so the MTD dose never rises with the
frequency. The next frequency starts no higher than the MTD dose just found.

The published relatives (Zhang & Yuan 2016, doi:10.1002/sim.7108, waterfall) run other engines inside
the rows and another order of rows; this is the 3+3 version, for which no published numbers exist.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from designs.a_plus_b import DONE, NOTHING, REASONS, APlusBParameters, APlusBRule
from designs.three_plus_three import failed_upwards
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import DecisionTable, Design, Setting
from escalation.errors import DesignError
from escalation.tally import Bools, Counts, Tally

NEXT_ROW = Reason(
    "contour.next_frequency",
    "This frequency has its MTD dose: the next frequency is opened.",
    "The MTD dose of this frequency is settled. The next frequency starts at a dose no higher than it, because "
    "giving the same dose more often is at least as toxic.",
)
COMPLETE = Reason(
    "contour.complete",
    "Every frequency that can be tried has its MTD dose: escalation ends.",
    "The contour of MTD doses over the frequencies is complete.",
    stop="declared",
)
ROW_FAILED = Reason(
    "contour.frequency_failed",
    "No dose is acceptable at this frequency: no higher frequency can be tried.",
    "No dose passed at this frequency, and every higher frequency is at least as toxic. The MTD doses "
    "found so far stand.",
    stop="declared",
)


class ContourParameters(APlusBParameters):
    """Parameters of the row-wise contour 3+3."""

    variant: Literal["V1", "V2", "V3"] = Field(
        default="V2", description="As in the 3+3; de-escalation is the default here."
    )
    row_start: Literal["lowest", "one_below", "same"] = Field(
        default="one_below",
        description="Where the next frequency starts: the lowest dose, one below the MTD dose just found, or the same.",
    )


class ThreePlusThreeContour(Design[ContourParameters]):
    """3+3 inside each frequency, from the lowest frequency upwards, bounded by the partial order."""

    name: ClassVar[str] = "three_plus_three_contour"
    title: ClassVar[str] = "3+3 contour"
    citation: ClassVar[str] = "row order after Zhang & Yuan (2016) Stat Med 35:4924, doi:10.1002/sim.7108"
    Parameters = ContourParameters
    reasons: ClassVar[tuple[Reason, ...]] = (*REASONS, NEXT_ROW, COMPLETE, ROW_FAILED)
    selects_contour: ClassVar[bool] = True

    def __init__(self, parameters: ContourParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        if parameters.reading == "R3":
            raise DesignError("protocol.design.reading", "R3 counts over one ladder only", "use R1 or R2")
        self.rule = APlusBRule.of(parameters, setting)
        self._rows = np.arange(self.grid.size, dtype=np.int32).reshape(self.grid.shape)

    @property
    def variant(self) -> str:
        start = self.parameters.row_start.replace("_", " ")
        return f"{self.rule.named(self.parameters.reading)}, next frequency starts {start}"

    @property
    def own_maximum(self) -> int | None:
        return self.rule.full * self.grid.size

    def decide(self, tally: Tally) -> Decisions:
        """The 3+3 of the present frequency; when it is settled, the next frequency."""
        action = np.full(tally.rows, Action.STOP, np.int32)
        regimen, size = tally.current.copy(), np.zeros(tally.rows, np.int32)
        reason = np.zeros(tally.rows, np.int32)
        for often in np.unique(self.grid.frequency_of[tally.current]):
            rows = np.flatnonzero(self.grid.frequency_of[tally.current] == often)
            ladder, part = self._rows[often], tally.take(rows)
            shut = self._closed_from_below(part, int(often))
            move = self.rule.step(
                part.n[:, ladder], part.dlt[:, ladder], self.grid.dose_of[part.current].astype(np.int32), shut
            )
            reason[rows], size[rows] = move.reason, move.size
            going = move.kind != DONE
            regimen[rows[going]] = ladder[move.rung[going]]
            action[rows[going]] = Action.STAY
            settled = ~going & (move.declared != NOTHING)
            if often + 1 < self.grid.n_frequencies:
                onward = rows[settled]
                regimen[onward] = self._rows[often + 1][self._row_start(move.declared[settled])]
                action[onward], size[onward] = Action.STAY, self.rule.a
                reason[onward] = self.cite(NEXT_ROW.code)
            else:
                reason[rows[settled]] = self.cite(COMPLETE.code)
            if often > self.grid.frequency_of[self.setting.start]:
                reason[rows[~going & ~settled]] = self.cite(ROW_FAILED.code)
        action = np.where(action == Action.STOP, action, moves(tally.current, regimen, self.grid.at_most))
        return Decisions(action=action, regimen=regimen, size=size, reason=reason)

    def _row_start(self, declared: Counts) -> Counts:
        if self.parameters.row_start == "lowest":
            return np.zeros_like(declared)
        return np.maximum(declared - (self.parameters.row_start == "one_below"), 0)

    def _closed_from_below(self, tally: Tally, often: int) -> Bools:
        """Doses of a frequency closed because a regimen below them failed at a lower frequency: (S, D)."""
        failed = self.rule.failed(tally.n, tally.dlt)
        failed[:, self.grid.frequency_of >= often] = False
        return failed_upwards(failed, self.grid.at_most)[:, self._rows[often]]

    def select(self, tally: Tally) -> Bools:
        """The MTD dose of every frequency that was settled: at most one per frequency."""
        selected = np.zeros(tally.n.shape, dtype=bool)
        present = self.grid.frequency_of[tally.current]
        for often in range(self.grid.n_frequencies):
            ladder = self._rows[often]
            n, dlt = tally.n[:, ladder], tally.dlt[:, ladder]
            shut = self._closed_from_below(tally, often)
            move = self.rule.step(n, dlt, np.where(present == often, self.grid.dose_of[tally.current], 0), shut)
            finished = (present == often) & (move.kind == DONE)
            dose = np.where(finished, move.declared, self.rule.standing(n, dlt))
            dose = np.where(present < often, NOTHING, dose)
            found = dose != NOTHING
            selected[np.flatnonzero(found), ladder[dose[found]]] = True
        return selected

    def eliminated(self, tally: Tally) -> Bools:
        """Failed regimens and everything above them, at every frequency."""
        return failed_upwards(self.rule.failed(tally.n, tally.dlt), self.grid.at_most)

    def table(self) -> DecisionTable | None:
        """The acceptance table inside a frequency."""
        return self.rule.table()
