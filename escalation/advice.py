"""What to do now: a decision when it is certain, else what is being waited for.

A decision is *ripe* when every completion of the outcomes still open leads to the same decision.
The same rule serves the calendar engine, the ``decide`` command and live conduct; it gives early
decisions (two DLTs in the first two of a 3+3 cohort) and the look-ahead over pending participants.
Pending is not negative.

Designs that read follow-up times are asked with the windows open, as they stand on a day, and say
themselves when to wait. Selecting a regimen waits for every window all the same. Where the protocol
waits for complete windows they are asked like every other design.

Open windows of backfilled participants hold up no decision. Only a selection in which they count waits for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from escalation.decision import Action, Decisions, moves
from escalation.grades import graded_completions
from escalation.regimens import RegimenGrid
from escalation.rule import Rule
from escalation.tally import Bools, Counts, Tally
from escalation.trial import TrialState, tally_of

COHORT_OPEN = "trial.cohort_open"
OUTCOMES_PENDING = "trial.outcomes_pending"
EXPANSION_OPEN = "trial.expansion_open"
EXPANSION_COMPLETE = "trial.expansion_complete"
EXPANSION_WITHDRAWN = "trial.expansion_withdrawn"
CLOSED = "trial.closed"
BACKFILL_PENDING = "trial.backfill_pending"


@dataclass(frozen=True, slots=True)
class Possibility:
    """One completion of the open outcomes and the decision it leads to.

    ``further`` holds the further DLTs by regimen, in the order of ``Advice.open_at``, and ``moderate`` the participants
    with a moderate toxicity instead, empty where the rule does not read grades; ``allocation`` the probabilities with
    which a design that randomises draws the regimen.
    """

    further: tuple[int, ...]
    action: Action
    regimen: int
    selected: tuple[int, ...]
    allocation: tuple[float, ...] | None = None
    moderate: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Advice:
    """What the rule says to a trial as it stands.

    Attributes
    ----------
    action
        The decision; STAY with places open in the cohort, WAIT when only outcomes are missing.
    regimen
        Where the next participants go.
    size
        How many: the places left, or the next cohort.
    reasons
        Codes of the reasons; several when different completions reach the decision for different reasons.
    selected
        Regimens selected when the stage ends.
    decides
        Whether a decision can take effect now.
    certain
        Whether it can although outcomes or places of the cohort are still open.
    allocation
        Probabilities over regimens when the design randomises, None once one of them is drawn.
    memory
        What the design keeps.
    open_at
        Regimens with open outcomes, and how many: places of the cohort and pending participants.
    outlook
        Every completion with its decision, when the decision is not certain.
    """

    action: Action
    regimen: int
    size: int
    reasons: tuple[str, ...]
    selected: tuple[int, ...] = ()
    decides: bool = False
    certain: bool = False
    allocation: tuple[float, ...] | None = None
    memory: tuple[int, ...] = ()
    open_at: tuple[tuple[int, int], ...] = ()
    outlook: tuple[Possibility, ...] = ()

    def drawing(self, regimen: int, current: int, grid: RegimenGrid) -> Advice:
        """The same advice once its allocation drew a regimen: the action is the one that leads there."""
        if self.allocation is None or self.action in (Action.STOP, Action.WAIT):
            return replace(self, regimen=regimen)
        here, there = np.array([current], dtype=np.int32), np.array([regimen], dtype=np.int32)
        action = Action(int(moves(here, there, grid.at_most)[0]))
        return replace(self, action=action, regimen=regimen, allocation=None)


def ends(advice: Advice) -> bool:
    """Whether escalation ends, or only waits for windows of backfilled participants: nobody is backfilled."""
    return advice.action == Action.STOP or advice.reasons == (BACKFILL_PENDING,)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The decision on one completion, in a form that can be compared."""

    action: Action
    regimen: int
    size: int
    selected: tuple[int, ...]
    allocation: tuple[float, ...] | None
    memory: tuple[int, ...]


def _chosen(selected: Bools) -> tuple[int, ...]:
    """The regimens marked in a row of a selection."""
    return tuple(np.flatnonzero(selected).tolist())


@dataclass(slots=True)
class Advisor:
    """Advice under one rule, remembered by state.

    Parameters
    ----------
    rule
        The design with its guards and expansion stage.
    windows_complete
        Escalation waits for every window; de-escalation and stopping never wait for more than certainty.
    retreats_wait
        They too wait for every window.
    """

    rule: Rule
    windows_complete: bool = False
    retreats_wait: bool = False
    _known: dict[tuple[object, ...], Advice] = field(default_factory=dict)

    @classmethod
    def of(cls, rule: Rule, escalate_when: str) -> Advisor:
        """Advice as ``protocol.escalate_when`` has it."""
        every = escalate_when == "all_windows_complete"
        return cls(rule, windows_complete=every or escalate_when == "windows_complete", retreats_wait=every)

    @property
    def by_clock(self) -> bool:
        """Whether decisions are taken with windows open, on what was followed up to the day."""
        return self.rule.design.needs_clock and not self.windows_complete

    def advise(self, state: TrialState, day: int | None = None) -> Advice:
        """What the rule says to the trial as it stands on a day, the latest heard of when None.

        The day matters only to designs that read follow-up times.
        """
        by_clock = self.by_clock and state.stage == "escalation"
        if by_clock and self.rule.design.reads_follow_up:
            return self.advise_all([state], [state.day if day is None else day])[0]
        key = state.key()
        advice = self._known.get(key)
        if advice is None:
            advice = self.advise_all([state], [state.day])[0] if by_clock else self._work_out(state)
            self._known[key] = advice
        return advice

    def advise_all(self, states: Sequence[TrialState], days: Sequence[int]) -> list[Advice]:
        """The advice to trials in escalation, each on its day, of a design asked with windows open.

        The rule is asked once for all of them.
        """
        tally = tally_of(states, days)
        decisions = self.rule.decide(tally)
        return [self._by_the_clock(state, tally, decisions, row) for row, state in enumerate(states)]

    def _work_out(self, state: TrialState) -> Advice:
        if state.stage == "closed":
            return Advice(Action.STOP, state.regimen, 0, (CLOSED,), () if state.withdrawn else state.selected)
        if state.stage == "expansion":
            return self._expansion(state)
        return self._escalation(state)

    def _escalation(self, state: TrialState) -> Advice:
        places = state.open_places
        open_counts = list(state.pending)
        open_counts[state.regimen] += places
        open_at = tuple((k, count) for k, count in enumerate(open_counts) if count)
        in_cohort = places + state.enrolled - state.cohort_n
        verdicts, reasons, further, moderate = self._verdicts(state, open_at, in_cohort)
        first = verdicts[0]
        agreed = all(verdict == first for verdict in verdicts)
        if agreed and self._may_act(state, first, places):
            if self._selection_waits(state, first.action, first.selected):
                return Advice(Action.WAIT, state.regimen, 0, (BACKFILL_PENDING,), open_at=open_at)
            return Advice(
                first.action,
                first.regimen,
                first.size,
                tuple(dict.fromkeys(reasons)),
                first.selected,
                decides=True,
                certain=bool(open_at),
                allocation=first.allocation,
                memory=first.memory,
                open_at=open_at,
            )
        outlook = tuple(
            Possibility(more, verdict.action, verdict.regimen, verdict.selected, verdict.allocation, graded)
            for more, graded, verdict in zip(further, moderate, verdicts, strict=True)
        )
        if places:
            return Advice(Action.STAY, state.regimen, places, (COHORT_OPEN,), open_at=open_at, outlook=outlook)
        return Advice(Action.WAIT, state.regimen, 0, (OUTCOMES_PENDING,), open_at=open_at, outlook=outlook)

    def _by_the_clock(self, state: TrialState, tally: Tally, decisions: Decisions, row: int) -> Advice:
        """The decision of a design that reads follow-up times, with windows open."""
        action, places = Action(int(decisions.action[row])), state.open_places
        open_at = tuple((k, count) for k, count in enumerate(state.pending) if count)
        reason = self.rule.reasons[int(decisions.reason[row])]
        stops = action == Action.STOP
        retreats = action == Action.DE_ESCALATE or (stops and not reason.selects)
        if places and not retreats:
            return Advice(Action.STAY, state.regimen, places, (COHORT_OPEN,), open_at=open_at)
        if open_at and stops and not retreats:
            return Advice(Action.WAIT, state.regimen, 0, (OUTCOMES_PENDING,), open_at=open_at)
        if action == Action.WAIT:
            return Advice(Action.WAIT, state.regimen, 0, (reason.code,), open_at=open_at)
        chosen: tuple[int, ...] = ()
        if stops:
            here = slice(row, row + 1)
            chosen = _chosen(self.rule.select(tally.take(here), decisions.reason[here])[0])
        verdict = self._verdict(decisions, chosen, row, state.regimen)
        if self._selection_waits(state, verdict.action, verdict.selected):
            return Advice(Action.WAIT, state.regimen, 0, (BACKFILL_PENDING,), open_at=open_at)
        return Advice(
            verdict.action,
            verdict.regimen,
            verdict.size,
            (reason.code,),
            verdict.selected,
            decides=True,
            allocation=verdict.allocation,
            memory=verdict.memory,
            open_at=open_at,
        )

    def _selection_waits(self, state: TrialState, action: Action, selected: tuple[int, ...]) -> bool:
        """Whether escalation ends with a selection in which backfilled participants count whose windows are open."""
        stage = self.rule.backfill
        counts = stage is not None and stage.counts_in_selection and action == Action.STOP and bool(selected)
        return counts and any(state.backfill_pending)

    @staticmethod
    def _verdict(decisions: Decisions, chosen: tuple[int, ...], row: int, here: int) -> _Verdict:
        action = Action(int(decisions.action[row]))
        return _Verdict(
            action,
            int(decisions.regimen[row]) if action != Action.STOP else here,
            int(decisions.size[row]),
            chosen if action == Action.STOP else (),
            None if decisions.allocation is None else tuple(decisions.allocation[row].tolist()),
            () if decisions.memory is None else tuple(decisions.memory[row].tolist()),
        )

    def _may_act(self, state: TrialState, verdict: _Verdict, places: int) -> bool:
        """Whether a decision all completions agree on may take effect before they are known."""
        if self.retreats_wait and any(state.pending):
            return False
        if self._is_retreat(state, verdict):
            return True
        if places:
            return False  # going up, staying or declaring this regimen needs the cohort the protocol asks for
        return not (self.windows_complete and any(state.pending))

    def _is_retreat(self, state: TrialState, verdict: _Verdict) -> bool:
        """Whether the decision leaves the open regimen downwards, or ends without declaring it or anything above."""
        order, here = self.rule.grid.at_most, state.regimen
        if verdict.action == Action.STOP:
            return not any(order[here, chosen] for chosen in verdict.selected)
        if verdict.action != Action.DE_ESCALATE:
            return False
        # a regimen still to be drawn can lie above the one named first
        drawable = (k for k, share in enumerate(verdict.allocation or ()) if share > 0)
        return all(order[k, here] and k != here for k in drawable)

    def _verdicts(
        self, state: TrialState, open_at: tuple[tuple[int, int], ...], in_cohort: int
    ) -> tuple[list[_Verdict], list[str], list[tuple[int, ...]], list[tuple[int, ...]]]:
        """The decision on every completion of the open outcomes."""
        ranges: list[range] = []
        cohort_axis = None
        for position, (regimen, count) in enumerate(open_at):
            if regimen == state.regimen and in_cohort:
                cohort_axis = position
                ranges.append(range(in_cohort + 1))
                if count > in_cohort:  # pending participants of an earlier cohort at the same regimen
                    ranges.append(range(count - in_cohort + 1))
            else:
                ranges.append(range(count + 1))
        completions = list(product(*ranges))
        split = sum(1 for regimen, count in open_at if regimen == state.regimen and 0 < in_cohort < count)
        n = np.tile(np.asarray(state.n, np.int32), (len(completions), 1))
        dlt = np.tile(np.asarray(state.dlt, np.int32), (len(completions), 1))
        cohort_dlt = np.full(len(completions), state.cohort_dlt, np.int32)
        further: list[tuple[int, ...]] = []
        for row, outcome in enumerate(completions):
            totals: list[int] = []
            place = 0
            for position, (regimen, count) in enumerate(open_at):
                more = outcome[place]
                if position == cohort_axis:
                    cohort_dlt[row] += outcome[place]
                    if split:
                        place += 1
                        more += outcome[place]
                place += 1
                n[row, regimen] += count
                dlt[row, regimen] += more
                totals.append(more)
            further.append(tuple(totals))
        moderate: Counts | None = None
        graded: list[tuple[int, ...]] = [()] * len(completions)
        if self.rule.reads_grades:
            told = graded_completions(self.rule, state.moderate, state.pending_moderate(), n, open_at, further)
            row_of, moderate, graded = told
            n, dlt, cohort_dlt = n[row_of], dlt[row_of], cohort_dlt[row_of]
            further = [further[row] for row in row_of]
        rows = len(further)
        tally = Tally.of(
            n=n,
            dlt=dlt,
            moderate=moderate,
            current=np.full(rows, state.regimen),
            cohort_n=np.full(rows, state.cohort_n + in_cohort),
            cohort_dlt=cohort_dlt,
            memory=np.tile(np.asarray(state.memory, np.int32), (rows, 1)),
            backfill_n=self._beside(state.backfill_n, rows),
            backfill_dlt=self._beside(state.backfill_dlt, rows),
        )
        decisions = self.rule.decide(tally)
        selected = self.rule.select(tally, decisions.reason)
        verdicts = [self._verdict(decisions, _chosen(selected[row]), row, state.regimen) for row in range(rows)]
        codes = [self.rule.reasons[int(reason)].code for reason in decisions.reason]
        return verdicts, codes, further, graded

    def _beside(self, counts: list[int], rows: int) -> Counts | None:
        """Counts of the backfilled, whose open windows no decision waits for, in every row."""
        return None if self.rule.backfill is None else np.tile(np.asarray(counts, np.int32), (rows, 1))

    def _expansion(self, state: TrialState) -> Advice:
        stage = self.rule.expansion
        assert stage is not None
        regimen, places = state.regimen, state.open_places
        missing, late = places + state.expansion_pending, state.pending[regimen]
        further, before = np.indices((missing + 1, late + 1)).reshape(2, -1)
        backfill = self.rule.backfill
        beside = backfill is not None and backfill.counts_in_decision
        withdrawn = stage.withdraws(
            np.full(len(further), state.n[regimen] + late + beside * state.backfill_n[regimen]),
            state.dlt[regimen] + before + beside * state.backfill_dlt[regimen],
            np.full(len(further), state.expansion_n + missing),
            state.expansion_dlt + further,
        )
        open_at = ((regimen, missing + late),) if missing + late else ()
        if withdrawn.all():
            return Advice(
                Action.STOP,
                regimen,
                0,
                (EXPANSION_WITHDRAWN,),
                (),
                decides=True,
                certain=bool(open_at),
                open_at=open_at,
            )
        group = stage.next_group(state.expansion_n + missing)
        goes_on = Action.STAY if group else Action.STOP
        outlook = tuple(
            Possibility((more,), Action.STOP if out else goes_on, regimen, () if out else state.selected)
            for more, out in sorted(set(zip((further + before).tolist(), withdrawn.tolist(), strict=True)))
        )
        if places:
            return Advice(
                Action.STAY, regimen, places, (EXPANSION_OPEN,), state.selected, open_at=open_at, outlook=outlook
            )
        if withdrawn.any() or (missing and self.windows_complete):
            return Advice(
                Action.WAIT, regimen, 0, (OUTCOMES_PENDING,), state.selected, open_at=open_at, outlook=outlook
            )
        if group:
            return Advice(
                Action.STAY, regimen, group, (EXPANSION_OPEN,), state.selected, decides=True, certain=missing > 0
            )
        return Advice(Action.STOP, regimen, 0, (EXPANSION_COMPLETE,), state.selected, decides=True, certain=missing > 0)
