"""Which interval of DLT probabilities the posterior favours, for every count at a level.

y DLTs among n evaluable participants and a Beta(a, b) prior give the posterior Beta(a + y, b + n - y).
The toxicity probability interval designs cut 0..1 into intervals and ask which holds the most
posterior probability, in all or per unit of length; whether that one lies below, at or above the
target decides.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc

from designs.boundaries import DE_ESCALATE, ESCALATE, STAY, Moves, Ties, counts_to, largest
from escalation.tally import Floats, Indices

_DUST = 1e-9
"""An end piece shorter than this is rounding, not an interval."""


def posterior_cdf(n_max: int, prior: tuple[float, float], points: Floats) -> Floats:
    """Posterior probability below the points for n, y = 0..n_max: (n_max + 1, n_max + 1, points).

    ``points`` is (E,) or, for points that depend on the counts, (n_max + 1, n_max + 1, E). Entries
    with y > n repeat those of y = n.
    """
    n, dlt = counts_to(n_max)
    dlt = np.minimum(dlt, n)
    a, b = (prior[0] + dlt).astype(float), (prior[1] + n - dlt).astype(float)
    return np.asarray(betainc(a[..., None], b[..., None], points), dtype=np.float64)


def tiles(lower: float, upper: float) -> tuple[Floats, int]:
    """0..1 cut into intervals as long as (lower, upper), laid to both sides of it; the ends may be shorter.

    Returns
    -------
    edges
        (E,) from 0 to 1.
    middle
        Position of the interval (lower, upper) among the E - 1.

    Examples
    --------
    >>> edges, middle = tiles(0.25, 0.35)
    >>> edges.round(2)
    array([0.  , 0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1.  ])
    >>> middle
    3
    """
    width = upper - lower
    left = lower - width * np.arange(int(lower / width) + 2)
    right = upper + width * np.arange(int((1 - upper) / width) + 2)
    left, right = left[left > _DUST], right[right < 1 - _DUST]
    return np.concatenate([[0.0], left[::-1], right, [1.0]]), len(left)


def densest_interval(
    n_max: int,
    prior: tuple[float, float],
    edges: Floats,
    middle: int,
    *,
    ties: Ties,
) -> Moves:
    """Decisions by the interval with the most posterior probability per unit of length.

    Parameters
    ----------
    n_max, prior
        The table's size and the Beta prior of every level.
    edges, middle
        The intervals and the one that holds the target, as :func:`tiles` gives them.
    ties
        Which of equally dense intervals decides.
    """
    density = np.diff(posterior_cdf(n_max, prior, edges), axis=-1) / np.diff(edges)
    return _moves(largest(density, ties=ties), middle)


def likeliest_interval(n_max: int, prior: tuple[float, float], edges: Floats, *, ties: Ties) -> Moves:
    """Decisions by the interval with the most posterior probability among below, at and above the target.

    ``edges`` is (n_max + 1, n_max + 1, 2): where the middle interval begins and ends for every count.
    """
    below_edge = posterior_cdf(n_max, prior, edges)
    share = np.stack([below_edge[..., 0], below_edge[..., 1] - below_edge[..., 0], 1 - below_edge[..., 1]], axis=-1)
    return _moves(largest(share, ties=ties), 1)


def _moves(interval: Indices, middle: int) -> Moves:
    moves = np.where(interval < middle, ESCALATE, np.where(interval == middle, STAY, DE_ESCALATE))
    return moves.astype(np.int8)
