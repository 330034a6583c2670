"""One trial: the fold of its events into the state that decisions are read from.

SimPy produces the events on a simulated clock; outcome strings and live conduct produce the same
events from what people enter. There is one fold for all of them. Days are whole days since the
trial opened; regimens and participants are counted from 0 here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from escalation.errors import TrialError
from escalation.rule import Rule
from escalation.tally import Tally

Stage = Literal["escalation", "expansion", "closed", "backfill"]
"""Where a trial stands; ``backfill`` is a stage of participants only, beside escalation."""


class Enrolled(NamedTuple):
    """A participant is assigned to the open regimen and has the first infusion."""

    day: int
    participant: int
    regimen: int


class Backfilled(NamedTuple):
    """A participant is assigned to a regimen below the open one and has the first infusion."""

    day: int
    participant: int
    regimen: int


class Responded(NamedTuple):
    """A response is observed in a participant."""

    day: int
    participant: int


class Infused(NamedTuple):
    """Infusion ``number`` (counted from 1) is given."""

    day: int
    participant: int
    number: int


class ModerateObserved(NamedTuple):
    """A participant has the first moderate toxicity inside the window, which stays open."""

    day: int
    participant: int


class DltObserved(NamedTuple):
    """A participant has a DLT inside the window."""

    day: int
    participant: int


class WindowCompleted(NamedTuple):
    """A participant completes the DLT window without a DLT."""

    day: int
    participant: int


class NotEvaluable(NamedTuple):
    """A participant without a DLT stops counting for the decision."""

    day: int
    participant: int
    cause: str


class Decided(NamedTuple):
    """A decision takes effect: the next cohort is opened, or the stage ends."""

    day: int
    action: str
    regimen: int
    size: int
    reasons: tuple[str, ...]
    selected: tuple[int, ...]
    memory: tuple[int, ...] = ()


class Extended(NamedTuple):
    """The open cohort gets more places than the rule asked for."""

    day: int
    places: int


Event = (
    Enrolled
    | Backfilled
    | Infused
    | ModerateObserved
    | DltObserved
    | WindowCompleted
    | NotEvaluable
    | Responded
    | Decided
    | Extended
)

PENDING, COMPLETE, DLT, NOT_EVALUABLE = "pending", "complete", "dlt", "not_evaluable"


@dataclass(slots=True)
class Participant:
    """What the fold keeps of one participant."""

    regimen: int
    enrolled: int
    stage: Stage
    cohort: int
    infusions: int = 0
    status: str = PENDING
    resolved: int | None = None
    responded: bool = False
    moderate: bool = False


class TrialState:
    """The state of one trial, changed by events only.

    Attributes
    ----------
    n, dlt, pending
        Counts by regimen: evaluable, with a DLT, and with an open window.
    moderate
        Participants of escalation without a DLT who have had a moderate toxicity, by regimen, whatever became of
        them otherwise.
    stage
        ``escalation``, then ``expansion`` where the protocol has one, then ``closed``.
    regimen, size
        The open cohort: where it is treated and how many it has.
    enrolled, cohort_n, cohort_dlt
        Of the open cohort: places taken (those of the not evaluable are free again when they are
        replaced), evaluable participants and DLTs.
    selected, withdrawn
        What escalation selected, and whether the expansion stage withdrew it.
    expansion_n, expansion_dlt
        Counts of the expansion stage, which are not part of ``n`` and ``dlt``.
    backfill_n, backfill_dlt, backfill_pending
        Counts of the backfilled by regimen, which are not part of ``n``, ``dlt`` and ``pending``.
    responses
        Participants with an observed response by regimen, in every stage.
    treated
        Participants ever treated at each regimen, evaluable or not, in both stages.
    day
        The latest day anything was heard of the trial.
    """

    __slots__ = (
        "backfill_dlt",
        "backfill_n",
        "backfill_pending",
        "cohort",
        "cohort_dlt",
        "cohort_n",
        "day",
        "dlt",
        "enrolled",
        "expansion_dlt",
        "expansion_n",
        "expansion_pending",
        "last_at",
        "memory",
        "moderate",
        "n",
        "participants",
        "pending",
        "reasons",
        "regimen",
        "replace",
        "responses",
        "rule",
        "selected",
        "size",
        "stage",
        "treated",
        "withdrawn",
    )

    def __init__(self, rule: Rule, *, replace_not_evaluable: bool = True) -> None:
        regimens = rule.grid.size
        self.rule = rule
        self.replace = replace_not_evaluable
        self.n = [0] * regimens
        self.dlt = [0] * regimens
        self.pending = [0] * regimens
        self.moderate = [0] * regimens
        self.stage: Stage = "escalation"
        self.regimen = rule.start
        self.size = rule.start_size
        self.cohort = 1
        self.enrolled = self.cohort_n = self.cohort_dlt = 0
        self.memory: tuple[int, ...] = (0,) * rule.design.memory_size
        self.selected: tuple[int, ...] = ()
        self.withdrawn = False
        self.expansion_n = self.expansion_dlt = self.expansion_pending = 0
        self.reasons: tuple[str, ...] = ()
        self.participants: dict[int, Participant] = {}
        self.treated = [0] * regimens
        self.backfill_n = [0] * regimens
        self.backfill_dlt = [0] * regimens
        self.backfill_pending = [0] * regimens
        self.responses = [0] * regimens
        self.last_at: list[int | None] = [None] * regimens
        self.day = 0

    def fork(self) -> TrialState:
        """A copy that goes its own way."""
        other = TrialState.__new__(TrialState)
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, list):
                value = value.copy()
            elif name == "participants":
                value = {number: copy(person) for number, person in value.items()}
            setattr(other, name, value)
        return other

    @property
    def open_places(self) -> int:
        """Places of the open cohort nobody holds yet."""
        return 0 if self.stage == "closed" else self.size - self.enrolled

    @property
    def anyone_pending(self) -> bool:
        """Whether any outcome of escalation or expansion is still open."""
        return self.expansion_pending > 0 or any(self.pending)

    @property
    def anyone_followed(self) -> bool:
        """Whether any window is still open, those of the backfilled included."""
        return self.anyone_pending or any(self.backfill_pending)

    def cohort_pending(self) -> int:
        """Participants of the open cohort whose window is open."""
        return sum(p.status == PENDING and p.cohort == self.cohort for p in self.participants.values())

    def key(self) -> tuple[object, ...]:
        """Everything a decision on counts can depend on; designs that read follow-up times depend on more."""
        return (
            self.stage,
            tuple(self.n),
            tuple(self.dlt),
            tuple(self.pending),
            self.regimen,
            self.size,
            self.enrolled,
            self.cohort_n,
            self.cohort_dlt,
            self.memory,
            self.expansion_n,
            self.expansion_dlt,
            self.expansion_pending,
            *(
                (tuple(self.backfill_n), tuple(self.backfill_dlt), any(self.backfill_pending))
                if self.rule.backfill is not None
                else ()
            ),
            *(self._grades_known() if self.rule.reads_grades else ()),
        )

    def open_for_backfill(self) -> tuple[int, ...]:
        """The regimens open for backfill, counted from 0."""
        stage = self.rule.backfill
        if stage is None or self.stage != "escalation":
            return ()
        treated, responses = np.array([self.treated], np.int32), np.array([self.responses], np.int32)
        found = stage.is_open(self.tally(), treated, responses, self.rule.design)
        return tuple(np.flatnonzero(found[0]).tolist())

    def pending_moderate(self) -> list[int]:
        """Of the pending participants of escalation, those who have had a moderate toxicity, by regimen."""
        found = [0] * len(self.n)
        for person in self.participants.values():
            found[person.regimen] += person.moderate and person.status == PENDING and person.stage == "escalation"
        return found

    def _grades_known(self) -> tuple[object, ...]:
        return tuple(self.moderate), tuple(self.pending_moderate())

    def tally(self, day: int | None = None) -> Tally:
        """The state as a batch of one.

        Pending participants have been followed up to a day, the latest heard of when None.
        """
        return tally_of([self], [self.day if day is None else day])

    def followed(self, day: int) -> list[tuple[int, float, bool]]:
        """Participants of escalation with an open window or a DLT, and the backfilled with a DLT where they count:
        regimen, fraction of the window up to a day or to the DLT, and whether there is a DLT."""
        window = self.rule.design.setting.window
        backfill = self.rule.backfill
        beside = backfill is not None and backfill.counts_in_decision  # with their DLTs only: nobody waits for them
        people = []
        for person in self.participants.values():
            waits = person.status == PENDING
            if not waits and person.status != DLT:
                continue
            if person.stage == "escalation" or (person.stage == "backfill" and beside and not waits):
                until = day if waits or person.resolved is None else person.resolved
                share = min(max((until - person.enrolled) / window(person.regimen), 0.0), 1.0)
                people.append((person.regimen, share, not waits))
        return people

    def earliest_next(self, sentinel_days: int, between_days: int, regimen: int | None = None) -> int:
        """First day on which the stagger allows the next participant at a regimen, the open one when None.

        The days run between first infusions, whatever became of the participants.
        """
        regimen = self.regimen if regimen is None else regimen
        last = self.last_at[regimen]
        if last is None:
            return 0
        alone = self.treated[regimen] == 1
        return last + (max(between_days, sentinel_days) if alone else between_days)

    def apply(self, event: Event) -> None:
        """Fold one event; raises TrialError when it contradicts the trial so far."""
        _FOLD[type(event)](self, event)
        if event.day > self.day:
            self.day = event.day

    def _enrolled(self, event: Enrolled) -> None:
        if self.open_places <= 0:
            raise TrialError(
                f"participant {event.participant + 1} has no place: the cohort at {self._level(self.regimen)} is full "
                "or the trial is closed; wait for the next decision"
            )
        if event.regimen != self.regimen:
            raise TrialError(
                f"participant {event.participant + 1} cannot be treated at {self._level(event.regimen)}: "
                f"the open regimen is {self._level(self.regimen)}"
            )
        self._admit(event, self.stage, self.cohort)
        self.enrolled += 1
        if self.stage == "expansion":
            self.expansion_pending += 1
        else:
            self.pending[event.regimen] += 1

    def _admit(self, event: Enrolled | Backfilled, stage: Stage, cohort: int) -> None:
        if event.participant in self.participants:
            raise TrialError(f"participant {event.participant + 1} is enrolled already; use a new number")
        self.participants[event.participant] = Participant(event.regimen, event.day, stage, cohort)
        self.treated[event.regimen] += 1
        self.last_at[event.regimen] = event.day

    def _backfilled(self, event: Backfilled) -> None:
        who = f"participant {event.participant + 1} cannot be backfilled"
        if self.rule.backfill is None or self.stage != "escalation":
            why = "the protocol backfills nobody" if self.rule.backfill is None else "escalation has ended"
            raise TrialError(f"{who}: {why}; enrol in the open cohort or wait for the next decision")
        if event.regimen == self.regimen or not self.rule.grid.at_most[event.regimen, self.regimen]:
            raise TrialError(
                f"{who} at {self._level(event.regimen)}: it does not lie below the open {self._level(self.regimen)}"
            )
        self._admit(event, "backfill", 0)  # no cohort has the number 0
        self.backfill_pending[event.regimen] += 1

    def _responded(self, event: Responded) -> None:
        person = self.participants.get(event.participant)
        if person is None:
            raise TrialError(f"participant {event.participant + 1} is not enrolled; record the enrolment first")
        if not person.responded:
            person.responded = True
            self.responses[person.regimen] += 1

    def _infused(self, event: Infused) -> None:
        person = self.participants.get(event.participant)
        if person is None or person.status in (DLT, NOT_EVALUABLE):
            raise TrialError(
                f"participant {event.participant + 1} cannot be infused: not enrolled, or treatment has ended"
            )
        person.infusions += 1

    def _resolve(self, participant: int, day: int, status: str) -> Participant:
        person = self.participants.get(participant)
        if person is None:
            raise TrialError(f"participant {participant + 1} is not enrolled; record the enrolment first")
        if person.status != PENDING:
            raise TrialError(
                f"participant {participant + 1} has an outcome already ({person.status.replace('_', ' ')})"
            )
        person.status = status
        person.resolved = day
        if person.stage == "expansion":
            self.expansion_pending -= 1
        elif person.stage == "backfill":
            self.backfill_pending[person.regimen] -= 1
        else:
            self.pending[person.regimen] -= 1
        return person

    def _evaluable(self, person: Participant, dlt: int) -> None:
        if person.stage == "expansion":
            self.expansion_n += 1
            self.expansion_dlt += dlt
        elif person.stage == "backfill":
            self.backfill_n[person.regimen] += 1
            self.backfill_dlt[person.regimen] += dlt
        else:
            self.n[person.regimen] += 1
            self.dlt[person.regimen] += dlt
        if person.cohort == self.cohort:
            self.cohort_n += 1
            self.cohort_dlt += dlt

    def _moderate(self, event: ModerateObserved) -> None:
        person = self.participants.get(event.participant)
        if person is None or person.status != PENDING or person.moderate:
            raise TrialError(
                f"participant {event.participant + 1} cannot have a first moderate toxicity: not enrolled, with an "
                "outcome already, or told before"
            )
        person.moderate = True
        self.moderate[person.regimen] += person.stage == "escalation"

    def _dlt(self, event: DltObserved) -> None:
        person = self._resolve(event.participant, event.day, DLT)
        if person.moderate:  # the DLT is the worse of the two
            person.moderate = False
            self.moderate[person.regimen] -= person.stage == "escalation"
        self._evaluable(person, 1)

    def _completed(self, event: WindowCompleted) -> None:
        self._evaluable(self._resolve(event.participant, event.day, COMPLETE), 0)

    def _not_evaluable(self, event: NotEvaluable) -> None:
        person = self._resolve(event.participant, event.day, NOT_EVALUABLE)
        if person.cohort == self.cohort and self.stage != "closed":
            if self.replace:
                self.enrolled -= 1
            else:
                self.size -= 1
                self.enrolled -= 1

    def _decided(self, event: Decided) -> None:
        if self.stage == "closed":
            raise TrialError("the trial is closed; no further decision can take effect")
        self.reasons = event.reasons
        if event.action == "stop" and self.stage == "expansion":
            self.withdrawn = not event.selected
            self._close()
            return
        if event.action == "stop":
            self.selected = event.selected
            expansion = self.rule.expansion
            if expansion is None or len(event.selected) != 1:
                self._close()
                return
            self.stage = "expansion"
            self._open(event.selected[0], expansion.next_group(0))
            return
        if event.memory:
            self.memory = event.memory
        self._open(event.regimen, event.size)

    def _extended(self, event: Extended) -> None:
        if self.stage == "closed":
            raise TrialError("the trial is closed; no cohort can be made larger")
        self.size += event.places

    def _open(self, regimen: int, size: int) -> None:
        self.regimen, self.size = regimen, size
        self.cohort += 1
        self.enrolled = self.cohort_n = self.cohort_dlt = 0

    def _close(self) -> None:
        self.stage = "closed"
        self.size = self.enrolled = 0

    def _level(self, regimen: int) -> str:
        return f"level {self.rule.grid.level(regimen)}"


def tally_of(states: Sequence[TrialState], days: Sequence[int]) -> Tally:
    """Trials under one rule as a batch, each as it stands on a day, up to which the pending have been followed."""
    backfills = states[0].rule.backfill is not None
    people = [state.followed(day) for state, day in zip(states, days, strict=True)]
    most = max(map(len, people))
    exposure = [[0.0] * len(state.n) for state in states]
    for row, known in zip(exposure, people, strict=True):
        for regimen, share, toxic in known:
            if not toxic:
                row[regimen] += share
        known.extend([(-1, 0.0, False)] * (most - len(known)))
    return Tally(
        n=np.array([state.n for state in states], np.int32),
        dlt=np.array([state.dlt for state in states], np.int32),
        pending=np.array([state.pending for state in states], np.int32),
        exposure=np.array(exposure),
        current=np.array([state.regimen for state in states], np.int32),
        cohort_n=np.array([state.cohort_n for state in states], np.int32),
        cohort_dlt=np.array([state.cohort_dlt for state in states], np.int32),
        memory=np.array([state.memory for state in states], np.int32).reshape(len(states), -1),
        moderate=np.array([state.moderate for state in states], np.int32),
        person_at=np.array([[regimen for regimen, _, _ in known] for known in people], np.int32),
        person_time=np.array([[share for _, share, _ in known] for known in people]),
        person_dlt=np.array([[toxic for _, _, toxic in known] for known in people], bool),
        backfill_n=np.array([state.backfill_n for state in states], np.int32) if backfills else None,
        backfill_dlt=np.array([state.backfill_dlt for state in states], np.int32) if backfills else None,
    )


_FOLD: dict[type[Event], Callable[[TrialState, Any], None]] = {
    Enrolled: TrialState._enrolled,
    Backfilled: TrialState._backfilled,
    Responded: TrialState._responded,
    Infused: TrialState._infused,
    ModerateObserved: TrialState._moderate,
    DltObserved: TrialState._dlt,
    WindowCompleted: TrialState._completed,
    NotEvaluable: TrialState._not_evaluable,
    Decided: TrialState._decided,
    Extended: TrialState._extended,
}
