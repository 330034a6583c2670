"""What the interval designs for the dose-by-frequency grid share: BOIN-combination and Keyboard-combination.

The counts at the current regimen are looked up in the boundaries of the one-axis design. To escalate,
the design looks one dose up and one frequency up, to de-escalate one down on each; the neighbour goes
first whose DLT probability lies in the favoured interval with the greater posterior probability.
Never are both axes moved at once. Equally good neighbours are a declared randomisation: the decision
carries the probabilities, and whoever conducts the trial draws.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field
from scipy.special import betainc

from designs.boundaries import Boundaries, boundaries_by_cohort
from escalation.decision import Action, Decisions, Reason
from escalation.design import Design, Parameters, SafetyProperty, Setting
from escalation.partial_order import matrix_isotonic
from escalation.tally import Bools, Counts, Floats, Indices, Tally

_TABLE_SIZE = 200
_PER_PARTICIPANT = 0.0005
"""What every evaluable participant adds to a neighbour's score, so that of equals the better known goes first."""
_PER_LEVEL = 1e-5
"""What every level adds to an estimate, so that of pooled regimens the lowest at or above the target is closest."""


class GridIntervalParameters(Parameters):
    """Parameters the interval designs for the grid have in common."""

    target: float = Field(default=0.30, ge=0.05, le=0.6, description="Target DLT probability, from .05 to .60.")
    elimination_certainty: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="A regimen and all at or above it are eliminated when Pr(p > target | data) exceeds this.",
    )
    elimination_minimum: int = Field(
        default=3, ge=1, description="Evaluable participants a regimen needs before it can be eliminated."
    )
    extra_safe: bool = Field(
        default=False,
        description="Stop already when Pr(p > target | data) at the lowest regimen exceeds "
        "the elimination certainty less extra_safe_offset.",
    )
    extra_safe_offset: float = Field(
        default=0.05, gt=0, lt=0.5, description="How much sooner the extra-safe rule stops; used with extra_safe."
    )
    ties: Literal["random", "dose_first", "frequency_first"] = Field(
        default="random",
        description="Which of two equally good neighbours is treated: drawn with equal probabilities, the next dose, "
        "or the next frequency.",
    )
    select_elimination: Literal["rectangle", "cross"] = Field(
        default="rectangle",
        description="What selection closes around an eliminated regimen: everything at or above it, or, as the "
        "R packages do, only the same dose at higher frequencies and the same frequency at higher doses.",
    )
    round_estimates: bool = Field(
        default=False,
        description="Round the isotonic estimates to two decimals before comparing them with the target, as the "
        "exported selection functions of the R packages do.",
    )


def with_grid_reasons(name: str, *moves: Reason) -> tuple[Reason, ...]:
    """A design's own reasons to move or stay, and those both designs give for the edges of the grid."""
    return (
        *moves,
        Reason(
            f"{name}.eliminated",
            "This regimen is too toxic and is eliminated with all above it: de-escalate.",
            "With enough evaluable participants, the probability that the DLT rate of this regimen is above the "
            "target exceeds the elimination certainty. It and every regimen with at least its dose and at least its "
            "frequency are closed for the rest of the trial. The next cohort goes one dose or one frequency down.",
        ),
        Reason(
            f"{name}.nowhere_up",
            "The DLT rate is low enough to escalate, but no higher neighbour is open: stay.",
            "The rule asks for a higher dose or a higher frequency. Both are outside the grid, eliminated, or "
            "blocked, so the next cohort is treated here again.",
        ),
        Reason(
            f"{name}.at_lowest",
            "The DLT rate asks for a lower regimen, but this is the lowest: stay.",
            "The observed rate is high, yet the data do not rule out that the true rate is acceptable. "
            "The next cohort stays here until the rate falls, or the lowest regimen is eliminated and the trial ends.",
        ),
        Reason(
            f"{name}.nobody_yet",
            "Nobody is evaluable at this regimen yet: treat the cohort here.",
            "The rule reads the DLTs among the evaluable participants at this regimen, and none of them has "
            "completed the DLT window or had a DLT.",
        ),
        Reason(
            f"{name}.lowest_eliminated",
            "The lowest regimen is too toxic: the trial stops and nothing is recommended.",
            "With enough evaluable participants, the probability that the DLT rate of the lowest regimen is above "
            "the target exceeds the certainty the protocol asks for. Every regimen is at least as toxic, so none "
            "can be selected.",
            stop="lowest_too_toxic",
            selects=False,
        ),
    )


P = TypeVar("P", bound=GridIntervalParameters)


class GridIntervalDesign(Design[P]):
    """An interval design on the dose-by-frequency grid that selects one regimen.

    A subclass gives the boundaries and the favoured interval of its one-axis parent, its three ways
    to move, and a catalogue made by :func:`with_grid_reasons`.
    """

    any_tally: ClassVar[bool] = True
    escalates: ClassVar[str]
    stays: ClassVar[str]
    de_escalates: ClassVar[str]

    def __init__(self, parameters: P, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.n_max = setting.max_patients or _TABLE_SIZE
        self.boundaries = self.tabulate(self.n_max)
        self._order = self.grid.at_most.astype(np.float32)

    @abstractmethod
    def tabulate(self, n_max: int) -> Boundaries:
        """The integer boundaries of the one-axis design for n = 0..n_max, elimination included."""

    @property
    @abstractmethod
    def favoured(self) -> tuple[float, float]:
        """The interval of DLT probabilities a neighbour is judged by."""

    @property
    def selection_bound(self) -> float | None:
        """Only estimates below this may be selected; None for no bound."""
        return None

    @property
    def variant(self) -> str:
        """The switches that are on."""
        return ", ".join(self.switches())

    def switches(self) -> Iterator[str]:
        """The switches that are on, each in words."""
        parameters = self.parameters
        if parameters.ties != "random":
            yield f"ties: {parameters.ties.replace('_', ' ')}"
        if parameters.extra_safe:
            yield "extra safe"
        if parameters.select_elimination == "cross":
            yield "selection closes a cross"
        if parameters.round_estimates:
            yield "rounded estimates"

    def decide(self, tally: Tally) -> Decisions:
        """Look the DLTs at the current regimen up in the table, and choose the neighbour, in every row."""
        bound, name = self._boundaries_for(tally), self.name
        n, dlt = tally.at_current(tally.n), tally.at_current(tally.dlt)
        lowest_n, lowest_dlt = tally.n[:, 0], tally.dlt[:, 0]
        higher, lower = self._chances(tally, self._above(tally)), self._chances(tally, self._below(tally.current))
        up, down = dlt <= bound.escalate[n], dlt >= bound.de_escalate[n]
        out = dlt >= bound.eliminate[n]
        cases: list[tuple[str, Bools, Action, Floats | None]] = [
            (f"{name}.lowest_eliminated", lowest_dlt >= bound.stop[lowest_n], Action.STOP, None),
            (f"{name}.nobody_yet", n == 0, Action.STAY, None),
            (f"{name}.nowhere_up", up & ~higher.any(axis=1), Action.STAY, None),
            (self.escalates, up, Action.ESCALATE, higher),
            (f"{name}.at_lowest", down & ~lower.any(axis=1), Action.STAY, None),
            (f"{name}.eliminated", out, Action.DE_ESCALATE, lower),
            (self.de_escalates, down, Action.DE_ESCALATE, lower),
            (self.stays, np.ones(tally.rows, dtype=bool), Action.STAY, None),
        ]
        case = np.argmax(np.stack([holds for _, holds, _, _ in cases]), axis=0)
        here = np.zeros((tally.rows, self.grid.size))
        here[np.arange(tally.rows), tally.current] = 1.0
        chances = np.choose(case[:, None], [here if there is None else there for _, _, _, there in cases])
        action = np.array([action for _, _, action, _ in cases], dtype=np.int32)[case]
        stops = action == Action.STOP
        regimen = np.argmax(chances, axis=1)
        return Decisions(
            action=action,
            regimen=np.where(stops, tally.current, regimen).astype(np.int32),
            size=np.where(stops, 0, self.setting.cohort_size).astype(np.int32),
            reason=np.array([self.cite(code) for code, _, _, _ in cases], dtype=np.int32)[case],
            allocation=np.where(stops[:, None], 0.0, chances) if self.parameters.ties == "random" else None,
        )

    # neighbours -----------------------------------------------------------------------------------

    @cached_property
    def _steps(self) -> Indices:
        """(K, 4) the neighbours one dose up, one frequency up, one dose down, one frequency down; K where none is."""
        grid, size = self.grid, self.grid.size
        k = np.arange(size)
        return np.stack(
            [
                np.where(grid.dose_of + 1 < grid.n_doses, k + 1, size),
                np.where(grid.frequency_of + 1 < grid.n_frequencies, k + grid.n_doses, size),
                np.where(grid.dose_of > 0, k - 1, size),
                np.where(grid.frequency_of > 0, k - grid.n_doses, size),
            ],
            axis=1,
        )

    def _above(self, tally: Tally) -> Indices:
        """(S, 2) the open neighbours one dose and one frequency up, K where none is."""
        steps = self._steps[tally.current, :2].copy()
        closed = np.concatenate([self.eliminated(tally), np.zeros((tally.rows, 1), dtype=bool)], axis=1)
        shut = np.take_along_axis(closed, steps, axis=1) | self.blocked(tally)
        return np.where(shut, self.grid.size, steps)

    def _below(self, current: Counts) -> Indices:
        """(S, 2) the neighbours one dose and one frequency down, K where none is."""
        below: Indices = self._steps[current, 2:]
        return below

    def blocked(self, tally: Tally) -> Bools:
        """Steps up, by dose and by frequency, that a variant of the design forbids: (S, 2)."""
        return np.zeros((tally.rows, 2), dtype=bool)

    def _chances(self, tally: Tally, neighbours: Indices) -> Floats:
        """Probabilities with which the neighbours are treated next, (S, K); all zero where there is none."""
        size, rows = self.grid.size, np.arange(tally.rows)
        there = neighbours < size
        at = np.minimum(neighbours, size - 1)
        score = self._scores_for(tally)[
            np.take_along_axis(tally.n, at, axis=1), np.take_along_axis(tally.dlt, at, axis=1)
        ]
        score = np.where(there, score, -np.inf)
        best = there & (score == score.max(axis=1, keepdims=True))  # equal counts give equal scores to the last bit
        if self.parameters.ties != "random":
            first = 0 if self.parameters.ties == "dose_first" else 1
            best[:, 1 - first] &= ~best[:, first]
        share = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
        chances = np.zeros((tally.rows, size + 1))
        for column in range(2):
            chances[rows, neighbours[:, column]] += share[:, column]
        whole: Floats = chances[:, :size]
        return whole

    @cached_property
    def _scores(self) -> Floats:
        return _scored(self.n_max, self.favoured)

    def _scores_for(self, tally: Tally) -> Floats:
        most = int(tally.n.max(initial=0))
        return self._scores if most <= self.n_max else _scored(_beyond(most), self.favoured)

    def boundaries_to(self, n_max: int) -> tuple[Counts, Counts]:
        bound = self.boundaries if n_max <= self.n_max else self.tabulate(_beyond(n_max))
        return bound.escalate, bound.de_escalate

    def constants(self) -> dict[str, float | str | list[float]]:
        """The boundaries by the number evaluable at the current regimen."""
        return boundaries_by_cohort(self.boundaries, self.setting.cohort_size)

    def _boundaries_for(self, tally: Tally) -> Boundaries:
        """The boundaries, extended when more participants were evaluable at a regimen than the protocol planned."""
        most = int(tally.n.max(initial=0))
        return self.boundaries if most <= self.n_max else self.tabulate(_beyond(most))

    # elimination and selection --------------------------------------------------------------------

    def _reached(self, tally: Tally) -> Bools:
        """Regimens whose own counts reached the elimination boundary: (S, K)."""
        bound = self._boundaries_for(tally)
        reached: Bools = tally.dlt >= bound.eliminate[tally.n]
        if self.parameters.extra_safe:
            reached[:, 0] |= tally.dlt[:, 0] >= bound.stop[tally.n[:, 0]]
        return reached

    def eliminated(self, tally: Tally) -> Bools:
        """Regimens whose DLTs reached the elimination boundary, and every regimen at or above one of them."""
        closed: Bools = self._reached(tally).astype(np.float32) @ self._order > 0
        return closed

    def isotonic_estimates(self, tally: Tally) -> Floats:
        """DLT probabilities by isotonic regression over the whole grid: (S, K).

        Of y DLTs among n, (y + .05) / (n + .1) enters with weight n + .1; untreated and eliminated regimens are
        smoothed along with the rest.
        """
        weight: Floats = tally.n.astype(np.float64) + 0.1
        fit = matrix_isotonic((tally.dlt + 0.05) / weight, weight, self.grid.shape)
        return np.round(fit, 2) if self.parameters.round_estimates else fit

    def select(self, tally: Tally) -> Bools:
        """The treated, open regimen whose estimate is closest to the target; none when the lowest is eliminated.

        Of regimens that stay equally close the one with the lowest dose is selected.
        """
        level = _PER_LEVEL * (self.grid.dose_of + self.grid.frequency_of + 2)
        usable = (tally.n > 0) & ~self._closed_to_selection(tally)
        estimate = self.isotonic_estimates(tally)
        if self.selection_bound is not None:
            usable &= estimate + level < self.selection_bound
        distance = np.where(usable, np.abs(estimate + level - self.parameters.target), np.inf)
        chosen = np.zeros(usable.shape, dtype=bool)
        found = usable.any(axis=1) & ~self._reached(tally)[:, 0]
        by_dose = np.argsort(self.grid.dose_of, kind="stable")
        chosen[np.flatnonzero(found), by_dose[np.argmin(distance[:, by_dose], axis=1)[found]]] = True
        return chosen

    def _closed_to_selection(self, tally: Tally) -> Bools:
        if self.parameters.select_elimination == "rectangle":
            return self.eliminated(tally)
        cells = self._reached(tally).reshape(-1, *self.grid.shape)
        # only the first eliminated dose of a frequency closes its dose at higher frequencies
        first = cells & (np.cumsum(cells, axis=2) == 1)
        closed: Bools = np.logical_or.accumulate(first, axis=1) | np.logical_or.accumulate(first, axis=2)
        return closed.reshape(tally.rows, -1)

    # promises -------------------------------------------------------------------------------------

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the design promises about every decision."""
        return (
            SafetyProperty(
                "never treats at or above a regimen whose DLTs reached the elimination boundary",
                self._treats_eliminated,
            ),
            SafetyProperty("never moves dose and frequency at once, nor more than one level", self._leaps),
        )

    def _treats_eliminated(self, tally: Tally, decisions: Decisions) -> Bools:
        closed = np.take_along_axis(self.eliminated(tally), decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
        broken: Bools = closed & ~decisions.stops
        return broken

    def _leaps(self, tally: Tally, decisions: Decisions) -> Bools:
        grid, here, there = self.grid, tally.current, decisions.regimen
        far: Bools = (
            np.abs(grid.dose_of[there] - grid.dose_of[here])
            + np.abs(grid.frequency_of[there] - grid.frequency_of[here])
            > 1
        )
        return far & ~decisions.stops


def _beyond(most: int) -> int:
    return _TABLE_SIZE * (most // _TABLE_SIZE + 1)


def _scored(n_max: int, interval: tuple[float, float]) -> Floats:
    """Posterior probability of an interval under a Beta(.5, .5) prior and the bonus for n: (n_max + 1, n_max + 1)."""
    n, dlt = np.meshgrid(np.arange(n_max + 1), np.arange(n_max + 1), indexing="ij")
    a, b = 0.5 + np.minimum(dlt, n), 0.5 + n - np.minimum(dlt, n)
    inside: Any = betainc(a, b, interval[1]) - betainc(a, b, interval[0])
    scored: Floats = inside + _PER_PARTICIPANT * n
    return scored
