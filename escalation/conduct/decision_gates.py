"""Gates of the protocol and of the decision: snapshot, recommendation, committee, signature, circulation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np

from escalation.conduct import records as r
from escalation.conduct.criteria import criteria_names
from escalation.conduct.draws import may_be_treated
from escalation.conduct.state import ConductState
from escalation.conduct.treatment_gates import effective_at
from escalation.conduct.windows import WindowError, site_zone
from escalation.decision import Action
from escalation.partial_order import without_skipping
from escalation.regimens import Regimen

Refusals = Iterator[str]

JUSTIFICATION_LENGTH = 20
"""Characters a justification has at least."""


def recommendation(state: ConductState, record: r.Recommended, now: datetime) -> Refusals:
    """A recommendation rests on a snapshot that still holds (G3)."""
    snapshot = state.snapshots.get(record.snapshot)
    if snapshot is None:
        yield f"snapshot {record.snapshot} is unknown (G3)"
    elif snapshot.data.get("outcomes") != state.outcomes():
        yield "the data have changed since the snapshot; take a new one (G3)"


def committee(state: ConductState, record: r.CommitteeRecorded, now: datetime) -> Refusals:
    """A committee decides on a current recommendation, justifies a departure, and stays within the limits."""
    recommendation = state.recommendations.get(record.recommendation)
    if recommendation is None:
        yield f"recommendation {record.recommendation} is unknown (G3)"
        return
    snapshot = state.snapshots[recommendation.snapshot]
    if snapshot.data.get("outcomes") != state.outcomes():
        yield "the data have changed since the snapshot; take a new one (G3)"
        return
    last = state.effective()[-1:]
    if last and record.recommendation < (last[0].effective or 0):
        yield "the recommendation is older than the last decision; take a new snapshot (G3)"
    yield from critical_queries(state)
    if departs(record, recommendation.advice) and len(record.justification.strip()) < JUSTIFICATION_LENGTH:
        yield f"the decision departs from the recommendation: justify it in {JUSTIFICATION_LENGTH} characters or more"
    yield from _draw(record, recommendation.advice)
    yield from limits(state, record, recommendation.advice)


def critical_queries(state: ConductState) -> Refusals:
    """Critical queries hold back the decision until they are closed (G4)."""
    held = [code for code, query in state.queries.items() if query.raised.critical and query.status != "closed"]
    if held:
        yield f"critical queries {', '.join(held)} are not closed (G4)"


def departs(record: r.CommitteeRecorded, advice: dict[str, Any]) -> bool:
    """Whether a committee's decision is another one than the design recommends.

    A design that randomises recommends every regimen it can draw.
    """
    if record.action == "stop":
        return advice.get("action") != "stop" or [each.model_dump() for each in record.selected] != list(
            advice.get("selected", [])
        )
    if record.regimen is None or "allocation" not in advice:
        same = record.regimen is not None and record.regimen.model_dump() == advice.get("next")
        return not (same and record.action == advice.get("action") and record.size == advice.get("size"))
    possible = record.action != "suspend" and record.regimen.model_dump() in may_be_treated(advice)
    return not (possible and record.size == advice.get("size"))


def sets_draw_aside(record: r.CommitteeRecorded, advice: dict[str, Any]) -> bool:
    """Whether a decision follows the design and yet treats another regimen than the one it drew."""
    if "draw" not in advice or record.regimen is None or departs(record, advice):
        return False
    return record.regimen.model_dump() != advice.get("next")


def _draw(record: r.CommitteeRecorded, advice: dict[str, Any]) -> Refusals:
    """A draw that is set aside is said to be, and only such a one."""
    said = len(record.draw_set_aside.strip())
    if not sets_draw_aside(record, advice):
        if said:
            yield "no draw is set aside by this decision; leave draw_set_aside empty"
    elif said < JUSTIFICATION_LENGTH:
        yield (
            "the design allows this regimen and drew another: say in draw_set_aside, in "
            f"{JUSTIFICATION_LENGTH} characters or more, why the draw is set aside"
        )


def limits(state: ConductState, record: r.CommitteeRecorded, advice: dict[str, Any]) -> Refusals:
    """What no committee can decide, whatever its justification; an untried regimen is selected by a model only."""
    trial = state.trial_state()
    if trial.stage == "closed":
        yield "the trial has ended; it cannot be continued by a decision"
        return
    grid, here = trial.rule.grid, trial.regimen
    closed = trial.rule.design.eliminated(trial.rule.counted(trial.tally()))[0]
    for level in record.selected:
        chosen = grid.index(Regimen(level.dose, level.frequency))
        if not trial.n[chosen] and level.model_dump() not in advice.get("selected", []):
            yield f"level {grid.level(chosen)} was not tried and cannot be selected against the recommendation"
        if closed[chosen]:
            yield f"level {grid.level(chosen)} is eliminated by its DLTs and cannot be selected"
    if record.action in ("stop", "suspend"):
        return
    if record.regimen is None or record.size < 1:
        yield "the decision names no regimen or no participants; where it departs, name both"
        return
    there = grid.index(Regimen(record.regimen.dose, record.regimen.frequency))
    word = "stay" if there == here else "de_escalate" if grid.at_most[there, here] else "escalate"
    if record.action != word:
        yield f"going from level {grid.level(here)} to level {grid.level(there)} is called {word.replace('_', ' ')}"
    if closed[there]:
        yield "the regimen is eliminated by its DLTs; no decision can open it"
    up_dose = int(grid.dose_of[there] - grid.dose_of[here])
    up_often = int(grid.frequency_of[there] - grid.frequency_of[here])
    if up_dose > 0 and up_often > 0:
        yield "dose and frequency cannot be raised together"
    # a design that reads open windows may go on from a regimen where everybody is still pending
    known = np.array(trial.n) + np.array(trial.pending) * trial.rule.design.needs_clock > 0
    if there != trial.rule.start and not without_skipping(known[None, :], grid)[0, there]:
        yield "the step skips a level"
    total = sum(trial.n) + sum(trial.pending) + trial.expansion_n + trial.expansion_pending
    most = state.in_force().protocol.max_patients
    if most is not None and total + record.size > most:
        yield f"{total} evaluable participants and {record.size} more exceed the maximum of {most}"
    if record.action == Action.ESCALATE.word and any(trial.pending):
        pending = [
            code
            for code, each in state.outcomes().items()
            if each["outcome"] == "pending" and each["stage"] != "backfill"
        ]
        if state.in_force().protocol.escalate_when != "certain":
            yield f"{', '.join(pending)} is still in the DLT window; this protocol escalates on complete windows only"


def signature(state: ConductState, record: r.DecisionSigned, now: datetime) -> Refusals:
    """A signature covers the newest committee record while its data stand."""
    decision = state.decisions.get(record.committee)
    if decision is None:
        yield f"committee record {record.committee} is unknown"
        return
    if decision.effective is not None:
        yield "the decision is in effect already"
    if record.signature["user"] in {each["user"] for each in decision.signatures}:
        yield "this user has signed already"
    if decision.snapshot.data.get("outcomes") != state.outcomes():
        yield "the data have changed since the snapshot: the signatures are void, take a new snapshot (G3)"
    yield from critical_queries(state)
    newest = max(state.decisions)
    if record.committee != newest:
        yield f"a later committee record ({newest}) exists"


def circulation(state: ConductState, record: r.Circulated, now: datetime) -> Refusals:
    """A decision is circulated once it is in effect."""
    decision = state.decisions.get(record.committee)
    if decision is None or decision.effective is None:
        yield "the decision is not in effect; it is circulated once it is signed"
    elif record.at < effective_at(state, decision):
        yield "the circulation lies before the last signature"


def amendment(state: ConductState, record: r.ProtocolAmended, now: datetime) -> Refusals:
    """An amendment comes into force today, and not before a decision already taken."""
    today = now.astimezone(state.zone).date()
    if record.from_date > today:
        yield f"from_date {record.from_date} lies in the future; record the amendment on the day it comes into force"
    for decision in state.effective():
        if record.from_date < effective_at(state, decision).astimezone(state.zone).date():
            yield f"from_date {record.from_date} lies before a decision taken under the protocol it replaces"
            break


def opening(state: ConductState, record: r.TrialOpened, now: datetime) -> Refusals:
    """A trial is opened in a known time zone and with known criteria."""
    try:
        site_zone(record.zone)
    except WindowError as error:
        yield str(error)
    if record.criteria is not None and record.criteria not in criteria_names():
        yield f"criteria {record.criteria!r} are unknown; there are: {', '.join(criteria_names())}"


def closing(state: ConductState, record: r.TrialClosed, now: datetime) -> Refusals:
    """A trial is not closed while somebody is in the window or waiting for treatment."""
    open_people = [code for code, each in state.outcomes().items() if each["outcome"] == "pending"]
    if open_people:
        yield f"{', '.join(open_people)} is still in the DLT window or under adjudication; suspend assignment instead"
    waiting = [p.code for p in state.people.values() if p.assigned and p.outcome == "untreated" and p.left is None]
    if waiting:
        yield f"{', '.join(waiting)} is assigned and not treated; end the participation first"
