"""A trial run by hand: read from its outcome string, so that the string is all there is to keep.

Every act gives another string: treating patients adds letters, an outcome that becomes known replaces a P,
undoing takes the last cohort away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from escalation.advice import Advice, Advisor
from escalation.conduct.outlook import Awaited, dated_outlook
from escalation.decision import Action
from escalation.errors import EngineError, OutcomeError
from escalation.outcomes import level_of, replay, settle
from escalation.report.charts.trials import Followed, Outcome, Taken
from escalation.study import Study
from escalation.teach.patients import Patients, Treated
from escalation.trial import COMPLETE, DLT, NOT_EVALUABLE, PENDING, Participant, TrialState

LETTER_OF: Final = {COMPLETE: "N", DLT: "T", PENDING: "P", NOT_EVALUABLE: "X"}
"""Letter of every participant status; a window completed with a moderate toxicity is an M."""
LONGEST: Final = 4_000
"""Characters of the longest outcome string read."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Places for the next patients: the regimen counted from 0, and how many."""

    regimen: int
    places: int


@dataclass(frozen=True)
class HandRun:
    """A trial as far as it was run by hand.

    Attributes
    ----------
    study
        The study whose rule decides.
    text
        The outcome string.
    state
        The trial with everything observed so far, before the decision on it takes effect.
    advice
        What the rule says.
    departures
        Where the string left the design, for designs that decide on any counts.
    advisor
        What gave the advice; it remembers the states it has seen.
    seed
        Seed of the draws of designs that randomise.
    """

    study: Study
    text: str
    state: TrialState
    advice: Advice
    departures: tuple[str, ...]
    advisor: Advisor
    seed: int = 1

    @cached_property
    def treated(self) -> tuple[Treated, ...]:
        """Everybody treated so far, in order."""
        people = self.state.participants
        return tuple(Treated(people[i].regimen, _letter(people[i])) for i in sorted(people))

    @cached_property
    def pending(self) -> tuple[int, ...]:
        """Participants with an open window, counted from 0."""
        return tuple(i for i, person in enumerate(self.treated) if person.letter == "P")

    @property
    def asks(self) -> bool:
        """Whether there is something to predict: a decision, or that it has to wait."""
        return bool(self.treated) and (self.advice.decides or self.advice.action == Action.WAIT) and not self.closed

    @property
    def closed(self) -> bool:
        """Whether the trial had ended before the last outcomes came in."""
        return self.state.stage == "closed"

    @cached_property
    def ends(self) -> bool:
        """Whether the decision now due, or one before, ends the trial."""
        return self.closed or (self.advice.decides and self._settled is not None and self._settled.stage == "closed")

    @cached_property
    def _settled(self) -> TrialState | None:
        if not self.advice.decides:
            return None
        state = self.state.fork()
        settle(state, self.advice, drawn_regimen(self.advice, state, Patients(np.zeros(0), self.seed)))
        return state

    @cached_property
    def opening(self) -> Opening | None:
        """Where the next patients go once the decision has taken effect; None while waiting, and at the end."""
        state = self._settled or self.state
        if state.stage == "closed" or state.open_places <= 0:
            return None
        return Opening(state.regimen, state.open_places)

    @property
    def selected(self) -> tuple[int, ...]:
        """What is selected, once escalation has ended."""
        state = self._settled or self.state
        return () if state.withdrawn else state.selected

    @cached_property
    def cohorts(self) -> tuple[tuple[int, int], ...]:
        """(participants, cohort number) of every cohort treated, in order."""
        numbers = [self.state.participants[i].cohort for i in sorted(self.state.participants)]
        return tuple((numbers.count(number), number) for number in dict.fromkeys(numbers))


def _letter(person: Participant) -> str:
    return "M" if person.moderate and person.status == COMPLETE else LETTER_OF[person.status]


def drawn_regimen(advice: Advice, state: TrialState, patients: Patients) -> int:
    """Where the next cohort goes: drawn from its keyed stream when the design randomises."""
    if advice.allocation is None or not sum(advice.allocation):
        return advice.regimen
    return patients.numbers.regimen(advice.allocation, state.cohort - 1)


def advisor_of(study: Study) -> Advisor:
    """Advice as the study's protocol asks for it."""
    protocol = study.protocol
    return Advisor.of(protocol.rule, protocol.escalate_when)


def hand_run(study: Study, text: str, seed: int = 1, advisor: Advisor | None = None) -> HandRun:
    """Read a trial from its outcome string.

    An advisor given again saves working out the decisions it remembers.

    Raises
    ------
    OutcomeError
        For a string that cannot be read, and for a history the design cannot have produced.
    EngineError
        For a design that reads follow-up times, which an outcome string does not hold.
    """
    if study.protocol.rule.design.needs_clock:
        raise EngineError(
            f"{study.protocol.rule.design.title} reads follow-up times, and an outcome string holds none; choose "
            "another design here, or simulate it on the calendar"
        )
    if len(text) > LONGEST:
        raise OutcomeError(f"an outcome string of {len(text):,} characters is too long; use at most {LONGEST:,}")
    advisor = advisor or advisor_of(study)
    replace_lost = study.protocol.evaluability.replace
    replayed = replay(study.protocol.rule, text, advisor=advisor, replace_not_evaluable=replace_lost)
    advice = advisor.advise(replayed.state)
    return HandRun(study, " ".join(text.split()), replayed.state, advice, replayed.departures, advisor, seed)


def again(run: HandRun, text: str) -> HandRun:
    """The same trial with another outcome string."""
    return hand_run(run.study, text, run.seed, run.advisor)


def added(run: HandRun, letters: str) -> HandRun:
    """The trial after the next patients, one letter each; raises OutcomeError when they have no place."""
    opening = run.opening
    if opening is None or not 0 < len(letters) <= opening.places:
        free = 0 if opening is None else opening.places
        raise OutcomeError(f"{len(letters)} patients for {free} open places; treat between 1 and the open places")
    grid = run.study.protocol.grid
    goes_on = not run.advice.decides and bool(run.cohorts) and run.cohorts[-1][1] == run.state.cohort
    new = letters if goes_on else f" {grid.level(opening.regimen)}{letters}"
    return again(run, (run.text + new).strip())


def resolved(run: HandRun, participant: int, letter: str) -> HandRun:
    """The trial with another outcome of one participant, counted from 0."""
    treated = list(run.treated)
    treated[participant] = treated[participant]._replace(letter=letter)
    return again(run, _rewritten(run, treated))


def undone(run: HandRun) -> HandRun:
    """The trial without its last cohort."""
    if not run.cohorts:
        return run
    return again(run, _rewritten(run, list(run.treated[: -run.cohorts[-1][0]])))


def _rewritten(run: HandRun, treated: list[Treated]) -> str:
    """The string of other outcomes at the same regimens, its tokens cut where they were."""
    letters = iter(person.letter for person in treated)
    tokens = []
    for token in run.text.replace(",", " ").split():
        level = level_of(token)
        taken = "".join(letter for _, letter in zip(token[len(level) :], letters, strict=False))
        if taken:
            tokens.append(level + taken)
    return " ".join(tokens)


def before(run: HandRun, participants: int, pending: tuple[int, ...]) -> HandRun:
    """The trial as it stood after some participants, those named (counted from 0) still pending."""
    treated = [
        person._replace(letter="P") if i in pending else person for i, person in enumerate(run.treated[:participants])
    ]
    return again(run, _rewritten(run, treated))


def rolled(run: HandRun, patients: Patients, most: int | None = None) -> HandRun:
    """The trial after the next patients have completed their windows: the open places, or at most so many."""
    opening = run.opening
    if opening is None:
        return run
    first = len(run.treated)
    places = opening.places if most is None else min(opening.places, most)
    return added(run, "".join(patients.letter(first + i, opening.regimen) for i in range(places)))


def followed_up(run: HandRun, patients: Patients) -> HandRun:
    """The trial with every open window completed."""
    treated = [
        person._replace(letter=patients.letter(i, person.regimen)) if person.letter == "P" else person
        for i, person in enumerate(run.treated)
    ]
    return again(run, _rewritten(run, treated))


def to_the_end(run: HandRun, patients: Patients) -> HandRun:
    """The trial run until it ends, every open window completed first."""
    run = followed_up(run, patients)
    while run.opening is not None:
        run = rolled(run, patients)
    return run


def under(study: Study, treated: tuple[Treated, ...], patients: Patients) -> HandRun:
    """The patients treated so far, under another design: those it has a place for, in the order they came.

    Cohorts are filled before their decision takes effect, as in published operating characteristics. Pending
    patients stay pending and those not evaluable stay not evaluable; everybody else's outcome follows from the
    tolerance at the regimen this design gives.
    """
    run = hand_run(study, "", patients.seed)
    while run.opening is not None and len(run.treated) < len(treated):
        first, regimen = len(run.treated), run.opening.regimen
        cohort = enumerate(treated[first : first + run.opening.places], first)
        letters = (each.letter if each.letter in "PX" else patients.letter(i, regimen) for i, each in cohort)
        run = added(run, "".join(letters))
    return run


def look_ahead(run: HandRun) -> list[str]:
    """What the decision will be and on whose outcome it waits; empty when nothing is waited for."""
    grid, window = run.study.protocol.grid, run.study.protocol.dlt_window
    ends = {window.end(grid.schedule(run.treated[i].regimen)) for i in run.pending}
    names = " and ".join(f"{i + 1:03d}" for i in run.pending)
    verb = "completes" if len(run.pending) == 1 else "complete"
    by = f"{verb} by day {ends.pop()}" if len(ends) == 1 else f"{verb} the window"
    awaited = [Awaited(names, None, by)] if run.pending else []
    return dated_outlook(run.advice, grid, awaited, 0 if run.advice.decides else run.state.open_places)


def figure_records(run: HandRun, *, last_decision: bool = True) -> tuple[list[Followed], list[Taken]]:
    """The trial as the figures of trials take it; a participant's number stands for the day.

    Without ``last_decision`` the decision now due is left out, for those who have still to predict it.
    """
    grid = run.study.protocol.grid
    status = {letter: status for status, letter in LETTER_OF.items()} | {"M": "moderate"}
    people, decisions, count = [], [], 0
    for size, cohort in run.cohorts:
        for i in range(count, count + size):
            regimen, letter = run.treated[i]
            outcome: Outcome = status[letter]  # type: ignore[assignment]
            followed = None if letter == "P" else i
            people.append(Followed(f"{i + 1:03d}", grid.level(regimen), cohort, i, (i,), i, outcome, followed))
        count += size
        then = before(run, count, tuple(i for i in run.pending if i < count))
        if then.advice.decides and (last_decision or count < len(run.treated)):
            action = then.advice.action
            level = "" if then.opening is None else grid.level(then.opening.regimen)
            decisions.append(Taken(count, action, level, run.study.protocol.rule.reason(then.advice.reasons[0]).line))
    return people, decisions
