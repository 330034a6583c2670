"""The surface-free design: the toxicity of neighbouring regimens is connected, and no surface is assumed.

The probability of no DLT at the lowest regimen, and the factor by which each step in dose and each step in
frequency lowers it, are independent with Beta priors::

    1 - p(d, f) = theta * phi_2 ... phi_d * tau_2 ... tau_f

so that toxicity rises along both axes and nothing else is said of its shape. After every cohort the regimen
estimated closest to the target is treated next, among those one level up on one axis and all below. A regimen whose
DLT probability is above the target with posterior probability ``overdose_limit`` or more is left out; when that is
the lowest, the trial stops and nothing is recommended. At the end the regimen that would be treated next is selected.

The design was published for two drugs; here the second axis is the frequency of infusions. The authors derive the
prior means of the connections from the DLT probabilities of either drug given alone. A ratio of two such
probabilities of no DLT is the same along the lowest level of the other axis, so ``prior_doses`` and
``prior_frequencies`` are asked for there. The defaults (every connection .825 on average and worth 4 participants,
limit .65) are those Barnett and others calibrated for three by three regimens, target .30 and 36 participants; the
paper's runs use a limit of .70.

The authors' programs differ from one another and from their description. What is kept as a switch, and what is not:

* they estimate a DLT probability by the product of the posterior means of the connections; ``estimate:
  posterior_mean`` takes its own posterior mean;
* at three by three they forbid steps up of more than one level, and diagonal ones, but let the dose go up by
  several levels when the frequency falls (``reach: authors_program``); at four by four nothing is forbidden
  (``reach: anywhere``) and only the lowest regimen is held to the limit (``leave_out: lowest_only``);
* regimens that are equally close, which happens from the first step when the priors are alike, are told apart by the
  noise of the sampling; here one is drawn. At the end, where nothing is drawn, the one with the lower frequency is
  selected;
* not kept: the first cohort escapes the safety rule; at the end toxicity is judged against .20 whatever the target
  is; and trials that stopped for toxicity are counted as selections. Here the rule holds from the first
  cohort and for the target, and a trial that stopped selects nothing.

The posterior is integrated, not sampled: estimates are good to 1e-5, overdose probabilities to .001. Time and memory
grow with the levels of the shorter axis, of which there may be 4; of participants there may be 120.

References
----------
Mozgunov P, Gasparini M, Jaki T (2020) Stat Methods Med Res 29:3093-3109, PMC7612168;
Barnett H et al. (2024) Stat Methods Med Res 33:203-226, doi:10.1177/09622802231220497, PMC10928960.

Examples
--------
Two doses by two frequencies. After no DLT among three at 1.1 its connection is Beta(3.3 + 3, .7), and the connections
of both steps are as before: the estimates are 1 - 6.3/7 and 1 - .825 * 6.3/7. Both neighbours are equally close to the
target; one is drawn.

>>> from designs.surface_free import SurfaceFree, SurfaceFreeParameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
>>> grid = RegimenGrid(doses=(1, 2), schedules=((0,), (0, 7)), unit="mg")
>>> design = SurfaceFree(SurfaceFreeParameters(), Setting(grid, cohort_size=3, start=0, max_patients=12))
>>> seen = Tally.of(n=[[3, 0, 0, 0]], dlt=[[0, 0, 0, 0]], current=[0])
>>> grid.matrix(design.estimates(seen).curve[0].round(4))
[[0.1, 0.2575], [0.2575, 0.3874]]
>>> design.decide(seen).allocation.tolist()
[[0.0, 0.5, 0.5, 0.0]]

With one DLT among three at 1.1 the connection is Beta(5.3, 1.7). Pr(p > .30) is then .317: below .65, and the next
cohort is treated there again, because 1 - 5.3/7 = .243 is closer to .30 than 1 - .825 * 5.3/7 = .375. With two DLTs it
is .658, and the trial stops.

>>> from scipy.stats import beta
>>> seen = Tally.of(n=[[3, 0, 0, 0], [3, 0, 0, 0]], dlt=[[1, 0, 0, 0], [2, 0, 0, 0]], current=[0, 0])
>>> design.overdose(seen)[:, 0].round(3).tolist(), beta.cdf(0.7, [5.3, 4.3], [1.7, 2.7]).round(3).tolist()
([0.317, 0.658], [0.317, 0.658])
>>> [design.reasons[reason].code for reason in design.decide(seen).reason]
['surface_free.closest', 'surface_free.lowest_too_toxic']

Three more at 2.1 with two DLTs make the step in dose suspect, the step in frequency as little known as before.

>>> seen = Tally.of(n=[[3, 3, 0, 0]], dlt=[[0, 2, 0, 0]], current=[1])
>>> design.posterior(seen).connections[0].round(3).tolist()
[0.854, 0.702, 0.825]
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.interpolate import PchipInterpolator

from designs.surface_free_model import SurfacePosterior, SurfaceSummaries
from designs.surface_free_parameters import REASONS, SurfaceFreeParameters
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, Estimates, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.tally import Bools, Floats, Tally

_TIE = 1e-6
"""Distances to the target closer than this are equal: the integration is good to less."""
_MOST_LEVELS, _MOST_PATIENTS = 4, 120
_CUTS = tuple((np.sin(np.linspace(0, np.pi / 2, 26)[1:-1]) ** 2).tolist())
"""DLT probabilities at which the distribution is worked out for intervals."""


class SurfaceFree(Design[SurfaceFreeParameters]):
    """Independent beta connections between neighbouring regimens of the grid, finding one regimen."""

    name: ClassVar[str] = "surface_free"
    title: ClassVar[str] = "Surface-free"
    citation: ClassVar[str] = "Mozgunov, Gasparini & Jaki (2020) Stat Methods Med Res 29:3093-3109, PMC7612168"
    Parameters = SurfaceFreeParameters
    any_tally: ClassVar[bool] = True
    reasons: ClassVar[tuple[Reason, ...]] = REASONS

    def __init__(self, parameters: SurfaceFreeParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        if min(self.grid.shape) > _MOST_LEVELS:
            raise DesignError(
                "protocol.design.name",
                f"{self.grid.n_doses} doses by {self.grid.n_frequencies} frequencies are too many for this design",
                f"use at most {_MOST_LEVELS} levels on the shorter axis, or another design",
            )
        self._check_size("protocol.max_patients", setting.max_patients or 0)
        self.model = SurfacePosterior(self._prior(), parameters.strength, self.grid.shape)

    @staticmethod
    def _check_size(field: str, participants: int) -> None:
        """Raises DesignError above the size for which overdose probabilities are checked."""
        if participants > _MOST_PATIENTS:
            raise DesignError(
                field,
                f"{participants} participants are more than the {_MOST_PATIENTS} this design is integrated for",
                f"plan at most {_MOST_PATIENTS}, or use another design",
            )

    def _prior(self) -> Floats:
        """Prior means of the connections: the lowest regimen's, every step in dose, every step in frequency."""
        parameters, grid = self.parameters, self.grid
        parts: list[Floats] = []
        lowest = parameters.prior_connection
        for name, levels in (("prior_doses", grid.n_doses), ("prior_frequencies", grid.n_frequencies)):
            listed = getattr(parameters, name)
            if listed is None:
                parts.append(np.full(levels - 1, parameters.prior_connection))
                continue
            if len(listed) != levels:
                raise DesignError(
                    f"protocol.design.{name}",
                    f"{len(listed)} values for {levels} levels",
                    "give one DLT probability for each level, or leave the list out",
                )
            free = 1 - np.array(listed)
            parts.append(free[1:] / free[:-1])
            lowest = float(free[0])
        return np.concatenate([[lowest], *parts])

    @property
    def variant(self) -> str:
        """The overdose limit, and the switches that are on."""
        return ", ".join(self.switches())

    def switches(self) -> Iterator[str]:
        """The overdose limit, and the switches that are on, each in words."""
        parameters = self.parameters
        limit = parameters.overdose_limit
        yield "no overdose limit" if limit is None else f"overdose limit {limit:g}"
        if limit is not None and parameters.leave_out == "lowest_only":
            yield "lowest regimen only"
        if parameters.reach != "one_level_up":
            yield {"authors_program": "reach of the authors' program", "anywhere": "unrestricted"}[parameters.reach]
        if parameters.estimate == "posterior_mean":
            yield "posterior means"
        if parameters.selection == "tried":
            yield "selects a tried regimen"

    # the posterior --------------------------------------------------------------------------------

    def posterior(self, tally: Tally) -> SurfaceSummaries:
        """Posterior summaries in every row; ``above`` is Pr(p > target)."""
        self._check_size("participants", int(tally.total.max(initial=0)))
        return self.model.summaries(tally.n, tally.dlt, self.parameters.target)

    def overdose(self, tally: Tally) -> Floats:
        """Posterior probabilities that the DLT probabilities are above the target: (S, K)."""
        return self.posterior(tally).above

    def _curve(self, found: SurfaceSummaries) -> Floats:
        """Estimated DLT probabilities: (S, K)."""
        if self.parameters.estimate == "posterior_mean":
            return found.mean
        doses = self.grid.n_doses
        along = np.cumprod(found.connections[:, :doses], axis=1)
        steps = np.cumprod(found.connections[:, doses:], axis=1)
        across = np.concatenate([np.ones((len(steps), 1)), steps], axis=1)
        curve: Floats = 1 - along[:, self.grid.dose_of] * across[:, self.grid.frequency_of]
        return curve

    def estimates(self, tally: Tally) -> Estimates:
        """The estimated DLT probabilities, with equal-tailed intervals of their posterior distributions."""
        parameters, found = self.parameters, self.posterior(tally)
        tail = (1 - parameters.interval) / 2
        above = self.model.above(tally.n, tally.dlt, _CUTS)
        ends = np.empty((2, *tally.n.shape))
        for row, k in np.ndindex(*tally.n.shape):
            below = np.concatenate([[0.0], np.maximum.accumulate(1 - above[row, :, k]), [1.0]])
            rising = np.concatenate([[True], np.diff(below) > 1e-9])
            rising[-1] = True
            held = np.flatnonzero(rising)
            if below[held[-1]] - below[held[-2]] < 1e-9:
                held = np.delete(held, -2)
            points = np.array([0.0, *_CUTS, 1.0])[held]
            ends[:, row, k] = PchipInterpolator(below[held], points)([tail, 1 - tail])
        named = "product of posterior means" if parameters.estimate == "product_of_means" else "posterior mean"
        frequencies, doses = self.grid.shape
        names = ["connection_lowest"]
        names += [f"connection_dose_{d}" for d in range(2, doses + 1)]
        names += [f"connection_frequency_{f}" for f in range(2, frequencies + 1)]
        return Estimates(
            curve=self._curve(found),
            lower=ends[0],
            upper=ends[1],
            level=parameters.interval,
            method=f"{named} of the connections; credible interval",
            parameters=dict(zip(names, found.connections.T, strict=True)),
            by_regimen={"overdose_probability": found.above},
        )

    def constants(self) -> dict[str, float | str | list[float]]:
        """The prior means of the DLT probabilities, in the order of the regimens."""
        return {"prior_dlt_probability": self.model.prior.tolist()}

    # deciding -------------------------------------------------------------------------------------

    def decide(self, tally: Tally) -> Decisions:
        """The regimen within reach that is closest to the target and not left out, in every row."""
        found = self.posterior(tally)
        chances = self._chances(tally, found)
        nobody = tally.total == 0
        toxic = self._over(found)[:, 0]
        cases = (
            ("nobody_yet", nobody),
            ("lowest_too_toxic", toxic),
            ("drawn", (chances > 0).sum(axis=1) > 1),
            ("closest", np.ones(tally.rows, dtype=bool)),
        )
        case = np.argmax(np.stack([holds for _, holds in cases]), axis=0)
        stops = case == 1
        here = np.zeros(chances.shape)
        here[np.arange(tally.rows), tally.current] = 1.0
        chances = np.where(nobody[:, None], here, chances)
        regimen = np.where(stops, tally.current, np.argmax(chances, axis=1)).astype(np.int32)
        return Decisions(
            action=np.where(stops, np.int32(Action.STOP), moves(tally.current, regimen, self.grid.at_most)),
            regimen=regimen,
            size=np.where(stops, 0, self.setting.cohort_size).astype(np.int32),
            reason=np.array([self.cite(f"{self.name}.{code}") for code, _ in cases], dtype=np.int32)[case],
            allocation=np.where(stops[:, None], 0.0, chances),
        )

    def _over(self, found: SurfaceSummaries) -> Bools:
        """Regimens left out as too probably above the target: (S, K)."""
        if self.parameters.overdose_limit is None:
            return np.zeros(found.above.shape, dtype=bool)
        over = found.above >= self.parameters.overdose_limit
        if self.parameters.leave_out == "lowest_only":
            over[:, 1:] = False
        return over

    def _closest(self, found: SurfaceSummaries, usable: Bools) -> Bools:
        """Of the usable regimens those closest to the target: (S, K)."""
        distance = np.where(usable, np.abs(self._curve(found) - self.parameters.target), np.inf)
        closest: Bools = usable & (distance <= distance.min(axis=1, keepdims=True) + _TIE)
        return closest

    def _chances(self, tally: Tally, found: SurfaceSummaries) -> Floats:
        """Probabilities with which regimens are treated next, (S, K); all zero where every one is left out."""
        closest = self._closest(found, self._within_reach[tally.current] & ~self._over(found))
        if self.parameters.ties != "drawn":
            first, second = self.grid.dose_of, self.grid.frequency_of
            if self.parameters.ties == "frequency_first":
                first, second = second, first
            height = np.where(closest, first * self.grid.size + second, -1)
            closest &= height == height.max(axis=1, keepdims=True)
        share = closest.astype(float)
        total = share.sum(axis=1, keepdims=True)
        chances: Floats = np.divide(share, total, out=np.zeros(share.shape), where=total > 0)
        return chances

    @cached_property
    def _within_reach(self) -> Bools:
        """(K, K) what may be treated next from each regimen."""
        dose, often = self.grid.dose_of, self.grid.frequency_of
        up_dose, up_often = dose[None, :] - dose[:, None], often[None, :] - often[:, None]
        if self.parameters.reach == "anywhere":
            return np.ones(up_dose.shape, dtype=bool)
        reach: Bools = (up_dose <= 1) & (up_often <= 1) & ~((up_dose > 0) & (up_often > 0))
        if self.parameters.reach == "authors_program":
            reach |= up_often < 0
        return reach

    # selecting ------------------------------------------------------------------------------------

    def select(self, tally: Tally) -> Bools:
        """The regimen that would be treated next, or of the tried ones the closest; none when the lowest is too toxic.

        Of several that are equally close, the first: with the lower frequency, then the lower dose, unless ``ties``
        says otherwise.
        """
        found = self.posterior(tally)
        over = self._over(found)
        if self.parameters.selection == "tried":
            share = self._closest(found, (tally.n > 0) & ~over).astype(float)
        else:
            share = self._chances(tally, found)
        selected = np.zeros(tally.n.shape, dtype=bool)
        rows = np.flatnonzero((share.sum(axis=1) > 0) & ~over[:, 0] & (tally.total > 0))
        selected[rows, np.argmax(share[rows], axis=1)] = True
        return selected

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the overdose limit and the restriction in force promise about every decision."""
        promised = []
        if self.parameters.overdose_limit is not None:
            promised.append(SafetyProperty("never treats a regimen left out as too toxic", self._treats_toxic))
        if self.parameters.reach == "one_level_up":
            promised.append(SafetyProperty("never goes up more than one level, nor on both axes", self._leaps))
        return tuple(promised)

    def _treats_toxic(self, tally: Tally, decisions: Decisions) -> Bools:
        there = decisions.regimen[:, None].astype(np.intp)
        broken: Bools = np.take_along_axis(self._over(self.posterior(tally)), there, axis=1)[:, 0]
        return broken & ~decisions.stops & (tally.total > 0)

    def _leaps(self, tally: Tally, decisions: Decisions) -> Bools:
        broken: Bools = ~self._within_reach[tally.current, decisions.regimen]
        return broken & ~decisions.stops
