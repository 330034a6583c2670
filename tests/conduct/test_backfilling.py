"""Backfill in a conducted trial: who may be assigned where, responses, decisions, and the command line."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from escalation.cli import app
from escalation.conduct import gates
from escalation.conduct import records as r
from escalation.conduct.backfilling import open_regimens
from escalation.conduct.gates import GateRefused
from escalation.conduct.listings import listings
from escalation.conduct.status import status_form
from escalation.conduct.treatment_gates import opening_decision
from escalation.study import validate

from . import kit


def study(**backfill):
    """BOIN on three doses with backfill, single infusions, without stagger."""
    data = kit.study(max_patients=18).as_dict()
    data["protocol"]["backfill"] = backfill
    data["scenarios"][0]["responses"] = [0.2, 0.3, 0.4]
    return validate(data)


def respond(site: kit.Site, code: str, **changes):
    values = {"on": site.today, "criteria": "complete response", "assessor": "Dr Reader"} | changes
    return site.record("ingrid", r.ResponseRecorded(participant=code, **values))


def decide(site: kit.Site) -> None:
    """The committee follows the recommendation, signs and circulates."""
    committee = site.committee(site.recommend())
    site.conduct.sign_decision(site.token("maria"), site.trial, committee, kit.PASSWORD)
    site.wait(seconds=1)
    told = r.Circulated(committee=committee, to=("ward",), at=site.clock.moment)
    site.record("carlos", told)


def refused(site: kit.Site, code: str) -> str:
    with pytest.raises(GateRefused) as found:
        site.assign(code, backfill=True)
    return str(found.value)


@pytest.fixture
def second(site_of):
    """A trial whose first cohort is complete and whose second is full, at level 2, nobody with a response yet."""
    site = site_of(study())
    site.cohort("P1", "P2", "P3")
    decide(site)
    for code in ("P4", "P5", "P6"):
        site.treat(code)
    site.screen("P7")
    return site


def test_backfill_waits_for_a_recorded_response(second):
    assert "no regimen is open for backfill" in refused(second, "P7")
    respond(second, "P2")
    made = second.assign("P7", backfill=True).entries[-1].payload
    assert (made["role"], made["stage"], made["regimen"]) == ("backfill", "backfill", {"dose": 1, "frequency": 1})
    second.infuse("P7")
    state = second.state().trial_state()
    assert (state.backfill_pending, state.pending, state.responses) == ([1, 0, 0], [0, 3, 0], [1, 0, 0])
    assert second.verify().ok


def test_a_place_of_escalation_comes_first(site_of):
    site = site_of(study())
    site.cohort("P1", "P2", "P3")
    respond(site, "P1")
    decide(site)
    site.screen("P4")
    assert "the open cohort has a place" in refused(site, "P4")
    assert site.assign("P4").entries[-1].payload["stage"] == "escalation"


def test_only_to_a_regimen_that_is_open_and_below(second):
    respond(second, "P2")
    record = r.Assigned(
        participant="P7", regimen=r.RegimenLevel(dose=2, frequency=1), role="backfill", stage="backfill"
    )
    with pytest.raises(GateRefused, match=r"level 2 is not open for backfill \(open: level 1\)"):
        gates.check(second.state(), record, second.clock.moment)
    third = record.model_copy(update={"regimen": r.RegimenLevel(dose=3, frequency=1)})
    with pytest.raises(GateRefused, match="level 3 is not open for backfill"):
        gates.check(second.state(), third, second.clock.moment)


def test_the_cap_holds(site_of):
    site = site_of(study(cap=4))
    site.cohort("P1", "P2", "P3")
    respond(site, "P1")
    decide(site)
    for code in ("P4", "P5", "P6", "P7", "P8"):
        site.screen(code)
    for code in ("P4", "P5", "P6"):
        site.assign(code)
        site.infuse(code)
    site.assign("P7", backfill=True)
    assert "no regimen is open" in refused(site, "P8")  # an assigned place is a place taken
    assert open_regimens(site.state()) == ()


def test_a_protocol_without_backfill_backfills_nobody(site_of):
    site = site_of(kit.study())
    site.cohort("P1", "P2", "P3")
    site.screen("P4")
    assert "no regimen is open for backfill" in refused(site, "P4")
    record = r.Assigned(
        participant="P4", regimen=r.RegimenLevel(dose=1, frequency=1), role="backfill", stage="backfill"
    )
    with pytest.raises(GateRefused, match="backfills nobody"):
        gates.check(site.state(), record, site.clock.moment)


def test_eligibility_suspension_and_review_hold_for_the_backfilled_too(second):
    respond(second, "P2")
    second.record("ingrid", r.Screened(participant="P8"))
    assert "consent is missing" in refused(second, "P8")
    second.event("P1", onset=second.day_zero("P1").isoformat())
    second.dlt("P1", onset=second.day_zero("P1").isoformat())
    assert "the committee must meet again" in refused(second, "P7")


@pytest.mark.parametrize(
    ("code", "changes", "why"),
    [
        ("P7", {}, "was not treated"),
        ("P2", {"on": kit.START.date() - timedelta(days=1)}, "before the first infusion"),
        ("P2", {"on": kit.START.date() + timedelta(days=900)}, "lies in the future"),
    ],
)
def test_a_response_belongs_to_a_treated_participant_and_a_day(second, code, changes, why):
    with pytest.raises(GateRefused, match=why):
        respond(second, code, **changes)


def test_a_response_is_recorded_once_and_corrected_with_its_reason(second):
    entry = respond(second, "P2").version
    with pytest.raises(GateRefused, match="correct it instead"):
        respond(second, "P2")
    second.correct(entry, "criteria", "partial response")
    assert second.person("P2").response.criteria == "partial response"
    listed = listings(second.entries(), second.clock.moment)["responses"].iloc[0]
    assert (listed["participant"], listed["criteria"], listed["assessor"]) == ("P2", "partial response", "Dr Reader")


def test_open_windows_of_the_backfilled_hold_up_no_decision_and_count_when_complete(second):
    respond(second, "P2")
    second.assign("P7", backfill=True)
    second.wait(days=20)
    second.infuse("P7")
    for code in ("P4", "P5", "P6"):
        second.complete(code)
    assert second.outcome("P7") == "pending"
    advice = second.advice(second.recommend())
    assert (advice["action"], advice["decides"]) == ("escalate", True)
    snapshot = list(second.state().snapshots.values())[-1]
    assert snapshot.data["backfill"] == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert snapshot.data["responses"] == [1, 0, 0]
    decide(second)
    second.dlt("P7")
    state = second.state().trial_state()
    assert (state.n, state.backfill_n, state.backfill_dlt) == ([3, 3, 0], [1, 0, 0], [1, 0, 0])
    assert not second.state().review_due  # it was pending when the committee met
    assert second.verify().ok


def test_the_first_infusion_needs_the_decision_that_opened_the_backfilled_regimen(site_of):
    site = site_of(study())
    site.cohort("P1", "P2", "P3")
    decide(site)
    site.cohort("P4", "P5", "P6")
    respond(site, "P5")
    decide(site)
    for code in ("P7", "P8", "P9"):
        site.treat(code)
    site.screen("P10")
    assert site.assign("P10", backfill=True).entries[-1].payload["regimen"] == {"dose": 2, "frequency": 1}
    opening = opening_decision(site.state(), site.person("P10"))
    assert opening.committee.regimen == r.RegimenLevel(dose=2, frequency=1)
    site.infuse("P10")
    assert site.verify().ok


def test_the_dashboard_shows_what_is_open_for_backfill(second):
    respond(second, "P2")
    head = second.conduct.ledger.head(second.trial)
    form = status_form(second.state(), second.trial, second.clock.moment, head)
    assert form["backfill"]["open"] == ["1"]
    assert form["backfill"]["regimens"][0] == {
        "level": "1",
        "evaluable": 0,
        "dlts": 0,
        "pending": 0,
        "responses": 1,
        "treated": 3,
        "cap": 12,
    }


def test_a_simulated_trial_that_backfills_is_conducted_from_the_command_line(tmp_path):
    ran = CliRunner().invoke(
        app,
        [
            *("trial", "simulate", "textbook-bf-boin", "--scenario", "s3", "--replicate", "2", "--json"),
            *("--database", str(tmp_path / "conduct.sqlite"), "--set", "protocol.max_patients=12"),
        ],
    )
    assert ran.exit_code == 0, ran.output
    decisions = json.loads(ran.stdout)["decisions"]
    assert decisions[-1]["conducted"] == decisions[-1]["simulated"]
    assert decisions[-1]["conducted"]["action"] == "stop"
