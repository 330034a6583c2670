"""PIPE: product of independent beta probabilities, for a contour of MTDs on the grid.

Each regimen has its own beta prior, given by its median and a small prior sample size, and its own
posterior probability that its DLT probability is at most the target. A monotone contour splits the
grid into regimens at or below the target and regimens above; its posterior weight is the product of
those probabilities below it and their complements above it. The most probable contour decides where
to treat next, the average over all contours how safe a regimen is:

* a regimen is left out while its probability of lying above the contour, averaged over all
  contours, is epsilon or more; when no admissible regimen is left the trial stops;
* admissible are the regimens the escalation constraint allows, by default the neighbours of the
  current one without raising dose and frequency together;
* candidates are the admissible regimens closest to the modal contour from below and from above
  (``closest``), or all that touch it (``adjacent``);
* of these the one with the smallest prior and observed sample size is treated next, equally small
  ones are drawn with equal probabilities; ``strategy: sample_size_random`` draws each with
  probability proportional to the inverse of that size;
* with ``alternate`` the candidates on the other side of the contour than the current regimen go first,
  so that the trial changes sides wherever it can;
* regimens listed in ``non_admissible`` are neither treated nor recommended.

At the end every tried, safe regimen closest to the contour from below is recommended: at most one
dose at each frequency, and often none at some.

The design was published for two drugs; here the second axis is the frequency of infusions. Details
follow the authors' software (R package pipe.design 0.5.1). Where that picks one of several most
probable contours by the order of its list, here the lowest is taken. Touching regimens that are not
admissible leave ``adjacent`` without candidates while the trial is still far from the contour; the
closest admissible ones are treated then. Safety is judged anew after every cohort, so that a regimen
that was left out can come back.

References
----------
Mander AP, Sweeting MJ (2015) Stat Med 34:1261-1276, doi:10.1002/sim.6434.

Examples
--------
Two doses by two frequencies with prior medians .1, .2, .2 and .4, each worth a quarter of a
participant, target .30. After one of three participants had a DLT at the lowest regimen its
posterior is Beta(a + 1, b + 2) with a + b = .25.

>>> from designs.pipe import Pipe, PipeParameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
>>> grid = RegimenGrid(doses=(1, 2), schedules=((0,), (0, 7)), unit="mg")
>>> parameters = PipeParameters(target=0.30, prior_median=((0.1, 0.2), (0.2, 0.4)))
>>> design = Pipe(parameters, Setting(grid, cohort_size=3, start=0, max_patients=12))
>>> seen = Tally.of(n=[[3, 0, 0, 0]], dlt=[[1, 0, 0, 0]], current=[0])
>>> posterior = design.posterior(seen)
>>> posterior.at_most_target.round(3).tolist()
[[0.498, 0.528, 0.528, 0.477]]

Six contours are monotone. With nothing below it a contour weighs .502 * .472 * .472 * .523 = .059;
with the lowest regimen .498 * .472 * .472 * .523 = .058; with one neighbour as well .498 * .528 *
.472 * .523 = .065, the same for the other; with both .498 * .528 * .528 * .523 = .073; with all four
.066. The fifth is the most probable, and the lowest regimen lies above only the first:
.059 / (.059 + .058 + .065 + .065 + .073 + .066) = .15.

>>> posterior.modal_below.tolist()
[[True, True, True, False]]
>>> posterior.above.round(2).tolist()
[[0.15, 0.47, 0.47, 0.83]]

The two neighbours on one axis are equally little studied; one of them is drawn.

>>> design.decide(seen).allocation.tolist()
[[0.0, 0.5, 0.5, 0.0]]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincc, betaincinv

from designs.crm_model import indifference_skeleton
from designs.pipe_parameters import REASONS, PipeParameters
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.partial_order import lower_sets
from escalation.regimens import Regimen
from escalation.tally import Bools, Floats, Tally

_TABLE_SIZE = 60
_TIE = 1e-9
"""Log weights and sample sizes closer than this are equal."""
_LEAST = 1e-300
"""Stands for a posterior probability that vanishes, so that it has a logarithm."""


def beta_of_median(median: float, size: float) -> tuple[float, float]:
    """Parameters (a, b) of the beta distribution with a given median and a + b = size.

    Examples
    --------
    >>> [round(part, 6) for part in beta_of_median(0.5, 1.0)]
    [0.5, 0.5]
    """
    least = size * 1e-9
    a = float(brentq(lambda a: betainc(a, size - a, median) - 0.5, least, size - least, xtol=size * 1e-14))
    return a, size - a


@dataclass(frozen=True, slots=True)
class PipePosterior:
    """What PIPE believes, one row per trial.

    Attributes
    ----------
    at_most_target
        (S, K) each regimen's own posterior Pr(p <= target).
    modal_below
        (S, K) regimens below the most probable contour.
    above
        (S, K) probability of lying above the contour, averaged over all contours.
    """

    at_most_target: Floats
    modal_below: Bools
    above: Floats


class Pipe(Design[PipeParameters]):
    """Product of independent beta probabilities escalation on the dose-by-frequency grid."""

    name: ClassVar[str] = "pipe"
    title: ClassVar[str] = "PIPE"
    citation: ClassVar[str] = "Mander & Sweeting (2015) Stat Med 34:1261-1276, doi:10.1002/sim.6434"
    Parameters = PipeParameters
    selects_contour: ClassVar[bool] = True
    any_tally: ClassVar[bool] = True
    reasons: ClassVar[tuple[Reason, ...]] = REASONS

    def __init__(self, parameters: PipeParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.prior_a, self.prior_b = self._prior()
        sets = lower_sets(*self.grid.shape)
        self._below = sets[np.argsort(sets.sum(axis=1), kind="stable")]  # the lowest contour first, for ties
        self._log_at_most, self._log_above = self._tables(setting.max_patients or _TABLE_SIZE)
        self._open = self._not_ruled_out()

    def _prior(self) -> tuple[Floats, Floats]:
        parameters, grid = self.parameters, self.grid
        if parameters.prior_median is None:
            levels = grid.n_doses + grid.n_frequencies - 1
            rise = indifference_skeleton(parameters.target, parameters.target * 2 / 15, max(levels - 1, 1), levels)
            median = rise[grid.dose_of + grid.frequency_of]
        else:
            median = self._of_shape(np.array(parameters.prior_median), "prior_median")
        given = parameters.prior_size
        if given is None or isinstance(given, float):
            size = np.full(grid.size, 1 / grid.size if given is None else given)
        else:
            size = self._of_shape(np.array(given), "prior_size")
        both = np.array([beta_of_median(m, s) for m, s in zip(median.tolist(), size.tolist(), strict=True)])
        return both[:, 0], both[:, 1]

    def _not_ruled_out(self) -> Bools:
        """(K,) regimens that may be treated at all."""
        doses, frequencies, found = self.grid.n_doses, self.grid.n_frequencies, np.ones(self.grid.size, dtype=bool)
        for dose, frequency in self.parameters.non_admissible:
            if not (1 <= dose <= doses and 1 <= frequency <= frequencies):
                raise DesignError(
                    "protocol.design.non_admissible",
                    f"[{dose}, {frequency}] is not a regimen of this study, with doses 1 to {doses} and frequencies 1 "
                    f"to {frequencies}",
                    "give [dose, frequency] levels of the grid",
                )
            found[self.grid.index(Regimen(dose, frequency))] = False
        if not found[self.start]:
            raise DesignError(
                "protocol.design.non_admissible",
                f"regimen {self.grid.level(self.start)} is never to be treated, but the trial starts there",
                "leave it out, or start elsewhere",
            )
        return found

    def constants(self) -> dict[str, float | str | list[float]]:
        """The prior of every regimen, in the order of the levels: median DLT probability and sample size."""
        size = self.prior_a + self.prior_b
        median = [betaincinv(a, b, 0.5) for a, b in zip(self.prior_a, self.prior_b, strict=True)]
        return {
            "levels": " ".join(self.grid.level(k) for k in range(self.grid.size)),
            "prior_median": [float(each) for each in median],
            "prior_size": size.tolist(),
        }

    def _of_shape(self, matrix: Floats, name: str) -> Floats:
        if matrix.shape != self.grid.shape:
            raise DesignError(
                f"protocol.design.{name}",
                f"{matrix.shape[0]} by {matrix.shape[1]} values for {self.grid.n_frequencies} frequencies by "
                f"{self.grid.n_doses} doses",
                "give one value for each regimen, a row for each frequency",
            )
        return matrix.ravel()

    @property
    def variant(self) -> str:
        """The constraint and the switches that are on."""
        return ", ".join(self.switches())

    def switches(self) -> Iterator[str]:
        """The constraint, and the switches that are on, each in words."""
        parameters = self.parameters
        yield {"neighbouring": "neighbouring", "no_skip": "no skipping", "none": "unconstrained"}[parameters.constraint]
        if parameters.diagonal:
            yield "diagonal moves"
        if parameters.candidates == "adjacent":
            yield "adjacent candidates"
        if parameters.strategy == "sample_size_random":
            yield "randomised"
        if parameters.alternate:
            yield "alternating"
        if parameters.non_admissible:
            listed = (self.grid.level(self.grid.index(Regimen(*pair))) for pair in parameters.non_admissible)
            yield f"never at {' '.join(listed)}"
        if parameters.epsilon is None:
            yield "no safety constraint"

    # the posterior --------------------------------------------------------------------------------

    def _tables(self, n_max: int) -> tuple[Floats, Floats]:
        """Log posterior probabilities of at most and of above the target, by regimen, n and DLTs: (K, n+1, n+1)."""
        n, dlt = np.meshgrid(np.arange(n_max + 1), np.arange(n_max + 1), indexing="ij")
        a = self.prior_a[:, None, None] + np.minimum(dlt, n)
        b = self.prior_b[:, None, None] + n - np.minimum(dlt, n)
        target = self.parameters.target
        return (
            np.log(np.maximum(betainc(a, b, target), _LEAST)),
            np.log(np.maximum(betaincc(a, b, target), _LEAST)),
        )

    def posterior(self, tally: Tally) -> PipePosterior:
        """The posterior over the contours in every row."""
        at_most, above = self._log_at_most, self._log_above
        most = int(tally.n.max(initial=0))
        if most >= at_most.shape[1]:  # more than the protocol planned
            at_most, above = self._tables(_TABLE_SIZE * (most // _TABLE_SIZE + 1))
        k = np.arange(self.grid.size)
        log_at_most, log_above = at_most[k, tally.n, tally.dlt], above[k, tally.n, tally.dlt]
        below = self._below.astype(float)
        # log weight of a contour: what lies below it, and what is left above
        weight = (log_at_most - log_above) @ below.T + log_above.sum(axis=1, keepdims=True)
        weight -= weight.max(axis=1, keepdims=True)
        mode = np.argmax(weight >= -_TIE, axis=1)
        share = np.exp(weight)
        share /= share.sum(axis=1, keepdims=True)
        return PipePosterior(np.exp(log_at_most), self._below[mode], 1 - share @ below)

    def _safe(self, posterior: PipePosterior) -> Bools:
        """Regimens that are not ruled out and not left out as unsafe: (S, K)."""
        limit = np.inf if self.parameters.epsilon is None else self.parameters.epsilon
        safe: Bools = (posterior.above < limit) & self._open
        return safe

    # deciding -------------------------------------------------------------------------------------

    def decide(self, tally: Tally) -> Decisions:
        """The least studied admissible regimen next to the modal contour, in every row."""
        posterior = self.posterior(tally)
        admissible = self._allowed(tally) & self._safe(posterior)
        candidates = self._candidates(posterior.modal_below, admissible)
        if self.parameters.alternate:
            candidates = self._other_side(tally, posterior.modal_below, candidates)
        chances = self._chances(tally, candidates)
        here = np.zeros(chances.shape)
        here[np.arange(tally.rows), tally.current] = 1.0
        nobody = tally.total == 0
        too_toxic = np.zeros(tally.rows, dtype=bool)
        if self.parameters.stop_certainty is not None:
            too_toxic = 1 - posterior.at_most_target[:, 0] > self.parameters.stop_certainty
        cases = (
            ("pipe.nobody_yet", nobody),
            ("pipe.lowest_too_toxic", too_toxic),
            ("pipe.no_admissible", ~admissible.any(axis=1)),
            ("pipe.drawn", (chances > 0).sum(axis=1) > 1),
            ("pipe.least_studied", np.ones(tally.rows, dtype=bool)),
        )
        case = np.argmax(np.stack([holds for _, holds in cases]), axis=0)
        stops = (case == 1) | (case == 2)
        chances = np.where((case == 0)[:, None], here, chances)
        regimen = np.where(stops, tally.current, np.argmax(chances, axis=1)).astype(np.int32)
        return Decisions(
            action=np.where(stops, np.int32(Action.STOP), moves(tally.current, regimen, self.grid.at_most)),
            regimen=regimen,
            size=np.where(stops, 0, self.setting.cohort_size).astype(np.int32),
            reason=np.array([self.cite(code) for code, _ in cases], dtype=np.int32)[case],
            allocation=np.where(stops[:, None], 0.0, chances),
        )

    def _allowed(self, tally: Tally) -> Bools:
        """Regimens the escalation constraint lets be treated next: (S, K)."""
        if self.parameters.constraint == "no_skip":
            tried = (tally.n > 0).astype(np.float32)
            tried[np.arange(tally.rows), tally.current] = 1.0
            allowed: Bools = tried @ self._within_reach.astype(np.float32) > 0
            return allowed
        return self._within_reach[tally.current]

    @cached_property
    def _within_reach(self) -> Bools:
        """(K, K) what the constraint allows from each regimen."""
        dose, often = self.grid.dose_of, self.grid.frequency_of
        up_dose, up_often = dose[None, :] - dose[:, None], often[None, :] - often[:, None]
        both = (up_dose > 0) & (up_often > 0)
        if self.parameters.constraint == "neighbouring":
            reach = np.maximum(np.abs(up_dose), np.abs(up_often)) <= 1
        elif self.parameters.constraint == "no_skip":
            reach = (up_dose <= 1) & (up_often <= 1)
        else:
            reach = np.ones(both.shape, dtype=bool)
        whole: Bools = reach if self.parameters.diagonal else reach & ~both
        return whole

    def _candidates(self, below: Bools, admissible: Bools) -> Bools:
        """Admissible regimens closest to the contour, or touching it: (S, K)."""
        closest = self._edge(below & admissible, up=True) | self._edge(~below & admissible, up=False)
        if self.parameters.candidates == "closest":
            return closest
        cells = below.reshape(-1, *self.grid.shape)
        padded = np.zeros((len(cells), self.grid.n_frequencies + 2, self.grid.n_doses + 2), dtype=bool)
        padded[:, :-1, 0] = padded[:, 0, :-1] = True  # what lies before the grid is below the contour, what after above
        padded[:, 1:-1, 1:-1] = cells
        touches = np.where(cells, ~padded[:, 2:, 2:], padded[:, :-2, :-2]).reshape(below.shape)
        touching = touches & admissible
        return np.where(touching.any(axis=1, keepdims=True), touching, closest)

    def _other_side(self, tally: Tally, below: Bools, candidates: Bools) -> Bools:
        """The candidates on the other side of the contour than the current regimen, all where there is none."""
        here_below = np.take_along_axis(below, tally.current[:, None].astype(np.intp), axis=1)
        others = candidates & (below != here_below)
        return np.where(others.any(axis=1, keepdims=True), others, candidates)

    def _edge(self, inside: Bools, *, up: bool) -> Bools:
        """Regimens of a set whose neighbours on both axes, upwards or downwards, are outside of it: (S, K)."""
        cells = inside.reshape(-1, *self.grid.shape)
        neighbour = np.zeros(cells.shape, dtype=bool)
        if up:
            neighbour[:, :-1] |= cells[:, 1:]
            neighbour[:, :, :-1] |= cells[:, :, 1:]
        else:
            neighbour[:, 1:] |= cells[:, :-1]
            neighbour[:, :, 1:] |= cells[:, :, :-1]
        edge: Bools = (cells & ~neighbour).reshape(inside.shape)
        return edge

    def _chances(self, tally: Tally, candidates: Bools) -> Floats:
        """Probabilities with which the candidates are treated next, (S, K); all zero where there is none."""
        size = self.prior_a + self.prior_b + tally.n
        if self.parameters.strategy == "sample_size_random":
            share = np.where(candidates, 1 / size, 0.0)
        else:
            size = np.where(candidates, size, np.inf)
            share = (candidates & (size <= size.min(axis=1, keepdims=True) + _TIE)).astype(float)
        total = share.sum(axis=1, keepdims=True)
        chances: Floats = np.divide(share, total, out=np.zeros(share.shape), where=total > 0)
        return chances

    # selecting ------------------------------------------------------------------------------------

    def select(self, tally: Tally) -> Bools:
        """The tried, safe regimens closest to the modal contour from below: at most one dose for each frequency."""
        posterior = self.posterior(tally)
        selected: Bools = self._edge(posterior.modal_below & self._safe(posterior), up=True) & (tally.n > 0)
        return selected

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the design promises about every decision."""
        promised = []
        if self.parameters.epsilon is not None:
            promised.append(SafetyProperty("never treats a regimen left out as unsafe", self._treats_unsafe))
        if self.parameters.non_admissible:
            promised.append(SafetyProperty("never treats a non-admissible regimen", self._treats_ruled_out))
        if self.parameters.constraint == "neighbouring":
            promised.append(SafetyProperty("never moves more than one level on an axis", self._leaps))
        return tuple(promised)

    def _treats_unsafe(self, tally: Tally, decisions: Decisions) -> Bools:
        there = decisions.regimen[:, None].astype(np.intp)
        unsafe = ~np.take_along_axis(self._safe(self.posterior(tally)), there, axis=1)[:, 0]
        broken: Bools = unsafe & ~decisions.stops & (tally.total > 0)
        return broken

    def _treats_ruled_out(self, tally: Tally, decisions: Decisions) -> Bools:
        broken: Bools = ~self._open[decisions.regimen] & ~decisions.stops
        return broken

    def _leaps(self, tally: Tally, decisions: Decisions) -> Bools:
        grid, here, there = self.grid, tally.current, decisions.regimen
        far: Bools = (np.abs(grid.dose_of[there] - grid.dose_of[here]) > 1) | (
            np.abs(grid.frequency_of[there] - grid.frequency_of[here]) > 1
        )
        return far & ~decisions.stops
