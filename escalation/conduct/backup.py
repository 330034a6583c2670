"""Backups of a ledger, and their restoration: a copy that has proved itself before anybody relies on it.

A backup is two files: the copy, and beside it a manifest with the head hash of every trial and the
SHA-256 of the copy. The copy of a SQLite store is the whole database file; of a PostgreSQL store, canonical
JSON lines of its entries, accounts and account log. Either restores into either. A backup holds the accounts'
password hashes: it is kept where the store itself would be kept.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy as sa

from escalation import __version__
from escalation.conduct import canonical as c
from escalation.conduct import migrations as schema
from escalation.conduct.account_copies import Row, account_rows, has_accounts, insert_accounts
from escalation.conduct.database import connect, file_of, locate, reader, transact
from escalation.conduct.ledger import (
    ChainReport,
    Entry,
    Head,
    LedgerDamagedError,
    LedgerError,
    check_chain,
    stamp,
)
from escalation.conduct.salvage import Fault, by_trial, salvage, understood
from escalation.conduct.store import Ledger, insert, read

FORMAT: Final = "escalation ledger backup 1"
DUMP_FORMAT: Final = "escalation ledger dump 1"
ACCOUNT_LINE: Final = '{"row":'
"""How a line of an account begins; a line of an entry begins with its actor."""
WRITE_FAILURES: Final = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")


class BackupError(LedgerError):
    """A backup that cannot be made, or cannot be restored where it was asked to."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds: the head of every trial, and what its file must be."""

    file: str
    form: Literal["sqlite", "lines"]
    sha256: str
    made_at: str
    software: str
    schema: str
    trials: dict[str, Head]

    def as_dict(self) -> dict[str, Any]:
        """The manifest as plain data."""
        return {
            "format": FORMAT,
            "file": self.file,
            "form": self.form,
            "sha256": self.sha256,
            "made_at": self.made_at,
            "software": self.software,
            "schema": self.schema,
            "trials": {trial: {"entries": head.seq, "head": head.hash} for trial, head in self.trials.items()},
        }

    @classmethod
    def beside(cls, path: Path) -> Manifest:
        """The manifest of a backup."""
        place = manifest_path(path)
        try:
            values = c.parse(place.read_text(encoding="utf-8").strip())
            if values.pop("format") != FORMAT:
                raise ValueError
            trials = {trial: Head(int(head["entries"]), str(head["head"])) for trial, head in values["trials"].items()}
            return cls(**{**values, "trials": trials})
        except FileNotFoundError:
            raise BackupError(f"{path} has no manifest {place.name} beside it; copy both files of the backup") from None
        except (c.CanonicalError, AttributeError, KeyError, TypeError, ValueError):
            raise BackupError(f"{place} is not the manifest of a backup, or was changed; use another backup") from None


def manifest_path(path: Path) -> Path:
    """Where the manifest of a backup stands."""
    return path.with_name(path.name + ".manifest.json")


def backup(ledger: Ledger, path: str | os.PathLike[str]) -> Manifest:
    """Copy a ledger in use into a new file, and its manifest beside it; what the copy holds, read back from it.

    Both files are on the disk on return. A copy that does not verify is not kept: LedgerDamagedError names the entry.
    """
    path = Path(path)
    for place in (path, manifest_path(path)):
        if place.exists():
            raise BackupError(f"{place} exists, and a backup is never overwritten; choose another name")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    form: Literal["sqlite", "lines"] = "sqlite" if ledger.engine.dialect.name == "sqlite" else "lines"
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        if form == "sqlite":
            _copy(ledger, partial)
        else:
            partial.write_bytes(b"".join(_lines(ledger)))
        found, fault = _entries_of(partial, form)
        for report in _reports(found, fault):
            if not report.ok:
                raise LedgerDamagedError(f"{report}; no backup was made; restore an earlier one", report)
        manifest = Manifest(
            file=path.name,
            form=form,
            sha256=hashlib.sha256(partial.read_bytes()).hexdigest(),
            made_at=stamp(ledger.clock()),
            software=__version__,
            schema=schema.SCHEMA,
            trials={trial: Head(kept[-1].seq, kept[-1].hash) for trial, kept in by_trial(found).items()},
        )
        _onto_disk(partial)
        partial.chmod(0o400)  # opened as a ledger it would not be the file of its manifest any more
        partial.rename(path)
        partial.write_text(c.canonical(manifest.as_dict()) + "\n", encoding="utf-8")
        _onto_disk(partial)
        partial.rename(manifest_path(path))
        _onto_disk(path.parent)
    except OSError as problem:
        raise BackupError(f"{path}: {problem}; no backup was made; free the disk, or choose another place") from problem
    finally:
        _remove(partial)
    return manifest


def check_backup(path: str | os.PathLike[str]) -> Manifest:
    """Verify a backup without restoring it; refused when damaged, naming the first bad entry."""
    return _checked(Path(path))[0]


def restore(path: str | os.PathLike[str], where: str | os.PathLike[str], *, verify: bool = True) -> Manifest:
    """Restore a backup's entries, with their hashes, and its accounts into a new or empty store; what it then holds.

    The backup is verified first. Everything is written in one transaction, or nothing.

    Parameters
    ----------
    path
        The backup, its manifest beside it.
    where
        Path or URL of the store, as for ``Ledger.open``.
    verify
        Read everything back from the store, and verify it against the manifest before it counts.
    """
    manifest, entries = _checked(Path(path))
    accounts = _accounts_of(Path(path), manifest.form)
    url = locate(where)
    file = file_of(url)
    new = file is not None and not file.exists()
    engine = connect(url)

    def work(connection: sa.Connection) -> None:
        schema.upgrade(connection)
        schema.must_be_guarded(connection)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE")
        trial = connection.execute(sa.select(schema.LEDGER.c.trial).limit(1)).scalar()
        if trial is not None:
            raise BackupError(f"the store holds entries already, of trial {trial!r}; restore into a new, empty store")
        if has_accounts(connection):
            raise BackupError("the store has accounts already; restore into a new, empty store")
        if entries:
            insert(connection, entries)
        insert_accounts(connection, accounts)
        for trial, head in manifest.trials.items() if verify else ():
            report = read(connection, trial, head)
            if not report.ok:
                raise LedgerDamagedError(f"read back from the store, {report}; nothing was restored", report)

    restored = False
    try:
        transact(engine, work)
        restored = True
    finally:
        engine.dispose()
        if file is not None and new and not restored:
            _remove(file)
    return manifest


def dump(ledger: Ledger, trial: str) -> str:
    """A trial's entries and head as canonical JSON: the copy an inspector takes away and can verify."""
    entries = ledger.entries(trial)
    head = Head(entries[-1].seq, entries[-1].hash) if entries else ledger.head(trial)
    return c.write(
        {
            "format": DUMP_FORMAT,
            "trial": entries[0].trial if entries else trial,
            "software": __version__,
            "head": head._asdict(),
            "entries": [entry.as_dict() for entry in entries],
        }
    )


def check_dump(text: str, head: Head | str | None = None) -> ChainReport:
    """Verify a dumped trial against its own head, and against one known from elsewhere."""
    try:
        values = c.parse(text.strip())
        if values["format"] != DUMP_FORMAT:
            raise ValueError
        trial, own = str(values["trial"]), Head(**values["head"])
        found, fault = understood(_rows(values["entries"]))
    except (c.CanonicalError, AttributeError, KeyError, TypeError, ValueError):
        raise LedgerDamagedError("the text is not the dump of a trial, or was changed; take the dump again") from None
    report = check_chain(found, None if fault else own, trial=trial).with_fault(fault)
    return check_chain(found, head, trial=trial) if report.ok and head is not None else report


def _copy(ledger: Ledger, target: Path) -> None:
    """The online copy of a SQLite database, as one file that stands for itself."""
    try:
        with closing(sqlite3.connect(target)) as copy, closing(ledger.engine.raw_connection()) as source:
            connection = source.driver_connection
            assert isinstance(connection, sqlite3.Connection)
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE").fetchall()
            faults = [fault for (fault,) in copy.execute("PRAGMA integrity_check(1)")]
    except sqlite3.Error as problem:
        if getattr(problem, "sqlite_errorname", "").startswith(WRITE_FAILURES):
            raise OSError(str(problem)) from problem
        faults = [str(problem)]
    if faults != ["ok"]:
        raise LedgerDamagedError(f"the database file is damaged ({faults[0]}); no backup was made; check every trial")


def _lines(ledger: Ledger) -> Iterator[bytes]:
    """Every entry as a line, trial by trial, then every account and line of its log, all from one moment."""
    query = sa.select(schema.LEDGER)

    def work(connection: sa.Connection) -> tuple[tuple[Entry, ...], Fault | None, tuple[Row, ...]]:
        entries, fault = understood(dict(row) for row in connection.execute(query).mappings())
        return entries, fault, account_rows(connection)

    found, fault, accounts = transact(reader(ledger.engine), work)
    if fault:
        damaged = next(report for report in (ledger.check(trial) for trial in ledger.trials()) if not report.ok)
        raise LedgerDamagedError(f"{damaged}; no backup was made; restore an earlier one", damaged)
    for entry in sorted(found, key=lambda entry: (entry.trial, entry.seq)):
        yield f"{c.write(entry.as_dict())}\n".encode("utf-8", "surrogatepass")
    for row in accounts:
        yield f"{c.write(row)}\n".encode("utf-8", "surrogatepass")


def _entries_of(path: Path, form: str) -> tuple[tuple[Entry, ...], Fault | None]:
    """The entries of a backup as far as they can be read, and what stops the reading."""
    if form == "sqlite":
        return salvage(path, options="mode=ro&immutable=1")
    *lines, rest = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    found, fault = understood(_rows(c.parse(line) for line in lines if not line.startswith(ACCOUNT_LINE)))
    return found, fault or (("unreadable", "the file ends within it") if rest else None)


def _accounts_of(path: Path, form: str) -> tuple[Row, ...]:
    """The accounts and their log in a backup that has been verified."""
    if form == "lines":
        lines = path.read_bytes().decode("utf-8", "surrogatepass").split("\n")
        return tuple(c.parse(line) for line in lines if line.startswith(ACCOUNT_LINE))
    engine = sa.create_engine(f"sqlite:///{path.absolute().as_uri()}?mode=ro&immutable=1&uri=true")
    try:
        with engine.connect() as connection:
            return account_rows(connection)
    finally:
        engine.dispose()


def _rows(values: Any) -> Iterator[Mapping[str, Any]]:
    """Entries as plain data, as the rows a store would give."""
    for value in values:
        if not isinstance(value, dict) or "payload" not in value:
            raise c.CanonicalError("", "it is not an entry")
        yield {**value, "payload": c.write(value["payload"])}


def _reports(
    found: tuple[Entry, ...], fault: Fault | None, trials: Mapping[str, Head] | None = None
) -> Iterator[ChainReport]:
    """A report on each trial of a backup; what stopped the reading goes to the trial it stopped in."""
    kept = by_trial(found)
    stopped = found[-1].trial if found else None
    for trial in sorted({*kept, *(trials or ())}):
        head = trials.get(trial) if trials else None
        report = check_chain(kept.get(trial, ()), head, trial=trial)
        if fault and (report.departure == "truncated" or (report.ok and trials is None and trial == stopped)):
            report = ChainReport(trial, report.entries, report.head).with_fault(fault)
            fault = None
        yield report


def _checked(path: Path) -> tuple[Manifest, tuple[Entry, ...]]:
    """A backup's manifest and entries, everything verified."""
    manifest = Manifest.beside(path)
    try:
        found, fault = _entries_of(path, manifest.form)
        same = hashlib.sha256(path.read_bytes()).hexdigest() == manifest.sha256
    except OSError as problem:
        raise BackupError(f"{path} cannot be read: {problem}; copy both files of the backup") from problem
    for report in _reports(found, fault, manifest.trials):
        if not report.ok:
            raise LedgerDamagedError(f"the backup {path} is damaged: {report}; use another backup", report)
        if report.trial not in manifest.trials:
            raise LedgerDamagedError(f"the backup {path} holds trial {report.trial!r}, its manifest does not")
        if report.head != manifest.trials[report.trial]:
            raise LedgerDamagedError(f"the backup {path} holds more of trial {report.trial!r} than its manifest says")
    if fault or not same:
        raise LedgerDamagedError(
            f"the backup {path} is damaged: every entry verifies, but the file is not the one of its manifest; "
            "use another backup"
        )
    return manifest, found


def _remove(file: Path) -> None:
    """Remove a SQLite file and what SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm", "-journal"):
        if (place := Path(f"{file}{ending}")).exists():
            place.unlink()


def _onto_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
