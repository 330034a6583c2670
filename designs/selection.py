"""Selection of the MTD by isotonic regression, as the interval designs share it.

The DLT probability of every treated level that is still open is estimated from its own
participants, the estimates are made non-decreasing by weighted isotonic regression, and the level
closest to the target is selected. Pooled levels share one estimate: of those below the target the
highest is taken, of those at or above it the lowest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from escalation.numerics import isotonic
from escalation.tally import Bools, Counts, Floats

_HAIR = 1e-10
"""What separates pooled levels, per level."""


@dataclass(frozen=True, slots=True)
class IsotonicSelection:
    """Isotonic estimates of beta posteriors, weighted by their inverse variance.

    Attributes
    ----------
    prior
        (a, b): y DLTs among n are read as the Beta(a + y, b + n - y) posterior.
    untried
        Whether levels nobody was treated at enter the regression with the prior's own mean. They
        are never selected either way.

    Examples
    --------
    0 of 3, 2 of 6 and 1 of 6 DLTs, target .30: the last two violate the order and are pooled at
    about .24; both are below the target, so the highest of them is selected.

    >>> rule = IsotonicSelection(prior=(0.05, 0.05))
    >>> n, dlt = np.array([[3, 6, 6]]), np.array([[0, 2, 1]])
    >>> rule.estimates(n, dlt, n > 0).round(2)
    array([[0.02, 0.24, 0.24]])
    >>> level, found = rule.closest(n, dlt, n > 0, target=0.30)
    >>> level.tolist(), found.tolist()
    ([2], [True])
    """

    prior: tuple[float, float]
    untried: bool = False

    def estimates(self, n: Counts, dlt: Counts, use: Bools) -> Floats:
        """Isotonic posterior means of the levels in use: (S, L), NaN elsewhere."""
        known = use | (n == 0) if self.untried else use
        events, size = dlt + self.prior[0], n + sum(self.prior)
        rate = np.where(known, events / size, 0.0)
        precision = np.where(known, size**2 * (size + 1) / (events * (size - events)), 0.0)
        return np.where(use, isotonic(rate, precision), np.nan)

    def closest(
        self, n: Counts, dlt: Counts, use: Bools, target: float, at_most: float | None = None
    ) -> tuple[Counts, Bools]:
        """The level in use whose estimate is closest to the target, counted from 0, and where there is one.

        Parameters
        ----------
        n, dlt, use
            (S, L) counts, and the levels that may be selected.
        target
            The target DLT probability.
        at_most
            Only estimates up to this are considered; no bound when None.

        Returns
        -------
        level
            (S,) counted from 0; meaningless where ``found`` is False.
        found
            (S,) whether any level can be selected.
        """
        estimate = self.estimates(n, dlt, use) + _HAIR * np.cumsum(use, axis=1)
        usable = use if at_most is None else use & (estimate <= at_most)
        distance = np.where(usable, np.abs(estimate - target), np.inf)
        return np.argmin(distance, axis=1).astype(np.int32), np.isfinite(distance.min(axis=1))
