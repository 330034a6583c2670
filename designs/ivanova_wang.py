"""Ivanova-Wang: an MTD dose for each frequency, by an up-and-down search of one frequency after another.

Established, and done here: the design assumes no model but the order (a DLT is not less probable at a
higher dose, nor at a higher frequency); each row of the grid is searched by an up-and-down rule along the
doses; at the end the DLT probabilities of all regimens are estimated together by isotonic regression in both
directions (bivariate), and the MTD of each row is its dose with the estimate closest to the target.

**A reading, not a reproduction.** The steps of the paper were not available when this was written, only what
others report of it, so that no published operating characteristics stand behind it. Each step that had to be
chosen is named here, most of them as a switch:

* the up-and-down rule within a frequency (``up_and_down``). ``narayana`` is that of Ivanova and
  colleagues (2003): one dose up when the latest k participants at the regimen had no DLT and its DLT rate is
  below the target, one down when there is a DLT among them and the rate is above the target, else stay.
  ``cumulative`` is Ivanova's later rule, that of the cumulative cohort design. k is ln(.5) / ln(1 - target),
  rounded: 2 for targets from .25 to .33, 3 for .20 (``in_a_row``);
* cohorts. Within a cohort no order is known: a cohort with a DLT breaks the row of participants without
  one. Cohorts smaller than k are therefore counted together at each regimen, those of k or more stand alone;
* the order and size of the rows: frequencies from the lowest upwards, each with its own number of
  participants (``cohorts``), equal shares of the protocol's maximum if not given, what is left over going to
  the lowest frequencies; four for each regimen where the protocol sets no maximum;
* where the next frequency starts (``row_start``) and how far it may go (``ceiling``);
* a frequency is not opened when the dose it would start at is estimated above the target at the frequency below;
* elimination, with everything at or above the regimen, as in the interval designs
  (``elimination_certainty: null`` leaves it out);
* in the regression y DLTs among n enter as (y + .05) / (n + .1) with weight n + .1, as in the other grid
  designs; equal estimates below the target go to the higher dose, others to the lower; the MTD dose
  is not higher than that of the next lower frequency.

One property of every design can break: two DLTs in the last cohort at the lowest dose do not keep the next
frequency closed when the estimate of everybody is at or below the target. The guard ``coherence`` keeps it.

References
----------
Ivanova A, Wang K (2004) Stat Med 23:1861-1870.
Ivanova A, Montazer-Haghighi A, Mohanty SG, Durham SD (2003) Stat Med 22:69-82 (the Narayana rule).
Ivanova A, Flournoy N, Chung Y (2007) J Stat Plan Inference 137:2316-2327, doi:10.1016/j.jspi.2006.07.009.

Examples
--------
Target .30, hence two in a row; a cohort of three is long enough. At dose 2, frequency 1: no DLT among three
escalates; one of three is above the target with a DLT in the cohort and de-escalates; one of six with a last
cohort without DLT escalates; one of six with the DLT in the last cohort stays.

>>> from designs.ivanova_wang import IvanovaWang, IvanovaWangParameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
>>> grid = RegimenGrid(doses=(1, 2, 4), schedules=((0,), (0, 7)), unit="mg")
>>> design = IvanovaWang(IvanovaWangParameters(), Setting(grid, cohort_size=3, start=0, max_patients=30))
>>> design.parameters.run, design.places
(2, (15, 15))
>>> seen = Tally.of(n=[[3, 3, 0, 0, 0, 0]] * 2 + [[3, 6, 0, 0, 0, 0]] * 2,
...                 dlt=[[0, 0, 0, 0, 0, 0]] + [[0, 1, 0, 0, 0, 0]] * 3,
...                 current=[1] * 4, cohort_n=[3] * 4, cohort_dlt=[0, 1, 0, 1])
>>> [design.reasons[reason].code.split(".")[1] for reason in design.decide(seen).reason]
['clear_and_below', 'dlt_and_above', 'clear_and_below', 'undecided']
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from designs.ccd import Ccd
from designs.ivanova_wang_parameters import REASONS, IvanovaWangParameters
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.numerics import beta_exceedance_boundary, distinct_rows
from escalation.partial_order import matrix_isotonic
from escalation.tally import Bools, Counts, Floats, Tally

_PER_LEVEL = 1e-5
"""What every dose adds to an estimate, so that of pooled doses below the target the highest is closest."""
_PER_REGIMEN = 4
"""Participants a regimen gets on average when the protocol sets no maximum."""
_ROUNDING = 1e-9
"""A rate this close to the target is on it."""


class IvanovaWang(Design[IvanovaWangParameters]):
    """Up-and-down along the doses of one frequency after another; selects a dose for each frequency."""

    name: ClassVar[str] = "ivanova_wang"
    title: ClassVar[str] = "Ivanova-Wang"
    citation: ClassVar[str] = "a reading of Ivanova & Wang (2004) Stat Med 23:1861-1870"
    Parameters = IvanovaWangParameters
    reasons: ClassVar[tuple[Reason, ...]] = REASONS
    selects_contour: ClassVar[bool] = True
    uses_last_cohort: ClassVar[bool] = True
    any_tally: ClassVar[bool] = True

    def __init__(self, parameters: IvanovaWangParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        if self.grid.frequency_of[self.start] > 0:
            raise DesignError(
                "protocol.start",
                f"regimen {self.grid.level(self.start)} is not at the lowest frequency, where the search begins",
                "start at the lowest frequency",
            )
        self.places = self._places()
        if parameters.up_and_down == "narayana" and setting.cohort_size < parameters.run:
            self.memory_size = self.grid.size  # participants in a row without a DLT, at each regimen

    def _places(self) -> tuple[int, ...]:
        """Participants of each frequency."""
        rows, size, cohorts = self.grid.n_frequencies, self.setting.cohort_size, self.parameters.cohorts
        if cohorts is None:
            most = self.setting.max_patients or _PER_REGIMEN * self.grid.size
            each, over = divmod(most // size, rows)
            cohorts = tuple(max(1, each + (row < over)) for row in range(rows))
        if len(cohorts) != rows:
            raise DesignError(
                "protocol.design.cohorts",
                f"{len(cohorts)} numbers are given for {rows} frequencies",
                "give one number of cohorts for each frequency",
            )
        return tuple(size * number for number in cohorts)

    @property
    def variant(self) -> str:
        """The up-and-down rule and the switches that are on."""
        return ", ".join(self.switches())

    def switches(self) -> Iterator[str]:
        """The rule and the switches that are on, each in words."""
        parameters = self.parameters
        yield "cumulative rule" if parameters.up_and_down == "cumulative" else f"{parameters.run} in a row"
        if parameters.row_start == "lowest":
            yield "frequencies start at the lowest dose"
        if parameters.ceiling != "mtd_below":
            yield "up to the doses tried below" if parameters.ceiling == "tried_below" else "no ceiling"
        if parameters.elimination_certainty is None:
            yield "no elimination"

    @property
    def own_maximum(self) -> int | None:
        return sum(self.places)

    def constants(self) -> dict[str, float | str | list[float]]:
        """The participants in a row and the participants of each frequency."""
        shown: dict[str, float | str | list[float]] = {
            "participants of each frequency": [float(n) for n in self.places]
        }
        if self.parameters.up_and_down == "narayana":
            shown["in a row without a DLT to escalate"] = float(self.parameters.run)
        return shown

    # the decision ---------------------------------------------------------------------------------

    def decide(self, tally: Tally) -> Decisions:
        """Up-and-down along the doses of the running frequency; when that is complete, the next one."""
        up, down, memory = self._wishes(tally)
        there, reason = self._step(tally, up, down)
        running = self.grid.frequency_of[tally.current]
        cells = tally.n.reshape(tally.rows, *self.grid.shape).sum(axis=2, dtype=np.int32)
        left = np.array(self.places, np.int32)[running] - cells[np.arange(tally.rows), running]
        size = np.minimum(np.int32(self.setting.cohort_size), left)
        stops = np.zeros(tally.rows, dtype=bool)
        over = np.flatnonzero(left <= 0)
        there[over], reason[over], stops[over] = self._onward(tally.take(over))
        size[over] = self.setting.cohort_size
        shut = self._row(self.eliminated(tally), running)[:, 0]
        reason[shut] = np.where(
            running[shut] > 0,
            self.cite("ivanova_wang.no_dose_at_frequency"),
            self.cite("ivanova_wang.lowest_eliminated"),
        )
        stops |= shut
        there = np.where(stops, tally.current, there).astype(np.int32)
        action = np.where(stops, np.int32(Action.STOP), moves(tally.current, there, self.grid.at_most))
        return Decisions(
            action=action, regimen=there, size=np.where(stops, np.int32(0), size), reason=reason, memory=memory
        )

    def _wishes(self, tally: Tally) -> tuple[Bools, Bools, Counts | None]:
        """Rows in which the up-and-down rule asks for the next dose or the one before, and what it remembers."""
        n, dlt = tally.at_current(tally.n), tally.at_current(tally.dlt)
        if self.parameters.up_and_down == "cumulative":
            escalate, de_escalate = Ccd.limits(self.parameters.cumulative(), int(tally.n.max(initial=0)))
            return (n > 0) & (dlt <= escalate[n]), (n > 0) & (dlt >= de_escalate[n]), None
        run, target = self.parameters.run, self.parameters.target
        memory = None
        clear_cohort: Bools = tally.cohort_dlt == 0
        if self.memory_size:
            in_a_row = np.where(clear_cohort, tally.at_current(tally.memory) + tally.cohort_n, 0)
            memory = tally.memory.copy()
            memory[np.arange(tally.rows), tally.current] = np.minimum(in_a_row, run)
            clear, seen = in_a_row >= run, (in_a_row < run) & (dlt > 0)
        else:  # a cohort cut short counts when nobody here had a DLT
            clear = clear_cohort & ((tally.cohort_n >= run) | ((dlt == 0) & (n >= run)))
            seen = ~clear_cohort
        below, above = dlt < target * n - _ROUNDING, dlt > target * n + _ROUNDING
        return clear & below, seen & above, memory

    def _step(self, tally: Tally, up: Bools, down: Bools) -> tuple[Counts, Counts]:
        """The next regimen at the running frequency and the reason."""
        running, dose = self.grid.frequency_of[tally.current], self.grid.dose_of[tally.current]
        narayana = self.parameters.up_and_down == "narayana"
        still_open = (~self._row(self.eliminated(tally), running)).sum(axis=1) - 1
        ceiling = np.full(tally.rows, self.grid.n_doses - 1)
        rising = np.flatnonzero(up & (running > 0) & (self.parameters.ceiling != "none"))
        ceiling[rising] = self._ceiling(tally.take(rising))
        cases: list[tuple[str, Bools, int]] = [
            ("nobody_yet", tally.at_current(tally.n) == 0, 0),
            ("eliminated", dose > still_open, -1),
            ("nowhere_up", up & (dose >= still_open), 0),
            ("at_ceiling", up & (dose >= ceiling), 0),
            ("clear_and_below" if narayana else "rate_below", up, 1),
            ("at_lowest", down & (dose == 0), 0),
            ("dlt_and_above" if narayana else "rate_above", down, -1),
            ("undecided" if narayana else "rate_between", np.ones(tally.rows, dtype=bool), 0),
        ]
        case = np.argmax(np.stack([holds for _, holds, _ in cases]), axis=0)
        to = dose + np.array([step for _, _, step in cases])[case]
        to = np.clip(to, 0, np.maximum(still_open, 0))
        reason = np.array([self.cite(f"ivanova_wang.{code}") for code, _, _ in cases], dtype=np.int32)[case]
        return (running * self.grid.n_doses + to).astype(np.int32), reason

    def _ceiling(self, tally: Tally) -> Counts:
        """The highest dose the next lower frequency supports at the running one, from 0."""
        below = self.grid.frequency_of[tally.current] - 1
        if self.parameters.ceiling == "mtd_below":
            return self._settled(tally, below)[0]
        tried = self._row(tally.n > 0, below)
        highest: Counts = np.max(np.where(tried, np.arange(self.grid.n_doses), 0), axis=1, initial=0).astype(np.int32)
        return highest

    def _onward(self, tally: Tally) -> tuple[Counts, Counts, Bools]:
        """The first regimen of the next frequency, the reason, and whether the trial ends instead."""
        running = self.grid.frequency_of[tally.current]
        mtd, estimate = self._settled(tally, running)
        start = np.zeros(tally.rows, dtype=np.intp)
        if self.parameters.row_start == "one_below":
            start = np.minimum(np.maximum(mtd - 1, 0), self.grid.dose_of[tally.current])
        last = running == self.grid.n_frequencies - 1
        there = np.where(last, tally.current, (running + 1) * self.grid.n_doses + start).astype(np.int32)
        start_at = np.take_along_axis(estimate, start[:, None], axis=1)[:, 0]
        closed = np.take_along_axis(self.eliminated(tally), there[:, None].astype(np.intp), axis=1)[:, 0]
        toxic = ~last & (closed | (start_at > self.parameters.target + _ROUNDING))
        reason = np.full(tally.rows, self.cite("ivanova_wang.next_frequency"), np.int32)
        reason[last] = self.cite("ivanova_wang.complete")
        reason[toxic] = self.cite("ivanova_wang.higher_frequency_too_toxic")
        return there, reason, last | toxic

    # estimates, elimination and selection ---------------------------------------------------------

    def _row(self, values: Bools, frequency: Any) -> Bools:
        """The doses of each row's own frequency: (S, D)."""
        cells: Bools = values.reshape(len(values), *self.grid.shape)[np.arange(len(values)), frequency]
        return cells

    def _settled(self, tally: Tally, frequency: Any) -> tuple[Counts, Floats]:
        """The MTD dose of a searched frequency, from 0, and the estimates there, (S, D), by the data up to it."""
        doses = self.grid.n_doses
        estimate = np.zeros((tally.rows, doses))
        for often in np.unique(frequency):
            rows = np.flatnonzero(frequency == often)
            known = (often + 1) * doses
            n, dlt = tally.n[rows, :known], tally.dlt[rows, :known]
            first, inverse = distinct_rows(np.concatenate([n, dlt], axis=1))  # many trials share their past
            estimate[rows] = self._estimates(n[first], dlt[first])[inverse, -doses:]
        usable = self._row((tally.n > 0) & ~self.eliminated(tally), frequency)
        return self._closest(estimate, usable), estimate

    def _closest(self, estimate: Floats, usable: Bools) -> Counts:
        """The usable dose closest to the target, from 0; the lowest where none is usable."""
        distance = np.abs(estimate + _PER_LEVEL * np.arange(self.grid.n_doses) - self.parameters.target)
        closest: Counts = np.argmin(np.where(usable, distance, np.inf), axis=1).astype(np.int32)
        return closest

    def isotonic_estimates(self, tally: Tally) -> Floats:
        """DLT probabilities by isotonic regression over the whole grid: (S, K)."""
        return self._estimates(tally.n, tally.dlt)

    def _estimates(self, n: Counts, dlt: Counts) -> Floats:
        """Isotonic regression over the lowest frequencies, as many as the counts cover."""
        weight: Floats = n.astype(np.float64) + 0.1
        shape = (n.shape[1] // self.grid.n_doses, self.grid.n_doses)
        return matrix_isotonic((dlt + 0.05) / weight, weight, shape)

    def eliminated(self, tally: Tally) -> Bools:
        """Regimens whose DLTs reached the elimination boundary, and every regimen at or above one of them."""
        certainty = self.parameters.elimination_certainty
        if certainty is None:
            return np.zeros(tally.n.shape, dtype=bool)
        reached = (
            tally.dlt
            >= beta_exceedance_boundary(
                int(tally.n.max(initial=0)),
                self.parameters.target,
                certainty,
                minimum=self.parameters.elimination_minimum,
            )[tally.n]
        )
        closed: Bools = reached.astype(np.float32) @ self.grid.at_most.astype(np.float32) > 0
        return closed

    def select(self, tally: Tally) -> Bools:
        """At each frequency the tried, open dose closest to the target, not above that of the next lower frequency."""
        shape = (tally.rows, *self.grid.shape)
        estimate = self.isotonic_estimates(tally).reshape(shape)
        usable = ((tally.n > 0) & ~self.eliminated(tally)).reshape(shape)
        doses = np.arange(self.grid.n_doses)
        selected = np.zeros(shape, dtype=bool)
        most = np.full(tally.rows, self.grid.n_doses - 1, np.int32)
        for often in range(self.grid.n_frequencies):
            here = usable[:, often] & (doses <= most[:, None])
            found: Bools = np.asarray(here.any(axis=1))
            dose = self._closest(estimate[:, often], here)
            selected[:, often] = found[:, None] & (doses == dose[:, None])
            most = np.where(found, dose, most).astype(np.int32)
        return selected.reshape(tally.n.shape)

    # promises -------------------------------------------------------------------------------------

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the design promises about every decision."""
        promises = [
            SafetyProperty("at one frequency never moves more than one dose", self._leaps),
            SafetyProperty("never returns to a lower frequency", self._returns),
            SafetyProperty("never selects a higher dose at a higher frequency", self._rising_contour),
        ]
        if self.parameters.up_and_down == "narayana":
            promises.append(SafetyProperty("never raises the dose at or above the target DLT rate", self._bold))
        if self.parameters.ceiling != "none":
            promises.append(
                SafetyProperty("never raises a dose above those tried at the next lower frequency", self._above_tried)
            )
        return tuple(promises)

    def _raised(self, tally: Tally, decisions: Decisions) -> Bools:
        grid, here, there = self.grid, tally.current, decisions.regimen
        up: Bools = (grid.frequency_of[there] == grid.frequency_of[here]) & (grid.dose_of[there] > grid.dose_of[here])
        return up & ~decisions.stops

    def _leaps(self, tally: Tally, decisions: Decisions) -> Bools:
        grid, here, there = self.grid, tally.current, decisions.regimen
        far: Bools = np.abs(grid.dose_of[there] - grid.dose_of[here]) > 1
        far &= grid.frequency_of[there] == grid.frequency_of[here]
        return far & ~decisions.stops

    def _returns(self, tally: Tally, decisions: Decisions) -> Bools:
        lower: Bools = self.grid.frequency_of[decisions.regimen] < self.grid.frequency_of[tally.current]
        return lower & ~decisions.stops

    def _rising_contour(self, tally: Tally, decisions: Decisions) -> Bools:
        doses = self.grid.n_doses
        cells = self.select(tally).reshape(tally.rows, *self.grid.shape)
        chosen = np.where(cells, np.arange(doses), -1).max(axis=2)  # -1 for a frequency without one
        lowest_so_far = np.minimum.accumulate(np.where(chosen < 0, doses, chosen), axis=1)
        rises: Bools = np.any(chosen > lowest_so_far, axis=1)
        return rises & decisions.stops

    def _bold(self, tally: Tally, decisions: Decisions) -> Bools:
        rate_at_target = tally.at_current(tally.dlt) >= self.parameters.target * tally.at_current(tally.n) - _ROUNDING
        bold: Bools = self._raised(tally, decisions) & rate_at_target
        return bold

    def _above_tried(self, tally: Tally, decisions: Decisions) -> Bools:
        running = self.grid.frequency_of[decisions.regimen]
        tried = self._row(tally.n > 0, np.maximum(running - 1, 0))
        highest = np.max(np.where(tried, np.arange(self.grid.n_doses), -1), axis=1, initial=-1)
        above: Bools = self._raised(tally, decisions) & (running > 0) & (self.grid.dose_of[decisions.regimen] > highest)
        return above
