"""BLRM, Bayesian logistic regression with escalation with overdose control, along one axis.

The DLT probability at dose d is a two-parameter logistic curve::

    logit p(d) = log alpha + beta log(d / d*),    (log alpha, log beta) ~ bivariate normal

with alpha the odds of a DLT at the reference dose d*. A level is admissible when the posterior
probability that its DLT probability is above ``overdose_above`` is less than ``overdose_limit``
(escalation with overdose control, EWOC). Among the admissible levels the one with the largest
posterior probability of lying in the target interval is recommended; equal levels go to the lower.
When no level is admissible the trial stops and nothing is recommended.

Named variants of the recommendation: ``largest_admissible`` takes the highest admissible level, as
in the original EWOC of Babb, Rogatko & Zacks; ``closest_mean`` takes the admissible level whose
posterior mean is closest to the target. ``overdose_limit: 1`` switches the control off.

The way up is limited by ``no_skipping`` and by ``max_increase``, the largest relative step from the
current dose (1 allows doubling). Both limit the levels among which the recommendation is made, so
the next level is only entered when it beats the levels below it. Nothing limits the way down.

The trial ends by itself when ``declare_after`` participants are evaluable at the recommended level
that is also the current one, and either its target probability reaches ``declare_probability`` or
``declare_total`` participants are evaluable in all, as Neuenschwander and colleagues propose. Off
unless asked for.

Where this departs from the paper or has to assume something:

* posteriors are sums over a fixed grid, not samples; nothing is random;
* the default prior is the weakly informative one common in software examples, means (-.847, .381)
  and standard deviations (2.015, 1.027): an assumption to be replaced by the protocol's;
* the default reference dose is that of the middle level. It scales alpha: changing it changes the
  prior. It is printed by ``escalation rule``;
* along the frequency axis the dose of a level is its number of infusions unless ``doses`` is given:
  an assumption, since frequency is not a dose;
* at the end only levels that were tried can be selected, unless ``select_untried`` is set.

References
----------
Neuenschwander B, Branson M, Gsponer T (2008) Stat Med 27:2420-2439, doi:10.1002/sim.3230.
Babb J, Rogatko A, Zacks S (1998) Stat Med 17:1103-1120,
doi:10.1002/(SICI)1097-0258(19980530)17:10<1103::AID-SIM793>3.0.CO;2-9.

Examples
--------
Five doses, reference dose 50. One DLT among three at the second dose, none among three at the
first: the second dose lies in the target interval with probability .33 and above it with .21, so it
is admissible and best; the third is above it with .59 and is not admissible.

>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(10, 25, 50, 100, 150), schedules=((0,),), unit="mg")
>>> design = Blrm(BlrmParameters(), Setting(grid, cohort_size=3, start=0, max_patients=30))
>>> seen = Tally.of(n=[[3, 3, 0, 0, 0]], dlt=[[0, 1, 0, 0, 0]], current=[1])
>>> chances = design.chances(seen)
>>> chances.target.round(2)
array([[0.14, 0.33, 0.24, 0.14, 0.11]])
>>> chances.overdose.round(2)
array([[0.03, 0.21, 0.59, 0.78, 0.84]])
>>> decision = design.decide(seen)
>>> int(decision.regimen[0]) + 1, design.reasons[decision.reason[0]].code
(2, 'blrm.best_is_current')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from designs.axis import ladder_along
from designs.blrm_model import LogisticPosterior
from designs.blrm_parameters import REASONS, BlrmParameters
from escalation.decision import Action, Decisions, Reason
from escalation.design import Design, Estimates, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.tally import Bools, Counts, Floats, Tally

_TIE = 1e-9
"""Probabilities closer than this are a tie: rounding never picks the level."""

_PLANNED = 60
"""Participants the grid is made for when the protocol sets no maximum."""


@dataclass(frozen=True, slots=True)
class Chances:
    """Posterior probabilities of the levels, (S, L) each."""

    mean: Floats
    target: Floats
    overdose: Floats


class Blrm(Design[BlrmParameters]):
    """Bayesian logistic regression with overdose control along the dose axis or the frequency axis.

    Participants treated off the ladder, after a departure from the protocol, do not enter the
    likelihood.
    """

    name: ClassVar[str] = "blrm"
    title: ClassVar[str] = "BLRM"
    citation: ClassVar[str] = "Neuenschwander, Branson & Gsponer (2008) Stat Med 27:2420-2439, doi:10.1002/sim.3230"
    Parameters = BlrmParameters
    any_tally: ClassVar[bool] = True
    uses_last_cohort: ClassVar[bool] = True
    reasons: ClassVar[tuple[Reason, ...]] = REASONS

    def __init__(self, parameters: BlrmParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.ladder = ladder_along(setting, parameters.axis)
        self.doses = self._doses()
        self.reference = parameters.reference_dose or float(self.doses[(len(self.ladder) - 1) // 2])
        low, high = parameters.target_interval
        self._cuts = np.unique([low, high, parameters.overdose_threshold])
        self.model = LogisticPosterior(
            self.doses / self.reference,
            parameters.prior_mean,
            parameters.prior_sd,
            parameters.prior_correlation,
            self._cuts,
            setting.max_patients or _PLANNED,
        )

    def _doses(self) -> Floats:
        listed, grid = self.parameters.doses, self.grid
        if listed is not None:
            if len(listed) != len(self.ladder):
                raise DesignError(
                    "protocol.design.doses",
                    f"{len(listed)} doses for {len(self.ladder)} levels",
                    "give one dose per level, or leave the doses out to take those of the regimens",
                )
            return np.array(listed)
        if self._climbs_frequency:
            found = np.array([len(grid.schedule(k)) for k in self.ladder.regimens], dtype=float)
            if (np.diff(found) <= 0).any():
                raise DesignError(
                    "protocol.design.doses",
                    "the frequency levels do not increase in their number of infusions",
                    "give the value of every level that is to enter the model as its dose",
                )
            return found
        return np.array([grid.amount(k) for k in self.ladder.regimens], dtype=float)

    @property
    def _climbs_frequency(self) -> bool:
        here = self.ladder.index
        return len(here) > 1 and self.grid.frequency_of[here[0]] != self.grid.frequency_of[here[1]]

    @property
    def lowest(self) -> int:
        return self.ladder.regimens[0]

    @property
    def line(self) -> tuple[int, ...]:
        """The levels from the start upwards."""
        levels = self.ladder.regimens
        return levels[levels.index(self.start) :]

    @property
    def target(self) -> float:
        """Target DLT probability: the one given, or the middle of the target interval."""
        return self.parameters.target_probability

    @property
    def variant(self) -> str:
        """The recommendation and the switches that are not at their default."""
        parameters = self.parameters
        rule = {
            "target_interval": "largest target probability",
            "largest_admissible": "largest admissible level",
            "closest_mean": "mean closest to the target",
        }[parameters.recommend]
        named = (
            (parameters.overdose_limit >= 1, "no overdose control"),
            (self._climbs_frequency and parameters.doses is None, "dose is the number of infusions"),
            (not parameters.no_skipping, "levels may be skipped"),
            (parameters.max_increase is not None, f"steps up to {parameters.max_increase or 0:+.0%}"),
            (parameters.coherent, "coherent"),
            (parameters.declare_after is not None, f"declares from {parameters.declare_after} at the level"),
            (parameters.select_untried, "selects untried levels"),
        )
        return ", ".join([rule, *(name for on, name in named if on)])

    def constants(self) -> dict[str, float | str | list[float]]:
        """What enters the model: doses, reference dose and prior."""
        parameters = self.parameters
        return {
            "doses": self.doses.tolist(),
            "reference_dose": self.reference,
            "prior_mean": list(parameters.prior_mean),
            "prior_sd": list(parameters.prior_sd),
            "prior_correlation": parameters.prior_correlation,
        }

    def chances(self, tally: Tally) -> Chances:
        """Posterior means, target and overdose probabilities of the levels, in every row."""
        found = self.model.summaries(*self._counts(tally))
        low, high = self.parameters.target_interval

        def below(cut: float) -> Floats:
            share: Floats = found.below[:, :, np.searchsorted(self._cuts, cut)]
            return share

        return Chances(
            found.mean, np.maximum(below(high) - below(low), 0), 1 - below(self.parameters.overdose_threshold)
        )

    def decide(self, tally: Tally) -> Decisions:
        """The best admissible level within the limits on the way up, in every row."""
        parameters = self.parameters
        level = self.ladder.position(tally.current)
        here = np.arange(len(self.ladder))
        chances = self.chances(tally)
        admissible = self._admissible(chances)
        tried = tally.at_current(tally.n) > 0
        within = np.ones((tally.rows, len(here)), dtype=bool)
        if parameters.no_skipping:
            within &= here <= (level + tried)[:, None]
        if parameters.max_increase is not None:
            most = self.doses[level] * (1 + parameters.max_increase)
            within &= (self.doses <= most[:, None] * (1 + 1e-12)) | (here <= level[:, None])
        free, best = self._best(chances, admissible), self._best(chances, admissible & within)
        toxic = (tally.cohort_n > 0) & (tally.cohort_dlt >= self.target * tally.cohort_n - 1e-12)
        n_here = tally.at_current(tally.n)
        counted = tally.n[:, self.ladder.index].sum(axis=1)
        inside = np.take_along_axis(chances.target, level[:, None].astype(np.intp), axis=1)[:, 0]
        enough = inside >= parameters.declare_probability
        if parameters.declare_total is not None:
            enough |= counted >= parameters.declare_total
        declares = (best == level) & (n_here >= (parameters.declare_after or np.inf)) & enough

        # the first case that holds decides
        cases = (
            ("blrm.nobody_yet", counted == 0, level),
            ("blrm.no_admissible", ~admissible.any(axis=1), level),
            ("blrm.declared", declares, level),
            ("blrm.incoherent_escalation", (best > level) & toxic & parameters.coherent, level),
            ("blrm.limited", (best >= level) & (free > best), best),
            ("blrm.best_is_current", best == level, level),
            ("blrm.overdose", (best < level) & ~admissible[np.arange(tally.rows), level], best),
            ("blrm.best_is_lower", best < level, best),
            ("blrm.best_is_higher", best > level, best),
        )
        case = np.argmax(np.stack([holds for _, holds, _ in cases]), axis=0)
        target = np.choose(case, [there for _, _, there in cases])
        action = np.where(target > level, Action.ESCALATE, np.where(target < level, Action.DE_ESCALATE, Action.STAY))
        ends = np.array([self.reasons[self.cite(code)].stop is not None for code, _, _ in cases])[case]
        return Decisions(
            action=np.where(ends, Action.STOP, action).astype(np.int32),
            regimen=np.where(ends, tally.current, self.ladder.index[target]).astype(np.int32),
            size=np.where(ends, 0, self.setting.cohort_size).astype(np.int32),
            reason=np.array([self.cite(code) for code, _, _ in cases], dtype=np.int32)[case],
        )

    def select(self, tally: Tally) -> Bools:
        """The best admissible level, among those tried unless ``select_untried`` is set; none without one."""
        chances = self.chances(tally)
        usable = self._admissible(chances)
        if not self.parameters.select_untried:
            usable &= tally.n[:, self.ladder.index] > 0
        anybody = tally.n[:, self.ladder.index].sum(axis=1) > 0
        best = self._best(chances, usable)
        return self.ladder.mark(np.maximum(best, 0), anybody & usable.any(axis=1), self.grid.size)

    def estimates(self, tally: Tally) -> Estimates:
        """Posterior means with equal-tailed credible intervals, target and overdose probabilities."""
        parameters, chances = self.parameters, self.chances(tally)
        tail = (1 - parameters.interval) / 2
        quantiles = self.model.quantiles(np.array([tail, 1 - tail]), *self._counts(tally))
        found = self.model.summaries(*self._counts(tally))

        def spread(values: Floats) -> Floats:
            return self.ladder.spread(values, self.grid.size)

        return Estimates(
            curve=spread(chances.mean),
            lower=spread(quantiles[:, :, 0]),
            upper=spread(quantiles[:, :, 1]),
            level=parameters.interval,
            method="posterior mean; equal-tailed credible interval",
            parameters={"log_alpha": found.log_alpha, "log_beta": found.log_beta},
            by_regimen={
                "target_probability": spread(chances.target),
                "overdose_probability": spread(chances.overdose),
            },
        )

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What overdose control and the limits in force promise about every decision."""
        promised = []
        if self.parameters.overdose_limit < 1:
            promised.append(SafetyProperty("never treats at a level that is not admissible", self._overdoses))
        if self.parameters.no_skipping:
            promised.append(SafetyProperty("never goes up more than one level at a time", self._skips))
        return tuple(promised)

    def _counts(self, tally: Tally) -> tuple[Counts, Counts]:
        return tally.n[:, self.ladder.index], tally.dlt[:, self.ladder.index]

    def _admissible(self, chances: Chances) -> Bools:
        if self.parameters.overdose_limit >= 1:
            return np.ones(chances.overdose.shape, dtype=bool)
        admissible: Bools = chances.overdose < self.parameters.overdose_limit
        return admissible

    def _best(self, chances: Chances, among: Bools) -> Counts:
        """The best level of a set in every row, counted from 0, ties to the lower; -1 in an empty set."""
        if self.parameters.recommend == "largest_admissible":
            merit = np.broadcast_to(np.arange(len(self.ladder), dtype=float), among.shape)
        elif self.parameters.recommend == "closest_mean":
            merit = -np.abs(chances.mean - self.target)
        else:
            merit = chances.target
        merit = np.where(among, merit, -np.inf)
        best = np.argmax(merit >= merit.max(axis=1, keepdims=True) - _TIE, axis=1)
        return np.where(among.any(axis=1), best, -1).astype(np.int32)

    def _overdoses(self, tally: Tally, decisions: Decisions) -> Bools:
        admissible = self._admissible(self.chances(tally))
        there = self.ladder.position(decisions.regimen)
        asked = tally.n[:, self.ladder.index].sum(axis=1) > 0
        broken: Bools = asked & ~decisions.stops & ~admissible[np.arange(tally.rows), there]
        return broken

    def _skips(self, tally: Tally, decisions: Decisions) -> Bools:
        broken: Bools = self.ladder.position(decisions.regimen) > self.ladder.position(tally.current) + 1
        return broken
