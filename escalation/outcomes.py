"""Outcome strings: a trial so far in one line, such as ``1NNN 2NTN``.

Level, then one letter per participant: N no DLT, T DLT, P pending, X not evaluable, and M for a moderate toxicity
without a DLT, which only rules that read grades tell from N. On one axis the
level stands alone; on a grid it is ``dose.frequency``; on one axis both are accepted. For designs that
read follow-up times a letter may carry days since the first infusion: ``P@14`` is pending and followed
for 14 days, ``T@9`` has had a DLT on day 9. Without days a pending participant has no follow-up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from escalation.advice import Advice, Advisor
from escalation.decision import Action
from escalation.errors import OutcomeError
from escalation.regimens import Regimen, RegimenGrid
from escalation.rule import Rule
from escalation.trial import (
    Decided,
    DltObserved,
    Enrolled,
    Extended,
    ModerateObserved,
    NotEvaluable,
    TrialState,
    WindowCompleted,
)

_TOKEN = re.compile(r"(?P<level>\d+(?:\.\d+)?)(?P<letters>(?:[A-Za-z](?:@\d+)?)+)")
_LETTER = re.compile(r"([A-Za-z])(?:@(\d+))?")
OUTCOMES: Final = {"N": "no DLT", "M": "moderate toxicity", "T": "DLT", "P": "pending", "X": "not evaluable"}
"""What the letters mean."""
_MEANINGS = "N no DLT, T DLT, P pending, X not evaluable, M moderate toxicity without a DLT"


@dataclass(frozen=True, slots=True)
class Cohort:
    """The participants of one token: regimen counted from 0, letters as written, and their days where given."""

    regimen: int
    letters: str
    days: tuple[int | None, ...] = field(default=(), repr=False)


def parse(text: str, grid: RegimenGrid) -> tuple[Cohort, ...]:
    """Read an outcome string; raises OutcomeError naming the token that cannot be read.

    Examples
    --------
    >>> grid = RegimenGrid(doses=(1, 2), schedules=((0,),))
    >>> parse("1NNN 2NT", grid)
    (Cohort(regimen=0, letters='NNN'), Cohort(regimen=1, letters='NT'))
    """
    cohorts = []
    for token in text.replace(",", " ").split():
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise OutcomeError(
                f"{token!r} is not a level followed by letters; write for example "
                f"{'1.1NNN 2.1NTN' if grid.axis == 'grid' else '1NNN 2NTN'} "
                f"({_MEANINGS})"
            )
        marked = _LETTER.findall(match["letters"].upper())
        letters = "".join(letter for letter, _ in marked)
        days = tuple(int(day) if day else None for _, day in marked)
        wrong = sorted(set(letters) - set(OUTCOMES))
        if wrong:
            raise OutcomeError(f"{token!r}: {', '.join(wrong)} is no outcome; use {_MEANINGS}")
        if any(day is not None and letter not in "TP" for letter, day in zip(letters, days, strict=True)):
            raise OutcomeError(f"{token!r}: days stand with P (followed so far) or T (onset of the DLT) only")
        known = days if any(day is not None for day in days) else ()
        cohorts.append(Cohort(_regimen(match["level"], token, grid), letters, known))
    return tuple(cohorts)


def _regimen(level: str, token: str, grid: RegimenGrid) -> int:
    first, dot, second = level.partition(".")
    if dot:
        regimen = Regimen(int(first), int(second))
    elif grid.axis == "grid":
        raise OutcomeError(f"{token!r}: this study has doses and frequencies; write dose.frequency, for example 2.1NNN")
    else:
        regimen = Regimen(1, int(first)) if grid.axis == "frequency" else Regimen(int(first), 1)
    try:
        return grid.index(regimen)
    except OutcomeError as error:
        raise OutcomeError(f"{token!r}: {error}") from None


def letters_read(rule: Rule) -> dict[str, str]:
    """The letters that matter to a rule, with their meanings."""
    return {letter: meaning for letter, meaning in OUTCOMES.items() if letter != "M" or rule.reads_grades}


def level_of(token: str) -> str:
    """The level of one token of an outcome string, whose letters stand without days."""
    return token.upper().rstrip("".join(OUTCOMES))


def text_of(cohorts: Sequence[tuple[int, ...]], grid: RegimenGrid) -> str:
    """The outcome string of (regimen, participants, DLTs) cohorts, the mildest outcomes first.

    A fourth number counts the moderate toxicities of a cohort.
    """
    return " ".join(
        f"{grid.level(k)}{'N' * (size - dlt - sum(more))}{'M' * sum(more)}{'T' * dlt}"
        for k, size, dlt, *more in cohorts
    )


@dataclass(frozen=True, slots=True)
class Replay:
    """A trial read from an outcome string, with the places where it left the design."""

    state: TrialState
    departures: tuple[str, ...]


def replay(rule: Rule, text: str, *, advisor: Advisor | None = None, replace_not_evaluable: bool = True) -> Replay:
    """Fold an outcome string into a trial state, checking it against the rule cohort by cohort.

    A history the rule cannot have produced is refused. Designs whose rule is published for any
    counts (BOIN, CRM) accept it and the departures are listed.

    Raises
    ------
    OutcomeError
        For strings that cannot be read, and for impossible histories.
    """
    advisor = advisor or Advisor(rule)
    state = TrialState(rule, replace_not_evaluable=replace_not_evaluable)
    departures: list[str] = []
    person = 0
    cohorts = parse(text, rule.grid)
    window, today = rule.design.setting.window, 0
    if rule.design.needs_clock:
        # everything is told on one day, on which those without days have been in the trial for their window
        told = [day for cohort in cohorts for day in cohort.days if day is not None]
        today = max([*told, *(window(cohort.regimen) for cohort in cohorts)], default=0)
    for cohort in cohorts:
        days = cohort.days or (None,) * len(cohort.letters)
        for position, (letter, day) in enumerate(zip(cohort.letters, days, strict=True)):
            _make_room(advisor, state, cohort.regimen, person, departures, surplus=position > 0)
            enrolled = max(today - ((day or 0) if letter == "P" else window(cohort.regimen)), 0)
            state.apply(Enrolled(enrolled, person, cohort.regimen))
            if letter == "T":
                state.apply(DltObserved(enrolled + min(day or 0, window(cohort.regimen)), person))
            elif letter in "NM":
                if letter == "M":
                    state.apply(ModerateObserved(today, person))
                state.apply(WindowCompleted(today, person))
            elif letter == "X":
                state.apply(NotEvaluable(today, person, "not evaluable"))
            person += 1
    state.day = today
    return Replay(state, tuple(departures))


def _make_room(
    advisor: Advisor, state: TrialState, regimen: int, person: int, departures: list[str], *, surplus: bool
) -> None:
    """Open a place at the regimen the next participant was treated at.

    ``surplus`` tells that the participant belongs to the same token as the one before: where that
    goes past the cohort the rule asked for, the cohort is taken to have been larger.
    """
    rule, grid = advisor.rule, advisor.rule.grid
    if state.open_places and state.regimen == regimen:
        return
    if advisor.by_clock and state.stage == "escalation":
        # what was known on the day of assignment is not told, so the decision cannot be checked
        if surplus and state.regimen == regimen:
            state.apply(Extended(0, 1))
        else:
            state.apply(Decided(0, Action.STAY.word, regimen, rule.design.setting.cohort_size, ("trial.told",), ()))
        return
    advice = advisor.advise(state)
    who, where = f"participant {person + 1}", grid.level(regimen)
    if state.stage == "closed":
        problem = f"{who} was treated at level {where} after the trial had ended ({', '.join(state.reasons)})"
    elif not advice.decides:
        held = "its cohort has open places" if state.open_places else "outcomes that decide are pending"
        problem = f"{who} was treated at level {where} while level {grid.level(state.regimen)} is open: {held}"
    else:
        allowed = advice.allocation is not None and advice.allocation[regimen] > 0
        problem = f"{who} was treated at level {where}, but the design {_says(advice, grid)}"
        if not (surplus and rule.design.any_tally) or advice.regimen == regimen or allowed:
            settle(state, advice, regimen if allowed else advice.regimen)
            if state.open_places and state.regimen == regimen:
                return
    if not rule.design.any_tally or state.stage != "escalation":
        raise OutcomeError(
            f"impossible history: {problem}. {rule.design.title} is defined on the histories it produces"
        )
    departures.append(problem)
    if surplus and state.regimen == regimen:
        state.apply(Extended(0, 1))
        return
    size = rule.design.setting.cohort_size
    state.apply(Decided(0, Action.STAY.word, regimen, size, ("trial.departure",), ()))


def settle(state: TrialState, advice: Advice, regimen: int) -> None:
    """Let a decision take effect with the regimen a randomised allocation drew."""
    taken = advice.drawing(regimen, state.regimen, state.rule.grid)
    state.apply(Decided(0, taken.action.word, regimen, taken.size, taken.reasons, taken.selected, taken.memory))


def _says(advice: Advice, grid: RegimenGrid) -> str:
    if advice.action == Action.STOP:
        return f"stops here ({', '.join(advice.reasons)})"
    return f"goes to level {grid.level(advice.regimen)} ({', '.join(advice.reasons)})"
