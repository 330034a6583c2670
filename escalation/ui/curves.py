"""Shapes of assumed toxicity to start from: curves on one axis, surfaces on the grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from escalation.characteristics import Judgement
from escalation.regimens import RegimenGrid
from escalation.tally import Floats

STEEPNESS: Final = {"gentle": 0.35, "usual": 0.7, "steep": 1.4}
"""Rise of the log odds of a DLT from one level to the next."""


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def surface(grid: RegimenGrid, target: float, dose: int, frequency: int, by_dose: float, by_frequency: float) -> Floats:
    """Logistic DLT probabilities that meet the target at one regimen, rising in log odds per level of each axis.

    Levels count from 0. Rounded to a tenth of a percent, as people state them.
    """
    log_odds = _logit(target) + by_dose * (grid.dose_of - dose) + by_frequency * (grid.frequency_of - frequency)
    rounded: Floats = np.round(1 / (1 + np.exp(-log_odds)), 3)
    return rounded


def shapes(grid: RegimenGrid, target: float) -> dict[str, Callable[[], Floats]]:
    """Named shapes for a set of regimens."""
    last_dose, last_frequency = grid.n_doses - 1, grid.n_frequencies - 1
    usual, gentle, steep = STEEPNESS["usual"], STEEPNESS["gentle"], STEEPNESS["steep"]
    found: dict[str, Callable[[], Floats]] = {}
    if grid.axis != "grid":
        for k in range(grid.size):
            place = (int(grid.dose_of[k]), int(grid.frequency_of[k]))
            found[f"MTD at {grid.label(k)}"] = partial(surface, grid, target, *place, usual, usual)
        middle = (last_dose // 2, last_frequency // 2)
        found["Gentle slope"] = lambda: surface(grid, target, *middle, gentle, gentle)
        found["Steep slope"] = lambda: surface(grid, target, *middle, steep, steep)
    else:
        middle = (last_dose // 2, last_frequency // 2)
        found["Both axes matter"] = lambda: surface(grid, target, *middle, usual, usual)
        found["Steep in dose only"] = lambda: surface(grid, target, *middle, steep, 0.0)
        found["Steep in frequency only"] = lambda: surface(grid, target, *middle, 0.0, steep)
        found["Contour through the corners"] = lambda: surface(
            grid, target, 0, last_frequency, usual, usual * last_dose / max(last_frequency, 1)
        )
        found["MTD at the highest regimen"] = lambda: surface(grid, target, last_dose, last_frequency, usual, usual)
    found["Flat at the target"] = lambda: np.full(grid.size, target)
    found["All safe"] = lambda: np.round(np.linspace(0.01, 0.05, grid.size), 3)
    found["All too toxic"] = lambda: np.round(np.linspace(min(target + 0.2, 0.9), 0.95, grid.size), 3)
    return found


def safe_side(truth: Floats, judgement: Judgement) -> np.ndarray:
    """The regimens on the safe side of the MTD contour: not above the target."""
    return np.asarray(~judgement.above(truth))
