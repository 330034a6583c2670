"""The courses titration can take when it reads grades, walked once before the cohorts of the design.

While a trial titrates, every participant without a DLT is told apart by grade. Afterwards grades matter to nobody, so
the exact engine goes on from the states in which titration is left, without them: it keeps in one column for each such
state how many ways lead on from there, and here is kept how likely the courses are that lead to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from escalation.branching import Branches, Front, branch, decide, onward
from escalation.errors import EngineError, StateBudgetError
from escalation.grades import Grades, taken
from escalation.numerics import distinct_rows
from escalation.rule import Rule
from escalation.tally import Bools, Counts, Floats, Indices, Tally


@dataclass(frozen=True)
class Courses:
    """Courses of titration: which participants had a moderate toxicity on the way to which exit.

    Attributes
    ----------
    moderate, graded
        (P, K) participants without a DLT with a moderate toxicity, and all of them.
    ways
        (P,) weight of the course: 1, or the probabilities of randomised allocations.
    exit
        (P,) the exit it leads to: a state in which titration is left, or in which the trial ends.
    exits
        How many exits there are, C.
    """

    moderate: Counts
    graded: Counts
    ways: Floats
    exit: Indices
    exits: int

    @cached_property
    def _leads_to(self) -> Floats:
        table = np.zeros((len(self.exit), self.exits))
        table[np.arange(len(self.exit)), self.exit] = self.ways
        return table

    def _each(self, p: Floats, m: Floats) -> Floats:
        """Probability of the grades of every course, given that nobody in it has a DLT: (M, P)."""
        had = _given_no_dlt(p, m)
        chance = np.ones((len(p), len(self.ways)))
        for k in range(had.shape[1]):
            one, none = had[:, k, None], 1 - had[:, k, None]
            chance *= one ** self.moderate[:, k] * none ** (self.graded[:, k] - self.moderate[:, k])
        return chance

    def chances(self, p: Floats, m: Floats) -> Floats:
        """Probability of the grades on the way to every exit, given no DLT, under every truth: (M, K) to (M, C)."""
        return np.asarray(self._each(p, m) @ self._leads_to)

    def excess(self, p: Floats, m: Floats) -> Floats:
        """The same for one truth times the moderate toxicities beyond those expected without grades: (C, K)."""
        one, graded = self._each(p[None], m[None])[0], _given_no_dlt(p, m)
        return np.asarray((self._leads_to * one[:, None]).T @ (self.moderate - self.graded * graded))


def _given_no_dlt(p: Floats, m: Floats) -> Floats:
    """Probability of a moderate toxicity in a participant without a DLT."""
    share = np.divide(m, 1 - p, out=np.zeros_like(m), where=p < 1)
    return np.asarray(np.minimum(share, 1.0))  # a hair above 1 where p + m is 1


@dataclass
class Titrated:
    """What the walk through titration leads to.

    Attributes
    ----------
    leaving
        Fronts that leave titration, by the number of cohorts before; their ways have one column for every exit.
    ended
        Rows in which the trial ends while it titrates, with the reason and the exit of each.
    states
        States in which a decision was taken.
    """

    courses: Courses
    leaving: dict[int, Front]
    ended: list[tuple[Tally, Counts, Floats]]
    states: int

    @property
    def last(self) -> int:
        """Cohorts after which nobody titrates any more."""
        return max(self.leaving, default=0)

    def nobody(self, rule: Rule) -> Front:
        """A front without rows, as wide as those that leave."""
        start = Front.start(rule)
        return replace(_rows(start, np.zeros(1, dtype=bool)), ways=np.zeros((0, self.courses.exits)), grades=None)

    def joined(self, front: Front, cohorts: int) -> Front:
        """The front with the rows that leave titration after so many cohorts."""
        more = self.leaving.get(cohorts)
        if more is None:
            return front
        return Front(
            n=np.concatenate([front.n, more.n]),
            dlt=np.concatenate([front.dlt, more.dlt]),
            regimen=np.concatenate([front.regimen, more.regimen]),
            size=np.concatenate([front.size, more.size]),
            memory=np.concatenate([front.memory, more.memory]),
            ways=np.concatenate([front.ways, more.ways]),
        )


@dataclass
class _Found:
    """Courses and exits in the order they are met."""

    grades: list[Grades] = field(default_factory=list)
    ways: list[Floats] = field(default_factory=list)
    exit: list[Indices] = field(default_factory=list)
    exits: int = 0

    def add(self, grades: Grades, ways: Floats, place: Indices, many: int) -> Indices:
        """Courses that lead to ``many`` further exits; the numbers of these."""
        self.grades.append(grades)
        self.ways.append(ways)
        self.exit.append(self.exits + place)
        self.exits += many
        return np.arange(self.exits - many, self.exits)

    def courses(self) -> Courses:
        return Courses(
            np.concatenate([each.moderate for each in self.grades]),
            np.concatenate([each.graded for each in self.grades]),
            np.concatenate(self.ways),
            np.concatenate(self.exit),
            self.exits,
        )


def titration_walk(rule: Rule, budget: int) -> Titrated:
    """Walk through the titration of a rule that reads grades; the budget and the errors are the exact engine's."""
    assert rule.titration is not None
    front, found, states = Front.start(rule), _Found(), 0
    leaving: dict[int, tuple[Front, Indices]] = {}
    ended: list[tuple[Tally, Counts, Indices]] = []
    for cohorts in range(1, rule.max_patients + 1):
        branches = branch(front)
        states += branches.tally.rows
        if states > budget:
            raise StateBudgetError(states, budget)
        decisions = decide(rule, branches.tally)
        over = decisions.stops
        if over.any():
            place = np.arange(int(over.sum()))
            exits = found.add(_graded(branches, over), branches.ways[over], place, len(place))
            ended.append((branches.tally.take(over), decisions.reason[over], exits))
        after, origin = onward(branches, decisions)
        reads = rule.titration.reads(after.n, after.dlt, after.regimen, after.size)
        if not reads.all():
            out = _rows(after, ~reads)
            columns = [out.n, out.dlt, out.regimen[:, None], out.size[:, None], out.memory]
            first, inverse = distinct_rows(np.concatenate(columns, axis=1))
            exits = found.add(_graded(branches, origin[~reads]), out.ways, inverse, len(first))
            leaving[cohorts] = (_rows(out, first), exits)
        front = _rows(after, reads)
        if not front.rows:
            break
    else:
        raise EngineError(f"{rule.design.title} did not end within {rule.max_patients} participants")
    eye = np.eye(found.exits)
    return Titrated(
        found.courses(),
        {cohorts: replace(out, ways=eye[exits], grades=None) for cohorts, (out, exits) in leaving.items()},
        [(tally, reason, eye[exits]) for tally, reason, exits in ended],
        states,
    )


def _graded(branches: Branches, rows: Indices | Bools) -> Grades:
    assert branches.grades is not None
    return branches.grades.take(rows)


def _rows(front: Front, index: Indices | Bools) -> Front:
    return Front(
        n=front.n[index],
        dlt=front.dlt[index],
        regimen=front.regimen[index],
        size=front.size[index],
        memory=front.memory[index],
        ways=front.ways[index],
        grades=taken(front.grades, index),
    )
