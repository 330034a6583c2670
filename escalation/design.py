"""The design interface: a pure function from what is known to what happens next.

A design author has two doors: subclass :class:`Design` and answer for rows of states at
once, or write a plain function of one state and let
:func:`escalation.one_state.one_state_design` turn it into rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from escalation.decision import Decisions, Reason, catalogue_index
from escalation.regimens import Regimen, RegimenGrid
from escalation.tally import Bools, Counts, Floats, Tally


class Parameters(BaseModel):
    """Base of every design's parameters: validated, frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a design is told about the protocol it works in.

    Attributes
    ----------
    grid
        The regimens.
    cohort_size
        Participants per cohort.
    start
        Regimen of the first cohort, counted from 0.
    max_patients
        Largest number of evaluable participants in escalation, None when the protocol sets none.
    window_days
        (K) last day of the DLT window of each regimen, day 0 being the first infusion; 28 where not said.
    """

    grid: RegimenGrid
    cohort_size: int
    start: int
    max_patients: int | None = None
    window_days: tuple[int, ...] = ()

    def window(self, regimen: int) -> int:
        """Last day of the DLT window of a regimen counted from 0."""
        return self.window_days[regimen] if self.window_days else 28


@dataclass(frozen=True, slots=True)
class DecisionTable:
    """Integer boundaries by the number of evaluable participants at the current regimen.

    None where the decision is never taken. These are the numbers the engine itself compares with.
    """

    n: tuple[int, ...]
    escalate_if_at_most: tuple[int | None, ...]
    de_escalate_if_at_least: tuple[int | None, ...]
    eliminate_if_at_least: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class SafetyProperty:
    """A statement a design makes about its own decisions, checked on every reachable state.

    ``breaks(tally, decisions)`` marks the rows, shape (S,), in which the statement is false.
    """

    name: str
    breaks: Callable[[Tally, Decisions], Bools]


@dataclass(frozen=True, slots=True)
class Estimates:
    """What a design believes about the DLT probabilities, one row per trial.

    Attributes
    ----------
    curve
        (S, K) estimated DLT probabilities, NaN where the design estimates nothing.
    lower, upper
        (S, K) ends of their intervals.
    level
        Probability the intervals hold, such as .9.
    method
        What the estimates and the intervals are, in a few words.
    parameters
        Named numbers the estimates rest on, (S,) each, such as a posterior mean or an overdose probability.
    by_regimen
        Further named probabilities of every regimen, (S, K) each.
    """

    curve: Floats
    lower: Floats
    upper: Floats
    level: float
    method: str
    parameters: dict[str, Floats] = field(default_factory=dict)
    by_regimen: dict[str, Floats] = field(default_factory=dict)


P = TypeVar("P", bound=Parameters)


class Design(ABC, Generic[P]):
    """A dose-escalation design on a given set of regimens.

    Subclasses hold validated parameters and integer tables computed once; they keep no state,
    read no clock and draw no random number.
    """

    name: ClassVar[str]
    """The name under which the design is registered and written in study files."""
    title: ClassVar[str]
    """What the field calls it."""
    citation: ClassVar[str]
    """Where it is published, with DOI."""
    Parameters: ClassVar[type[Parameters]]
    """The parameter model: validation, forms and the reference page come from it."""
    reasons: ClassVar[tuple[Reason, ...]]
    """The catalogue of coded reasons, indexed by ``Decisions.reason``."""

    selects_contour: ClassVar[bool] = False
    """Whether the design selects a dose for each frequency instead of one regimen."""
    uses_last_cohort: ClassVar[bool] = False
    """Whether decisions read ``Tally.cohort_n`` and ``Tally.cohort_dlt``."""
    needs_clock: ClassVar[bool] = False
    """Whether decisions read pending participants and their exposure themselves. Such a design is asked with
    windows open, as soon as somebody waits for a place; without pending participants it must not wait."""
    reads_follow_up: ClassVar[bool] = True
    """Of a design that needs the clock: whether decisions depend on how long the pending participants have been
    followed, and not only on how many there are. Where they do not, decisions are remembered by the counts."""
    chooses_regimen: ClassVar[bool] = True
    """Whether the design chooses among regimens; False for one that watches a single regimen."""
    any_tally: ClassVar[bool] = False
    """Whether the rule is published for any counts, so that a history that departed from it can be decided."""
    memory_size: int = 0
    """Number of whole numbers the design keeps from one decision to the next."""

    def __init__(self, parameters: P, setting: Setting) -> None:
        self.parameters = parameters
        self.setting = setting

    @property
    def grid(self) -> RegimenGrid:
        """The regimens."""
        return self.setting.grid

    @property
    def start(self) -> int:
        """Regimen of the first cohort, counted from 0."""
        return self.setting.start

    @property
    def lowest(self) -> int:
        """The lowest regimen the design can treat, counted from 0: its last refuge."""
        return 0

    @property
    def first_size(self) -> int:
        """Participants of the first cohort."""
        return self.setting.cohort_size

    @property
    def variant(self) -> str:
        """The named variant in force; part of the design's identity in every report."""
        return ""

    @property
    def label(self) -> str:
        """Title and variant, as tables and reports print it."""
        return f"{self.title}, {self.variant}" if self.variant else self.title

    @property
    def target(self) -> float | None:
        """Target DLT probability, None for designs without one."""
        return getattr(self.parameters, "target", None)

    @property
    def own_maximum(self) -> int | None:
        """Largest number of participants the rule itself can treat, None when only the protocol bounds it."""
        return None

    @property
    def line(self) -> tuple[int, ...]:
        """The regimens from the start upwards that a design on one axis climbs; empty on a grid unless it says."""
        return () if self.grid.axis == "grid" else tuple(range(self.start, self.grid.size))

    @property
    def follows_titration(self) -> bool:
        """Whether the rule can go on from levels that single participants have passed."""
        return self.any_tally and not self.needs_clock and bool(self.line)

    @cached_property
    def reason_index(self) -> dict[str, int]:
        """Positions of this design's reason codes."""
        return catalogue_index(self.reasons)

    @abstractmethod
    def decide(self, tally: Tally) -> Decisions:
        """What happens next in every row, each at the end of a cohort."""

    @abstractmethod
    def select(self, tally: Tally) -> Bools:
        """The regimens selected when escalation ends: (S, K), at most one True in a row
        (one per frequency for designs that select a contour), none when nothing is selected."""

    def eliminated(self, tally: Tally) -> Bools:
        """Regimens that may never be treated again: (S, K)."""
        return np.zeros(tally.n.shape, dtype=bool)

    def table(self) -> DecisionTable | None:
        """The decision table, None when decisions depend on more than the counts at the current regimen."""
        return None

    def boundaries_to(self, n_max: int) -> tuple[Counts, Counts] | None:
        """Escalate at so many DLTs or fewer, de-escalate at so many or more, among n = 0..n_max or further evaluable
        participants at the current regimen; None for designs that decide from more than these."""
        return None

    def constants(self) -> dict[str, float | str | list[float]]:
        """Numbers worked out once from the parameters, by name, such as a skeleton; what a protocol would print."""
        return {}

    def estimates(self, tally: Tally) -> Estimates | None:
        """The DLT probabilities the design estimates, with intervals; None for designs that estimate none."""
        return None

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the design promises beyond the properties checked for every design."""
        return ()

    def cite(self, code: str) -> int:
        """The catalogue position of one of this design's reason codes."""
        return self.reason_index[code]

    def regimen(self, index: int) -> Regimen:
        """The 1-based regimen at a position."""
        return self.grid.regimen(index)
