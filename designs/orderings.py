"""Toxicity orderings of a dose-by-frequency grid: complete orders that keep the partial order.

Two regimens of which one has the higher dose and the other the higher frequency are not ordered by
the grid. An ordering decides every such question; it is a linear extension of the partial order.
Six have names (Wages NA, Conaway MR (2013) Pharm Stat 12:217-224, doi:10.1002/pst.1575): across
rows, up columns, and four along the diagonals of regimens with the same sum of levels, always up in
frequency, always down, or alternating.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from escalation.partial_order import lower_sets
from escalation.regimens import RegimenGrid

OrderingName = Literal[
    "across_rows", "up_columns", "up_diagonals", "down_diagonals", "alternating_down_first", "alternating_up_first"
]
"""The named orderings; up and down say how the frequency runs along a diagonal, from its end with the least
or the highest dose."""
NAMES: tuple[OrderingName, ...] = get_args(OrderingName)

Ordering = tuple[int, ...]
"""Regimens, counted from 0, from the least toxic to the most."""


def named_ordering(name: OrderingName, grid: RegimenGrid) -> Ordering:
    """One of the six named orderings on any grid.

    Examples
    --------
    >>> grid = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7)))
    >>> [grid.level(k) for k in named_ordering("up_diagonals", grid)]
    ['1.1', '1.2', '2.1', '2.2', '3.1', '3.2']
    >>> [grid.level(k) for k in named_ordering("across_rows", grid)]
    ['1.1', '2.1', '3.1', '1.2', '2.2', '3.2']
    """
    dose, often = grid.dose_of, grid.frequency_of
    if name == "across_rows":
        return tuple(np.lexsort((dose, often)).tolist())
    if name == "up_columns":
        return tuple(np.lexsort((often, dose)).tolist())
    diagonal = dose + often
    dose_first = {
        "up_diagonals": np.zeros(grid.size, dtype=bool),
        "down_diagonals": np.ones(grid.size, dtype=bool),
        "alternating_down_first": diagonal % 2 == 1,
        "alternating_up_first": diagonal % 2 == 0,
    }[name]
    return tuple(np.lexsort((np.where(dose_first, -dose, dose), diagonal)).tolist())


def broken_pair(ordering: Sequence[int], grid: RegimenGrid) -> tuple[int, int] | None:
    """Two regimens, the lower first, that an ordering of all regimens has the wrong way round; None when sound."""
    order = grid.at_most
    for place, k in enumerate(ordering):
        for before in ordering[:place]:
            if k != before and order[k, before]:
                return k, before
    return None


def not_separated(orderings: Sequence[Ordering], grid: RegimenGrid) -> tuple[tuple[int, frozenset[int]], ...]:
    """Candidates for the MTD, each with regimens below the target, that no ordering tells apart from the rest.

    When a regimen is the MTD and exactly the regimens of a lower set lie below it, an ordering with just
    these before it puts every regimen on the right side. Without such an ordering a POCRM may settle
    elsewhere however many participants it treats (Chen W, Mozgunov P (2024) arXiv:2410.21989).

    Returns
    -------
    Pairs of a regimen and the set of regimens below it, counted from 0.

    Examples
    --------
    Two by two: the two orderings of the middle regimens cover everything, one of them does not.

    >>> grid = RegimenGrid(doses=(1, 2), schedules=((0,), (0, 7)))
    >>> not_separated(((0, 1, 2, 3), (0, 2, 1, 3)), grid)
    ()
    >>> not_separated(((0, 1, 2, 3),), grid)
    ((1, frozenset({0, 2})), (2, frozenset({0})))
    """
    covered = {(k, frozenset(ordering[:place])) for ordering in orderings for place, k in enumerate(ordering)}
    missing = []
    for inside in lower_sets(*grid.shape):
        below = frozenset(np.flatnonzero(inside).tolist())
        for k in range(grid.size):
            smaller = set(np.flatnonzero(grid.at_most[:, k]).tolist()) - {k}
            if k not in below and smaller <= below and (k, below) not in covered:
                missing.append((k, below))
    return tuple(sorted(missing, key=lambda pair: (pair[0], len(pair[1]), sorted(pair[1]))))
