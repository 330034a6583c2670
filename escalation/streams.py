"""Random numbers keyed by (seed, purpose, replicate, arrival index).

The same key gives the same number whatever the design, the executor, the number of workers or the
order of the calculation. Designs are therefore compared on the same participants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from escalation.tally import Floats

BLOCK = 64
"""Arrivals whose numbers are drawn together."""

Purpose = Literal["tolerance", "accrual", "screening", "drop_out", "missed_infusion", "allocation", "bootstrap"]
PURPOSES: tuple[Purpose, ...] = (
    "tolerance",
    "accrual",
    "screening",
    "drop_out",
    "missed_infusion",
    "allocation",
    "bootstrap",
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
            drawn = uniforms(self.seed, purpose, block, self.replicate, 1, series=series)[0]
            numbers = self._lists[key] = drawn.tolist()
        return numbers[place]


def numbers_of(seed: int, purposes: Sequence[Purpose], first: int, replicates: int) -> Iterator[Numbers]:
    """The numbers of consecutive replicates; the first block of the named purposes is drawn for many at once."""
    for start in range(first, first + replicates, 256):
        many = min(256, first + replicates - start)
        drawn = {purpose: uniforms(seed, purpose, 0, start, many) for purpose in purposes}
        for row in range(many):
            lists = {(purpose, 0, 0): values[row].tolist() for purpose, values in drawn.items()}
            yield Numbers(seed, start + row, lists)
