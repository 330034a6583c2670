"""TITE-BOIN, the time-to-event Bayesian optimal interval design, along one axis.

BOIN that decides with windows open. At the current level let n participants have been treated, y
with a DLT, c without one and still in the DLT window, and let STFT be the total follow-up of those c
in windows. The DLT rate is estimated as if all were known, and compared with BOIN's lambda_e and
lambda_d. Two published estimates, which are two designs under one name::

    imputation (2018)   p = (y + r (c - STFT)) / n,   r = (y + phi/2) / (n - c - y + 1 - phi/2)
    ess (2020)          p = y / (n - c + STFT)

The first fills the missing part of the windows with the odds of a DLT among the complete ones, the
second counts a participant for the part of the window that was followed (effective sample size).

In this order: DLTs that would end the trial, eliminate the level or force a lower one even if none
of the pending had a DLT do so at once; accrual is suspended while more than ``max_pending`` of the n
are pending; otherwise the estimate decides. With nobody pending it is BOIN, with its integer
boundaries, and so is the selection at the end. Elimination counts observed DLTs among all treated.

Named variants:

* ``single_dlt_stays``: a single DLT does not de-escalate by the estimate. The table published for
  phi = .20 stays at one DLT among six with up to three pending whatever the follow-up, where the
  2018 formula de-escalates below STFT .47 (two pending) and 1.86 (three). Every other row of the
  table follows the formula;
* ``eliminate_by: estimate`` puts n p DLTs in place of the observed ones into the elimination rule,
  from three evaluable participants on; ``suspend_first`` suspends before the observed DLTs are asked
  whether they alone de-escalate; ``suspend_at_lowest`` suspends accrual instead of staying when the
  estimate asks for a level below the lowest while outcomes are pending. With ``ess`` and these three
  the decisions are those of R package TITEgBOIN.

References
----------
Yuan Y, Lin R, Li D, Nie L, Warren KE (2018) Clin Cancer Res 24:4921-4930, doi:10.1158/1078-0432.CCR-18-0246.
Lin R, Yuan Y (2020) Biostatistics 21:807-824, doi:10.1093/biostatistics/kxz007.

Examples
--------
Target .20, so lambda_e = .157 and lambda_d = .238. Nine treated at level 2, one with a DLT, three
pending: r = 1.1 / 5.9 = .186. With STFT 1.2 the estimate is (1 + .186 x 1.8) / 9 = .148: escalate. With STFT
.5 it is .163: stay.

>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> design = TiteBoin(TiteBoinParameters(target=0.2), Setting(grid, cohort_size=3, start=0, max_patients=30))
>>> seen = Tally.of(
...     n=[[3, 6, 0]] * 2, dlt=[[0, 1, 0]] * 2, current=[1, 1],
...     pending=[[0, 3, 0]] * 2, exposure=[[0, 1.2, 0], [0, 0.5, 0]],
... )
>>> design.rate(seen).round(3)
array([0.148, 0.163])
>>> [Action(action).word for action in design.decide(seen).action]
['escalate', 'stay']
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.special import betainc

from designs.boin import Boin, BoinParameters
from escalation.decision import Action, Decisions, Reason
from escalation.design import Design, Parameters, SafetyProperty, Setting
from escalation.numerics import NEVER
from escalation.tally import Bools, Counts, Floats, Tally

_EXACT = 1e-12
"""Estimates closer to a boundary than this are on it, and a rate on a boundary moves."""


class TiteBoinParameters(Parameters):
    """Parameters of TITE-BOIN; phi, phi1 and phi2 of the papers are ``target``, ``p_saf`` and ``p_tox``."""

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
    estimator: Literal["imputation", "ess"] = Field(
        default="imputation",
        description="Estimate of the DLT rate with windows open: single mean imputation (2018), or the effective "
        "sample size (2020).",
    )
    max_pending: float = Field(
        default=0.5, gt=0, le=1, description="Suspend accrual while more than this share at the level is pending."
    )
    single_dlt_stays: bool = Field(
        default=False, description="A single DLT at the level does not de-escalate by the estimate."
    )
    suspend_at_lowest: bool = Field(
        default=False,
        description="Suspend accrual at the lowest level while outcomes are pending and the estimate asks for a lower.",
    )
    suspend_first: bool = Field(
        default=False,
        description="Suspend accrual with too many pending even where the observed DLTs already ask for a lower level.",
    )
    elimination_certainty: float = Field(
        default=0.95, gt=0.5, lt=1, description="A level is eliminated when Pr(p > target | data) exceeds this."
    )
    eliminate_by: Literal["observed", "estimate"] = Field(
        default="observed",
        description="DLTs that elimination counts among all treated: those observed, or those the estimate stands for.",
    )
    axis: Literal["dose", "frequency"] | None = Field(
        default=None,
        description="The axis to climb. Needed on a grid, where the other axis stays at the starting level.",
    )

    @property
    def boin(self) -> BoinParameters:
        """The parameters of the design it is with every window complete."""
        return BoinParameters(
            target=self.target,
            p_saf=self.p_saf,
            p_tox=self.p_tox,
            elimination_certainty=self.elimination_certainty,
            axis=self.axis,
        )

    @model_validator(mode="after")
    def _a_boin(self) -> TiteBoinParameters:
        _ = self.boin
        return self


_REASONS = (
    Reason(
        "tite_boin.lowest_eliminated",
        "The lowest level is too toxic: the trial stops and nothing is recommended.",
        "With at least three participants treated, the probability that the DLT rate of the lowest level is above "
        "the target exceeds the elimination certainty. Every level is closed, so no level can be selected.",
        stop="lowest_too_toxic",
        selects=False,
    ),
    Reason(
        "tite_boin.eliminated",
        "This level is too toxic and is eliminated with all higher ones: de-escalate.",
        "With at least three participants treated, the probability that the DLT rate of this level is above the "
        "target exceeds the elimination certainty. The level and everything above it is closed for the rest of the "
        "trial, and the next cohort goes to the highest level still open.",
    ),
    Reason(
        "tite_boin.nobody_yet",
        "Nobody was treated at this level yet: treat the cohort here.",
        "The rule compares an estimated DLT rate with its boundaries, and there is nothing to estimate it from.",
    ),
    Reason(
        "tite_boin.certain",
        "The DLTs so far ask for a lower level whatever the pending outcomes: de-escalate.",
        "Even if no pending participant had a DLT, the DLT rate at this level would be at or above lambda_d. "
        "Waiting for the pending outcomes could not change the decision.",
    ),
    Reason(
        "tite_boin.suspended",
        "Too many outcomes at this level are pending: accrual is suspended.",
        "More of the participants at this level are pending than the protocol allows. Too little is known to choose "
        "a level for the next cohort, so accrual waits until enough windows are complete or DLTs have decided.",
    ),
    Reason(
        "tite_boin.suspended_at_lowest",
        "The estimated DLT rate asks for a lower level than the lowest: accrual waits for pending outcomes.",
        "With the outcomes still pending the DLT rate may turn out acceptable or not. There is no lower level to treat "
        "at meanwhile, so accrual waits.",
    ),
    Reason(
        "tite_boin.at_or_below_lambda_e",
        "The estimated DLT rate is at or below lambda_e: escalate.",
        "With what was followed of the open windows taken into account, the DLT rate is so low that a true rate "
        "clearly under the target is the best explanation. The next cohort goes one level up.",
    ),
    Reason(
        "tite_boin.between",
        "The estimated DLT rate lies between lambda_e and lambda_d: stay.",
        "With what was followed of the open windows taken into account, the DLT rate is close to the target. The next "
        "cohort adds information at this level.",
    ),
    Reason(
        "tite_boin.at_or_above_lambda_d",
        "The estimated DLT rate is at or above lambda_d: de-escalate.",
        "With what was followed of the open windows taken into account, the DLT rate is so high that a true rate "
        "clearly over the target is the best explanation. The next cohort goes one level down.",
    ),
    Reason(
        "tite_boin.no_level_up",
        "The estimated DLT rate is low enough to escalate, but no higher level is open: stay.",
        "The rule asks for a higher level, and there is none, or it is eliminated. More participants here show "
        "whether the DLT rate really is below the target.",
    ),
    Reason(
        "tite_boin.no_level_down",
        "The estimated DLT rate asks for a lower level, but this is the lowest: stay.",
        "The estimate is above lambda_d, yet the data do not rule out that the true rate is acceptable. The next "
        "cohort stays here until the rate falls, or the lowest level is eliminated and the trial ends.",
    ),
)

_CASES: tuple[tuple[str, Action], ...] = (
    ("tite_boin.lowest_eliminated", Action.STOP),
    ("tite_boin.eliminated", Action.DE_ESCALATE),
    ("tite_boin.nobody_yet", Action.STAY),
    ("tite_boin.suspended", Action.WAIT),
    ("tite_boin.certain", Action.DE_ESCALATE),
    ("tite_boin.suspended", Action.WAIT),
    ("tite_boin.no_level_up", Action.STAY),
    ("tite_boin.at_or_below_lambda_e", Action.ESCALATE),
    ("tite_boin.suspended_at_lowest", Action.WAIT),
    ("tite_boin.no_level_down", Action.STAY),
    ("tite_boin.at_or_above_lambda_d", Action.DE_ESCALATE),
    ("tite_boin.between", Action.STAY),
)
"""Reasons and actions of the decision in the order its cases are tried."""

_WAIT = int(Action.WAIT)
"""Actions under this one treat."""

_TABLE_SIZE = 200
"""Participants at a level that the boundaries go to at least."""


class TiteBoin(Design[TiteBoinParameters]):
    """TITE-BOIN along the dose axis or the frequency axis; with every window complete it is BOIN."""

    name: ClassVar[str] = "tite_boin"
    title: ClassVar[str] = "TITE-BOIN"
    citation: ClassVar[str] = (
        "Yuan, Lin, Li, Nie & Warren (2018) Clin Cancer Res 24:4921-4930, doi:10.1158/1078-0432.CCR-18-0246"
    )
    Parameters = TiteBoinParameters
    any_tally: ClassVar[bool] = True
    needs_clock: ClassVar[bool] = True
    reasons: ClassVar[tuple[Reason, ...]] = _REASONS

    def __init__(self, parameters: TiteBoinParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        most = max(2 * (setting.max_patients or 0), _TABLE_SIZE)
        self.boin = Boin(parameters.boin, replace(setting, max_patients=most))
        self.ladder = self.boin.ladder
        table = self.boin.table()
        self._escalate, self._de_escalate, self._eliminate = (
            np.array([unreached, *(unreached if bound is None else bound for bound in bounds)], dtype=np.int32)
            for unreached, bounds in (
                (-1, table.escalate_if_at_most),
                (NEVER, table.de_escalate_if_at_least),
                (NEVER, table.eliminate_if_at_least),
            )
        )
        self._order = self.grid.at_most.astype(np.float32)
        self._regimens = self.ladder.index.astype(np.int32)
        self._reasons = np.array([self.cite(code) for code, _ in _CASES], dtype=np.int32)
        self._actions = np.array([action for _, action in _CASES], dtype=np.int32)

    @property
    def lowest(self) -> int:
        return self.boin.lowest

    @property
    def variant(self) -> str:
        """The estimate and the switches that are on."""
        parameters = self.parameters
        named = (
            (parameters.max_pending != 0.5, f"suspends above {parameters.max_pending:.0%} pending"),
            (parameters.single_dlt_stays, "a single DLT stays"),
            (parameters.suspend_at_lowest, "suspends at the lowest level"),
            (parameters.suspend_first, "suspends first"),
            (parameters.eliminate_by == "estimate", "eliminates by the estimate"),
        )
        return ", ".join([parameters.estimator, *(name for on, name in named if on)])

    def boundaries_to(self, n_max: int) -> tuple[Counts, Counts]:
        return self.boin.boundaries_to(n_max)

    def constants(self) -> dict[str, float | str | list[float]]:
        """The boundaries the estimated rate is compared with."""
        return {"lambda_e": self.boin.lambda_e, "lambda_d": self.boin.lambda_d}

    def rate(self, tally: Tally) -> Floats:
        """The estimated DLT rate at the current level, (S,); 0 where nobody was treated."""
        rows = np.arange(tally.rows)
        at = (rows, tally.current)
        return self._rates(tally)[at]

    def decide(self, tally: Tally) -> Decisions:
        """What the DLTs so far make certain, else the estimated rate between BOIN's boundaries, in every row."""
        parameters, rows = self.parameters, np.arange(tally.rows)
        level = self.ladder.position(tally.current)
        treated = tally.n[rows, tally.current] + tally.pending[rows, tally.current]
        dlt, pending = tally.dlt[rows, tally.current], tally.pending[rows, tally.current]
        closed = self.eliminated(tally)[:, self.ladder.index]
        n_open = len(self.ladder) - closed.sum(axis=1, dtype=np.int32)
        most = np.minimum(treated, len(self._escalate) - 1)
        # as if no pending participant had a DLT
        certain = dlt >= self._de_escalate[most]
        rate, waited = self.rate(tally), pending > 0
        up = np.where(waited, rate <= self.boin.lambda_e + _EXACT, dlt <= self._escalate[most])
        single = parameters.single_dlt_stays & (dlt == 1)
        down = certain | (waited & (rate >= self.boin.lambda_d - _EXACT) & ~single)
        many = pending > parameters.max_pending * treated + _EXACT
        lowest = level == 0

        # the first case that holds decides; the reasons of the cases are in _CASES
        cases = (
            (n_open == 0, level),
            (level >= n_open, n_open - 1),
            (treated == 0, level),
            (many & parameters.suspend_first, level),
            (certain & ~lowest, level - 1),
            (many, level),
            (up & (level + 1 >= n_open), level),
            (up, level + 1),
            (down & lowest & waited & parameters.suspend_at_lowest, level),
            (down & lowest, level),
            (down, level - 1),
            (rows >= 0, level),
        )
        case = np.argmax(np.array([holds for holds, _ in cases]), axis=0)
        target = np.array([there for _, there in cases])[case, rows]
        action = self._actions[case]
        treats = action < _WAIT
        return Decisions(
            action=action,
            regimen=np.where(treats, self._regimens[target], tally.current),
            size=np.where(treats, np.int32(self.setting.cohort_size), np.int32(0)),
            reason=self._reasons[case],
        )

    def select(self, tally: Tally) -> Bools:
        """What BOIN selects from the evaluable participants."""
        return self.boin.select(tally)

    def eliminated(self, tally: Tally) -> Bools:
        """Regimens too toxic by the DLTs among all treated, and every regimen at or above one of them."""
        n = tally.n + tally.pending
        reached = tally.dlt >= self._eliminate[np.minimum(n, len(self._eliminate) - 1)]
        if self.parameters.eliminate_by == "estimate" and tally.pending.any():
            events = n * self._rates(tally)
            above = 1.0 - betainc(1 + events, 1 + np.maximum(n - events, 0), self.parameters.target)
            by_estimate = (tally.n >= 3) & (above > self.parameters.elimination_certainty)
            reached = np.where(tally.pending > 0, by_estimate, reached)
        closed: Bools = reached.astype(np.float32) @ self._order > 0
        return closed

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What TITE-BOIN promises about every decision."""
        return (
            SafetyProperty(
                "never treats at or above a regimen whose DLTs reached the elimination boundary",
                self._treats_eliminated,
            ),
            SafetyProperty("never goes up more than one level at a time", self._skips),
            SafetyProperty("never escalates with more of the level pending than allowed", self._escalates_pending),
        )

    def _rates(self, tally: Tally) -> Floats:
        """Estimated DLT rates of every regimen, (S, K); 0 where nobody was treated."""
        treated, dlt, followed = tally.n + tally.pending, tally.dlt, tally.exposure
        if self.parameters.estimator == "ess":
            size = tally.n + followed
            return np.where(size > 0, dlt / np.where(size > 0, size, 1.0), 0.0)
        half = self.parameters.target / 2
        odds = (dlt + half) / (tally.n - dlt + 1 - half)
        rates: Floats = (dlt + odds * (tally.pending - followed)) / np.maximum(treated, 1)
        return rates

    def _treats_eliminated(self, tally: Tally, decisions: Decisions) -> Bools:
        closed = np.take_along_axis(self.eliminated(tally), decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
        broken: Bools = closed & (decisions.size > 0)
        return broken

    def _skips(self, tally: Tally, decisions: Decisions) -> Bools:
        broken: Bools = self.ladder.position(decisions.regimen) > self.ladder.position(tally.current) + 1
        return broken

    def _escalates_pending(self, tally: Tally, decisions: Decisions) -> Bools:
        rows = np.arange(tally.rows)
        pending = tally.pending[rows, tally.current]
        treated = tally.n[rows, tally.current] + pending
        many = pending > self.parameters.max_pending * treated + _EXACT
        broken: Bools = many & (decisions.action == Action.ESCALATE)
        return broken
