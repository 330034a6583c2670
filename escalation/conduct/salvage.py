"""What can still be read of a damaged store, entry after entry, up to the first that cannot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from escalation.conduct import canonical as c
from escalation.conduct.ledger import FIELDS, ChainReport, Departure, Entry, check_chain

Fault: TypeAlias = tuple[Departure, str]


def lenient(raw: bytes) -> str:
    """Text of a SQLite column; bytes that are no UTF-8 stay visible to the hash instead of stopping the reading."""
    return raw.decode("utf-8", "surrogateescape")


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
            connection.row_factory, connection.text_factory = sqlite3.Row, lenient
            connection.execute("PRAGMA writable_schema=ON")  # reads a file shorter than its header says
            # One by one: a cursor that meets damage drops the row before it too.
            query, row = "SELECT rowid, * FROM ledger NOT INDEXED WHERE rowid > ? ORDER BY rowid LIMIT 1", None
            while row := connection.execute(query, (row["rowid"] if row else -(2**63),)).fetchone():
                if trial is None or row["trial"] == trial:
                    yield {field: row[field] for field in FIELDS}

    return understood(rows())


def last_readable(file: Path) -> ChainReport | None:
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
