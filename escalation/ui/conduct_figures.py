"""The conducted trial as figures: the same swimmer plot and cohort steps that show a simulated one."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from escalation.conduct.state import ConductState, Person
from escalation.conduct.treatment import dlt_window, regimen_of
from escalation.decision import Action
from escalation.regimens import Regimen
from escalation.report.charts.trials import Followed, Outcome, Taken, cohort_steps, swimmer
from escalation.ui.conduct_desk import Desk
from escalation.ui.estimates import estimate_chart


def figures(desk: Desk) -> None:
    """Who was treated when and where, once somebody has been."""
    people = followed(desk.state)
    if not people:
        return
    decisions, grid = taken(desk.state), desk.state.in_force().protocol.grid
    opened = desk.state.opened_on
    assert opened is not None
    st.markdown("#### The trial so far")
    said = "; ".join(f"{each.participant} at level {each.regimen}: {each.outcome.replace('_', ' ')}" for each in people)
    st.altair_chart(
        swimmer(people, decisions, today=(desk.today - opened).days, step=17 + 180 // len(people)),
        alt=f"Participants over the days of the trial, day 0 is {opened}. {said}",
    )
    levels = [grid.level(k) for k in range(grid.size)]
    steps = cohort_steps(people, levels, decisions)
    st.altair_chart(steps, alt=f"Level at which each participant was treated. {said}")
    estimate_chart(desk.state.in_force(), desk.state.trial_state())


def followed(state: ConductState) -> list[Followed]:
    """The treated participants in the order of their first infusion, in days from the opening of the trial."""
    assert state.opened_on is not None
    treated = [(p.first_infusion, p) for p in state.people.values() if p.first_infusion is not None and p.assigned]
    grid = state.in_force().protocol.grid
    found = []
    for first, person in sorted(treated, key=lambda pair: (pair[0], pair[1].assigned_seq)):
        infusions = [each.started_at for each in person.infusions.values() if each.started_at is not None]
        last = dlt_window(state, person).last_date()
        assert last is not None
        outcome = _outcome(person, graded=state.in_force().protocol.rule.reads_grades)
        settled = None if outcome == "pending" else _settled(state, person)
        found.append(
            Followed(
                participant=person.code,
                regimen=grid.level(regimen_of(state, person)),
                backfill=person.assigned is not None and person.assigned.stage == "backfill",
                cohort=1 + sum((each.effective or 0) < person.assigned_seq for each in state.effective()),
                first=state.day(first),
                infusions=tuple(sorted(state.day(moment) for moment in infusions)),
                window_end=(last - state.opened_on).days,
                outcome=outcome,
                outcome_day=settled,
            )
        )
    return found


def _outcome(person: Person, *, graded: bool) -> Outcome:
    outcome = person.outcome
    if graded and outcome == "complete" and person.moderate is not None:
        return "moderate"
    return "pending" if outcome == "untreated" else outcome


def _settled(state: ConductState, person: Person) -> int:
    """The day of the trial on which an outcome was known: onset of the DLT, end of the window, or departure."""
    assert state.opened_on is not None
    for each in person.adjudications.values():
        if each.outcome == "dlt" and each.decisions:
            return state.day(datetime.fromisoformat(each.decisions[-1].signature["signed_at"]))
    if person.outcome == "complete" and person.completed is not None:
        return (person.completed - state.opened_on).days
    if person.left is not None:
        return (person.left.on - state.opened_on).days
    end = person.window_last or state.opened_on
    return (end - state.opened_on).days


def taken(state: ConductState) -> list[Taken]:
    """The decisions in effect, on the day of the last signature they needed."""
    grid, found = state.in_force().protocol.grid, []
    for decision in state.effective():
        committee = decision.committee
        if committee.action == "suspend":
            continue
        signed = max(datetime.fromisoformat(each["signed_at"]) for each in decision.signatures)
        level = ""
        if committee.regimen is not None:
            level = grid.level(grid.index(Regimen(committee.regimen.dose, committee.regimen.frequency)))
        action = Action[committee.action.upper()]
        found.append(Taken(state.day(signed), action, level, committee.discussion))
    return found
