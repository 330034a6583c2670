"""Mathematics of the grid's partial order: its lower sets, and least squares that respect it."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np

from escalation.regimens import RegimenGrid
from escalation.tally import Bools, Floats, Tally

_CHUNK = 200_000
"""Products of a row, a regimen and a lower set worked out at a time: so few that they stay in cache and the matrix
product on one thread, where waiting for another costs many times the work."""


@lru_cache(maxsize=64)
def lower_sets(frequencies: int, doses: int) -> Bools:
    """Every set of regimens that contains, with a regimen, everything below it.

    The upper edge of such a set is a monotone contour: the number of doses inside never rises with
    the frequency.

    Returns
    -------
    (C, K) with C = binomial(frequencies + doses, doses), the empty set first and the full one last.

    Examples
    --------
    >>> lower_sets(3, 5).shape
    (56, 15)
    """
    inside = [
        [[dose < width for dose in range(doses)] for width in reversed(widths)]
        for widths in combinations_with_replacement(range(doses + 1), frequencies)
    ]
    sets = np.array(inside, dtype=bool).reshape(-1, frequencies * doses)
    sets.setflags(write=False)
    return sets


def matrix_isotonic(values: Floats, weights: Floats, shape: tuple[int, int]) -> Floats:
    """Weighted least squares that never fall along either axis of the grid, exact, for many rows at once.

    The minimum lower sets algorithm: of all lower sets of what is not fitted yet, the one with the
    smallest weighted mean gets that mean; with equal means the largest. It ends after at most K rounds.

    Brunk HD (1955) Ann Math Stat 26:607-616, doi:10.1214/aoms/1177728420; Robertson T, Wright FT,
    Dykstra RL (1988) Order Restricted Statistical Inference, Wiley, section 1.4.

    Parameters
    ----------
    values, weights
        (S, K) over the regimens, frequencies by doses; weights are positive.
    shape
        Numbers of frequencies and doses.

    Returns
    -------
    (S, K)

    Examples
    --------
    >>> matrix_isotonic(np.array([[0.3, 0.1, 0.2, 0.5]]), np.ones((1, 4)), (2, 2))
    array([[0.2, 0.2, 0.2, 0.5]])
    """
    values, weights = np.atleast_2d(values).astype(float), np.atleast_2d(weights).astype(float)
    step = max(1, _CHUNK // lower_sets(*shape).size)
    parts = [
        _fitted(values[first : first + step], weights[first : first + step], shape)
        for first in range(0, len(values), step)
    ]
    return np.concatenate(parts) if parts else values


@lru_cache(maxsize=64)
def _largest_first(frequencies: int, doses: int) -> tuple[Bools, Floats]:
    """The lower sets without the empty one, the largest first, and their members as columns of ones."""
    sets = lower_sets(frequencies, doses)[1:]
    sets = sets[np.argsort(-sets.sum(axis=1), kind="stable")]
    members = sets.T.astype(float)
    for each in (sets, members):
        each.setflags(write=False)
    return sets, members


def _fitted(values: Floats, weights: Floats, shape: tuple[int, int]) -> Floats:
    sets, members = _largest_first(*shape)  # of tied sets argmax takes the first
    fit = np.zeros(values.shape)
    rows = np.arange(len(values))
    mass, moment, remaining = weights, weights * values, np.ones(values.shape, dtype=bool)
    while rows.size:
        mean, heavy = moment @ members, mass @ members
        mean[heavy <= 0] = np.inf
        np.divide(mean, heavy, out=mean, where=heavy > 0)
        least = mean.min(axis=1, keepdims=True)
        chosen = np.argmax(mean <= least + 1e-12, axis=1)
        block = sets[chosen] & remaining
        fit[rows] += block * least
        remaining &= ~block
        left = remaining.any(axis=1)
        rows, remaining = rows[left], remaining[left]
        mass, moment = mass[left] * remaining, moment[left] * remaining
    return fit


def without_skipping(tried: Bools, grid: RegimenGrid) -> Bools:
    """Regimens treated next without skipping a level, by those that were tried: both (S, K).

    They are at or below a regimen that was tried, or one level above such a one on one axis.
    """
    known = tried.astype(np.float32) @ grid.at_most.T.astype(np.float32) > 0
    near: Bools = known | (known.astype(np.float32) @ grid.predecessors.astype(np.float32) > 0)
    return near


def within_reach(tally: Tally, grid: RegimenGrid) -> Bools:
    """Regimens treated next without skipping a level or raising dose and frequency together: (S, K)."""
    here = tally.current
    tried = tally.n > 0
    tried[np.arange(tally.rows), here] = True
    near = without_skipping(tried, grid)
    both = (grid.dose_of > grid.dose_of[here][:, None]) & (grid.frequency_of > grid.frequency_of[here][:, None])
    return near & ~both
