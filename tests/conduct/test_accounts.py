"""Accounts: signing in, lock-out, sessions, signatures, and a log that only grows and holds no secret."""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections import Counter
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from escalation.conduct import migrations
from escalation.conduct.account_tables import tables
from escalation.conduct.accounts import (
    ABSOLUTE,
    IDLE,
    LOCK_TIME,
    AccountError,
    AccountEvent,
    Accounts,
    LockedError,
    PasswordPolicyError,
    SessionEnd,
    SessionEndedError,
    Signature,
    SignInError,
    sign,
    still_valid,
)
from escalation.conduct.database import connect, locate
from escalation.conduct.passwords import LONGEST, Passwords, check_names, check_policy
from escalation.conduct.roles import Permission, PermissionRefused, Role
from escalation.errors import EscalationError

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)
SECRET, OTHER, WRONG = "a walk along the river", "seven geese over ice", "nobody chose these words"
RECORD = "ab" * 32


class Watched(PasswordHasher):
    """A hasher at the lowest cost that remembers which stored passwords were looked at."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.looks: list[str] = []

    def verify(self, hash, password):  # the library's own names
        self.looks.append(hash)
        return super().verify(hash, password)


def cheap() -> Passwords:
    return Passwords(Watched())


class Clock:
    """A clock the test turns."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def on(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture
def clock():
    return Clock()


def make_tables(engine):
    with engine.begin() as connection:
        migrations.upgrade(connection)


@pytest.fixture
def engine(store):
    made = connect(locate(store.where))
    make_tables(made)
    yield made
    made.dispose()


@pytest.fixture
def accounts(engine, clock):
    found = Accounts(engine, clock=clock, passwords=cheap())
    found.create("ada", "Augusta Ada Byron", SECRET, by="root")
    return found


def events(accounts: Accounts, **which: str) -> list[str]:
    return [entry.event.value for entry in accounts.log(**which)]


def fail(accounts: Accounts, times: int, name: str = "ada") -> None:
    for _ in range(times):
        with pytest.raises(SignInError):
            accounts.sign_in(name, WRONG)


# --- signing in -------------------------------------------------------------------------------


def test_signing_in_gives_a_session_of_the_user(accounts):
    begun = accounts.sign_in("ada", SECRET)
    assert (begun.user.name, begun.user.full_name, begun.user.active) == ("ada", "Augusta Ada Byron", True)
    assert accounts.authenticate(begun.token) == begun.user
    assert begun.ends_at == NOON + ABSOLUTE
    assert events(accounts, account="ada") == ["created", "signed_in"]
    assert accounts.log()[0].actor == "root"


def test_tokens_have_256_bits_and_only_their_sha_256_is_kept(accounts, engine):
    tokens = {accounts.sign_in("ada", SECRET).token for _ in range(20)}
    assert len(tokens) == 20
    assert all(re.fullmatch(r"[\w-]{43}", token) for token in tokens)
    with engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT token_hash FROM sessions").scalars().all()
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in kept)
    assert not tokens & set(kept)


def test_unknown_user_wrong_password_and_closed_account_are_refused_in_the_same_words(accounts):
    accounts.create("bob", "Bob", SECRET, by="root", active=False)
    said = set()
    for name, password in (("nobody", SECRET), ("ada", WRONG), ("bob", SECRET), ("", ""), ("\x00", "\ud800")):
        with pytest.raises(SignInError) as refused:
            accounts.sign_in(name, password)
        said.add((str(refused.value), repr(refused.value), refused.value.args))
    assert len(said) == 1
    details = [entry.detail for entry in accounts.log() if entry.event is AccountEvent.FAILED]
    assert Counter(details) == {"unknown user name": 3, "wrong password": 1, "the account is not active": 1}


def test_an_unknown_user_costs_as_much_as_a_known_one(engine, accounts, clock):
    hasher = Watched()
    accounts = Accounts(engine, clock=clock, passwords=Passwords(hasher))
    for name in ("ada", "nobody", "'; --"):
        with pytest.raises(SignInError):
            accounts.sign_in(name, WRONG)
    costs = {re.match(r"\$argon2id\$v=19\$(.*?)\$", stored)[1] for stored in hasher.looks}
    assert len(hasher.looks) == 3
    assert costs == {"m=8,t=1,p=1"}


def test_what_was_typed_as_an_unknown_name_is_not_written(accounts):
    with pytest.raises(SignInError):
        accounts.sign_in(SECRET, "ada")
    last = accounts.log()[-1]
    assert (last.account, last.detail) == (None, "unknown user name")


def test_code_names_are_found_however_capitalised(accounts):
    assert accounts.sign_in(" ADA ", SECRET).user.name == "ada"
    assert accounts.user("Ada").name == "ada"
    assert [user.name for user in accounts.users()] == ["ada"]
    with pytest.raises(AccountError, match="no account"):
        accounts.user("nobody")


# --- lock-out ---------------------------------------------------------------------------------


def test_five_failures_lock_for_fifteen_minutes_to_the_moment(accounts, clock):
    fail(accounts, 4)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", WRONG)
    assert accounts.log()[-1].detail == f"until {(NOON + LOCK_TIME).isoformat()}"
    clock.on(LOCK_TIME - TICK)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", SECRET)
    clock.on(TICK)
    accounts.sign_in("ada", SECRET)
    assert events(accounts)[1:] == ["sign_in_failed"] * 5 + ["locked_out", "refused_while_locked", "signed_in"]


def test_a_right_password_starts_the_count_again(accounts):
    fail(accounts, 4)
    accounts.sign_in("ada", SECRET)
    fail(accounts, 4)
    accounts.sign_in("ada", SECRET)


def test_after_a_lock_the_count_starts_again(accounts, clock):
    fail(accounts, 4)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", WRONG)
    clock.on(LOCK_TIME)
    fail(accounts, 4)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", WRONG)


def test_the_lock_is_in_the_database_and_holds_for_other_processes(accounts, engine, clock):
    fail(accounts, 4)
    second = Accounts(engine, clock=clock, passwords=cheap())
    with pytest.raises(SignInError):
        second.sign_in("ada", WRONG)
    with pytest.raises(SignInError):
        Accounts(engine, clock=clock, passwords=cheap()).sign_in("ada", SECRET)


def test_one_locked_account_does_not_lock_another(accounts):
    accounts.create("bob", "Bob", OTHER, by="root")
    fail(accounts, 4)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", WRONG)
    accounts.sign_in("bob", OTHER)


def accounts_hash(engine) -> str:
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT password_hash FROM accounts WHERE name = 'ada'").scalar()


def test_the_answer_of_sign_in_does_not_tell_a_locked_account_from_an_unknown_one(engine, accounts, clock):
    """Neither in words nor in work; whoever is signed in is told, and the log has the difference."""
    fail(accounts, 4)
    said, work = [], []
    for name, password in (("ada", WRONG), ("ada", SECRET), ("ada", WRONG), ("nobody", WRONG)):
        hasher = Watched()
        with pytest.raises(SignInError) as refused:
            Accounts(engine, clock=clock, passwords=Passwords(hasher)).sign_in(name, password)
        said.append((type(refused.value), str(refused.value), refused.value.args, refused.value.__cause__))
        work.append(len(hasher.looks))
    assert len(set(said)) == 1
    assert work == [1, 1, 1, 1]
    assert events(accounts)[-5:] == [
        *("sign_in_failed", "locked_out", "refused_while_locked", "refused_while_locked", "sign_in_failed")
    ]
    with pytest.raises(LockedError, match="locked until 2026-03-02 12:15:00 UTC"):
        accounts.confirm_password("ada", SECRET)


def test_twenty_guesses_at_once_get_five_looks_at_the_password(engine, accounts, clock):
    hasher, outcomes = Watched(), []
    accounts = Accounts(engine, clock=clock, passwords=Passwords(hasher))
    together = threading.Barrier(20)

    def guess(number: int) -> None:
        together.wait()
        try:
            accounts.sign_in("ada", f"{WRONG} {number}")
            outcomes.append("in")
        except EscalationError as refused:
            outcomes.append(type(refused).__name__)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["SignInError"] * 20
    stored = accounts_hash(engine)
    assert hasher.looks.count(stored) == 5
    assert len(hasher.looks) == 20  # the others at a hash of nobody's
    said = Counter(events(accounts))
    assert said == {"created": 1, "sign_in_failed": 5, "locked_out": 1, "refused_while_locked": 15}
    with pytest.raises(SignInError):
        accounts.sign_in("ada", SECRET)


def test_confirming_and_changing_count_towards_the_same_lock(accounts):
    fail(accounts, 2)
    with pytest.raises(SignInError):
        accounts.confirm_password("ada", WRONG)
    with pytest.raises(SignInError):
        accounts.change_password("ada", WRONG, OTHER)
    with pytest.raises(LockedError):
        sign(accounts, "ada", WRONG, Role.COMMITTEE_MEMBER, "approves", RECORD)
    with pytest.raises(LockedError):
        accounts.confirm_password("ada", SECRET)
    said = Counter(events(accounts))
    assert (said["sign_in_failed"], said["confirmation_failed"], said["locked_out"]) == (2, 3, 1)


def test_an_administrator_can_end_a_lock(accounts):
    fail(accounts, 4)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", WRONG)
    accounts.unlock("ada", by="root", reason="known by voice on the telephone")
    accounts.sign_in("ada", SECRET)
    assert accounts.log()[-2].detail == "known by voice on the telephone"
    with pytest.raises(AccountError):
        accounts.unlock("ada", by="root", reason="again")


# --- sessions ---------------------------------------------------------------------------------


def why_ended(accounts: Accounts, token: str) -> SessionEnd:
    with pytest.raises(SessionEndedError) as ended:
        accounts.authenticate(token)
    return ended.value.why


def test_a_session_ends_after_thirty_idle_minutes_to_the_moment(accounts, clock):
    token = accounts.sign_in("ada", SECRET).token
    for _ in range(3):
        clock.on(IDLE - TICK)
        accounts.authenticate(token)
    clock.on(IDLE)
    assert why_ended(accounts, token) is SessionEnd.IDLE
    assert why_ended(accounts, token) is SessionEnd.IDLE
    ended = [(entry.event, entry.detail) for entry in accounts.log()][2:]
    assert ended == [(AccountEvent.SESSION_ENDED, "idle")]


def test_a_session_ends_after_twelve_hours_however_busy(accounts, clock):
    token = accounts.sign_in("ada", SECRET).token
    while clock.now < NOON + ABSOLUTE - 20 * SECOND * 60:
        clock.on(timedelta(minutes=20))
        accounts.authenticate(token)
    clock.now = NOON + ABSOLUTE - TICK
    accounts.authenticate(token)
    clock.on(TICK)
    assert why_ended(accounts, token) is SessionEnd.ABSOLUTE


def test_signing_out_ends_this_session_only_and_is_logged_once(accounts):
    first, second = (accounts.sign_in("ada", SECRET).token for _ in range(2))
    accounts.sign_out(first)
    accounts.sign_out(first)
    accounts.sign_out("never issued")
    assert why_ended(accounts, first) is SessionEnd.SIGNED_OUT
    accounts.authenticate(second)
    assert events(accounts).count("session_ended") == 1


def test_signing_out_too_late_is_a_time_out(accounts, clock):
    token = accounts.sign_in("ada", SECRET).token
    clock.on(IDLE)
    accounts.sign_out(token)
    assert why_ended(accounts, token) is SessionEnd.IDLE


@pytest.mark.parametrize("token", ["", "x" * 43, "' OR '1'='1", "\x00", "\ud800", "é" * 1000])
def test_a_token_never_issued_is_not_known(accounts, token):
    assert why_ended(accounts, token) is SessionEnd.UNKNOWN


def test_the_kept_hash_of_a_token_is_not_a_token(accounts, engine):
    accounts.sign_in("ada", SECRET)
    with engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT token_hash FROM sessions").scalar()
    assert why_ended(accounts, kept) is SessionEnd.UNKNOWN


def test_deactivation_ends_sessions_and_reactivation_does_not_bring_them_back(accounts):
    token = accounts.sign_in("ada", SECRET).token
    accounts.deactivate("ada", by="root", reason="left the site")
    assert why_ended(accounts, token) is SessionEnd.DEACTIVATED
    with pytest.raises(SignInError):
        accounts.sign_in("ada", SECRET)
    with pytest.raises(SignInError):
        accounts.confirm_password("ada", SECRET)
    accounts.reactivate("ada", by="root", reason="came back")
    assert why_ended(accounts, token) is SessionEnd.DEACTIVATED
    accounts.sign_in("ada", SECRET)
    with pytest.raises(AccountError, match="so already"):
        accounts.reactivate("ada", by="root", reason="twice")
    with pytest.raises(AccountError):
        accounts.deactivate("nobody", by="root", reason="who")


def test_an_account_closed_behind_the_service_is_refused_at_the_next_call(accounts, engine):
    token = accounts.sign_in("ada", SECRET).token
    with engine.begin() as connection:
        connection.execute(tables()[0].update().values(active=False))
    with pytest.raises(SessionEndedError):
        accounts.authenticate(token)


def test_deactivation_while_the_password_is_being_checked_wins(accounts, monkeypatch):
    keeper = accounts._passwords
    real = keeper.verify

    def slow(stored, typed):
        accounts.deactivate("ada", by="root", reason="left the site")
        return real(stored, typed)

    monkeypatch.setattr(keeper, "verify", slow)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", SECRET)
    assert "signed_in" not in events(accounts)


def test_time_outs_nobody_noticed_can_be_written(accounts, clock):
    tokens = [accounts.sign_in("ada", SECRET).token for _ in range(3)]
    clock.on(IDLE)
    accounts.end_expired()
    accounts.end_expired()
    assert events(accounts).count("session_ended") == 3
    assert {why_ended(accounts, token) for token in tokens} == {SessionEnd.IDLE}


def test_many_calls_at_once_of_one_ended_session_write_one_time_out(accounts, clock):
    token = accounts.sign_in("ada", SECRET).token
    clock.on(IDLE)
    found = []
    threads = [threading.Thread(target=lambda: found.append(why_ended(accounts, token))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SessionEnd.IDLE] * 10
    assert events(accounts).count("session_ended") == 1


@pytest.mark.parametrize(
    ("start", "later", "lives"),
    [
        # clocks go forward: 01:50 to 03:15 on the wall is 25 minutes
        (datetime(2026, 3, 29, 1, 50), datetime(2026, 3, 29, 3, 15), True),
        (datetime(2026, 3, 29, 1, 50), datetime(2026, 3, 29, 3, 20), False),
        # clocks go back: 02:50 to 02:10 on the wall is 20 minutes, to 02:20 is 30
        (datetime(2026, 10, 25, 2, 50), datetime(2026, 10, 25, 2, 10, fold=1), True),
        (datetime(2026, 10, 25, 2, 50), datetime(2026, 10, 25, 2, 20, fold=1), False),
    ],
)
def test_daylight_saving_changes_no_time_out(accounts, clock, start, later, lives):
    berlin = ZoneInfo("Europe/Berlin")
    clock.now = start.replace(tzinfo=berlin)
    token = accounts.sign_in("ada", SECRET).token
    clock.now = later.replace(tzinfo=berlin)
    if lives:
        accounts.authenticate(token)
    else:
        assert why_ended(accounts, token) is SessionEnd.IDLE
    entries = accounts.log()
    assert all(entry.at.utcoffset() == timedelta(0) for entry in entries)
    assert entries[1].at == start.replace(tzinfo=berlin).astimezone(UTC)


def test_a_lock_is_as_long_over_the_change_of_clocks(accounts, clock):
    clock.now = datetime(2026, 10, 25, 2, 55, tzinfo=ZoneInfo("Europe/Berlin"))
    fail(accounts, 4)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", WRONG)
    assert accounts.log()[-1].detail == f"until {datetime(2026, 10, 25, 1, 10, tzinfo=UTC).isoformat()}"


def test_a_clock_without_a_zone_is_refused(accounts, clock):
    clock.now = datetime(2026, 3, 2, 12, 0)
    with pytest.raises(AccountError, match="no time zone"):
        accounts.sign_in("ada", SECRET)


# --- passwords --------------------------------------------------------------------------------


def test_changing_the_password_ends_every_session(accounts):
    tokens = [accounts.sign_in("ada", SECRET).token for _ in range(2)]
    accounts.change_password("ada", SECRET, OTHER)
    assert {why_ended(accounts, token) for token in tokens} == {SessionEnd.PASSWORD_CHANGED}
    with pytest.raises(SignInError):
        accounts.sign_in("ada", SECRET)
    accounts.sign_in("ada", OTHER)
    with pytest.raises(PasswordPolicyError, match="present one"):
        accounts.change_password("ada", OTHER, OTHER)


def test_a_password_changed_meanwhile_makes_the_older_one_wrong(accounts, monkeypatch):
    keeper = accounts._passwords
    real = keeper.verify

    def slow(stored, typed):
        right = real(stored, typed)
        monkeypatch.setattr(keeper, "verify", real)
        accounts.change_password("ada", SECRET, OTHER)
        return right

    monkeypatch.setattr(keeper, "verify", slow)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", SECRET)


def test_a_temporary_password_signs_in_and_signs_nothing(accounts):
    token = accounts.sign_in("ada", SECRET).token
    fail(accounts, 4)
    with pytest.raises(SignInError):
        accounts.sign_in("ada", WRONG)
    accounts.reset_password("ada", OTHER, by="root")
    assert why_ended(accounts, token) is SessionEnd.PASSWORD_CHANGED
    assert accounts.sign_in("ada", OTHER).user.temporary_password
    with pytest.raises(AccountError, match="choose your own"):
        sign(accounts, "ada", OTHER, Role.INVESTIGATOR, "approves", RECORD)
    accounts.change_password("ada", OTHER, SECRET)
    assert not accounts.sign_in("ada", SECRET).user.temporary_password
    assert sign(accounts, "ada", SECRET, Role.INVESTIGATOR, "approves", RECORD)
    resets = [entry for entry in accounts.log() if entry.event is AccountEvent.PASSWORD_RESET]
    assert [(entry.account, entry.actor) for entry in resets] == [("ada", "root")]


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("eleven char", "fewer than 12"),
        ("e\u0301" * 11, "fewer than 12"),
        ("a" * 12, "one character"),
        ("aAaAaAaAaAaA", "one character"),
        (" " * 20, "one character"),
        ("Augusta-Byron", "name of its owner"),
        ("augusta ada byron", "name of its owner"),
        ("ａｕｇｕｓｔａ－ｂｙｒｏｎ", "name of its owner"),
        ("tabs\tare not typed twice", "control characters"),
        ("half \ud800 a character", "control characters"),
        ("long " * LONGEST, "more than 1024"),
        ("e\u0301x" * 500, "more than 1024"),
    ],
)
def test_what_is_asked_of_a_password(accounts, password, words):
    with pytest.raises(PasswordPolicyError, match=words) as refused:
        accounts.create("augusta-byron", "Augusta Ada Byron", password, by="root")
    assert password not in f"{refused.value} {refused.value!r}"
    assert [user.name for user in accounts.users()] == ["ada"]


@pytest.mark.parametrize("password", ["alllowercase", "123456789012", "密码不需要大写字母和数字", "ab" * 512])
def test_no_mixture_of_characters_is_asked_for(password):
    check_policy(password, "ada")


def test_one_password_typed_on_two_keyboards_is_one_password(accounts):
    accounts.create("zoe", "Zoé", "cafe\u0301 au lait\u3000noir", by="root")
    assert accounts.sign_in("zoe", "café au lait noir").user.name == "zoe"


@given(st.text(max_size=40), st.text(max_size=40))
def test_only_the_same_text_is_the_same_password(one, two):
    keeper = cheap()
    stored = keeper.hash(one)
    assert keeper.verify(stored, one)
    assert keeper.verify(stored, two) is (unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", two))
    assert not keeper.verify(None, one)
    assert not keeper.verify("not a hash", one)


def test_a_monstrous_password_is_wrong_without_being_hashed_whole():
    keeper = cheap()
    assert not keeper.verify(keeper.hash("x"), "x" * 10_000_000)


def test_the_cost_in_production_is_that_of_the_library():
    stored = Passwords().hash(SECRET)
    default = PasswordHasher()
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert not default.check_needs_rehash(stored)
    assert default.verify(stored, SECRET)


def test_a_password_kept_at_an_older_cost_is_renewed_at_sign_in(accounts, engine, clock):
    dearer = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    later = Accounts(engine, clock=clock, passwords=dearer)
    for _ in range(2):
        later.sign_in("ada", SECRET)
    with engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT password_hash FROM accounts").scalar()
    assert stored.startswith("$argon2id$v=19$m=16,t=2,p=1$")
    assert events(accounts) == ["created", "password_rehashed", "signed_in", "signed_in"]


def test_two_renewals_at_once_both_sign_in(accounts, engine, clock):
    dearer = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    later = Accounts(engine, clock=clock, passwords=dearer)
    users = []
    threads = [threading.Thread(target=lambda: users.append(later.sign_in("ada", SECRET).user.name)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert users == ["ada"] * 4


# --- names ------------------------------------------------------------------------------------

HOSTILE = [
    "",
    " ada",
    "a da",
    "ada\n",
    "ada\x00",
    "ada\x1b[2J",
    "ada\u202egnp",
    "\u2066ada\u2069",
    "ada\u200b",
    "ada\u200d",
    "\ufeffada",
    "ada\u00ad",
    "ada\u3164",
    "ada\u115f",
    "ada\ufe0f",
    "ada\u034f",
    "e\u0301va",
    "ａｄａ",
    "ﬁona",
    "\u0430da",
    "adа",
    "αda",
    "ada\ud800",
    "ada\ue000",
    "-ada",
    "a" * 65,
    "installation",
    "System",
    "ada'; DROP TABLE accounts; --",
    '"; DELETE FROM account_log; --',
    "ada/**/OR/**/1=1",
    "ada%",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_deceive_are_refused_and_sign_nobody_in(accounts, name):
    with pytest.raises(AccountError, match="code name"):
        accounts.create(name, "Somebody", SECRET, by="root")
    if name.strip() != "ada":
        with pytest.raises(SignInError):
            accounts.sign_in(name, WRONG)
    assert [user.name for user in accounts.users()] == ["ada"]


@pytest.mark.parametrize("name", ["ada2", "byron-a", "a.byron@site", "李雷", "李lei", "Łukasz", "zoé", "Иван", "ada_b"])
def test_names_of_people_are_accepted(accounts, name):
    accounts.create(name, f"Dr {name}", SECRET, by="root")
    assert accounts.sign_in(name.upper(), SECRET).user.name == name


@pytest.mark.parametrize("full", ["", " Ada", "Ada\u202e", "A\nda", "e\u0301va", "x" * 201, "Ada\u2028", "\u2800"])
def test_full_names_that_deceive_are_refused(full):
    with pytest.raises(AccountError, match="full name"):
        check_names("ada", full)


@pytest.mark.parametrize("second", ["ada", "ADA", "Ada"])
def test_a_name_is_given_once(accounts, second):
    with pytest.raises(AccountError, match="choose another") as refused:
        accounts.create(second, "Another Ada", OTHER, by="root")
    assert refused.value.__cause__ is None
    assert events(accounts) == ["created"]


@given(st.text(max_size=70))
def test_any_name_is_refused_or_comes_back_as_it_is(name):
    try:
        check_names(name, "Somebody")
    except AccountError:
        return
    assert name.isprintable()
    assert " " not in name


def test_statements_in_names_and_reasons_are_only_text(accounts):
    hostile = "Robert'); DROP TABLE account_log; --"
    accounts.create("bob", hostile, SECRET, by=hostile)
    accounts.deactivate("bob", by=hostile, reason=hostile)
    accounts.log_refusal(hostile, hostile, hostile, hostile)
    last = accounts.log()[-1]
    assert (last.account, last.trial, last.permission, last.detail) == (hostile,) * 4
    assert accounts.user("bob").full_name == hostile
    assert accounts.log(account="' OR 1=1 --") == ()


# --- the log ----------------------------------------------------------------------------------


def test_refusals_are_written_and_found_by_trial(accounts):
    user = accounts.user("ada")
    accounts.log_refusal(user, "EX-1", Permission.SIGN_DECISION, "ada is statistician in EX-1")
    accounts.log_refusal("ada", "EX-2", "export", "no delegation")
    (entry,) = accounts.log(trial="EX-1")
    assert entry.event is AccountEvent.PERMISSION_REFUSED
    assert (entry.at, entry.account, entry.permission) == (NOON, "ada", "sign_decision")
    assert entry.detail == "ada is statistician in EX-1"
    assert accounts.log(after=entry.seq)[0].trial == "EX-2"


def test_hostile_and_endless_text_cannot_spoil_the_log(accounts):
    accounts.log_refusal("x" * 999, "t" * 999, "p" * 999, "one\ntwo\x00\u202e" + "d" * 999 + "\ud800")
    last = accounts.log()[-1]
    assert last.detail.startswith("one two\ufffd\ufffdddd")
    assert [len(last.account), len(last.trial), len(last.permission)] == [64, 200, 64]
    assert len(last.detail) <= 500
    accounts.deactivate("ada", by="root", reason="离开\u3000研究中心")
    assert accounts.log()[-1].detail == "离开\u3000研究中心"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account_log SET detail = 'nothing'",
        "UPDATE account_log SET seq = seq + 100",
        "DELETE FROM account_log",
        "DELETE FROM account_log WHERE seq = 1",
        "INSERT OR REPLACE INTO account_log (seq, at, event, detail) VALUES (1, 'x', 'x', 'x')",
        "INSERT INTO account_log (seq, at, event, detail) VALUES (1, 'x', 'x', 'x') "
        "ON CONFLICT (seq) DO UPDATE SET detail = 'x'",
        "INSERT INTO account_log (seq, at, event, detail) VALUES (-1, 'x', 'x', 'x')",
        "TRUNCATE account_log",
    ],
)
def test_the_database_refuses_to_change_the_log(accounts, engine, statement):
    before = accounts.log()
    with pytest.raises(sa.exc.DBAPIError), engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert accounts.log() == before
    accounts.sign_in("ada", SECRET)


def test_an_act_and_its_line_are_written_together_or_not_at_all(accounts, engine, monkeypatch):
    def refuse(*_args, **_keywords):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(accounts, "_log", refuse)
    with pytest.raises(RuntimeError):
        accounts.create("bob", "Bob", OTHER, by="root")
    with pytest.raises(RuntimeError):
        accounts.deactivate("ada", by="root", reason="left")
    with pytest.raises(RuntimeError):
        accounts.sign_in("ada", SECRET)
    assert [(user.name, user.active) for user in accounts.users()] == [("ada", True)]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sessions").scalar() == 0


def test_secrets_are_in_no_log_no_repr_and_no_error(tmp_path, clock, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'loud.db'}", echo="debug")
    make_tables(engine)
    accounts = Accounts(engine, clock=clock, passwords=cheap())
    shown = [repr(accounts.create("ada", "Ada", SECRET, by="root"))]
    begun = accounts.sign_in("ada", SECRET)
    accounts.authenticate(begun.token)
    signature = sign(accounts, begun.user, SECRET, Role.INVESTIGATOR, "approves", RECORD)
    shown += [repr(begun), str(begun), repr(begun.user), repr(signature), str(signature), repr(accounts)]
    fail(accounts, 1)
    with pytest.raises(SessionEndedError) as ended:
        accounts.authenticate(begun.token + "x")
    with pytest.raises(AccountError) as twice:
        accounts.create("ada", "Ada", OTHER, by="root")
    accounts.change_password("ada", SECRET, OTHER)
    accounts.sign_out(begun.token)
    with engine.connect() as connection:
        hashes = connection.exec_driver_sql("SELECT password_hash FROM accounts").scalars().all()
        hashes += connection.exec_driver_sql("SELECT token_hash FROM sessions").scalars().all()
        lines = [str(tuple(row)) for row in connection.exec_driver_sql("SELECT * FROM account_log")]
    broken = tables()[0].insert().values(name="x", password_hash=hashes[0])
    with pytest.raises(sa.exc.IntegrityError) as failed, engine.begin() as connection:
        connection.execute(broken)
    shown += [str(error.value) + repr(error.value) for error in (ended, twice, failed)]
    # what this test itself asks for with raw statements is logged as raw rows; the service asks for none
    logged = [record.getMessage() for record in caplog.records if not record.getMessage().startswith("Row ('$argon2")]
    ours = [line for line in logged if not re.fullmatch(r"Row \('[0-9a-f]{64}',\)", line)]
    everything = "\n".join([*shown, *lines, *ours])
    assert "INSERT INTO sessions" in everything
    assert "<hidden>" in everything
    for secret in (SECRET, OTHER, WRONG, begun.token, *hashes, "argon2id"):
        assert secret not in everything
    engine.dispose()
    assert capsys.readouterr().err == ""


# --- signatures -------------------------------------------------------------------------------


def test_a_signature_says_who_when_what_and_covers_its_record(accounts, clock):
    clock.now = datetime(2026, 3, 2, 13, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    made = sign(accounts, "ada", SECRET, Role.COMMITTEE_MEMBER, "approves the escalation to level 3", RECORD)
    assert made == Signature(
        user="ada",
        printed_name="Augusta Ada Byron",
        role=Role.COMMITTEE_MEMBER,
        meaning="approves the escalation to level 3",
        signed_at=NOON,
        record_hash=RECORD,
        method="password re-entered",
    )
    assert made.signed_at.tzinfo is UTC
    assert str(made) == (
        "Augusta Ada Byron (ada), committee member, 2026-03-02 12:00:00 UTC: "
        "approves the escalation to level 3 (password re-entered)"
    )
    last = accounts.log()[-1]
    assert last.event is AccountEvent.CONFIRMED
    assert last.detail == "as committee member: approves the escalation to level 3"


def test_a_signature_falls_with_any_change_of_what_it_covers(accounts):
    made = sign(accounts, accounts.user("ada"), SECRET, Role.COMMITTEE_MEMBER, "approves", RECORD)
    assert still_valid(made, RECORD)
    for place in range(64):
        changed = RECORD[:place] + ("0" if RECORD[place] != "0" else "1") + RECORD[place + 1 :]
        assert not still_valid(made, changed)
    assert not still_valid(made, "")
    with pytest.raises(FrozenInstanceError):
        made.record_hash = "0" * 64
    assert replace(made, record_hash="0" * 64) != made


def test_nothing_is_signed_without_the_password_a_meaning_and_a_record(accounts):
    with pytest.raises(SignInError):
        sign(accounts, "ada", WRONG, Role.COMMITTEE_MEMBER, "approves", RECORD)
    for meaning in ("", "  ", "approves\u202e"):
        with pytest.raises(AccountError, match="meaning"):
            sign(accounts, "ada", SECRET, Role.COMMITTEE_MEMBER, meaning, RECORD)
    for record in ("", "ab", RECORD.upper(), RECORD + "\n"):
        with pytest.raises(AccountError, match="SHA-256"):
            sign(accounts, "ada", SECRET, Role.COMMITTEE_MEMBER, "approves", record)
    with pytest.raises(ValueError, match="surgeon"):
        sign(accounts, "ada", SECRET, "surgeon", "approves", RECORD)
    with pytest.raises(AccountError, match="no time zone"):
        Signature("ada", "Ada", Role.MONITOR, "approves", datetime(2026, 3, 2), RECORD)


def test_every_error_is_one_of_ours():
    kinds = (AccountError, LockedError, PasswordPolicyError, PermissionRefused, SessionEndedError, SignInError)
    assert all(issubclass(kind, EscalationError) for kind in kinds)
