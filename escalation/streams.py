"""Random numbers keyed by (seed, purpose, replicate, arrival index).

The same key gives the same number whatever the design, the executor, the number of workers or the
order of the calculation. Designs are therefore compared on the same participants.
"""

from __future__ import annotations

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
