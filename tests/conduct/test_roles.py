"""Roles and delegations: the whole matrix, the dates, and the reason of every refusal."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalation.conduct.roles import (
    EVERY_TRIAL,
    EXCLUSIVE,
    MATRIX,
    WHY,
    Delegation,
    DelegationError,
    Ground,
    Permission,
    PermissionRefused,
    Role,
    permitted,
    roles_held,
    who_may,
)
from escalation.errors import EscalationError

# Written out a second time, by hand: a change of the matrix is a change of this table too.
# investigator, coordinator, statistician, committee member, monitor, administrator
EXPECTED = """
read_trial          + + + + + .
screen              + + . . . .
consent             + + . . . .
record_eligibility  + + . . . .
enrol               + . . . . .
record_infusion     + + . . . .
record_event        + + . . . .
record_laboratory   + + . . . .
record_visit        + + . . . .
adjudicate_propose  + . . . . .
adjudicate_decide   . . . + . .
record_deviation    + + . . . .
raise_query         . . + + + .
answer_query        + + . . . .
close_query         . . + . . .
correct             + + . . . .
take_snapshot       . . + . . .
recommend           . . + . . .
committee_record    . + . + . .
sign_decision       . . . + . .
circulate           . + . + . .
amend_protocol      + . . . . .
open_trial          + . . . . .
close_trial         + . . . . .
export              + . + . + .
verify              + + + + + +
manage_accounts     . . . . . +
delegate            . . . . . +
import_data         + + . . . .
backup              . . . . . +
"""
TABLE = {row[0]: [mark == "+" for mark in row[1:]] for row in map(str.split, EXPECTED.strip().splitlines())}

START, END = date(2026, 3, 1), date(2026, 9, 30)
CLINICAL = set(Permission) - MATRIX[Role.ADMINISTRATOR]


def given_role(role: Role, trial: str = "EX-1", user: str = "ada", starts: date = START, ends: date | None = END):
    return Delegation(user, trial, role, starts, ends, "installation")


def test_the_table_names_every_permission_and_role():
    assert list(TABLE) == [str(permission) for permission in Permission]
    assert {len(row) for row in TABLE.values()} == {len(Role)}
    assert set(MATRIX) == set(Role)


@pytest.mark.parametrize("permission", Permission)
@pytest.mark.parametrize("role", Role)
def test_every_role_and_permission_is_decided(role, permission):
    expected = TABLE[permission][list(Role).index(role)]
    decision = permitted([given_role(role)], "ada", "EX-1", permission, START)
    assert decision.allowed is bool(decision) is expected
    assert decision.ground is (Ground.ALLOWED if expected else Ground.NOT_IN_ROLE)
    assert decision.roles == ((role,) if expected else ())
    assert (role in who_may(permission)) is expected
    if not expected:
        for other in who_may(permission):
            assert other.words in decision.reason


def test_every_reason_is_about_a_choice_that_stands():
    for (role, permission), reason in WHY.items():
        assert reason
        decision = permitted([given_role(role)], "ada", "EX-1", permission, START)
        assert decision.allowed or reason in decision.reason


def test_the_matrix_cannot_be_changed_while_running():
    with pytest.raises(TypeError):
        MATRIX[Role.MONITOR] = frozenset(Permission)  # type: ignore[index]


def test_the_monitor_records_nothing_and_the_administrator_reads_nothing_clinical():
    assert MATRIX[Role.MONITOR] == {"read_trial", "export", "verify", "raise_query"}
    assert MATRIX[Role.ADMINISTRATOR] == {"manage_accounts", "delegate", "backup", "verify"}


def test_nobody_proposes_and_decides_a_dlt_or_recommends_and_signs_under_one_role():
    for role in Role:
        assert not {"adjudicate_propose", "adjudicate_decide"} <= MATRIX[role]
        assert not {"recommend", "sign_decision"} <= MATRIX[role]
        assert not {"answer_query", "close_query"} <= MATRIX[role]


@pytest.mark.parametrize(
    ("on", "ground", "words"),
    [
        (date(2026, 2, 28), Ground.NOT_YET, "starts on 2026-03-01"),
        (date(2026, 3, 1), Ground.ALLOWED, ""),
        (date(2026, 9, 30), Ground.ALLOWED, ""),
        (date(2026, 10, 1), Ground.ENDED, "ended on 2026-09-30"),
    ],
)
def test_first_and_last_day_count(on, ground, words):
    decision = permitted([given_role(Role.INVESTIGATOR)], "ada", "EX-1", Permission.ENROL, on)
    assert decision.ground is ground
    assert words in decision.reason


def test_between_two_delegations_both_dates_are_told():
    two = [given_role(Role.MONITOR), given_role(Role.MONITOR, starts=date(2027, 1, 1), ends=None)]
    reason = permitted(two, "ada", "EX-1", Permission.EXPORT, date(2026, 12, 1)).reason
    assert reason == "the delegation of ada in EX-1 ended on 2026-09-30 and the next starts on 2027-01-01"


def test_without_a_last_day_a_delegation_runs_on():
    open_ended = given_role(Role.MONITOR, ends=None)
    assert permitted([open_ended], "ada", "EX-1", Permission.EXPORT, date.max)


def test_another_user_another_trial_and_nobody_have_nothing():
    own = [given_role(Role.INVESTIGATOR)]
    for user, trial in (("bob", "EX-1"), ("ada", "EX-2"), ("Ada", "EX-1"), ("ada", EVERY_TRIAL), ("", "")):
        assert permitted(own, user, trial, Permission.ENROL, START).ground is Ground.NOT_DELEGATED
    assert permitted([], "ada", "EX-1", Permission.READ_TRIAL, START).ground is Ground.NOT_DELEGATED


def test_two_roles_allow_what_either_allows_and_name_the_one_that_did():
    both = [given_role(Role.COMMITTEE_MEMBER), given_role(Role.INVESTIGATOR)]
    assert permitted(both, "ada", "EX-1", Permission.SIGN_DECISION, START).roles == (Role.COMMITTEE_MEMBER,)
    assert permitted(both, "ada", "EX-1", Permission.READ_TRIAL, START).roles == (
        Role.INVESTIGATOR,
        Role.COMMITTEE_MEMBER,
    )
    assert roles_held(both, "ada", "EX-1", START) == (Role.INVESTIGATOR, Role.COMMITTEE_MEMBER)


def test_a_monitor_stays_read_only_whatever_else_is_delegated():
    both = [given_role(Role.MONITOR), given_role(Role.INVESTIGATOR)]
    decision = permitted(both, "ada", "EX-1", Permission.CORRECT, START)
    assert decision.ground is Ground.EXCLUSIVE_ROLE
    assert decision.reason == "ada is monitor in EX-1, and so uses no other role there"
    assert permitted(both, "ada", "EX-1", Permission.EXPORT, START).roles == (Role.MONITOR,)


def test_monitor_and_administrator_at_once_keep_what_both_allow():
    both = [given_role(Role.MONITOR), given_role(Role.ADMINISTRATOR)]
    assert {p for p in Permission if permitted(both, "ada", "EX-1", p, START)} == {Permission.VERIFY}


def test_an_administrator_of_every_trial_is_one_in_each_and_in_the_installation():
    root = given_role(Role.ADMINISTRATOR, trial=EVERY_TRIAL)
    one = given_role(Role.ADMINISTRATOR, trial="EX-1")
    for trial in ("EX-1", "EX-2", EVERY_TRIAL):
        assert permitted([root], "ada", trial, Permission.DELEGATE, START)
    assert not permitted([one], "ada", EVERY_TRIAL, Permission.MANAGE_ACCOUNTS, START)
    assert not permitted([root, given_role(Role.COMMITTEE_MEMBER)], "ada", "EX-1", Permission.SIGN_DECISION, START)
    assert permitted([one, given_role(Role.INVESTIGATOR, trial="EX-2")], "ada", "EX-2", Permission.ENROL, START)


def test_an_unknown_permission_is_denied():
    everything = [given_role(role) for role in Role if role not in EXCLUSIVE]
    decision = permitted(everything, "ada", "EX-1", "delete_everything", START)  # type: ignore[arg-type]
    assert not decision
    assert decision.reason.endswith("needs nobody")


def test_enforcing_a_refusal_raises_with_its_reason():
    assert permitted([given_role(Role.MONITOR)], "ada", "EX-1", Permission.EXPORT, START).enforce() == (Role.MONITOR,)
    decision = permitted([given_role(Role.STATISTICIAN)], "ada", "EX-1", Permission.SIGN_DECISION, START)
    with pytest.raises(PermissionRefused, match="recommends, and so does not sign for the committee") as refused:
        decision.enforce()
    assert isinstance(refused.value, EscalationError)
    assert (refused.value.user, refused.value.permission) == ("ada", Permission.SIGN_DECISION)
    assert str(refused.value).startswith("sign decision: ada is statistician in EX-1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": " "}, "user is empty"),
        ({"trial": ""}, "trial is empty"),
        ({"granted_by": ""}, "granted_by is empty"),
        ({"role": "surgeon"}, "'surgeon' is not a role"),
        ({"ends": date(2026, 2, 28)}, "before it starts"),
        ({"granted_by": "ada"}, "cannot delegate a role to themselves"),
        ({"trial": EVERY_TRIAL}, "trial by trial"),
        ({"starts": datetime(2026, 3, 1, tzinfo=UTC)}, "not a calendar day"),
        ({"ends": "2026-09-30"}, "not a calendar day"),
    ],
)
def test_a_delegation_that_contradicts_itself_is_refused(change, words):
    good = {"user": "ada", "trial": "EX-1", "role": Role.MONITOR, "starts": START, "ends": END, "granted_by": "bob"}
    Delegation(**good)
    with pytest.raises(DelegationError, match=words):
        Delegation(**good | change)


def test_a_day_of_one_date_is_a_delegation():
    assert given_role(Role.MONITOR, starts=START, ends=START).runs(START)


def test_a_moment_is_not_a_day():
    with pytest.raises(DelegationError, match="date at the site"):
        permitted([], "ada", "EX-1", Permission.EXPORT, datetime(2026, 3, 1, tzinfo=UTC))


DAYS = st.dates(date(2026, 1, 1), date(2026, 12, 31))


@st.composite
def delegations(draw):
    starts = draw(DAYS)
    ends = draw(st.none() | st.integers(0, 200).map(lambda days: starts + timedelta(days)))
    role = draw(st.sampled_from(list(Role)))
    trial = draw(st.sampled_from(["EX-1", "EX-2"] + [EVERY_TRIAL] * (role is Role.ADMINISTRATOR)))
    return Delegation(draw(st.sampled_from(["ada", "bob"])), trial, role, starts, ends, "installation")


LISTS = st.lists(delegations(), max_size=6)


@given(LISTS, DAYS, st.sampled_from(list(Permission)))
def test_only_a_delegation_in_force_permits(found, on, permission):
    decision = permitted(found, "ada", "EX-1", permission, on)
    in_force = [d for d in found if d.user == "ada" and d.trial in ("EX-1", EVERY_TRIAL)]
    in_force = [d for d in in_force if d.starts <= on <= (d.ends or date.max)]
    if decision:
        assert any(TABLE[permission][list(Role).index(d.role)] for d in in_force)
        assert set(decision.roles) <= {d.role for d in in_force}
    if not in_force:
        assert decision.ground in (Ground.NOT_DELEGATED, Ground.NOT_YET, Ground.ENDED)
    assert decision == permitted(list(reversed(found)), "ada", "EX-1", permission, on)
    assert decision.reason


@given(LISTS, DAYS, st.sampled_from(sorted(CLINICAL)))
def test_an_administrator_never_signs_or_records(found, on, permission):
    administrator = Delegation("ada", "EX-1", Role.ADMINISTRATOR, on, on, "installation")
    assert not permitted([*found, administrator], "ada", "EX-1", permission, on)
    assert not permitted([administrator, *found], "ada", "EX-1", Permission.SIGN_DECISION, on)


@given(LISTS, delegations(), DAYS, st.sampled_from(list(Permission)))
def test_a_delegation_of_somebody_else_changes_nothing(found, other, on, permission):
    mine = [d for d in found if d.user == "ada"]
    theirs = Delegation("eve", other.trial, other.role, other.starts, other.ends, other.granted_by)
    assert permitted([*mine, theirs], "ada", "EX-1", permission, on) == permitted(mine, "ada", "EX-1", permission, on)
