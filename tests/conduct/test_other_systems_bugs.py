"""Bugs of other systems for clinical trials, by their issue number: none of them can happen here."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from escalation.conduct import records as r
from escalation.conduct.accounts import AccountEvent
from escalation.conduct.backup import dump
from escalation.conduct.gates import GateRefused
from escalation.conduct.ledger import IdempotencyError
from escalation.conduct.roles import PermissionRefused, Role
from escalation.errors import EscalationError

from . import kit


def of(site: Any, kind: str) -> list[Any]:
    return [entry for entry in site.entries() if entry.type == kind]


def test_oc_2977_signing_writes_an_audit_entry(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    site.sign(committee)
    entry = site.entries()[-1]
    assert (entry.type, entry.actor, entry.payload["committee"]) == ("decision_signed", "maria", committee)
    confirmed = [line for line in site.conduct.accounts.log(account="maria") if line.event is AccountEvent.CONFIRMED]
    assert "agrees to: escalate" in confirmed[-1].detail
    opening = [line for line in site.conduct.accounts.log(account="ingrid") if line.event is AccountEvent.CONFIRMED]
    assert "opens the trial" in opening[-1].detail


def test_oc_376_377_382_the_right_user_stands_at_a_change_of_verification_status(site):
    site.screen("P1")
    site.record("mona", r.QueryRaised(query="Q1", participant="P1", question="Source?"))
    site.record("carlos", r.QueryAnswered(query="Q1", answer="Chart."))
    site.record("stefan", r.QueryClosed(query="Q1"))
    site.record("maria", r.QueryRaised(query="Q2", participant="P1", question="Date?"))
    actors = [entry.actor for entry in site.entries() if entry.type.startswith("query")]
    assert actors == ["mona", "carlos", "stefan", "maria"]


def test_oc_545_the_right_user_stands_at_a_second_entry_of_the_same_data(site):
    record = r.Screened(participant="P1")
    site.record("ingrid", record, key="form-1")
    kept = site.version
    with pytest.raises((IdempotencyError, GateRefused)):
        site.record("carlos", record, key="form-1")
    assert [(entry.actor, entry.payload["participant"]) for entry in of(site, "screened")] == [("ingrid", "P1")]
    assert site.version == kept


def at_once(*acts: Any) -> list[Any]:
    def run(act: Any) -> Any:
        try:
            return act()
        except EscalationError as problem:
            return problem

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def test_oc_3177_two_writers_leave_no_contradictory_entries(site):
    site.screen("P1")
    site.assign("P1")
    tokens = [site.token(name) for name in ("carlos", "ingrid")]
    services = [site.conduct, site.another()]
    start = site.wait(minutes=10)
    site.wait(minutes=10)

    def infuse(k: int) -> Any:
        record = r.InfusionRecorded(
            participant="P1",
            number=1,
            started_at=start,
            ended_at=start + timedelta(minutes=5),
            weight_kg=60 + k,
            cells_million=120,
            lot=f"L{k}",
            viability_percent=90,
            release_certificate="C",
            operator="nurse A",
            verifier="nurse B",
        )
        return lambda: services[k].record(tokens[k], site.trial, record)

    answers = at_once(infuse(0), infuse(1))
    assert sum(isinstance(each, EscalationError) for each in answers) == 1
    (entry,) = of(site, "infusion_recorded")
    winner = 1 if isinstance(answers[0], EscalationError) else 0
    assert (entry.actor, entry.payload["lot"]) == (("carlos", "ingrid")[winner], f"L{winner}")
    services[1].ledger.close()


def test_oc_2979_a_participant_is_created_once(site):
    tokens = [site.token(name) for name in ("carlos", "ingrid")]
    services = [site.conduct, site.another()]
    acts = [lambda k=k: services[k].record(tokens[k], site.trial, r.Screened(participant="P1")) for k in (0, 1)]
    answers = at_once(*acts)
    assert sum(isinstance(each, EscalationError) for each in answers) == 1
    assert len(of(site, "screened")) == 1
    services[1].ledger.close()


def test_oc_2800_what_verification_says_is_what_was_verified(site):
    site.screen("P1")
    site.record("mona", r.QueryRaised(query="Q1", participant="P1", about=5, question="Source?", critical=True))
    for record, status, name in (
        (r.QueryAnswered(query="Q1", answer="Chart."), "answered", "carlos"),
        (r.QueryClosed(query="Q1"), "closed", "stefan"),
        (r.QueryClosed(query="Q1", reopened=True), "open", "stefan"),
    ):
        site.record(name, record)
        query = site.state().queries["Q1"]
        assert (query.status, query.raised.about, query.raised.participant) == (status, 5, "P1")


def test_oc_3679_the_audit_is_in_chronological_order(site):
    site.treat("P1")
    for hours in (-3, 5, -8, 2):
        site.clock.moment += timedelta(hours=hours)
        site.record("ingrid", r.Deviation(category="note", description=f"clock moved by {hours} h"))
    stamps = [entry.recorded_at for entry in site.entries()]
    assert stamps == sorted(stamps)
    assert [entry.seq for entry in site.entries()] == list(range(1, len(stamps) + 1))
    log = site.conduct.accounts.log()
    assert [line.seq for line in log] == sorted(line.seq for line in log)


def test_oc_1205_exports_carry_full_timestamps_and_reasons(site):
    site.treat("P1")
    site.correct(site.version, "weight_kg", 61.0, "scale read again")
    site.record("mona", r.QueryRaised(query="Q1", participant="P1", question="Source?"))
    text = dump(site.conduct.ledger, site.trial)
    for entry in of(site, "corrected") + of(site, "query_raised"):
        moment = datetime.fromisoformat(entry.recorded_at)
        assert moment.utcoffset() == timedelta(0)
        assert len(entry.recorded_at) == len("2026-01-05T09:00:00.000000Z")
        assert entry.recorded_at in text
    assert "scale read again" in text


def test_oc_1141_the_full_signature_is_stored(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    site.sign(committee)
    signature = site.entries()[-1].payload["signature"]
    assert signature.pop("signed_at").endswith("Z")
    assert signature == {
        "user": "maria",
        "printed_name": "Maria Tester",
        "role": "committee_member",
        "meaning": "agrees to: escalate",
        "record_hash": site.entries()[committee - 1].hash,
        "method": "password re-entered",
    }


@pytest.mark.parametrize("hours", [-8, 0, 5.75, 14])
def test_oc_30_times_keep_their_offset_and_their_moment(site, hours):
    zone = timezone(timedelta(hours=hours))
    site.screen("P1")
    site.assign("P1")
    at = site.wait(hours=1)
    site.infuse("P1", at=at.astimezone(zone))
    assert site.person("P1").first_infusion == at
    stored = of(site, "infusion_recorded")[0]
    assert datetime.fromisoformat(stored.payload["started_at"]) == at
    assert datetime.fromisoformat(stored.effective) == at


def test_oc_30_a_time_without_its_zone_is_refused(site):
    with pytest.raises(ValueError, match="timezone"):
        r.Consented(participant="P1", form_version="1", consented_at=datetime(2026, 1, 5, 9, 0))


def test_oc_41_one_clock_stamps_entries_and_accounts(site):
    """The hand clock stands in January 2026; a time of the database or the operating system would be another."""
    site.screen("P1")
    now = site.clock.moment
    for entry in site.entries():
        assert kit.START <= datetime.fromisoformat(entry.recorded_at) <= now
    for line in site.conduct.accounts.log():
        assert kit.START <= line.at.astimezone(UTC) <= now


def test_oc_220_the_first_value_is_audited(site):
    site.treat("P1")
    infusion = site.version
    for weight in (61.0, 62.0):
        site.correct(infusion, "weight_kg", weight, "scale read again")
    assert site.entries()[infusion - 1].payload["weight_kg"] == 60.0
    changes = [(entry.payload["old"], entry.payload["new"]) for entry in of(site, "corrected")]
    assert changes == [(60.0, 61.0), (61.0, 62.0)]


def test_lc_40_signing_out_is_in_the_log(site):
    token = site.conduct.accounts.sign_in("carlos", kit.PASSWORD).token
    site.conduct.accounts.sign_out(token)
    last = site.conduct.accounts.log(account="carlos")[-1]
    assert (last.event, last.detail) == (AccountEvent.SESSION_ENDED, "signed_out")
    site.conduct.accounts.sign_in("carlos", kit.PASSWORD)
    site.wait(hours=2)
    site.conduct.accounts.end_expired()
    last = site.conduct.accounts.log(account="carlos")[-1]
    assert (last.event, last.detail) == (AccountEvent.SESSION_ENDED, "idle")


def test_oc_1823_the_log_of_one_trial_is_not_seen_in_another(site):
    site.screen("P1")
    site.employ("nora")
    site.delegate("nora", Role.INVESTIGATOR, trial="T-2")
    nora = site.token("nora")
    site.conduct.open_trial(nora, "T-2", site.study, kit.PASSWORD)
    site.conduct.record(nora, "T-2", r.Screened(participant="X1"))
    assert set(site.conduct.state(nora, "T-2").people) == {"X1"}
    assert {entry.trial for entry in site.conduct.ledger.entries("T-2")} == {"T-2"}
    with pytest.raises(PermissionRefused):
        site.conduct.state(nora, site.trial)
    with pytest.raises(PermissionRefused):
        site.conduct.correct(nora, site.trial, 5, "participant", "X1", "curious")
    assert {line.trial for line in site.conduct.accounts.log(trial="T-2")} <= {"T-2"}
    assert {line.trial for line in site.conduct.accounts.log(trial=site.trial)} == {site.trial}
    assert "P1" not in dump(site.conduct.ledger, "T-2")


def test_clinicedc_grades_have_no_gap(site):
    """Grades are entered, never computed from a range that may be empty: exactly 1 to 5."""
    site.treat("P1")
    for grade in range(1, 6):
        site.event("P1", f"E{grade}", grade=grade)
    assert [each.grade for each in site.person("P1").events.values()] == [1, 2, 3, 4, 5]
    for grade in (0, 6, -1):
        with pytest.raises(ValueError, match="grade"):
            site.event("P1", "E9", grade=grade)


@pytest.mark.parametrize("days", [1, 400])
def test_clinicedc_an_event_does_not_begin_in_the_future(site, days):
    site.treat("P1")
    with pytest.raises((EscalationError, ValueError)):
        site.event("P1", onset=(site.today + timedelta(days=days)).isoformat())


@pytest.mark.parametrize("onset", ["2026-13", "2026-02-30", "2026-00-10"])
def test_clinicedc_an_event_begins_on_a_day_that_exists(site, onset):
    site.treat("P1")
    with pytest.raises((EscalationError, ValueError)):
        site.event("P1", onset=onset)


def test_libreclinica_the_database_itself_refuses_to_change_the_log(site):
    site.screen("P1")
    for statement in ("UPDATE ledger SET actor = 'eve'", "DELETE FROM ledger", "UPDATE account_log SET actor = 'eve'"):
        with pytest.raises(Exception, match="append-only"), site.conduct.ledger.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert site.verify().ok


def test_redcap_changed_data_void_what_was_signed_on_them(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    site.dlt("P2")
    with pytest.raises(GateRefused, match="void"):
        site.sign(committee)


def test_every_requirement_has_a_test():
    path = Path(__file__).parents[1] / "requirements.py"
    spec = importlib.util.spec_from_file_location("requirements_table", path)
    requirements = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(requirements)
    found = requirements.collect()
    assert [each for each, tests in found.items() if not tests] == []
    assert set(found) == set(requirements.REQUIREMENTS)
    assert requirements.table({"conduct-15-01": []}).endswith("| **none** |")
