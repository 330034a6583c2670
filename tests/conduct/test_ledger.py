"""The ledger in ordinary use: what is recorded, what comes back, and what is refused, by us and by the database."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import assume, given
from hypothesis import strategies as st

from escalation import __version__
from escalation.conduct import canonical as c
from escalation.conduct import migrations
from escalation.conduct.account_tables import metadata as account_metadata
from escalation.conduct.database import connect, locate
from escalation.conduct.ledger import (
    GENESIS,
    Draft,
    DraftError,
    Entry,
    Head,
    IdempotencyError,
    LedgerBusyError,
    LedgerClosedSchemaError,
    LedgerError,
    LedgerFullError,
    StaleVersionError,
    chain,
    check_chain,
)
from escalation.conduct.store import Ledger, migrate

TRIAL = "NCT-1"
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"


def fact(number: int = 1, **more: Any) -> Draft:
    return Draft("fact", {"number": number}, "2027-03-01", **more)


def record(ledger: Ledger, count: int, trial: str = TRIAL) -> tuple[Entry, ...]:
    return ledger.append(trial, [fact(n) for n in range(1, count + 1)], actor="ada", expected_version=0)


# Canonical text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
        (["\u00e9", "e\u0301"], '["é","é"]'),
        ({"line\n": "\x00\x1f\u2028"}, '{"line\\n":"\\u0000\\u001f\u2028"}'),
        ([1, 1.0, -0.0, 1e-7, 1e22, True, None], "[1,1.0,-0.0,1e-07,1e+22,true,null]"),
        (2**64, "18446744073709551616"),
    ],
)
def test_canonical_text(value: object, text: str) -> None:
    assert c.canonical(value) == text
    assert c.canonical(c.parse(text)) == text


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        (1, 2),
        {1: 2},
        b"x",
        Colour.RED,
        np.float64(1),
        np.int64(1),
        {1, 2},
        1 << 5000,
        "\ud800",
        NOON,
    ],
    ids=repr,
)
def test_what_has_no_canonical_text(value: object) -> None:
    with pytest.raises(c.CanonicalError, match=r"^dose\[1\]: "):
        c.canonical({"dose": [0, value]})


def test_keys_that_become_one_are_refused() -> None:
    with pytest.raises(c.CanonicalError, match="two keys"):
        c.canonical({"\u00e9": 1, "e\u0301": 2})


def test_bottomless_nesting_is_refused() -> None:
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(c.CanonicalError, match="deeper"):
        c.canonical(deep)
    with pytest.raises(c.CanonicalError):
        c.parse("[" * 100_000)


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '{"b":1,"a":2}', '{"a":1,"a":1}', "[NaN]", "[1e999]", '["\\u00e9"]', "", "{"]
)
def test_only_canonical_text_is_read(text: str) -> None:
    with pytest.raises(c.CanonicalError):
        c.parse(text)


# Drafts


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("type", {"type": ""}),
        ("type", {"type": "x" * 201}),
        ("payload", {"payload": [1]}),
        ("payload", {"payload": {"at": NOON}}),
        ("reason", {"reason": " "}),
        ("reason", {"reason": "bell\x07"}),
        ("idempotency_key", {"idempotency_key": "a\x00"}),
        ("idempotency_key", {"idempotency_key": "\udfff"}),
        *(
            ("effective", {"effective": value})
            for value in (
                "2027-02-29",
                "2027-3-1",
                "20270301",
                "2027-03-01T09:30",
                "2027-W09-1",
                "2027-03-01T24:00Z",
                "",
            )
        ),
    ],
)
def test_drafts_that_cannot_be_recorded(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(DraftError, match=f"^{field}: "):
        Draft(**{"type": "fact", "payload": {}, "effective": "2027-03-01", **values})


@pytest.mark.parametrize("effective", ["2027-03-01", "2024-02-29T23:59+14:00", "2027-03-01T09:30:00.5Z"])
def test_dates_a_fact_can_have(effective: str) -> None:
    assert Draft("fact", {}, effective, reason="two\nlines").effective == effective


def test_a_draft_does_not_change_with_what_it_was_made_from() -> None:
    payload: dict[str, Any] = {"list": [1]}
    draft = Draft("fact", payload, "2027-03-01")
    payload["list"].append(2)
    assert draft.payload == {"list": [1]}


# The chain


def test_an_entry_is_bound_to_its_trial_and_to_the_entry_before() -> None:
    first = chain(None, fact(), trial=TRIAL, actor="ada", at=NOON)
    second = chain(first, fact(), trial=TRIAL, actor="ada", at=NOON)
    assert (first.seq, first.prev_hash, first.software) == (1, GENESIS, __version__)
    assert (second.seq, second.prev_hash) == (2, first.hash)
    assert chain(None, fact(), trial="other", actor="ada", at=NOON).hash != first.hash
    body = {key: value for key, value in first.as_dict().items() if key != "hash"}
    assert first.hash == c.digest(body)
    assert len({first.hash, *(replace(first, **{key: "x"}).computed_hash() for key in body)}) == len(body) + 1


def test_the_hash_is_what_it_was_in_every_release() -> None:
    draft = Draft("dosed", {"subject": "S-01", "mg": 2.5}, "2027-03-01", reason="Zürich", idempotency_key="k")
    entry = chain(None, draft, trial=TRIAL, actor="ada", at=NOON, software="0.1.0")
    text = (
        '{"actor":"ada","effective":"2027-03-01","idempotency_key":"k","payload":{"mg":2.5,"subject":"S-01"},'
        f'"prev_hash":"{GENESIS}","reason":"Zürich","recorded_at":"2027-03-01T12:00:00.000000Z","seq":1,'
        '"software":"0.1.0","trial":"NCT-1","type":"dosed"}'
    )
    assert entry.hash == hashlib.sha256(text.encode()).hexdigest()
    assert entry.hash == "5df2701752145fd71835766ba2f9b566200963c1927014906c00987bb2818825"


def test_time_never_goes_backwards_and_knows_no_summer() -> None:
    paris = ZoneInfo("Europe/Paris")
    clock = iter(
        [
            datetime(2027, 10, 31, 2, 30, tzinfo=paris),
            datetime(2027, 10, 31, 2, 30, tzinfo=paris, fold=1),
            datetime(2020, 1, 1, tzinfo=UTC),
            datetime(2027, 10, 31, 3, 0, tzinfo=paris),
        ]
    )
    prev, times = None, []
    for at in clock:
        prev = chain(prev, fact(), trial=TRIAL, actor="ada", at=at)
        times.append(prev.recorded_at)
    assert [time[11:] for time in times] == [
        "00:30:00.000000Z",
        "01:30:00.000000Z",
        "01:30:00.000000Z",
        "02:00:00.000000Z",
    ]


def test_a_clock_without_time_zone_is_refused(store: Any) -> None:
    ledger = store.open(clock=lambda: datetime(2027, 3, 1))
    with pytest.raises(LedgerError, match="time zone"):
        record(ledger, 1)
    assert ledger.head(TRIAL) == Head(0, GENESIS)


# Append and read


def test_what_is_appended_comes_back(store: Any) -> None:
    ledger = store.open(clock=lambda: NOON)
    made = record(ledger, 3)
    more = ledger.append(TRIAL, [fact(4, reason="seen later")], actor="bob", expected_version=3)
    assert ledger.entries(TRIAL) == made + more
    assert ledger.entries(TRIAL, after=2) == (made + more)[2:]
    assert ledger.entries(TRIAL, after=4) == ()
    assert ledger.head(TRIAL) == (4, more[0].hash)
    assert [entry.recorded_at for entry in made] == ["2027-03-01T12:00:00.000000Z"] * 3
    assert (more[0].actor, more[0].reason, more[0].prev_hash) == ("bob", "seen later", made[-1].hash)
    report = ledger.check(TRIAL, ledger.head(TRIAL).hash)
    assert report.ok
    assert str(report) == f"trial 'NCT-1': 4 entries verified, head {more[0].hash}"
    with store.open(create=False) as again:
        assert again.entries(TRIAL) == made + more


def test_trials_do_not_touch_each_other(store: Any) -> None:
    ledger = store.open()
    record(ledger, 2, "b")
    record(ledger, 1, "a")
    record(ledger, 1, "é")
    assert ledger.trials() == ("a", "b", "é")
    assert [ledger.head(trial).seq for trial in ("a", "b", "e\u0301", "c")] == [1, 2, 1, 0]
    assert ledger.entries("c") == ()


hostile = st.sampled_from(["\x00", "\u202e", "\uffff", "🧬", "A\u030a", "\r\n", "'; --", "%s:x"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**4000), 2**4000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text() | hostile,
)
payloads = st.dictionaries(
    st.text(), st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
)


@given(payload=payloads)
def test_payloads_come_back_as_they_were(lasting: Ledger, payload: dict[str, Any]) -> None:
    try:
        text = c.canonical(payload)
    except c.CanonicalError as problem:
        assume("two keys" not in str(problem))
        raise
    version = lasting.head("payloads").seq
    (made,) = lasting.append("payloads", [Draft("fact", payload, "2027-03-01")], actor="ada", expected_version=version)
    (back,) = lasting.entries("payloads", after=version)
    assert back == made
    assert c.write(back.payload) == text
    assert json.loads(unicodedata.normalize("NFC", json.dumps(payload, ensure_ascii=False))) == back.payload


@pytest.mark.parametrize(
    "trial",
    [
        "'; DROP TABLE ledger; --",
        '" OR 1=1 --',
        "a%s%(b)s:c?",
        "\\'",
        "$$",
        "{0}",
        "null",
        "1",
        "../../etc",
        "a\u202eb",
        "🧬",
        "%",
    ],
)
def test_names_are_only_names(lasting: Ledger, trial: str) -> None:
    made = lasting.append(trial, [fact(reason=trial, idempotency_key=trial)], actor=trial, expected_version=0)
    assert lasting.entries(trial) == made
    assert trial in lasting.trials()
    assert lasting.check(trial).ok


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "a\nb", "x" * 201, "\ud800"])
def test_names_that_are_refused(lasting: Ledger, name: str) -> None:
    with pytest.raises(DraftError, match=r"^trial: "):
        lasting.entries(name)
    with pytest.raises(DraftError, match=r"^actor: "):
        lasting.append(TRIAL, [fact()], actor=name, expected_version=0)


# Version and idempotency


def test_a_stale_version_is_told_what_was_recorded_since(store: Any) -> None:
    ledger = store.open()
    made = record(ledger, 3)
    with pytest.raises(StaleVersionError, match="recorded since \\(by ada\\)") as stale:
        ledger.append(TRIAL, [fact(9)], actor="bob", expected_version=1)
    assert stale.value.since == made[1:]
    with pytest.raises(StaleVersionError, match="tail may be lost"):
        ledger.append(TRIAL, [fact(9)], actor="bob", expected_version=4)
    assert ledger.entries(TRIAL) == made


def test_the_same_key_records_once(store: Any) -> None:
    ledger = store.open()
    drafts = [fact(1), fact(2, idempotency_key="k"), fact(3)]
    made = ledger.append(TRIAL, drafts, actor="ada", expected_version=0)
    more = ledger.append(TRIAL, [fact(4)], actor="bob", expected_version=3)
    assert ledger.append(TRIAL, drafts, actor="ada", expected_version=0) == made
    assert ledger.append("other", drafts, actor="ada", expected_version=0)[0].trial == "other"
    assert ledger.entries(TRIAL) == made + more


@pytest.mark.parametrize(
    ("drafts", "actor"),
    [
        ([fact(True, idempotency_key="k")], "ada"),
        ([fact(1, idempotency_key="k", reason="why")], "ada"),
        ([fact(1, idempotency_key="k")], "bob"),
        ([fact(1, idempotency_key="k"), fact(2)], "ada"),
        ([fact(1), fact(1, idempotency_key="k")], "ada"),
        ([fact(1, idempotency_key="k"), fact(2, idempotency_key="new")], "ada"),
    ],
)
def test_a_key_used_for_something_else(store: Any, drafts: list[Draft], actor: str) -> None:
    ledger = store.open()
    made = ledger.append(TRIAL, [fact(1, idempotency_key="k")], actor="ada", expected_version=0)
    with pytest.raises(IdempotencyError, match="'k' was used for something else, entry 1"):
        ledger.append(TRIAL, drafts, actor=actor, expected_version=1)
    assert ledger.entries(TRIAL) == made


def test_an_append_must_hold_something_once(lasting: Ledger) -> None:
    with pytest.raises(DraftError, match="nothing to record"):
        lasting.append(TRIAL, [], actor="ada", expected_version=0)
    with pytest.raises(DraftError, match="same key"):
        lasting.append(TRIAL, [fact(idempotency_key="k")] * 2, actor="ada", expected_version=0)


# What the database itself refuses

COLUMNS = "trial, seq, type, effective, recorded_at, actor, reason, payload, idempotency_key, software, prev_hash, hash"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET reason = 'other'",
        "UPDATE ledger SET seq = 9 WHERE seq = 3",
        "DELETE FROM ledger",
        "DELETE FROM ledger WHERE seq = 3",
        f"INSERT INTO ledger SELECT {COLUMNS.replace('seq', '5')} FROM ledger WHERE seq = 3",
        f"INSERT INTO ledger SELECT {COLUMNS.replace('seq', '4')} FROM ledger WHERE seq = 3",
        "sqlite: INSERT OR REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 2",
        "sqlite: INSERT OR IGNORE INTO ledger SELECT * FROM ledger WHERE seq = 2",
        "sqlite: REPLACE INTO ledger SELECT trial, 4, type, effective, recorded_at, actor, reason, payload, "
        "idempotency_key, software, hash, hash FROM ledger WHERE seq = 3",
        f"sqlite: REPLACE INTO ledger (rowid, {COLUMNS}) SELECT 1, 'other', 1, type, effective, recorded_at, actor, "
        f"reason, payload, idempotency_key, software, '{GENESIS}', hash FROM ledger WHERE seq = 3",
        "postgresql: TRUNCATE ledger",
        "postgresql: SET session_replication_role = replica; DELETE FROM ledger",
        "postgresql: INSERT INTO ledger SELECT * FROM ledger ON CONFLICT (trial, seq) DO UPDATE SET actor = 'other'",
    ],
)
def test_the_database_refuses_changes(store: Any, statement: str) -> None:
    dialect, _, only = statement.rpartition(": ")
    if dialect and dialect != store.dialect:
        return
    ledger = store.open()
    made = ledger.append(TRIAL, [fact(1), fact(2), fact(3, idempotency_key="k")], actor="ada", expected_version=0)
    with pytest.raises(Exception, match=r"append-only|not the next entry|UNIQUE|unique"):
        store.run(*only.split("; "))
    assert ledger.entries(TRIAL) == made


def test_nothing_is_recorded_without_the_guards(store: Any) -> None:
    ledger = store.open()
    made = record(ledger, 1)
    store.unguard()
    with pytest.raises(LedgerClosedSchemaError, match="ledger_no_update"):
        ledger.append(TRIAL, [fact(2)], actor="ada", expected_version=1)
    assert ledger.entries(TRIAL) == made


def test_nothing_is_recorded_without_the_guards_of_the_account_log(store: Any) -> None:
    ledger = store.open()
    made = record(ledger, 1)
    store.unguard_accounts()
    with pytest.raises(
        LedgerClosedSchemaError, match=r"account_log_.* against changes to the account log; nothing was"
    ):
        ledger.append(TRIAL, [fact(2)], actor="ada", expected_version=1)
    assert ledger.entries(TRIAL) == made


def test_a_role_that_may_read_and_insert_is_enough(postgresql: Any) -> None:
    """PostgreSQL only: SQLite has no roles."""
    where = postgresql.database()
    migrate(where)
    schema = where.rpartition("%3D")[2]
    with psycopg.connect(where, autocommit=True) as owner:
        owner.execute("CREATE ROLE recorder LOGIN")
        owner.execute(f"GRANT USAGE ON SCHEMA {schema} TO recorder".encode())
        owner.execute(f"GRANT SELECT ON {migrations.VERSION_TABLE} TO recorder".encode())
        owner.execute("GRANT SELECT, INSERT ON ledger TO recorder")
    owner.close()
    where = where.replace("//escalation@", "//recorder@")
    with Ledger.open(where) as ledger:
        made = record(ledger, 2)
        assert ledger.entries(TRIAL) == made
    with psycopg.connect(where) as recorder, pytest.raises(psycopg.errors.InsufficientPrivilege):
        recorder.execute("DELETE FROM ledger")
    recorder.close()


def test_a_ledger_that_may_only_be_read(store: Any) -> None:
    ledger = store.open()
    made = record(ledger, 1)
    if store.dialect == "postgresql":
        ledger = Ledger.open(store.where + "%20-cdefault_transaction_read_only%3Don")
    else:
        ledger = Ledger.open(f"sqlite:///file:{store.where}?mode=ro&uri=true")
    with pytest.raises(LedgerFullError, match="nothing was recorded"):
        ledger.append(TRIAL, [fact(2)], actor="ada", expected_version=1)
    assert ledger.entries(TRIAL) == made
    ledger.close()


# Waiting for others


def hold(store: Any) -> tuple[str, str]:
    if store.dialect == "sqlite":
        return "BEGIN IMMEDIATE", "COMMIT"
    return "BEGIN; LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE", "COMMIT"


def test_a_writer_waits_and_then_says_so(store: Any) -> None:
    ledger = store.open(wait=0.2)
    take, release = hold(store)
    with store.connection() as other:
        other.execute(take)
        with pytest.raises(LedgerBusyError, match="try again"):
            record(ledger, 1)
        other.execute(release)
    assert len(record(ledger, 1)) == 1


# Schema


@pytest.mark.parametrize("start", migrations.released())
def test_every_released_schema_upgrades(store: Any, start: str) -> None:
    migrate(store.where, to=start)
    entry = chain(None, fact(), trial=TRIAL, actor="ada", at=NOON)
    row = {**entry.as_dict(), "payload": c.write(entry.payload)}
    engine = connect(locate(store.where))
    with engine.begin() as connection:
        table = sa.Table("ledger", sa.MetaData(), autoload_with=connection)
        connection.execute(sa.insert(table), {column.name: row[column.name] for column in table.columns})
    engine.dispose()
    assert migrate(store.where) == migrations.SCHEMA == migrations.released()[-1]
    assert store.open(create=False).entries(TRIAL) == (entry,)


def test_migrating_again_changes_nothing(store: Any) -> None:
    made = record(store.open(), 2)
    assert migrate(store.where) == migrations.SCHEMA
    assert store.open(create=True).entries(TRIAL) == made


def test_the_schema_is_the_one_the_software_works_with(store: Any) -> None:
    with store.open().engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrations.VERSION_TABLE})
        assert compare_metadata(context, [migrations.METADATA, account_metadata]) == []


@pytest.mark.parametrize("start", migrations.released()[:-1])
def test_an_upgraded_schema_is_exactly_a_fresh_one(pair: Any, start: str) -> None:
    fresh, upgraded = pair
    migrate(fresh.where)
    migrate(upgraded.where, to=start)
    assert schema_of(upgraded) != schema_of(fresh)
    migrate(upgraded.where)
    found = schema_of(upgraded)
    assert found == schema_of(fresh)
    assert {"accounts", "sessions", "account_log", "ledger"} <= {row[1] for row in found}


def schema_of(store: Any) -> list[tuple[Any, ...]]:
    """Everything that makes a schema: tables with their columns and constraints, indexes, triggers and functions."""
    if store.dialect == "sqlite":
        return sorted(store.run("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master"))
    here = "current_schema()::text"
    found: list[tuple[Any, ...]] = []
    for kind, query in {
        "column": "SELECT table_name, column_name, ordinal_position, data_type, character_maximum_length, is_nullable,"
        f" coalesce(replace(column_default, {here}, ''), '') FROM information_schema.columns"
        f" WHERE table_schema = {here}",
        "constraint": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        f" WHERE connamespace = {here}::regnamespace",
        "index": f"SELECT tablename, indexname, replace(indexdef, {here}, '') FROM pg_indexes"
        f" WHERE schemaname = {here}",
        "trigger": f"SELECT tgrelid::regclass::text, tgname, tgenabled, replace(pg_get_triggerdef(t.oid), {here}, '')"
        f" FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = {here}::regnamespace"
        " AND NOT tgisinternal",
        "function": f"SELECT proname, proname, prosrc FROM pg_proc WHERE pronamespace = {here}::regnamespace",
    }.items():
        found += [(kind, *row) for row in store.run(query)]
    return sorted(found, key=repr)


def test_a_released_step_depends_on_nothing_that_can_change() -> None:
    """A step holds its tables itself: what the software says of them today is not what it said then."""
    folder = Path(migrations.__file__).parent / "versions"
    steps = sorted(folder.glob("[0-9]*.py"))
    assert [step.name[:4] for step in steps] == list(migrations.released())
    for step in steps:
        assert "escalation" not in step.read_text(encoding="utf-8")


def test_a_store_without_ledger_is_refused(store: Any) -> None:
    with pytest.raises(LedgerClosedSchemaError, match="create it: escalation trial init"):
        store.open(create=False)
    store.run("CREATE TABLE other (x INTEGER)")
    with pytest.raises(LedgerClosedSchemaError, match="create it: escalation trial init"):
        store.open(create=False)


@pytest.mark.parametrize("how", [lambda store: store.open(create=False), lambda store: migrate(store.where)])
def test_a_newer_schema_is_refused(store: Any, how: Callable[[Any], object]) -> None:
    store.open().close()
    store.run(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(LedgerClosedSchemaError, match="schema 9999, newer than this software"):
        how(store)


def test_a_migration_is_all_or_nothing(store: Any) -> None:
    other = "CREATE FUNCTION ledger_next() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    store.run("CREATE TABLE ledger (x INTEGER)" if store.dialect == "sqlite" else other)
    with pytest.raises(LedgerError, match="already exists"):
        migrate(store.where)
    with pytest.raises(LedgerClosedSchemaError):
        store.open(create=False)


@pytest.mark.parametrize(
    "where", [":memory:", "sqlite://", "mysql://localhost/x", "nonsense://x", "sqlite:////no/such/folder/x"]
)
def test_places_that_cannot_hold_a_ledger(where: str) -> None:
    with pytest.raises(LedgerError):
        Ledger.open(where, create=True)


def test_a_disk_without_shared_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="write-ahead log; keep a ledger on a local disk"):
        Ledger.open(f"sqlite:///file:{tmp_path}/ledger?vfs=unix-none&uri=true", create=True)


def test_a_known_head_may_be_older_than_the_ledger(store: Any) -> None:
    ledger = store.open(clock=lambda: NOON + timedelta(days=1))
    made = record(ledger, 3)
    assert ledger.check(TRIAL, made[1].hash.upper() + " ").ok
    assert ledger.check(TRIAL, Head(2, made[1].hash)).ok
    assert check_chain(made[2:], trial=TRIAL, after=Head(2, made[1].hash)).ok
