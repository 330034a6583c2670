"""Who needs what to make each kind of record, and which records only their own method makes."""

from __future__ import annotations

from escalation.conduct import records as r
from escalation.conduct.corrections import ConductError
from escalation.conduct.roles import Permission
from escalation.conduct.state import ConductState

NEEDED: dict[type[r.Record], Permission] = {
    r.TrialClosed: Permission.CLOSE_TRIAL,
    r.Screened: Permission.SCREEN,
    r.Consented: Permission.CONSENT,
    r.EligibilityRecorded: Permission.RECORD_ELIGIBILITY,
    r.Triggered: Permission.RECORD_ELIGIBILITY,
    r.ScreenFailed: Permission.SCREEN,
    r.Assigned: Permission.ENROL,
    r.InfusionRecorded: Permission.RECORD_INFUSION,
    r.AdverseEvent: Permission.RECORD_EVENT,
    r.Regraded: Permission.RECORD_EVENT,
    r.SeriousEventReported: Permission.RECORD_EVENT,
    r.DltProposed: Permission.ADJUDICATE_PROPOSE,
    r.DltDecided: Permission.ADJUDICATE_DECIDE,
    r.WindowCompleted: Permission.RECORD_EVENT,
    r.NotEvaluable: Permission.RECORD_EVENT,
    r.Discontinued: Permission.RECORD_EVENT,
    r.LeftStudy: Permission.RECORD_EVENT,
    r.Laboratory: Permission.RECORD_LABORATORY,
    r.Transfusion: Permission.RECORD_LABORATORY,
    r.Visit: Permission.RECORD_VISIT,
    r.ResponseRecorded: Permission.RECORD_VISIT,
    r.Deviation: Permission.RECORD_DEVIATION,
    r.QueryRaised: Permission.RAISE_QUERY,
    r.QueryAnswered: Permission.ANSWER_QUERY,
    r.QueryClosed: Permission.CLOSE_QUERY,
    r.Corrected: Permission.CORRECT,
    r.SnapshotTaken: Permission.TAKE_SNAPSHOT,
    r.Recommended: Permission.RECOMMEND,
    r.CommitteeRecorded: Permission.COMMITTEE_RECORD,
    r.DecisionSigned: Permission.SIGN_DECISION,
    r.Circulated: Permission.CIRCULATE,
}
"""What a user needs to be allowed to make each kind of record."""

READING = frozenset({Permission.READ_TRIAL, Permission.EXPORT, Permission.VERIFY, Permission.BACKUP})
"""What leaves no entry in the ledger, and is written to the account log instead."""

SERVICE_ONLY = (
    r.TrialOpened,
    r.ProtocolAmended,
    r.Delegated,
    r.DelegationEnded,
    r.Assigned,
    r.DltDecided,
    r.Corrected,
    r.SnapshotTaken,
    r.Recommended,
    r.DecisionSigned,
)
"""Records that only their own method makes, because it works out or signs part of them."""


def must_be_plain(state: ConductState, kind: type[r.Record]) -> None:
    """Refuse a kind of record that is more than its fields say, in this trial or in any."""
    opened = state.opened
    if issubclass(kind, r.EligibilityRecorded) and opened is not None and opened.criteria is not None:
        raise ConductError("this trial has machine-readable criteria; give the answers to record_eligibility")
    if issubclass(kind, SERVICE_ONLY):
        raise ConductError(f"{kind.__name__} is made by its own method, which works out part of it; leave it out")
