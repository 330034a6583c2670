"""Simulated trials replayed in live conduct: the same events lead to the same decisions, for every design."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pytest

from escalation import trial as fold
from escalation.calendar import CalendarEngine
from escalation.conduct import records as r
from escalation.conduct.decisions import advice_form, advise
from escalation.conduct.state import conduct_state, proposal_hash
from escalation.decision import Action
from escalation.registry import design_names
from escalation.study import Study, validate

from . import kit

OPENED = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SIGNED = {"user": "maria", "signed_at": OPENED.isoformat(), "record_hash": "0" * 64}
GRID = [[0.08, 0.15, 0.3], [0.15, 0.3, 0.45]]
AXIS = [0.08, 0.15, 0.3, 0.5]
ONE = [0.3]
TRIALS = 4


class Line(NamedTuple):
    """A ledger entry as the fold reads it."""

    seq: int
    type: str
    payload: dict[str, Any]
    recorded_at: str
    actor: str = "nobody"


def on(day: int) -> date:
    """The date of a day of the simulation."""
    return (OPENED + timedelta(days=day)).date()


class Log:
    """Entries in the making, without a database."""

    def __init__(self, study: Study) -> None:
        self.lines: list[Line] = []
        opened = {"study": study.as_dict(), "study_hash": study.hash, "signature": SIGNED}
        self.add(0, r.TrialOpened(**opened))

    def add(self, day: int, *records: r.Record) -> int:
        for record in records:
            payload = record.model_dump(mode="json", exclude={"type"})
            at = (OPENED + timedelta(days=day)).isoformat()
            self.lines.append(Line(len(self.lines) + 1, record.type, payload, at))
        return len(self.lines)


def study_for(design: dict[str, Any], truth: list[Any], **protocol: Any) -> Study:
    rows = truth if isinstance(truth[0], list) else [truth]
    days = [[0], [0, 7]][: len(rows)]
    return validate(
        {
            "schema": 1,
            "id": "replay",
            "title": "A study to be simulated and replayed",
            "family": "single_arm" if truth == ONE else "escalation",
            "protocol": {
                "regimens": {"doses": [10 * (k + 1) for k in range(len(rows[0]))], "frequencies": days},
                "design": design,
                **({"max_patients": 18} | protocol),
            },
            "scenarios": [
                {
                    "name": "assumed",
                    "truth": rows,
                    "accrual": {"law": "poisson", "mean_gap_days": 6},
                    "drop_out": 0.1,
                    "screen_failure": 0.1,
                }
            ],
        }
    )


NEEDED = {
    "decision_table": {
        "table": "DLTs,3,6,9\n0,E,E,E\n1,S,E,E\n2,D,S,S\n3,DU,D,S\n4,,DU,D\n5,,DU,DU\n6,,DU,DU\n7,,,DU\n8,,,DU\n9,,,DU"
    }
}
"""Parameters without which a design cannot be built."""


def cases() -> list[Any]:
    """Every registered design, on an axis, on a grid and at one regimen, wherever it works there."""
    found = []
    for name in design_names():
        for place, truth in (("axis", AXIS), ("grid", GRID), ("one", ONE)):
            try:
                study = study_for({"name": name} | NEEDED.get(name, {}), truth)
            except Exception as fault:
                if not hasattr(fault, "faults"):
                    raise
                continue  # not on these regimens
            found.append(pytest.param(study, id=f"{name}-{place}"))
    return found


CASES = cases()


def test_every_registered_design_is_replayed():
    assert {case.id.rsplit("-", 1)[0] for case in CASES} == set(design_names())


def courses(study: Study, trials: int = TRIALS) -> list[Any]:
    scenario = study.scenarios[0]
    engine = CalendarEngine(study.protocol, scenario, study.truth(scenario))
    return [engine.course(20260105, replicate) for replicate in range(trials)]


def told(log: Log, event: Any, state: fold.TrialState) -> None:
    """What people would have recorded of a simulated event."""
    day, code = event.day, f"P{getattr(event, 'participant', 0)}"
    if isinstance(event, fold.Enrolled):
        regimen = state.rule.grid.regimen(event.regimen)
        level = r.RegimenLevel(dose=regimen.dose, frequency=regimen.frequency)
        stage = state.participants[event.participant].stage
        log.add(day, r.Screened(participant=code))
        log.add(day, r.Assigned(participant=code, regimen=level, role="regular", stage=stage))
    elif isinstance(event, fold.Infused):
        start = OPENED + timedelta(days=day)
        log.add(day, r.InfusionRecorded(participant=code, number=event.number, started_at=start))
    elif isinstance(event, fold.DltObserved):
        proposal = {"participant": code, "adjudication": "A1"}
        proposed = r.DltProposed(**proposal, criterion="simulated", onset=on(day).isoformat())
        settled = r.DltDecided(
            **proposal,
            outcome="dlt",
            attribution="probable",
            discussion="simulated",
            proposal_hash=proposal_hash(proposed),
            signature=SIGNED,
        )
        log.add(day, proposed, settled)
    elif isinstance(event, fold.WindowCompleted):
        log.add(day, r.WindowCompleted(participant=code, on=on(day)))
    else:
        log.add(day, r.NotEvaluable(participant=code, cause=event.cause))


def decided(log: Log, event: fold.Decided, study: Study) -> None:
    """Snapshot, recommendation, committee and signature of a simulated decision, as conduct gives them.

    Where the design draws, the committee records the regimen that was drawn.
    """
    state = conduct_state(log.lines)
    data = {"outcomes": state.outcomes()}
    snapshot = log.add(event.day, r.SnapshotTaken(as_of=state.version, data=data, data_hash="0" * 64))
    advice = advice_form(state, on(event.day))
    named = {"snapshot": snapshot, "data_hash": "0" * 64, "study_hash": study.hash, "software": "0"}
    recommendation = log.add(event.day, r.Recommended(**named, advice=advice))
    minutes = {"meeting": "SRC", "attendance": ("all",), "discussion": "as recommended"}
    drawn = "allocation" in advice
    level = r.RegimenLevel(**study.protocol.grid.regimen(event.regimen)._asdict())
    committee = log.add(
        event.day,
        r.CommitteeRecorded(
            recommendation=recommendation,
            action=event.action if drawn else advice["action"],
            regimen=level if drawn else advice["next"],
            size=advice["size"],
            selected=tuple(advice["selected"]) if advice["action"] == "stop" else (),
            **minutes,
        ),
    )
    log.add(event.day, r.DecisionSigned(committee=committee, signature=SIGNED))


def compare(state: Any, simulated: fold.TrialState) -> None:
    trial = state.trial_state()
    for name in ("n", "dlt", "pending", "stage", "regimen", "open_places", "memory", "selected", "withdrawn"):
        assert getattr(trial, name) == getattr(simulated, name), name
    for name in ("cohort_n", "cohort_dlt", "expansion_n", "expansion_dlt", "expansion_pending", "treated"):
        assert getattr(trial, name) == getattr(simulated, name), name


def replay(study: Study, course: Any) -> int:
    """Tell a course to live conduct; how many decisions came out the same."""
    log, decisions = Log(study), 0
    simulated = fold.TrialState(study.protocol.rule, replace_not_evaluable=study.protocol.evaluability.replace)
    for event in course.events:
        if isinstance(event, fold.Decided):
            state = conduct_state(log.lines)
            compare(state, simulated)
            recorded, known = (each.tally(event.day) for each in (state.trial_state(), simulated))
            for name in ("pending", "exposure", "person_at", "person_time", "person_dlt"):
                assert np.array_equal(getattr(recorded, name), getattr(known, name)), name
            advice = advise(state, on(event.day))
            assert advice.decides
            # where the design randomises, the simulation drew one of the regimens that the advice allows
            if advice.allocation is not None and advice.action != Action.STOP:
                assert advice.allocation[event.regimen] > 0
                advice = advice.drawing(event.regimen, simulated.regimen, study.protocol.grid)
            assert advice.action.word == event.action
            assert (advice.regimen, advice.size) == (event.regimen, event.size)
            assert (advice.reasons, advice.selected, advice.memory) == (event.reasons, event.selected, event.memory)
            decided(log, event, study)
            decisions += 1
            simulated.apply(event)
        else:
            simulated.apply(event)
            told(log, event, simulated)
    compare(conduct_state(log.lines), course.state)
    return decisions


@pytest.mark.parametrize("study", CASES)
def test_replay_gives_the_simulated_decisions(study):
    assert sum(replay(study, course) for course in courses(study)) >= TRIALS


CLOCKS = [
    {"name": "tite_crm", "weights": "adaptive", "target": 0.25},
    {"name": "tite_crm", "weights": "hazard", "hazard": {"delayed": {"a": 1.0}}, "minimum_follow_up": 0.25},
    {"name": "tite_boin", "estimator": "ess", "target": 0.25},
    {"name": "rolling_six", "variant": "iq"},
]


@pytest.mark.parametrize("protocol", [{"cohort_size": 1}, {"review_lag_days": 3}, {"expansion_": True}], ids=str)
@pytest.mark.parametrize("design", CLOCKS, ids=str)
def test_replay_of_designs_that_read_follow_up_times(design, protocol):
    """Their decisions depend on the day: replayed on the day they were taken, they come out the same."""
    if protocol == {"expansion_": True}:
        protocol = {"expansion": EXPANSION, "max_patients": 24}
    study = study_for(design, AXIS, **protocol)
    found = courses(study, 6)
    assert sum(replay(study, course) for course in found) >= 6
    assert any(person.status == "dlt" for course in found for person in course.state.participants.values())


EXPANSION = {
    "size": 6,
    "look_every": 3,
    "monitor": {"threshold": 0.33, "certainty": 0.8, "prior": [1, 1], "pooled": True},
}


@pytest.mark.parametrize(
    "protocol",
    [
        {"expansion": EXPANSION},
        {"review_lag_days": 7, "escalate_when": "windows_complete"},
        {"close_cohort_when_certain": True},
        {"stagger": {"sentinel_days": 14, "between_days": 3}},
        {"evaluability": {"replace": False}},
        {"guards": [{"guard": "coherence", "target": 0.3}], "cohort_size": 2},
    ],
    ids=lambda protocol: next(iter(protocol)),
)
def test_replay_under_other_protocols(protocol):
    name = "boin" if "guards" in protocol else "three_plus_three"
    design = {"name": name, "target": 0.3} if name == "boin" else {"name": name}
    study = study_for(design, AXIS, **protocol)
    assert sum(replay(study, course) for course in courses(study, 8)) >= 8


def test_a_course_told_wrongly_is_noticed():
    """The comparison can fail: one DLT left out gives other counts or another decision."""
    study = study_for({"name": "three_plus_three"}, [0.4, 0.5, 0.6])
    course = next(each for each in courses(study, 20) if any(isinstance(e, fold.DltObserved) for e in each.events))
    position = next(k for k, event in enumerate(course.events) if isinstance(event, fold.DltObserved))
    dlt = course.events[position]
    course.events[position] = fold.WindowCompleted(dlt.day, dlt.participant)
    with pytest.raises(AssertionError):
        replay(study, course)


@pytest.mark.parametrize("name", ["boin", "three_plus_three"])
def test_replay_through_the_service(tmp_path, name):
    """The calendar closes a window on its last day, the service on the day after: its window is a day shorter."""
    design = {"name": name, "target": 0.3} if name == "boin" else {"name": name}
    study = study_for(design, AXIS, max_patients=9)
    short = study_for(design, AXIS, max_patients=9, dlt_window={"days": 27, "anchor": "first"})
    course = courses(study, 1)[0]
    site = kit.Site(tmp_path, short, start=OPENED)
    for event in course.events:
        code = f"P{getattr(event, 'participant', 0)}"
        site.clock.to(OPENED + timedelta(days=event.day))
        if isinstance(event, fold.Enrolled):
            site.screen(code)
            site.assign(code)
        elif isinstance(event, fold.Infused):
            site.infuse(code, event.number)
        elif isinstance(event, fold.DltObserved):
            site.dlt(code)
        elif isinstance(event, fold.WindowCompleted):
            site.record("ingrid", r.WindowCompleted(participant=code, on=site.today))
        elif isinstance(event, fold.NotEvaluable):
            site.not_evaluable(code, event.cause)
        else:
            advice = site.advice(site.state().decisions[site.decide()].committee.recommendation)
            assert (advice["action"], advice["size"]) == (event.action, event.size)
            assert tuple(advice["reasons"]) == event.reasons
    compare(site.state(), course.state)
    assert site.verify().ok
    site.close()
