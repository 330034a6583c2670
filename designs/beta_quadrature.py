"""Gauss rules of beta distributions, polynomials through their nodes, and how much of them lies above a cut.

A polynomial is kept as its values at the nodes of a Gauss rule; between them stands the Lagrange basis.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaln, eval_jacobi, gammaln, roots_jacobi

from escalation.tally import Floats


def beta_rule(count: int, a: float, b: float) -> tuple[Floats, Floats]:
    """Nodes and weights that give the mean of any polynomial of degree below 2 count under Beta(a, b): (count,) each.

    Examples
    --------
    >>> nodes, weights = beta_rule(3, 2.0, 1.0)
    >>> float((weights @ nodes**5).round(12)), round(2 / 7, 12)
    (0.285714285714, 0.285714285714)
    """
    with np.errstate(invalid="ignore"):  # a branch scipy does not take divides by zero when a + b is 1
        nodes, weights = roots_jacobi(count, b - 1, a - 1)
    return (1 + nodes) / 2, weights / weights.sum()


def lagrange(nodes: Floats, at: Floats) -> Floats:
    """The Lagrange basis of the nodes at the points: the shape of ``at`` and (N,) behind it."""
    # a common factor cancels; this one keeps the products of many gaps from underflowing
    gaps = (nodes[:, None] - nodes) * 4 / (nodes[-1] - nodes[0] if nodes.size > 1 else 1.0) + np.eye(nodes.size)
    distance = at[..., None] - nodes
    hit = distance == 0
    share = 1 / (gaps.prod(axis=1) * np.where(hit, 1.0, distance))
    share /= share.sum(axis=-1, keepdims=True)
    basis: Floats = np.where(hit.any(axis=-1, keepdims=True), hit, share)
    return basis


def share_above(nodes: Floats, a: float, b: float, cut: Floats) -> Floats:
    """Mean of every basis polynomial under Beta(a, b) above a cut, as a share of its whole mean.

    The nodes are those of the Gauss rule of Beta(a, b). Each basis polynomial is a sum of Jacobi polynomials, whose
    integral times the density has a closed form, so the result is exact.

    Parameters
    ----------
    nodes
        (N,)
    cut
        Any shape, above 0; at 1 or more nothing is above it.

    Returns
    -------
    The shape of ``cut`` and N behind it.

    Examples
    --------
    >>> nodes, weights = beta_rule(4, 2.0, 1.5)
    >>> share = share_above(nodes, 2.0, 1.5, np.array(0.7))
    >>> round(float(weights @ share), 6), round(1 - float(betainc(2.0, 1.5, 0.7)), 6)
    (0.336849, 0.336849)
    """
    inside = np.minimum(cut, 1.0)
    above = np.repeat((1 - betainc(a, b, inside))[..., None], nodes.size, axis=-1)
    edge = np.where(inside < 1, 1 - inside, 0.0)
    edge = edge**b * inside**a / np.exp(betaln(a, b))
    for k in range(1, nodes.size):
        square = gammaln(k + a) + gammaln(k + b) - gammaln(k + a + b - 1) - gammaln(k + 1) - betaln(a, b)
        square = np.exp(square) / (2 * k + a + b - 1)
        integral = edge * eval_jacobi(k - 1, b, a, 2 * inside - 1) / k
        above += integral[..., None] * eval_jacobi(k, b - 1, a - 1, 2 * nodes - 1) / square
    return above


def rule_above(count: int, a: float, b: float, low: Floats) -> tuple[Floats, Floats]:
    """Nodes and weights for Beta(a, b) between ``low`` and 1: the shape of ``low`` and (count,) behind it, each."""
    nodes, weights = roots_jacobi(count, b - 1, 0.0)
    length = np.maximum(1 - low, 0.0)[..., None]
    x = 1 - length * (1 - nodes) / 2
    return x, weights / 2**b * length**b * np.exp((a - 1) * np.log(x) - betaln(a, b))
