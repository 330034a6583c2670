"""Backfill: more participants at regimens below the one under escalation, while escalation waits.

Whoever arrives while escalation has no place is treated at a lower regimen that has been through escalation, is safe
and, unless the protocol says otherwise, has shown a response. Nobody waits for these participants: their open windows
hold up no decision, and each counts from the day the window completes or the DLT occurs.

With BOIN, ``protocol.backfill: {}`` is BF-BOIN (Zhao and colleagues). In their words and numbers:

opening
    a response has been observed at the regimen or at a lower one (``response_at: here`` asks for one at the regimen
    itself, as bfboin does), it lies below the current one and fewer than ``cap`` (12) were treated.
closing
    it is not safe when its own DLTs among the evaluable reach the de-escalation boundary, and those pooled with the
    next higher dose reach it too; whatever lies above an unsafe regimen is closed with it. Both are looked at again
    at every arrival, so that a regimen can open again.
decisions
    the design decides from escalation and backfill data together. There is a conflict when the data of a backfilled
    regimen b below the current one c call for a more cautious decision than those at c, or both call for
    de-escalation. Let b* be the highest such b. The pooled rate
    q = (sum of DLTs from b* to c) / (sum of evaluable participants from b* to c) then decides: at or below lambda_e the
    decision stands; between lambda_e and lambda_d the trial stays at c; at or above lambda_d it de-escalates to the
    highest regimen k from b* upwards whose pooled rate from b* to k is below lambda_d, to the one below b* when
    there is none, and to the lowest when b* is the lowest. All rates are compared as integer boundaries of the
    design's own table at the pooled number evaluable.
selection
    from the data of everybody. Backfilling ends with escalation, and the selection waits for the windows of the
    backfilled that are still open.

Where this departs from the paper and the R packages that implement it (bfboin 0.1.1, simFastBOIN 2.1.0):

* pooled data never make a decision less cautious than the data at c do: where those say stay or de-escalate, a low
  pooled rate does not overrule them. bfboin would escalate or stay there.
* bfboin lets one participant beyond the cap in; here the cap is the most ever treated.
* with open windows at an eliminated regimen, later windows without a DLT can lift the elimination, which is read off
  the counts at each decision; nobody is treated there meanwhile.
* on a grid, below means below in the partial order. The next regimens are those one step up along either axis, pooled
  together with the regimen itself. The regimens from b* to c are all that lie between a highest conflicting one and c;
  of several regimens to de-escalate to, the one with the most levels is taken, of equals the higher dose.

References
----------
Zhao Y, Yuan Y, Korn EL, Freidlin B (2024) Clin Cancer Res 30:673-679, doi:10.1158/1078-0432.CCR-23-2585.
Barnett H, Boix O, Kontos D, Jaki T (2023) Stat Med 42, arXiv:2204.10047, on backfilling with any design.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design
from escalation.errors import DesignError
from escalation.guards import highest_open_below
from escalation.numerics import NEVER
from escalation.regimens import RegimenGrid
from escalation.tally import Bools, Counts, Indices, Tally


class Backfill(BaseModel):
    """Who is backfilled where, and what their data count for."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    opens: Literal["response", "cleared"] = Field(
        default="response",
        description="Whether a regimen opens with its first observed response, or as soon as escalation has gone "
        "above it.",
    )
    response_at: Literal["here", "here_or_below"] = Field(
        default="here_or_below",
        description="Where the response must have been observed: at the regimen itself, or there or at a lower one.",
    )
    cap: int = Field(
        default=12,
        ge=1,
        description="Most participants treated at a regimen that backfilling goes up to, all included.",
    )
    limit: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Observed DLT rate at which a regimen closes; the design's own de-escalation boundary if left out.",
    )
    fill: Literal["highest", "lowest"] = Field(
        default="highest", description="Which of several open regimens is filled first."
    )
    pooled_with_next: bool = Field(
        default=True,
        description="Whether a regimen whose own DLTs reach the limit stays open while they do not when pooled with "
        "the next higher regimens.",
    )
    conflicts: Literal["pooled", "none"] | None = Field(
        default=None,
        description="Whether pooled data decide where the data of a backfilled regimen contradict those of the current "
        "one; if left out, they do with designs that decide by boundaries on complete windows.",
    )
    pooled_from: Literal["highest", "lowest"] = Field(
        default="highest", description="The conflicting regimen from which data are pooled up to the current one."
    )
    counts_in_decision: bool = Field(
        default=True, description="Whether backfilled participants count when escalation decides."
    )
    counts_in_selection: bool = Field(
        default=True, description="Whether they count when a regimen is selected at the end."
    )

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "backfill.pooled_stay",
            "Escalation and backfill data disagree, and pooled they are between the boundaries: stay.",
            "The data at the current regimen call for escalation, those of a backfilled regimen below it do not. "
            "Pooled from that regimen up to the current one, the DLT rate lies between the two boundaries, so the "
            "next cohort is treated where the trial stands.",
        ),
        Reason(
            "backfill.pooled_de_escalate",
            "Escalation and backfill data disagree, and pooled they are too toxic: de-escalate.",
            "Pooled from the conflicting backfilled regimen up to the current one, the DLT rate is at or above the "
            "de-escalation boundary. The next cohort goes to the highest regimen whose data, pooled in the same way, "
            "are below it.",
        ),
        Reason(
            "backfill.pooled_at_lowest",
            "Escalation and backfill data are pooled too toxic, down to the lowest regimen: treat there.",
            "Pooled from the lowest regimen upwards, the DLT rate is at or above the de-escalation boundary at every "
            "regimen, and none of them is left below. The lowest is treated until its rate falls or it is eliminated.",
        ),
        Reason(
            "backfill.eliminated",
            "Backfill data eliminate the regimen that would be treated: the next cohort goes to the highest one open.",
            "With the outcomes of backfilled participants a lower regimen is eliminated, and with it everything above. "
            "The next cohort is treated at the highest regimen still open below the current one.",
        ),
        Reason(
            "backfill.none_open",
            "Backfill data eliminate the current regimen and all below it: the trial stops without recommendation.",
            "With the outcomes of backfilled participants the regimens below the current one are eliminated down to "
            "the lowest, and with them everything above. Nothing is left that could be treated or recommended.",
            stop="lowest_too_toxic",
            selects=False,
        ),
    )

    # with a design -------------------------------------------------------------------------------

    def pools(self, design: Design[Any]) -> bool:
        """Whether pooled data decide on conflicts with this design."""
        if self.conflicts is not None:
            return self.conflicts == "pooled"
        return self.counts_in_decision and not design.needs_clock and design.boundaries_to(1) is not None

    def check(self, design: Design[Any]) -> None:
        """Raise DesignError, with the remedy, where the design cannot be backfilled like this."""
        if design.grid.size == 1:
            raise DesignError("protocol.backfill", "with one regimen nothing lies below the current one", "remove it")
        if not design.any_tally and (self.counts_in_decision or self.counts_in_selection):
            raise DesignError(
                "protocol.backfill",
                f"{design.title} decides on whole cohorts, and backfilled participants belong to none",
                "set counts_in_decision: false and counts_in_selection: false, or use a design that decides from any "
                "counts, for example boin",
            )
        if self.limit is None and design.boundaries_to(1) is None:
            raise DesignError(
                "protocol.backfill.limit",
                f"{design.title} has no de-escalation boundary at which a backfilled regimen would close",
                "set the observed DLT rate at which it closes, for example 0.33",
            )
        if self.conflicts == "pooled" and (
            design.needs_clock or design.boundaries_to(1) is None or not self.counts_in_decision
        ):
            raise DesignError(
                "protocol.backfill.conflicts",
                f"pooled data decide only with a design that compares complete windows with boundaries, and only when "
                f"backfilled participants count in decisions; {design.title} here does not",
                "set conflicts: none, or leave it out",
            )

    def closes_at(self, design: Design[Any], n_max: int) -> Counts:
        """DLTs among n = 0..n_max evaluable participants at which a regimen is not safe."""
        if self.limit is None:
            bounds = design.boundaries_to(n_max)
            assert bounds is not None
            boundary: Counts = bounds[1]
            return boundary
        reached: Counts = np.ceil(self.limit * np.arange(n_max + 1) - 1e-9).astype(np.int32)
        reached[0] = NEVER
        return reached

    def is_open(self, tally: Tally, treated: Counts, responses: Counts, design: Design[Any]) -> Bools:
        """The regimens open for backfill.

        Parameters
        ----------
        tally
            Rows of what is known, the backfilled apart.
        treated
            (S, K) participants ever treated, escalation and backfill together.
        responses
            (S, K) participants with an observed response.
        design
            The design that escalates.

        Returns
        -------
        (S, K) strictly below the current regimen in the partial order, been through escalation, with a response where
        one is needed, not eliminated, safe, and treated in fewer than ``cap``.
        """
        grid = design.grid
        together = tally.with_backfill()
        below = strictly_below(grid)[:, tally.current].T & (tally.n > 0)
        bound = self.closes_at(design, int(together.n.sum(axis=1).max(initial=0)))
        unsafe = together.dlt >= bound[together.n]
        if self.pooled_with_next:
            onward = (np.eye(grid.size, dtype=np.int64) + grid.predecessors).T  # column k: k and the next above it
            unsafe &= together.dlt @ onward >= bound[together.n @ onward]
        unsafe &= below
        closed = unsafe.astype(np.int64) @ grid.at_most > 0
        closed |= design.eliminated(together if self.counts_in_decision else tally)
        shown = np.asarray(responses)
        if self.response_at == "here_or_below":
            shown = shown @ grid.at_most
        wanted = below if self.opens == "cleared" else below & (shown > 0)
        found: Bools = wanted & ~closed & (np.asarray(treated) < self.cap)
        return found

    def first(self, opened: Bools, grid: RegimenGrid) -> int | None:
        """Of the open regimens (K,) the one to fill first, None when none is open.

        The one with the most (fewest) levels; of equals the higher (lower) dose.
        """
        if not opened.any():
            return None
        height = heights(grid)
        return int(
            np.argmax(np.where(opened, height, -1))
            if self.fill == "highest"
            else np.argmin(np.where(opened, height, height.max() + 1))
        )

    # the decision on conflicting data ------------------------------------------------------------

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        """The design's decisions, replaced where the data of a backfilled regimen contradict those of the current one.

        Nor does anybody go to a regimen that backfill data eliminate, whatever the design. ``tally`` holds the
        backfilled apart; ``offset`` is where the reasons of this stage start in the catalogue.
        """
        if tally.backfill_n is None or not tally.backfill_n.any() or not self.counts_in_decision:
            return decisions
        rows = np.flatnonzero((tally.backfill_n > 0).any(axis=1) & ~decisions.stops & (decisions.action != Action.WAIT))
        if not rows.size:
            return decisions
        if self.pools(design):
            decisions = self._pooled(tally, decisions, design, offset, rows)
        return self._leaves_eliminated(tally, decisions, design, offset, rows)

    @staticmethod
    def _leaves_eliminated(
        tally: Tally, decisions: Decisions, design: Design[Any], offset: int, rows: Indices
    ) -> Decisions:
        together = tally.take(rows).with_backfill()
        closed = design.eliminated(together)
        there = np.take_along_axis(closed, decisions.regimen[rows][:, None].astype(np.intp), axis=1)[:, 0]
        if not there.any():
            return decisions
        below = highest_open_below(together, closed, design.grid)
        none = np.take_along_axis(closed, below[:, None].astype(np.intp), axis=1)[:, 0]
        decisions = _replaced(tally, decisions, design, rows[there & ~none], below[there & ~none], offset + 3)
        ended = np.zeros(tally.rows, dtype=bool)
        ended[rows[there & none]] = True
        return decisions.stop_where(ended, tally.current, offset + 4)

    def _pooled(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int, rows: Indices) -> Decisions:
        found = _Conflict(self, tally.take(rows), decisions.take(rows), design)
        if not found.rules.any():
            return decisions
        where, there, reason = rows[found.rules], found.regimen[found.rules], found.reason[found.rules]
        return _replaced(tally, decisions, design, where, there, offset + reason)

    def describe(self, design: Design[Any]) -> str:
        """The stage in one line."""
        opens = "after a response there" if self.response_at == "here" else "after a response there or below"
        opens = opens if self.opens == "response" else "once escalation is above them"
        limit = "the design's de-escalation boundary" if self.limit is None else f"a DLT rate of {self.limit:g}"
        pooled = ", also when pooled with the next regimen" if self.pooled_with_next else ""
        counted = {
            (True, True): "they count in decisions and in the selection",
            (True, False): "they count in decisions, not in the selection",
            (False, True): "they count in the selection, not in decisions",
            (False, False): "they count neither in decisions nor in the selection",
        }[self.counts_in_decision, self.counts_in_selection]
        conflict = "; pooled data decide on conflicts" if self.pools(design) else ""
        return (
            f"backfill: whoever finds no place is treated at a lower regimen, {opens}, the {self.fill} open one first, "
            f"to {self.cap} participants there; closed at {limit}{pooled}; {counted}{conflict}"
        )


def _replaced(
    tally: Tally, decisions: Decisions, design: Design[Any], rows: Indices, there: Counts, reason: Counts | int
) -> Decisions:
    """The decisions with the given rows treating a whole cohort at the given regimens, for the given reasons."""
    action, regimen = decisions.action.copy(), decisions.regimen.copy()
    size, cited = decisions.size.copy(), decisions.reason.copy()
    action[rows] = moves(tally.current[rows], there, design.grid.at_most)
    regimen[rows], size[rows], cited[rows] = there, design.setting.cohort_size, reason
    allocation = decisions.allocation
    if allocation is not None:
        allocation = allocation.copy()
        allocation[rows] = 0.0
    return replace(decisions, action=action, regimen=regimen, size=size, reason=cited, allocation=allocation)


class _Conflict:
    """Where pooled data replace the decision of rows with backfilled participants: ``rules``, ``regimen``, ``reason``.

    The reason is 0, 1 or 2, in the order of ``Backfill.reasons``.
    """

    def __init__(self, stage: Backfill, tally: Tally, decisions: Decisions, design: Design[Any]) -> None:
        grid, here = design.grid, tally.current
        together = tally.with_backfill()
        n, dlt = together.n, together.dlt
        bounds = design.boundaries_to(int(n.sum(axis=1).max(initial=0)))
        assert bounds is not None
        assert tally.backfill_n is not None
        up, down = bounds
        order, strict = grid.at_most.astype(np.int64), strictly_below(grid)
        under = strict[:, here].T  # (S, K) regimens below the current one
        # 0 escalate, 1 stay, 2 de-escalate, of every regimen by its own data
        says = np.where(dlt >= down[n], 2, np.where(dlt <= up[n], 0, 1))
        own = np.take_along_axis(says, here[:, None].astype(np.intp), axis=1)
        known = np.take_along_axis(n, here[:, None].astype(np.intp), axis=1) > 0
        clash = under & (tally.backfill_n > 0) & known & ((says > own) | ((says == 2) & (own == 2)))
        beyond = strict if stage.pooled_from == "highest" else strict.T
        anchor = clash & ~(clash.astype(np.int64) @ beyond.T > 0)  # no other conflicting one further that way
        between = (anchor.astype(np.int64) @ order > 0) & (under | _only(here, grid.size))
        pooled_n, pooled_dlt = (n * between).sum(axis=1), (dlt * between).sum(axis=1)
        toxic, mild = pooled_dlt >= down[pooled_n], pooled_dlt <= up[pooled_n]
        # from the anchors up to each regimen in between
        up_n, up_dlt = (n * between) @ order, (dlt * between) @ order
        closed = design.eliminated(together)
        safe = between & under & ~closed & (n > 0) & (up_dlt < down[up_n])
        steps = (anchor.astype(np.int64) @ grid.predecessors.T > 0) & ~between & ~closed
        height = heights(grid)
        lowest = np.argmin(np.where(anchor, height, height.max() + 1), axis=1)
        lower = np.where(
            safe.any(axis=1),
            np.argmax(np.where(safe, height, -1), axis=1),
            np.where(steps.any(axis=1), np.argmax(np.where(steps, height, -1), axis=1), lowest),
        ).astype(np.int32)
        found = clash.any(axis=1)
        own = own[:, 0]
        retreat = found & toxic & grid.at_most[lower, decisions.regimen] & (lower != decisions.regimen)
        stay = found & ~toxic & ~mild & (own == 0) & (decisions.action == Action.ESCALATE)
        at_lowest = retreat & ~safe.any(axis=1) & ~steps.any(axis=1)
        self.rules: Bools = retreat | stay
        self.regimen: Counts = np.where(stay, here, lower).astype(np.int32)
        self.reason: Counts = np.where(stay, 0, np.where(at_lowest, 2, 1)).astype(np.int32)


def strictly_below(grid: RegimenGrid) -> Bools:
    """The partial order without equality: (K, K), ``[a, b]`` when a lies below b."""
    below: Bools = grid.at_most & ~np.eye(grid.size, dtype=bool)
    return below


def heights(grid: RegimenGrid) -> Counts:
    """Regimens ranked by their levels together, of equals by the dose: (K,)."""
    return ((grid.dose_of + grid.frequency_of) * grid.n_doses + grid.dose_of).astype(np.int32)


def _only(here: Counts, size: int) -> Bools:
    return np.asarray(np.arange(size)[None, :] == here[:, None])
