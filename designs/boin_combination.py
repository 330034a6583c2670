"""BOIN-combination: BOIN on the dose-by-frequency grid, finding one regimen.

At the current regimen the boundaries are those of BOIN. To escalate, one dose up and one frequency up
are compared by the posterior probability Pr(lambda_e < p < lambda_d | data) under a Beta(.5, .5)
prior, plus .0005 for every evaluable participant there; to de-escalate, one dose down and one frequency
down. The best neighbour is treated next; equally good ones are drawn with equal probabilities, or
chosen by ``ties``. A regimen with Pr(p > target | data) above .95 under a uniform prior, and at
least three evaluable participants, is eliminated with every regimen at or above it. The regimen selected
at the end is the treated, open one whose estimate by isotonic regression over the grid is closest to the
target.

The design was published for two drugs. Here the second axis is the frequency of infusions of one
product; the order it relies on (not less toxic with more dose or more infusions) is the same.

Departures from the paper follow the authors' released software (R package BOIN 2.7.2), and where its
functions differ among themselves a switch names the difference:

* ``block: conduct`` is the package's function for the next combination (``next.comb``), which does not
  escalate into a frequency (or dose) where some tried regimen at up to the current dose (or frequency)
  shows a rate of lambda_d or more; ``simulate``, the default and the paper's rule, is its simulator
  (``get.oc.comb``), which has no such check;
* ``select_elimination: cross`` and ``round_estimates`` reproduce its selection function
  (``select.mtd.comb``).

``n.earlystop`` is the guard ``stop_at_n``; its rule ``reached_and_stay`` is that of the simulator,
``reached`` that of the function for the next combination.

References
----------
Lin R, Yin G (2017) Stat Methods Med Res 26:2155-2167, doi:10.1177/0962280215594494.

Examples
--------
Three doses by two frequencies, nobody had a DLT in the first cohort: one dose up and one frequency
up are untried and equally good.

>>> from designs.boin_combination import BoinCombination, BoinCombinationParameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
>>> grid = RegimenGrid(doses=(1, 2, 4), schedules=((0,), (0, 7)), unit="mg")
>>> design = BoinCombination(BoinCombinationParameters(), Setting(grid, cohort_size=3, start=0, max_patients=30))
>>> decided = design.decide(Tally.of(n=[[3, 0, 0, 0, 0, 0]], dlt=[[0, 0, 0, 0, 0, 0]], current=[0]))
>>> grid.matrix(decided.allocation[0])
[[0.0, 0.5, 0.0], [0.5, 0.0, 0.0]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from designs.boin import Boin, BoinParameters, interval
from designs.boundaries import Boundaries
from designs.grid_interval import GridIntervalDesign, GridIntervalParameters, with_grid_reasons
from escalation.decision import Reason
from escalation.tally import Bools, Tally


class BoinCombinationParameters(GridIntervalParameters):
    """Parameters of BOIN-combination; phi, phi1 and phi2 are ``target``, ``p_saf`` and ``p_tox``."""

    p_saf: float | None = Field(
        default=None, gt=0, lt=1, description="phi1: so low that the trial should escalate; .6 of the target."
    )
    p_tox: float | None = Field(
        default=None, gt=0, lt=1, description="phi2: so high that the trial should de-escalate; 1.4 times the target."
    )
    block: Literal["simulate", "conduct"] = Field(
        default="simulate",
        description="conduct: do not escalate into a frequency or dose where a tried regimen already shows a rate of "
        "lambda_d or more; simulate: the paper's rule, without that check.",
    )

    bound_mtd: bool = Field(
        default=False, description="Select only a regimen whose isotonic estimate is below lambda_d."
    )

    @model_validator(mode="after")
    def _as_boin(self) -> Self:
        try:
            self.one_axis()
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self

    def one_axis(self) -> BoinParameters:
        """The parameters of BOIN these boundaries are taken from."""
        return BoinParameters(
            target=self.target,
            p_saf=self.p_saf,
            p_tox=self.p_tox,
            elimination_certainty=self.elimination_certainty,
            elimination_minimum=self.elimination_minimum,
            extra_safe=self.extra_safe,
            extra_safe_offset=self.extra_safe_offset,
        )


class BoinCombination(GridIntervalDesign[BoinCombinationParameters]):
    """BOIN on the dose-by-frequency grid, finding one regimen."""

    name: ClassVar[str] = "boin_combination"
    title: ClassVar[str] = "BOIN-combination"
    citation: ClassVar[str] = "Lin & Yin (2017) Stat Methods Med Res 26:2155-2167, doi:10.1177/0962280215594494"
    Parameters = BoinCombinationParameters
    escalates: ClassVar[str] = "boin_combination.at_or_below_lambda_e"
    stays: ClassVar[str] = "boin_combination.between"
    de_escalates: ClassVar[str] = "boin_combination.at_or_above_lambda_d"
    reasons: ClassVar[tuple[Reason, ...]] = with_grid_reasons(
        "boin_combination",
        Reason(
            "boin_combination.at_or_below_lambda_e",
            "The DLT rate at this regimen is at or below lambda_e: escalate by one dose or one frequency.",
            "The observed DLT rate is so low that a true rate clearly under the target is the best explanation. "
            "Of one dose up and one frequency up, the one that more probably lies in the interval around the target "
            "is treated next; both axes are never raised together.",
        ),
        Reason(
            "boin_combination.between",
            "The DLT rate at this regimen lies between lambda_e and lambda_d: stay.",
            "The observed DLT rate is close to the target. Neither moving up nor moving down is supported, so the "
            "next cohort adds information where the design believes the target to be.",
        ),
        Reason(
            "boin_combination.at_or_above_lambda_d",
            "The DLT rate at this regimen is at or above lambda_d: de-escalate by one dose or one frequency.",
            "The observed DLT rate is so high that a true rate clearly over the target is the best explanation. "
            "Of one dose down and one frequency down, the one that more probably lies in the interval around the "
            "target is treated next.",
        ),
    )

    def tabulate(self, n_max: int) -> Boundaries:
        return Boin.tabulate(self.parameters.one_axis(), n_max)

    @property
    def favoured(self) -> tuple[float, float]:
        boin = self.parameters.one_axis()
        return interval(boin.target, boin.phi1, boin.phi2)

    @property
    def selection_bound(self) -> float | None:
        return self.favoured[1] if self.parameters.bound_mtd else None

    def switches(self) -> Iterator[str]:
        """The switches that are on, each in words."""
        if self.parameters.block == "conduct":
            yield "blocks next to toxic regimens"
        yield from super().switches()
        if self.parameters.bound_mtd:
            yield "bounded MTD"

    def blocked(self, tally: Tally) -> Bools:
        """Steps up, by dose and by frequency, into a column or row with a toxic regimen: (S, 2)."""
        if self.parameters.block == "simulate":
            return super().blocked(tally)
        doses, frequencies = self.grid.n_doses, self.grid.n_frequencies
        toxic = (tally.n > 0) & (tally.dlt >= self.favoured[1] * tally.n)
        # a further dose and frequency, never toxic, stand for the edge of the grid
        cells = np.zeros((tally.rows, frequencies + 1, doses + 1), dtype=bool)
        cells[:, :frequencies, :doses] = toxic.reshape(-1, frequencies, doses)
        rows, dose, often = (
            np.arange(tally.rows),
            self.grid.dose_of[tally.current],
            self.grid.frequency_of[tally.current],
        )
        by_dose = np.logical_or.accumulate(cells, axis=1)[rows, often, dose + 1]
        by_frequency = np.logical_or.accumulate(cells, axis=2)[rows, often + 1, dose]
        return np.stack([by_dose, by_frequency], axis=1)
