"""The situations of live conduct that must come out right, one or more tests each, numbered as in the reference."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Barrier
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from escalation.conduct import records as r
from escalation.conduct.accounts import SessionEndedError
from escalation.conduct.demo import TRIAL, Demo
from escalation.conduct.gates import GateRefused
from escalation.conduct.invented import HandClock
from escalation.conduct.ledger import StaleVersionError
from escalation.conduct.service import ConductError
from escalation.conduct.state import conduct_state
from escalation.conduct.verify import verify_trial
from escalation.errors import EscalationError

_spec = spec_from_file_location("conduct_kit", Path(__file__).with_name("kit.py"))
kit = module_from_spec(_spec)
_spec.loader.exec_module(kit)


@pytest.fixture
def escalated(site):
    """Three without a DLT at level 1 and a decision in effect that opens level 2."""
    site.cohort("P1", "P2", "P3")
    site.decision = site.decide()
    assert site.state().trial_state().regimen == 1
    return site


def together(*acts: Any) -> list[Any]:
    """What each act answered or raised, all started at the same moment in their own threads."""
    barrier = Barrier(len(acts))

    def run(act: Any) -> Any:
        barrier.wait(10)
        try:
            return act()
        except EscalationError as problem:
            return problem

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


# 1: the signature comes before the first dosing ----------------------------------------------------


def test_situation_01_nobody_is_assigned_before_the_decision_is_signed(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    site.screen("P4")
    with pytest.raises(GateRefused, match=r"G1, G2"):
        site.assign("P4")
    site.sign(committee)
    site.assign("P4")
    assert site.person("P4").assigned.regimen == r.RegimenLevel(dose=2, frequency=1)


def test_situation_01_a_dosing_dated_before_the_signature_is_refused(site):
    site.cohort("P1", "P2", "P3")
    before = site.clock.moment
    site.wait(hours=1)
    site.decide()
    site.screen("P4")
    site.assign("P4")
    kept = site.version
    with pytest.raises(GateRefused, match=r"signed after the infusion \(G2\)"):
        site.infuse("P4", started_at=before)
    assert site.version == kept
    site.infuse("P4")
    assert site.outcome("P4") == "pending"


def test_situation_01_a_correction_cannot_move_a_dosing_before_the_signature(escalated):
    before = escalated.clock.moment - timedelta(days=1)
    escalated.treat("P4")
    infusion = escalated.version
    with pytest.raises(EscalationError):
        escalated.correct(infusion, "started_at", before.isoformat())


# 2: a late DLT ----------------------------------------------------------------------------------


def test_situation_02_late_dlt_leaves_the_snapshot_and_triggers_a_review(escalated):
    site = escalated
    frozen = {entry.seq: entry for entry in site.entries()}
    snapshots = dict(site.state().snapshots)
    site.screen("P4")
    site.dlt("P1", onset=(site.day_zero("P1") + timedelta(days=20)).isoformat())
    state = site.state()
    assert state.snapshots == snapshots
    assert {entry.seq: entry for entry in site.entries()}.items() >= frozen.items()
    assert "P1" in state.review_due
    assert state.contradicted() == {site.decision: ["P1"]}
    assert site.counts() == ([3, 0, 0], [1, 0, 0], [0, 0, 0])
    with pytest.raises(GateRefused, match="must meet again"):
        site.assign("P4")
    assert site.verify().ok


def test_situation_02_the_proposal_alone_suspends_the_cell(escalated):
    escalated.screen("P4")
    escalated.propose("P1")
    assert escalated.outcome("P1") == "pending"
    with pytest.raises(GateRefused, match="must meet again"):
        escalated.assign("P4")


def test_situation_02_a_participant_assigned_before_is_not_dosed_in_a_suspended_cell(escalated):
    escalated.screen("P4")
    escalated.assign("P4")
    escalated.dlt("P1")
    with pytest.raises(GateRefused):
        escalated.infuse("P4")


def test_situation_02_a_committee_suspension_also_holds_the_first_dosing(escalated):
    escalated.screen("P4")
    escalated.assign("P4")
    escalated.decide(action="suspend", regimen=None, size=0, justification=kit.LONG_REASON)
    with pytest.raises(GateRefused):
        escalated.infuse("P4")


def test_situation_02_every_decision_since_is_flagged(escalated):
    site = escalated
    site.cohort("P4", "P5", "P6")
    second = site.decide()
    site.cohort("P7", "P8", "P9", dlts=("P9",))
    site.dlt("P2")
    assert site.state().contradicted() == {site.decision: ["P2"], second: ["P2"]}


def test_situation_02_the_committee_meets_again_and_the_cell_opens(escalated):
    site = escalated
    site.dlt("P1")
    site.decide(
        action="de_escalate",
        regimen=r.RegimenLevel(dose=1, frequency=1),
        size=3,
        justification=kit.LONG_REASON,
        selected=(),
    )
    assert site.state().review_due == ""
    assert site.state().contradicted() == {site.decision: ["P1"]}, "the old decision stays flagged"
    site.treat("P4")
    assert site.person("P4").assigned.regimen.dose == 1


# 3: a regrading that makes a DLT -------------------------------------------------------------------


def test_situation_03_a_proposal_after_regrading_makes_the_participant_pending(site):
    site.cohort("P1")
    site.event("P1", grade=2)
    assert site.outcome("P1") == "complete"
    site.record("ingrid", r.Regraded(participant="P1", event="E1", grade=3, on=site.today))
    site.propose("P1", events=("E1",))
    assert site.person("P1").grades["E1"][0] == (None, 2)
    assert [grade for _, grade in site.person("P1").grades["E1"]] == [2, 3]
    assert site.outcome("P1") == "pending"
    assert site.counts() == ([0, 0, 0], [0, 0, 0], [1, 0, 0])


def test_situation_03_regrading_to_3_within_the_window_is_not_negative_while_nobody_has_adjudicated(site):
    site.treat("P1")
    site.wait(days=5)
    site.event("P1", grade=2)
    site.wait(days=1)
    site.record("ingrid", r.Regraded(participant="P1", event="E1", grade=3, on=site.today))
    with pytest.raises(GateRefused):
        site.complete("P1")
    assert site.outcome("P1") == "pending"


def test_situation_03_regrading_after_the_window_was_closed_puts_the_participant_back_to_pending(site):
    site.treat("P1")
    site.wait(days=5)
    site.event("P1", grade=2)
    site.complete("P1")
    site.record("ingrid", r.Regraded(participant="P1", event="E1", grade=3, on=site.today))
    assert site.outcome("P1") == "pending"


# 4: a DLT downgraded ------------------------------------------------------------------------------


def test_situation_04_a_downgrade_keeps_the_history_and_recomputes(site):
    site.cohort("P1", "P2", "P3", dlts=("P3",))
    before = site.recommend()
    site.adjudicate("P3", "not_dlt", by="chen")
    decisions = site.person("P3").adjudications["A1"].decisions
    assert [each.outcome for each in decisions] == ["dlt", "not_dlt"]
    assert [each.signature["user"] for each in decisions] == ["maria", "chen"]
    assert site.outcome("P3") == "pending"
    site.complete("P3")
    assert site.counts() == ([3, 0, 0], [0, 0, 0], [0, 0, 0])
    assert [site.advice(each)["action"] for each in (before, site.recommend())] == ["stay", "escalate"]
    with pytest.raises(GateRefused, match="G3"):
        site.committee(before)
    assert site.verify().ok


def test_situation_04_a_downgrade_after_the_decision_is_reviewed(site):
    site.cohort("P1", "P2", "P3", dlts=("P3",))
    committee = site.decide()
    site.screen("P4")
    site.wait(days=30)
    site.adjudicate("P3", "not_dlt")
    for outcome in ("pending", "complete"):
        assert site.outcome("P3") == outcome
        assert site.state().contradicted() == {committee: ["P3"]}
        with pytest.raises(GateRefused, match="must meet again"):
            site.assign("P4")
        if outcome == "pending":
            site.complete("P3")
    assert [each.outcome for each in site.person("P3").adjudications["A1"].decisions] == ["dlt", "not_dlt"]


def test_situation_04_a_deferred_adjudication_is_pending(site_of):
    site = site_of(kit.weekly())
    site.treat("P1")
    site.propose("P1")
    site.adjudicate("P1", "deferred")
    assert site.outcome("P1") == "pending"
    with pytest.raises(GateRefused, match="DLT"):
        site.infuse("P1", 2, site.person("P1").first_infusion + timedelta(days=7))


# 5: a partial date ---------------------------------------------------------------------------------


@pytest.mark.parametrize("onset", ["2026-01", "2026-02", "2026", "unknown"])
def test_situation_05_a_partial_date_counts_until_it_is_resolved(site, onset):
    site.treat("P1")
    site.wait(days=40)
    site.event("P1", onset=onset)
    site.propose("P1", onset=onset, events=("E1",))
    assert site.outcome("P1") == "pending"
    site.adjudicate("P1", "dlt")
    assert site.outcome("P1") == "dlt"


def test_situation_05_resolved_outside_it_cannot_be_adjudicated_as_a_dlt(site):
    site.treat("P1")
    site.wait(days=40)
    site.propose("P1", onset="2026-02")
    proposal = site.version
    outside = (site.day_zero("P1") + timedelta(days=29)).isoformat()
    site.correct(proposal, "onset", outside)
    with pytest.raises(GateRefused):
        site.adjudicate("P1", "dlt")
    assert site.outcome("P1") != "dlt"


@pytest.mark.parametrize("onset", ["2025-12", "2026-13-45", "2026-02-30", "2031"])
def test_situation_05_a_date_that_cannot_be_is_refused(site, onset):
    site.treat("P1")
    site.wait(days=10)
    with pytest.raises((EscalationError, ValueError)):
        site.propose("P1", onset=onset)


# 6: the wrong patient -------------------------------------------------------------------------------


def entry_trail(site: Any, code: str) -> list[int]:
    """Entries about a participant, corrections that touch it included."""
    return [
        entry.seq
        for entry in site.entries()
        if entry.payload.get("participant") == code or code in entry.payload.get("participants", ())
    ]


def test_situation_06_both_trails_show_a_wrong_patient_entry(site):
    site.treat("P1")
    site.treat("P2")
    site.event("P1", grade=2)
    wrong = site.version
    correction = site.correct(wrong, "participant", "P2", "reported for the wrong patient").version
    assert {wrong, correction} <= set(entry_trail(site, "P1"))
    assert correction in entry_trail(site, "P2")
    entry = site.entries()[correction - 1]
    assert (entry.payload["old"], entry.payload["new"]) == ("P1", "P2")
    assert entry.reason == "reported for the wrong patient"
    assert entry.actor == "carlos"
    assert "E1" not in site.person("P1").events
    assert "E1" in site.person("P2").events
    assert site.entries()[wrong - 1].payload["participant"] == "P1", "the first value stays readable"


@pytest.mark.parametrize("reason", ["", "   "])
def test_situation_06_the_reason_is_required(site, reason):
    site.treat("P1")
    site.treat("P2")
    site.event("P1")
    kept = site.version
    with pytest.raises(ConductError, match="reason"):
        site.correct(kept, "participant", "P2", reason)
    assert site.version == kept


def test_situation_06_a_second_move_shows_in_the_trail_of_the_participant_it_leaves(site):
    for code in ("P1", "P2", "P3"):
        site.treat(code)
    site.event("P1", grade=2)
    wrong = site.version
    site.correct(wrong, "participant", "P2")
    second = site.correct(wrong, "participant", "P3").version
    assert "E1" in site.person("P3").events
    assert second in entry_trail(site, "P3")
    assert second in entry_trail(site, "P2")


def test_situation_06_a_code_cannot_be_changed_into_one_that_exists(site):
    site.treat("P1")
    site.record("ingrid", r.Screened(participant="P9"))
    before = site.person("P1")
    with pytest.raises(EscalationError):
        site.correct(site.version, "participant", "P1")
    assert site.person("P1") == before


# 7: a missed infusion ------------------------------------------------------------------------------


def missed_fourth(site: Any) -> None:
    site.treat("P1")
    first = site.person("P1").first_infusion
    for number in (2, 3):
        site.infuse("P1", number, first + timedelta(days=7 * (number - 1)))
    site.clock.to(first + timedelta(days=28))
    site.missed("P1", 4)


def test_situation_07_a_missed_fourth_infusion_is_not_evaluable_and_shows_three(site_of):
    site = site_of(kit.weekly())
    missed_fourth(site)
    assert sum(each.given for each in site.person("P1").infusions.values()) == 3
    with pytest.raises(GateRefused, match="3 of 4 infusions"):
        site.complete("P1")
    site.not_evaluable("P1", "fourth infusion missed")
    assert site.counts() == ([0, 0, 0], [0, 0, 0], [0, 0, 0])
    assert site.state().trial_state().open_places == 3
    site.screen("P2")
    site.assign("P2")
    assert (site.person("P2").assigned.role, site.person("P2").assigned.replaces) == ("replacement", "P1")


def test_situation_07_three_of_four_are_enough_where_the_protocol_says_so(site_of):
    site = site_of(kit.weekly(evaluability={"minimum_infusions": 0.75}))
    missed_fourth(site)
    site.complete("P1")
    assert site.counts()[0] == [1, 0, 0]


def test_situation_07_a_dlt_counts_whatever_was_missed(site_of):
    site = site_of(kit.weekly())
    missed_fourth(site)
    site.dlt("P1", onset=(site.day_zero("P1") + timedelta(days=25)).isoformat())
    assert site.counts()[:2] == ([1, 0, 0], [1, 0, 0])


def test_situation_07_an_infusion_corrected_to_not_given_no_longer_completes_the_window(site_of):
    site = site_of(kit.weekly())
    site.treat("P1")
    site.remaining("P1")
    fourth = site.version
    site.complete("P1")
    site.correct(fourth, "given", False, "the bag was returned to the pharmacy")
    assert site.outcome("P1") != "complete"


# 8: an unrelated death ------------------------------------------------------------------------------


def died_on_day_10(site: Any) -> None:
    site.treat("P1")
    site.clock.to(site.person("P1").first_infusion + timedelta(days=10))
    site.event("P1", grade=5, attribution="unrelated", serious=True, aware_at=site.clock.moment)
    site.leave("P1", "died", "road accident")


def test_situation_08_a_death_is_pending_until_it_is_adjudicated(site):
    died_on_day_10(site)
    assert site.outcome("P1") == "pending"
    assert "P1 is pending" in site.state().snapshots.get(site.recommend() - 1).gaps


def test_situation_08_not_evaluable_is_not_the_default(site):
    died_on_day_10(site)
    with pytest.raises(GateRefused):
        site.not_evaluable("P1", "died of another cause")
    site.propose("P1", events=("E1",))
    site.adjudicate("P1", "not_dlt")
    site.not_evaluable("P1", "died of another cause")
    assert site.outcome("P1") == "not_evaluable"


def test_situation_08_the_committee_may_call_it_a_dlt(site):
    died_on_day_10(site)
    site.propose("P1", events=("E1",))
    site.adjudicate("P1", "dlt")
    assert site.outcome("P1") == "dlt"


@pytest.mark.parametrize("how", ["died", "lost", "withdrew_consent", "withdrew_study"])
def test_situation_08_nobody_completes_a_window_after_leaving_in_it(site, how):
    site.treat("P1")
    site.clock.to(site.person("P1").first_infusion + timedelta(days=10))
    site.leave("P1", how)
    with pytest.raises(GateRefused):
        site.complete("P1")


# 9: viability --------------------------------------------------------------------------------------


@pytest.mark.parametrize("viability", [84.99, 0.0, None])
def test_situation_09_a_lot_that_fails_viability_is_not_infused(site, viability):
    site.screen("P1")
    site.assign("P1")
    kept = site.version
    with pytest.raises(GateRefused, match="viability"):
        site.infuse("P1", viability_percent=viability)
    assert site.version == kept
    note = r.Deviation(participant="P1", category="override", description="The sponsor accepts the lot as it is.")
    site.record("ingrid", note)
    with pytest.raises(GateRefused, match="viability"):
        site.infuse("P1", viability_percent=viability, findings=("override",))
    site.infuse("P1", viability_percent=85.0)


@pytest.mark.parametrize("missing", [{"lot": " "}, {"release_certificate": ""}])
def test_situation_09_a_lot_that_is_not_released_is_not_infused(site, missing):
    site.screen("P1")
    site.assign("P1")
    with pytest.raises(GateRefused, match="lot"):
        site.infuse("P1", **missing)


# 10: daylight saving -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("Europe/Berlin", datetime(2026, 3, 15, 23, 30)),  # the clock goes forward on 29 March
        ("Europe/Berlin", datetime(2026, 10, 11, 0, 30)),  # and back on 25 October
        ("America/New_York", datetime(2026, 3, 1, 23, 30)),
        ("Asia/Shanghai", datetime(2026, 3, 15, 0, 30)),
    ],
)
def test_situation_10_the_window_ends_on_its_day_whatever_the_clock_does(site_of, zone, start):
    local = start.replace(tzinfo=ZoneInfo(zone))
    site = site_of(zone=zone, start=local.astimezone(UTC))
    site.treat("P1")
    zero = site.clock.moment.astimezone(ZoneInfo(zone)).date()
    assert zero == start.date()
    assert site.day_zero("P1") == zero
    for day in (27, 28, 29):
        noon = datetime.combine(zero + timedelta(days=day), datetime.min.time(), ZoneInfo(zone)).replace(hour=12)
        site.clock.to(noon.astimezone(UTC))
        assert site.state().day(site.clock.moment) == day
        done = r.WindowCompleted(participant="P1", on=zero + timedelta(days=day))
        if day < 29:
            with pytest.raises(GateRefused, match="window is open until"):
                site.record("ingrid", done)
        else:
            site.record("ingrid", done)
    stamps = [entry.recorded_at for entry in site.entries()]
    assert stamps == sorted(stamps)
    assert all(stamp.endswith("Z") for stamp in stamps)


def test_situation_10_the_repeated_hour_keeps_its_order(site_of):
    """Half past two happens twice on 25 October; the two are told apart and stay in order."""
    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=0)
    second = datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=1)
    site = site_of(zone="Europe/Berlin", start=datetime(2026, 10, 25, 0, 0, tzinfo=UTC))
    site.screen("P1")
    site.assign("P1")
    site.infuse("P1", at=first.astimezone(UTC))
    site.record("carlos", lab("P1", first))
    site.clock.to(second.astimezone(UTC))
    site.record("carlos", lab("P1", second))
    times = [entry.effective for entry in site.entries() if entry.type == "laboratory"]
    assert [datetime.fromisoformat(each).utcoffset() for each in times] == [timedelta(hours=2), timedelta(hours=1)]
    assert datetime.fromisoformat(times[1]) - datetime.fromisoformat(times[0]) == timedelta(hours=1)


def lab(code: str, at: datetime, value: float = 1.2) -> r.Laboratory:
    return r.Laboratory(participant=code, analyte="ANC", value=value, unit="10^9/L", sampled_at=at)


def test_situation_10_a_clock_set_back_does_not_reorder_the_record(site):
    site.treat("P1")
    site.clock.moment -= timedelta(hours=1)
    site.record("carlos", lab("P1", site.clock.moment))
    stamps = [entry.recorded_at for entry in site.entries()]
    assert stamps == sorted(stamps)
    assert site.verify().ok


# 11: two writers -----------------------------------------------------------------------------------


def test_situation_11_the_second_writer_gets_a_conflict(site):
    site.treat("P1")
    seen = site.version
    site.event("P1", "E1", grade=1)
    with pytest.raises(StaleVersionError, match=r"nothing was recorded.*ingrid") as conflict:
        site.record("carlos", lab("P1", site.clock.moment), expected_version=seen)
    assert [entry.type for entry in conflict.value.since] == ["adverse_event"]
    assert [entry.type for entry in site.entries()][-1] == "adverse_event"


def test_situation_11_two_corrections_of_one_value_conflict(site):
    site.treat("P1")
    infusion = seen = site.version
    conduct = site.conduct
    conduct.correct(site.token("carlos"), site.trial, infusion, "weight_kg", 61.0, "scale read again")
    with pytest.raises(StaleVersionError):
        conduct.correct(site.token("ingrid"), site.trial, infusion, "weight_kg", 62.0, "chart", expected_version=seen)
    assert site.person("P1").infusions[1].weight_kg == 61.0


def test_situation_11_of_two_edits_at_once_one_is_recorded_and_the_other_told(site):
    site.treat("P1")
    seen = site.version
    tokens = {name: site.token(name) for name in ("ingrid", "carlos")}
    services = {"ingrid": site.conduct, "carlos": site.another()}
    at = site.clock.moment

    def write(name: str) -> Any:
        return lambda: services[name].record(
            tokens[name], site.trial, lab("P1", at, len(name)), expected_version=seen, reason=name
        )

    for _ in range(5):
        answers = together(write("ingrid"), write("carlos"))
        lost = [each for each in answers if isinstance(each, Exception)]
        assert len(lost) == 1
        assert isinstance(lost[0], StaleVersionError)
        assert site.version == seen + 1
        seen += 1
    services["carlos"].ledger.close()
    assert site.verify().ok


# 12 and 13: restored, and replayed -------------------------------------------------------------------


def test_situation_12_a_restored_copy_has_the_same_hash_and_the_same_state(escalated, tmp_path):
    copy = tmp_path / "restored.sqlite"
    with sqlite3.connect(escalated.path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    restored = kit.open_quickly(copy, escalated.clock)
    assert restored.ledger.head(escalated.trial) == escalated.conduct.ledger.head(escalated.trial)
    assert restored.ledger.entries(escalated.trial) == escalated.entries()
    assert conduct_state(restored.ledger.entries(escalated.trial)) == escalated.state()
    assert restored.ledger.check(escalated.trial, escalated.conduct.ledger.head(escalated.trial)).ok
    restored.ledger.close()


def test_situation_12_a_restored_copy_that_lost_its_tail_is_told_apart(escalated, tmp_path):
    copy = tmp_path / "old.sqlite"
    with sqlite3.connect(escalated.path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    escalated.screen("P4")
    restored = kit.open_quickly(copy, escalated.clock)
    assert not restored.ledger.check(escalated.trial, escalated.conduct.ledger.head(escalated.trial)).ok
    restored.ledger.close()


def test_situation_13_replaying_the_log_reproduces_the_state(escalated):
    site = escalated
    site.cohort("P4", "P5", "P6", dlts=("P5",))
    site.event("P4", grade=2)
    site.correct(site.version, "grade", 1)
    before = site.state()
    entries = site.entries()
    assert conduct_state(entries) == conduct_state(entries) == before
    site.reopen()
    assert site.state() == before
    assert site.state() is not before


# 14: the committee departs -------------------------------------------------------------------------


def test_situation_14_departing_needs_a_justification(site):
    site.cohort("P1", "P2", "P3")
    recommendation = site.recommend()
    here = r.RegimenLevel(dose=1, frequency=1)
    for words in ("", "too short", " " * 40):
        with pytest.raises(GateRefused, match="departs from the recommendation: justify"):
            site.committee(recommendation, action="stay", regimen=here, justification=words)


def test_situation_14_two_signatures_and_the_recommendation_unchanged(site):
    site.cohort("P1", "P2", "P3")
    recommendation = site.recommend()
    recorded = site.entries()[recommendation - 1]
    here = r.RegimenLevel(dose=1, frequency=1)
    committee = site.committee(recommendation, action="stay", regimen=here, justification=kit.LONG_REASON)
    site.sign(committee, "maria")
    assert site.state().decisions[committee].effective is None
    assert site.state().trial_state().open_places == 0
    with pytest.raises(GateRefused, match="signed already"):
        site.sign(committee, "maria")
    site.sign(committee, "chen")
    decision = site.state().decisions[committee]
    assert decision.effective == site.version
    assert decision.committee.justification == kit.LONG_REASON
    assert [each["user"] for each in decision.signatures] == ["maria", "chen"]
    assert all(each["record_hash"] == site.entries()[committee - 1].hash for each in decision.signatures)
    assert site.entries()[recommendation - 1] == recorded
    assert recorded.payload["advice"]["action"] == "escalate"
    assert site.state().trial_state().regimen == 0
    assert site.verify().ok


# 15: the last place --------------------------------------------------------------------------------


def test_situation_15_two_patients_and_one_place(site):
    site.treat("P1")
    site.treat("P2")
    site.screen("P3")
    site.screen("P4")
    tokens = site.token("ingrid"), site.conduct.accounts.sign_in("ingrid", kit.PASSWORD).token
    services = site.conduct, site.another()
    answers = together(
        lambda: services[0].assign(tokens[0], site.trial, "P3"), lambda: services[1].assign(tokens[1], site.trial, "P4")
    )
    lost = [each for each in answers if isinstance(each, Exception)]
    assert len(lost) == 1
    assert isinstance(lost[0], (StaleVersionError, GateRefused))
    assert str(lost[0])
    assert sum(site.person(code).assigned is not None for code in ("P3", "P4")) == 1
    assert site.state().trial_state().open_places == 0
    services[1].ledger.close()
    assert site.verify().ok


# 16: deactivated in the middle -----------------------------------------------------------------------


def test_situation_16_a_deactivated_user_is_refused_at_the_next_act(site):
    token = site.token("carlos")
    site.treat("P1")
    site.conduct.record(token, site.trial, lab("P1", site.clock.moment))
    site.conduct.accounts.deactivate("carlos", by=kit.ADMIN, reason="left the hospital")
    kept = site.version
    with pytest.raises(SessionEndedError, match="deactivated"):
        site.conduct.record(token, site.trial, lab("P1", site.clock.moment))
    assert site.version == kept


def test_situation_16_a_deactivated_member_cannot_sign(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    token = site.token("maria")
    site.conduct.accounts.deactivate("maria", by=kit.ADMIN, reason="left the committee")
    with pytest.raises(SessionEndedError):
        site.conduct.sign_decision(token, site.trial, committee, kit.PASSWORD)
    assert site.state().decisions[committee].signatures == []


# 17: amended in the middle --------------------------------------------------------------------------


def amended(site: Any, study: Any, **changes: Any) -> Any:
    values = {"from_date": site.today, "reason": "Amendment 1, approved by the ethics committee"} | changes
    return site.conduct.amend(site.token("ingrid"), site.trial, study, kit.PASSWORD, **values)


def test_situation_17_decisions_keep_the_version_they_were_made_under(escalated):
    site = escalated
    before = site.study.hash
    newer = kit.study(max_patients=15)
    amended(site, newer)
    site.cohort("P4", "P5", "P6")
    second = site.decide()
    decisions = site.state().decisions
    assert decisions[site.decision].recommendation.study_hash == before
    assert decisions[second].recommendation.study_hash == newer.hash != before
    assert site.state().in_force().hash == newer.hash
    assert site.verify().ok
    assert site.verify().recommendations == 2


def test_situation_17_an_amendment_is_not_in_force_before_its_date(escalated):
    site, newer = escalated, kit.study(max_patients=15)
    try:
        amended(site, newer, from_date=site.today + timedelta(days=30))
    except EscalationError:
        return  # refusing a date in the future is as good
    assert site.state().in_force().hash == site.study.hash


def test_situation_17_an_amendment_that_contradicts_the_past_is_refused(escalated):
    site = escalated
    with pytest.raises(EscalationError):
        amended(site, kit.study(start={"dose": 2, "frequency": 1}))
    assert site.state().trial_state().n == [3, 0, 0]


@pytest.mark.parametrize("reason", ["", "  "])
def test_situation_17_an_amendment_needs_its_reason(escalated, reason):
    kept = escalated.version
    with pytest.raises(EscalationError):
        amended(escalated, kit.study(max_patients=15), reason=reason)
    assert escalated.version == kept


# 18: the last day -----------------------------------------------------------------------------------


def on_day(site: Any, day: int) -> str:
    return (site.day_zero("P1") + timedelta(days=day)).isoformat()


@pytest.mark.parametrize("day", [0, 1, 28])
def test_situation_18_an_onset_up_to_day_28_is_in(site, day):
    site.treat("P1")
    site.wait(days=35)
    site.propose("P1", onset=on_day(site, day))
    site.adjudicate("P1", "dlt")
    assert site.outcome("P1") == "dlt"


@pytest.mark.parametrize("day", [-1, 29, 34])
def test_situation_18_an_onset_from_day_29_on_is_out(site, day):
    site.treat("P1")
    site.wait(days=35)
    with pytest.raises(GateRefused):
        site.dlt("P1", onset=on_day(site, day))
    assert site.outcome("P1") != "dlt"
    assert site.counts()[1] == [0, 0, 0]


@pytest.mark.parametrize("day", [27, 28])
def test_situation_18_the_window_is_not_complete_before_its_last_day_is_over(site, day):
    site.treat("P1")
    site.wait(days=day)
    with pytest.raises(GateRefused, match="window is open until"):
        site.record("ingrid", r.WindowCompleted(participant="P1", on=site.today))
    site.wait(days=29 - day)
    site.record("ingrid", r.WindowCompleted(participant="P1", on=site.today))
    assert site.outcome("P1") == "complete"


def test_situation_18_a_dlt_on_day_28_counts_although_it_was_reported_later(site):
    site.treat("P1")
    site.complete("P1")
    site.dlt("P1", onset=on_day(site, 28))
    assert site.outcome("P1") == "dlt"


# 19: waivers ---------------------------------------------------------------------------------------


def test_situation_19_an_ineligible_participant_is_not_assigned(site):
    site.screen("P1", "not_eligible")
    with pytest.raises(GateRefused, match=r"no waivers \(G6\)"):
        site.assign("P1")
    waiver = r.Deviation(participant="P1", category="waiver", description="Granted by the sponsor by telephone.")
    site.record("ingrid", waiver)
    with pytest.raises(GateRefused, match=r"no waivers \(G6\)"):
        site.assign("P1")
    assert site.person("P1").assigned is None


@pytest.mark.parametrize("verdict", ["incomplete", ""])
def test_situation_19_unknown_eligibility_is_not_eligibility(site, verdict):
    site.record("ingrid", r.Screened(participant="P1"))
    site.consent("P1")
    if verdict:
        site.record("ingrid", r.EligibilityRecorded(participant="P1", verdict=verdict))
    with pytest.raises(GateRefused, match="G6"):
        site.assign("P1")


def test_situation_19_a_correction_of_the_verdict_is_no_waiver(site):
    site.screen("P1", "not_eligible")
    with suppress(EscalationError):
        site.correct(site.version, "verdict", "eligible", "the investigator thinks so")
    with pytest.raises(GateRefused, match="G6"):
        site.assign("P1")
    assert site.person("P1").assigned is None


def test_situation_19_a_verdict_that_contradicts_its_findings_is_refused(site):
    site.record("ingrid", r.Screened(participant="P1"))
    site.consent("P1")
    form = {"participant": "P1", "verdict": "eligible", "findings": ("platelets",)}
    with pytest.raises((EscalationError, ValueError)):
        site.record("ingrid", r.EligibilityRecorded(**form))


# 20: the replay ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    clock = HandClock()
    conduct = kit.open_quickly(tmp_path_factory.mktemp("replay") / "demo.sqlite", clock, create=True)
    Demo(conduct, clock).run()
    yield conduct
    conduct.ledger.close()


def test_situation_20_replay_of_nct04014166(replayed):
    entries = replayed.ledger.entries(TRIAL)
    state = conduct_state(entries)
    people = state.people.values()
    assert len(people) == 22
    assert sum(bool(p.failed) for p in people) == 3
    assert sum(p.left is not None and p.left.how == "withdrew_consent" for p in people) == 1
    treated = [p for p in people if p.first_infusion is not None]
    assert len(treated) == 18
    assert [sum(p.assigned.stage == stage for p in treated) for stage in ("escalation", "expansion")] == [12, 6]
    trial = state.trial_state()
    assert (trial.n, trial.dlt, trial.selected) == ([3, 3, 6], [0, 0, 1], (2,))
    assert (trial.expansion_n, trial.expansion_dlt, trial.stage) == (6, 0, "closed")
    assert not trial.withdrawn
    assert {p.assigned.regimen.frequency for p in treated} == {1}
    assert "level 3" in state.closed
    assert verify_trial(TRIAL, entries, replayed.ledger.head(TRIAL)).ok


def test_situation_20_the_answers_of_the_design_step_by_step(replayed):
    state = conduct_state(replayed.ledger.entries(TRIAL))
    steps = [d.recommendation.advice for d in state.effective()]
    assert [(each["action"], (each["next"] or {}).get("dose"), each["size"]) for each in steps] == [
        ("escalate", 2, 3),
        ("escalate", 3, 3),
        ("stay", 3, 3),
        ("stop", None, 0),
        ("stop", None, 0),
    ]
    assert [each["selected"] for each in steps[3:]] == [[{"dose": 3, "frequency": 1}]] * 2
    assert all(len(d.signatures) == 2 and d.circulated for d in state.effective())
