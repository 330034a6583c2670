"""Shapes of assumed toxicity to judge a design by: named ones on any set of regimens, and random monotone ones.

All are DLT probabilities that never fall with dose or frequency, frequencies by doses flattened as
everywhere, and rounded to a tenth of a percent as people state them.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from escalation.regimens import RegimenGrid
from escalation.tally import Floats

STEEPNESS: Final = {"gentle": 0.35, "usual": 0.7, "steep": 1.4}
"""Rise of the log odds of a DLT from one level to the next."""


def logistic(
    grid: RegimenGrid, target: float, dose: int, frequency: int, by_dose: float, by_frequency: float
) -> Floats:
    """DLT probabilities that meet the target at one regimen and rise in log odds per level of each axis.

    Parameters
    ----------
    dose, frequency
        Levels of that regimen, counted from 0.
    by_dose, by_frequency
        Rise of the log odds per level, 0 or more.

    Examples
    --------
    >>> grid = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7)))
    >>> grid.matrix(logistic(grid, 0.30, 1, 0, by_dose=0.7, by_frequency=0.35))
    [[0.175, 0.3, 0.463], [0.232, 0.378, 0.551]]
    """
    log_odds = np.log(target / (1 - target))
    log_odds = log_odds + by_dose * (grid.dose_of - dose) + by_frequency * (grid.frequency_of - frequency)
    rounded: Floats = np.round(1 / (1 + np.exp(-log_odds)), 3)
    return rounded


def shapes(grid: RegimenGrid, target: float) -> dict[str, Floats]:
    """Named shapes on a set of regimens, each (K,).

    On one axis the MTD in turn at every level and two slopes; on the grid surfaces that rise on both axes, on
    one of them, late, or through the corners; and always flat at the target, all safe and all too toxic.
    """
    last_dose, last_often = grid.n_doses - 1, grid.n_frequencies - 1
    middle = (last_dose // 2, last_often // 2)
    usual, gentle, steep = STEEPNESS["usual"], STEEPNESS["gentle"], STEEPNESS["steep"]

    def at(dose: int, often: int, by_dose: float, by_often: float) -> Floats:
        return logistic(grid, target, dose, often, by_dose, by_often)

    found: dict[str, Floats] = {}
    if grid.axis != "grid":
        for k in range(grid.size):
            found[f"MTD at level {k + 1}"] = at(int(grid.dose_of[k]), int(grid.frequency_of[k]), usual, usual)
        found["gentle slope"] = at(*middle, gentle, gentle)
        found["steep slope"] = at(*middle, steep, steep)
    else:
        found["both axes matter"] = at(*middle, usual, usual)
        found["steep in dose only"] = at(*middle, steep, 0.0)
        found["steep in frequency only"] = at(*middle, 0.0, steep)
        found["contour through the corners"] = at(0, last_often, usual, usual * last_dose / max(last_often, 1))
        found["MTD at the lowest regimen"] = at(0, 0, usual, usual)
        found["MTD at the highest regimen"] = at(last_dose, last_often, usual, usual)
    found["flat at the target"] = np.full(grid.size, target)
    found["all safe"] = _ramp(grid, 0.01, 0.05)
    found["all too toxic"] = _ramp(grid, min(target + 0.2, 0.9), 0.95)
    return found


def _ramp(grid: RegimenGrid, low: float, high: float) -> Floats:
    """From the lowest to the highest regimen by the sum of levels."""
    step = (grid.dose_of + grid.frequency_of) / max(grid.n_doses + grid.n_frequencies - 2, 1)
    ramp: Floats = np.round(low + (high - low) * step, 3)
    return ramp


def random_monotone(grid: RegimenGrid, target: float, number: int, seed: int, spread: float = 1.0) -> Floats:
    """Random surfaces that respect the partial order, the MTD anywhere on the grid.

    A regimen drawn with equal probabilities meets the target. The log odds of a regimen are those of the
    lowest plus independent exponential steps, one for every further regimen at or below it: they never fall with
    dose or frequency, and the two need not act additively.

    Parameters
    ----------
    number
        Surfaces to draw.
    seed
        The same seed gives the same surfaces.
    spread
        Mean rise of the log odds from the lowest regimen to the highest, divided by four.

    Returns
    -------
    (number, K)

    Examples
    --------
    >>> grid = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7)))
    >>> drawn = random_monotone(grid, 0.30, number=100, seed=1)
    >>> bool((np.diff(drawn.reshape(-1, 2, 3), axis=1) >= 0).all()), bool((drawn == 0.30).any(axis=1).all())
    (True, True)
    """
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    steps = draw.exponential(4 * spread / max(grid.size - 1, 1), size=(number, grid.size))
    steps[:, 0] = 0.0
    rise = steps @ grid.at_most.astype(float)
    at = draw.integers(grid.size, size=number)
    log_odds = np.log(target / (1 - target)) + rise - rise[np.arange(number), at][:, None]
    drawn: Floats = np.clip(np.round(1 / (1 + np.exp(-log_odds)), 3), 0.001, 0.999)
    drawn[np.arange(number), at] = target
    return drawn
