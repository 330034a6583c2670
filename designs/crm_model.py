"""One-parameter models of the CRM: the power model and the logistic model with a fixed intercept.

Both are one family. With g(p) = log p (power) or g(p) = logit p - a (logistic with intercept a),
and the skeleton s_k mapped to x_k = g(s_k) < 0, the DLT probability at level k is

    p_k(beta) = g^-1(exp(beta) x_k),    beta ~ N(0, prior variance)

so that beta = 0 gives the skeleton back. The posterior of beta is integrated by the trapezoid rule
on a fixed grid over (-10, 10). For a smooth integrand that is gone at both ends this rule converges
faster than any power of its step, as long as the step is no wider than about the posterior standard
deviation: the moments are good to 1e-9 (to 1e-6 at the largest prior variance, 4, whose tails reach
the ends). Gauss-Hermite nodes placed by the prior miss a posterior that has moved away from it.

References
----------
O'Quigley J, Pepe M, Fisher L (1990) Biometrics 46:33-48, doi:10.2307/2531628.
Lee SM, Cheung YK (2009) Clin Trials 6:227-238, doi:10.1177/1740774509105076 (the skeleton).
Cheung YK, Chappell R (2000) Biometrics 56:1177-1182, doi:10.1111/j.0006-341X.2000.01177.x (weights).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from escalation.numerics import probability_below
from escalation.tally import Counts, Floats, Indices

EDGE = 10.0
"""The grid, and the interval in which the likelihood is maximised, run from -EDGE to EDGE."""

_NODES = 401
_CHUNK = 64
"""Rows integrated at once: few enough to stay in cache, and for the matrix product to stay on one thread."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Participants without a DLT whose window is open, each with the weight of what was followed.

    Attributes
    ----------
    level
        (S, Q) position on the ladder, any where the weight is 0.
    weight
        (S, Q) from 0 to 1; 0 stands for no participant.
    """

    level: Indices
    weight: Floats

    def take(self, rows: slice) -> Partial:
        """The chosen rows."""
        return Partial(self.level[rows], self.weight[rows])


class OneParameterModel(ABC):
    """A one-parameter curve over the levels of a ladder, and what the data say about its parameter.

    Counts ``n`` and ``dlt`` are (S, L): participants with a complete window or a DLT, and those
    with a DLT. A participant in follow-up without a DLT adds the factor 1 - w p to the likelihood.

    Parameters
    ----------
    skeleton
        (L,) prior DLT probabilities.
    variance
        Prior variance of beta.
    """

    def __init__(self, skeleton: Floats, variance: float) -> None:
        self.skeleton = skeleton
        self.scores = self.score(skeleton)
        self.beta = np.linspace(-EDGE, EDGE, _NODES)
        scaled = np.exp(self.beta) * self.scores[:, None]
        self._at_nodes = self.inverse(scaled)
        self._log_outcomes = np.concatenate(self.log_outcomes(scaled))
        self._log_prior = -(self.beta**2) / (2 * variance)
        self._weight = np.ones(_NODES)
        self._weight[[0, -1]] = 0.5
        self._powers = self._weight[:, None] * self.beta[:, None] ** np.arange(3)

    @abstractmethod
    def score(self, p: npt.ArrayLike) -> Floats:
        """g(p), the number that exp(beta) multiplies."""

    @abstractmethod
    def inverse(self, score: Floats) -> Floats:
        """The DLT probability of a score."""

    @abstractmethod
    def log_outcomes(self, score: Floats) -> tuple[Floats, Floats]:
        """log p and log(1 - p) of a score, with all their digits."""

    def curve(self, beta: Floats) -> Floats:
        """DLT probabilities of the levels at given values of beta: (S, L)."""
        return self.inverse(np.exp(beta)[:, None] * self.scores)

    def moments(self, n: Counts, dlt: Counts, partial: Partial | None = None) -> tuple[Floats, Floats]:
        """Posterior mean and variance of beta, (S,) each."""
        sums = self._sums(self._powers, n, dlt, partial)
        mean = sums[:, 1] / sums[:, 0]
        return mean, sums[:, 2] / sums[:, 0] - mean**2

    def mean_curve(self, n: Counts, dlt: Counts, partial: Partial | None = None) -> Floats:
        """Posterior means of the DLT probabilities: (S, L)."""
        sums = self._sums(self._weight[:, None] * np.vstack([np.ones(_NODES), self._at_nodes]).T, n, dlt, partial)
        return sums[:, 1:] / sums[:, :1]

    def below(self, cut: float, n: Counts, dlt: Counts, partial: Partial | None = None) -> Floats:
        """Posterior probability that beta is below a cut, (S,)."""
        if not np.isfinite(cut):
            return np.full(len(n), float(cut > 0))
        under = self._weight * probability_below(np.array([cut]), self.beta)[0]
        sums = self._sums(np.stack([self._weight, under], axis=1), n, dlt, partial)
        return np.clip(sums[:, 1] / sums[:, 0], 0.0, 1.0)

    def quantiles(self, q: Floats, n: Counts, dlt: Counts, partial: Partial | None = None) -> Floats:
        """Posterior quantiles of beta, (S, Q), by bisection."""
        density = self._density(n, dlt, partial) * self._weight
        density /= density.sum(axis=1, keepdims=True)
        low, high = np.full((len(n), len(q)), -EDGE), np.full((len(n), len(q)), EDGE)
        for _ in range(45):
            middle = (low + high) / 2
            below = np.einsum("sqn,sn->sq", probability_below(middle, self.beta), density) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        found: Floats = (low + high) / 2
        return found

    def cut(self, level: int, threshold: float) -> float:
        """The beta at which a level (counted from 0) has a DLT probability; it is above it for smaller beta.

        Minus infinity when the model cannot put the level there.
        """
        score = float(self.score(threshold))
        return float(np.log(score / self.scores[level])) if score < 0 else -np.inf

    def most_likely(self, n: Counts, dlt: Counts, partial: Partial | None = None) -> Floats:
        """Maximum likelihood estimate of beta, (S,); an end of the grid where there is no maximum within it.

        The best node of the grid, refined between its neighbours by golden section.
        """
        best = self._likelihood_at_nodes(n, dlt, partial).argmax(axis=1)
        low, high = self.beta[np.maximum(best - 1, 0)], self.beta[np.minimum(best + 1, _NODES - 1)]
        ratio = (np.sqrt(5) - 1) / 2
        for _ in range(40):
            left, right = high - ratio * (high - low), low + ratio * (high - low)
            up = self._likelihood(left, n, dlt, partial) < self._likelihood(right, n, dlt, partial)
            low, high = np.where(up, left, low), np.where(up, high, right)
        found: Floats = np.where(best == 0, -EDGE, np.where(best == _NODES - 1, EDGE, (low + high) / 2))
        return found

    def variance_at(self, beta: Floats, n: Counts, dlt: Counts, partial: Partial | None = None) -> Floats:
        """Inverse of the curvature of the log likelihood at values of beta, (S,); infinite where it is flat."""
        step = 1e-3
        values = [self._likelihood(beta + move, n, dlt, partial) for move in (-step, 0.0, step)]
        curvature = (2 * values[1] - values[0] - values[2]) / step**2
        variance: Floats = np.where(curvature > 1e-6, 1 / np.maximum(curvature, 1e-6), np.inf)
        return variance

    def _sums(self, weights: Floats, n: Counts, dlt: Counts, partial: Partial | None) -> Floats:
        """The posterior density summed with each column of ``weights``: (S, columns)."""
        sums = np.empty((len(n), weights.shape[1]))
        for first in range(0, len(n), _CHUNK):
            rows = slice(first, first + _CHUNK)
            sums[rows] = self._density(n[rows], dlt[rows], partial and partial.take(rows)) @ weights
        return sums

    def _density(self, n: Counts, dlt: Counts, partial: Partial | None) -> Floats:
        density = self._likelihood_at_nodes(n, dlt, partial)
        density += self._log_prior
        # relative to the highest point: with many participants the likelihood itself underflows
        density -= density.max(axis=1, keepdims=True)
        np.exp(density, out=density)
        return density

    def _likelihood_at_nodes(self, n: Counts, dlt: Counts, partial: Partial | None) -> Floats:
        outcomes = np.concatenate([dlt, n - dlt], axis=1).astype(float)
        likelihood: Floats = outcomes @ self._log_outcomes
        if partial is not None and partial.weight.shape[1]:
            likelihood += _log_product(1.0 - partial.weight[:, :, None] * self._at_nodes[partial.level])
        return likelihood

    def _likelihood(self, beta: Floats, n: Counts, dlt: Counts, partial: Partial | None) -> Floats:
        yes, no = self.log_outcomes(np.exp(beta)[:, None] * self.scores)
        likelihood: Floats = (dlt * yes + (n - dlt) * no).sum(axis=1)
        if partial is not None and partial.weight.shape[1]:
            p = np.take_along_axis(self.curve(beta), partial.level, axis=1)
            likelihood += _log_product((1.0 - partial.weight * p)[:, :, None])[:, 0]
        return likelihood


def _log_product(factors: Floats) -> Floats:
    """Logarithm of the product over axis 1: one logarithm instead of many."""
    with np.errstate(divide="ignore", under="ignore"):
        logarithm: Floats = np.log(factors.prod(axis=1))
    return logarithm


class PowerModel(OneParameterModel):
    """The power ("empiric") model p_k = s_k ** exp(beta)."""

    def score(self, p: npt.ArrayLike) -> Floats:
        return np.asarray(np.log(p))

    def inverse(self, score: Floats) -> Floats:
        return np.asarray(np.exp(score))

    def log_outcomes(self, score: Floats) -> tuple[Floats, Floats]:
        # through expm1, so that p close to 1 keeps its digits
        return score, np.log(-np.expm1(score))


class LogisticModel(OneParameterModel):
    """The one-parameter logistic model logit p_k = a + exp(beta) x_k with a fixed intercept a."""

    def __init__(self, skeleton: Floats, variance: float, intercept: float = 3.0) -> None:
        self.intercept = intercept
        super().__init__(skeleton, variance)

    def score(self, p: npt.ArrayLike) -> Floats:
        return np.asarray(logit(np.asarray(p, dtype=float))) - self.intercept

    def inverse(self, score: Floats) -> Floats:
        return np.asarray(expit(score + self.intercept))

    def log_outcomes(self, score: Floats) -> tuple[Floats, Floats]:
        return -np.logaddexp(0.0, -score - self.intercept), -np.logaddexp(0.0, score + self.intercept)


def indifference_skeleton(
    target: float, halfwidth: float, prior_mtd: int, levels: int, intercept: float | None = None
) -> Floats:
    """The skeleton whose neighbouring levels meet at the edges of the indifference interval (``getprior``).

    At the value of beta that puts level k at target - halfwidth, level k+1 lies at target + halfwidth,
    for every k; level ``prior_mtd`` (counted from 1) has the target itself.

    Parameters
    ----------
    target, halfwidth
        The indifference interval runs from target - halfwidth to target + halfwidth, inside 0 to 1.
    prior_mtd, levels
        Level thought to be the MTD, and how many levels there are.
    intercept
        Of the logistic model, above logit(target + halfwidth); None for the power model.

    Examples
    --------
    >>> indifference_skeleton(0.25, 0.05, prior_mtd=3, levels=5).round(3)
    array([0.084, 0.157, 0.25 , 0.355, 0.46 ])
    >>> indifference_skeleton(0.25, 0.05, prior_mtd=3, levels=5, intercept=3).round(3)
    array([0.089, 0.158, 0.25 , 0.355, 0.462])
    """

    def score(p: float) -> float:
        return float(np.log(p)) if intercept is None else float(logit(p)) - intercept

    steps = np.arange(1.0, levels + 1) - prior_mtd
    scores = score(target) * (score(target + halfwidth) / score(target - halfwidth)) ** steps
    return np.asarray(np.exp(scores) if intercept is None else expit(scores + intercept))
