"""The service of live conduct: every gate refused and passed, permissions, stagger, conflicts, limits, corrections."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from escalation.conduct import records as r
from escalation.conduct.accounts import AccountEvent, SignInError
from escalation.conduct.acts import NEEDED, SERVICE_ONLY
from escalation.conduct.gates import GateRefused
from escalation.conduct.ledger import IdempotencyError, StaleVersionError
from escalation.conduct.roles import EVERY_TRIAL, MATRIX, Permission, PermissionRefused, Role
from escalation.conduct.service import INSTALLATION, ConductError
from escalation.errors import EscalationError

from . import kit

LEVEL_1, LEVEL_2 = r.RegimenLevel(dose=1, frequency=1), r.RegimenLevel(dose=2, frequency=1)


# the gates -----------------------------------------------------------------------------------------


def test_gate_g1_only_the_open_regimen_is_assigned(site):
    site.cohort("P1", "P2", "P3")
    site.screen("P4")
    with pytest.raises(GateRefused, match="G1"):
        site.assign("P4")
    site.decide()
    site.assign("P4")
    assert site.person("P4").assigned.regimen == LEVEL_2


def test_gate_g1_the_caller_cannot_choose_a_regimen(site):
    site.screen("P1")
    chosen = r.Assigned(participant="P1", regimen=LEVEL_2, role="regular", stage="escalation")
    with pytest.raises(ConductError, match="its own method"):
        site.record("ingrid", chosen)


def test_gate_g2_signature_before_the_dosing(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    site.screen("P4")
    with pytest.raises(GateRefused, match="G2"):
        site.assign("P4")
    site.sign(committee)
    site.circulate(committee)
    site.assign("P4")
    site.infuse("P4")


def test_gate_g3_the_recommendation_names_a_frozen_snapshot(site):
    site.cohort("P1", "P2", "P3")
    token = site.token("stefan")
    with pytest.raises(ConductError, match="G3"):
        site.conduct.recommend(token, site.trial, 5)
    snapshot = site.conduct.snapshot(token, site.trial).version
    site.dlt("P1")
    with pytest.raises(GateRefused, match=r"changed since the snapshot.*G3"):
        site.conduct.recommend(site.token("stefan"), site.trial, snapshot)
    snapshot = site.conduct.snapshot(site.token("stefan"), site.trial).version
    receipt = site.conduct.recommend(site.token("stefan"), site.trial, snapshot)
    assert receipt.entries[0].payload["data_hash"] == site.entries()[snapshot - 1].payload["data_hash"]


def test_gate_g3_the_committee_decides_on_data_that_still_stand(site):
    site.cohort("P1", "P2", "P3")
    recommendation = site.recommend()
    site.dlt("P1")
    with pytest.raises(GateRefused, match="G3"):
        site.committee(recommendation, action="stay", regimen=LEVEL_1, justification=kit.LONG_REASON)


def test_gate_g3_a_recommendation_serves_one_decision_only(site):
    site.cohort("P1", "P2", "P3")
    recommendation = site.recommend()
    committee = site.committee(recommendation)
    site.sign(committee)
    site.circulate(committee)
    for code in ("P4", "P5", "P6"):
        site.screen(code)
        site.assign(code)
    with pytest.raises(GateRefused):  # nobody at level 2 has been treated: three more places rest on nothing
        site.sign(site.committee(recommendation))


def test_gate_g4_a_snapshot_lists_what_is_missing(site):
    site.cohort("P1", "P2")
    site.treat("P3")
    site.record("stefan", r.QueryRaised(query="Q1", participant="P1", question="Is the dose right?", critical=True))
    receipt = site.conduct.snapshot(site.token("stefan"), site.trial)
    assert receipt.entries[0].payload["gaps"] == ["P3 is pending", "critical query Q1 is open"]


def test_gate_g4_an_open_critical_query_holds_the_decision(site):
    site.cohort("P1", "P2", "P3")
    site.record("stefan", r.QueryRaised(query="Q1", participant="P1", question="Is the dose right?", critical=True))
    with pytest.raises(GateRefused, match="Q1"):
        site.decide()
    assert site.state().effective() == []
    site.record("carlos", r.QueryAnswered(query="Q1", answer="Checked against the source."))
    site.record("stefan", r.QueryClosed(query="Q1"))
    site.decide()
    assert len(site.state().effective()) == 1


def test_gate_g4_escalation_waits_for_the_window_where_the_protocol_says_so(site_of):
    site = site_of(kit.study(escalate_when="windows_complete"))
    site.cohort("P1", "P2")
    site.treat("P3")
    with pytest.raises(GateRefused, match="P3 is still in the DLT window"):
        site.committee(site.recommend(), action="escalate", regimen=LEVEL_2, size=3, justification=kit.LONG_REASON)


def test_gate_g5_the_signer_holds_a_role_today(site):
    site.employ("nora")
    site.delegate("nora", Role.COMMITTEE_MEMBER, site.today + timedelta(days=60))
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    for name in ("ingrid", "stefan", "carlos", "mona", kit.ADMIN):
        with pytest.raises(PermissionRefused):
            site.sign(committee, name)
    site.wait(days=61)
    with pytest.raises(PermissionRefused, match="ended on"):
        site.sign(committee, "nora")
    assert site.state().decisions[committee].signatures == []
    site.sign(committee, "maria")


def test_gate_g5_an_ended_delegation_ends_at_once(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    site.conduct.end_delegation(
        site.token(kit.ADMIN), site.trial, "maria", Role.COMMITTEE_MEMBER, site.today - timedelta(days=1)
    )
    with pytest.raises(PermissionRefused, match="ended on"):
        site.sign(committee, "maria")


def test_gate_g5_a_signature_needs_the_signers_own_password(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    kept = site.version
    with pytest.raises(SignInError):
        site.conduct.sign_decision(site.token("maria"), site.trial, committee, "not the right password")
    assert site.version == kept
    assert site.conduct.accounts.log(account="maria")[-1].event is AccountEvent.NOT_CONFIRMED


@pytest.mark.parametrize("verdict", ["not_eligible", "incomplete"])
def test_gate_g6_there_are_no_waivers(site, verdict):
    site.screen("P1", verdict)
    with pytest.raises(GateRefused, match="G6"):
        site.assign("P1")
    site.screen("P2")
    site.assign("P2")


def test_gate_g6_consent_cannot_be_missing(site):
    site.record("ingrid", r.Screened(participant="P1"))
    with pytest.raises(GateRefused, match="consent is missing"):
        site.record("ingrid", r.EligibilityRecorded(participant="P1", verdict="eligible"))
    with pytest.raises(GateRefused, match="consent is missing"):
        site.assign("P1")


def test_gate_g7_nobody_is_dosed_before_the_decision_is_circulated(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    with pytest.raises(GateRefused, match="not in effect"):
        site.circulate(committee)
    site.sign(committee)
    site.screen("P4")
    site.assign("P4")
    with pytest.raises(GateRefused, match="G7"):
        site.infuse("P4")
    site.circulate(committee)
    site.infuse("P4")


def test_gate_g7_circulated_after_the_dosing_is_too_late(site):
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    site.sign(committee)
    site.screen("P4")
    site.assign("P4")
    dosed = site.wait(hours=1)
    site.wait(hours=1)
    site.circulate(committee)
    with pytest.raises(GateRefused, match="G7"):
        site.infuse("P4", started_at=dosed)


def test_gate_g7_nobody_is_told_of_a_decision_before_it_is_signed(site):
    site.cohort("P1", "P2", "P3")
    before = site.clock.moment
    site.wait(hours=2)
    committee = site.committee(site.recommend())
    site.sign(committee)
    with pytest.raises(GateRefused):
        site.circulate(committee, at=before)


# permissions ---------------------------------------------------------------------------------------

PLAIN = {
    r.TrialClosed: {"outcome": "done"},
    r.Screened: {"participant": "P9"},
    r.Consented: {"participant": "P1", "form_version": "9", "consented_at": kit.START},
    r.EligibilityRecorded: {"participant": "P1", "verdict": "incomplete"},
    r.Triggered: {"participant": "P1", "description": "relapse"},
    r.ScreenFailed: {"participant": "P1", "description": "no"},
    r.InfusionRecorded: {"participant": "P1", "number": 1},
    r.AdverseEvent: {
        "participant": "P1",
        "event": "E1",
        "verbatim": "x",
        "term": "x",
        "grade": 1,
        "onset": "2026-01-05",
        "attribution": "possible",
    },
    r.Regraded: {"participant": "P1", "event": "E1", "grade": 1, "on": kit.START.date()},
    r.SeriousEventReported: {"participant": "P1", "event": "E1", "sent_at": kit.START},
    r.DltProposed: {"participant": "P1", "adjudication": "A1", "criterion": "x", "onset": "2026-01-05"},
    r.WindowCompleted: {"participant": "P1", "on": kit.START.date()},
    r.NotEvaluable: {"participant": "P1", "cause": "x"},
    r.Discontinued: {"participant": "P1", "cause": "x", "on": kit.START.date()},
    r.LeftStudy: {"participant": "P1", "how": "lost", "on": kit.START.date()},
    r.Laboratory: {"participant": "P1", "analyte": "ANC", "value": 1.0, "unit": "10^9/L", "sampled_at": kit.START},
    r.Transfusion: {"participant": "P1", "product": "platelets", "units": 1, "given_at": kit.START},
    r.ResponseRecorded: {
        "participant": "P1",
        "on": kit.START.date(),
        "criteria": "complete response",
        "assessor": "reader",
    },
    r.Visit: {"participant": "P1", "visit": "day 7", "done_on": kit.START.date()},
    r.Deviation: {"category": "x", "description": "x"},
    r.QueryRaised: {"query": "Q1", "question": "x"},
    r.QueryAnswered: {"query": "Q1", "answer": "x"},
    r.QueryClosed: {"query": "Q1"},
    r.CommitteeRecorded: {
        "recommendation": 1,
        "meeting": "x",
        "attendance": ("x",),
        "discussion": "x",
        "action": "stay",
    },
    r.Circulated: {"committee": 1, "to": ("ward",), "at": kit.START},
}
"""A least record of each kind that people make directly; whether a gate lets it pass is not the question here."""


def test_every_kind_of_record_needs_a_permission_and_is_tried_here():
    unpermitted = {r.TrialOpened, r.ProtocolAmended, r.Delegated, r.DelegationEnded}
    kinds = {
        kind for kind in vars(r).values() if isinstance(kind, type) and "type" in getattr(kind, "model_fields", ())
    }
    assert kinds - unpermitted == set(NEEDED)
    assert set(NEEDED) - set(SERVICE_ONLY) == set(PLAIN)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    site = kit.Site(tmp_path_factory.mktemp("shared"))
    site.screen("P1")
    yield site
    site.close()


EVERYBODY = {**kit.PEOPLE, kit.ADMIN: Role.ADMINISTRATOR}


REFUSED = [
    pytest.param(name, kind, id=f"{name}-{kind.__name__}")
    for name, role in EVERYBODY.items()
    for kind in PLAIN
    if NEEDED[kind] not in MATRIX[role]
]


@pytest.mark.parametrize(("name", "kind"), REFUSED)
def test_permission_of_a_record_is_asked_by_the_service(shared, name, kind):
    site, permission = shared, NEEDED[kind]
    kept, logged = site.version, len(site.conduct.accounts.log(trial=site.trial))
    with pytest.raises(PermissionRefused) as refused:
        site.record(name, kind(**PLAIN[kind]))
    assert (refused.value.user, refused.value.permission) == (name, permission)
    assert site.version == kept
    line = site.conduct.accounts.log(trial=site.trial)[-1]
    assert len(site.conduct.accounts.log(trial=site.trial)) == logged + 1
    assert (line.event, line.account, line.permission) == (AccountEvent.PERMISSION_REFUSED, name, permission)


@pytest.mark.parametrize("kind", sorted(set(PLAIN) - {r.TrialClosed}, key=lambda kind: kind.__name__))
def test_permission_given_by_a_role_leaves_the_rest_to_the_gates(site, kind):
    site.screen("P1")
    for name, role in EVERYBODY.items():
        if NEEDED[kind] in MATRIX[role]:
            with suppress(GateRefused):
                site.record(name, kind(**PLAIN[kind]))


def methods(site: Any, token: str) -> dict[Permission, Any]:
    conduct, trial, word = site.conduct, site.trial, kit.PASSWORD
    dlt = {"participant": "P1", "adjudication": "A1", "outcome": "dlt", "attribution": "possible", "discussion": "x"}
    return {
        Permission.READ_TRIAL: lambda: conduct.state(token, trial),
        Permission.ENROL: lambda: conduct.assign(token, trial, "P1"),
        Permission.ADJUDICATE_DECIDE: lambda: conduct.adjudicate(token, trial, word, **dlt),
        Permission.CORRECT: lambda: conduct.correct(
            token, trial, site.version, "verdict", "incomplete", "typing error"
        ),
        Permission.TAKE_SNAPSHOT: lambda: conduct.snapshot(token, trial),
        Permission.RECOMMEND: lambda: conduct.recommend(token, trial, 1),
        Permission.SIGN_DECISION: lambda: conduct.sign_decision(token, trial, 1, word),
        Permission.AMEND_PROTOCOL: lambda: conduct.amend(token, trial, kit.study(), word, site.today, "amendment"),
        Permission.OPEN_TRIAL: lambda: conduct.open_trial(token, trial, site.study, word),
        Permission.DELEGATE: lambda: conduct.delegate(token, trial, "mona", Role.MONITOR, site.today),
    }


@pytest.mark.parametrize("name", EVERYBODY)
def test_permission_of_an_act_is_asked_by_the_service(shared, name):
    acts = methods(shared, shared.token(name))
    for permission, act in acts.items():
        if permission in MATRIX[EVERYBODY[name]]:
            continue
        kept = shared.version
        with pytest.raises(PermissionRefused):
            act()
        assert shared.version == kept, permission


def test_permission_for_accounts_belongs_to_the_administrator_of_the_installation(site):
    for name in kit.PEOPLE:
        with pytest.raises(PermissionRefused):
            site.conduct.create_user(site.token(name), "eve", "Eve", kit.PASSWORD)
    with pytest.raises(ConductError, match="first administrator already"):
        site.conduct.initialise("eve", "Eve", kit.PASSWORD)


def test_permission_in_one_trial_is_none_in_another(site):
    with pytest.raises(PermissionRefused, match="no delegation in T-2"):
        site.conduct.record(site.token("ingrid"), "T-2", r.Screened(participant="P1"))
    with pytest.raises(PermissionRefused):
        site.conduct.state(site.token("ingrid"), "T-2")


def test_the_person_who_proposed_does_not_adjudicate(site):
    site.delegate("ingrid", Role.COMMITTEE_MEMBER)
    site.treat("P1")
    site.propose("P1")
    with pytest.raises(EscalationError):
        site.adjudicate("P1", "not_dlt", by="ingrid")


# delegations that must not break the service -----------------------------------------------------


def test_a_delegation_cannot_end_before_it_starts(site):
    admin = site.token(kit.ADMIN)
    with pytest.raises(EscalationError):
        site.conduct.end_delegation(admin, site.trial, "mona", Role.MONITOR, site.today - timedelta(days=400))
    assert site.state().version == site.version


def test_ending_a_delegation_never_makes_it_longer(site):
    site.employ("nora")
    site.delegate("nora", Role.MONITOR, site.today + timedelta(days=5))
    site.wait(days=20)
    try:
        site.conduct.end_delegation(
            site.token(kit.ADMIN), site.trial, "nora", Role.MONITOR, site.today + timedelta(days=300)
        )
    except EscalationError:
        return
    with pytest.raises(PermissionRefused):
        site.conduct.state(site.token("nora"), site.trial)


def test_ending_one_delegation_leaves_an_earlier_one_as_it_was(site):
    site.employ("nora")
    first_end = site.today + timedelta(days=5)
    site.delegate("nora", Role.MONITOR, first_end)
    site.wait(days=30)
    site.delegate("nora", Role.MONITOR)
    site.wait(days=30)
    site.conduct.end_delegation(site.token(kit.ADMIN), site.trial, "nora", Role.MONITOR, site.today)
    ends = [each.ends for each in site.conduct.delegations(site.trial) if each.user == "nora"]
    assert ends == [first_end, site.today]


def test_the_installation_is_no_trial_to_be_delegated_in(site):
    for where in (INSTALLATION, EVERY_TRIAL):
        with pytest.raises(EscalationError):
            site.conduct.delegate(site.token(kit.ADMIN), where, "mona", Role.INVESTIGATOR, site.today)
    assert site.state().version == site.version


# the stagger ---------------------------------------------------------------------------------------


def test_stagger_of_nct07212335_day_by_day(site_of):
    """Fourteen days after the first ever at a regimen, three after every other; counted from first infusions."""
    site = site_of("nct07212335", signatures_needed=2)
    for code in ("P1", "P2", "P3"):
        site.screen(code)
    site.assign("P1")
    with pytest.raises(GateRefused, match="P1 is assigned and not treated yet"):
        site.assign("P2")
    site.wait(days=2)
    site.infuse("P1")
    first = site.clock.moment
    site.clock.to(first + timedelta(days=13))
    with pytest.raises(GateRefused, match=f"from {first.date() + timedelta(days=14)} on"):
        site.assign("P2")
    site.clock.to(first + timedelta(days=14))
    site.assign("P2")
    with pytest.raises(GateRefused, match="stagger of 14 days"):
        site.infuse("P2", started_at=first + timedelta(days=13))
    site.infuse("P2")
    second = site.clock.moment
    site.clock.to(second + timedelta(days=2))
    with pytest.raises(GateRefused, match=f"from {second.date() + timedelta(days=3)} on"):
        site.assign("P3")
    site.clock.to(second + timedelta(days=3))
    site.assign("P3")
    assert [site.person(code).assigned.role for code in ("P1", "P2", "P3")] == ["sentinel", "regular", "regular"]


def follow(site: Any, *codes: str) -> None:
    """A cohort under the stagger, to its end without a DLT."""
    for code in codes:
        site.screen(code)
        trial, stagger = site.state().trial_state(), site.state().in_force().protocol.stagger
        earliest = trial.earliest_next(stagger.sentinel_days, stagger.between_days)
        opened = site.state().opened_on
        site.clock.to(kit.datetime.combine(opened + timedelta(days=earliest), site.clock.moment.timetz()))
        site.assign(code)
        site.infuse(code)
    planned = []
    for code in codes:
        person, grid = site.person(code), site.state().in_force().protocol.grid
        days = grid.schedule(grid.index((person.assigned.regimen.dose, person.assigned.regimen.frequency)))
        planned += [
            (person.first_infusion + timedelta(days=day), code, number) for number, day in enumerate(days[1:], 2)
        ]
    for moment, code, number in sorted(planned):
        site.infuse(code, number, moment)
    for code in codes:
        site.complete(code)


def test_on_the_frequency_axis_of_nct07212335(site_of):
    site = site_of("nct07212335", signatures_needed=2)
    levels = []
    for cohort in range(3):
        follow(site, *(f"P{cohort}{k}" for k in range(3)))
        site.decide()
        levels.append((site.state().trial_state().stage, site.state().trial_state().regimen))
    assert levels == [("escalation", 1), ("escalation", 2), ("expansion", 2)]
    assert site.state().trial_state().selected == (2,)
    site.screen("X1")
    site.assign("X1")
    assert (site.person("X1").assigned.role, site.person("X1").assigned.stage) == ("expansion", "expansion")
    assert site.verify().ok


def test_on_the_grid_of_nct05672420(site_of):
    site = site_of("nct05672420", signatures_needed=2)
    follow(site, "P1", "P2", "P3")
    site.decide()
    grid = site.state().in_force().protocol.grid
    assert grid.regimen(site.state().trial_state().regimen) == (2, 1)
    follow(site, "P4", "P5", "P6")
    recommendation = site.recommend()
    for regimen, words in (
        (r.RegimenLevel(dose=3, frequency=2), "dose and frequency cannot be raised together"),
        (r.RegimenLevel(dose=4, frequency=1), "skips a level"),
    ):
        with pytest.raises(GateRefused, match=words):
            site.committee(recommendation, action="escalate", regimen=regimen, size=3, justification=kit.LONG_REASON)
    site.decide()
    assert grid.regimen(site.state().trial_state().regimen) == (3, 1)
    assert site.verify().ok


# conflicts, keys and races -------------------------------------------------------------------------


def test_expected_version_is_asked_by_every_act(site):
    site.screen("P1")
    stale = site.version - 1
    conduct, trial = site.conduct, site.trial
    acts = [
        lambda: site.record("ingrid", r.Screened(participant="P2"), expected_version=stale),
        lambda: site.assign("P1", expected_version=stale),
        lambda: conduct.snapshot(site.token("stefan"), trial, expected_version=stale),
    ]
    kept = site.version
    for act in acts:
        with pytest.raises(StaleVersionError, match="nothing was recorded"):
            act()
        assert site.version == kept


def test_idempotency_key_repeats_the_first_answer(site):
    record = r.Screened(participant="P1")
    first = site.record("ingrid", record, key="form-17")
    again = site.record("ingrid", record, key="form-17")
    assert again.entries == first.entries
    assert [entry.type for entry in site.entries()].count("screened") == 1


def test_idempotency_key_of_an_assignment_repeats_the_first_answer(site):
    site.screen("P1")
    first = site.assign("P1", key="assign-P1")
    assert site.assign("P1", key="assign-P1").entries == first.entries
    assert site.state().trial_state().open_places == 2


def test_idempotency_key_is_not_reused_for_something_else(site):
    site.record("ingrid", r.Screened(participant="P1"), key="k")
    kept = site.version
    with pytest.raises(IdempotencyError):
        site.record("ingrid", r.Screened(participant="P2"), key="k")
    assert site.version == kept


def test_idempotency_key_of_every_act_repeats_the_first_answer(site, tmp_path):
    """What is worked out or signed is neither worked out nor signed again; another act under the key is refused."""
    conduct, trial = site.conduct, site.trial
    site.screen("P1")
    site.assign("P1")
    site.infuse("P1")
    infusion = site.version
    site.propose("P1")

    def repeated(act, other=None):
        first = act("a key of its own " + str(site.version))
        kept, key = site.version, first.entries[-1].idempotency_key
        assert act(key).entries == first.entries
        assert site.version == kept
        if other is not None:
            with pytest.raises(IdempotencyError):
                other(key)
            assert site.version == kept
        return first.version

    def settled(outcome):
        return lambda key: conduct.adjudicate(
            site.token("maria"),
            trial,
            kit.PASSWORD,
            participant="P1",
            adjudication="A1",
            outcome=outcome,
            attribution="probable",
            discussion="Discussed.",
            key=key,
        )

    repeated(settled("not_dlt"), settled("dlt"))

    def corrected(new):
        carlos = site.token("carlos")
        return lambda key: conduct.correct(carlos, trial, infusion, "lot", new, "read again", key=key)

    repeated(corrected("L-2"), corrected("L-3"))
    site.complete("P1")
    site.cohort("P2", "P3")
    snapshot = repeated(lambda key: conduct.snapshot(site.token("stefan"), trial, key=key))
    recommendation = repeated(
        lambda key: conduct.recommend(site.token("stefan"), trial, snapshot, key=key),
        lambda key: conduct.recommend(site.token("stefan"), trial, snapshot + 1, key=key),
    )
    committee = site.committee(recommendation)
    repeated(
        lambda key: conduct.sign_decision(site.token("maria"), trial, committee, kit.PASSWORD, key=key),
        lambda key: conduct.sign_decision(site.token("chen"), trial, committee, kit.PASSWORD, key=key),
    )
    admin, today = site.token(kit.ADMIN), site.today
    repeated(
        lambda key: conduct.delegate(admin, trial, "chen", Role.MONITOR, today, key=key),
        lambda key: conduct.delegate(admin, trial, "mona", Role.MONITOR, today, key=key),
    )
    repeated(lambda key: conduct.end_delegation(admin, trial, "chen", Role.MONITOR, today, key=key))
    amended = kit.study(max_patients=15)
    repeated(
        lambda key: conduct.amend(site.token("ingrid"), trial, amended, kit.PASSWORD, today, "more", key=key),
        lambda key: conduct.amend(site.token("ingrid"), trial, site.study, kit.PASSWORD, today, "more", key=key),
    )
    (tmp_path / "unopened").mkdir()
    unopened = kit.Site(tmp_path / "unopened", opened=False)
    first = unopened.open(key="open")
    assert unopened.open(key="open").entries == first.entries
    unopened.close()
    assert site.verify().ok


def test_race_a_snapshot_holds_what_was_recorded_before_it(site):
    """Another process records an outcome between the reading and the writing of a snapshot."""
    site.cohort("P1", "P2")
    site.treat("P3")
    site.propose("P3")
    gated = site.conduct._gated

    def late(*args: Any, **options: Any) -> Any:
        site.conduct._gated = gated
        site.adjudicate("P3", "dlt")
        return gated(*args, **options)

    token = site.token("stefan")
    site.conduct._gated = late
    try:
        site.conduct.snapshot(token, site.trial)
    except StaleVersionError:
        assert site.state().snapshots == {}
    assert site.verify().ok


# signatures and data -------------------------------------------------------------------------------


def test_signatures_are_void_when_the_data_change(site_of):
    site = site_of(signatures_needed=2)
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    site.sign(committee, "maria")
    site.dlt("P2")
    with pytest.raises(GateRefused, match="signatures are void"):
        site.sign(committee, "chen")
    assert site.state().effective() == []
    site.decide()
    assert site.state().trial_state().regimen == 0


def test_signatures_belong_to_the_newest_committee_record(site):
    site.cohort("P1", "P2", "P3")
    recommendation = site.recommend()
    older, newer = site.committee(recommendation), site.committee(recommendation)
    with pytest.raises(GateRefused, match=f"later committee record \\({newer}\\)"):
        site.sign(older)
    site.sign(newer)
    with pytest.raises(GateRefused, match="in effect already"):
        site.sign(newer, "chen")


def test_signatures_of_an_adjudication_fall_with_the_proposal_they_cover(site):
    """A signature is bound to its record: once the onset proposed is another one, it has to be adjudicated again."""
    site.treat("P1")
    site.wait(days=20)
    site.propose("P1", onset=(site.day_zero("P1") + timedelta(days=5)).isoformat())
    proposal = site.version
    site.adjudicate("P1", "not_dlt")
    site.complete("P1")
    try:
        site.correct(proposal, "onset", (site.day_zero("P1") + timedelta(days=9)).isoformat(), "chart read again")
    except EscalationError:
        return
    assert site.outcome("P1") == "pending"


# what no committee can decide ----------------------------------------------------------------------


def decide_anyway(site: Any, **changes: Any) -> int:
    return site.committee(site.recommend(), justification=kit.LONG_REASON, **changes)


def test_limits_an_eliminated_regimen_stays_closed(site):
    site.cohort("P1", "P2", "P3")
    site.decide()
    site.cohort("P4", "P5", "P6", dlts=("P4", "P5", "P6"))
    with pytest.raises(GateRefused, match="eliminated by its DLTs"):
        decide_anyway(site, action="stay", regimen=LEVEL_2, size=3)


def test_limits_an_untried_regimen_is_selected_only_where_the_design_recommends_it(site):
    site.cohort("P1", "P2", "P3")
    with pytest.raises(GateRefused, match="level 3 was not tried and cannot be selected against the recommendation"):
        decide_anyway(site, action="stop", regimen=None, size=0, selected=(r.RegimenLevel(dose=3, frequency=1),))


def test_limits_no_level_is_skipped(site):
    site.cohort("P1", "P2", "P3")
    with pytest.raises(GateRefused, match="skips a level"):
        decide_anyway(site, action="escalate", regimen=r.RegimenLevel(dose=3, frequency=1), size=3)


def test_limits_dose_and_frequency_are_not_raised_together(site_of):
    site = site_of(kit.study(doses=2, days=((0,), (0, 7)), design={"name": "three_plus_three_path"}, max_patients=24))
    site.cohort("P1", "P2", "P3")
    with pytest.raises(GateRefused, match="raised together"):
        decide_anyway(site, action="escalate", regimen=r.RegimenLevel(dose=2, frequency=2), size=3)


def test_limits_the_maximum_holds(site_of):
    site = site_of(kit.study(max_patients=5))
    site.cohort("P1", "P2", "P3")
    with pytest.raises(GateRefused, match="exceed the maximum of 5"):
        decide_anyway(site, action="stay", regimen=LEVEL_1, size=3)
    site.sign(decide_anyway(site, action="stay", regimen=LEVEL_1, size=2), "maria", "chen")
    assert site.state().trial_state().open_places == 2


def test_limits_pending_participants_count_towards_the_maximum(site_of):
    site = site_of(kit.study(max_patients=5))
    site.cohort("P1", "P2")
    site.treat("P3")
    with pytest.raises(GateRefused, match="maximum"):
        decide_anyway(site, action="stay", regimen=LEVEL_1, size=3)


def test_limits_stop_selects_only_what_was_treated(site):
    site.cohort("P1", "P2", "P3")
    with pytest.raises(GateRefused):
        decide_anyway(site, action="stop", regimen=None, size=0, selected=(r.RegimenLevel(dose=3, frequency=1),))


def test_limits_stop_does_not_open_an_untried_regimen_for_the_expansion(site_of):
    expansion = {"size": 6, "look_every": 6, "monitor": None}
    site = site_of(kit.study(max_patients=18, expansion=expansion))
    site.cohort("P1", "P2", "P3")
    try:
        site.sign(
            decide_anyway(site, action="stop", regimen=None, size=0, selected=(r.RegimenLevel(dose=3, frequency=1),)),
            "maria",
            "chen",
        )
    except GateRefused:
        return
    site.screen("P4")
    with pytest.raises(GateRefused):
        site.assign("P4")


def test_limits_the_word_says_where_it_goes(site):
    site.cohort("P1", "P2", "P3")
    with pytest.raises(GateRefused):
        decide_anyway(site, action="stay", regimen=LEVEL_2, size=3)
    with pytest.raises(GateRefused):
        decide_anyway(site, action="de_escalate", regimen=LEVEL_2, size=3)


def test_limits_a_level_that_does_not_exist_is_refused(site):
    site.cohort("P1", "P2", "P3")
    with pytest.raises(EscalationError):
        decide_anyway(site, action="escalate", regimen=r.RegimenLevel(dose=9, frequency=1), size=3)


def test_limits_a_stopped_trial_is_not_continued(site_of):
    site = site_of(kit.study(doses=1, max_patients=3))
    site.cohort("P1", "P2", "P3")
    site.decide()
    assert site.state().trial_state().stage == "closed"
    with pytest.raises(GateRefused, match="trial has ended"):
        decide_anyway(site, action="stay", regimen=LEVEL_1, size=3)


def test_suspended_assignment_waits_for_another_decision(site):
    site.cohort("P1", "P2", "P3")
    site.decide(action="suspend", regimen=None, size=0, justification=kit.LONG_REASON)
    site.screen("P4")
    with pytest.raises(GateRefused, match="suspended"):
        site.assign("P4")
    site.decide()
    site.assign("P4")


# records that come in the wrong order --------------------------------------------------------------


def test_infusions_follow_each_other(site_of):
    site = site_of(kit.weekly())
    site.treat("P1")
    first = site.person("P1").first_infusion
    site.wait(days=15)
    for number, start in ((3, 14), (2, -1), (2, 1)):  # without the second; before the first; less than five days later
        with pytest.raises(EscalationError):
            site.infuse("P1", number, started_at=first + timedelta(days=start))
    assert set(site.person("P1").infusions) == {1}
    site.infuse("P1", 2, started_at=first + timedelta(days=7))
    with pytest.raises(GateRefused, match="recorded already"):
        site.infuse("P1", 2)


def test_infusions_stop_at_a_dlt(site_of):
    site = site_of(kit.weekly())
    site.treat("P1")
    first = site.person("P1").first_infusion
    site.wait(days=1)
    site.propose("P1")
    with pytest.raises(GateRefused, match="treatment stops"):
        site.infuse("P1", 2, first + timedelta(days=7))


def test_a_participant_on_treatment_does_not_fail_screening(site):
    site.treat("P1")
    with pytest.raises(GateRefused):
        site.record("ingrid", r.ScreenFailed(participant="P1", description="not eligible after all"))
    site.dlt("P1")
    assert site.outcome("P1") == "dlt"


def test_nothing_is_collected_after_consent_is_withdrawn(site):
    site.treat("P1")
    site.wait(days=3)
    site.leave("P1", "withdrew_consent")
    site.wait(days=3)
    late = r.Laboratory(participant="P1", analyte="ANC", value=1.0, unit="10^9/L", sampled_at=site.clock.moment)
    with pytest.raises(GateRefused):
        site.record("carlos", late)


# corrections and queries ---------------------------------------------------------------------------


def test_corrections_keep_old_new_who_when_why(site):
    site.treat("P1")
    infusion = site.version
    entry = site.correct(infusion, "weight_kg", 61.0, "scale read again").entries[0]
    assert entry.payload | {"participants": None} == {
        "entry": infusion,
        "field": "weight_kg",
        "old": 60.0,
        "new": 61.0,
        "participants": None,
    }
    assert (entry.actor, entry.reason) == ("carlos", "scale read again")
    assert site.person("P1").infusions[1].weight_kg == 61.0
    again = site.correct(infusion, "weight_kg", 62.0, "and again").entries[0]
    assert (again.payload["old"], again.payload["new"]) == (61.0, 62.0)
    assert site.entries()[infusion - 1].payload["weight_kg"] == 60.0


@pytest.mark.parametrize(
    ("field", "new", "words"),
    [
        ("number", 0, "would not be valid"),
        ("weight_kg", -1, "would not be valid"),
        ("started_at", "yesterday", "would not be valid"),
        ("participant", "nobody", "would not be valid"),
        ("colour", 1, "no field 'colour'"),
        ("type", "visit", "no field 'type'"),
    ],
)
def test_corrections_that_cannot_be_are_refused(site, field, new, words):
    site.treat("P1")
    kept = site.version
    with pytest.raises(ConductError, match=words):
        site.correct(kept, field, new)
    assert site.version == kept
    assert site.state().version == kept


def test_corrections_do_not_touch_what_is_superseded(site):
    site.cohort("P1", "P2", "P3", dlts=("P3",))
    site.decide()
    fixed = {"trial_opened", "assigned", "dlt_decided", "snapshot_taken", "recommended", "committee_recorded"}
    fixed |= {"decision_signed", "circulated"}
    found = {entry.type: entry for entry in site.entries()}
    assert fixed <= set(found)
    for kind in sorted(fixed):
        field = next(iter(found[kind].payload))
        with pytest.raises(ConductError, match="cannot be corrected"):
            site.correct(found[kind].seq, field, "x")


def test_corrections_change_what_follows(site):
    site.treat("P1")
    infusion = site.version
    earlier = site.clock.moment - timedelta(minutes=10)
    site.correct(infusion, "started_at", earlier.isoformat())
    assert site.person("P1").first_infusion == earlier


def test_queries_are_raised_answered_and_closed_by_different_people(site):
    site.screen("P1")
    site.record("mona", r.QueryRaised(query="Q1", participant="P1", question="Which source?"))
    with pytest.raises(PermissionRefused):
        site.record("carlos", r.QueryClosed(query="Q1"))
    site.record("carlos", r.QueryAnswered(query="Q1", answer="The chart."))
    assert site.state().queries["Q1"].status == "answered"
    site.record("stefan", r.QueryClosed(query="Q1"))
    with pytest.raises(GateRefused, match="is closed"):
        site.record("carlos", r.QueryAnswered(query="Q1", answer="More."))
    site.record("stefan", r.QueryClosed(query="Q1", reopened=True))
    assert site.state().queries["Q1"].status == "open"
    with pytest.raises(GateRefused, match="exists already"):
        site.record("mona", r.QueryRaised(query="Q1", question="Again?"))


# closing -------------------------------------------------------------------------------------------


def test_closing_ends_treatment_but_not_safety(site):
    site.cohort("P1", "P2", "P3")
    site.screen("P4")
    site.record("ingrid", r.TrialClosed(outcome="sponsor's decision"))
    for act in (lambda: site.assign("P4"), lambda: site.record("ingrid", r.Screened(participant="P5"))):
        with pytest.raises(GateRefused, match="closed"):
            act()
    site.wait(days=60)
    site.event("P1", grade=3, serious=True, aware_at=site.clock.moment)
    sent = r.SeriousEventReported(participant="P1", event="E1", sent_at=site.clock.moment)
    site.record("ingrid", sent)


def test_closing_with_open_windows_does_not_lose_their_outcome(site):
    site.treat("P1")
    try:
        site.record("ingrid", r.TrialClosed(outcome="sponsor's decision"))
    except GateRefused:
        return
    site.dlt("P1")
    assert site.outcome("P1") == "dlt"


def test_nothing_happens_before_the_trial_is_opened(site_of):
    site = site_of(opened=False)
    with pytest.raises(GateRefused, match="not opened"):
        site.record("ingrid", r.Screened(participant="P1"))
    site.open()
    with pytest.raises(GateRefused, match="open already"):
        site.open()


def test_reading_a_trial_is_written_to_the_account_log(site):
    before = len(site.conduct.accounts.log())
    site.conduct.state(site.token("ingrid"), site.trial)
    read = [line for line in site.conduct.accounts.log()[before:] if line.event == "accessed"]
    assert [(line.actor or line.account, line.trial, line.permission) for line in read] == [
        ("ingrid", site.trial, "read_trial")
    ]
