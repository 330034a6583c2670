"""Staged cohorts: smaller cohorts at low levels or before the first DLTs.

A protocol's ``cohort_size`` is the size of a whole cohort. Early cohorts may be smaller, by the level treated,
by the number of participants with a DLT so far, or both, in which case the larger size holds.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from escalation.decision import Action, Decisions
from escalation.regimens import RegimenGrid
from escalation.tally import Counts, Tally


class CohortSizes(BaseModel):
    """Sizes of the early cohorts; where a list ends, cohorts are whole.

    Examples
    --------
    Single participants at level 1, two at level 2, whole cohorts of three from level 3 or the first DLT on:

    >>> sizes = CohortSizes(by_level=(1, 2), by_dlts=(1,))
    >>> sizes.of(np.array([0, 1, 2, 0]), np.array([0, 0, 0, 1]), whole=3).tolist()
    [1, 2, 3, 3]
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by_level: tuple[int, ...] = Field(
        default=(), description="Sizes at level 1, 2, ...; on a grid by the steps above the lowest regimen."
    )
    by_dlts: tuple[int, ...] = Field(
        default=(), description="Sizes while 0, 1, ... participants of the trial have had a DLT."
    )

    @field_validator("by_level", "by_dlts")
    @classmethod
    def _rising(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < 1 for size in sizes) or any(b < a for a, b in pairwise(sizes)):
            raise ValueError("cohort sizes are 1 or more and never fall; list the first stage first")
        return sizes

    @property
    def largest(self) -> int:
        """The largest size listed, 0 when nothing is."""
        return max((*self.by_level, *self.by_dlts), default=0)

    def of(self, level: Counts, dlts: Counts, whole: int) -> Counts:
        """Size of the next cohort by the level it is treated at, counted from 0, and the DLTs so far."""

        def stage(sizes: tuple[int, ...], reached: Counts) -> Counts:
            if not sizes:
                return np.zeros(len(reached), dtype=np.int32)
            staged = np.array([*sizes, whole], dtype=np.int32)
            return staged[np.minimum(reached, len(sizes))]

        if not (self.by_level or self.by_dlts):
            return np.full(len(level), whole, dtype=np.int32)
        return np.maximum(stage(self.by_level, level), stage(self.by_dlts, dlts))

    def apply(self, tally: Tally, decisions: Decisions, grid: RegimenGrid, whole: int) -> Decisions:
        """The same decisions with the next cohort as large as its stage asks."""
        treats = ~decisions.stops & (decisions.action != Action.WAIT)
        height = (grid.dose_of + grid.frequency_of)[decisions.regimen]
        size = self.of(height, tally.dlt.sum(axis=1), whole)
        return replace(decisions, size=np.where(treats, size, decisions.size).astype(np.int32))

    def first(self, grid: RegimenGrid, start: int, whole: int) -> int:
        """Size of the first cohort."""
        height = grid.dose_of[[start]] + grid.frequency_of[[start]]
        return int(self.of(height, np.zeros(1, dtype=np.int32), whole)[0])

    def describe(self) -> str:
        """The stages in one line."""

        def listed(sizes: tuple[int, ...]) -> str:
            return ", ".join(map(str, sizes))

        parts = [f"{listed(self.by_level)} at the lowest levels"] if self.by_level else []
        parts += [f"{listed(self.by_dlts)} before the DLTs number {len(self.by_dlts)}"] if self.by_dlts else []
        return f"cohorts of {' and of '.join(parts)}, then whole ones"
