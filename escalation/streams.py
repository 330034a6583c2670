"""Random numbers keyed by (seed, purpose, replicate, arrival index).

The same key gives the same number whatever the design, the executor, the number of workers or the
order of the calculation. Designs are therefore compared on the same participants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from escalation.tally import Counts, Floats

BLOCK = 64
"""Arrivals whose numbers are drawn together."""

Purpose = Literal[
    "tolerance", "accrual", "screening", "drop_out", "missed_infusion", "allocation", "bootstrap", "response"
]
PURPOSES: tuple[Purpose, ...] = (
    "tolerance",
    "accrual",
    "screening",
    "drop_out",
    "missed_infusion",
    "allocation",
    "bootstrap",
    "response",
)


def uniforms(seed: int, purpose: Purpose, block: int, first: int, replicates: int, *, series: int = 0) -> Floats:
    """Uniform(0, 1) numbers of a block of arrivals, for consecutive replicates.

    Parameters
    ----------
    seed
        The master seed.
    purpose
        What the numbers are for; every purpose has its own stream.
    block
        Arrivals ``64 * block`` to ``64 * block + 63``.
    first, replicates
        The replicates first, first + 1, ...
    series
        Number within the purpose, where an arrival needs several.

    Returns
    -------
    (replicates, 64).

    Examples
    --------
    >>> whole = uniforms(7, "tolerance", 0, 0, 10)
    >>> bool((uniforms(7, "tolerance", 0, 4, 2) == whole[4:6]).all())
    True
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose), series, block))
    bits = np.random.Philox(sequence)
    bits.advance(first * (BLOCK // 4))  # one step of the counter makes four numbers
    return np.random.Generator(bits).random((replicates, BLOCK))


def tolerances(seed: int, first: int, replicates: int, participants: int) -> Floats:
    """Latent tolerances of the first arrivals: (replicates, participants)."""
    blocks = [uniforms(seed, "tolerance", block, first, replicates) for block in range(-(-participants // BLOCK))]
    return np.concatenate(blocks, axis=1)[:, :participants]


def drawn(shares: Floats, numbers: Floats) -> Counts:
    """Which regimen each number draws: the first whose cumulated probability exceeds it.

    Parameters
    ----------
    shares
        (S, K) probabilities of the regimens, in any unit; every row has a positive one.
    numbers
        (S,) uniform numbers from 0 to below 1.

    Returns
    -------
    (S,) regimens counted from 0, each with a positive probability.

    Examples
    --------
    >>> drawn(np.array([[0.0, 0.5, 0.5, 0.0]]), np.array([0.7])).tolist()
    [2]
    """
    cumulated = np.cumsum(shares, axis=1)
    below = (cumulated <= numbers[:, None] * cumulated[:, -1:]).sum(axis=1)
    last = shares.shape[1] - 1 - np.argmax(shares[:, ::-1] > 0, axis=1)
    found: Counts = np.minimum(below, last).astype(np.int32)
    return found


@dataclass(slots=True)
class Numbers:
    """Keyed random numbers of one replicate, fetched in blocks of arrivals."""

    seed: int
    replicate: int
    _lists: dict[tuple[Purpose, int, int], list[float]] = field(default_factory=dict)

    def at(self, purpose: Purpose, arrival: int, series: int = 0) -> float:
        """The number of an arrival for a purpose."""
        block, place = divmod(arrival, BLOCK)
        key = (purpose, series, block)
        numbers = self._lists.get(key)
        if numbers is None:
            row = uniforms(self.seed, purpose, block, self.replicate, 1, series=series)[0]
            numbers = self._lists[key] = row.tolist()
        return numbers[place]

    def regimen(self, shares: Sequence[float], decision: int) -> int:
        """The regimen that a decision, counted from 0, draws with the given probabilities."""
        return int(drawn(np.array([shares]), np.array([self.at("allocation", decision)]))[0])


def numbers_of(seed: int, purposes: Sequence[Purpose], first: int, replicates: int) -> Iterator[Numbers]:
    """The numbers of consecutive replicates; the first block of the named purposes is drawn for many at once."""
    for start in range(first, first + replicates, 256):
        many = min(256, first + replicates - start)
        blocks = {purpose: uniforms(seed, purpose, 0, start, many) for purpose in purposes}
        for row in range(many):
            lists = {(purpose, 0, 0): values[row].tolist() for purpose, values in blocks.items()}
            yield Numbers(seed, start + row, lists)
