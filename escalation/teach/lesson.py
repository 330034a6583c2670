"""What a lesson is made of: steps with a text, a task and exhibits; the engines work out every right answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from escalation.decision import Action
from escalation.errors import Fault, StudyError
from escalation.report.wording import where_to
from escalation.study import Study
from escalation.teach.hand_run import HandRun, hand_run
from escalation.teach.predictions import Prediction, answer, choices

GIVEN_UP: Final = "!"
"""Kept in place of an answer when the answer was asked for."""


@dataclass(frozen=True)
class Choice:
    """A question with one right option.

    Attributes
    ----------
    asks
        The question.
    options
        What can be chosen.
    right
        Position of the right option, counted from 0.
    """

    asks: str
    options: tuple[str, ...]
    right: int

    def reads(self, given: str) -> bool:
        """Whether a kept answer is one of this question."""
        return given.isdecimal() and len(given) < 4 and int(given) < len(self.options)

    def accepts(self, given: str) -> bool:
        """Whether a kept answer is right."""
        return self.reads(given) and int(given) == self.right

    @property
    def answer(self) -> str:
        """The right answer in words."""
        return self.options[self.right]


@dataclass(frozen=True)
class Number:
    """A question answered by a number.

    Attributes
    ----------
    asks
        The question; it names the precision asked for.
    right
        The number, as the engines give it.
    within
        How far an answer may be from it.
    unit
        Written after the field.
    digits
        Digits after the point when the answer is printed.
    """

    asks: str
    right: float
    within: float
    unit: str = ""
    digits: int = 0

    def reads(self, given: str) -> bool:
        """Whether a kept answer is a number."""
        try:
            return abs(float(given)) < 1e9
        except ValueError:
            return False

    def accepts(self, given: str) -> bool:
        """Whether a kept answer is right to the precision asked for."""
        return self.reads(given) and abs(float(given) - self.right) <= self.within + 1e-9

    @property
    def answer(self) -> str:
        """The right answer in words."""
        return f"{self.right:,.{self.digits}f} {self.unit}".strip()


Task = Choice | Number


@dataclass(frozen=True)
class Figure:
    """A chart: how it is made, what it shows in words for those who cannot see it, and a title."""

    make: Callable[[], Any]
    alt: str
    title: str = ""


@dataclass(frozen=True)
class Listed:
    """A table; the first column heads its row."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Trial:
    """A trial so far, drawn cohort by cohort."""

    run: HandRun


@dataclass(frozen=True)
class Reasons:
    """What the rule says to a trial, with its reasons in both lengths and what it waits for."""

    run: HandRun


Exhibit = Figure | Listed | Trial | Reasons


@dataclass(frozen=True)
class Step:
    """One step of a lesson.

    Attributes
    ----------
    title, text
        What is taught; the text may hold several paragraphs.
    task
        What the student does.
    shown
        Exhibits that stand beside the text.
    hint
        Shown after a wrong answer.
    because
        Why the right answer is right; shown once it is given.
    shown_then
        Exhibits that come with it.
    how
        How the numbers were worked out: ``exact``, or simulated with its error.
    command
        The same on the command line, where there is a command for it.
    study
        The study the step is about.
    """

    title: str
    text: str
    task: Task
    hint: str
    because: str
    study: Study
    shown: tuple[Exhibit, ...] = ()
    shown_then: tuple[Exhibit, ...] = ()
    how: str = "exact"
    command: str = ""


@dataclass(frozen=True)
class Lesson:
    """A sequence of steps on one study.

    Attributes
    ----------
    key
        Name in addresses.
    about
        What a student can do afterwards, in one sentence.
    study
        The preset it is about.
    steps
        Each makes its step for the seed of the class.
    summary
        What to take home, a line each.
    """

    key: str
    title: str
    about: str
    study: str
    steps: tuple[Callable[[int], Step], ...]
    summary: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """The answers a student gave: for every step the attempts, in order.

    As text, steps are separated by ``~`` and attempts by ``_``: ``2_0~1~`` is a step solved at the second
    attempt, one at the first, and one not tried.
    """

    attempts: tuple[tuple[str, ...], ...]

    @classmethod
    def read(cls, text: str, steps: int) -> Progress:
        """Progress from an address, cut or filled to the steps of the lesson."""
        parts = [tuple(filter(None, part.split("_")))[:50] for part in text.split("~")][:steps]
        return cls(tuple(parts + [()] * (steps - len(parts))))

    def __str__(self) -> str:
        return "~".join("_".join(each) for each in self.attempts).rstrip("~")

    def given(self, step: int, attempt: str) -> Progress:
        """With one more attempt at a step."""
        changed = list(self.attempts)
        changed[step] = (*changed[step], attempt)
        return Progress(tuple(changed))

    def done(self, step: int, task: Task) -> bool:
        """Whether a step is solved or was given up."""
        return any(each == GIVEN_UP or task.accepts(each) for each in self.attempts[step])

    def first_time(self, step: int, task: Task) -> bool:
        """Whether the first attempt was right."""
        return bool(self.attempts[step]) and task.accepts(self.attempts[step][0])


def decision(asks: str, study: Study, text: str) -> tuple[Choice, HandRun]:
    """The question what the rule says to a trial: every prediction that can be made, the rule's own among them."""
    run = hand_run(study, text)
    if not run.asks:
        raise StudyError((Fault("lesson", f"nothing is decided after {text!r}", "choose another history"),), study.id)
    right = answer(run)
    offered = [
        Prediction(right.after, right.pending, action, levels)
        for action, listed in choices(run).items()
        for position, levels in enumerate(listed)
        if position < 2 or action != Action.ESCALATE or levels == right.levels
    ]
    return Choice(asks, tuple(said(each, run) for each in offered), offered.index(right)), run


def said(prediction: Prediction, run: HandRun) -> str:
    """A prediction in words."""
    grid = run.study.protocol.grid
    if prediction.action is None:
        return "not predicted"
    if prediction.action == Action.WAIT:
        return "Wait"
    index = {grid.level(k): k for k in range(grid.size)}
    levels = tuple(index[level] for level in prediction.levels if level in index)
    if prediction.action == Action.STOP:
        contour = run.study.protocol.rule.design.selects_contour
        return "Stop" if contour else _capital(where_to(Action.STOP, run.state.regimen, levels, grid))
    return _capital(where_to(prediction.action, levels[0] if levels else run.state.regimen, (), grid))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def of_options(asks: str, options: Sequence[str], right: str) -> Choice:
    """A choice whose right option is named."""
    return Choice(asks, tuple(options), list(options).index(right))


@dataclass(frozen=True)
class Course:
    """A lesson with the patients of one class: its steps, each made once when it is first asked for."""

    lesson: Lesson
    seed: int

    @cached_property
    def _made(self) -> dict[int, Step]:
        return {}

    def step(self, number: int) -> Step:
        """A step, counted from 0."""
        if number not in self._made:
            self._made[number] = self.lesson.steps[number](self.seed)
        return self._made[number]
