"""Backfill in a conducted trial: which regimens are open, who may be assigned to them, and what is in the way.

What is open is worked out by the same function that simulation asks, on what the ledger holds. A regimen that
escalation has gone through was opened by a signed decision, or is the first of the trial; nobody opens another.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from escalation.advice import ends
from escalation.conduct import records as r
from escalation.conduct.decisions import advise
from escalation.conduct.state import ConductState, Decision
from escalation.regimens import Regimen

Refusals = Iterator[str]


def open_regimens(state: ConductState) -> tuple[int, ...]:
    """The regimens open for backfill, counted from 0; none once escalation would end on what is known."""
    trial = state.trial_state()
    found = trial.open_for_backfill()
    return () if not found or ends(advise(state)) else found


def next_backfill(state: ConductState, participant: str) -> r.Assigned | None:
    """The assignment of a participant to the open regimen that is filled first, None when none is open."""
    trial = state.trial_state() if state.study is not None else None
    stage = None if trial is None else trial.rule.backfill
    if trial is None or stage is None:
        return None
    mask = np.zeros(trial.rule.grid.size, dtype=bool)
    mask[list(open_regimens(state))] = True
    chosen = stage.first(mask, trial.rule.grid)
    if chosen is None:
        return None
    level = trial.rule.grid.regimen(chosen)
    return r.Assigned(
        participant=participant,
        regimen=r.RegimenLevel(dose=level.dose, frequency=level.frequency),
        role="backfill",
        stage="backfill",
    )


def opened_by(state: ConductState, regimen: int, before: int) -> Decision | None:
    """The latest decision in effect before an entry that opened a regimen; None for the first regimen of the trial."""
    grid = state.in_force().protocol.grid
    found = [
        each
        for each in state.effective()
        if (each.effective or 0) < before
        and each.committee.regimen is not None
        and grid.index(Regimen(each.committee.regimen.dose, each.committee.regimen.frequency)) == regimen
    ]
    return found[-1] if found else None


def assignment(state: ConductState, record: r.Assigned, escalation: list[str], now: datetime) -> Refusals:
    """Why nobody can be backfilled at a regimen now; ``escalation`` is why the open cohort takes nobody."""
    if state.suspended:
        yield f"the committee has suspended assignment: {state.suspended}"
    if state.review_due:
        yield f"the committee must meet again: {state.review_due}"
    trial, protocol = state.trial_state(), state.in_force().protocol
    stage, grid = trial.rule.backfill, trial.rule.grid
    if stage is None:
        yield "the protocol backfills nobody; assign to the open cohort"
        return
    if not escalation:
        yield "the open cohort has a place; a participant is backfilled only when escalation has none"
    regimen = grid.index(Regimen(record.regimen.dose, record.regimen.frequency))
    level = f"level {grid.level(regimen)}"
    found = open_regimens(state)
    if regimen not in found:
        listed = ", ".join(f"level {grid.level(k)}" for k in found) or "none"
        yield f"{level} is not open for backfill (open: {listed}); {stage.describe(trial.rule.design)}"
        return
    if regimen != trial.rule.start and opened_by(state, regimen, state.version + 1) is None:
        yield f"no signed decision has opened {level} (G1, G2)"
    earliest = trial.earliest_next(protocol.stagger.sentinel_days, protocol.stagger.between_days, regimen)
    if earliest > state.day(now):
        assert state.opened_on is not None
        yield f"the stagger allows the next participant at {level} from {state.opened_on + timedelta(days=earliest)} on"


def response(state: ConductState, record: r.ResponseRecorded, now: datetime) -> Refusals:
    """A response is assessed once, in a treated participant, not before the first infusion."""
    person = state.people[record.participant]
    if person.first_infusion is None:
        yield "the participant was not treated"
    elif record.on < person.first_infusion.astimezone(state.zone).date():
        yield f"the response lies before the first infusion of {person.first_infusion.astimezone(state.zone).date()}"
    if person.response is not None:
        yield "a response is recorded already; correct it instead"


def form(state: ConductState) -> dict[str, Any] | None:
    """What the dashboard shows of backfilling, None where the protocol backfills nobody."""
    trial = state.trial_state()
    stage, grid = trial.rule.backfill, trial.rule.grid
    if stage is None:
        return None
    return {
        "open": [grid.level(k) for k in open_regimens(state)],
        "rule": stage.describe(trial.rule.design),
        "regimens": [
            {
                "level": grid.level(k),
                "evaluable": trial.backfill_n[k],
                "dlts": trial.backfill_dlt[k],
                "pending": trial.backfill_pending[k],
                "responses": trial.responses[k],
                "treated": trial.treated[k],
                "cap": stage.cap,
            }
            for k in range(grid.size)
            if trial.treated[k]
        ],
    }
