"""Stopping boundaries for toxicity at one regimen: integer tables by the number of evaluable participants.

A boundary is an array b over n = 0..N: the trial stops at a look with n evaluable participants when b[n] or more of
them have had a DLT. An entry above n cannot be reached.

References
----------
Ivanova A, Qaqish BF, Schell MJ (2005) Biometrics 61:540-545, doi:10.1111/j.1541-0420.2005.00311.x.
Jennison C, Turnbull BW (2000) Group Sequential Methods with Applications to Clinical Trials, chapter 12.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from escalation.tally import Counts, Floats

_SAME = 1e-9
"""Relative difference below which two binomial tail probabilities are one number."""


def looks_at(group: int, minimum: int, most: int) -> tuple[int, ...]:
    """Numbers of evaluable participants at which the boundary is looked at: after every whole group, and at the end.

    Examples
    --------
    >>> looks_at(3, 6, 11)
    (6, 9, 11)
    """
    ends = [*range(group, most, group), most]
    return tuple(n for n in ends if n >= minimum)


def crossing(boundary: Counts, looks: Sequence[int], probability: float) -> tuple[float, float]:
    """Probability of stopping at one of the looks, and the expected number of participants, both exact.

    Parameters
    ----------
    boundary
        Fewest DLTs that stop, by n.
    looks
        Numbers of evaluable participants looked at, in order; the last is the planned size.
    probability
        DLT probability of a participant.

    Examples
    --------
    At least two of three, a DLT probability of 0.1: 3 * 0.01 * 0.9 + 0.001.

    >>> [round(number, 6) for number in crossing(np.array([9, 9, 9, 2], dtype=np.int32), (3,), 0.1)]
    [0.028, 3.0]
    """
    going = np.ones(1)  # by DLT count: probability of having come here
    before, stopped, participants = 0, 0.0, 0.0
    for n in looks:
        group = n - before
        going = np.convolve(going, binom.pmf(np.arange(group + 1), group, probability))
        over = float(going[boundary[n] :].sum())
        going[boundary[n] :] = 0.0
        stopped += over
        participants += n * over
        before = n
    return stopped, participants + before * (1.0 - stopped)


def pointwise_boundary(most: int, limit: float, level: float) -> Counts:
    """The fewest DLTs b among n with P(X >= b) <= level for X binomial(n, limit), for n = 0..most.

    Examples
    --------
    >>> pointwise_boundary(6, 0.2, 0.04)
    array([1, 2, 2, 3, 3, 4, 4], dtype=int32)
    """
    boundary = np.zeros(most + 1, np.int32)
    for n in range(most + 1):
        boundary[n] = np.count_nonzero(_tail(n, limit) > level * (1.0 + _SAME))
    return boundary


def pocock_boundary(looks: Sequence[int], limit: float, overall: float) -> tuple[Counts, float] | None:
    """The Pocock-type boundary of Ivanova, Qaqish and Schell (2005).

    At every look "DLT probability at most the limit" is tested against a larger one at the same pointwise level; the
    level is the largest whose probability of ever stopping, at a DLT probability equal to the limit, is at most
    ``overall``. Between looks the boundary is that of the same pointwise level.

    Parameters
    ----------
    looks
        Numbers of evaluable participants looked at, in order.
    limit
        Largest acceptable DLT probability.
    overall
        Largest probability of stopping at that DLT probability.

    Returns
    -------
    The boundary for n = 0..N and its pointwise level; None when even the lowest level stops too often.

    Examples
    --------
    >>> boundary, level = pocock_boundary(range(1, 31), 0.2, 0.1)
    >>> boundary[[1, 3, 5, 8, 11, 30]], round(level, 4)
    (array([ 2,  3,  4,  5,  6, 11], dtype=int32), 0.0362)
    """
    most = looks[-1]
    # the boundary changes only where the level passes a tail probability of some look
    levels = np.unique(np.concatenate([_tail(n, limit) for n in looks]))
    levels = levels[np.append(np.diff(levels) > _SAME * levels[1:], True)]
    low, high = -1, len(levels) - 1  # the probability of stopping rises with the level: bisection over the candidates
    while low < high:
        middle = (low + high + 1) // 2
        stopping, _ = crossing(pointwise_boundary(most, limit, float(levels[middle])), looks, limit)
        low, high = (middle, high) if stopping <= overall * (1.0 + _SAME) else (low, middle - 1)
    if low < 0:
        return None
    level = float(levels[low])
    return pointwise_boundary(most, limit, level), level


def _tail(n: int, probability: float) -> Floats:
    """P(X >= b) for b = 0..n."""
    tail: Floats = binom.sf(np.arange(n + 1) - 1, n, probability)
    return tail


def listed_boundary(listed: Sequence[tuple[int, int]], most: int) -> Counts:
    """A boundary given as (DLTs, participants) pairs in order; between them the next pair's number already stops.

    A number of DLTs that will stop the trial at the next listed size stops it as soon as it is there.

    Examples
    --------
    >>> listed_boundary([(2, 3), (2, 6), (3, 9)], 9)
    array([2, 2, 2, 2, 2, 2, 2, 3, 3, 3], dtype=int32)
    """
    sizes = np.array([n for _, n in listed])
    dlts = np.array([dlt for dlt, _ in listed], dtype=np.int32)
    boundary: Counts = dlts[np.searchsorted(sizes, np.arange(most + 1))]
    return boundary
