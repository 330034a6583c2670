"""The contract every design keeps: what the engines, the proof and live conduct rely on.

``check_design`` is run over every registered design, and is what the author of a plug-in runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from escalation.branching import Front, branch, merge, onward
from escalation.decision import Action, Decisions
from escalation.design import Design, Parameters
from escalation.errors import EscalationError
from escalation.guards import MaximumSize
from escalation.rule import Rule
from escalation.tally import Tally

MOST_STATES = 4_000
"""Reachable states looked at."""

_CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")


class ContractError(EscalationError):
    """A design that breaks the contract; carries every breach found."""

    def __init__(self, design: str, breaches: tuple[str, ...]) -> None:
        super().__init__(design, breaches)
        self.breaches = breaches

    def __str__(self) -> str:
        listed = "\n".join(f"  - {breach}" for breach in self.breaches)
        return f"{self.args[0]} breaks the design contract:\n{listed}"


@dataclass(frozen=True)
class _Subject:
    """A design with a sample of the states it can reach and its decisions there."""

    design: Design[Any]
    tally: Tally
    decisions: Decisions


Check = Callable[[_Subject], Iterator[str]]


def check_design(design: Design[Any]) -> tuple[str, ...]:
    """Put a design through the contract.

    Returns
    -------
    The names of the checks passed.

    Raises
    ------
    ContractError
        With every breach found.
    """
    breaches = [f"identity: {breach}" for breach in _identity(design)]
    try:
        tally = _reachable(design)
    except EscalationError as error:
        raise ContractError(type(design).__name__, (*breaches, f"reachable states: {error}")) from None
    subject = _Subject(design, tally, design.decide(tally))
    for name, check in CHECKS:
        breaches += [f"{name}: {breach}" for breach in check(subject)]
    if breaches:
        raise ContractError(type(design).__name__, tuple(breaches))
    return ("identity", *(name for name, _ in CHECKS))


def _reachable(design: Design[Any]) -> Tally:
    """States at the ends of cohorts, from the start, as many as the sample holds."""
    limit = design.setting.max_patients or design.own_maximum or 10 * design.setting.cohort_size
    rule = Rule(design, (MaximumSize(limit=limit),))
    front, kept, total = Front.start(rule), [], 0
    for _ in range(limit + 1):
        branches = merge(branch(front), keep_cohort=True)
        kept.append(branches.tally)
        total += branches.tally.rows
        front, _ = onward(branches, rule.decide(branches.tally))
        if not front.rows or total > MOST_STATES:
            break
        if front.rows > MOST_STATES:
            break
    columns = {name: np.concatenate([getattr(part, name) for part in kept])[:MOST_STATES] for name in _arrays(kept[0])}
    return Tally(**columns)


def _arrays(tally: Tally) -> list[str]:
    """The fields of a tally that hold arrays; those of a backfill are None where nobody is backfilled."""
    return [f.name for f in fields(Tally) if getattr(tally, f.name) is not None]


def _identity(design: Design[Any]) -> Iterator[str]:
    cls = type(design)
    for attribute in ("name", "title", "citation"):
        if not isinstance(getattr(cls, attribute, None), str) or not getattr(cls, attribute):
            yield f"{attribute} is missing"
    if not (isinstance(cls.Parameters, type) and issubclass(cls.Parameters, Parameters)):
        yield "Parameters is not a subclass of escalation.design.Parameters"
    codes = [reason.code for reason in cls.reasons]
    if len(set(codes)) < len(codes):
        yield "reason codes repeat"
    for reason in cls.reasons:
        if not _CODE.fullmatch(reason.code):
            yield f"reason code {reason.code!r} is not of the form design.rule"
        if not reason.line.strip() or not reason.paragraph.strip():
            yield f"reason {reason.code} has no wording"
    again = cls.Parameters.model_validate_json(design.parameters.model_dump_json(), strict=True)
    if again != design.parameters:
        yield "the parameters do not survive being written as JSON and read again"
    json.dumps(cls.Parameters.model_json_schema())


def _shapes(subject: _Subject) -> Iterator[str]:
    decisions, rows, grid = subject.decisions, subject.tally.rows, subject.design.grid
    for name in ("action", "regimen", "size", "reason"):
        values = getattr(decisions, name)
        if values.shape != (rows,) or values.dtype.kind not in "iu":
            yield f"{name} is not one whole number for every row"
            return
    if not np.isin(decisions.action, [int(action) for action in Action]).all():
        yield "an action is none of the five"
    if ((decisions.regimen < 0) | (decisions.regimen >= grid.size)).any():
        yield "a regimen does not exist"
    if ((decisions.reason < 0) | (decisions.reason >= len(subject.design.reasons))).any():
        yield "a reason is not in the catalogue"
    if (decisions.size[decisions.stops] != 0).any():
        yield "a stop asks for participants"
    treats = ~decisions.stops & (decisions.action != Action.WAIT)
    if (decisions.size[treats] < 1).any():
        yield "a cohort has no participants"
    if decisions.allocation is not None:
        share = decisions.allocation[treats]
        if (share < 0).any() or not np.allclose(share.sum(axis=1), 1):
            yield "allocation probabilities are negative or do not sum to 1"


def _words(subject: _Subject) -> Iterator[str]:
    kinds = np.array([reason.stop is not None for reason in subject.design.reasons])
    if not kinds[subject.decisions.reason[subject.decisions.stops]].all():
        yield "a stop is given a reason without a kind of stop"
    if kinds[subject.decisions.reason[~subject.decisions.stops]].any():
        yield "a decision to go on is given a reason to stop"


def _directions(subject: _Subject) -> Iterator[str]:
    decisions, here, order = subject.decisions, subject.tally.current, subject.design.grid.at_most
    if decisions.allocation is not None:
        return
    there, action = decisions.regimen, decisions.action
    if ((action == Action.STAY) & (there != here)).any():
        yield "STAY goes to another regimen"
    if ((action == Action.DE_ESCALATE) & ((there == here) | ~order[there, here])).any():
        yield "DE_ESCALATE does not go to a lower regimen"
    if ((action == Action.ESCALATE) & order[there, here]).any():
        yield "ESCALATE goes to the same or a lower regimen"


def _same(a: Decisions, b: Decisions) -> bool:
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name))
        if getattr(a, f.name) is not None
        else getattr(b, f.name) is None
        for f in fields(Decisions)
    )


def _pure(subject: _Subject) -> Iterator[str]:
    design, tally = subject.design, subject.tally
    before = {name: getattr(tally, name).copy() for name in _arrays(tally)}
    for name in _arrays(tally):
        getattr(tally, name).setflags(write=False)
    try:
        again = design.decide(tally)
        design.select(tally)
        design.eliminated(tally)
    except ValueError as error:
        yield f"it writes into the tally it is given ({error})"
        return
    finally:
        for name in _arrays(tally):
            getattr(tally, name).setflags(write=True)
    if not _same(again, subject.decisions):
        yield "the same tally gets different decisions"
    if any(not np.array_equal(before[name], getattr(tally, name)) for name in _arrays(tally)):
        yield "deciding changes the tally"
    fresh = type(design)(design.parameters, design.setting)
    if not _same(fresh.decide(tally), subject.decisions):
        yield "a design made anew from the same parameters decides differently"


def _rows(subject: _Subject) -> Iterator[str]:
    order = np.random.default_rng(0).permutation(subject.tally.rows)
    if not _same(subject.design.decide(subject.tally.take(order)), subject.decisions.take(order)):
        yield "the decision on a row depends on the other rows"
    few = order[: min(25, len(order))]
    for row in few:
        one = np.array([row])
        if not _same(subject.design.decide(subject.tally.take(one)), subject.decisions.take(one)):
            yield f"row {row} alone is decided differently than in the batch"
            return


def _follow_up(subject: _Subject) -> Iterator[str]:
    design, tally = subject.design, subject.tally
    if design.reads_follow_up or not design.needs_clock:
        return
    rows = np.arange(tally.rows)
    pending = np.zeros_like(tally.n)
    pending[rows, tally.current] = tally.at_current(tally.n) > tally.at_current(tally.dlt)
    at = np.where(pending.any(axis=1), tally.current, -1)[:, None].astype(np.int32)
    dosed = replace(
        tally, n=tally.n - pending, pending=pending, person_at=at, person_dlt=np.zeros(at.shape, dtype=bool)
    )
    early, late = (
        design.decide(
            replace(dosed, exposure=np.where(pending > 0, share, 0.0), person_time=np.where(at >= 0, share, 0.0))
        )
        for share in (0.0, 0.9)
    )
    if not _same(early, late):
        yield "decisions depend on how long the pending have been followed, and reads_follow_up is False"


def _selection(subject: _Subject) -> Iterator[str]:
    design, tally = subject.design, subject.tally
    selected, grid = design.select(tally), design.grid
    if selected.shape != tally.n.shape or selected.dtype != np.bool_:
        yield "select does not return a truth value for every regimen of every row"
        return
    if design.selects_contour:
        if (selected.reshape(-1, *grid.shape).sum(axis=2) > 1).any():
            yield "more than one dose is selected at a frequency"
    elif (selected.sum(axis=1) > 1).any():
        yield "more than one regimen is selected"
    if (selected & design.eliminated(tally)).any():
        yield "an eliminated regimen is selected"


def _elimination(subject: _Subject) -> Iterator[str]:
    closed = subject.design.eliminated(subject.tally)
    if closed.shape != subject.tally.n.shape or closed.dtype != np.bool_:
        yield "eliminated does not return a truth value for every regimen of every row"
        return
    above = (closed @ subject.design.grid.at_most) > 0
    if not np.array_equal(above, closed):
        yield "a regimen above an eliminated one is open"
    going = ~subject.decisions.stops
    there = np.take_along_axis(closed, subject.decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
    if (going & there).any():
        yield "an eliminated regimen is treated"


def _table(subject: _Subject) -> Iterator[str]:
    table = subject.design.table()
    if table is None:
        return
    tally, decisions, order = subject.tally, subject.decisions, subject.design.grid.at_most
    n, dlt = tally.at_current(tally.n), tally.at_current(tally.dlt)
    here, there = tally.current, decisions.regimen
    for count, up, down in zip(table.n, table.escalate_if_at_most, table.de_escalate_if_at_least, strict=True):
        rows = n == count
        higher = rows & (decisions.action == Action.ESCALATE) & order[here, there]
        if (higher & (dlt > (-1 if up is None else up))).any():
            yield f"with {count} at the current regimen it escalates beyond its table"
        lower = rows & (decisions.action == Action.DE_ESCALATE)
        if (down is None and lower.any()) or (down is not None and (lower & (dlt < down)).any()):
            yield f"with {count} at the current regimen it de-escalates before its table"


CHECKS: tuple[tuple[str, Check], ...] = (
    ("shapes and ranges", _shapes),
    ("reasons match actions", _words),
    ("actions match directions", _directions),
    ("pure function", _pure),
    ("rows are independent", _rows),
    ("follow-up", _follow_up),
    ("selection", _selection),
    ("elimination", _elimination),
    ("decision table", _table),
)
"""The checks on decisions, by name."""
