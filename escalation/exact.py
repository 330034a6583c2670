"""The exact engine: operating characteristics without Monte Carlo error.

Outcomes depend only on the regimen, so the probability of a terminal state under any truth p is
``ways * prod_k p_k^dlt_k (1 - p_k)^(n_k - dlt_k)``. The reachable states are
found once for a rule by a forward walk that merges equal states; after that every assumed toxicity
curve costs one matrix product. A participant without a DLT whose grade was read has the factor m_k
with a moderate toxicity and 1 - p_k - m_k without one, in place of 1 - p_k; see ``titration_walk``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import comb

from escalation.branching import Front, branch, decide, merge, merge_front, onward, scaled
from escalation.errors import EngineError, StateBudgetError
from escalation.numerics import distinct_rows, sum_by
from escalation.rule import Rule
from escalation.tally import Bools, Counts, Floats, Tally
from escalation.titration_walk import Courses, Titrated, titration_walk

STATE_BUDGET = 500_000
"""Most rows the walk may hold, terminal ones included, before it gives up."""

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much in all."""


@dataclass(frozen=True)
class Graph:
    """The terminal states of a rule, for every truth at once.

    Attributes
    ----------
    n, dlt
        (T, K) evaluable participants and participants with a DLT in escalation.
    ways
        (T,) number of outcome sequences that end in the state; (T, C) those from each exit of a titration that
        reads grades.
    selected
        (T, K) what is selected when escalation ends there.
    reason
        (T,) why it ended, an index into the rule's catalogue.
    expansion_n, expansion_dlt
        (T,) the same counts for the expansion stage, at the selected regimen; zero without one.
    withdrawn
        (T,) whether the expansion stage withdrew the recommendation.
    states
        Distinct states in which a decision was taken.
    courses
        The courses such a titration can take, None under a rule that does not read grades.
    """

    rule: Rule
    n: Counts
    dlt: Counts
    ways: Floats
    selected: Bools
    reason: Counts
    expansion_n: Counts
    expansion_dlt: Counts
    withdrawn: Bools
    states: int
    courses: Courses | None = None

    @property
    def rows(self) -> int:
        """Terminal states T."""
        return int(self.n.shape[0])

    @cached_property
    def _exponents(self) -> tuple[Floats, Floats, Floats | None]:
        there = self.selected & (self.expansion_n > 0)[:, None]
        dlt = self.dlt + there * self.expansion_dlt[:, None]
        total = self.n + there * self.expansion_n[:, None]
        return dlt.T.astype(float), (total - dlt).T.astype(float), np.log(self.ways) if self.courses is None else None

    def probabilities(self, truths: npt.ArrayLike, moderate: npt.ArrayLike | None = None) -> Floats:
        """Probability of every terminal state under every truth.

        Parameters
        ----------
        truths
            (M, K) DLT probabilities, one truth per row, or (K,) for a single truth.
        moderate
            Probabilities of a moderate toxicity in the same shape, zero when None; read only under a rule that reads
            grades.

        Returns
        -------
        (M, T); every row sums to 1.
        """
        p = np.atleast_2d(np.asarray(truths, dtype=float))
        dlt, clear, log_ways = self._exponents
        with np.errstate(divide="ignore"):
            yes = np.maximum(np.log(p), -1e5)  # a finite stand-in: 0 * log 0 is 0, k * log 0 underflows to 0
            no = np.maximum(np.log1p(-p), -1e5)
        if self.courses is None:
            probability: Floats = np.exp(yes @ dlt + no @ clear + log_ways)
            return probability
        m = np.zeros_like(p) if moderate is None else np.atleast_2d(np.asarray(moderate, dtype=float))
        return np.asarray(np.exp(yes @ dlt + no @ clear) * (self.courses.chances(p, m) @ self.ways.T))

    def expected_moderate(self, truth: Floats, moderate: Floats) -> Floats:
        """Mean number of participants of escalation with a moderate toxicity in every terminal state: (T, K).

        Those whose grade was not read had one with probability m / (1 - p), given that they had no DLT.
        """
        share = np.divide(moderate, 1 - truth, out=np.zeros_like(truth), where=truth < 1)
        expected = np.asarray((self.n - self.dlt) * share)
        if self.courses is None:
            return expected
        known = self.ways @ self.courses.excess(truth, moderate)
        chance = self.ways @ self.courses.chances(truth[None], moderate[None])[0]
        known = np.divide(known, chance[:, None], out=np.zeros_like(known), where=chance[:, None] > 0)
        return np.asarray(expected + known)


@dataclass(slots=True)
class _Terminal:
    """Terminal rows collected along the walk."""

    n: list[Counts]
    dlt: list[Counts]
    ways: list[Floats]
    selected: list[Bools]
    reason: list[Counts]

    def add(self, rule: Rule, tally: Tally, reason: Counts, ways: Floats) -> None:
        self.n.append(tally.n)
        self.dlt.append(tally.dlt)
        self.ways.append(ways)
        self.selected.append(rule.select(tally, reason))
        self.reason.append(reason)


def compile_graph(rule: Rule, *, budget: int = STATE_BUDGET, progress: Progress | None = None) -> Graph:
    """Find every state a rule can reach.

    Parameters
    ----------
    rule
        The design with its guards and expansion stage.
    budget
        Most rows held, terminal ones included.
    progress
        Told the participants treated so far and the most there can be.

    Raises
    ------
    StateBudgetError
        When the states outgrow the budget.
    EngineError
        When the design does not end by itself, or waits although every window is complete.
    """
    most_cohorts = rule.max_patients
    ends = _Terminal([], [], [], [], [])
    front, states, last = Front.start(rule), 0, 0
    titrated = titration_walk(rule, budget) if rule.reads_grades else None
    if titrated is not None:
        front, states, last = titrated.nobody(rule), titrated.states, titrated.last
        for tally, reason, ways in titrated.ended:
            ends.add(rule, tally, reason, ways)
    for cohorts in range(most_cohorts + 1):
        if titrated is not None:
            front = titrated.joined(front, cohorts)
            if not front.rows and cohorts < last:
                continue
        if not front.rows:
            return _assemble(rule, ends, states, titrated)
        if progress:
            progress(int(front.n[0].sum()), most_cohorts)
        branches = merge(branch(front), keep_cohort=rule.uses_last_cohort)
        states += branches.tally.rows
        held = branches.tally.rows + sum(len(part) for part in ends.ways)
        if held > budget:
            raise StateBudgetError(held, budget)
        decisions = decide(rule, branches.tally)
        over = decisions.stops
        if over.any():
            ends.add(rule, branches.tally.take(over), decisions.reason[over], branches.ways[over])
        front, _ = onward(branches, decisions)
        if not front.rows and cohorts >= last:
            return _assemble(rule, ends, states, titrated)
        if rule.uses_last_cohort or decisions.allocation is not None:
            front = merge_front(front)
    raise EngineError(f"{rule.design.title} did not end within {most_cohorts} participants; correct its decide()")


def _assemble(rule: Rule, ends: _Terminal, states: int, titrated: Titrated | None) -> Graph:
    """Terminal rows merged, with the expansion stage walked from each."""
    n, dlt = np.concatenate(ends.n), np.concatenate(ends.dlt)
    ways, selected = np.concatenate(ends.ways), np.concatenate(ends.selected)
    reason = np.concatenate(ends.reason)
    first, inverse = distinct_rows(
        np.concatenate([n, dlt, reason[:, None], selected.astype(np.int32)], axis=1, dtype=np.int32)
    )
    ways = sum_by(inverse, ways, len(first))
    n, dlt, selected, reason = n[first], dlt[first], selected[first], reason[first]
    nothing = np.zeros(len(first), np.int32)
    courses = None if titrated is None else titrated.courses
    graph = Graph(rule, n, dlt, ways, selected, reason, nothing, nothing, nothing.astype(bool), states, courses)
    return graph if rule.expansion is None else _expand(graph)


def _expand(graph: Graph) -> Graph:
    """Every terminal row with every course its expansion stage can take."""
    stage = graph.rule.expansion
    assert stage is not None
    row = np.arange(graph.rows)
    stage_n = np.zeros(graph.rows, np.int32)
    stage_dlt = np.zeros(graph.rows, np.int32)
    ways = graph.ways
    chosen = graph.selected.any(axis=1)
    at = np.argmax(graph.selected, axis=1)
    none = np.asarray(~chosen)
    done: list[tuple[Counts, Counts, Counts, Bools, Floats]] = [
        (row[none].astype(np.int32), stage_n[none], stage_dlt[none], graph.withdrawn[none], ways[none])
    ]
    row, stage_n, stage_dlt, ways = row[chosen], stage_n[chosen], stage_dlt[chosen], ways[chosen]
    while row.size:
        group = stage.next_group(int(stage_n[0]))  # every open row has the same number so far
        seen = np.arange(group + 1)
        row, ways = np.repeat(row, group + 1), np.repeat(ways, group + 1, axis=0)
        stage_n = np.repeat(stage_n, group + 1) + np.int32(group)
        stage_dlt = (np.repeat(stage_dlt, group + 1) + np.tile(seen, len(stage_dlt))).astype(np.int32)
        ways = scaled(ways, np.tile(comb(group, seen), len(row) // (group + 1)))
        first, inverse = distinct_rows(np.stack([row, stage_n, stage_dlt], axis=1).astype(np.int32))
        ways = sum_by(inverse, ways, len(first))
        row, stage_n, stage_dlt = row[first], stage_n[first], stage_dlt[first]
        known_n, known_dlt = graph.n[row, at[row]], graph.dlt[row, at[row]]
        withdrawn = stage.withdraws(known_n, known_dlt, stage_n, stage_dlt)
        over = withdrawn | (stage_n >= stage.size)
        done.append((row[over].astype(np.int32), stage_n[over], stage_dlt[over], withdrawn[over], ways[over]))
        row, stage_n, stage_dlt, ways = row[~over], stage_n[~over], stage_dlt[~over], ways[~over]
    rows, counts, dlts, withdrawals, totals = (np.concatenate(part) for part in zip(*done, strict=True))
    return Graph(
        rule=graph.rule,
        n=graph.n[rows],
        dlt=graph.dlt[rows],
        ways=totals,
        selected=graph.selected[rows],
        reason=graph.reason[rows],
        expansion_n=counts,
        expansion_dlt=dlts,
        withdrawn=withdrawals.astype(bool),
        states=graph.states,
        courses=graph.courses,
    )
