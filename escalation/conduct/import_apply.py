"""Imported records into a ledger: rehearsed against permissions and gates, then recorded in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from escalation.conduct import canonical, gates
from escalation.conduct import records as r
from escalation.conduct.acts import NEEDED, must_be_plain
from escalation.conduct.imports import ImportFault, ImportRefused
from escalation.conduct.ledger import Entry, stamp
from escalation.conduct.roles import permitted
from escalation.conduct.service import Conduct
from escalation.conduct.state import conduct_state, extended
from escalation.errors import EscalationError


def apply(conduct: Conduct, token: str, trial: str, records: Sequence[r.Record]) -> tuple[Entry, ...]:
    """Record what was read, in its order, once permissions and gates let all of it pass in a rehearsal.

    The rehearsal folds every record onto a copy of the trial before the next one is checked, so nothing is
    recorded that the gates can refuse. What remains: the records are appended one by one, and another user's
    entry, an ended session or delegation, or a full disk can stop the import in between. It then stands as far
    as it came, every entry whole; calling again with the same records goes on where it stopped, because every
    record carries a key made of the whole list and its place in it. A finished import called again records
    nothing.

    Raises
    ------
    ImportRefused
        With everything that permissions and gates have against the records, by their place in the list from 1.
        What follows from an earlier refusal is listed too.
    """
    keys = _keys(records)
    entries = conduct.ledger.entries(trial)
    done = {entry.idempotency_key for entry in entries}
    left = [(place, record, key) for place, (record, key) in enumerate(zip(records, keys, strict=True), 1)]
    left = [each for each in left if each[2] not in done]
    _permitted(conduct, token, trial, left)
    _rehearse(conduct, trial, entries, left)
    made: list[Entry] = []
    version = entries[-1].seq if entries else 0
    for _, record, key in left:
        receipt = conduct.record(token, trial, record, expected_version=version, key=key)
        version = receipt.version
        made += receipt.entries
    return tuple(made)


def _keys(records: Sequence[r.Record]) -> list[str]:
    plain = [record.model_dump(mode="json") for record in records]
    whole = canonical.digest(plain)[:32]
    return [f"import-{whole}-{place}" for place in range(1, len(plain) + 1)]


Waiting = Sequence[tuple[int, r.Record, str]]


def _permitted(conduct: Conduct, token: str, trial: str, left: Waiting) -> None:
    """Refuse at once what the user may not record, or what only its own method makes."""
    user, state = conduct.accounts.authenticate(token), conduct.state(token, trial)
    today = conduct.accounts.now().astimezone(state.zone).date()
    delegations = conduct.delegations(trial)
    for kind in {type(record) for _, record, _ in left}:
        must_be_plain(state, kind)
        permitted(delegations, user.name, trial, NEEDED[kind], today).enforce()


def _rehearse(conduct: Conduct, trial: str, entries: Sequence[Entry], left: Waiting) -> None:
    state, now = conduct_state(entries), conduct.accounts.now()
    faults = []
    for place, record, _ in left:
        try:
            gates.check(state, record, now)
            extended(state, [Rehearsed(state.version + 1, record, recorded_at=stamp(now))])
        except EscalationError as refused:
            what, code = str(getattr(record, "type", "")), str(getattr(record, "participant", ""))
            reasons = refused.reasons if isinstance(refused, gates.GateRefused) else (str(refused),)
            faults += [ImportFault(place, what, code, reason, "") for reason in reasons]
    if faults:
        raise ImportRefused(faults)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A record as the entry it would become, for folding without a ledger."""

    seq: int
    record: r.Record
    actor: str = "rehearsal"
    recorded_at: str = "1970-01-01T00:00:00+00:00"

    @property
    def type(self) -> str:
        return str(getattr(self.record, "type", ""))

    @property
    def payload(self) -> dict[str, Any]:
        return self.record.model_dump(mode="json", exclude={"type"})
