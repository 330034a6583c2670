"""Verification of a conducted trial: re-hash every entry, fold again, and decide again.

A recommendation stands only if the same entries, folded by this software, give the same snapshot and
the same advice. The report names the first entry that departs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from escalation.conduct import canonical
from escalation.conduct import records as r
from escalation.conduct.decisions import advice_form
from escalation.conduct.draws import frozen_shares
from escalation.conduct.ledger import Entry, Head, check_chain
from escalation.conduct.state import ConductState, conduct_state
from escalation.errors import EscalationError
from escalation.study import validate


@dataclass(frozen=True, slots=True)
class Finding:
    """One entry that departs, and how."""

    seq: int
    problem: str


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What verification found.

    Attributes
    ----------
    entries
        Entries read.
    recommendations
        Recommendations decided again.
    draws
        Of these, those whose regimen was drawn, and drawn again.
    head
        Hash of the last entry.
    findings
        Departures in the order of the entries, empty when the trial stands.
    """

    trial: str
    entries: int
    recommendations: int
    draws: int
    head: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        if self.ok:
            drawn = f", {self.draws} of them drawn again" if self.draws else ""
            return (
                f"trial {self.trial}: {self.entries} entries verified, {self.recommendations} recommendations decided "
                f"again{drawn} with the same answer; head {self.head}"
            )
        first = self.findings[0]
        return f"trial {self.trial}: entry {first.seq} departs: {first.problem} ({len(self.findings)} findings in all)"


def verify_trial(trial: str, entries: Sequence[Entry], head: Head | str | None = None) -> TrialReport:
    """Check a trial's entries from the first to the last, against a known head hash where there is one."""
    chain = check_chain(entries, head)
    findings: list[Finding] = []
    if not chain.ok:
        return TrialReport(trial, len(entries), 0, 0, "", (Finding(chain.first_bad or 0, chain.detail),))
    decided = drawn = 0
    for position, entry in enumerate(entries):
        try:
            if entry.type == "snapshot_taken":
                findings += _snapshot(conduct_state(entries[:position]), entry)
            elif entry.type == "recommended":
                decided += 1
                drawn += "draw" in entry.payload["advice"]
                findings += _recommendation(conduct_state(entries[:position]), entry)
            elif entry.type == "decision_signed":
                findings += _signature(entries[:position], entry)
            elif entry.type in _SIGNED:
                findings += _content_signature(entry)
        except (EscalationError, ValueError, LookupError) as error:
            findings.append(Finding(entry.seq, f"the entries up to here cannot be folded: {error}"))
            break
    if not findings:
        try:
            conduct_state(entries)
        except (EscalationError, ValueError, LookupError) as error:
            findings.append(Finding(entries[-1].seq, f"the trial cannot be folded: {error}"))
    return TrialReport(trial, len(entries), decided, drawn, entries[-1].hash if entries else "", tuple(findings))


def _snapshot(state: ConductState, entry: Entry) -> list[Finding]:
    record = r.SnapshotTaken.model_validate(entry.payload)
    found = []
    if canonical.digest(record.data) != record.data_hash:
        found.append(Finding(entry.seq, "the snapshot's data do not have its hash"))
    if record.data.get("outcomes") != state.outcomes():
        found.append(Finding(entry.seq, "the snapshot is not what the entries before it give"))
    return found


def _recommendation(state: ConductState, entry: Entry) -> list[Finding]:
    record = r.Recommended.model_validate(entry.payload)
    found = []
    if state.in_force().hash != record.study_hash:
        found.append(Finding(entry.seq, "the protocol in force does not have the hash the recommendation names"))
    frozen = frozen_shares(record.advice, state.in_force().protocol.grid)
    again = advice_form(state, frozen=frozen)
    if again != record.advice and not _older(state, record.advice, frozen):
        keys = dict.fromkeys((*again, *record.advice))
        changed = ", ".join(key for key in keys if again.get(key, ...) != record.advice.get(key, ...))
        found.append(Finding(entry.seq, f"deciding again gives another answer ({changed})"))
    return found


def _older(state: ConductState, recorded: dict[str, Any], frozen: tuple[float, ...] | None) -> bool:
    """Whether a recommendation is right in its form of before draws, or before probabilities, were recorded."""
    if "draw" in recorded:
        return False
    again = advice_form(state, draws=False, frozen=frozen)
    if frozen is None:
        again.pop("allocation", None)
    return again == recorded


_SIGNED = {"dlt_decided", "trial_opened", "protocol_amended"}
"""Entries that carry the signature under their own content."""


def _content_signature(entry: Entry) -> list[Finding]:
    content = {key: value for key, value in entry.payload.items() if key != "signature"}
    covered = canonical.digest(content) if entry.type == "dlt_decided" else entry.payload["study_hash"]
    if covered != entry.payload["signature"]["record_hash"]:
        return [Finding(entry.seq, "the signature covers something else than this entry holds")]
    if entry.type != "dlt_decided" and validate(entry.payload["study"]).hash != entry.payload["study_hash"]:
        return [Finding(entry.seq, "the study does not have the hash the entry names")]
    return []


def _signature(before: Sequence[Entry], entry: Entry) -> list[Finding]:
    covered = {each.seq: each.hash for each in before}.get(entry.payload["committee"])
    if covered != entry.payload["signature"]["record_hash"]:
        return [Finding(entry.seq, "the signature covers another record than the one it names")]
    return []
