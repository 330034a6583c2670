"""What backfilling can do to the decisions of a rule, checked on every reachable state of its escalation.

Every state is looked at once more with one lower regimen backfilled: each that was treated, with every number of
participants up to the cap and every number of DLTs among them. Several regimens backfilled at once, and what escalation
reaches only because of backfill data, are not walked; the properties are checked there by randomised tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from escalation.backfill import strictly_below
from escalation.decision import Action
from escalation.numerics import distinct_rows
from escalation.rule import Rule
from escalation.tally import Bools, Indices, Tally

CHUNK = 50_000
"""States decided at a time."""

STATEMENTS = (
    ("backfill_leaves_eliminated", "with a lower regimen backfilled: never treats an eliminated regimen"),
    (
        "backfill_never_raises",
        "with a lower regimen backfilled: data in conflict never lead above the current regimen",
    ),
    ("backfill_below", "never backfills at or above the current regimen, an eliminated one, or past the cap"),
)
"""Names and statements of the properties, in the order :func:`breaks` answers them."""

WHAT = "one lower regimen backfilled to any number up to the cap"
"""What of backfilling is covered, for people to read."""


def breaks(rule: Rule, tally: Tally) -> dict[str, tuple[int, str]]:
    """For each property that a state breaks, the first row of the tally and what is backfilled there."""
    found: dict[str, tuple[int, str]] = {}
    for parent, regimen, states in _states(rule, tally):
        for (name, _), bad in zip(STATEMENTS, _checked(rule, states), strict=True):
            if name not in found and bad.any():
                at = int(np.flatnonzero(bad)[0])
                k = int(regimen[at])
                assert states.backfill_n is not None
                assert states.backfill_dlt is not None
                count, toxic = int(states.backfill_n[at, k]), int(states.backfill_dlt[at, k])
                found[name] = int(parent[at]), f"{count} backfilled at level {rule.grid.level(k)}, {toxic} with a DLT"
    return found


def _states(rule: Rule, tally: Tally) -> Iterator[tuple[Indices, Indices, Tally]]:
    """The distinct states with one lower regimen backfilled, in chunks: the row each comes from, and where."""
    stage = rule.backfill
    assert stage is not None
    first, _ = distinct_rows(np.concatenate([tally.n, tally.dlt, tally.current[:, None], tally.memory], axis=1))
    below = strictly_below(rule.grid)[:, tally.current[first]].T & (tally.n[first] > 0)
    row, regimen = np.nonzero(below & (tally.n[first] < stage.cap))
    row = first[row]
    room = stage.cap - tally.n[row, regimen]
    # of every row and regimen: 1..room participants with 0..that many DLTs
    count, toxic = np.nonzero(np.tri(stage.cap + 1, dtype=bool))
    for start in range(0, len(row), max(1, CHUNK // len(count))):
        part = slice(start, start + max(1, CHUNK // len(count)))
        at, case = np.nonzero((count[None, :] >= 1) & (count[None, :] <= room[part, None]))
        parent, where = row[part][at], regimen[part][at]
        backfill_n = np.zeros((len(at), rule.grid.size), np.int32)
        backfill_dlt = np.zeros_like(backfill_n)
        backfill_n[np.arange(len(at)), where] = count[case]
        backfill_dlt[np.arange(len(at)), where] = toxic[case]
        yield parent, where, replace(tally.take(parent), backfill_n=backfill_n, backfill_dlt=backfill_dlt)


def _checked(rule: Rule, states: Tally) -> tuple[Bools, Bools, Bools]:
    """Rows that break each property."""
    stage, design, grid = rule.backfill, rule.design, rule.grid
    assert stage is not None
    counted = rule.counted(states)
    closed, decisions = design.eliminated(counted), rule.decide(states)
    treats = ~decisions.stops & (decisions.action != Action.WAIT)
    there = np.take_along_axis(closed, decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
    alone = design.decide(counted)
    after = stage.apply(states, alone, design, 0)
    moved = (after.regimen != alone.regimen) & ~after.stops & ~alone.stops
    higher = ~grid.at_most[after.regimen, states.current] & moved
    revived = alone.stops & ~after.stops
    together = states.with_backfill()
    opened = stage.is_open(states, together.n, together.n, design)
    wrong = opened & (~strictly_below(grid)[:, states.current].T | closed | (together.n >= stage.cap))
    return treats & there, higher | revived, np.asarray(wrong.any(axis=1))
