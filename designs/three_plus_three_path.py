"""3+3 along a path through the dose-by-frequency grid.

The path is walked like a ladder of levels. A zig-zag path raises one axis at a time and is a
chain of the partial order: each step is at least as toxic as the one before. A path given by
the user may leave the partial order (for example all frequencies of one dose, then the next
dose from its lowest frequency); then "one step down" need not mean "less toxic", and the
protocol has to acknowledge that.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from designs.a_plus_b import APlusBParameters
from designs.three_plus_three import LadderDesign
from escalation.design import Setting
from escalation.errors import DesignError, OutcomeError
from escalation.regimens import Regimen, RegimenGrid
from escalation.tally import Counts


class PathParameters(APlusBParameters):
    """Parameters of 3+3 along a path."""

    path: Literal["zigzag"] | tuple[tuple[int, int], ...] = Field(
        default="zigzag",
        description="'zigzag', or the regimens in order as [dose, frequency] pairs, levels counted from 1.",
    )
    acknowledge_unordered: bool = Field(
        default=False,
        description="The protocol accepts a path on which a later regimen need not be more toxic than an earlier one.",
    )


def zigzag(grid: RegimenGrid, start: int = 0) -> tuple[int, ...]:
    """The staircase from the start to the highest regimen, frequency steps spread evenly among dose steps.

    Examples
    --------
    >>> grid = RegimenGrid(doses=(1, 2, 3, 4, 5), schedules=((0,), (0, 7), (0, 7, 14)))
    >>> [grid.level(k) for k in zigzag(grid)]
    ['1.1', '2.1', '3.1', '3.2', '4.2', '4.3', '5.3']
    """
    dose, often = (level - 1 for level in grid.regimen(start))
    doses, steps = grid.n_doses - 1 - dose, grid.n_frequencies - 1 - often
    path, raised = [start], 0
    for climbed in range(1, doses + 1):
        path.append(path[-1] + 1)
        while raised < steps and climbed >= -(-(raised + 1) * doses // (steps + 1)):
            path.append(path[-1] + grid.n_doses)
            raised += 1
    while raised < steps:
        path.append(path[-1] + grid.n_doses)
        raised += 1
    return tuple(path)


class ThreePlusThreePath(LadderDesign):
    """3+3 along a path of regimens, never raising dose and frequency together."""

    name: ClassVar[str] = "three_plus_three_path"
    title: ClassVar[str] = "3+3 along a path"
    Parameters = PathParameters

    def __init__(self, parameters: PathParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.given = parameters.path
        self.acknowledged = parameters.acknowledge_unordered
        _ = self.ladder  # a path that cannot work is refused at once

    @property
    def start(self) -> int:
        """The protocol's starting regimen, which must lie on the path."""
        return self.setting.start

    @cached_property
    def ladder(self) -> Counts:
        grid, field = self.grid, "protocol.design.path"
        if self.given == "zigzag":
            return np.array(zigzag(grid, self.setting.start), dtype=np.int32)
        try:
            path = [grid.index(Regimen(dose, often)) for dose, often in self.given]
        except OutcomeError as error:
            raise DesignError(field, str(error), "use levels of this study") from None
        if len(set(path)) < len(path) or len(path) < 1:
            raise DesignError(field, "the path is empty or visits a regimen twice", "list every regimen once")
        if self.setting.start not in path:
            raise DesignError(field, "the starting regimen is not on the path", "start on the path")
        for here, there in pairwise(path):
            self._check_step(here, there, field)
        return np.array(path, dtype=np.int32)

    def _check_step(self, here: int, there: int, field: str) -> None:
        grid = self.grid
        step = f"{grid.level(here)} to {grid.level(there)}"
        up_dose = int(grid.dose_of[there] - grid.dose_of[here])
        up_often = int(grid.frequency_of[there] - grid.frequency_of[here])
        if up_dose > 0 and up_often > 0:
            raise DesignError(field, f"the step {step} raises dose and frequency together", "raise one at a time")
        if max(up_dose, up_often) > 1:
            raise DesignError(field, f"the step {step} skips a level", "go up one level at a time")
        if {up_dose, up_often} != {0, 1} and not self.acknowledged:
            raise DesignError(
                field,
                f"the step {step} is not one level up on one axis, so the later regimen need not be more toxic",
                "use 'zigzag', or set acknowledge_unordered: true if the protocol accepts this",
            )
