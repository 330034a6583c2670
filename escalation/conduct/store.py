"""The ledger's store: append-only entries of each trial in SQLite or PostgreSQL.

An append is all or nothing, in one short transaction that holds the only writer's place: what it read
last is still last when it writes. SQLite is one file on a local disk (never a network share), durable
on return; PostgreSQL is named by its URL, and is told to wait for the disk too. There a role with SELECT
and INSERT on the table, and SELECT on ``ledger_schema``, is enough to record: give the program no more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from escalation.conduct import canonical as c
from escalation.conduct import migrations as schema
from escalation.conduct.database import WAIT, connect, file_of, locate, must_exist, reader, transact
from escalation.conduct.ledger import (
    GENESIS,
    ChainReport,
    Draft,
    DraftError,
    Entry,
    Head,
    IdempotencyError,
    LedgerDamagedError,
    StaleVersionError,
    chain,
    check_chain,
    named,
)
from escalation.conduct.migrations import LEDGER
from escalation.conduct.salvage import Fault, salvage, understood

T = TypeVar("T")


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


def _damaged(report: ChainReport) -> LedgerDamagedError:
    return LedgerDamagedError(f"{report}; restore a backup into a new store", report)


def _lock_of(trial: str) -> int:
    """The PostgreSQL advisory lock of a trial's writer."""
    return int.from_bytes(hashlib.sha256(f"ledger {trial}".encode()).digest()[:8], signed=True)
