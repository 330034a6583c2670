"""The two-parameter logistic model of the BLRM and its posterior on a fixed grid.

logit p_k = log alpha + beta log(d_k / d*), with (log alpha, log beta) bivariate normal. The
posterior is integrated by the trapezoid rule on a grid of the two standardised prior coordinates,
log densities shifted by their largest value. The prior density is gone at the ends of the grid, so
the rule converges faster than any power of its step as long as the step is no wider than about
the posterior standard deviation. Probabilities of intervals of p_k need more than a sum over nodes:
for a given slope p_k < c means log alpha below a cut, and the mass below the cut is taken by the
weights of :func:`escalation.numerics.probability_below`.

References
----------
Neuenschwander B, Branson M, Gsponer T (2008) Stat Med 27:2420-2439, doi:10.1002/sim.3230.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from escalation.numerics import distinct_rows, probability_below
from escalation.tally import Counts, Floats

_REACH = 6.0
"""The grid runs this many prior standard deviations to either side."""

_STEPS = (0.25, 0.19)
"""Steps of the grid in log alpha and log beta for 30 participants; finer with more, as posteriors narrow.

Against a grid of 361 x 361 nodes probabilities of intervals are then good to 1e-6, means to 1e-8.
"""

_FEWEST, _MOST = 33, 401

_CHUNK = 32
"""Rows integrated at once: few enough to stay in cache, and for the matrix product to stay on one thread."""


def _nodes(sd: float, step: float, participants: int) -> int:
    """Nodes along a parameter: an odd number, so that the prior mean is one of them."""
    fine = step * np.sqrt(30 / max(participants, 1))
    wanted = int(np.ceil(2 * _REACH * sd / fine)) + 1
    return min(max(wanted + 1 - wanted % 2, _FEWEST), _MOST)


@dataclass(frozen=True, slots=True)
class Summaries:
    """Posterior summaries, one row per trial.

    Attributes
    ----------
    mean, sd
        (S, L) posterior mean and standard deviation of the DLT probabilities.
    below
        (S, L, C) posterior probability that the DLT probability is below each cut.
    log_alpha, log_beta
        (S,) posterior means of the parameters.
    """

    mean: Floats
    sd: Floats
    below: Floats
    log_alpha: Floats
    log_beta: Floats


class LogisticPosterior:
    """Posterior summaries of a two-parameter logistic curve for rows of counts.

    Parameters
    ----------
    doses
        (L,) doses relative to the reference dose, above 0, increasing.
    mean, sd, correlation
        Prior means and standard deviations of (log alpha, log beta), and their correlation.
    cuts
        (C,) DLT probabilities that bound the intervals of interest, increasing.
    participants
        Most participants the grid is made for; with twice as many the error is still under 2e-4.
    """

    def __init__(
        self,
        doses: Floats,
        mean: tuple[float, float],
        sd: tuple[float, float],
        correlation: float,
        cuts: Floats,
        participants: int,
    ) -> None:
        self.log_dose = np.log(doses)
        first, second = (
            np.linspace(-_REACH, _REACH, _nodes(spread, step, participants))
            for spread, step in zip(sd, _STEPS, strict=True)
        )
        # log beta carries the standard normal z2; log alpha its own z1 and the share explained by z2
        self._inner = sd[0] * np.sqrt(1 - correlation**2) * first
        self._shift = mean[0] + sd[0] * correlation * second
        self._slope = np.exp(mean[1] + sd[1] * second)
        log_prior = -(first[:, None] ** 2 + second**2) / 2
        kept = log_prior > -(_REACH**2) / 2 - 1e-9
        self._kept = np.flatnonzero(kept.ravel())
        alpha = self._inner[:, None] + self._shift
        eta = alpha[None] + self._slope * self.log_dose[:, None, None]
        outcomes = np.concatenate([-np.logaddexp(0, -eta), -np.logaddexp(0, eta)])
        self._log_outcomes = outcomes.reshape(len(outcomes), -1)[:, self._kept]
        self._log_prior = log_prior.ravel()[self._kept]
        p = expit(eta)
        columns = [np.ones_like(log_prior), *p, *(p**2)]
        for level in range(len(doses)):
            columns += [self._below(level, float(cut)) for cut in logit(cuts)]
        columns += [np.broadcast_to(alpha, log_prior.shape), np.broadcast_to(np.log(self._slope), log_prior.shape)]
        self._columns = np.stack([column.ravel()[self._kept] for column in columns], axis=1)
        self._cuts = len(cuts)

    def _below(self, level: int, cut: float) -> Floats:
        """Weights of the nodes in the probability that logit p at a level is below a cut: shape of the grid."""
        bound = cut - self._shift - self._slope * self.log_dose[level]
        return probability_below(bound, self._inner).T

    def summaries(self, n: Counts, dlt: Counts) -> Summaries:
        """Posterior summaries from (S, L) counts; each distinct row of counts is integrated once."""
        counts = np.concatenate([dlt, n - dlt], axis=1).astype(np.int32)
        first, inverse = distinct_rows(counts)
        outcomes = counts[first].astype(float)
        sums = np.empty((len(first), self._columns.shape[1]))
        for start in range(0, len(first), _CHUNK):
            sums[start : start + _CHUNK] = self._density(outcomes[start : start + _CHUNK]) @ self._columns
        sums = (sums[:, 1:] / sums[:, :1])[inverse]
        levels = n.shape[1]
        mean, square = sums[:, :levels], sums[:, levels : 2 * levels]
        below = sums[:, 2 * levels : -2].reshape(len(sums), levels, self._cuts)
        return Summaries(mean, np.sqrt(np.maximum(square - mean**2, 0)), np.clip(below, 0, 1), sums[:, -2], sums[:, -1])

    def quantiles(self, q: Floats, n: Counts, dlt: Counts) -> Floats:
        """Posterior quantiles of the DLT probabilities, (S, L, Q), by bisection of the probability below a cut."""
        density = self._density(np.concatenate([dlt, n - dlt], axis=1).astype(float))
        density /= density.sum(axis=1, keepdims=True)
        found = np.empty((len(n), len(self.log_dose), len(q)))
        for row, level, k in np.ndindex(found.shape):
            low, high = -20.0, 20.0  # on the logit scale, where the cuts of the model are
            for _ in range(34):
                middle = (low + high) / 2
                weights = self._below(level, middle).ravel()[self._kept]
                low, high = (middle, high) if density[row] @ weights < q[k] else (low, middle)
            found[row, level, k] = expit((low + high) / 2)
        return found

    def _density(self, outcomes: Floats) -> Floats:
        density: Floats = outcomes @ self._log_outcomes
        density += self._log_prior
        # relative to the highest point: with many participants the likelihood itself underflows
        density -= density.max(axis=1, keepdims=True)
        np.exp(density, out=density)
        return density
