"""The hash chain of a trial: what is recorded, the entry it becomes, and the check that none has been touched.

Everything here is pure; ``escalation.conduct.store`` keeps the entries. Each entry's hash covers all
its fields and the hash of the entry before it, so one hash, the head, attests the whole trial. The
chain alone cannot show that its tail was removed: print the head where people sign, and check against it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from escalation import __version__
from escalation.conduct import canonical as c
from escalation.errors import EscalationError

GENESIS: Final = "0" * 64
"""What the first entry of a trial names as the hash before it; the entry's own hash binds it to the trial."""

MOST_CHARACTERS: Final = 200
EFFECTIVE: Final = re.compile(r"\d{4}-\d\d-\d\d(T([01]\d|2[0-3]):\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d))?", re.ASCII)

Departure = Literal["edited", "reordered", "missing", "truncated", "rewritten", "foreign", "unreadable"]


class Head(NamedTuple):
    """The last entry of a trial: its number (0 when there is none) and its hash."""

    seq: int
    hash: str


class LedgerError(EscalationError):
    """Something the ledger cannot do; the root of what it raises."""

    remedy = "nothing was recorded"


class DraftError(LedgerError):
    """A draft that cannot become an entry; names the field."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class StaleVersionError(LedgerError):
    """Others have recorded since the version a draft was based on; carries what they recorded."""

    def __init__(self, trial: str, expected: int, found: int, since: tuple[Entry, ...]) -> None:
        super().__init__(trial, expected, found, since)
        self.trial = trial
        self.expected = expected
        self.found = found
        self.since = since

    def __str__(self) -> str:
        if self.found < self.expected:
            return (
                f"trial {self.trial!r} holds {self.found} entries, fewer than the {self.expected} this is based on; "
                "nothing was recorded; check the ledger against the last printed head hash, its tail may be lost"
            )
        who = ", ".join(dict.fromkeys(entry.actor for entry in self.since))
        return (
            f"trial {self.trial!r} stands at entry {self.found}, this is based on entry {self.expected}; "
            f"nothing was recorded; read what was recorded since (by {who}) and decide again"
        )


class IdempotencyError(LedgerError):
    """An idempotency key was used before, for something else."""

    def __init__(self, trial: str, key: str, seq: int) -> None:
        super().__init__(trial, key, seq)
        self.trial = trial
        self.key = key
        self.seq = seq

    def __str__(self) -> str:
        return (
            f"the idempotency key {self.key!r} was used for something else, entry {self.seq} of trial {self.trial!r}; "
            "nothing was recorded; repeat exactly what was sent, or use a new key for something new"
        )


class LedgerFullError(LedgerError):
    """The ledger cannot be written: disk full, or read-only. Nothing was recorded."""

    remedy = "the ledger cannot be written; nothing was recorded; free the disk or make it writable, then try again"


class LedgerBusyError(LedgerError):
    """Other writers held the ledger for the whole waiting time. Nothing was recorded."""

    remedy = "others held the ledger for the whole waiting time; nothing was recorded; try again"


class LedgerUnavailableError(LedgerError):
    """The database cannot be reached, or stopped answering on the way."""

    remedy = (
        "read the ledger once it is back, it shows whether the last append was recorded; "
        "an append repeated with the same idempotency keys records once"
    )


class LedgerClosedSchemaError(LedgerError):
    """The store has no schema yet, another software's schema, or lacks the guards against change."""


class LedgerDamagedError(LedgerError):
    """Entries depart from their chain, or cannot be read; carries the report that names the first."""

    def __init__(self, message: str, report: ChainReport | None = None) -> None:
        super().__init__(message, report)
        self.message = message
        self.report = report

    def __str__(self) -> str:
        return self.message


def named(field: str, value: object, most: int | None = MOST_CHARACTERS) -> str:
    """A text field in NFC; refused when blank, too long, or holding control characters."""
    if type(value) is not str:
        raise DraftError(field, f"{value!r} is not text")
    try:
        normal = c.text(value)
    except c.CanonicalError as problem:
        raise DraftError(field, str(problem)) from None
    if not normal.strip():
        raise DraftError(field, "is blank; enter a text")
    if most is not None and len(normal) > most:
        raise DraftError(field, f"has {len(normal)} characters; {most} is the most")
    for character in normal:
        if unicodedata.category(character) == "Cc" and (most is not None or character not in "\n\r\t"):
            raise DraftError(field, f"holds the control character U+{ord(character):04X}; take it out")
    return normal


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be recorded: a kind of entry, its payload, and the date the fact is about.

    Parameters
    ----------
    type
        Kind of entry; its meaning is not the ledger's concern.
    payload
        A plain JSON object. No personal data beyond the subject code: nothing is ever erased.
    effective
        ISO 8601 date, or date-time with its offset from UTC.
    reason
        Why, in words; None when the fact needs none.
    idempotency_key
        The same key records once, however often it is sent.
    """

    type: str
    payload: dict[str, Any]
    effective: str
    reason: str | None = None
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        settled: dict[str, object] = {"type": named("type", self.type), "effective": _effective(self.effective)}
        if type(self.payload) is not dict:
            raise DraftError("payload", f"a {type(self.payload).__name__} is not a JSON object")
        try:
            settled["payload"] = c.plain(self.payload)
        except c.CanonicalError as problem:
            raise DraftError("payload", str(problem)) from None
        if self.reason is not None:
            settled["reason"] = named("reason", self.reason, None)
        if self.idempotency_key is not None:
            settled["idempotency_key"] = named("idempotency_key", self.idempotency_key)
        for field, value in settled.items():
            object.__setattr__(self, field, value)


def _effective(value: object) -> str:
    """An ISO 8601 date, or date-time with offset, that exists in the calendar."""
    valid = type(value) is str and EFFECTIVE.fullmatch(value) is not None
    if valid:
        try:
            datetime.fromisoformat(str(value))
        except ValueError:
            valid = False
    if not valid:
        raise DraftError(
            "effective", f"{value!r} is no date (2027-03-01) and no date-time with offset (2027-03-01T09:30+01:00)"
        )
    return str(value)


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact as recorded: who, when, why, what, and its place in the chain. Read-only, the payload too."""

    trial: str
    seq: int
    type: str
    effective: str
    recorded_at: str
    actor: str
    reason: str | None
    payload: dict[str, Any]
    idempotency_key: str | None
    software: str
    prev_hash: str
    hash: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Entry:
        """An entry from its fields; refused when one is missing, unknown or of another type."""
        if set(values) != set(FIELDS):
            raise c.CanonicalError("", f"an entry has the fields {', '.join(FIELDS)}")
        for field, value in values.items():
            kind = {"seq": int, "payload": dict}.get(field, str)
            if type(value) is not kind and not (value is None and field in ("reason", "idempotency_key")):
                raise c.CanonicalError(field, f"{value!r} is not of the type {kind.__name__}")
        return cls(**values)

    def computed_hash(self) -> str:
        """SHA-256 of the canonical text of every field but the hash itself."""
        return c.sha256(c.write({field: getattr(self, field) for field in FIELDS if field != "hash"}))

    @property
    def sealed(self) -> bool:
        """Whether the content gives the hash."""
        try:
            return self.computed_hash() == self.hash
        except (TypeError, ValueError):  # content that no ledger holds
            return False

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain data, the payload a copy."""
        return asdict(self)

    def records(self, draft: Draft, actor: str) -> bool:
        """Whether this entry is what the actor's draft becomes."""
        return self.actor == actor and all(
            c.write(getattr(self, field.name)) == c.write(getattr(draft, field.name)) for field in fields(Draft)
        )


FIELDS: Final = tuple(field.name for field in fields(Entry))


def stamp(at: datetime) -> str:
    """A moment as UTC text with microseconds: ``2027-03-01T08:30:00.000000Z``."""
    if at.tzinfo is None:
        raise LedgerError(f"the clock gave {at} without a time zone; give it one, for instance datetime.now(UTC)")
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def chain(
    prev: Entry | None, draft: Draft, *, trial: str, actor: str, at: datetime, software: str = __version__
) -> Entry:
    """The entry a draft becomes after another entry of the trial, or as its first.

    A clock that went backwards does not reorder the record: the time of recording is never earlier
    than the previous entry's.
    """
    recorded = stamp(at)
    unsealed = Entry(
        trial=named("trial", trial),
        seq=prev.seq + 1 if prev else 1,
        type=draft.type,
        effective=draft.effective,
        recorded_at=max(recorded, prev.recorded_at) if prev else recorded,
        actor=named("actor", actor),
        reason=draft.reason,
        payload=draft.payload,
        idempotency_key=draft.idempotency_key,
        software=software,
        prev_hash=prev.hash if prev else GENESIS,
        hash="",
    )
    return replace(unsealed, hash=unsealed.computed_hash())


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Result of a check: how many entries stand, and the first that departs, if any."""

    trial: str
    entries: int
    head: Head
    first_bad: int | None = None
    departure: Departure | None = None
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing departs."""
        return self.first_bad is None

    def with_fault(self, fault: tuple[Departure, str] | None) -> ChainReport:
        """This report, and why the entry after its last cannot be read, unless one before departs already."""
        if fault is None or not self.ok:
            return self
        return replace(self, first_bad=self.head.seq + 1, departure=fault[0], detail=fault[1])

    def __str__(self) -> str:
        if self.first_bad is None:
            return f"trial {self.trial!r}: {self.entries} entries verified, head {self.head.hash}"
        return f"trial {self.trial!r}: entry {self.first_bad} is {self.departure}: {self.detail}"


def check_chain(
    entries: Iterable[Entry], head: Head | str | None = None, *, trial: str | None = None, after: Head | None = None
) -> ChainReport:
    """The first entry that departs from the chain, and how.

    Parameters
    ----------
    entries
        In the order they were kept.
    head
        A head known from elsewhere (a report, a signature page, a backup's manifest): its hash alone,
        or number and hash. Without it a removed tail, or a trial rewritten as a whole, cannot show.
    trial
        The trial they must belong to; the first entry's without it.
    after
        The entry they follow, when they are not the whole trial.
    """
    kept = tuple(entries)
    name = trial if trial is not None else kept[0].trial if kept else ""
    last, recorded = after or Head(0, GENESIS), ""
    known = head.hash if isinstance(head, Head) else (head or "").strip().lower()
    hashes = {last.seq: last.hash}

    def bad(seq: int, departure: Departure, detail: str) -> ChainReport:
        return ChainReport(name, last.seq, last, seq, departure, detail)

    for place, entry in enumerate(kept):
        seq = last.seq + 1
        if fault := _departs(entry, seq, name, kept[place:]):
            return bad(seq, *fault)
        if entry.prev_hash != last.hash:
            attested = place + 1 == len(kept) or entry.hash in (kept[place + 1].prev_hash, known)
            if place and attested:
                return bad(seq - 1, "edited", f"its hash fits its content, but entry {seq} was chained to another")
            return bad(seq, "edited", f"it is not chained to {f'entry {last.seq}' if last.seq else 'the beginning'}")
        if entry.recorded_at < recorded:
            return bad(seq, "reordered", "it was recorded earlier than the entry before it")
        last, recorded = Head(seq, entry.hash), entry.recorded_at
        hashes[seq] = entry.hash
    report = ChainReport(name, last.seq, last)
    if head is None or (known in hashes.values() and (isinstance(head, str) or hashes.get(head.seq) == known)):
        return report
    if isinstance(head, Head) and head.seq <= last.seq:
        detail = "the chain fits, but this is not the entry of the known head: it or one before it was replaced"
        return bad(head.seq, "rewritten", detail)
    detail = f"it is not there, nor has any entry the known head {known}: the end was removed, or the trial rewritten"
    return bad(last.seq + 1, "truncated", detail)


def _departs(entry: Entry, seq: int, trial: str, following: Sequence[Entry]) -> tuple[Departure, str] | None:
    """How an entry departs from itself and from its place."""
    sealed = entry.sealed
    if sealed and entry.trial != trial:
        return "foreign", f"it belongs to trial {entry.trial!r}"
    if entry.seq != seq:
        if entry.seq < seq or any(other.seq == seq for other in following):
            return "reordered", f"entry {entry.seq} stands in its place"
        if replace(entry, seq=seq).sealed:
            return "edited", f"its number was changed to {entry.seq}"
        return "missing", f"entry {entry.seq} stands in its place"
    return None if sealed else ("edited", "its content does not give its hash")
