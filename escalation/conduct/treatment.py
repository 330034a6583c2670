"""A participant's treatment as the protocol sees it: the assignment, the DLT window, what is wrong with an infusion."""

from __future__ import annotations

from escalation.conduct import records as r
from escalation.conduct.infusions import (
    Finding,
    administration_findings,
    dose_findings,
    dose_given,
    infusion_course,
    product_findings,
    timing_findings,
)
from escalation.conduct.state import ConductState, Person
from escalation.conduct.windows import DltWindow
from escalation.regimens import Regimen

CELLS_PER_KG = "10^6 cells/kg"
"""The unit of planned doses that an infusion's cells and the body weight are compared with."""


def regimen_of(state: ConductState, person: Person) -> int:
    """Position of the regimen a participant is assigned to."""
    assert person.assigned is not None
    level = person.assigned.regimen
    return state.in_force().protocol.grid.index(Regimen(level.dose, level.frequency))


def next_assignment(state: ConductState, participant: str) -> r.Assigned | None:
    """The assignment of a participant to the open regimen, in the role that follows from the cohort; None if none is.

    A place that is free because somebody is not evaluable goes to a replacement, where the protocol replaces.
    """
    trial = state.trial_state() if state.study is not None else None
    if trial is None or trial.stage == "closed":
        return None
    replaced = {p.assigned.replaces for p in state.people.values() if p.assigned is not None}
    lost = [
        p
        for p in state.people.values()
        if p.outcome == "not_evaluable"
        and p.assigned is not None
        and p.assigned.stage != "backfill"
        and regimen_of(state, p) == trial.regimen
        and p.code not in replaced
    ]
    if trial.stage == "expansion":
        role: r.Role = "expansion"
    elif lost and state.in_force().protocol.evaluability.replace:
        role = "replacement"
    else:
        role = "regular" if trial.treated[trial.regimen] else "sentinel"
    regimen = trial.rule.grid.regimen(trial.regimen)
    return r.Assigned(
        participant=participant,
        regimen=r.RegimenLevel(dose=regimen.dose, frequency=regimen.frequency),
        role=role,
        stage=trial.stage,
        replaces=lost[0].code if role == "replacement" else None,
    )


def dlt_window(state: ConductState, person: Person) -> DltWindow:
    """The DLT window of an assigned participant, from the infusions given."""
    protocol = state.in_force().protocol
    given = tuple(each.started_at for each in person.infusions.values() if each.given and each.started_at is not None)
    schedule = protocol.grid.schedule(regimen_of(state, person))
    return DltWindow(protocol.dlt_window, schedule, state.zone, given)


def infusion_findings(state: ConductState, person: Person, record: r.InfusionRecorded) -> tuple[Finding, ...]:
    """What is wrong with an infusion: blocking findings stand, the others are recorded with it."""
    if not record.given or record.started_at is None:
        return ()
    grid, regimen = state.in_force().protocol.grid, regimen_of(state, person)
    found = list(
        product_findings(
            viability_percent=record.viability_percent, release_certificate=record.release_certificate, lot=record.lot
        )
    )
    found += administration_findings(
        started_at=record.started_at,
        ended_at=record.ended_at,
        premedication_at=record.premedication_at,
        operator=record.operator,
        verifier=record.verifier,
    )
    given = {
        number: each.started_at
        for number, each in person.infusions.items()
        if each.given and each.started_at is not None
    }
    missed = [number for number, each in person.infusions.items() if not each.given]
    course = infusion_course(
        grid.schedule(regimen),
        {**given, record.number: record.started_at},
        zone=state.zone,
        today=record.started_at.astimezone(state.zone).date(),
        missed=missed,
    )
    found += timing_findings(course[record.number - 1])
    if record.cells_million is not None and record.weight_kg is not None:
        if grid.unit in ("", CELLS_PER_KG):
            dose = dose_given(
                cells_million=record.cells_million, weight_kg=record.weight_kg, planned_per_kg=grid.amount(regimen)
            )
            found += dose_findings(dose)
        else:
            text = (
                f"dose: the plan is in {grid.unit}, with which cells per kilogram cannot be compared; verify it by hand"
            )
            found.append(Finding("dose.unit", False, text))
    return tuple(found)
