"""BOIN, the Bayesian optimal interval design, along the dose axis or the frequency axis.

The observed DLT rate y/n at the current level is compared with two fixed numbers on either side
of the target phi: at or below lambda_e the design escalates, at or above lambda_d it
de-escalates, in between it stays. The two numbers minimise the chance of a wrong move when the
true DLT probability is phi, phi1 (so low that one should escalate) or phi2 (so high that one
should de-escalate), each as likely as the others::

    lambda_e = log((1-phi1)/(1-phi)) / log(phi (1-phi1) / (phi1 (1-phi)))
    lambda_d = log((1-phi)/(1-phi2)) / log(phi2 (1-phi) / (phi (1-phi2)))

A level with at least three evaluable participants and Pr(p > phi | data) above .95 under a
uniform prior is eliminated with everything above it. When the lowest level is eliminated the
trial ends and nothing is selected. Otherwise the level selected at the end is the one whose
isotonic estimate is closest to phi.

Where the rule departs from the paper, following the authors' released software (R package BOIN
2.7.2), which most protocols cite:

* a DLT count exactly equal to lambda_d n stays (the paper de-escalates). With the default phi1
  and phi2 the product is never whole, so the two cannot differ;
* the de-escalation boundary is lowered to the elimination boundary where that is smaller;
* selection uses y + .05 of n + .1, inverse-variance weights, and 1e-10 per level to break ties:
  among pooled levels the highest below phi, the lowest at or above it.

The FDA's fit-for-purpose determination of 10 December 2021 covers the local BOIN design with a
non-informative prior, assuming that the DLT probability increases with dose. It says nothing of
BOIN along frequencies, of drug combinations, late-onset or backfill versions, nor of the variants
``stay_on_1_of_3``, ``extra_safe`` and ``bound_mtd`` below.

References
----------
Liu S, Yuan Y (2015) J R Stat Soc C 64:507-523, doi:10.1111/rssc.12089.

Examples
--------
Target .30: lambda_e = .236 and lambda_d = .359. One DLT among three (.333) lies in between, so
three more are treated at the level; two among six is the same rate and gives the same answer, and
three among six (.5) sends the next cohort down.

>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> design = Boin(BoinParameters(target=0.30), Setting(grid, cohort_size=3, start=0, max_patients=9))
>>> round(design.lambda_e, 3), round(design.lambda_d, 3)
(0.236, 0.359)
>>> seen = Tally.of(n=[[3, 3, 0], [3, 6, 0], [3, 6, 0]], dlt=[[0, 1, 0], [0, 2, 0], [0, 3, 0]], current=[1, 1, 1])
>>> [Action(action).word for action in design.decide(seen).action]
['stay', 'stay', 'de_escalate']

The decision table for 3, 6 and 9 evaluable participants at a level:

>>> table = design.table()
>>> for n in (3, 6, 9):
...     n, *(column[n - 1] for column in (
...         table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least
...     ))
(3, 0, 2, 3)
(6, 1, 3, 4)
(9, 2, 4, 5)
"""

from __future__ import annotations

from functools import lru_cache
from math import log
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from designs.axis import ladder_along
from escalation.decision import Action, Decisions, Reason
from escalation.design import DecisionTable, Design, Parameters, SafetyProperty, Setting
from escalation.numerics import NEVER, beta_exceedance_boundary, isotonic
from escalation.tally import Bools, Counts, Floats, Tally

_TABLE_SIZE = 200
"""Largest n of the boundary table when the protocol sets no maximum."""

_MINIMUM = 3
"""Evaluable participants a level needs before it can be eliminated."""


class BoinParameters(Parameters):
    """Parameters of BOIN; phi, phi1 and phi2 of the paper are ``target``, ``p_saf`` and ``p_tox``."""

    target: float = Field(default=0.30, ge=0.05, le=0.6, description="phi: target DLT probability, from .05 to .60.")
    p_saf: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="phi1: a DLT probability so low that the trial should escalate; .6 of the target if left out.",
    )
    p_tox: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="phi2: a DLT probability so high that the trial should de-escalate; "
        "1.4 times the target if left out.",
    )
    elimination_certainty: float = Field(
        default=0.95, gt=0.5, lt=1, description="A level is eliminated when Pr(p > target | data) exceeds this."
    )
    stay_on_1_of_3: bool = Field(
        default=False,
        description="One DLT among three stays where the boundaries would de-escalate (targets below about .28). "
        "Elimination still comes first.",
    )
    extra_safe: bool = Field(
        default=False,
        description="Stop already when Pr(p > target | data) at the lowest level exceeds "
        "the elimination certainty less extra_safe_offset.",
    )
    extra_safe_offset: float = Field(
        default=0.05, gt=0, lt=0.5, description="How much sooner the extra-safe rule stops; used with extra_safe."
    )
    bound_mtd: bool = Field(
        default=False, description="Select only a level whose isotonic estimate is at most lambda_d."
    )
    axis: Literal["dose", "frequency"] | None = Field(
        default=None,
        description="The axis to climb. Needed on a grid, where the other axis stays at the starting level.",
    )

    @property
    def phi1(self) -> float:
        """A DLT probability so low that the trial should escalate."""
        return 0.6 * self.target if self.p_saf is None else self.p_saf

    @property
    def phi2(self) -> float:
        """A DLT probability so high that the trial should de-escalate."""
        return 1.4 * self.target if self.p_tox is None else self.p_tox

    @model_validator(mode="after")
    def _ordered(self) -> BoinParameters:
        # closer than a tenth of the target, both lambdas crowd onto it and no count stays
        room = 0.1 * self.target - 1e-12
        if self.target - self.phi1 < room:
            raise ValueError(
                f"p_saf {self.phi1:g} is not below target {self.target:g} by a tenth of it or more: lower p_saf"
            )
        if self.phi2 - self.target < room:
            raise ValueError(
                f"p_tox {self.phi2:g} is not above target {self.target:g} by a tenth of it or more: raise p_tox"
            )
        if self.extra_safe and self.elimination_certainty - self.extra_safe_offset <= 0.5:
            raise ValueError(
                f"extra_safe_offset {self.extra_safe_offset:g} leaves a certainty of .5 or less for stopping: lower it"
            )
        return self


class Boundaries(NamedTuple):
    """Integer boundaries by the number evaluable at a level, n = 0..n_max; NEVER (or -1) where no count decides."""

    escalate: Counts
    """Escalate at this many DLTs or fewer."""
    de_escalate: Counts
    """De-escalate at this many DLTs or more."""
    eliminate: Counts
    """Eliminate the level and all above at this many DLTs or more."""
    stop: Counts
    """Stop at this many DLTs or more at the lowest level: lower than ``eliminate`` under ``extra_safe``."""


def interval(target: float, p_saf: float, p_tox: float) -> tuple[float, float]:
    """The optimal interval (lambda_e, lambda_d) around the target.

    Examples
    --------
    >>> [round(bound, 7) for bound in interval(0.25, 0.15, 0.35)]
    [0.1968009, 0.2983922]
    """
    lower = log((1 - p_saf) / (1 - target)) / log(target * (1 - p_saf) / (p_saf * (1 - target)))
    upper = log((1 - target) / (1 - p_tox)) / log(p_tox * (1 - target) / (target * (1 - p_tox)))
    return lower, upper


@lru_cache(maxsize=64)
def boundaries(parameters: BoinParameters, n_max: int) -> Boundaries:
    """The integer boundaries for n = 0..n_max evaluable participants at a level.

    Examples
    --------
    >>> boundaries(BoinParameters(target=0.25), 6).de_escalate[[3, 6]]
    array([1, 2], dtype=int32)
    >>> boundaries(BoinParameters(target=0.25, stay_on_1_of_3=True), 6).de_escalate[[3, 6]]
    array([2, 2], dtype=int32)
    """
    lambda_e, lambda_d = interval(parameters.target, parameters.phi1, parameters.phi2)
    certainty = parameters.elimination_certainty
    eliminate = beta_exceedance_boundary(n_max, parameters.target, certainty, minimum=_MINIMUM)
    stop = eliminate
    if parameters.extra_safe:
        sooner = certainty - parameters.extra_safe_offset
        stop = beta_exceedance_boundary(n_max, parameters.target, sooner, minimum=_MINIMUM)

    n = np.arange(n_max + 1)
    escalate = np.floor(lambda_e * n).astype(np.int32)
    rate = lambda_d * n
    de_escalate = np.where(np.abs(rate - np.rint(rate)) < 1e-12, np.rint(rate) + 1, np.ceil(rate)).astype(np.int32)
    if parameters.stay_on_1_of_3 and n_max >= 3:
        de_escalate[3] = max(de_escalate[3], 2)
    de_escalate = np.minimum(de_escalate, eliminate)
    # nobody evaluable: no count decides anything
    escalate[0], de_escalate[0] = -1, NEVER
    escalate.setflags(write=False)
    de_escalate.setflags(write=False)
    return Boundaries(escalate, de_escalate, eliminate, stop)


class Boin(Design[BoinParameters]):
    """BOIN along the dose axis or the frequency axis.

    Elimination is read off the counts: nobody is treated at an eliminated level, so its counts,
    and with them the elimination, never change.
    """

    name: ClassVar[str] = "boin"
    title: ClassVar[str] = "BOIN"
    citation: ClassVar[str] = "Liu & Yuan (2015) J R Stat Soc C 64:507-523, doi:10.1111/rssc.12089"
    Parameters = BoinParameters
    any_tally: ClassVar[bool] = True
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "boin.at_or_below_lambda_e",
            "The DLT rate at this level is at or below lambda_e: escalate.",
            "The observed DLT rate is so low that a true rate clearly under the target is the best explanation. "
            "Going one level up is then the move with the smallest chance of being wrong.",
        ),
        Reason(
            "boin.between",
            "The DLT rate at this level lies between lambda_e and lambda_d: stay.",
            "The observed DLT rate is close to the target. Neither moving up nor moving down is supported, so the "
            "next cohort adds information where the design believes the target to be.",
        ),
        Reason(
            "boin.at_or_above_lambda_d",
            "The DLT rate at this level is at or above lambda_d: de-escalate.",
            "The observed DLT rate is so high that a true rate clearly over the target is the best explanation. "
            "The next cohort goes one level down; this level may be tried again if the one below turns out mild, "
            "as long as it is not eliminated.",
        ),
        Reason(
            "boin.eliminated",
            "This level is too toxic and is eliminated with all higher ones: de-escalate.",
            "With at least three evaluable participants, the probability that the DLT rate of this level is above "
            "the target exceeds the elimination certainty. The level and everything above it is closed for the rest "
            "of the trial, and the next cohort goes to the highest level still open.",
        ),
        Reason(
            "boin.at_top",
            "The DLT rate is low enough to escalate, but this is the highest level: stay.",
            "The rule asks for a higher level and the study has none. More participants at the highest level show "
            "whether its DLT rate really is below the target.",
        ),
        Reason(
            "boin.next_eliminated",
            "The DLT rate is low enough to escalate, but the next level is eliminated: stay.",
            "The level above was closed because its DLT rate is almost certainly above the target. The trial stays "
            "at the highest level still open, however mild this level looks.",
        ),
        Reason(
            "boin.at_lowest",
            "The DLT rate asks for a lower level, but this is the lowest: stay.",
            "The observed rate is above lambda_d, yet the data do not rule out that the true rate is acceptable. "
            "The next cohort stays here until the rate falls, or the lowest level is eliminated and the trial ends.",
        ),
        Reason(
            "boin.nobody_yet",
            "Nobody is evaluable at this level yet: treat the cohort here.",
            "The rule compares a DLT rate with its boundaries, and no participant at this level has completed the "
            "DLT window or had a DLT.",
        ),
        Reason(
            "boin.lowest_eliminated",
            "The lowest level is too toxic: the trial stops and nothing is recommended.",
            "With at least three evaluable participants, the probability that the DLT rate of the lowest level is "
            "above the target exceeds the elimination certainty. Every level is closed, so no level can be selected.",
            stop="lowest_too_toxic",
            selects=False,
        ),
        Reason(
            "boin.extra_safe",
            "The lowest level is probably too toxic: under the extra-safe rule the trial stops with no recommendation.",
            "The lowest level is not eliminated by the ordinary rule, but the probability that its DLT rate is above "
            "the target already exceeds the lower certainty the protocol asks for at that level. With no level "
            "below to turn to, the trial ends early rather than treat more participants there.",
            stop="lowest_too_toxic",
            selects=False,
        ),
    )

    def __init__(self, parameters: BoinParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.ladder = ladder_along(setting, parameters.axis)
        self._lambdas = interval(parameters.target, parameters.phi1, parameters.phi2)
        self.n_max = setting.max_patients or _TABLE_SIZE
        self.boundaries = boundaries(parameters, self.n_max)
        self._order = self.grid.at_most.astype(np.float32)

    @property
    def lambda_e(self) -> float:
        """Escalate when the DLT rate at the current level is at or below this."""
        return self._lambdas[0]

    @property
    def lambda_d(self) -> float:
        """De-escalate when the DLT rate at the current level is at or above this."""
        return self._lambdas[1]

    @property
    def lowest(self) -> int:
        return self.ladder.regimens[0]

    @property
    def variant(self) -> str:
        """The switches that are on."""
        parameters = self.parameters
        named = (
            (parameters.stay_on_1_of_3, "stay on 1 of 3"),
            (parameters.extra_safe, "extra safe"),
            (parameters.bound_mtd, "bounded MTD"),
        )
        return ", ".join(name for on, name in named if on)

    def decide(self, tally: Tally) -> Decisions:
        """Compare the DLTs at the current level with the integer boundaries, in every row."""
        bound = self._boundaries_for(tally)
        lowest, top = self.ladder.regimens[0], len(self.ladder) - 1
        level = self.ladder.position(tally.current)
        n, dlt = tally.at_current(tally.n), tally.at_current(tally.dlt)
        # elimination closes everything above, so the open levels are the lowest ones
        n_open = len(self.ladder) - self.eliminated(tally)[:, self.ladder.index].sum(axis=1, dtype=np.int32)
        up, down = dlt <= bound.escalate[n], dlt >= bound.de_escalate[n]
        n_lowest, dlt_lowest = tally.n[:, lowest], tally.dlt[:, lowest]
        early = (dlt_lowest >= bound.stop[n_lowest]) & (dlt_lowest < bound.eliminate[n_lowest])

        # the first case that holds decides
        cases = (
            ("boin.extra_safe", early, Action.STOP, level),
            ("boin.lowest_eliminated", n_open == 0, Action.STOP, level),
            ("boin.eliminated", level >= n_open, Action.DE_ESCALATE, n_open - 1),
            ("boin.nobody_yet", n == 0, Action.STAY, level),
            ("boin.at_top", up & (level == top), Action.STAY, level),
            ("boin.next_eliminated", up & (level + 1 == n_open), Action.STAY, level),
            ("boin.at_or_below_lambda_e", up, Action.ESCALATE, level + 1),
            ("boin.at_lowest", down & (level == 0), Action.STAY, level),
            ("boin.at_or_above_lambda_d", down, Action.DE_ESCALATE, level - 1),
            ("boin.between", np.ones(tally.rows, dtype=bool), Action.STAY, level),
        )
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

    def select(self, tally: Tally) -> Bools:
        """The treated, open level whose isotonic estimate is closest to the target, none when all are closed."""
        levels = self.ladder.index
        usable: Bools = (tally.n[:, levels] > 0) & ~self.eliminated(tally)[:, levels]
        estimate = self._isotonic(tally.n[:, levels], tally.dlt[:, levels], usable)
        # pooled levels have one estimate: a hair per level decides for the highest below the target
        estimate += 1e-10 * np.cumsum(usable, axis=1)
        if self.parameters.bound_mtd:
            usable &= estimate <= self.lambda_d
        distance = np.where(usable, np.abs(estimate - self.parameters.target), np.inf)
        closest = np.argmin(distance, axis=1).astype(np.int32)
        return self.ladder.mark(closest, np.isfinite(distance.min(axis=1)), self.grid.size)

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
        return self.ladder.spread(self._isotonic(n, dlt, n > 0), self.grid.size)

    def table(self) -> DecisionTable:
        """The integer boundaries ``decide`` compares with, for every n from 1 to the maximum."""

        def known(boundary: Counts) -> tuple[int | None, ...]:
            return tuple(None if count == NEVER else int(count) for count in boundary[1:])

        bound = self.boundaries
        return DecisionTable(
            n=tuple(range(1, self.n_max + 1)),
            escalate_if_at_most=known(bound.escalate),
            de_escalate_if_at_least=known(bound.de_escalate),
            eliminate_if_at_least=known(bound.eliminate),
        )

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What BOIN promises about every decision."""
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
        if most <= self.n_max:
            return self.boundaries
        return boundaries(self.parameters, _TABLE_SIZE * (most // _TABLE_SIZE + 1))

    @staticmethod
    def _isotonic(n: Counts, dlt: Counts, use: Bools) -> Floats:
        """Isotonic regression of (y + .05)/(n + .1) over the levels in use, weighted by inverse variance."""
        events, size = dlt + 0.05, n + 0.1
        rate = np.where(use, events / size, 0.0)
        precision = np.where(use, size**2 * (size + 1) / (events * (size - events)), 0.0)
        return isotonic(rate, precision)
