"""Decisions from counts as integer boundaries, computed once.

A design that decides from the number evaluable n and the number with a DLT y at the current level
is a table. When more DLTs never make a decision milder, a column of the table is two numbers:
escalate at so many DLTs or fewer, de-escalate at so many or more. With integers the screen, the
engines and the record cannot disagree by a rounding error.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from escalation.errors import DesignError
from escalation.numerics import NEVER
from escalation.tally import Counts, Floats, Indices

ESCALATE, STAY, DE_ESCALATE = 0, 1, 2
"""The decisions of a table, from the mildest to the strictest."""

Moves = npt.NDArray[np.int8]
"""(n_max + 1, n_max + 1) decisions by n and y; entries with y > n are not read."""


Ties = Literal["mildest", "most_toxic"]
"""Which of equally probable intervals decides."""


class Boundaries(NamedTuple):
    """Integer boundaries by the number evaluable at a level, n = 0..n_max; NEVER (or -1) where no count decides."""

    escalate: Counts
    """Escalate at this many DLTs or fewer."""
    de_escalate: Counts
    """De-escalate at this many DLTs or more."""
    eliminate: Counts
    """Eliminate the level and all above at this many DLTs or more."""
    stop: Counts
    """Stop at this many DLTs or more at the lowest level: lower than ``eliminate`` under ``extra_safe``."""

    def frozen(self) -> Boundaries:
        """The same boundaries, protected from writing."""
        for boundary in self:
            boundary.setflags(write=False)
        return self


def boundaries_by_cohort(bound: Boundaries, cohort: int) -> dict[str, float | str | list[float]]:
    """The boundaries after whole cohorts at a regimen, for people to read.

    Examples
    --------
    >>> table = Boundaries(*(np.array(row) for row in ([-1, 0, 0], [NEVER, 1, 2], [NEVER, NEVER, 2], [NEVER, 1, 2])))
    >>> boundaries_by_cohort(table, 1)["eliminate_if_at_least"]
    'never 2'
    """
    whole = range(cohort, len(bound.escalate), cohort)

    def listed(limits: Counts) -> str:
        return " ".join("never" if limits[n] < 0 or limits[n] > n else f"{limits[n]}" for n in whole)

    return {
        "evaluable": " ".join(map(str, whole)),
        "escalate_if_at_most": listed(bound.escalate),
        "de_escalate_if_at_least": listed(bound.de_escalate),
        "eliminate_if_at_least": listed(bound.eliminate),
    }


def counts_to(n_max: int) -> tuple[Counts, Counts]:
    """All pairs of n = 0..n_max and y = 0..n_max as two matrices, n down the rows."""
    size = np.arange(n_max + 1, dtype=np.int32)
    return np.broadcast_to(size[:, None], (n_max + 1, n_max + 1)), np.broadcast_to(size, (n_max + 1, n_max + 1))


def boundaries_of(moves: Moves) -> tuple[Counts, Counts]:
    """The escalation and de-escalation boundaries of a table of decisions.

    Raises
    ------
    DesignError
        When one more DLT makes a decision milder, so that no boundary describes the column.

    Examples
    --------
    Three evaluable: escalate at 0 DLTs, stay at 1, de-escalate at 2 and 3.

    >>> moves = np.zeros((4, 4), dtype=np.int8)
    >>> moves[3] = [ESCALATE, STAY, DE_ESCALATE, DE_ESCALATE]
    >>> escalate, de_escalate = boundaries_of(moves)
    >>> int(escalate[3]), int(de_escalate[3])
    (0, 2)
    """
    n, dlt = counts_to(len(moves) - 1)
    possible = dlt <= n
    milder = (np.diff(moves, axis=1) < 0) & possible[:, 1:]
    if milder.any():
        column, row = np.argwhere(milder)[0]
        raise DesignError(
            "protocol.design",
            f"with these parameters {row + 1} DLTs among {column} give a milder decision than {row}",
            "choose intervals further from 0 and 1",
        )
    escalate = ((moves == ESCALATE) & possible).sum(axis=1).astype(np.int32) - np.int32(1)
    strict = (moves == DE_ESCALATE) & possible
    de_escalate = np.where(strict.any(axis=1), np.argmax(strict, axis=1), NEVER).astype(np.int32)
    return np.asarray(escalate, np.int32), de_escalate


def largest(scores: Floats, *, ties: Ties) -> Indices:
    """Position of the largest score along the last axis; equal up to rounding is a tie.

    Positions run from mild to toxic; ``ties`` says which of equal ones is taken.
    """
    best = scores.max(axis=-1, keepdims=True)
    tied = scores >= best - 1e-12 * np.abs(best)
    position: Indices = (
        np.argmax(tied, axis=-1) if ties == "mildest" else scores.shape[-1] - 1 - np.argmax(tied[..., ::-1], axis=-1)
    )
    return position
