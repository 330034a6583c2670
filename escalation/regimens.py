"""Regimens: a dose and a schedule of infusions, on a grid that is only partially ordered.

A one-axis trial is a grid with a single row or a single column; nothing else is special
about it. Levels count from 1 in everything a person reads; arrays are indexed from 0 and
run row by row, frequencies as rows and doses as columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from escalation.errors import OutcomeError

Axis = Literal["dose", "frequency", "grid"]


class Regimen(NamedTuple):
    """A dose level and a frequency level, both counted from 1."""

    dose: int
    frequency: int


@dataclass(frozen=True)
class RegimenGrid:
    """The regimens a trial may use: dose amounts by infusion schedules.

    Parameters
    ----------
    doses
        Amount of each infusion, lowest first, in ``unit``.
    schedules
        Days of infusion of each frequency level, day 0 the first infusion; least intensive first.
    unit
        Unit of the dose amounts.
    dose_labels, frequency_labels
        Short names shown to people; the level number where empty.

    Examples
    --------
    >>> grid = RegimenGrid(doses=(1, 2), schedules=((0,), (0, 7), (0, 7, 14)), unit="10^6 cells/kg")
    >>> grid.shape, grid.axis
    ((3, 2), 'grid')
    >>> grid.regimen(grid.index(Regimen(dose=2, frequency=3)))
    Regimen(dose=2, frequency=3)
    """

    doses: tuple[float, ...]
    schedules: tuple[tuple[int, ...], ...]
    unit: str = ""
    dose_labels: tuple[str, ...] = ()
    frequency_labels: tuple[str, ...] = ()

    @property
    def n_doses(self) -> int:
        return len(self.doses)

    @property
    def n_frequencies(self) -> int:
        return len(self.schedules)

    @property
    def shape(self) -> tuple[int, int]:
        """(frequencies, doses): the shape of every matrix over the regimens."""
        return self.n_frequencies, self.n_doses

    @property
    def size(self) -> int:
        """Number of regimens K."""
        return self.n_frequencies * self.n_doses

    @property
    def axis(self) -> Axis:
        """The axis that escalates, or ``grid`` when both do."""
        if self.n_frequencies == 1:
            return "dose"
        return "frequency" if self.n_doses == 1 else "grid"

    def index(self, regimen: Regimen) -> int:
        """Position of a regimen in arrays; raises OutcomeError when the level does not exist."""
        dose, frequency = regimen
        if not (1 <= dose <= self.n_doses and 1 <= frequency <= self.n_frequencies):
            raise OutcomeError(
                f"regimen dose {dose}, frequency {frequency} does not exist: "
                f"this study has dose levels 1 to {self.n_doses} "
                f"and frequency levels 1 to {self.n_frequencies}"
            )
        return (frequency - 1) * self.n_doses + dose - 1

    def regimen(self, index: int) -> Regimen:
        """The regimen at a position in arrays."""
        frequency, dose = divmod(int(index), self.n_doses)
        return Regimen(dose + 1, frequency + 1)

    @cached_property
    def dose_of(self) -> npt.NDArray[np.int64]:
        """Zero-based dose level of every regimen, shape (K,)."""
        return np.tile(np.arange(self.n_doses), self.n_frequencies)

    @cached_property
    def frequency_of(self) -> npt.NDArray[np.int64]:
        """Zero-based frequency level of every regimen, shape (K,)."""
        return np.repeat(np.arange(self.n_frequencies), self.n_doses)

    @cached_property
    def at_most(self) -> npt.NDArray[np.bool_]:
        """The partial order, shape (K, K): ``at_most[a, b]`` when a <= b on both axes."""
        d, f = self.dose_of, self.frequency_of
        ordered: npt.NDArray[np.bool_] = (d[:, None] <= d[None, :]) & (f[:, None] <= f[None, :])
        return ordered

    @cached_property
    def predecessors(self) -> npt.NDArray[np.bool_]:
        """Immediate lower neighbours, shape (K, K): ``predecessors[a, b]`` when a is one step below b."""
        d, f = self.dose_of, self.frequency_of
        step = (d[None, :] - d[:, None]) + (f[None, :] - f[:, None])
        below: npt.NDArray[np.bool_] = self.at_most & (step == 1)
        return below

    def schedule(self, index: int) -> tuple[int, ...]:
        """Infusion days of a regimen."""
        return self.schedules[int(index) // self.n_doses]

    def amount(self, index: int) -> float:
        """Amount per infusion of a regimen, in ``unit``."""
        return self.doses[int(index) % self.n_doses]

    def level(self, index: int) -> str:
        """The level as outcome strings write it: ``2`` on one axis, ``dose.frequency`` on a grid."""
        dose, frequency = self.regimen(index)
        if self.axis == "grid":
            return f"{dose}.{frequency}"
        return str(frequency if self.axis == "frequency" else dose)

    def label(self, index: int) -> str:
        """What people call the regimen, with its amount and number of infusions."""
        dose, frequency = self.regimen(index)
        name = self.dose_labels[dose - 1] if self.dose_labels else f"dose {dose}"
        often = self.frequency_labels[frequency - 1] if self.frequency_labels else f"frequency {frequency}"
        if self.axis == "dose":
            return name
        return often if self.axis == "frequency" else f"{name}, {often}"

    def describe(self, index: int) -> str:
        """The regimen in full: amount, unit and days of infusion."""
        days = ", ".join(str(day) for day in self.schedule(index))
        plural = "s" if len(self.schedule(index)) > 1 else ""
        times = " x " if self.unit[:1].isdigit() else " "
        return f"{self.label(index)} ({self.amount(index):g}{times}{self.unit} on day{plural} {days})".replace(
            "  ", " "
        )

    def matrix(self, values: Sequence[float] | npt.NDArray[Any]) -> list[list[Any]]:
        """Values over the regimens as nested lists, one row per frequency, one column per dose."""
        rows: list[list[Any]] = np.asarray(values).reshape(self.shape).tolist()
        return rows
