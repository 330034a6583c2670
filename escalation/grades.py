"""Graded outcomes: telling a moderate toxicity from none, for as long as a rule reads it.

A participant's outcome is none, a moderate toxicity or a DLT. Most rules read DLTs only, and nothing here concerns
them. While a rule titrates on moderate toxicities each single participant has three outcomes instead of two; later
participants have two again, so that the states stay few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from escalation.rule import Rule
from escalation.tally import Bools, Counts, Indices, Tally
from escalation.titration import Titration


@dataclass(frozen=True, slots=True)
class Grades:
    """What a walk over states keeps of the participants whose grade it told apart.

    Attributes
    ----------
    titration
        The stage that reads grades.
    moderate
        (S, K) of the graded, those with a moderate toxicity.
    graded
        (S, K) participants without a DLT of whom it is known whether they had a moderate toxicity.
    """

    titration: Titration
    moderate: Counts
    graded: Counts

    @classmethod
    def start(cls, rule: Rule) -> Grades | None:
        """Nobody graded yet: one row; None under a rule that does not read grades."""
        if rule.titration is None or not rule.reads_grades:
            return None
        nobody = np.zeros((1, rule.grid.size), np.int32)
        return cls(rule.titration, nobody, nobody)

    @property
    def columns(self) -> list[Counts]:
        """What tells states apart."""
        return [self.moderate, self.graded]

    def take(self, index: Indices | Bools) -> Grades:
        """The chosen rows."""
        return replace(self, moderate=self.moderate[index], graded=self.graded[index])

    def where(self, read: Bools) -> Grades:
        """The same with nothing kept of the other rows."""
        return replace(self, moderate=self.moderate * read[:, None], graded=self.graded * read[:, None])


def columns_of(grades: Grades | None) -> list[Counts]:
    """What tells states apart, nothing where no grades are read."""
    return [] if grades is None else grades.columns


def taken(grades: Grades | None, index: Indices | Bools) -> Grades | None:
    """The chosen rows, where grades are read."""
    return None if grades is None else grades.take(index)


def told_apart(grades: Grades, reads: Bools, tally: Tally, parent: Indices) -> tuple[Indices, Tally, Grades]:
    """Rows after a cohort with the participants without a DLT told apart by grade.

    Parameters
    ----------
    grades, reads
        Of the rows before the cohort, (S,): what is known and where the grade of the cohort, one participant, is read.
    tally, parent
        The rows after the cohort by their DLTs, and the row before each comes from.

    Returns
    -------
    The row of ``tally`` each new row comes from, the new rows with their moderate toxicities, and their grades. An
    outcome without a DLT stands before the same with a moderate toxicity.
    """
    split = reads[parent] & (tally.cohort_dlt == 0)
    row = np.repeat(np.arange(tally.rows), 1 + split)
    second = np.append(False, row[1:] == row[:-1])
    tally, parent, split = tally.take(row), parent[row], split[row]
    moderate, graded = grades.moderate[parent], grades.graded[parent]
    moderate[second, tally.current[second]] += 1
    graded[split, tally.current[split]] += 1
    return row, replace(tally, moderate=moderate), replace(grades, moderate=moderate, graded=graded)


def graded_completions(
    rule: Rule,
    known: Sequence[int],
    pending_known: Sequence[int],
    n: Counts,
    open_at: Sequence[tuple[int, int]],
    further: Sequence[tuple[int, ...]],
) -> tuple[Indices, Counts, list[tuple[int, ...]]]:
    """Completions of open outcomes by DLTs, told apart by grade where the rule will read it.

    Parameters
    ----------
    known, pending_known
        (K) participants with a moderate toxicity, and those of them whose window is open.
    n
        (C, K) evaluable participants of every completion.
    open_at, further
        Regimens with open outcomes and how many, and the further DLTs there of every completion.

    Returns
    -------
    The completion each new one comes from, the moderate toxicities of each, (R, K), and those among the open outcomes
    in the order of ``open_at``; no entry in the last where grades are no longer read.
    """
    settled = np.asarray(known, np.int32) - np.asarray(pending_known, np.int32)
    if rule.titration is None or not rule.titration.titrates(n[:1])[0]:
        return np.arange(len(n)), np.tile(settled, (len(n), 1)), [()] * len(n)
    rows: list[int] = []
    moderates: list[tuple[int, ...]] = []
    for row, dlts in enumerate(further):
        ranges = (
            range(max(0, pending_known[regimen] - toxic), count - toxic + 1)
            for (regimen, count), toxic in zip(open_at, dlts, strict=True)
        )
        for more in product(*ranges):
            rows.append(row)
            moderates.append(more)
    moderate = np.tile(settled, (len(rows), 1))
    for position, (regimen, _) in enumerate(open_at):
        moderate[:, regimen] += np.array([more[position] for more in moderates], np.int32)
    return np.array(rows, dtype=np.intp), moderate, moderates
