"""One cohort forward: every number of DLTs a cohort can have, and what the rule says to it.

The exact engine, the pathways and the safety proof are the same walk, with or without merging
equal states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import comb

from escalation.decision import Action, Decisions
from escalation.errors import EngineError
from escalation.grades import Grades, columns_of, taken, told_apart
from escalation.numerics import distinct_rows, sum_by
from escalation.rule import Rule
from escalation.tally import Counts, Floats, Indices, Tally


@dataclass(frozen=True, slots=True)
class Front:
    """Rows of states in which a cohort is about to be treated.

    Attributes
    ----------
    n, dlt
        (S, K) what is known.
    regimen, size
        (S,) where the cohort goes and how many it has.
    memory
        (S, M) what the design keeps.
    ways
        (S,) number of outcome sequences that lead here, weighted by the probabilities of randomised allocations;
        (S, C) those from each of C states, for a walk that starts from several.
    grades
        Moderate toxicities, None under a rule that does not read them.
    """

    n: Counts
    dlt: Counts
    regimen: Counts
    size: Counts
    memory: Counts
    ways: Floats
    grades: Grades | None = None

    @property
    def rows(self) -> int:
        return int(self.regimen.shape[0])

    @classmethod
    def start(cls, rule: Rule) -> Front:
        """The trial before its first cohort: one row."""
        first = rule.first()
        return cls(
            n=first.n,
            dlt=first.dlt,
            regimen=first.current,
            size=np.array([rule.start_size], np.int32),
            memory=first.memory,
            ways=np.ones(1),
            grades=Grades.start(rule),
        )


@dataclass(frozen=True, slots=True)
class Branches:
    """Rows of states after a cohort, before the decision.

    ``parent`` is the row of the front each came from (of the first that led here, when merged).
    """

    tally: Tally
    ways: Floats
    parent: Indices
    grades: Grades | None = None


def branch(front: Front) -> Branches:
    """Every row of the front with 0, 1, ... size DLTs in its cohort, by grade where the rule reads it."""
    parent = np.repeat(np.arange(front.rows), front.size + 1)
    first = np.cumsum(front.size + 1) - (front.size + 1)
    cohort_dlt = (np.arange(len(parent)) - first[parent]).astype(np.int32)
    cohort_n, current = front.size[parent], front.regimen[parent]
    n, dlt = front.n[parent], front.dlt[parent]
    each = np.arange(len(parent))
    n[each, current] += cohort_n
    dlt[each, current] += cohort_dlt
    tally = Tally.complete(n, dlt, current, cohort_n, cohort_dlt, front.memory[parent])
    whole = Branches(tally, scaled(front.ways[parent], comb(cohort_n, cohort_dlt)), parent)
    return whole if front.grades is None else _graded(front, front.grades, whole)


def scaled(ways: Floats, factor: npt.NDArray[np.floating[Any]]) -> Floats:
    """Ways times a factor for each row; ways may have several columns."""
    return np.asarray(ways * (factor if ways.ndim == 1 else factor[:, None]))


def _graded(front: Front, grades: Grades, whole: Branches) -> Branches:
    reads = grades.titration.reads(front.n, front.dlt, front.regimen, front.size)
    row, tally, after = told_apart(grades, reads, whole.tally, whole.parent)
    return Branches(tally, whole.ways[row], whole.parent[row], after)


def merge(branches: Branches, *, keep_cohort: bool) -> Branches:
    """Equal states brought together, their ways added; ``keep_cohort`` keeps the last cohort apart."""
    tally = branches.tally
    columns = [tally.n, tally.dlt, tally.current[:, None], tally.memory, *columns_of(branches.grades)]
    if keep_cohort:
        columns += [tally.cohort_n[:, None], tally.cohort_dlt[:, None]]
    first, inverse = distinct_rows(np.concatenate(columns, axis=1))
    ways = sum_by(inverse, branches.ways, len(first))
    return Branches(tally.take(first), ways, branches.parent[first], taken(branches.grades, first))


def decide(rule: Rule, tally: Tally) -> Decisions:
    """The rule's decisions on complete cohorts; EngineError for a design that waits although nothing is pending."""
    decisions = rule.decide(tally)
    if (decisions.action == Action.WAIT).any():
        raise EngineError(
            f"{rule.design.title} waits although no outcome is pending; use the calendar engine (--engine calendar)"
        )
    going = ~decisions.stops
    if (decisions.size[going] < 1).any():
        raise EngineError(f"{rule.design.title} asks for a cohort of no participants; correct its decide()")
    return decisions


def onward(branches: Branches, decisions: Decisions) -> tuple[Front, Indices]:
    """The front of the rows that go on, and which branch each came from.

    A randomised allocation becomes one row for every regimen it can draw.
    """
    going = np.flatnonzero(~decisions.stops)
    tally = branches.tally
    memory = tally.memory if decisions.memory is None else decisions.memory
    regimen, ways = decisions.regimen[going], branches.ways[going]
    if decisions.allocation is not None:
        share = decisions.allocation[going]
        drawn = share.sum(axis=1) > 0
        share[~drawn, regimen[~drawn]] = 1.0
        row, regimen_drawn = np.nonzero(share)
        going, regimen = going[row], regimen_drawn.astype(np.int32)
        ways = scaled(ways[row], share[row, regimen_drawn])
    front = Front(
        n=tally.n[going],
        dlt=tally.dlt[going],
        regimen=regimen.astype(np.int32),
        size=decisions.size[going],
        memory=memory[going],
        ways=ways,
    )
    return replace(front, grades=_still_read(branches.grades, front, going)), going


def _still_read(grades: Grades | None, front: Front, going: Indices) -> Grades | None:
    """The grades of the rows that go on, forgotten where nobody will read them again."""
    if grades is None:
        return None
    read = grades.titration.reads(front.n, front.dlt, front.regimen, front.size)
    return grades.take(going).where(read)


def merge_front(front: Front) -> Front:
    """Equal rows of a front brought together; needed after decisions that looked at the last cohort."""
    columns = [front.n, front.dlt, front.regimen[:, None], front.size[:, None], front.memory]
    columns += columns_of(front.grades)
    first, inverse = distinct_rows(np.concatenate(columns, axis=1))
    if len(first) == front.rows:
        return front
    return replace(
        front,
        n=front.n[first],
        dlt=front.dlt[first],
        regimen=front.regimen[first],
        size=front.size[first],
        memory=front.memory[first],
        ways=sum_by(inverse, front.ways, len(first)),
        grades=taken(front.grades, first),
    )
