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

What the package takes as further arguments belongs to any design here, and stands in the protocol:

* ``n.earlystop`` is the guard ``stop_at_n`` with ``rule: reached_and_stay`` (its other two meanings,
  ``reached`` and ``next_regimen_full``, are those of the Keyboard package and of the waterfall);
* ``titration`` is the stage ``protocol.titration``;
* the package's smaller last cohort is ``protocol.last_cohort: partial``.

References
----------
Liu S, Yuan Y (2015) J R Stat Soc C 64:507-523, doi:10.1111/rssc.12089.

Examples
--------
Target .30: lambda_e = .236 and lambda_d = .359. One DLT among three (.333) lies in between, so
three more are treated at the level; two among six is the same rate and gives the same answer, and
three among six (.5) sends the next cohort down.

>>> from designs.boin import Boin, BoinParameters
>>> from escalation.decision import Action
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
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

from collections.abc import Iterator
from math import log
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from designs.interval import IntervalDesign, IntervalParameters, with_shared_reasons
from escalation.decision import Reason
from escalation.design import Setting
from escalation.tally import Counts


class BoinParameters(IntervalParameters):
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
    stay_on_1_of_3: bool = Field(
        default=False,
        description="One DLT among three stays where the boundaries would de-escalate (targets below about .28). "
        "Elimination still comes first.",
    )
    bound_mtd: bool = Field(
        default=False, description="Select only a level whose isotonic estimate is at most lambda_d."
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
    def _ordered(self) -> Self:
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
        return self


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


class Boin(IntervalDesign[BoinParameters]):
    """BOIN along the dose axis or the frequency axis."""

    name: ClassVar[str] = "boin"
    title: ClassVar[str] = "BOIN"
    citation: ClassVar[str] = "Liu & Yuan (2015) J R Stat Soc C 64:507-523, doi:10.1111/rssc.12089"
    Parameters = BoinParameters
    escalates: ClassVar[str] = "boin.at_or_below_lambda_e"
    stays: ClassVar[str] = "boin.between"
    de_escalates: ClassVar[str] = "boin.at_or_above_lambda_d"
    reasons: ClassVar[tuple[Reason, ...]] = with_shared_reasons(
        "boin",
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
    )

    def __init__(self, parameters: BoinParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self._lambdas = interval(parameters.target, parameters.phi1, parameters.phi2)

    @classmethod
    def limits(cls, parameters: BoinParameters, n_max: int) -> tuple[Counts, Counts]:
        """The boundaries of lambda_e n and lambda_d n.

        Examples
        --------
        >>> Boin.tabulate(BoinParameters(target=0.25), 6).de_escalate[[3, 6]]
        array([1, 2], dtype=int32)
        >>> Boin.tabulate(BoinParameters(target=0.25, stay_on_1_of_3=True), 6).de_escalate[[3, 6]]
        array([2, 2], dtype=int32)
        """
        lambda_e, lambda_d = interval(parameters.target, parameters.phi1, parameters.phi2)
        n = np.arange(n_max + 1)
        rate = lambda_d * n
        exact = np.abs(rate - np.rint(rate)) < 1e-12
        de_escalate = np.where(exact, np.rint(rate) + 1, np.ceil(rate)).astype(np.int32)
        if parameters.stay_on_1_of_3 and n_max >= 3:
            de_escalate[3] = max(de_escalate[3], 2)
        return np.floor(lambda_e * n).astype(np.int32), de_escalate

    @property
    def lambda_e(self) -> float:
        """Escalate when the DLT rate at the current level is at or below this."""
        return self._lambdas[0]

    @property
    def lambda_d(self) -> float:
        """De-escalate when the DLT rate at the current level is at or above this."""
        return self._lambdas[1]

    @property
    def selection_bound(self) -> float | None:
        """lambda_d under ``bound_mtd``."""
        return self.lambda_d if self.parameters.bound_mtd else None

    def switches(self) -> Iterator[str]:
        """The switches that are on, each in words."""
        if self.parameters.stay_on_1_of_3:
            yield "stay on 1 of 3"
        yield from super().switches()
        if self.parameters.bound_mtd:
            yield "bounded MTD"
