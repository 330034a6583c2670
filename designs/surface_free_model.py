"""The posterior of the surface-free design: connections between neighbouring regimens with beta priors.

The probability of no DLT is a product of connections along the way from the lowest regimen,
1 - p_ij = theta (phi_2 ... phi_j) (tau_2 ... tau_i): theta of the lowest regimen itself, phi for every step
in dose, tau for every step in frequency, independent Beta a priori. The posterior is not conjugate. The authors
sample it by Markov chains; here it is integrated, so that nothing is random.

The partial products C_j = theta phi_2 ... phi_j along the longer axis are a Markov chain, and given the connections
of the shorter axis the likelihood is a polynomial in each C_j. Expectations over a connection carry the polynomial
from one C_j to the next, as its values at Gauss nodes; the connections of the shorter axis are summed over the Gauss
nodes of their priors, of as many as the participants at and beyond them ask for. Posterior means are then good to
1e-5. The share of a regimen's distribution above a cut is integrated exactly against these polynomials; such
probabilities are good to .001.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import xlogy

from designs.beta_quadrature import beta_rule, lagrange, rule_above, share_above
from escalation.numerics import distinct_rows
from escalation.tally import Counts, Floats

_FINE = 24
"""Nodes of the integrals above a cut, which are worked out once."""
_CHUNK = 100_000
"""Numbers held at once: few enough to stay in cache."""


def _chain_nodes(participants: Counts) -> Counts:
    """Nodes of every C_j: as posteriors narrow with the root of the participants, so must the nodes."""
    count: Counts = np.maximum(2 * np.ceil(1.45 * np.sqrt(participants)), 16).astype(np.int32)
    return count


def _cross_nodes(participants: Counts) -> Counts:
    """Nodes of a connection across, by the participants at and beyond it; one where it has its prior distribution."""
    wanted = np.maximum(2 * np.ceil(np.sqrt(participants) + 0.5), 8)
    return np.where(participants > 0, wanted, 1).astype(np.int32)


@dataclass(frozen=True, slots=True)
class SurfaceSummaries:
    """Posterior summaries, one row per trial.

    Attributes
    ----------
    connections
        (S, D + F - 1) posterior means: of the lowest regimen's, of every step in dose, of every step in frequency.
    mean
        (S, K) posterior means of the DLT probabilities.
    above
        (S, K) posterior probabilities that the DLT probability is above the cut.
    """

    connections: Floats
    mean: Floats
    above: Floats


class _Tables:
    """What the integration needs for one choice of nodes.

    Parameters
    ----------
    a, b
        (J + I - 1,) parameters of the priors, those of the chain first.
    levels
        I levels across and J along the chain.
    chain_nodes, cross_nodes
        Nodes of every C_j and of every connection across.
    """

    def __init__(
        self, a: Floats, b: Floats, levels: tuple[int, int], chain_nodes: int, cross_nodes: tuple[int, ...]
    ) -> None:
        self.across, self.along = levels
        self._a, self._b, self._cross_nodes = a, b, cross_nodes
        # the density of C_j near 1 is that of a beta variable whose second parameter is the sum of those so far
        self._chain_a, self._chain_b = float(a[: self.along].min()), np.cumsum(b[: self.along])
        self.nodes = [beta_rule(chain_nodes, self._chain_a, float(total))[0] for total in self._chain_b]
        first, weight = beta_rule(chain_nodes, float(a[0]), float(b[0]))
        self.start = weight @ lagrange(self.nodes[0], first)
        self.onward, self.onward_mean = [], []
        for j in range(1, self.along):
            connection, weight = beta_rule(chain_nodes, float(a[j]), float(b[j]))
            basis = lagrange(self.nodes[j], self.nodes[j - 1][:, None] * connection)
            self.onward.append(np.einsum("q,aqb->ab", weight, basis))
            self.onward_mean.append(np.einsum("q,aqb->ab", weight * connection, basis))
        self.rules = [
            beta_rule(count, float(a[self.along + i]), float(b[self.along + i])) for i, count in enumerate(cross_nodes)
        ]
        steps = np.meshgrid(*(nodes for nodes, _ in self.rules), indexing="ij")
        weights = np.meshgrid(*(weight for _, weight in self.rules), indexing="ij")
        count = int(np.prod(cross_nodes))
        self.steps = np.array([step.ravel() for step in steps]).reshape(-1, count)  # (I - 1, R)
        self.weight = np.prod([weight.ravel() for weight in weights], axis=0) if weights else np.ones(1)
        self.cross = np.concatenate([np.ones((1, count)), np.cumprod(self.steps, axis=0)])  # (I, R)
        free = [(self.cross[:, :, None] * nodes).reshape(self.across, -1) for nodes in self.nodes]
        self.free = np.array(free)  # probabilities of no DLT: (J, I, R * G)
        self.log_free, self.log_dlt = np.log(self.free), np.log1p(-self.free)
        self._at_least: dict[float, Floats] = {}

    def at_least(self, cut: float) -> Floats:
        """Shares of every node that lie above a probability of no DLT: (J, I, R * G)."""
        if cut not in self._at_least:
            shape = (*self._cross_nodes, self.nodes[0].size)
            found = np.empty((self.along, self.across, *shape))
            for j in range(self.along):
                for i, part in enumerate(self._shares(j, cut)):
                    behind = (1,) * (self.across - 1 - i)
                    found[j, i] = part.reshape(*self._cross_nodes[:i], *behind, shape[-1])
            self._at_least[cut] = found.reshape(self.along, self.across, -1)
        return self._at_least[cut]

    def _shares(self, j: int, cut: float) -> Iterator[Floats]:
        """Shares above a cut of C_j times the first 0, 1, ... connections across: nodes across by G, each.

        Near 1 the share above a cut c is a power of 1 - c, the sum of the second parameters, times a smooth function.
        That function is known at a few points, and from them everywhere, before the next connection is multiplied on.
        """
        count = self.nodes[j].size  # as many points as the polynomials have coefficients
        points, _ = beta_rule(count, 1.0, 1.0)
        points = cut + (1 - cut) * points
        power = float(self._chain_b[j])
        smooth = share_above(self.nodes[j], self._chain_a, power, points) / (1 - points[:, None]) ** power
        yield share_above(self.nodes[j], self._chain_a, power, np.array(cut))
        for (nodes, weights), a, b in zip(self.rules, self._a[self.along :], self._b[self.along :], strict=True):
            found = []
            for c in (cut, *points):
                x, fine = rule_above(_FINE, float(a), float(b), np.array(c))
                inner = lagrange(points, c / x) @ smooth * ((1 - c / x) ** power)[:, None]
                found.append((inner.T @ (fine[:, None] * lagrange(nodes, x) / weights)).ravel())
            power += float(b)
            yield found[0].reshape(-1, count, nodes.size).swapaxes(1, 2)
            smooth = np.array(found[1:]) / (1 - points[:, None]) ** power
            smooth = smooth.reshape(count, -1, count, nodes.size).swapaxes(2, 3).reshape(count, -1)


class SurfacePosterior:
    """Posterior summaries of the surface-free model for rows of counts.

    Parameters
    ----------
    mean
        (D + F - 1,) prior means of the connections: the lowest regimen's, every step in dose, every step in frequency.
    strength
        Sum of the two parameters of every Beta prior.
    shape
        Numbers of frequencies and doses.
    """

    def __init__(self, mean: Floats, strength: float, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._turned = shape[0] > shape[1]  # the chain runs along the longer axis
        order = np.arange(mean.size)
        if self._turned:
            order = np.concatenate([[0], order[shape[1] :], order[1 : shape[1]]])
        self._order = order
        self._levels = (min(shape), max(shape))
        self._a, self._b = strength * mean[order], strength * (1 - mean[order])
        self._known: dict[tuple[int, ...], _Tables] = {}
        self._last: tuple[tuple[bytes, bytes, float], SurfaceSummaries] | None = None

    @cached_property
    def prior(self) -> Floats:
        """(K,) prior means of the DLT probabilities."""
        nothing = np.zeros((1, self._shape[0] * self._shape[1]), dtype=np.int32)
        found: Floats = self.summaries(nothing, nothing, 0.5).mean[0]
        return found

    def summaries(self, n: Counts, dlt: Counts, cut: float) -> SurfaceSummaries:
        """Posterior summaries from (S, K) counts; each distinct row of counts is integrated once."""
        n, dlt = np.asarray(n, dtype=np.int32), np.asarray(dlt, dtype=np.int32)
        asked = (n.tobytes(), dlt.tobytes(), cut)
        if self._last is not None and self._last[0] == asked:  # deciding and selecting ask about the same rows
            return self._last[1]
        connections, mean, above = self._integrated(n, dlt, (cut,))
        found = SurfaceSummaries(connections, mean, above[:, 0])
        self._last = asked, found
        return found

    def above(self, n: Counts, dlt: Counts, cuts: tuple[float, ...]) -> Floats:
        """Posterior probabilities that the DLT probabilities are above each cut: (S, C, K)."""
        return self._integrated(n, dlt, cuts)[2]

    def _integrated(self, n: Counts, dlt: Counts, cuts: tuple[float, ...]) -> tuple[Floats, Floats, Floats]:
        regimens = n.shape[1]
        first, inverse = distinct_rows(np.concatenate([n, dlt], axis=1).astype(np.int32))
        cells, toxic = (self._along(counts[first]) for counts in (n, dlt))
        mean = np.empty((first.size, regimens))
        above = np.empty((first.size, len(cuts), regimens))
        connections = np.empty((first.size, self._order.size))
        keys = self._keys(cells)
        for key in np.unique(keys, axis=0):
            rows = np.flatnonzero((keys == key).all(axis=1))
            tables = self._tables(tuple(key.tolist()))
            size = max(_CHUNK // tables.free[:, 0].size, 1)
            for start in range(0, rows.size, size):
                part = rows[start : start + size]
                found = _integrate(tables, cells[part], toxic[part], cuts)
                connections[part[:, None], self._order] = found[0]
                mean[part], above[part] = self._back(found[1]), self._back(found[2])
        return connections[inverse], mean[inverse], np.clip(above[inverse], 0, 1)

    def _along(self, counts: Counts) -> Floats:
        """Counts with the chain along the last axis: (S, I, J)."""
        cells = counts.reshape(-1, *self._shape).astype(float)
        return cells.swapaxes(1, 2) if self._turned else cells

    def _back(self, values: Floats) -> Floats:
        """Values (..., I, J) by regimen: (..., K)."""
        cells = values.swapaxes(-1, -2) if self._turned else values
        return cells.reshape(*values.shape[:-2], -1)

    def _keys(self, cells: Floats) -> Counts:
        """The numbers of nodes every row asks for, by its own counts alone: (S, 1 + I - 1)."""
        beyond = np.cumsum(cells.sum(axis=2)[:, ::-1], axis=1)[:, ::-1]
        return np.concatenate([_chain_nodes(beyond[:, :1]), _cross_nodes(beyond[:, 1:])], axis=1)

    def _tables(self, key: tuple[int, ...]) -> _Tables:
        if key not in self._known:
            self._known[key] = _Tables(self._a, self._b, self._levels, key[0], key[1:])
        return self._known[key]


def _integrate(tables: _Tables, cells: Floats, toxic: Floats, cuts: tuple[float, ...]) -> tuple[Floats, Floats, Floats]:
    """Means of the connections, chain first; means of the DLT probabilities and their shares above the cuts."""
    rows, across, along = cells.shape
    count, nodes = tables.weight.size, tables.start.size
    free = cells - toxic
    # relative to the largest value the likelihood of a regimen can take: with many participants it underflows
    scale = xlogy(toxic, np.divide(toxic, cells, where=cells > 0, out=np.ones_like(cells)))
    scale += xlogy(free, np.divide(free, cells, where=cells > 0, out=np.ones_like(cells)))
    seen = np.flatnonzero(cells.any(axis=(0, 1)))
    last = int(seen[-1]) if seen.size else -1
    likelihood = np.ones((along, rows, count, nodes))
    for j in range(last + 1):
        log = free[:, :, j] @ tables.log_free[j] + toxic[:, :, j] @ tables.log_dlt[j]
        log -= scale[:, :, j].sum(axis=1)[:, None]
        likelihood[j] = np.exp(log).reshape(rows, count, nodes)
    # what lies ahead on the chain, as a polynomial in C_j
    ahead = list(likelihood)
    for j in range(last - 1, -1, -1):
        ahead[j] = likelihood[j] * (ahead[j + 1] @ tables.onward[j].T)
    # what lies behind, as weights of the nodes of C_j
    behind = np.broadcast_to(tables.weight[:, None] * tables.start, (rows, count, nodes))
    total = (behind * ahead[0]).sum(axis=(1, 2))
    mean = np.empty((rows, across, along))
    above = np.empty((rows, len(cuts), across, along))
    connections = np.empty((rows, along + across - 1))
    for j in range(along):
        weight = (behind * ahead[j] / total[:, None, None]).reshape(rows, -1)
        mean[:, :, j] = 1 - weight @ tables.free[j].T
        for position, cut in enumerate(cuts):
            above[:, position, :, j] = 1 - weight @ tables.at_least(1 - cut)[j].T
        if j == 0:
            connections[:, 0] = 1 - mean[:, 0, 0]
            connections[:, along:] = weight.reshape(rows, count, nodes).sum(axis=2) @ tables.steps.T
        if j + 1 < along:
            passed = behind * likelihood[j]
            ratio = passed * (ahead[j + 1] @ tables.onward_mean[j].T)
            connections[:, j + 1] = ratio.sum(axis=(1, 2)) / total
            behind = passed @ tables.onward[j]
    return connections, mean, above
