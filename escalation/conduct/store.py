"""The ledger's store: append-only entries of each trial in SQLite or PostgreSQL.

An append is all or nothing, in one short transaction that holds the only writer's place: what it read
last is still last when it writes. SQLite is one file on a local disk (never a network share), durable
on return; PostgreSQL is named by its URL, and is told to wait for the disk too. There a role with SELECT
and INSERT on the table, and SELECT on ``ledger_schema``, is enough to record: give the program no more.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from escalation.conduct import canonical as c
from escalation.conduct import migrations as schema
from escalation.conduct.ledger import (
    FIELDS,
    GENESIS,
    ChainReport,
    Departure,
    Draft,
    DraftError,
    Entry,
    Head,
    IdempotencyError,
    LedgerBusyError,
    LedgerClosedSchemaError,
    LedgerDamagedError,
    LedgerError,
    LedgerFullError,
    LedgerUnavailableError,
    StaleVersionError,
    chain,
    check_chain,
    named,
)
from escalation.conduct.migrations import LEDGER

T = TypeVar("T")
Fault: TypeAlias = tuple[Departure, str]

WAIT: Final = 10.0
"""Seconds an append waits for other writers."""


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def migrate(where: str | os.PathLike[str], *, to: str = "head", create: bool = True) -> str:
    """Create the store unless told not to, or upgrade it to this software's schema; the schema's number.

    Back up first. Whatever happens on the way, the store is left as it was or upgraded, nothing between.
    """
    url = locate(where)
    if not create:
        must_exist(url)
    engine = connect(url)
    try:

        def work(connection: sa.Connection) -> str:
            if not create and schema.current(connection) is None:
                schema.must_be_current(connection)
            schema.upgrade(connection, to)
            return schema.current(connection) or ""

        return transact(engine, work)
    finally:
        engine.dispose()


def must_exist(url: URL) -> None:
    """Refuse the URL of a SQLite file that is not there; connecting would make one."""
    if (file := file_of(url)) and not file.exists():
        raise LedgerClosedSchemaError(f"there is no ledger at {url.database}; create it: escalation trial init")


class Ledger:
    """The append-only record of every trial in one store."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = utc_now, wait: float = WAIT) -> None:
        self.engine = engine
        self.clock = clock
        self._wait = wait
        self._postgresql = engine.dialect.name == "postgresql"

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str],
        *,
        create: bool = False,
        clock: Callable[[], datetime] = utc_now,
        wait: float = WAIT,
    ) -> Self:
        """Open the store at a path (SQLite) or a URL, whose schema must be this software's.

        Parameters
        ----------
        where
            Path of a SQLite file, or a SQLAlchemy URL such as ``postgresql://user@host/name``.
        create
            Create the store if there is none, and upgrade an older one.
        clock
            Gives the time of recording, with its time zone.
        wait
            Seconds to wait for other writers.
        """
        url = locate(where)
        if create:
            migrate(where)
        else:
            must_exist(url)
        ledger = cls(connect(url, wait), clock, wait)
        try:
            ledger._reading(schema.must_be_current)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Let go of the store."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, trial: str, drafts: Sequence[Draft], *, actor: str, expected_version: int) -> tuple[Entry, ...]:
        """Record all drafts, or none; the entries they became.

        Parameters
        ----------
        trial
            The trial's identifier.
        drafts
            What is to be recorded, in order.
        actor
            Who records.
        expected_version
            Number of the last entry the drafts are based on, 0 for none. When others have recorded
            since, nothing is recorded and StaleVersionError carries what they recorded.

        Returns
        -------
        The entries. When an idempotency key of the drafts is recorded already, and all of them are what
        was recorded then, those first entries, unchanged, whatever has been recorded since.
        """
        trial, actor = named("trial", trial), named("actor", actor)
        keys = [draft.idempotency_key for draft in drafts if draft.idempotency_key is not None]
        if not drafts:
            raise DraftError("drafts", "there is nothing to record")
        if len(set(keys)) < len(keys):
            raise DraftError("idempotency_key", "two drafts of one append have the same key; give each its own")

        def work(connection: sa.Connection) -> tuple[Entry, ...]:
            if self._postgresql:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_lock_of(trial))))
            schema.must_be_guarded(connection)
            if keys and (first := _recorded(connection, trial, drafts, keys, actor)):
                return first
            last = _last(connection, trial)
            version = last.seq if last else 0
            if version != expected_version:
                since = _entries(connection, trial, expected_version + 1)
                raise StaleVersionError(trial, expected_version, version, since)
            at = self.clock()
            made: list[Entry] = []
            for draft in drafts:
                last = chain(last, draft, trial=trial, actor=actor, at=at)
                made.append(last)
            insert(connection, made)
            return tuple(made)

        return transact(self.engine, work, self._wait)

    def entries(self, trial: str, after: int = 0) -> tuple[Entry, ...]:
        """The entries of a trial after a number, each verified against its chain."""
        trial = named("trial", trial)
        found, fault = self._reading(lambda connection: _readable(connection, trial, after))
        known = None
        if after > 0:
            if not found or found[0].seq != after or not found[0].sealed:
                report = self.check(trial)
                if report.ok:
                    fault = ("truncated", f"entry {after} was read before and is gone")
                raise _damaged(report.with_fault(fault))
            known, found = Head(after, found[0].hash), found[1:]
        report = check_chain(found, trial=trial, after=known).with_fault(fault)
        if not report.ok:
            raise _damaged(report)
        return found

    def head(self, trial: str) -> Head:
        """Number and hash of a trial's last entry: what to print where people sign."""
        trial = named("trial", trial)
        last = self._reading(lambda connection: _last(connection, trial))
        return Head(last.seq, last.hash) if last else Head(0, GENESIS)

    def trials(self) -> tuple[str, ...]:
        """The trials that have entries."""
        query = sa.select(LEDGER.c.trial).distinct()
        return tuple(sorted(self._reading(lambda connection: connection.execute(query).scalars().all())))

    def check(self, trial: str, head: Head | str | None = None) -> ChainReport:
        """Hash a trial's entries again: what stands, and the first that departs.

        A known ``head``, printed or kept elsewhere, also shows a removed tail and a trial rewritten as a whole.
        """
        trial = named("trial", trial)
        try:
            return self._reading(lambda connection: read(connection, trial, head))
        except LedgerDamagedError:
            if (file := file_of(self.engine.url)) is None:
                raise
            found, fault = salvage(file, trial)
            return check_chain(found, None if fault else head, trial=trial).with_fault(fault)

    def _reading(self, work: Callable[[sa.Connection], T]) -> T:
        return transact(reader(self.engine), work, self._wait)


def locate(where: str | os.PathLike[str]) -> URL:
    """The URL of a store, from a path or a URL."""
    if isinstance(where, str) and "://" in where:
        try:
            url = make_url(where)
            backend = url.get_backend_name()
            if url.drivername in ("postgresql", "postgres"):
                url, backend = url.set(drivername="postgresql+psycopg"), "postgresql"
        except (ArgumentError, NoSuchModuleError) as problem:
            raise LedgerError(f"the ledger's URL cannot be read: {problem}") from None
    else:
        url, backend = URL.create("sqlite", database=os.fspath(where)), "sqlite"
    if backend not in schema.GUARDS:
        raise LedgerError(f"a ledger is kept in SQLite or PostgreSQL, not in {backend}; give a path or postgresql://")
    if backend == "sqlite" and url.database in (None, "", ":memory:", "file::memory:"):
        raise LedgerError("a ledger must outlive the program; give the path of a file, not memory")
    return url


def file_of(url: URL) -> Path | None:
    """The file of a SQLite store; None for a server."""
    return Path((url.database or "").removeprefix("file:")) if url.get_backend_name() == "sqlite" else None


def connect(url: URL, wait: float = WAIT) -> Engine:
    """An engine whose connections are set up as the ledger needs them."""
    sqlite = url.get_backend_name() == "sqlite"
    options: dict[str, Any] = {} if sqlite else {"isolation_level": "READ COMMITTED", "pool_pre_ping": True}
    try:
        engine = sa.create_engine(url, hide_parameters=True, **options)
    except ModuleNotFoundError as problem:
        raise LedgerError(f"the driver for {url.drivername} is missing ({problem}); install psycopg") from None
    milliseconds = int(wait * 1000)

    def sqlite_connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin below, by our word
        connection.text_factory = _lenient
        for pragma in (f"busy_timeout={milliseconds}", "synchronous=FULL", "fullfsync=ON", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
            raise LedgerError(f"{url.database} cannot have a write-ahead log; keep a ledger on a local disk, writable")

    def sqlite_begun(connection: sa.Connection) -> None:
        # A transaction that reads before it writes must be the only writer from its start.
        reads = connection.get_execution_options().get("ledger_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    def postgresql_connected(connection: Any, _: object) -> None:
        waiting = f"SELECT set_config('lock_timeout', '{milliseconds}', false)"
        durable = (
            "CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false)"
        )
        with connection.cursor() as cursor:
            cursor.execute(f"{waiting}, {durable} END")
        connection.commit()

    sa.event.listen(engine, "connect", sqlite_connected if sqlite else postgresql_connected)
    if sqlite:
        sa.event.listen(engine, "begin", sqlite_begun)
    return engine


def _lenient(raw: bytes) -> str:
    """Text of a SQLite column; bytes that are no UTF-8 stay visible to the hash instead of stopping the reading."""
    return raw.decode("utf-8", "surrogateescape")


def reader(engine: Engine) -> Engine:
    """The same store, for transactions that read one state and write nothing."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(ledger_reads=True)
    return engine.execution_options(isolation_level="REPEATABLE READ")


def transact(engine: Engine, work: Callable[[sa.Connection], T], wait: float = WAIT) -> T:
    """Do work in one transaction; again, while other writers are in the way, until the waiting time is over."""
    deadline = time.monotonic() + wait
    collisions = 0
    while True:
        try:
            with engine.begin() as connection:
                return work(connection)
        except IntegrityError as problem:  # a writer that does not wait its turn came first
            collisions += 1
            if collisions == 3:
                raise LedgerError(f"the database refuses the entry: {problem.orig}; check the trial") from problem
        except DBAPIError as problem:
            error = explain(problem, engine.url)
            if not isinstance(error, LedgerBusyError) or time.monotonic() > deadline:
                raise error from problem
        except PoolTimeoutError as problem:
            raise LedgerBusyError("all connections to the ledger are in use; try again") from problem
        time.sleep(random.uniform(0.001, 0.02))


def explain(problem: DBAPIError, url: URL) -> LedgerError:
    """What a failure of the database means, and what to do."""
    where = url.render_as_string(hide_password=True)
    file = file_of(url)
    if file:
        kinds, found = SQLITE_ERRORS, getattr(problem.orig, "sqlite_errorname", "")
    else:
        kinds, found = POSTGRESQL_STATES, getattr(problem.orig, "sqlstate", None) or "08"
    kind = next((kind for start, kind in kinds if found.startswith(start)), LedgerError)
    if kind is LedgerDamagedError:
        report = _last_readable(file) if file else None
        found = f"{report}; " if report else ""
        return LedgerDamagedError(f"{where}: {problem.orig}; {found}restore a backup into a new store", report)
    return kind(f"{where}: {problem.orig}; {kind.remedy}")


SQLITE_ERRORS: Final[tuple[tuple[str, type[LedgerError]], ...]] = (
    ("SQLITE_BUSY", LedgerBusyError),
    ("SQLITE_LOCKED", LedgerBusyError),
    ("SQLITE_FULL", LedgerFullError),
    ("SQLITE_READONLY", LedgerFullError),
    ("SQLITE_IOERR_READ", LedgerDamagedError),
    ("SQLITE_IOERR_SHORT_READ", LedgerDamagedError),
    ("SQLITE_IOERR", LedgerFullError),
    ("SQLITE_CORRUPT", LedgerDamagedError),
    ("SQLITE_NOTADB", LedgerDamagedError),
    ("SQLITE_CANTOPEN", LedgerUnavailableError),
)
POSTGRESQL_STATES: Final[tuple[tuple[str, type[LedgerError]], ...]] = (
    ("55P03", LedgerBusyError),
    ("40", LedgerBusyError),
    ("53100", LedgerFullError),
    ("25006", LedgerFullError),
    ("XX00", LedgerDamagedError),
    ("08", LedgerUnavailableError),
    ("28", LedgerUnavailableError),
    ("3D", LedgerUnavailableError),
    ("42501", LedgerUnavailableError),
    ("53", LedgerUnavailableError),
    ("57", LedgerUnavailableError),
)


def _readable(
    connection: sa.Connection, trial: str, first: int = 1, most: int | None = None
) -> tuple[tuple[Entry, ...], Fault | None]:
    """A trial's entries from a number on, as far as they can be read, and why no farther."""
    query = sa.select(LEDGER).where(LEDGER.c.trial == trial, LEDGER.c.seq >= first).order_by(LEDGER.c.seq).limit(most)
    return understood(dict(row) for row in connection.execute(query).mappings())


def read(connection: sa.Connection, trial: str, head: Head | str | None = None) -> ChainReport:
    """Report on a trial as a transaction sees it."""
    found, fault = _readable(connection, trial)
    return check_chain(found, None if fault else head, trial=trial).with_fault(fault)


def _entries(connection: sa.Connection, trial: str, first: int, most: int | None = None) -> tuple[Entry, ...]:
    found, fault = _readable(connection, trial, first, most)
    if fault:
        raise _damaged(read(connection, trial))
    return found


def _last(connection: sa.Connection, trial: str) -> Entry | None:
    """The entry the next one is chained to; refused when it does not fit its own hash."""
    query = sa.select(LEDGER).where(LEDGER.c.trial == trial).order_by(LEDGER.c.seq.desc()).limit(1)
    found, fault = understood(dict(row) for row in connection.execute(query).mappings())
    if fault or not all(entry.sealed for entry in found):
        raise _damaged(read(connection, trial))
    return found[0] if found else None


def _recorded(
    connection: sa.Connection, trial: str, drafts: Sequence[Draft], keys: list[str], actor: str
) -> tuple[Entry, ...]:
    """The entries that drafts with known keys became; none when all their keys are new."""
    query = sa.select(LEDGER.c.seq, LEDGER.c.idempotency_key).where(
        LEDGER.c.trial == trial, LEDGER.c.idempotency_key.in_(keys)
    )
    used = connection.execute(query.order_by(LEDGER.c.seq)).first()
    if used is None:
        return ()
    seq, key = used
    first = seq - [draft.idempotency_key for draft in drafts].index(key)
    found = _entries(connection, trial, first, len(drafts)) if first > 0 else ()
    if len(found) < len(drafts) or not all(e.records(d, actor) for e, d in zip(found, drafts, strict=True)):
        raise IdempotencyError(trial, key, seq)
    return found


def insert(connection: sa.Connection, entries: Sequence[Entry]) -> None:
    """Write entries, in order."""
    rows = [{**entry.as_dict(), "payload": c.write(entry.payload)} for entry in entries]
    connection.execute(sa.insert(LEDGER), rows)


def understood(rows: Iterable[Mapping[str, Any]]) -> tuple[tuple[Entry, ...], Fault | None]:
    """The entries of rows up to the first that cannot be read, and what is wrong with that."""
    found: list[Entry] = []
    try:
        for row in rows:
            found.append(Entry.of({**row, "payload": c.parse(str(row["payload"]))}))
    except c.CanonicalError as problem:
        return tuple(found), ("edited", f"it cannot be read: {problem}")
    except sqlite3.DatabaseError as problem:
        return tuple(found), ("unreadable", f"the file cannot be read there: {problem}")
    return tuple(found), None


def salvage(file: Path, trial: str | None = None, options: str = "mode=ro") -> tuple[tuple[Entry, ...], Fault | None]:
    """What can still be read of a SQLite file, in the order of recording, and what stops the reading."""

    def rows() -> Iterator[Mapping[str, Any]]:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?{options}", uri=True)) as connection:
            connection.row_factory, connection.text_factory = sqlite3.Row, _lenient
            connection.execute("PRAGMA writable_schema=ON")  # reads a file shorter than its header says
            # One by one: a cursor that meets damage drops the row before it too.
            query, row = "SELECT rowid, * FROM ledger NOT INDEXED WHERE rowid > ? ORDER BY rowid LIMIT 1", None
            while row := connection.execute(query, (row["rowid"] if row else -(2**63),)).fetchone():
                if trial is None or row["trial"] == trial:
                    yield {field: row[field] for field in FIELDS}

    return understood(rows())


def _last_readable(file: Path) -> ChainReport | None:
    """Report on the first trial of a damaged SQLite file with an entry that departs or cannot be read."""
    found, fault = salvage(file)
    for trial, entries in by_trial(found).items():
        report = check_chain(entries, trial=trial).with_fault(fault if trial == found[-1].trial else None)
        if not report.ok:
            return report
    return None


def by_trial(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Entries by their trial, in their order."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.trial, []).append(entry)
    return found


def _damaged(report: ChainReport) -> LedgerDamagedError:
    return LedgerDamagedError(f"{report}; restore a backup into a new store", report)


def _lock_of(trial: str) -> int:
    """The PostgreSQL advisory lock of a trial's writer."""
    return int.from_bytes(hashlib.sha256(f"ledger {trial}".encode()).digest()[:8], signed=True)
