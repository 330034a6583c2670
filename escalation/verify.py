"""Safety proof: predicates checked on every state a rule can reach.

The walk is the exact engine's, kept together with the way to every state, so that a broken
property comes with the outcome string that breaks it. A property that a published design really
breaks is reported as broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from escalation import backfill_proof
from escalation.branching import Branches, Front, branch, decide, onward
from escalation.decision import Decisions, moves
from escalation.design import SafetyProperty
from escalation.errors import StateBudgetError
from escalation.exact import STATE_BUDGET, Progress
from escalation.grades import columns_of, taken
from escalation.numerics import distinct_rows
from escalation.partial_order import without_skipping
from escalation.rule import Rule
from escalation.tally import Bools, Counts, Indices, Tally

RECENT = 3
"""Participants the escalation property looks back at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One property: whether it holds on every reachable state, else an outcome string that breaks it."""

    name: str
    statement: str
    holds: bool
    counterexample: str | None


@dataclass(frozen=True, slots=True)
class Proof:
    """Properties checked on every reachable state.

    ``states`` counts the distinct states in which a decision was checked; ``draws`` says that the design draws
    regimens, and that coherence is therefore not among the properties.
    """

    states: int
    verdicts: tuple[Verdict, ...]
    draws: bool = False

    @property
    def holds(self) -> bool:
        return all(verdict.holds for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class _Step:
    """One cohort of the walk, with what leads back."""

    parent_state: Indices  # row of the previous step's branches each front row came from
    branches: Branches


@dataclass(frozen=True, slots=True)
class _View:
    """What a predicate sees: the branches of one cohort, the decisions on them, and the recent DLTs."""

    rule: Rule
    front: Front
    branches: Branches
    decisions: Decisions
    recent_n: Counts
    recent_dlt: Counts
    selected: Bools

    @property
    def tally(self) -> Tally:
        return self.branches.tally


Predicate = Callable[[_View], Bools]


def _escalates_after_two(view: _View) -> Bools:
    order, here, there = view.rule.grid.at_most, view.tally.current, view.decisions.regimen
    up = ~view.decisions.stops & (here != there) & ~order[there, here]
    higher = up & order[here, there]
    bad: Bools = higher & (view.recent_n <= RECENT) & (view.recent_dlt >= 2)
    return bad


def _treats_eliminated(view: _View) -> Bools:
    closed = view.rule.design.eliminated(view.tally)
    there = np.take_along_axis(closed, view.decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
    return ~view.decisions.stops & there


def _reopens_eliminated(view: _View) -> Bools:
    """A regimen closed before this cohort is open after it."""
    front, tally = view.front, view.tally
    before = Tally.of(n=front.n, dlt=front.dlt, current=front.regimen, memory=front.memory)
    was = view.rule.design.eliminated(before)[view.branches.parent]
    return np.asarray((was & ~view.rule.design.eliminated(tally)).any(axis=1))


def _skips(view: _View) -> Bools:
    """Rows that treat a regimen none of whose lower neighbours was treated or lies below one that was."""
    there, allowed = view.decisions.regimen, without_skipping(view.tally.n > 0, view.rule.grid)
    ok = np.take_along_axis(allowed, there[:, None].astype(np.intp), axis=1)[:, 0]
    return ~view.decisions.stops & ~ok


def _raises_both(view: _View) -> Bools:
    grid, here, there = view.rule.grid, view.tally.current, view.decisions.regimen
    both = (grid.dose_of[there] > grid.dose_of[here]) & (grid.frequency_of[there] > grid.frequency_of[here])
    return ~view.decisions.stops & both


def _exceeds(view: _View) -> Bools:
    after: Bools = view.tally.total + view.decisions.size > view.rule.max_patients
    return after


def _incoherent(view: _View) -> Bools:
    """Rows whose sibling with one DLT fewer, or no moderate toxicity, leads to a lower regimen than they do."""
    branches, decisions, order = view.branches, view.decisions, view.rule.grid.at_most
    parent, dlt = branches.parent, branches.tally.cohort_dlt
    moderate = branches.tally.moderate.sum(axis=1)
    place = np.lexsort((moderate, dlt, parent))  # from the mildest outcome to the worst
    one_more, one_less = place[1:], place[:-1]
    worse = (dlt[one_more] > dlt[one_less]) | (moderate[one_more] > moderate[one_less])
    pair = (parent[one_more] == parent[one_less]) & worse
    one_more, one_less = one_more[pair], one_less[pair]
    bad = np.zeros(len(parent), dtype=bool)
    stop: Bools = decisions.stops
    treat = ~stop[one_more] & ~stop[one_less]
    there, before = decisions.regimen[one_more], decisions.regimen[one_less]
    bad[one_more] |= treat & (there != before) & order[before, there]
    if view.rule.design.selects_contour:
        return bad
    ends = stop[one_more] & stop[one_less]
    chosen = np.argmax(view.selected, axis=1)
    some = np.asarray(view.selected.any(axis=1))
    both = ends & some[one_more] & some[one_less]
    more, less = chosen[one_more], chosen[one_less]
    bad[one_more] |= both & (more != less) & order[less, more]
    return bad


def _selects_eliminated(view: _View) -> Bools:
    closed = view.rule.design.eliminated(view.tally)
    return np.asarray(view.decisions.stops & (view.selected & closed).any(axis=1))


PROPERTIES: tuple[tuple[str, str, Predicate], ...] = (
    (
        "no_escalation_after_two_dlts",
        "never escalates from a regimen with 2 or more DLTs among its last 3 or fewer participants",
        _escalates_after_two,
    ),
    ("eliminated_stays_closed", "never treats an eliminated regimen or one above it", _treats_eliminated),
    ("elimination_is_permanent", "never re-opens an eliminated regimen", _reopens_eliminated),
    ("eliminated_never_selected", "never selects an eliminated regimen", _selects_eliminated),
    ("no_skipping", "never skips a level on either axis", _skips),
    ("one_axis_at_a_time", "never raises dose and frequency together", _raises_both),
    ("within_maximum_size", "never goes past the maximum size", _exceeds),
    ("coherent", "a further DLT never leads to a higher regimen", _incoherent),
)
"""The properties checked for every design: name, statement, and the rows that break it."""

BETWEEN_REGIMENS = {
    "no_escalation_after_two_dlts",
    "elimination_is_permanent",
    "no_skipping",
    "one_axis_at_a_time",
    "coherent",
}
"""Those about moving from one regimen to another: with a single regimen they say nothing and are left out."""


def verify(rule: Rule, *, budget: int | None = None, progress: Progress | None = None) -> Proof:
    """Check every property on every reachable state of a rule.

    Parameters
    ----------
    budget
        Most states looked at, four million when None.
    progress
        Told the participants treated so far and the most there can be.

    Raises
    ------
    StateBudgetError
        When the states outgrow the budget.
    EngineError
        When the design does not end by itself, or waits although every window is complete.
    """
    skipped = BETWEEN_REGIMENS if rule.grid.size == 1 else set()
    draws = rule.decide(rule.first()).allocation is not None
    if draws:
        skipped = skipped | {"coherent"}  # a decision that is drawn leads to no single regimen
    checks: list[tuple[str, str, Predicate]] = [each for each in PROPERTIES if each[0] not in skipped]
    for own in rule.design.properties():
        checks.append((f"{rule.design.name}.{_key(own.name)}", own.name, _own(own)))
    limit = budget or 8 * STATE_BUDGET  # unmerged: the four outcomes of a cohort of three are kept apart
    broken: dict[str, str] = {}
    steps: list[_Step] = []
    front, origin = Front.start(rule), np.full(1, -1, dtype=np.intp)
    recent_n, recent_dlt = np.zeros(1, np.int32), np.zeros(1, np.int32)
    states = 0
    ends = False
    for _ in range(rule.max_patients + 1):
        if progress:
            progress(int(front.n[0].sum()), rule.max_patients)
        branches = branch(front)  # not merged: the outcomes of one cohort are compared with each other
        seen_n, seen_dlt = _recent(branches, recent_n, recent_dlt)
        states += branches.tally.rows
        if states > limit:
            raise StateBudgetError(states, limit)
        decisions = decide(rule, branches.tally)
        selected = rule.select(branches.tally, decisions.reason)
        steps.append(_Step(origin, branches))
        row, drawn = _drawn(rule, branches.tally, decisions)
        seen = Branches(branches.tally.take(row), branches.ways[row], branches.parent[row])
        view = _View(rule, front, seen, drawn, seen_n[row], seen_dlt[row], selected[row])
        for name, _, predicate in checks:
            if name not in broken:
                rows = np.flatnonzero(predicate(view))
                if rows.size:
                    broken[name] = _path(steps, int(row[rows[0]]), rule)
        if rule.backfill is not None:
            for name, (at, what) in backfill_proof.breaks(rule, branches.tally).items():
                broken.setdefault(name, f"{_path(steps, at, rule)}; {what}")
        front, origin = onward(branches, decisions)
        if not front.rows:
            ends = True
            break
        moved = front.regimen != branches.tally.current[origin]
        recent_n = np.where(moved, 0, seen_n[origin]).astype(np.int32)
        recent_dlt = np.where(moved, 0, seen_dlt[origin]).astype(np.int32)
        front, origin, recent_n, recent_dlt = _merge_fronts(front, origin, recent_n, recent_dlt)
    verdicts = [Verdict(name, statement, name not in broken, broken.get(name)) for name, statement, _ in checks]
    if rule.backfill is not None:
        verdicts += [
            Verdict(name, statement, name not in broken, broken.get(name))
            for name, statement in backfill_proof.STATEMENTS
        ]
    unended = None if ends else _path(steps, int(origin[0]), rule)
    verdicts.append(Verdict("always_ends", "the trial always ends", ends, unended))
    return Proof(states, tuple(verdicts), draws)


def _drawn(rule: Rule, tally: Tally, decisions: Decisions) -> tuple[Indices, Decisions]:
    """Every decision as often as its allocation can draw a regimen, and which row each comes from."""
    if decisions.allocation is None:
        return np.arange(tally.rows), decisions
    share = np.where(decisions.stops[:, None], 0.0, decisions.allocation)
    named = share.sum(axis=1) <= 0
    share[named, decisions.regimen[named]] = 1.0
    row, regimen = np.nonzero(share)
    many = decisions.take(row)
    there = regimen.astype(np.int32)
    action = np.where(many.stops, many.action, moves(tally.current[row], there, rule.grid.at_most))
    return row, replace(many, regimen=there, action=action.astype(np.int32))


def _own(promise: SafetyProperty) -> Predicate:
    return lambda view: promise.breaks(view.tally, view.decisions)


def _key(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _recent(whole: Branches, recent_n: Counts, recent_dlt: Counts) -> tuple[Counts, Counts]:
    """Participants and DLTs among the latest at the current regimen, as far back as whole cohorts fit into three.

    Counted since the regimen was last opened: what lies before is left out.
    """
    tally, parent = whole.tally, whole.parent
    fits = recent_n[parent] + tally.cohort_n <= RECENT
    seen_n = np.where(fits, recent_n[parent] + tally.cohort_n, tally.cohort_n)
    seen_dlt = np.where(fits, recent_dlt[parent] + tally.cohort_dlt, tally.cohort_dlt)
    return seen_n.astype(np.int32), seen_dlt.astype(np.int32)


def _merge_fronts(
    front: Front, origin: Indices, recent_n: Counts, recent_dlt: Counts
) -> tuple[Front, Indices, Counts, Counts]:
    columns = [front.n, front.dlt, front.regimen[:, None], front.size[:, None], front.memory]
    columns += [recent_n[:, None], recent_dlt[:, None], *columns_of(front.grades)]
    first, _ = distinct_rows(np.concatenate(columns, axis=1))
    merged = replace(
        front,
        n=front.n[first],
        dlt=front.dlt[first],
        regimen=front.regimen[first],
        size=front.size[first],
        memory=front.memory[first],
        ways=front.ways[first],
        grades=taken(front.grades, first),
    )
    return merged, origin[first], recent_n[first], recent_dlt[first]


def _path(steps: list[_Step], row: int, rule: Rule) -> str:
    """The outcome string of the way to a row of the last step."""
    from escalation.outcomes import text_of

    cohorts: list[tuple[int, int, int, int]] = []
    for step in reversed(steps):
        tally = step.branches.tally
        here, size = int(tally.current[row]), int(tally.cohort_n[row])
        single = size == 1 == int(tally.n[row, here]) and tally.moderate.shape[1] > 0
        cohorts.append((here, size, int(tally.cohort_dlt[row]), int(tally.moderate[row, here]) if single else 0))
        row = int(step.parent_state[step.branches.parent[row]])
    return text_of(tuple(reversed(cohorts)), rule.grid)
