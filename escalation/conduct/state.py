"""The state of a conducted trial: the fold of its ledger, and the trial state decisions are read from.

The fold is pure: the same entries give the same state, on any copy, at any time. Corrections are
applied to the entries they name before folding, so that what follows from a value follows from the
corrected one; the ledger keeps both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from escalation import trial as fold
from escalation.conduct import records as r
from escalation.conduct.person import Adjudication, Outcome, Person, proposal_hash
from escalation.conduct.windows import DateSpan
from escalation.errors import TrialError
from escalation.regimens import Regimen
from escalation.study import Study, validate
from escalation.trial import TrialState

__all__ = [
    "Adjudication",
    "ConductState",
    "Decision",
    "LedgerEntry",
    "Outcome",
    "Person",
    "Query",
    "conduct_state",
    "corrected",
    "extended",
    "proposal_hash",
]

_RECORDS: TypeAdapter[Any] = TypeAdapter(r.AnyRecord)


class LedgerEntry(Protocol):
    """What the fold needs of a ledger entry."""

    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def payload(self) -> dict[str, Any]: ...
    @property
    def actor(self) -> str: ...
    @property
    def recorded_at(self) -> str: ...


@dataclass
class Decision:
    """A committee decision with its signatures and what it rests on."""

    seq: int
    committee: r.CommitteeRecorded
    recommendation: r.Recommended
    snapshot: r.SnapshotTaken
    signatures: list[dict[str, Any]] = field(default_factory=list)
    effective: int | None = None
    circulated_at: datetime | None = None

    @property
    def circulated(self) -> bool:
        """Whether clinic and pharmacy were told."""
        return self.circulated_at is not None


@dataclass
class Query:
    """A query and where it stands."""

    raised: r.QueryRaised
    status: Literal["open", "answered", "closed"] = "open"


@dataclass
class ConductState:
    """A conducted trial at one point of its ledger."""

    version: int = 0
    study: Study | None = None
    opened: r.TrialOpened | None = None
    opened_on: date | None = None
    closed: str = ""
    people: dict[str, Person] = field(default_factory=dict)
    delegations: list[tuple[r.Delegated, str]] = field(default_factory=list)
    snapshots: dict[int, r.SnapshotTaken] = field(default_factory=dict)
    recommendations: dict[int, r.Recommended] = field(default_factory=dict)
    decisions: dict[int, Decision] = field(default_factory=dict)
    queries: dict[str, Query] = field(default_factory=dict)
    amendments: list[tuple[int, r.ProtocolAmended]] = field(default_factory=list)
    suspended: str = ""
    heard_on: date | None = None

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone; calendar days are counted there."""
        return ZoneInfo(self.opened.zone if self.opened is not None else "UTC")

    def day(self, moment: datetime) -> int:
        """Whole calendar days at the site from the opening of the trial to a moment."""
        assert self.opened_on is not None
        return (moment.astimezone(self.zone).date() - self.opened_on).days

    def in_force(self) -> Study:
        """The study in force."""
        if self.study is None:
            raise TrialError("the trial is not opened; open it with its study file first")
        return self.study

    def effective(self) -> list[Decision]:
        """Decisions that took effect, in their order."""
        done = [each for each in self.decisions.values() if each.effective is not None]
        return sorted(done, key=lambda each: each.effective or 0)

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """What every treated participant counts as, in the order of assignment."""
        treated = [p for p in self.people.values() if p.assigned is not None and p.outcome != "untreated"]
        graded = self.study is not None and self.study.protocol.rule.reads_grades
        return {
            person.code: {
                "regimen": [person.assigned.regimen.dose, person.assigned.regimen.frequency],
                "stage": person.assigned.stage,
                "outcome": person.outcome,
                **({"moderate": person.moderate is not None} if graded else {}),
            }
            for person in sorted(treated, key=lambda p: p.assigned_seq)
            if person.assigned is not None
        }

    def contradicted(self) -> dict[int, list[str]]:
        """Decisions in effect whose snapshot no longer holds: participants whose settled outcome has changed since."""
        now = self.outcomes()
        found: dict[int, list[str]] = {}
        for decision in self.effective():
            before = decision.snapshot.data.get("outcomes", {})
            graded = self._read_grades(before)
            changed = [
                code
                for code, was in before.items()
                if (was["outcome"] != "pending" and now.get(code, {}).get("outcome") != was["outcome"])
                or (graded and _regraded(was, now.get(code, {})))
            ]
            if changed:
                found[decision.seq] = changed
        return found

    def _read_grades(self, outcomes: dict[str, dict[str, Any]]) -> bool:
        """Whether a decision on these outcomes read moderate toxicities: while single participants titrate."""
        titration = self.study.protocol.titration if self.study is not None else None
        if titration is None or not titration.reads_grades:
            return False
        kept = Counter(tuple(each["regimen"]) for each in outcomes.values() if each["outcome"] != "not_evaluable")
        return max(kept.values(), default=0) <= 1

    @property
    def review_due(self) -> str:
        """Why nobody may be assigned until the committee has met again, empty when nothing is due."""
        effective = self.effective()
        if not effective:
            return ""
        changed = self.contradicted().get(effective[-1].seq)
        if not changed:
            return ""
        return f"the outcome of {', '.join(changed)} has changed since the last decision"

    def trial_state(self, on: date | None = None) -> TrialState:
        """The state decisions are read from: the same fold that simulated trials go through.

        Every treated participant stands in the order of treatment with what is known now. Windows that are
        open have been followed up to a date, that of the last entry when None.
        """
        protocol = self.in_force().protocol
        state = TrialState(protocol.rule, replace_not_evaluable=protocol.evaluability.replace)
        steps: list[tuple[int, Person | Decision]] = [
            (p.assigned_seq, p) for p in self.people.values() if p.assigned is not None
        ]
        steps += [(d.effective or 0, d) for d in self.effective()]
        numbers = {code: number for number, code in enumerate(self.people)}
        for _, step in sorted(steps, key=lambda pair: pair[0]):
            if isinstance(step, Person):
                self._place(state, step, numbers[step.code])
            else:
                self._decide(state, step)
        heard = on or self.heard_on
        state.day = 0 if heard is None else self._since_opening(heard)
        return state

    def _place(self, state: TrialState, person: Person, number: int) -> None:
        assert person.assigned is not None
        level = Regimen(person.assigned.regimen.dose, person.assigned.regimen.frequency)
        regimen = state.rule.grid.index(level)
        if person.left is not None and person.outcome == "untreated":
            return  # the place was given back before treatment
        backfilled = person.assigned.stage == "backfill"
        if state.open_places <= 0 and not backfilled:
            state.apply(fold.Extended(0, 1))
        start = person.first_infusion
        moment = start or person.assigned_at
        assert moment is not None
        today = self.day(moment)
        state.apply((fold.Backfilled if backfilled else fold.Enrolled)(today, number, regimen))
        if person.response is not None:
            state.apply(fold.Responded(max(today, self._since_opening(person.response.on)), number))
        outcome = person.outcome
        if person.moderate is not None and state.rule.reads_grades:
            state.apply(fold.ModerateObserved(max(self._since_opening(person.moderate), today), number))
        if outcome == "dlt":
            state.apply(fold.DltObserved(max(self._onset(person, today), today), number))
        elif outcome == "complete":
            completed = today if person.completed is None else self._since_opening(person.completed)
            state.apply(fold.WindowCompleted(max(completed, today), number))
        elif outcome == "not_evaluable":
            state.apply(fold.NotEvaluable(today, number, person.excluded))

    def _since_opening(self, day: date) -> int:
        assert self.opened_on is not None
        return (day - self.opened_on).days

    def _onset(self, person: Person, otherwise: int) -> int:
        """Day of the first DLT, the last possible one of a partly known date; ``otherwise`` when it is unknown."""
        dlts = (each.proposed.onset for each in person.adjudications.values() if each.outcome == "dlt")
        days = [span.latest for span in map(DateSpan.read, dlts) if span.latest is not None]
        return min((self._since_opening(day) for day in days), default=otherwise)

    def _decide(self, state: TrialState, decision: Decision) -> None:
        committee, grid = decision.committee, state.rule.grid
        if committee.action == "suspend" or state.stage == "closed":
            return
        regimen = state.regimen
        if committee.regimen is not None:
            regimen = grid.index(Regimen(committee.regimen.dose, committee.regimen.frequency))
        selected = tuple(grid.index(Regimen(each.dose, each.frequency)) for each in committee.selected)
        reasons = tuple(decision.recommendation.advice.get("reasons", ()))
        memory = tuple(decision.recommendation.advice.get("memory", ()))
        state.apply(fold.Decided(0, committee.action, regimen, committee.size, reasons, selected, memory))


def _regraded(was: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a decision that read grades rested on a moderate toxicity, or its absence, that no longer holds."""
    if was["outcome"] == "pending":  # a DLT since then is no less
        return bool(was.get("moderate")) and not now.get("moderate") and now.get("outcome") != "dlt"
    return bool(was.get("moderate")) != bool(now.get("moderate"))


def corrected(entries: Sequence[LedgerEntry]) -> list[tuple[LedgerEntry, dict[str, Any]]]:
    """The entries with the payloads in force after every correction."""
    payloads = {entry.seq: dict(entry.payload) for entry in entries}
    for entry in entries:
        if entry.type == "corrected":
            payloads[entry.payload["entry"]][entry.payload["field"]] = entry.payload["new"]
    return [(entry, payloads[entry.seq]) for entry in entries]


def conduct_state(entries: Iterable[LedgerEntry]) -> ConductState:
    """The state after the given entries of one trial, from its first."""
    state = ConductState()
    for entry, payload in corrected(list(entries)):
        _fold(state, entry, payload)
    return state


def extended(state: ConductState, entries: Sequence[LedgerEntry]) -> bool:
    """Fold further entries onto a state; False, and nothing done, when a correction asks for folding anew."""
    if any(entry.type == "corrected" for entry in entries):
        return False
    for entry in entries:
        _fold(state, entry, entry.payload)
    return True


def _fold(state: ConductState, entry: LedgerEntry, payload: dict[str, Any]) -> None:
    record = _RECORDS.validate_python({**payload, "type": entry.type})
    _APPLY[type(record)](state, record, entry)
    state.version = entry.seq
    state.heard_on = datetime.fromisoformat(entry.recorded_at).astimezone(state.zone).date()


def _opened(state: ConductState, record: r.TrialOpened, entry: LedgerEntry) -> None:
    state.opened, state.study = record, validate(record.study, record.study.get("id", "study"))
    state.opened_on = datetime.fromisoformat(entry.recorded_at).astimezone(ZoneInfo(record.zone)).date()


def _amended(state: ConductState, record: r.ProtocolAmended, entry: LedgerEntry) -> None:
    state.study = validate(record.study, record.study.get("id", "study"))
    state.amendments.append((entry.seq, record))


def _closed(state: ConductState, record: r.TrialClosed, entry: LedgerEntry) -> None:
    state.closed = record.outcome


def _delegated(state: ConductState, record: r.Delegated, entry: LedgerEntry) -> None:
    state.delegations.append((record, entry.actor))


def _delegation_ended(state: ConductState, record: r.DelegationEnded, entry: LedgerEntry) -> None:
    state.delegations = [
        (each.model_copy(update={"ends": record.ends}), by)
        if (each.user, each.role) == (record.user, record.role)
        and each.starts <= record.ends
        and (each.ends is None or record.ends < each.ends)
        else (each, by)
        for each, by in state.delegations
    ]


def _screened(state: ConductState, record: r.Screened, entry: LedgerEntry) -> None:
    if record.participant in state.people:
        raise ValueError(f"participant {record.participant} is screened twice")
    state.people[record.participant] = Person(record.participant, entry.seq)


def _assigned(state: ConductState, record: r.Assigned, entry: LedgerEntry) -> None:
    person = state.people[record.participant]
    person.assigned, person.assigned_seq = record, entry.seq
    person.assigned_at = datetime.fromisoformat(entry.recorded_at)
    person.assigned_on = person.assigned_at.astimezone(state.zone).date()


def _infused(state: ConductState, record: r.InfusionRecorded, entry: LedgerEntry) -> None:
    person = state.people[record.participant]
    person.infusions[record.number] = record
    if record.number == 1 and record.given and record.started_at is not None and person.assigned is not None:
        person.treated_seq = entry.seq
        protocol, level = state.in_force().protocol, person.assigned.regimen
        schedule = protocol.grid.schedule(protocol.grid.index(Regimen(level.dose, level.frequency)))
        start = record.started_at.astimezone(state.zone).date()
        person.window_last = start + timedelta(days=protocol.dlt_window.end(schedule))
        person.infusions_needed = protocol.evaluability.minimum_infusions * len(schedule) - 1e-9


def _adverse(state: ConductState, record: r.AdverseEvent, entry: LedgerEntry) -> None:
    person = state.people[record.participant]
    person.events[record.event] = record
    person.grades[record.event] = [(None, record.grade)]


def _proposed(state: ConductState, record: r.DltProposed, entry: LedgerEntry) -> None:
    state.people[record.participant].adjudications[record.adjudication] = Adjudication(record, entry.actor)


def _adjudicated(state: ConductState, record: r.DltDecided, entry: LedgerEntry) -> None:
    state.people[record.participant].adjudications[record.adjudication].decisions.append(record)


def _queried(state: ConductState, record: r.QueryRaised, entry: LedgerEntry) -> None:
    state.queries[record.query] = Query(record)


def _committee(state: ConductState, record: r.CommitteeRecorded, entry: LedgerEntry) -> None:
    recommendation = state.recommendations[record.recommendation]
    state.decisions[entry.seq] = Decision(entry.seq, record, recommendation, state.snapshots[recommendation.snapshot])


def _signed(state: ConductState, record: r.DecisionSigned, entry: LedgerEntry) -> None:
    decision = state.decisions[record.committee]
    decision.signatures.append(record.signature)
    assert state.opened is not None
    departs = bool(decision.committee.justification)
    needed = max(state.opened.signatures_needed, 2 if departs else 1)
    if decision.effective is None and len({each["user"] for each in decision.signatures}) >= needed:
        decision.effective = entry.seq
        state.suspended = decision.committee.discussion if decision.committee.action == "suspend" else ""


def _set(name: str, value: Any) -> Any:
    """An applier that sets one attribute of the participant from the record."""

    def apply(state: ConductState, record: Any, entry: LedgerEntry) -> None:
        setattr(state.people[record.participant], name, value(record))

    return apply


def _keep(_: ConductState, __: Any, ___: LedgerEntry) -> None:
    """Recorded and listed; nothing follows from it for the state."""


_APPLY: dict[type[r.Record], Any] = {
    r.TrialOpened: _opened,
    r.ProtocolAmended: _amended,
    r.TrialClosed: _closed,
    r.Delegated: _delegated,
    r.DelegationEnded: _delegation_ended,
    r.Screened: _screened,
    r.Consented: _set("consent", lambda record: record),
    r.EligibilityRecorded: _set("verdict", lambda record: record.verdict),
    r.Triggered: _set("triggered", lambda record: True),
    r.ScreenFailed: _set("failed", lambda record: record.description),
    r.Assigned: _assigned,
    r.InfusionRecorded: _infused,
    r.AdverseEvent: _adverse,
    r.Regraded: lambda s, x, e: s.people[x.participant].grades[x.event].append((x.on, x.grade)),
    r.SeriousEventReported: lambda s, x, e: s.people[x.participant].reported.update({x.event: x.sent_at}),
    r.DltProposed: _proposed,
    r.DltDecided: _adjudicated,
    r.WindowCompleted: _set("completed", lambda record: record.on),
    r.NotEvaluable: _set("excluded", lambda record: record.cause),
    r.Discontinued: _set("discontinued", lambda record: record.cause),
    r.LeftStudy: _set("left", lambda record: record),
    r.Laboratory: _keep,
    r.Transfusion: _keep,
    r.Visit: lambda s, x, e: s.people[x.participant].visits.update({x.visit: x}),
    r.ResponseRecorded: _set("response", lambda record: record),
    r.Deviation: _keep,
    r.QueryRaised: _queried,
    r.QueryAnswered: lambda s, x, e: setattr(s.queries[x.query], "status", "answered"),
    r.QueryClosed: lambda s, x, e: setattr(s.queries[x.query], "status", "open" if x.reopened else "closed"),
    r.Corrected: _keep,
    r.SnapshotTaken: lambda s, x, e: s.snapshots.update({e.seq: x}),
    r.Recommended: lambda s, x, e: s.recommendations.update({e.seq: x}),
    r.CommitteeRecorded: _committee,
    r.DecisionSigned: _signed,
    r.Circulated: lambda s, x, e: setattr(s.decisions[x.committee], "circulated_at", x.at),
}
