"""The engine of the interval designs: a decision table for the current level, with its safety rules.

BOIN, Keyboard, TPI, mTPI, mTPI-2, i3+3, the cumulative cohort design and uploaded tables differ in
one thing only: which counts of DLTs among the evaluable participants at the current level escalate
and which de-escalate. A design states those two boundaries; everything else is here, once:

* a level is eliminated with everything above it when Pr(p > target | data) exceeds a certainty;
  the highest open level is where the trial goes from an eliminated one, and when the lowest level
  is eliminated the trial ends and nothing is selected;
* the de-escalation boundary is lowered to the elimination boundary where that is smaller;
* at the top, below an eliminated level and at the lowest level the trial stays;
* the level selected at the end is the treated, open one whose isotonic estimate is closest to the
  target.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from designs.axis import ladder_along
from designs.boundaries import Boundaries
from designs.selection import IsotonicSelection
from escalation.decision import Action, Decisions, Reason
from escalation.design import DecisionTable, Design, Parameters, SafetyProperty, Setting
from escalation.numerics import NEVER, beta_exceedance_boundary
from escalation.tally import Bools, Counts, Floats, Tally

_TABLE_SIZE = 200
"""Largest n of the boundary table when the protocol sets no maximum."""


class IntervalParameters(Parameters):
    """Parameters every interval design has."""

    target: float = Field(default=0.30, gt=0, lt=1, description="Target DLT probability.")
    elimination_certainty: float | None = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="A level is eliminated when Pr(p > target | data) exceeds this; null switches elimination off.",
    )
    elimination_minimum: int = Field(
        default=3, ge=1, description="Evaluable participants a level needs before it can be eliminated."
    )
    extra_safe: bool = Field(
        default=False,
        description="Stop already when Pr(p > target | data) at the lowest level exceeds "
        "the elimination certainty less extra_safe_offset.",
    )
    extra_safe_offset: float = Field(
        default=0.05, gt=0, lt=0.5, description="How much sooner the extra-safe rule stops; used with extra_safe."
    )
    stop_when_deescalation_impossible: bool = Field(
        default=False,
        description="End the trial with no selection when the table de-escalates at the lowest level, "
        "instead of staying there.",
    )
    selection_prior: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="a of the Beta(a, a) prior of each level's estimate when the MTD is selected.",
    )
    axis: Literal["dose", "frequency"] | None = Field(
        default=None,
        description="The axis to climb. Needed on a grid, where the other axis stays at the starting level.",
    )

    @model_validator(mode="after")
    def _extra_safe_is_possible(self) -> Self:
        if not self.extra_safe:
            return self
        if self.elimination_certainty is None:
            raise ValueError("extra_safe lowers elimination_certainty, which is null: give it a value, for example .95")
        if self.elimination_certainty - self.extra_safe_offset <= 0.5:
            raise ValueError(
                f"extra_safe_offset {self.extra_safe_offset:g} leaves a certainty of .5 or less for stopping: lower it"
            )
        return self


def with_shared_reasons(name: str, *moves: Reason) -> tuple[Reason, ...]:
    """A design's own reasons, and those every interval design gives for the edges unless it words them itself."""
    shared = (
        Reason(
            f"{name}.eliminated",
            "This level is too toxic and is eliminated with all higher ones: de-escalate.",
            "With enough evaluable participants, the probability that the DLT rate of this level is above the target "
            "exceeds the elimination certainty. The level and everything above it is closed for the rest of the "
            "trial, and the next cohort goes to the highest level still open.",
        ),
        Reason(
            f"{name}.at_top",
            "The DLT rate is low enough to escalate, but this is the highest level: stay.",
            "The rule asks for a higher level and the study has none. More participants at the highest level show "
            "whether its DLT rate really is below the target.",
        ),
        Reason(
            f"{name}.next_eliminated",
            "The DLT rate is low enough to escalate, but the next level is eliminated: stay.",
            "The level above was closed because its DLT rate is almost certainly above the target. The trial stays "
            "at the highest level still open, however mild this level looks.",
        ),
        Reason(
            f"{name}.at_lowest",
            "The DLT rate asks for a lower level, but this is the lowest: stay.",
            "The observed rate is high, yet the data do not rule out that the true rate is acceptable. "
            "The next cohort stays here until the rate falls, or the lowest level is eliminated and the trial ends.",
        ),
        Reason(
            f"{name}.nobody_yet",
            "Nobody is evaluable at this level yet: treat the cohort here.",
            "The rule reads the DLTs among the evaluable participants at this level, and none of them has completed "
            "the DLT window or had a DLT.",
        ),
        Reason(
            f"{name}.lowest_eliminated",
            "The lowest level is too toxic: the trial stops and nothing is recommended.",
            "With enough evaluable participants, the probability that the DLT rate of the lowest level is "
            "above the target exceeds the elimination certainty. Every level is closed, so no level can be selected.",
            stop="lowest_too_toxic",
            selects=False,
        ),
        Reason(
            f"{name}.extra_safe",
            "The lowest level is probably too toxic: under the extra-safe rule the trial stops with no recommendation.",
            "The lowest level is not eliminated by the ordinary rule, but the probability that its DLT rate is above "
            "the target already exceeds the lower certainty the protocol asks for at that level. With no level "
            "below to turn to, the trial ends early rather than treat more participants there.",
            stop="lowest_too_toxic",
            selects=False,
        ),
        Reason(
            f"{name}.deescalation_impossible",
            "The DLT rate asks for a level below the lowest: the trial stops with no recommendation.",
            "The protocol does not treat more participants at a level the table would leave downwards. At the lowest "
            "level there is nowhere to go, so the trial ends and no level is recommended.",
            stop="lowest_too_toxic",
            selects=False,
        ),
    )
    own = {reason.code for reason in moves}
    return (*moves, *(reason for reason in shared if reason.code not in own))


P = TypeVar("P", bound=IntervalParameters)


class IntervalDesign(Design[P]):
    """A design that decides from the counts at the current level by an integer table.

    A subclass gives :meth:`limits`, its three ways to move, a catalogue made by
    :func:`with_shared_reasons`, and, where they differ, its priors. Elimination is read off the
    counts: nobody is treated at an eliminated level, so its counts, and with them the
    elimination, never change.
    """

    any_tally: ClassVar[bool] = True
    escalates: ClassVar[str]
    """Reason code of a move one level up."""
    stays: ClassVar[str]
    """Reason code of a table entry that stays."""
    de_escalates: ClassVar[str]
    """Reason code of a move one level down."""
    elimination_prior: ClassVar[tuple[float, float]] = (1.0, 1.0)
    """Beta prior under which a level is eliminated."""

    def __init__(self, parameters: P, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.ladder = ladder_along(setting, parameters.axis)
        self.n_max = self.table_size
        self.boundaries = self.tabulate(parameters, self.n_max)
        self._order = self.grid.at_most.astype(np.float32)

    @classmethod
    @abstractmethod
    def limits(cls, parameters: P, n_max: int) -> tuple[Counts, Counts]:
        """Escalate at so many DLTs or fewer, de-escalate at so many or more, for n = 0..n_max at the current level."""

    @classmethod
    def tabulate(cls, parameters: P, n_max: int) -> Boundaries:
        """The integer boundaries for n = 0..n_max, elimination included."""
        return _tabulated(cls, parameters, n_max)

    @classmethod
    def eliminations(cls, parameters: P, n_max: int) -> tuple[Counts, Counts]:
        """Eliminate, and stop at the lowest level, at so many DLTs or more, for n = 0..n_max at a level."""
        certainty = parameters.elimination_certainty
        if certainty is None:
            never = np.full(n_max + 1, NEVER, dtype=np.int32)
            return never, never

        def beyond(level: float) -> Counts:
            return beta_exceedance_boundary(
                n_max,
                parameters.target,
                level,
                minimum=parameters.elimination_minimum,
                prior=cls.elimination_prior,
            )

        offset = parameters.extra_safe_offset if parameters.extra_safe else 0.0
        return beyond(certainty), beyond(certainty - offset)

    @property
    def table_size(self) -> int:
        """Largest n of the printed table."""
        return self.setting.max_patients or _TABLE_SIZE

    @property
    def lowest(self) -> int:
        return self.ladder.regimens[0]

    @property
    def line(self) -> tuple[int, ...]:
        regimens = self.ladder.regimens
        return regimens[regimens.index(self.start) :]

    @property
    def selection(self) -> IsotonicSelection:
        """How the MTD is estimated at the end."""
        a = self.parameters.selection_prior
        return IsotonicSelection(prior=(a, a))

    @property
    def selection_bound(self) -> float | None:
        """The highest estimate that may be selected, None for no bound."""
        return None

    @property
    def variant(self) -> str:
        """The switches that are on."""
        return ", ".join(self.switches())

    def switches(self) -> Iterator[str]:
        """The switches that are on, each in words."""
        parameters = self.parameters
        if parameters.elimination_certainty is None and self._default("elimination_certainty") is not None:
            yield "no elimination"
        if parameters.elimination_minimum != self._default("elimination_minimum"):
            yield f"elimination from {parameters.elimination_minimum} evaluable"
        if parameters.extra_safe:
            yield "extra safe"
        if parameters.stop_when_deescalation_impossible:
            yield "stops below the lowest level"
        if parameters.selection_prior != self._default("selection_prior"):
            a = f"{parameters.selection_prior:g}"
            yield f"selection under Beta({a}, {a})"

    def _default(self, field: str) -> Any:
        return type(self.parameters).model_fields[field].default

    def decide(self, tally: Tally) -> Decisions:
        """Look the DLTs at the current level up in the table, in every row."""
        cases = self._cases(tally, self._boundaries_for(tally))
        case = np.argmax(np.stack([holds for _, holds, _, _ in cases]), axis=0)
        action = np.array([action for _, _, action, _ in cases], dtype=np.int32)[case]
        target = np.choose(case, [there for _, _, _, there in cases])
        stops = action == Action.STOP
        return Decisions(
            action=action,
            regimen=np.where(stops, tally.current, self.ladder.index[target]).astype(np.int32),
            size=np.where(stops, 0, self.setting.cohort_size).astype(np.int32),
            reason=np.array([self.cite(code) for code, _, _, _ in cases], dtype=np.int32)[case],
        )

    def _cases(self, tally: Tally, bound: Boundaries) -> list[tuple[str, Bools, Action, Counts]]:
        """What can be said of a row, in order: reason, where it holds, action, level. The first that holds decides."""
        parameters, name = self.parameters, self.name
        lowest, top = self.ladder.regimens[0], len(self.ladder) - 1
        level = self.ladder.position(tally.current)
        n, dlt = tally.at_current(tally.n), tally.at_current(tally.dlt)
        # elimination closes everything above, so the open levels are the lowest ones
        n_open = len(self.ladder) - self.eliminated(tally)[:, self.ladder.index].sum(axis=1, dtype=np.int32)
        up, down = dlt <= bound.escalate[n], dlt >= bound.de_escalate[n]
        n_lowest, dlt_lowest = tally.n[:, lowest], tally.dlt[:, lowest]
        early = (dlt_lowest >= bound.stop[n_lowest]) & (dlt_lowest < bound.eliminate[n_lowest])
        cases = [
            (f"{name}.extra_safe", early, Action.STOP, level),
            (f"{name}.lowest_eliminated", n_open == 0, Action.STOP, level),
            (f"{name}.eliminated", level >= n_open, Action.DE_ESCALATE, n_open - 1),
            (f"{name}.nobody_yet", n == 0, Action.STAY, level),
            (f"{name}.at_top", up & (level == top), Action.STAY, level),
            (f"{name}.next_eliminated", up & (level + 1 == n_open), Action.STAY, level),
            (self.escalates, up, Action.ESCALATE, level + 1),
        ]
        if parameters.stop_when_deescalation_impossible:
            cases.append((f"{name}.deescalation_impossible", down & (level == 0), Action.STOP, level))
        return [
            *cases,
            (f"{name}.at_lowest", down & (level == 0), Action.STAY, level),
            (self.de_escalates, down, Action.DE_ESCALATE, level - 1),
            *((code, holds, Action.STAY, level) for code, holds in self._reasons_to_stay(n, dlt)),
        ]

    def _reasons_to_stay(self, n: Counts, dlt: Counts) -> tuple[tuple[str, Bools], ...]:
        """Why a table entry stays: codes and where each holds, the last one everywhere."""
        return ((self.stays, np.ones(len(n), dtype=bool)),)

    def select(self, tally: Tally) -> Bools:
        """The treated, open level whose isotonic estimate is closest to the target, none when all are closed."""
        n, dlt = tally.n[:, self.ladder.index], tally.dlt[:, self.ladder.index]
        usable: Bools = (n > 0) & ~self.eliminated(tally)[:, self.ladder.index]
        level, found = self.selection.closest(n, dlt, usable, self.parameters.target, self.selection_bound)
        return self.ladder.mark(level, found, self.grid.size)

    def eliminated(self, tally: Tally) -> Bools:
        """Regimens whose DLTs reached the elimination boundary, and every regimen at or above one of them."""
        bound = self._boundaries_for(tally)
        reached = tally.dlt >= bound.eliminate[tally.n]
        if self.parameters.extra_safe:
            lowest = self.ladder.regimens[0]
            reached[:, lowest] = tally.dlt[:, lowest] >= bound.stop[tally.n[:, lowest]]
        closed: Bools = reached.astype(np.float32) @ self._order > 0
        return closed

    def isotonic_estimates(self, tally: Tally) -> Floats:
        """DLT probabilities by isotonic regression over all treated levels: (S, K), NaN where nobody was treated.

        Eliminated levels are included here; selection leaves them out.
        """
        n, dlt = tally.n[:, self.ladder.index], tally.dlt[:, self.ladder.index]
        return self.ladder.spread(self.selection.estimates(n, dlt, n > 0), self.grid.size)

    def table(self) -> DecisionTable:
        """The integer boundaries ``decide`` compares with, for every n from 1 to the maximum."""

        def known(boundary: Counts) -> tuple[int | None, ...]:
            return tuple(None if count in (NEVER, -1) else int(count) for count in boundary[1:])

        bound = self.boundaries
        return DecisionTable(
            n=tuple(range(1, len(bound.escalate))),
            escalate_if_at_most=known(bound.escalate),
            de_escalate_if_at_least=known(bound.de_escalate),
            eliminate_if_at_least=known(bound.eliminate),
        )

    def boundaries_to(self, n_max: int) -> tuple[Counts, Counts]:
        bound = self.boundaries if n_max <= self.n_max else self._extended(n_max)
        return bound.escalate, bound.de_escalate

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What every interval design promises about every decision."""
        return (
            SafetyProperty(
                "never treats at or above a regimen whose DLTs reached the elimination boundary",
                self._treats_eliminated,
            ),
            SafetyProperty(
                "never escalates when the DLTs at the current regimen reach the de-escalation boundary",
                self._escalates_on_toxicity,
            ),
            SafetyProperty("never goes up more than one level at a time", self._skips),
        )

    def _treats_eliminated(self, tally: Tally, decisions: Decisions) -> Bools:
        closed = np.take_along_axis(self.eliminated(tally), decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
        broken: Bools = closed & ~decisions.stops
        return broken

    def _escalates_on_toxicity(self, tally: Tally, decisions: Decisions) -> Bools:
        bound = self._boundaries_for(tally)
        toxic = tally.at_current(tally.dlt) >= bound.de_escalate[tally.at_current(tally.n)]
        broken: Bools = toxic & (decisions.action == Action.ESCALATE)
        return broken

    def _skips(self, tally: Tally, decisions: Decisions) -> Bools:
        broken: Bools = self.ladder.position(decisions.regimen) > self.ladder.position(tally.current) + 1
        return broken

    def _boundaries_for(self, tally: Tally) -> Boundaries:
        """The boundaries, extended when more participants were evaluable at a regimen than the protocol planned."""
        most = int(tally.n.max(initial=0))
        return self.boundaries if most <= self.n_max else self._extended(most)

    def _extended(self, most: int) -> Boundaries:
        return self.tabulate(self.parameters, _TABLE_SIZE * (most // _TABLE_SIZE + 1))


@lru_cache(maxsize=64)
def _tabulated(cls: type[IntervalDesign[Any]], parameters: IntervalParameters, n_max: int) -> Boundaries:
    escalate, de_escalate = (boundary.astype(np.int32) for boundary in cls.limits(parameters, n_max))
    eliminate, stop = cls.eliminations(parameters, n_max)
    de_escalate = np.minimum(de_escalate, eliminate)
    escalate = np.minimum(escalate, de_escalate - 1)
    # nobody evaluable: no count decides anything
    escalate[0], de_escalate[0] = -1, NEVER
    return Boundaries(escalate, de_escalate, eliminate, stop).frozen()
