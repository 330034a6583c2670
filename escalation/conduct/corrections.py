"""Corrections: one value of an earlier entry replaced, the trial folded anew, and nothing overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from escalation.conduct import gates, treatment_gates
from escalation.conduct import records as r
from escalation.conduct.ledger import Entry
from escalation.conduct.state import conduct_state
from escalation.errors import EscalationError


class ConductError(EscalationError):
    """An act that makes no sense for the trial as it stands."""


UNCORRECTABLE = frozenset({"type", "signature", "verdict", "answers", "findings"})
"""Fields that are worked out or signed; a new record supersedes them."""

FIXED = frozenset(
    {
        "trial_opened",
        "protocol_amended",
        "trial_closed",
        "delegated",
        "delegation_ended",
        "assigned",
        "dlt_decided",
        "corrected",
        "snapshot_taken",
        "recommended",
        "committee_recorded",
        "decision_signed",
        "circulated",
    }
)
"""Entries that are superseded, not corrected."""


@dataclass(frozen=True, slots=True)
class _Preview:
    """A record as the entry it would become."""

    seq: int
    record: r.Record

    @property
    def type(self) -> str:
        return str(getattr(self.record, "type", ""))

    @property
    def payload(self) -> dict[str, Any]:
        return self.record.model_dump(mode="json", exclude={"type"})

    actor = ""
    recorded_at = "1970-01-01T00:00:00+00:00"


def correction(recorded: Sequence[Entry], entry: int, field: str, new: Any) -> r.Corrected:
    """The record that replaces one value, when the trial still makes sense with it.

    Raises
    ------
    ConductError
        For an entry or field that cannot be corrected, and for a value that contradicts the trial.
    GateRefused
        When an infusion would then have been given before its regimen was open.
    """
    entries = {each.seq: each for each in recorded}
    target = entries.get(entry)
    if target is None:
        raise ConductError(f"entry {entry} does not exist; entries run from 1 to {len(entries)}")
    if target.type in FIXED:
        raise ConductError(f"a {target.type.replace('_', ' ')} cannot be corrected; it is superseded by a new one")
    if field not in target.payload or field in UNCORRECTABLE:
        raise ConductError(f"entry {entry} has no field {field!r} that can be corrected")
    old = target.payload[field]
    for earlier in entries.values():
        if earlier.type == "corrected" and (earlier.payload["entry"], earlier.payload["field"]) == (entry, field):
            old = earlier.payload["new"]
    named = [
        each.payload["new"]
        for each in entries.values()
        if each.type == "corrected" and (each.payload["entry"], each.payload["field"]) == (entry, "participant")
    ]
    touched = {target.payload.get("participant"), *named, new if field == "participant" else None} - {None}
    record = r.Corrected(entry=entry, field=field, old=old, new=new, participants=tuple(sorted(touched)))
    try:
        after = conduct_state([*entries.values(), _Preview(len(entries) + 1, record)])
    except (EscalationError, KeyError, ValueError) as error:
        raise ConductError(f"the corrected entry would not be valid: {error}") from None
    for person in after.people.values():
        started = person.first_infusion
        faults = [] if started is None else list(treatment_gates.opened_before(after, person, started))
        if faults and target.type == "infusion_recorded":
            raise gates.GateRefused("corrected", tuple(faults))
    return record
