"""POCRM: the continual reassessment method for partially ordered regimens.

Which of two regimens is more toxic when one has the higher dose and the other the higher frequency
is not known. The design carries several complete orderings. Under each it fits the power model
p_k = s_k ** a, with the skeleton laid along that ordering, by maximum likelihood; an ordering weighs
its prior times its maximised likelihood. It has two stages:

* until both a DLT and a participant without one have been seen, the trial climbs a list of regimens,
  one after the other, as long as there is no DLT; while there are only DLTs it goes one step
  down in the list, or back to its first regimen (``stage_one_after_dlt``);
* then the ordering with the greatest weight (or one drawn by the weights) says which regimen is
  estimated closest to the target, and that is treated next. Equally good ones are drawn.

The design was published for two drugs, and for dose and schedule by the same authors; here the second
axis is the frequency of infusions.

Departures from the paper and its software (R package pocrm 0.13):

* ``no_skipping``, on unless switched off, keeps to regimens that are at or below one that was tried
  or one level above it, and never raises dose and frequency together. Of those the closest is treated.
  The software has no such restriction;
* the exponent a is found to the last digits; the software's search stops earlier;
* with DLTs only at the end nothing is selected, without any DLT the current regimen is; the software
  fails on such data. Of equally weighted orderings the first listed selects; the software draws;
* stopping for toxicity is the guard ``too_toxic``, stopping with enough participants the guard
  ``stop_at_n``. The published simulations use neither.

References
----------
Wages NA, Conaway MR, O'Quigley J (2011) Biometrics 67:1555-1563, doi:10.1111/j.1541-0420.2011.01560.x;
Wages NA, O'Quigley J, Conaway MR (2014) Stat Med 33:569-579, PMC3947103.

Examples
--------
Two doses by two frequencies, two orderings (dose 2 once before dose 1 twice, and after), skeleton
.1, .2, .3, .4. After no DLT among three at 1.1 and one among three at 2.1, the estimate of a under the first
ordering (2.1 second, skeleton .2) solves 3 log(.1) .1^a/(1-.1^a) + 2 log(.2) .2^a/(1-.2^a) = log(.2).

>>> from designs.pocrm import Pocrm, PocrmParameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
>>> grid = RegimenGrid(doses=(1, 2), schedules=((0,), (0, 7)), unit="mg")
>>> parameters = PocrmParameters(skeleton=(0.1, 0.2, 0.3, 0.4), orderings=("across_rows", "up_columns"))
>>> design = Pocrm(parameters, Setting(grid, cohort_size=3, start=0, max_patients=12))
>>> seen = Tally.of(n=[[3, 3, 0, 0]], dlt=[[0, 1, 0, 0]], current=[1])
>>> fit = design.fit(seen)
>>> a = float(fit.exponent[0, 0])
>>> from math import log
>>> round(3 * log(.1) * .1**a / (1 - .1**a) + 2 * log(.2) * .2**a / (1 - .2**a) - log(.2), 9) + 0.0
0.0
>>> fit.exponent.round(3).tolist(), fit.weight.round(3).tolist()
([[0.99, 1.202]], [[0.452, 0.548]])

The second ordering weighs more. Under it 2.1 has the third skeleton value, .3 ** 1.202 = .235, and
dose 2 twice .4 ** 1.202 = .332, which is closer to .30.

>>> design.decide(seen).allocation.tolist()
[[0.0, 0.0, 0.0, 1.0]]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from designs.crm_model import indifference_skeleton
from designs.orderings import Ordering, broken_pair, named_ordering
from designs.pocrm_parameters import REASONS, Levels, PocrmParameters
from escalation.decision import Decisions, Reason, moves
from escalation.design import Design, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.partial_order import within_reach
from escalation.regimens import Regimen
from escalation.tally import Bools, Floats, Indices, Tally

_TIE = 1e-9
"""Log weights and distances to the target closer than this are equal."""
_MOST = 100.0
"""Largest exponent, as in the software."""
_ROUNDS = 60
"""Most rounds of the search for the exponent; a handful is enough."""


@dataclass(frozen=True, slots=True)
class PocrmFit:
    """The fitted model, one row per trial and one column per ordering; all NaN without both outcomes.

    Attributes
    ----------
    exponent
        (S, M) maximum likelihood estimate of a.
    log_likelihood
        (S, M) at that estimate.
    weight
        (S, M) of the orderings, summing to 1.
    """

    exponent: Floats
    log_likelihood: Floats
    weight: Floats


class Pocrm(Design[PocrmParameters]):
    """Continual reassessment method for partial orders, finding one regimen."""

    name: ClassVar[str] = "pocrm"
    title: ClassVar[str] = "POCRM"
    citation: ClassVar[str] = (
        "Wages, Conaway & O'Quigley (2011) Biometrics 67:1555-1563, doi:10.1111/j.1541-0420.2011.01560.x"
    )
    Parameters = PocrmParameters
    any_tally: ClassVar[bool] = True
    reasons: ClassVar[tuple[Reason, ...]] = REASONS

    def __init__(self, parameters: PocrmParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.orderings, self.prior = self._orderings()
        self.skeleton = self._skeleton()
        self.stage_one = self._stage_one()
        working = np.empty((len(self.orderings), self.grid.size))
        for number, ordering in enumerate(self.orderings):
            working[number, list(ordering)] = self.skeleton
        self._steep = -np.log(working)  # minus the logarithm of the working probabilities, (M, K)

    # orderings and skeleton -----------------------------------------------------------------------

    def _orderings(self) -> tuple[tuple[Ordering, ...], Floats]:
        """The distinct orderings on this grid, and their prior probabilities."""
        parameters = self.parameters
        listed = [named_ordering(name, self.grid) for name in parameters.orderings]
        for place, levels in enumerate(parameters.further_orderings, 1):
            listed.append(self._listed(levels, f"further_orderings, list {place}"))
        prior = parameters.ordering_prior or (1 / len(listed),) * len(listed)
        whole: dict[Ordering, float] = {}
        for ordering, share in zip(listed, prior, strict=True):
            if parameters.ordering_prior is None:
                whole[ordering] = 1.0
            else:
                whole[ordering] = whole.get(ordering, 0.0) + share
        shares = np.array(list(whole.values()))
        return tuple(whole), shares / shares.sum()

    def _listed(self, levels: Levels, field: str) -> Ordering:
        """An ordering written as levels; raises DesignError unless it is a linear extension of the grid's order."""
        grid, place = self.grid, f"protocol.design.{field}"
        for dose, often in levels:
            if not (1 <= dose <= grid.n_doses and 1 <= often <= grid.n_frequencies):
                raise DesignError(
                    place,
                    f"[{dose}, {often}] is not on the grid of {grid.n_doses} doses by {grid.n_frequencies} frequencies",
                    "write [dose level, frequency level], counted from 1",
                )
        ordering = tuple(grid.index(Regimen(dose, often)) for dose, often in levels)
        if sorted(ordering) != list(range(grid.size)):
            raise DesignError(
                place, f"{len(ordering)} entries do not name each of {grid.size} regimens once", "list every regimen"
            )
        broken = broken_pair(ordering, grid)
        if broken is not None:
            raise DesignError(
                place,
                f"level {grid.level(broken[1])} comes before level {grid.level(broken[0])}, which is below it",
                "put every regimen after all that are below it",
            )
        return ordering

    def constants(self) -> dict[str, float | str | list[float]]:
        """The skeleton, the orderings it is laid along, their prior probabilities, and the list of the first stage."""

        def levels(ordering: Ordering) -> str:
            return " ".join(self.grid.level(k) for k in ordering)

        laid = {f"ordering_{number}": levels(each) for number, each in enumerate(self.orderings, 1)}
        return {
            "skeleton": self.skeleton.tolist(),
            **laid,
            "prior_of_the_orderings": self.prior.tolist(),
            "stage_one": levels(self.stage_one),
        }

    def _stage_one(self) -> Ordering:
        given = self.parameters.stage_one
        return named_ordering(given, self.grid) if isinstance(given, str) else self._listed(given, "stage_one")

    def _skeleton(self) -> Floats:
        parameters, size = self.parameters, self.grid.size
        if parameters.skeleton is not None:
            if len(parameters.skeleton) != size:
                raise DesignError(
                    "protocol.design.skeleton",
                    f"{len(parameters.skeleton)} values for {size} regimens",
                    "give one DLT probability per regimen, or leave the skeleton out to have it computed",
                )
            return np.array(parameters.skeleton)
        prior_mtd = parameters.prior_mtd or (size + 1) // 2
        if prior_mtd > size:
            raise DesignError(
                "protocol.design.prior_mtd", f"place {prior_mtd} does not exist", f"use a place from 1 to {size}"
            )
        skeleton = indifference_skeleton(parameters.target, parameters.halfwidth, prior_mtd, size)
        if skeleton[0] < 1e-12 or skeleton[-1] > 1 - 1e-12:
            raise DesignError(
                "protocol.design.halfwidth",
                f"the skeleton runs from {skeleton[0]:.3g} to {skeleton[-1]:.3g}, too close to 0 or 1 for the model",
                "lower halfwidth, or give the skeleton",
            )
        return skeleton

    @property
    def variant(self) -> str:
        """The number of orderings and the switches that are on."""
        return ", ".join(self.switches())

    def switches(self) -> Iterator[str]:
        """The number of orderings, and the switches that are on, each in words."""
        number = len(self.orderings)
        yield f"{number} ordering{'s' if number > 1 else ''}"
        if self.parameters.ordering_choice == "randomised":
            yield "ordering drawn by weight"
        if self.parameters.stage_one_after_dlt == "restart":
            yield "first stage restarts"
        if not self.parameters.no_skipping:
            yield "levels may be skipped"

    # the model ------------------------------------------------------------------------------------

    def fit(self, tally: Tally) -> PocrmFit:
        """Maximum likelihood under every ordering in every row."""
        free, dlt = (tally.n - tally.dlt).astype(float), tally.dlt.astype(float)
        mixed = (free.sum(axis=1) > 0) & (dlt.sum(axis=1) > 0)
        shape = (tally.rows, len(self.orderings))
        exponent, likelihood, weight = (np.full(shape, np.nan) for _ in range(3))
        if mixed.any():
            exponent[mixed] = self._exponent(free[mixed], dlt[mixed])
            likelihood[mixed] = self._log_likelihood(exponent[mixed], free[mixed], dlt[mixed])
            with np.errstate(divide="ignore"):
                log_weight = likelihood[mixed] + np.log(self.prior)
            log_weight -= log_weight.max(axis=1, keepdims=True)
            weight[mixed] = np.exp(log_weight) / np.exp(log_weight).sum(axis=1, keepdims=True)
        return PocrmFit(exponent, likelihood, weight)

    def _log_likelihood(self, exponent: Floats, free: Floats, dlt: Floats) -> Floats:
        steep = exponent[:, :, None] * self._steep
        # an untried regimen adds nothing, even where its probability rounds to 0 or 1
        left = np.where(free[:, None, :] > 0, np.log(-np.expm1(-steep)), 0.0)
        value: Floats = (free[:, None, :] * left - dlt[:, None, :] * steep).sum(axis=2)
        return value

    def _exponent(self, free: Floats, dlt: Floats) -> Floats:
        """The root of the score in a, (S, M): the log likelihood is concave in a.

        With l = -log s, the score is sum (n - y) l / (exp(a l) - 1) - sum y l. Because
        1/x - 1/2 < 1 / (exp(x) - 1) < 1/x, the root lies between sum (n - y) / (sum y l + sum (n - y) l / 2)
        and sum (n - y) / sum y l; Newton steps on the logarithm of both sums are kept inside that bracket.
        """
        steep, total = self._steep, free.sum(axis=1)[:, None]
        # summed row by row: a matrix product may round differently from one batch to the next
        wanted = (dlt[:, None, :] * steep).sum(axis=2)
        low = np.log(total / (wanted + 0.5 * (free[:, None, :] * steep).sum(axis=2))).ravel()
        high = np.log(total / wanted).ravel()
        root = 0.5 * (low + high)
        rows, columns = np.divmod(np.arange(root.size), len(steep))
        goal = np.log(wanted).ravel()
        active = np.arange(root.size)
        for _ in range(_ROUNDS):
            if not active.size:
                break
            steeps, number = steep[columns[active]], free[rows[active]]
            x = np.exp(root[active])[:, None] * steeps
            with np.errstate(over="ignore"):
                part = number * steeps / np.expm1(x)
                slope = part * x / -np.expm1(-x)
            sums = part.sum(axis=1)
            error = np.log(sums) - goal[active]
            low[active] = np.where(error >= 0, root[active], low[active])
            high[active] = np.where(error <= 0, root[active], high[active])
            step = root[active] + error * sums / slope.sum(axis=1)
            outside = ~((step >= low[active]) & (step <= high[active]))
            step = np.where(outside, 0.5 * (low[active] + high[active]), step)
            moved = np.abs(step - root[active])
            root[active] = step
            active = active[moved > 1e-13 * np.maximum(1.0, np.abs(step))]
        found: Floats = np.minimum(np.exp(root), _MOST).reshape(wanted.shape)
        return found

    # deciding -------------------------------------------------------------------------------------

    def decide(self, tally: Tally) -> Decisions:
        """The next regimen of the list, or the one closest to the target, in every row."""
        total, dlts = tally.total, tally.dlt.sum(axis=1)
        place, last = self._place[tally.current], len(self.stage_one) - 1
        listed = np.array(self.stage_one)
        back = np.maximum(place - 1, 0) if self.parameters.stage_one_after_dlt == "step_down" else np.zeros_like(place)
        mixed = (dlts > 0) & (dlts < total)
        chances = np.zeros((tally.rows, self.grid.size))
        chances[mixed] = self._chances(tally.take(mixed))
        cases = (
            ("pocrm.nobody_yet", total == 0, tally.current),
            ("pocrm.list_ended", (dlts == 0) & (place == last), tally.current),
            ("pocrm.no_dlt_yet", dlts == 0, listed[np.minimum(place + 1, last)]),
            ("pocrm.only_dlts", dlts == total, listed[back]),
            ("pocrm.drawn", (chances > 0).sum(axis=1) > 1, np.argmax(chances, axis=1)),
            ("pocrm.closest", np.ones(tally.rows, dtype=bool), np.argmax(chances, axis=1)),
        )
        case = np.argmax(np.stack([holds for _, holds, _ in cases]), axis=0)
        regimen = np.choose(case, [there for _, _, there in cases]).astype(np.int32)
        rows = np.flatnonzero(~mixed)
        chances[rows, regimen[rows]] = 1.0
        return Decisions(
            action=moves(tally.current, regimen, self.grid.at_most),
            regimen=regimen,
            size=np.full(tally.rows, self.setting.cohort_size, dtype=np.int32),
            reason=np.array([self.cite(code) for code, _, _ in cases], dtype=np.int32)[case],
            allocation=chances,
        )

    @property
    def _place(self) -> Indices:
        """(K,) the place of every regimen in the list of the first stage."""
        place: Indices = np.argsort(np.array(self.stage_one))
        return place

    def _chances(self, tally: Tally) -> Floats:
        """Probabilities with which regimens are treated next in the second stage: (S, K)."""
        fit = self.fit(tally)
        if self.parameters.ordering_choice == "randomised":
            share = fit.weight
        else:
            best = np.log(fit.weight) >= np.log(fit.weight.max(axis=1, keepdims=True)) - _TIE
            share = best / best.sum(axis=1, keepdims=True)
        closest = self._closest(fit, self._allowed(tally))
        chances: Floats = (share[:, :, None] * closest / closest.sum(axis=2, keepdims=True)).sum(axis=1)
        return chances

    def _closest(self, fit: PocrmFit, allowed: Bools) -> Bools:
        """Regimens closest to the target under every ordering: (S, M, K)."""
        estimate = np.exp(-fit.exponent[:, :, None] * self._steep)
        distance = np.where(allowed[:, None, :], np.abs(estimate - self.parameters.target), np.inf)
        closest: Bools = distance <= distance.min(axis=2, keepdims=True) + _TIE
        return closest

    def _allowed(self, tally: Tally) -> Bools:
        """Regimens that may be treated next: (S, K)."""
        if not self.parameters.no_skipping:
            return np.ones(tally.n.shape, dtype=bool)
        return within_reach(tally, self.grid)

    # selecting ------------------------------------------------------------------------------------

    def select(self, tally: Tally) -> Bools:
        """The regimen closest to the target under the ordering with the greatest weight, tried or not.

        Without any DLT it is the current regimen; with DLTs only, or nobody evaluable, none.
        """
        selected = np.zeros(tally.n.shape, dtype=bool)
        total, dlts = tally.total, tally.dlt.sum(axis=1)
        free = np.flatnonzero((total > 0) & (dlts == 0))
        selected[free, tally.current[free]] = True
        mixed = np.flatnonzero((dlts > 0) & (dlts < total))
        if mixed.size:
            fit = self.fit(tally.take(mixed))
            best = np.argmax(fit.weight >= fit.weight.max(axis=1, keepdims=True) * (1 - _TIE), axis=1)
            closest = self._closest(fit, np.ones((mixed.size, self.grid.size), dtype=bool))
            selected[mixed, np.argmax(closest[np.arange(mixed.size), best], axis=1)] = True
        return selected

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the restriction in force promises about every decision."""
        if not self.parameters.no_skipping:
            return ()
        return (SafetyProperty("keeps to regimens at most one level above a tried one", self._strays),)

    def _strays(self, tally: Tally, decisions: Decisions) -> Bools:
        there = decisions.regimen[:, None].astype(np.intp)
        broken: Bools = ~np.take_along_axis(self._allowed(tally), there, axis=1)[:, 0]
        return broken & ~decisions.stops
