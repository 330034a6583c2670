"""What live conduct records: one model for each kind of ledger entry, checked before anything is written."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from escalation.safe_text import hostile

SubjectCode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,19}$")]
"""A participant's code; names never enter the ledger."""


def _plain(text: str) -> str:
    """Refuse characters that hide or reorder what is read."""
    found = hostile(text)
    if found:
        raise ValueError(f"the text has characters that do not belong in a record: {', '.join(found)}; remove them")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=4000, strip_whitespace=True), AfterValidator(_plain)]
Note = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_plain)]
PartialDate = Annotated[str, StringConstraints(pattern=r"^(\d{4}(-\d{2}(-\d{2})?)?|unknown)$")]
"""A date as precise as it is known: year, month, day, or ``unknown``."""

Role = Literal["sentinel", "regular", "replacement", "expansion", "backfill"]
Attribution = Literal["unrelated", "unlikely", "possible", "probable", "definite"]


class Record(BaseModel):
    """Base of the records: strict about keys, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RegimenLevel(Record):
    """A regimen by its levels, counted from 1."""

    dose: int = Field(ge=1)
    frequency: int = Field(ge=1)


class DrawStream(Record):
    """Where a design that randomises has its numbers from; the replicate is that of a simulated trial conducted."""

    seed: int = Field(ge=0, lt=2**63)
    replicate: int = Field(default=1, ge=1, lt=2**31)


class TrialOpened(Record):
    """The protocol locked in: study, design, parameters and software version, by hash."""

    type: Literal["trial_opened"] = "trial_opened"
    study: dict[str, Any]
    study_hash: str
    zone: str = "UTC"
    criteria: str | None = None
    signatures_needed: int = Field(default=1, ge=1)
    draws: DrawStream | None = None
    signature: dict[str, Any]


class ProtocolAmended(Record):
    """The study in force from a date on; earlier decisions keep the version they were made under."""

    type: Literal["protocol_amended"] = "protocol_amended"
    study: dict[str, Any]
    study_hash: str
    from_date: date
    signature: dict[str, Any]


class TrialClosed(Record):
    """Nobody is treated under the protocol any more."""

    type: Literal["trial_closed"] = "trial_closed"
    outcome: Text


class Delegated(Record):
    """A user may act in a role of this trial, within dates."""

    type: Literal["delegated"] = "delegated"
    user: Text
    role: Text
    starts: date
    ends: date | None = None


class DelegationEnded(Record):
    """A delegation ends."""

    type: Literal["delegation_ended"] = "delegation_ended"
    user: Text
    role: Text
    ends: date


class Screened(Record):
    """A candidate is known under a code."""

    type: Literal["screened"] = "screened"
    participant: SubjectCode


class Consented(Record):
    """Informed consent is given, with its form version."""

    type: Literal["consented"] = "consented"
    participant: SubjectCode
    form_version: Text
    consented_at: AwareDatetime


class EligibilityRecorded(Record):
    """The eligibility form: answers by criterion with value and source, and the verdict they give."""

    type: Literal["eligibility_recorded"] = "eligibility_recorded"
    participant: SubjectCode
    answers: tuple[dict[str, Any], ...] = ()
    verdict: Literal["eligible", "not_eligible", "incomplete"]
    findings: tuple[str, ...] = ()


class Triggered(Record):
    """The condition that starts treatment has occurred in a participant who consented before it."""

    type: Literal["triggered"] = "triggered"
    participant: SubjectCode
    description: Text


class ScreenFailed(Record):
    """The candidate does not enter the trial."""

    type: Literal["screen_failed"] = "screen_failed"
    participant: SubjectCode
    description: Text


class Assigned(Record):
    """A participant is assigned to the open regimen, in a role and a place of the open cohort, or is backfilled."""

    type: Literal["assigned"] = "assigned"
    participant: SubjectCode
    regimen: RegimenLevel
    role: Role
    stage: Literal["escalation", "expansion", "backfill"]
    replaces: SubjectCode | None = None


class InfusionRecorded(Record):
    """An infusion as it was given, or a planned one that was missed."""

    type: Literal["infusion_recorded"] = "infusion_recorded"
    participant: SubjectCode
    number: int = Field(ge=1, le=50)
    given: bool = True
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    weight_kg: float | None = Field(default=None, gt=0, lt=400)
    cells_million: float | None = Field(default=None, ge=0)
    lot: Note = ""
    viability_percent: float | None = Field(default=None, ge=0, le=100)
    release_certificate: Note = ""
    premedication_at: AwareDatetime | None = None
    operator: Note = ""
    verifier: Note = ""
    interruption: Note = ""
    findings: tuple[str, ...] = ()


class AdverseEvent(Record):
    """An adverse event in CTCAE terms."""

    type: Literal["adverse_event"] = "adverse_event"
    participant: SubjectCode
    event: SubjectCode
    verbatim: Text
    term: Text
    grade: int = Field(ge=1, le=5)
    onset: PartialDate
    ended: PartialDate | None = None
    attribution: Attribution
    serious: bool = False
    serious_because: tuple[str, ...] = ()
    aware_at: AwareDatetime | None = None
    infusion: int | None = None


class Regraded(Record):
    """An adverse event changes its grade from a date on."""

    type: Literal["regraded"] = "regraded"
    participant: SubjectCode
    event: SubjectCode
    grade: int = Field(ge=1, le=5)
    on: date


class SeriousEventReported(Record):
    """A serious adverse event is reported."""

    type: Literal["serious_event_reported"] = "serious_event_reported"
    participant: SubjectCode
    event: SubjectCode
    sent_at: AwareDatetime


class DltProposed(Record):
    """A dose-limiting toxicity is proposed; until it is decided the participant is pending."""

    type: Literal["dlt_proposed"] = "dlt_proposed"
    participant: SubjectCode
    adjudication: SubjectCode
    events: tuple[SubjectCode, ...] = ()
    criterion: Text
    onset: PartialDate


class DltDecided(Record):
    """The adjudication of a proposed DLT."""

    type: Literal["dlt_decided"] = "dlt_decided"
    participant: SubjectCode
    adjudication: SubjectCode
    outcome: Literal["dlt", "not_dlt", "deferred"]
    attribution: Attribution
    discussion: Text
    proposal_hash: str
    signature: dict[str, Any]


class WindowCompleted(Record):
    """The DLT window was followed to its end with the visits the protocol asks for."""

    type: Literal["window_completed"] = "window_completed"
    participant: SubjectCode
    on: date


class NotEvaluable(Record):
    """A participant without a DLT stops counting for the decision."""

    type: Literal["not_evaluable"] = "not_evaluable"
    participant: SubjectCode
    cause: Text


class Discontinued(Record):
    """Treatment ends early; follow-up goes on."""

    type: Literal["discontinued"] = "discontinued"
    participant: SubjectCode
    cause: Text
    on: date


class LeftStudy(Record):
    """A participant withdraws consent, is lost, or dies."""

    type: Literal["left_study"] = "left_study"
    participant: SubjectCode
    how: Literal["withdrew_consent", "withdrew_study", "lost", "died", "completed"]
    on: date
    cause: Note = ""


class Laboratory(Record):
    """A laboratory value with its unit and sampling time."""

    type: Literal["laboratory"] = "laboratory"
    participant: SubjectCode
    analyte: Text
    value: float
    unit: Text
    sampled_at: AwareDatetime


class Transfusion(Record):
    """A transfusion; red cells and platelets reset response."""

    type: Literal["transfusion"] = "transfusion"
    participant: SubjectCode
    product: Literal["red_cells", "platelets", "plasma", "albumin", "other"]
    units: float = Field(gt=0)
    given_at: AwareDatetime


class Visit(Record):
    """A visit done or missed."""

    type: Literal["visit"] = "visit"
    participant: SubjectCode
    visit: Text
    done_on: date | None = None
    missed_because: Note = ""


class ResponseRecorded(Record):
    """A response is observed: by which criteria, assessed by whom."""

    type: Literal["response_recorded"] = "response_recorded"
    participant: SubjectCode
    on: date
    criteria: Text
    assessor: Text


class Deviation(Record):
    """A departure from the protocol, with its category."""

    type: Literal["deviation"] = "deviation"
    participant: SubjectCode | None = None
    category: Text
    description: Text


class QueryRaised(Record):
    """A question on a recorded value; ``critical`` holds back a complete snapshot."""

    type: Literal["query_raised"] = "query_raised"
    query: SubjectCode
    participant: SubjectCode | None = None
    about: int | None = None
    question: Text
    critical: bool = False


class QueryAnswered(Record):
    """An answer to a query."""

    type: Literal["query_answered"] = "query_answered"
    query: SubjectCode
    answer: Text


class QueryClosed(Record):
    """A query is closed, or re-opened."""

    type: Literal["query_closed"] = "query_closed"
    query: SubjectCode
    reopened: bool = False


class Corrected(Record):
    """One value of an earlier entry is replaced; the old one stays readable."""

    type: Literal["corrected"] = "corrected"
    entry: int = Field(ge=1)
    field: Text
    old: Any
    new: Any
    participants: tuple[SubjectCode, ...] = ()


class SnapshotTaken(Record):
    """The data a decision rests on, frozen and hashed, with its gaps listed."""

    type: Literal["snapshot_taken"] = "snapshot_taken"
    as_of: int
    data: dict[str, Any]
    data_hash: str
    gaps: tuple[str, ...] = ()


class Recommended(Record):
    """What the design recommends on a snapshot: inputs, rule, version and answer."""

    type: Literal["recommended"] = "recommended"
    snapshot: int
    data_hash: str
    study_hash: str
    software: str
    advice: dict[str, Any]


class CommitteeRecorded(Record):
    """What the safety review committee decided, and how."""

    type: Literal["committee_recorded"] = "committee_recorded"
    recommendation: int
    meeting: Text
    attendance: tuple[Text, ...] = Field(min_length=1)
    discussion: Text
    action: Literal["escalate", "stay", "de_escalate", "stop", "suspend"]
    regimen: RegimenLevel | None = None
    size: int = Field(default=0, ge=0)
    selected: tuple[RegimenLevel, ...] = ()
    justification: Note = ""
    draw_set_aside: Note = ""
    dissent: Note = ""
    acknowledged: tuple[str, ...] = ()


class DecisionSigned(Record):
    """A signature under a committee record; the decision takes effect with the last one needed."""

    type: Literal["decision_signed"] = "decision_signed"
    committee: int
    signature: dict[str, Any]


class Circulated(Record):
    """Who was told of a decision, and when."""

    type: Literal["circulated"] = "circulated"
    committee: int
    to: tuple[Text, ...] = Field(min_length=1)
    at: AwareDatetime


AnyRecord = Annotated[
    TrialOpened
    | ProtocolAmended
    | TrialClosed
    | Delegated
    | DelegationEnded
    | Screened
    | Consented
    | EligibilityRecorded
    | Triggered
    | ScreenFailed
    | Assigned
    | InfusionRecorded
    | AdverseEvent
    | Regraded
    | SeriousEventReported
    | DltProposed
    | DltDecided
    | WindowCompleted
    | NotEvaluable
    | Discontinued
    | LeftStudy
    | Laboratory
    | Transfusion
    | Visit
    | ResponseRecorded
    | Deviation
    | QueryRaised
    | QueryAnswered
    | QueryClosed
    | Corrected
    | SnapshotTaken
    | Recommended
    | CommitteeRecorded
    | DecisionSigned
    | Circulated,
    Field(discriminator="type"),
]
"""Every kind of record."""


def effective_of(record: Record) -> str | None:
    """The date or time a record is about, where it carries one."""
    for name in ("started_at", "consented_at", "sampled_at", "given_at", "sent_at", "at", "on", "done_on", "from_date"):
        value = getattr(record, name, None)
        if isinstance(value, datetime | date):
            return value.isoformat()
    return None
