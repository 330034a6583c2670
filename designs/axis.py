"""The ladder of a one-axis design: its regimens in order of escalation.

A design that climbs one axis (dose or frequency) sees levels, not regimens. On a one-axis study
the ladder is every regimen. On a grid it is the line through the starting regimen along the
chosen axis: the other axis stays where escalation starts, and regimens off the line are never
treated by the design.

Examples
--------
A 3 x 2 grid, starting at dose 1 with frequency 2. Regimens are numbered row by row from 0.

>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7)))
>>> setting = Setting(grid, cohort_size=3, start=3)
>>> ladder_along(setting, "dose").regimens
(3, 4, 5)
>>> ladder_along(setting, "frequency").regimens
(0, 3)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from escalation.design import Setting
from escalation.errors import DesignError, OutcomeError
from escalation.tally import Bools, Counts, Floats, Indices


@dataclass(frozen=True)
class Ladder:
    """Regimens in order of escalation.

    Attributes
    ----------
    regimens
        Positions in arrays over the grid, lowest level first.

    Examples
    --------
    >>> ladder = Ladder((1, 4, 7))
    >>> ladder.position(np.array([7, 1]))
    array([2, 0], dtype=int32)
    """

    regimens: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.regimens)

    @cached_property
    def index(self) -> Indices:
        """The regimens as an array, shape (L,), to take columns of (S, K) arrays with."""
        return np.array(self.regimens, dtype=np.intp)

    @cached_property
    def _level_of(self) -> Counts:
        # one entry more than the highest regimen, so that anything beyond is looked up as off the ladder
        level_of = np.full(max(self.regimens) + 2, -1, dtype=np.int32)
        level_of[self.index] = np.arange(len(self), dtype=np.int32)
        return level_of

    def level_of(self, regimen: Counts) -> Counts:
        """Level of each regimen, counted from 0, and -1 off the ladder, where regimen -1 is too."""
        # the last entry is off the ladder, and -1 is the last entry
        level: Counts = self._level_of[np.minimum(regimen, len(self._level_of) - 1)]
        return level

    def position(self, regimen: Counts) -> Counts:
        """Level of each regimen, counted from 0; raises OutcomeError for one that is not on the ladder."""
        level = self.level_of(regimen)
        if level.size and level.min() < 0:
            raise OutcomeError(
                "the regimen now open is not on the ladder this design climbs: "
                "record the move back to a regimen of the ladder before asking what happens next"
            )
        return level

    def mark(self, level: Counts, rows: Bools, size: int) -> Bools:
        """One chosen level per row as an (S, size) array over the regimens, none where ``rows`` is False."""
        marked = np.zeros((len(level), size), dtype=bool)
        marked[np.flatnonzero(rows), self.index[level[rows]]] = True
        return marked

    def spread(self, values: Floats, size: int) -> Floats:
        """(S, L) values over the levels as (S, size) over the regimens, NaN off the ladder."""
        wide = np.full((len(values), size), np.nan)
        wide[:, self.index] = values
        return wide


def ladder_along(
    setting: Setting, axis: Literal["dose", "frequency"] | None, field: str = "protocol.design.axis"
) -> Ladder:
    """The ladder a one-axis design climbs: the line through the starting regimen.

    Parameters
    ----------
    setting
        The regimens and where escalation starts.
    axis
        The axis that escalates; None takes the only one of a one-axis study.
    field
        Where the axis stands in the study file, for the message when it cannot work.

    Raises
    ------
    DesignError
        On a grid when no axis is chosen, and on a one-axis study when the other one is.
    """
    grid = setting.grid
    if axis is None:
        if grid.axis == "grid":
            raise DesignError(
                field,
                f"this design climbs one axis, and the study has {grid.n_doses} doses "
                f"by {grid.n_frequencies} frequencies",
                "choose axis: dose or axis: frequency, or use a one-axis study",
            )
        axis = grid.axis
    elif grid.axis not in ("grid", axis):
        raise DesignError(
            field, f"the study has only one {axis} level, so there is nothing to climb", f"use axis: {grid.axis}"
        )
    here = np.arange(grid.size)
    line = grid.frequency_of if axis == "dose" else grid.dose_of
    return Ladder(tuple(here[line == line[setting.start]].tolist()))
