"""Mathematics several designs share: integer boundaries, quadrature, isotonic regression, distinct rows."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, sici

from escalation.tally import Counts, Floats, Indices

NEVER = np.int32(np.iinfo(np.int32).max)
"""The boundary that no count reaches."""


@lru_cache(maxsize=256)
def _exceedance(n_max: int, threshold: float, certainty: float, minimum: int, prior: tuple[float, float]) -> Counts:
    boundary = np.full(n_max + 1, NEVER, dtype=np.int32)
    for n in range(max(minimum, 1), n_max + 1):
        dlt = np.arange(1, n + 1)
        above = 1.0 - betainc(prior[0] + dlt, prior[1] + n - dlt, threshold)
        beyond = np.flatnonzero(above > certainty)
        if beyond.size:
            boundary[n] = dlt[beyond[0]]
    boundary.setflags(write=False)
    return boundary


def beta_exceedance_boundary(
    n_max: int,
    threshold: float,
    certainty: float,
    *,
    minimum: int = 1,
    prior: tuple[float, float] = (1.0, 1.0),
) -> Counts:
    """The fewest DLTs among n at which Pr(p > threshold | data) exceeds a certainty, for n = 0..n_max.

    The DLT probability p has a Beta prior. At least one DLT is always needed, and ``minimum``
    participants; the entry is :data:`NEVER` where no count suffices.

    Examples
    --------
    >>> beta_exceedance_boundary(9, 0.3, 0.95, minimum=3)[[3, 6, 9]]
    array([3, 4, 5], dtype=int32)
    """
    return _exceedance(int(n_max), float(threshold), float(certainty), int(minimum), prior)


def probability_below(cut: Floats, nodes: Floats) -> Floats:
    """Weights that turn a density at evenly spaced nodes into the probability below a cut.

    A smooth density that is gone at both ends of the nodes is the sum of its values times cardinal
    sines; their integrals up to the cut are the weights. The error falls as fast as that of the
    trapezoid rule on the same nodes, where a cut through the sum itself would cost a whole step.

    Parameters
    ----------
    cut
        Any shape; below the first node nothing is counted, above the last all.
    nodes
        (N,) evenly spaced.

    Returns
    -------
    The shape of ``cut`` and N behind it.

    Examples
    --------
    >>> nodes = np.linspace(-6, 6, 25)
    >>> density = np.exp(-nodes**2 / 2)
    >>> (probability_below(np.array([0.0, 1.645]), nodes) @ density / density.sum()).round(6)
    array([0.5     , 0.950015])
    """
    step = nodes[1] - nodes[0]
    inside = np.clip(cut, nodes[0], nodes[-1])[..., None]
    weights: Floats = 0.5 + sici(np.pi * (inside - nodes) / step)[0] / np.pi
    weights[cut < nodes[0]] = 0.0
    weights[cut > nodes[-1]] = 1.0
    return weights


def isotonic(values: Floats, weights: Floats) -> Floats:
    """Weighted non-decreasing least squares in every row, leaving out entries of weight 0.

    By the min-max formula, exact and without a loop over rows: the fit at k is the largest over
    i <= k of the smallest over j >= k of the weighted mean of entries i..j.

    Parameters
    ----------
    values, weights
        (S, K); weights are not negative.

    Returns
    -------
    (S, K), NaN where the weight is 0.

    Examples
    --------
    >>> isotonic(np.array([[0.3, 0.1, 0.5]]), np.array([[1.0, 1.0, 0.0]]))
    array([[0.2, 0.2, nan]])
    """
    # levels first, so that every step runs over whole rows of memory
    value, weight = (np.ascontiguousarray(np.asarray(each, dtype=float).T) for each in (values, weights))
    size, rows = weight.shape
    mass, moment = np.zeros((size + 1, rows)), np.zeros((size + 1, rows))
    np.cumsum(weight, axis=0, out=mass[1:])
    np.cumsum(weight * value, axis=0, out=moment[1:])
    fit = np.full((size, rows), -np.inf)
    for i in range(size):
        block = mass[i + 1 :] - mass[i]
        mean = np.full(block.shape, np.inf)
        np.divide(moment[i + 1 :] - moment[i], block, out=mean, where=block > 0)
        lowest = np.minimum.accumulate(mean[::-1], axis=0)[::-1]
        np.maximum(fit[i:], lowest, out=fit[i:], where=lowest < np.inf)
    return np.ascontiguousarray(np.where(weight > 0, fit, np.nan).T)


def distinct_rows(table: npt.NDArray[np.int32]) -> tuple[Indices, Indices]:
    """Distinct rows of a table of whole numbers.

    Returns
    -------
    first
        Position of the first occurrence of every distinct row.
    inverse
        For every row, which distinct row it is.

    Rows are compared whole; hashing only brings equal rows together, and a collision is found
    and resolved by comparing every row with its representative.
    """
    if table.shape[0] <= 1:
        index = np.zeros(table.shape[0], dtype=np.intp)
        return index, index
    mixers = np.random.default_rng(20240229)
    keys = np.zeros(table.shape[0], dtype=np.uint64)
    for position in range(table.shape[1]):
        factor = int(mixers.integers(1, 2**63))
        keys ^= keys >> np.uint64(29)
        keys = (keys + table[:, position].astype(np.uint64) + np.uint64(1)) * np.uint64(factor | 1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if not np.array_equal(table[first][inverse], table):  # a collision: compare the rows themselves
        _, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
        inverse = inverse.reshape(-1)
    return first.astype(np.intp), inverse.astype(np.intp)


def sum_by(group: Indices, values: Floats, groups: int) -> Floats:
    """Sums of values within groups numbered from 0: (groups,), or (groups, C) of values in C columns."""
    if values.ndim == 2:
        return np.stack([sum_by(group, column, groups) for column in values.T], axis=1)
    sums: Floats = np.bincount(group, weights=values, minlength=groups).astype(np.float64, copy=False)
    return sums
