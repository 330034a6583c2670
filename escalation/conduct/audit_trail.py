"""The audit trail a person can read: who recorded what and when, with the old value, the new value and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd

from escalation.conduct import canonical
from escalation.conduct.book import Book, Row
from escalation.conduct.ledger import Entry
from escalation.safe_text import ExportError


def audit_trail(
    entries: Sequence[Entry] | Book,
    *,
    participant: str | None = None,
    user: str | None = None,
    type: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pd.DataFrame:
    """Every entry once, in the order of the ledger: when, who, what, old value, new value, why, and its hash.

    Parameters
    ----------
    participant
        Only what concerns a participant; an entry that a correction moved to another one concerns both.
    user, type
        Only what a user recorded; only one kind of entry.
    since, until
        First and last time of recording, both included, with their offset from UTC.
    """
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and moment.utcoffset() is None:
            raise ExportError(f"{name}: {moment.isoformat()} does not say its offset from UTC; add it")
    book = Book.of(entries)
    concerned, mended = _concerned(book), _mended(book)
    rows = []
    before: dict[tuple[Any, ...], Row] = {}
    for entry in book.entries:
        old, new = _change(entry, before)
        recorded = datetime.fromisoformat(entry.recorded_at)
        if (
            (participant is None or participant in concerned[entry.seq])
            and user in (None, entry.actor)
            and type in (None, entry.type)
            and (since is None or recorded >= since)
            and (until is None or recorded <= until)
        ):
            rows.append(
                {
                    "seq": entry.seq,
                    "time_utc": recorded.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "effective": entry.effective,
                    "user": entry.actor,
                    "type": entry.type,
                    "what": _what(entry),
                    "participants": ", ".join(concerned[entry.seq]) or None,
                    "old_value": old or None,
                    "new_value": new or None,
                    "reason": entry.reason,
                    "corrected_by_entry": ", ".join(map(str, mended.get(entry.seq, ()))) or None,
                    "hash": entry.hash,
                }
            )
    return book.frame(
        "seq time_utc effective user type what participants old_value new_value reason corrected_by_entry hash", rows
    )


_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "trial_opened": ("study",),
    "protocol_amended": ("study",),
    "delegated": ("delegation", "user", "role"),
    "delegation_ended": ("delegation", "user", "role"),
    "consented": ("consent", "participant"),
    "eligibility_recorded": ("eligibility", "participant"),
    "adverse_event": ("event", "participant", "event"),
    "regraded": ("event", "participant", "event"),
    "dlt_decided": ("adjudication", "participant", "adjudication"),
    "visit": ("visit", "participant", "visit"),
    "serious_event_reported": ("report", "participant", "event"),
}
"""What an entry is a new version of: entries with equal values in these fields replace one another."""


def _change(entry: Entry, before: dict[tuple[Any, ...], Row]) -> tuple[str, str]:
    """The values an entry replaces and those it gives; ``before`` keeps the values of what can be replaced."""
    payload = entry.payload
    if entry.type == "corrected":
        return _words({payload["field"]: payload["old"]}), _words({payload["field"]: payload["new"]})
    if entry.type not in _KEYS:
        return "", _words(payload)
    what, *fields = _KEYS[entry.type]
    key = (what, *(payload.get(field) for field in fields))
    known = before.get(key, {})
    before[key] = known | payload
    old: Row = {}
    new: Row = dict(payload)
    for name, value in payload.items():
        if name in known and known[name] != value:
            if isinstance(value, dict) and isinstance(known[name], dict):  # a study: only what differs
                was, now = dict(_leaves(name, known[name])), dict(_leaves(name, value))
                del new[name]
                old |= {path: each for path, each in was.items() if now.get(path, ...) != each}
                new |= {path: each for path, each in now.items() if was.get(path, ...) != each}
            else:
                old[name] = known[name]
    return _words(old), _words(new)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Single values of nested data with their paths; lists are values."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}", inner)
    else:
        yield path, value


def _words(values: Mapping[str, Any]) -> str:
    """Field by field what a person can read; what is nested as JSON."""
    parts = []
    for name, value in values.items():
        plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        parts.append(f"{name}: {value if plain else canonical.canonical(value)}")
    return "; ".join(parts)


def _what(entry: Entry) -> str:
    payload, kind = entry.payload, entry.type.replace("_", " ")
    if entry.type == "corrected":
        return f"correction of {payload['field']} in entry {payload['entry']}"
    names = ("participant", "event", "adjudication", "query", "visit", "number", "user", "role", "committee")
    about = [str(payload[name]) for name in names if payload.get(name) is not None]
    return f"{kind}: {', '.join(about)}" if about else kind


def _concerned(book: Book) -> dict[int, list[str]]:
    """The participants each entry is about, before and after corrections."""
    queries = {e.payload["query"]: e.payload.get("participant") for e in book.entries if e.type == "query_raised"}
    found: dict[int, list[str]] = {}
    for entry in book.entries:
        payload = entry.payload
        codes = [payload.get("participant"), payload.get("replaces"), *payload.get("participants", ())]
        if entry.type in ("query_answered", "query_closed"):
            codes.append(queries.get(payload["query"]))
        found[entry.seq] = codes
        if entry.type == "corrected":
            codes.extend(found.get(payload["entry"], ()))
            if payload["field"] == "participant":
                found[payload["entry"]].append(payload["new"])
    return {seq: [code for code in dict.fromkeys(codes) if code] for seq, codes in found.items()}


def _mended(book: Book) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in book.entries:
        if entry.type == "corrected":
            found.setdefault(entry.payload["entry"], []).append(entry.seq)
    return found
