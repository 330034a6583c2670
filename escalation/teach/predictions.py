"""Predictions of the next step, made before the reason is shown, and their score.

A prediction is kept as text with the moment it was made: ``6E3`` after six participants, escalate to level 3;
``3p3W`` after three with participant 3 pending, wait; ``9X2`` stop and select level 2; ``3?`` was shown without one.
The right answer is not kept: it is asked of the rule again, on what was known at that moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from escalation.decision import Action
from escalation.errors import OutcomeError
from escalation.report.charts.style import ACTIONS
from escalation.teach.hand_run import HandRun, before

ACTION_OF: Final = {letter: action for action, (letter, _, _) in ACTIONS.items()}
"""Action of every letter predictions are kept under."""
SHOWN: Final = "?"
"""Stands for a prediction that was not made: the reason was asked for first."""
_ENTRY: Final = re.compile(
    r"(?P<after>\d{1,4})(?:p(?P<pending>\d{1,4}(?:-\d{1,4})*))?(?P<letter>[ESDWX?])(?P<levels>[\d.+]*)"
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What somebody expects the rule to say.

    Attributes
    ----------
    after
        Participants treated when it was made.
    pending
        Those of them with an open window, counted from 0.
    action
        The action expected; None when the answer was asked for instead.
    levels
        Where, as outcome strings write levels: the next cohort's, or those selected when the trial stops.
    """

    after: int
    pending: tuple[int, ...]
    action: Action | None
    levels: tuple[str, ...] = ()

    @property
    def moment(self) -> tuple[int, tuple[int, ...]]:
        """When it was made."""
        return self.after, self.pending

    def __str__(self) -> str:
        held = "p" + "-".join(str(i + 1) for i in self.pending) if self.pending else ""
        letter = SHOWN if self.action is None else ACTIONS[self.action][0]
        return f"{self.after}{held}{letter}{'+'.join(self.levels)}"


def written(predictions: Iterable[Prediction]) -> str:
    """Predictions as an address keeps them."""
    return "_".join(str(each) for each in predictions)


def read(text: str) -> tuple[Prediction, ...]:
    """Predictions from an address; raises OutcomeError for an entry that is none."""
    found = []
    for entry in filter(None, text.split("_")):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise OutcomeError(f"{entry[:30]!r} is no prediction; write for example 3E2: after 3, escalate to level 2")
        pending = tuple(int(number) - 1 for number in match["pending"].split("-")) if match["pending"] else ()
        levels = tuple(filter(None, match["levels"].split("+")))
        found.append(Prediction(int(match["after"]), pending, ACTION_OF.get(match["letter"]), levels))
    return tuple(found)


def moment_of(run: HandRun) -> tuple[int, tuple[int, ...]]:
    """The present moment, as predictions name it."""
    return len(run.treated), run.pending


def answer(run: HandRun) -> Prediction:
    """What the rule says now, in the form of a prediction."""
    advice, grid = run.advice, run.study.protocol.grid
    levels: tuple[str, ...]
    if advice.action == Action.STOP:
        contour = run.study.protocol.rule.design.selects_contour  # a dose for each frequency is too much to guess
        levels = () if contour else tuple(grid.level(k) for k in advice.selected)
    elif advice.action == Action.WAIT:
        levels = ()
    else:
        opening = run.opening
        levels = (grid.level(advice.regimen if opening is None else opening.regimen),)
    return Prediction(*moment_of(run), advice.action, levels)


@dataclass(frozen=True, slots=True)
class Marked:
    """A prediction beside what the rule said."""

    prediction: Prediction
    answer: Prediction

    @property
    def right(self) -> bool:
        """Whether the action and the level are those of the rule."""
        return self.prediction == self.answer

    @property
    def action_right(self) -> bool:
        """Whether at least the action is."""
        return self.prediction.action == self.answer.action


def marked(run: HandRun, predictions: Iterable[Prediction]) -> tuple[Marked, ...]:
    """The predictions that belong to this trial, marked by the rule; those of another moment are left out."""
    found = []
    for each in predictions:
        if each.after > len(run.treated) or any(not 0 <= i < each.after for i in each.pending):
            continue
        try:
            then = before(run, each.after, each.pending)
        except OutcomeError:
            continue
        if then.asks and moment_of(then) == each.moment:
            found.append(Marked(each, answer(then)))
    return tuple(found)


def choices(run: HandRun) -> dict[Action, tuple[tuple[str, ...], ...]]:
    """What can be predicted now: every action with the levels it can lead to, nearest first."""
    grid, here = run.study.protocol.grid, run.state.regimen
    order = grid.at_most
    distance = abs(grid.dose_of - grid.dose_of[here]) + abs(grid.frequency_of - grid.frequency_of[here])
    nearest = sorted(range(grid.size), key=lambda k: (int(distance[k]), k))
    found: dict[Action, tuple[tuple[str, ...], ...]] = {}
    up = [k for k in nearest if not order[k, here]]
    down = [k for k in nearest if order[k, here] and k != here]
    if up:
        found[Action.ESCALATE] = tuple((grid.level(k),) for k in up)
    found[Action.STAY] = ((grid.level(here),),)
    if down:
        found[Action.DE_ESCALATE] = tuple((grid.level(k),) for k in down)
    if run.pending:
        found[Action.WAIT] = ((),)
    tried = sorted({person.regimen for person in run.treated})
    single = tuple((grid.level(k),) for k in reversed(tried))
    contour = run.study.protocol.rule.design.selects_contour
    found[Action.STOP] = ((),) if contour else (*single, ())
    return found
