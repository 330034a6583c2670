"""Waterfall: an MTD dose for each frequency, by BOIN in one sub-trial after another.

The grid is cut into ladders. The first sub-trial climbs the lowest dose through all frequencies and
then the doses at the highest frequency. The MTD it finds opens the next: the doses from the second
upwards at the frequency below, starting one dose above that MTD, and so on down to the lowest frequency.
When the first MTD is the lowest dose at a frequency below the highest, no higher frequency is tried
any more; if its DLT rate still asks to escalate, one more sub-trial climbs the doses at that frequency.
A sub-trial ends with its participants, when its next regimen has enough of them, or when its lowest
regimen is eliminated.

At the end the DLT probabilities of the whole grid are estimated together by isotonic regression. Each
frequency's MTD is its treated, open dose closest to the target, raised to that of the next higher
frequency where it would be lower: giving a dose less often cannot be more toxic.

No sub-trial shares a regimen with another, so which one is running, its participants and the MTDs before
it all follow from the counts.

Departures from the released software (R package BOIN 2.7.2, ``get.oc.comb`` with ``mtd.contour``), which
the numbers of the tests come from:

* when a later sub-trial finds no acceptable dose the software ends the trial and forgets that
  sub-trial's data; here they are kept. ``frequency_without_mtd: next_frequency`` goes on with the
  frequency below instead;
* elimination closes everything at or above a regimen; ``select_elimination: ladder`` closes only the
  rest of its sub-trial at the selection, as the software does;
* its simulator lets closed regimens enter the final regression as 1.1, its exported selection function
  (``select.mtd.comb``) closes them afterwards, rounds the estimates and does not raise an MTD dose:
  ``regression: all_estimates``, ``round_estimates`` and ``raise_lower_frequencies`` off are the latter;
* extra safety at the lowest regimen uses the uniform prior of the elimination rule.

References
----------
Zhang L, Yuan Y (2016) Stat Med 35:4924-4936, doi:10.1002/sim.7108.

Examples
--------
Three doses by two frequencies. The first ladder is dose 1 once, dose 1 twice, dose 2 twice, dose 3
twice; the second is doses 2 and 3 once.

>>> from designs.waterfall import Waterfall, WaterfallParameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> grid = RegimenGrid(doses=(1, 2, 4), schedules=((0,), (0, 7)), unit="mg")
>>> design = Waterfall(WaterfallParameters(), Setting(grid, cohort_size=3, start=0))
>>> [[grid.level(k) for k in ladder] for ladder in design.ladders]
[['1.1', '1.2', '2.2', '3.2'], ['2.1', '3.1']]
>>> design.places
(18, 9)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import ceil
from typing import Any, ClassVar, NamedTuple

import numpy as np

from designs.boin import Boin
from designs.boundaries import Boundaries, boundaries_by_cohort
from designs.selection import IsotonicSelection
from designs.waterfall_parameters import REASONS, WaterfallParameters
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.partial_order import matrix_isotonic
from escalation.tally import Bools, Counts, Floats, Indices, Tally

_TABLE_SIZE = 200
_PER_LEVEL = 1e-5
"""What every level adds to an estimate, so that of pooled doses below the target the highest is closest."""
_CLOSED = 1.1
"""What a closed regimen enters the final regression as: above every target."""
_PER_REGIMEN = 4
"""Participants a regimen gets on average when the protocol does not say, as in the released software."""
_NONE = -1
_OWN_MTD = IsotonicSelection(prior=(0.05, 0.05))
"""How a sub-trial selects its MTD: as BOIN."""


class _Standing(NamedTuple):
    """Where a sub-trial stands by its counts."""

    closed: Bools
    """(S, L) its eliminated regimens."""
    mtd: Counts
    """(S,) place of its MTD so far, from 0; -1 for none."""
    escalates: Bools
    """(S,) whether the DLT rate at that MTD asks to escalate."""


class Waterfall(Design[WaterfallParameters]):
    """BOIN in one sub-trial after another, from the highest frequency down; selects a dose for each frequency."""

    name: ClassVar[str] = "waterfall"
    title: ClassVar[str] = "Waterfall"
    citation: ClassVar[str] = "Zhang & Yuan (2016) Stat Med 35:4924-4936, doi:10.1002/sim.7108"
    Parameters = WaterfallParameters
    reasons: ClassVar[tuple[Reason, ...]] = REASONS
    selects_contour: ClassVar[bool] = True
    any_tally: ClassVar[bool] = True

    def __init__(self, parameters: WaterfallParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.ladders = _ladders(*self.grid.shape)
        self.places = self._places()
        if self.start not in self.ladders[0]:
            raise DesignError(
                "protocol.start",
                f"regimen {self.grid.level(self.start)} is not on the first sub-trial, the lowest dose through all "
                "frequencies and then the doses at the highest frequency",
                "start at the lowest dose",
            )
        self.boundaries = Boin.tabulate(parameters.one_axis(), setting.max_patients or _TABLE_SIZE)
        self._order = self.grid.at_most.astype(np.float32)

    def _places(self) -> tuple[int, ...]:
        """Participants of each sub-trial."""
        size, cohorts = self.setting.cohort_size, self.parameters.cohorts
        if cohorts is None:
            return tuple(size * ceil(round(_PER_REGIMEN / size, 2) * len(ladder)) for ladder in self.ladders)
        if len(cohorts) != len(self.ladders):
            raise DesignError(
                "protocol.design.cohorts",
                f"{len(cohorts)} numbers are given for {len(self.ladders)} sub-trials",
                "give one number of cohorts for each sub-trial",
            )
        return tuple(size * number for number in cohorts)

    @property
    def variant(self) -> str:
        """The switches that are on."""
        return ", ".join(self.switches())

    def switches(self) -> Iterator[str]:
        """The switches that are on, each in words."""
        parameters = self.parameters
        if parameters.extra_safe:
            yield "extra safe"
        if parameters.frequency_without_mtd == "next_frequency":
            yield "goes on below a frequency without MTD"
        if parameters.select_elimination == "ladder":
            yield "selection closes within a sub-trial"
        if parameters.regression == "all_estimates":
            yield "closed regimens keep their estimates"
        if not parameters.raise_lower_frequencies:
            yield "lower frequencies not raised"
        if parameters.round_estimates:
            yield "rounded estimates"

    @property
    def own_maximum(self) -> int | None:
        return sum(self.places)

    # the running sub-trial ------------------------------------------------------------------------

    @cached_property
    def _ladder_of(self) -> Indices:
        """(K,) the sub-trial of every regimen."""
        of = np.zeros(self.grid.size, dtype=np.intp)
        for number, ladder in enumerate(self.ladders):
            of[ladder] = number
        return of

    @cached_property
    def _place_of(self) -> Indices:
        """(K,) the place of every regimen in its sub-trial."""
        of = np.zeros(self.grid.size, dtype=np.intp)
        for ladder in self.ladders:
            of[ladder] = np.arange(len(ladder))
        return of

    def decide(self, tally: Tally) -> Decisions:
        """BOIN along the running sub-trial; when that is complete, the next one."""
        regimen, reason = tally.current.copy(), np.zeros(tally.rows, np.int32)
        size, stops = np.full(tally.rows, self.setting.cohort_size, np.int32), np.zeros(tally.rows, dtype=bool)
        running = self._ladder_of[tally.current]
        for number in np.unique(running):
            rows = np.flatnonzero(running == number)
            part = tally.take(rows)
            there, why, left, ended = self._step(part, int(number))
            regimen[rows], reason[rows], size[rows] = there, why, np.minimum(size[rows], left)
            over = rows[ended]
            regimen[over], reason[over], stops[over] = self._onward(part.take(ended), int(number))
            size[over] = self.setting.cohort_size
        regimen = np.where(stops, tally.current, regimen).astype(np.int32)
        action = np.where(stops, np.int32(Action.STOP), moves(tally.current, regimen, self.grid.at_most))
        return Decisions(action=action, regimen=regimen, size=np.where(stops, np.int32(0), size), reason=reason)

    def _step(self, tally: Tally, number: int) -> tuple[Counts, Counts, Counts, Bools]:
        """Next regimen, reason, participants left, and whether the sub-trial is over, by its counts."""
        ladder, bound = self.ladders[number], self._boundaries_for(tally)
        closed = self._closed(tally, number)
        place, top = self._place_of[tally.current], len(ladder) - 1
        n, dlt = tally.at_current(tally.n), tally.at_current(tally.dlt)
        above_open: Bools = (place < top) & ~np.take_along_axis(closed, np.minimum(place + 1, top)[:, None], axis=1)[
            :, 0
        ]
        up, down = dlt <= bound.escalate[n], dlt >= bound.de_escalate[n]
        cases: list[tuple[str, Bools, int]] = [
            ("waterfall.nobody_yet", n == 0, 0),
            ("waterfall.nowhere_up", up & ~above_open, 0),
            ("waterfall.at_or_below_lambda_e", up, 1),
            ("waterfall.at_lowest", down & (place == 0), 0),
            ("waterfall.eliminated", dlt >= bound.eliminate[n], -1),
            ("waterfall.at_or_above_lambda_d", down, -1),
            ("waterfall.between", np.ones(tally.rows, dtype=bool), 0),
        ]
        case = np.argmax(np.stack([holds for _, holds, _ in cases]), axis=0)
        there = ladder[place + np.array([step for _, _, step in cases])[case]].astype(np.int32)
        reason = np.array([self.cite(code) for code, _, _ in cases], dtype=np.int32)[case]
        left = self.places[number] - tally.n[:, ladder].sum(axis=1, dtype=np.int32)
        full = np.take_along_axis(tally.n, there[:, None].astype(np.intp), axis=1)[:, 0] >= self.parameters.full_at
        return there, reason, left, (left <= 0) | full | closed[:, 0]

    def _onward(self, tally: Tally, number: int) -> tuple[Counts, Counts, Bools]:
        """The first regimen after a complete sub-trial, the reason, and whether the trial ends instead."""
        doses = self.grid.n_doses
        frequency, dose, extra, found = self._settled(tally, number)
        next_up = extra & (dose == 0) & (number == 0)  # the doses at the frequency of the path's own MTD
        to = np.where(next_up, frequency, frequency - 1)
        start = np.minimum(dose + 1, doses - 1)
        regimen = np.maximum(to, 0) * doses + start
        code = np.full(tally.rows, self.cite("waterfall.next_frequency"), np.int32)
        code[next_up] = self.cite("waterfall.doses_at_this_frequency")
        code[to < 0] = self.cite("waterfall.complete")
        stops = to < 0
        if doses == 1:  # the path is the whole trial
            stops, code = np.ones(tally.rows, dtype=bool), np.full_like(code, self.cite("waterfall.complete"))
        if number == 0:
            code[~found] = self.cite("waterfall.lowest_eliminated")
            stops = stops | ~found
        elif self.parameters.frequency_without_mtd == "stop":
            code[~found] = self.cite("waterfall.no_dose_at_frequency")
            stops = stops | ~found
        return regimen.astype(np.int32), code, stops

    def _settled(self, tally: Tally, number: int) -> tuple[Counts, Counts, Bools, Bools]:
        """The MTD of a complete sub-trial: frequency, dose, whether it asks to escalate further, whether there is one.

        Where the doses at the frequency of the path's MTD were tried in vain, that MTD, the lowest dose, stays.
        """
        standing = self._standing(tally, number)
        found = standing.mtd != _NONE
        ladder = self.ladders[number]
        at = ladder[np.maximum(standing.mtd, 0)]
        frequency, dose = self.grid.frequency_of[at].astype(np.int32), self.grid.dose_of[at].astype(np.int32)
        below_highest = frequency < self.grid.n_frequencies - 1
        extra = standing.escalates & below_highest & (self.grid.n_doses > 1)
        if number:
            dose = np.where(found, dose, 0).astype(np.int32)
            path = self._standing(tally, 0).mtd
            found = found | (path == frequency)  # on the path the place of the lowest dose is its frequency
        return frequency, dose, extra, found

    def _standing(self, tally: Tally, number: int) -> _Standing:
        ladder, bound = self.ladders[number], self._boundaries_for(tally)
        n, dlt = tally.n[:, ladder], tally.dlt[:, ladder]
        closed = self._closed(tally, number)
        place, found = _OWN_MTD.closest(n, dlt, (n > 0) & ~closed, self.parameters.target)
        at = place[:, None].astype(np.intp)
        n_at, dlt_at = np.take_along_axis(n, at, axis=1)[:, 0], np.take_along_axis(dlt, at, axis=1)[:, 0]
        return _Standing(closed, np.where(found, place, _NONE).astype(np.int32), dlt_at <= bound.escalate[n_at])

    def _closed(self, tally: Tally, number: int) -> Bools:
        """Regimens of a sub-trial that are eliminated by its own counts: (S, L)."""
        closed: Bools = np.logical_or.accumulate(self._reached(tally)[:, self.ladders[number]], axis=1)
        return closed

    def _reached(self, tally: Tally) -> Bools:
        """Regimens whose own counts reached the elimination boundary: (S, K)."""
        bound = self._boundaries_for(tally)
        reached: Bools = tally.dlt >= bound.eliminate[tally.n]
        if self.parameters.extra_safe:
            first = np.array([ladder[0] for ladder in self.ladders])
            reached[:, first] |= tally.dlt[:, first] >= bound.stop[tally.n[:, first]]
        return reached

    def constants(self) -> dict[str, float | str | list[float]]:
        """The boundaries by the number evaluable at the current regimen."""
        return boundaries_by_cohort(self.boundaries, self.setting.cohort_size)

    def _boundaries_for(self, tally: Tally) -> Boundaries:
        """The boundaries, extended when more participants were evaluable at a regimen than the protocol planned."""
        most = int(tally.n.max(initial=0))
        if most < len(self.boundaries.eliminate):
            return self.boundaries
        return Boin.tabulate(self.parameters.one_axis(), _TABLE_SIZE * (most // _TABLE_SIZE + 1))

    # elimination and selection --------------------------------------------------------------------

    def eliminated(self, tally: Tally) -> Bools:
        """Regimens whose DLTs reached the elimination boundary, and every regimen at or above one of them."""
        closed: Bools = self._reached(tally).astype(np.float32) @ self._order > 0
        return closed

    def _closed_to_selection(self, tally: Tally) -> Bools:
        """Eliminated regimens, frequencies the path left behind, and doses right of a settled MTD: (S, F, D)."""
        closed = np.zeros(tally.n.shape, dtype=bool)
        if self.parameters.select_elimination == "rectangle":
            closed = self.eliminated(tally)
        else:
            for number, ladder in enumerate(self.ladders):
                closed[:, ladder] = self._closed(tally, number)
        cells = closed.reshape(tally.rows, *self.grid.shape)
        running = self._ladder_of[tally.current]
        path_over = running > 0
        on_path = np.flatnonzero(~path_over)
        path_over[on_path] = self._step(tally.take(on_path), 0)[3]
        frequency, dose, _, found = self._settled(tally, 0)
        often, doses = np.arange(self.grid.n_frequencies), np.arange(self.grid.n_doses)
        left = (path_over & found & (dose == 0))[:, None] & (often > frequency[:, None])
        cells |= left[:, :, None]
        for number, ladder in enumerate(self.ladders):
            row = int(self.grid.frequency_of[ladder[-1]])
            frequency, dose, _, found = self._settled(tally, number)
            settled = found & (running > number) & (frequency == row) & (tally.n[:, ladder].sum(axis=1) > 0)
            cells[:, row] |= settled[:, None] & (doses > dose[:, None])
        return cells

    def isotonic_estimates(self, tally: Tally) -> Floats:
        """DLT probabilities by isotonic regression over the whole grid: (S, K).

        Of y DLTs among n, (y + .05) / (n + .1) enters with weight n + .1.
        """
        return self._estimates(tally, self._closed_to_selection(tally).reshape(tally.n.shape))

    def _estimates(self, tally: Tally, closed: Bools) -> Floats:
        weight: Floats = tally.n.astype(np.float64) + 0.1
        rate = (tally.dlt + 0.05) / weight
        if self.parameters.regression == "closed_as_toxic":
            rate = np.where(closed, _CLOSED, rate)
        fit = matrix_isotonic(rate, weight, self.grid.shape)
        return np.round(fit, 2) if self.parameters.round_estimates else fit

    def select(self, tally: Tally) -> Bools:
        """At each frequency the treated, open dose closest to the target, raised to that of the next higher frequency.

        A frequency has none when its lowest dose is closed or none of its open doses was treated.
        """
        shape = (tally.rows, *self.grid.shape)
        closed = self._closed_to_selection(tally)
        estimate = self._estimates(tally, closed.reshape(tally.n.shape)).reshape(shape)
        level = _PER_LEVEL * (self.grid.dose_of + self.grid.frequency_of + 2).reshape(self.grid.shape)
        usable = (tally.n.reshape(shape) > 0) & ~closed
        distance = np.where(usable, np.abs(estimate + level - self.parameters.target), np.inf)
        dose = np.argmin(distance, axis=2)
        found = usable.any(axis=2) & ~closed[:, :, 0]
        for often in reversed(range(self.grid.n_frequencies - 1)):
            raised = found[:, often] & found[:, often + 1] & self.parameters.raise_lower_frequencies
            dose[:, often] = np.where(raised, np.maximum(dose[:, often], dose[:, often + 1]), dose[:, often])
        selected: Any = found[:, :, None] & (dose[:, :, None] == np.arange(self.grid.n_doses))
        whole: Bools = selected.reshape(tally.n.shape)
        return whole

    # promises -------------------------------------------------------------------------------------

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the design promises about every decision."""
        return (
            SafetyProperty(
                "never treats at or above a regimen whose DLTs reached the elimination boundary",
                self._treats_eliminated,
            ),
            SafetyProperty("within a sub-trial never moves more than one regimen", self._leaps),
            SafetyProperty("never returns to an earlier sub-trial", self._returns),
        )

    def _treats_eliminated(self, tally: Tally, decisions: Decisions) -> Bools:
        closed = np.take_along_axis(self.eliminated(tally), decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
        broken: Bools = closed & ~decisions.stops
        return broken

    def _leaps(self, tally: Tally, decisions: Decisions) -> Bools:
        here, there = tally.current, decisions.regimen
        far: Bools = np.abs(self._place_of[there] - self._place_of[here]) > 1
        far &= self._ladder_of[here] == self._ladder_of[there]
        return far & ~decisions.stops

    def _returns(self, tally: Tally, decisions: Decisions) -> Bools:
        earlier: Bools = self._ladder_of[decisions.regimen] < self._ladder_of[tally.current]
        return earlier & ~decisions.stops


def _ladders(frequencies: int, doses: int) -> tuple[Indices, ...]:
    """Regimens of every sub-trial: the path, then the doses from the second up at each lower frequency."""
    cells = np.arange(frequencies * doses).reshape(frequencies, doses)
    path = np.concatenate([cells[:, 0], cells[-1, 1:]])
    rows = [cells[often, 1:] for often in reversed(range(frequencies - 1))]
    return (path, *(row for row in rows if row.size))
