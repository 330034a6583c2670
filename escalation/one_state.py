"""The second door for design authors: a plain function of one state, turned into rows.

Levels are counted from 1 here, as everywhere a person writes them. Answers are remembered by
state, so a slow function is asked once for each.

Examples
--------
A design in eight lines: up after a cohort without DLT, stop at the first DLT.

>>> from escalation.decision import Reason
>>> from escalation.design import Parameters, Setting
>>> from escalation.regimens import Regimen, RegimenGrid
>>> from escalation.tally import Tally
>>> CLEAR = Reason("cautious.clear", "No DLT: escalate.", "A cohort without DLT opens the next level.")
>>> SEEN = Reason("cautious.seen", "A DLT was seen: stop.", "The level below is selected.", stop="declared")
>>> TOP = Reason("cautious.top", "The highest level is clear: stop.", "It is selected.", stop="declared")
>>> def decide(state):
...     if state.dlt_at(state.current):
...         return stop("cautious.seen", Regimen(state.current.dose - 1, 1) if state.current.dose > 1 else None)
...     if state.current.dose == state.grid.n_doses:
...         return stop("cautious.top", state.current)
...     return treat(Regimen(state.current.dose + 1, 1), "cautious.clear")
>>> Cautious = one_state_design("cautious", "Cautious", "an example", (CLEAR, SEEN, TOP), decide)
>>> grid = RegimenGrid(doses=(1, 2, 3), schedules=((0,),))
>>> design = Cautious(Parameters(), Setting(grid, cohort_size=3, start=0))
>>> design.decide(Tally.of(n=[[3, 0, 0], [3, 3, 0]], dlt=[[0, 0, 0], [0, 1, 0]], current=[0, 1])).action
array([0, 4], dtype=int32)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, Parameters
from escalation.regimens import Regimen, RegimenGrid
from escalation.tally import Bools, Tally


@dataclass(frozen=True, slots=True)
class OneState:
    """One trial at the end of a cohort, levels counted from 1.

    Attributes
    ----------
    grid, cohort_size
        The regimens, and the protocol's cohort size.
    counts
        For every regimen in array order, its evaluable participants and DLTs.
    current
        The regimen of the cohort just completed.
    cohort
        Its evaluable participants and DLTs.
    """

    grid: RegimenGrid
    cohort_size: int
    counts: tuple[tuple[int, int], ...]
    current: Regimen
    cohort: tuple[int, int]

    def n_at(self, regimen: Regimen) -> int:
        """Evaluable participants at a regimen."""
        return self.counts[self.grid.index(regimen)][0]

    def dlt_at(self, regimen: Regimen) -> int:
        """Participants with a DLT at a regimen."""
        return self.counts[self.grid.index(regimen)][1]


@dataclass(frozen=True, slots=True)
class OneAnswer:
    """The next cohort's regimen, or None with what is selected when the trial stops."""

    regimen: Regimen | None
    reason: str
    size: int | None = None
    selected: Regimen | None = None


def treat(regimen: Regimen, reason: str, size: int | None = None) -> OneAnswer:
    """Treat the next cohort at a regimen; of the protocol's cohort size unless stated."""
    return OneAnswer(regimen, reason, size)


def stop(reason: str, selected: Regimen | None = None) -> OneAnswer:
    """End the trial, with the regimen selected or none."""
    return OneAnswer(None, reason, selected=selected)


Decide = Callable[[OneState], OneAnswer]


class OneStateDesign(Design[Parameters]):
    """A design made from a function of one state."""

    function: Decide

    @cached_property
    def _answers(self) -> dict[OneState, OneAnswer]:
        return {}

    def _answer(self, tally: Tally, row: int) -> OneAnswer:
        counts = tuple(zip(tally.n[row].tolist(), tally.dlt[row].tolist(), strict=True))
        cohort = (int(tally.cohort_n[row]), int(tally.cohort_dlt[row])) if self.uses_last_cohort else (0, 0)
        state = OneState(self.grid, self.setting.cohort_size, counts, self.regimen(int(tally.current[row])), cohort)
        if state not in self._answers:
            self._answers[state] = type(self).function(state)
        return self._answers[state]

    def decide(self, tally: Tally) -> Decisions:
        """The function's answer to every row."""
        answers = [self._answer(tally, row) for row in range(tally.rows)]
        current = tally.current.tolist()
        regimen = np.array(
            [
                here if answer.regimen is None else self.grid.index(answer.regimen)
                for here, answer in zip(current, answers, strict=True)
            ],
            dtype=np.int32,
        )
        stops = np.array([answer.regimen is None for answer in answers], dtype=bool)
        sizes = [0 if a.regimen is None else a.size or self.setting.cohort_size for a in answers]
        return Decisions(
            action=np.where(stops, np.int32(Action.STOP), moves(tally.current, regimen, self.grid.at_most)),
            regimen=regimen,
            size=np.array(sizes, dtype=np.int32),
            reason=np.array([self.cite(answer.reason) for answer in answers], dtype=np.int32),
        )

    def select(self, tally: Tally) -> Bools:
        """What the function selected in every row; nothing in trials it did not stop itself."""
        selected = np.zeros(tally.n.shape, dtype=bool)
        for row in range(tally.rows):
            answer = self._answer(tally, row)
            if answer.selected is not None:
                selected[row, self.grid.index(answer.selected)] = True
        return selected


def one_state_design(
    name: str,
    title: str,
    citation: str,
    reasons: tuple[Reason, ...],
    decide: Decide,
    *,
    parameters: type[Parameters] = Parameters,
    uses_last_cohort: bool = False,
) -> type[OneStateDesign]:
    """A design class from a plain function of one state.

    Parameters
    ----------
    name, title, citation, reasons, parameters
        As for :class:`escalation.design.Design`.
    decide
        The rule; it must depend on its argument alone.
    uses_last_cohort
        Whether the rule reads ``state.cohort``, which is (0, 0) otherwise.
    """
    body: dict[str, Any] = {
        "name": name,
        "title": title,
        "citation": citation,
        "reasons": reasons,
        "Parameters": parameters,
        "uses_last_cohort": uses_last_cohort,
        "function": staticmethod(decide),
        "__doc__": decide.__doc__ or f"{title}, from a function of one state.",
    }
    return type(title.replace(" ", ""), (OneStateDesign,), body)
