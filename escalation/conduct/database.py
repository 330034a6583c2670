"""The database under a ledger: where it is, how it is reached, one transaction, and what its failures mean."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from escalation.conduct import migrations as schema
from escalation.conduct.ledger import (
    LedgerBusyError,
    LedgerClosedSchemaError,
    LedgerDamagedError,
    LedgerError,
    LedgerFullError,
    LedgerUnavailableError,
)
from escalation.conduct.salvage import last_readable, lenient

T = TypeVar("T")

WAIT: Final = 10.0
"""Seconds an append waits for other writers."""


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


def must_exist(url: URL) -> None:
    """Refuse the URL of a SQLite file that is not there; connecting would make one."""
    if (file := file_of(url)) and not file.exists():
        raise LedgerClosedSchemaError(f"there is no ledger at {url.database}; create it: escalation trial init")


def holds_tables(where: str | os.PathLike[str]) -> bool:
    """Whether there is a SQLite file, or any table in a database that a URL names."""
    url = locate(where)
    if file := file_of(url):
        return file.exists()
    engine = connect(url)
    try:
        return transact(reader(engine), lambda connection: bool(sa.inspect(connection).get_table_names()))
    finally:
        engine.dispose()


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
        connection.text_factory = lenient
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
        report = last_readable(file) if file else None
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
