"""The rule of a protocol: a design, then its guards, in the order they are printed.

Every engine, the pathways, the safety proof and live conduct ask this one object what
happens next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from escalation.backfill import Backfill
from escalation.cohorts import CohortSizes
from escalation.decision import TRIAL_REASONS, Decisions, Reason, catalogue_index
from escalation.design import Design
from escalation.errors import EngineError
from escalation.expansion import Expansion
from escalation.grid_guards import ExcludeToxic
from escalation.guards import Coherence, Guard, MaximumSize, MinimumBeforeSelection
from escalation.regimens import RegimenGrid
from escalation.tally import Bools, Counts, Tally
from escalation.titration import Titration


@dataclass(frozen=True)
class Rule:
    """A design with its guards and the expansion stage that follows it.

    Parameters
    ----------
    design
        The design, on its regimens.
    guards
        Applied after the design in this order; each may only make a decision safer or end the trial.
    expansion
        The stage after selection, None when the trial ends there.
    titration
        The stage of single participants before the design, None when it begins with whole cohorts.
    cohorts
        Sizes of early cohorts that are not whole, None when all are.
    backfill
        Participants at lower regimens while escalation waits, None when there are none.
    """

    design: Design[Any]
    guards: tuple[Guard, ...] = ()
    expansion: Expansion | None = None
    titration: Titration | None = None
    cohorts: CohortSizes | None = None
    backfill: Backfill | None = None

    @property
    def grid(self) -> RegimenGrid:
        """The regimens."""
        return self.design.grid

    @property
    def start(self) -> int:
        """Regimen of the first cohort, counted from 0."""
        return self.design.start

    @property
    def start_size(self) -> int:
        """Participants of the first cohort."""
        whole = self.design.first_size
        if self.titration is not None:
            return 1
        return whole if self.cohorts is None else self.cohorts.first(self.grid, self.start, whole)

    @property
    def reads_grades(self) -> bool:
        """Whether a decision can depend on moderate toxicities, not only on DLTs."""
        return self.titration is not None and self.titration.reads_grades

    @property
    def max_patients(self) -> int:
        """The largest number of evaluable participants escalation can reach."""
        bounds = [self.design.own_maximum, *(g.limit for g in self.guards if isinstance(g, MaximumSize))]
        known = [bound for bound in bounds if bound is not None]
        if not known:
            raise EngineError(
                f"{self.design.title} does not end by itself: set protocol.max_patients "
                "(for example --set protocol.max_patients=30)"
            )
        return min(known)

    @property
    def uses_last_cohort(self) -> bool:
        """Whether a decision can depend on the cohort just completed, not only on the counts."""
        return self.design.uses_last_cohort or any(isinstance(guard, Coherence) for guard in self.guards)

    @cached_property
    def reasons(self) -> tuple[Reason, ...]:
        """The catalogue ``Decisions.reason`` points into: the design's, the stages', then those of any trial."""
        stages = (*(each for each in (self.titration, self.backfill) if each is not None), *self.guards)
        return (*self.design.reasons, *(reason for stage in stages for reason in stage.reasons), *TRIAL_REASONS)

    @cached_property
    def _offsets(self) -> Sequence[int]:
        before = self._backfill_offset + (0 if self.backfill is None else len(self.backfill.reasons))
        offsets: list[int] = np.cumsum([before, *(len(guard.reasons) for guard in self.guards)])[:-1].tolist()
        return offsets

    @cached_property
    def _backfill_offset(self) -> int:
        return len(self.design.reasons) + (0 if self.titration is None else len(self.titration.reasons))

    @cached_property
    def _selecting(self) -> Bools:
        return np.array([reason.selects for reason in self.reasons], dtype=bool)

    def reason(self, code: str) -> Reason:
        """The reason of a code."""
        return self.reasons[self.reason_index[code]]

    @cached_property
    def reason_index(self) -> dict[str, int]:
        """Positions of the reason codes in the catalogue."""
        return catalogue_index(self.reasons)

    def decide(self, tally: Tally) -> Decisions:
        """What happens next in every row: the design's answer, then each guard's word on it.

        Guards count participants whose window is open as evaluable and free of a DLT, so that they stop
        no earlier than the outcomes known so far make certain, and never treat more than the largest size.
        Backfilled participants are counted where the protocol says so; titration, sizes and the largest size are
        matters of escalation alone.
        """
        known = self.counted(tally)
        decisions = self.design.decide(known)
        escalated, counted = tally.without_backfill().as_if_clear(), known.as_if_clear()
        if self.titration is not None:
            decisions = self.titration.apply(escalated, decisions, self.design, len(self.design.reasons))
        if self.backfill is not None:
            decisions = self.backfill.apply(tally, decisions, self.design, self._backfill_offset)
        decisions = self._sized(escalated, decisions)
        for guard, offset in zip(self.guards, self._offsets, strict=True):
            if isinstance(guard, MinimumBeforeSelection):
                selected = self._selected(tally, decisions.reason)
                seen = self._for_selection(tally).as_if_clear()
                decisions = guard.fill(seen, decisions, selected, self.design, offset)
            else:
                seen = escalated if isinstance(guard, MaximumSize) else counted
                decisions = guard.apply(seen, decisions, self.design, offset)
            if not isinstance(guard, MaximumSize):  # which has the last word on sizes
                decisions = self._sized(escalated, decisions)
        return decisions

    def counted(self, tally: Tally) -> Tally:
        """The rows with everybody who counts when escalation decides."""
        counts = self.backfill is not None and self.backfill.counts_in_decision
        return tally.with_backfill() if counts else tally.without_backfill()

    def _for_selection(self, tally: Tally) -> Tally:
        counts = self.backfill is not None and self.backfill.counts_in_selection
        return tally.with_backfill() if counts else tally.without_backfill()

    def _sized(self, tally: Tally, decisions: Decisions) -> Decisions:
        if self.cohorts is None:
            return decisions
        return self.cohorts.apply(tally, decisions, self.grid, self.design.setting.cohort_size)

    def select(self, tally: Tally, reason: Counts) -> Bools:
        """What is selected in rows that stopped for the given reasons: (S, K)."""
        selected = self._selected(tally, reason)
        for guard in self.guards:
            if isinstance(guard, MinimumBeforeSelection):
                selected = selected & guard.enough(self._for_selection(tally))
            elif isinstance(guard, ExcludeToxic):
                selected = selected & ~guard.excluded(self._for_selection(tally), self.grid)
        return selected

    def _selected(self, tally: Tally, reason: Counts) -> Bools:
        selected: Bools = self.design.select(self._for_selection(tally)) & self._selecting[reason][:, None]
        return selected

    def first(self) -> Tally:
        """The tally before anyone is treated: one row."""
        size = self.grid.size
        return Tally.of(
            n=np.zeros((1, size)),
            dlt=np.zeros((1, size)),
            current=[self.start],
            memory=np.zeros((1, self.design.memory_size)),
        )

    def steps(self) -> tuple[str, ...]:
        """The rule in the order it is applied, for people to read."""
        before = [stage.describe() for stage in (self.titration, self.cohorts) if stage is not None]
        between = [] if self.backfill is None else [self.backfill.describe(self.design)]
        listed = [*before, self.design.label, *between, *(guard.describe() for guard in self.guards)]
        if self.expansion is not None:
            listed.append(self.expansion.describe(self.grid))
        return tuple(listed)
