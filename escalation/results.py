"""Trials as rows: what every engine hands to the operating characteristics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from escalation.exact import Graph
from escalation.tally import Bools, Counts, Floats


@dataclass(frozen=True)
class Calendar:
    """What only a clock can tell, one entry per trial.

    Attributes
    ----------
    duration_days
        From the first enrolment to the final decision, its last window and review included.
    treated
        Participants treated, evaluable or not, both stages.
    not_evaluable
        Of those, how many stopped counting for the decision.
    arrivals, screen_failures, turned_away, left_queue
        Candidates who came, failed screening, were refused while accrual was held, or left the queue.
    waiting_days
        Sum over enrolled participants of the days between arrival and first infusion.
    held_window, held_review, held_stagger
        Days on which nobody could be enrolled: outcomes pending, decision under review, stagger.
    enrolment_days
        From the first enrolment to the last.
    control
        Participants of the control group, 0 in a study without one.
    """

    duration_days: Floats
    treated: Floats
    not_evaluable: Floats
    arrivals: Floats
    screen_failures: Floats
    turned_away: Floats
    left_queue: Floats
    waiting_days: Floats
    held_window: Floats
    held_review: Floats
    held_stagger: Floats
    enrolment_days: Floats
    control: Floats

    @classmethod
    def join(cls, parts: Sequence[Calendar]) -> Calendar:
        """The trials of several chunks, in their order."""
        names = list(cls.__dataclass_fields__)
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True)
class TrialRows:
    """Rows of finished trials with their probabilities.

    Attributes
    ----------
    n, dlt
        (T, K) evaluable participants and DLTs of escalation.
    selected
        (T, K) what escalation selected.
    reason
        (T,) why escalation ended, an index into the rule's catalogue.
    expansion_n, expansion_dlt, withdrawn
        (T,) the expansion stage.
    backfill_n, backfill_dlt
        (T, K) evaluable backfilled participants and their DLTs, which are not part of ``n`` and ``dlt``; None where
        nobody is backfilled.
    weight
        (T,) probability of the row: exact, or one over the number of simulated trials.
    trials
        Number of simulated trials, None when the rows are exact.
    calendar
        What a clock adds, None without one.
    moderate
        (T, K) participants of escalation whose worst event is a moderate toxicity, their mean number in rows that
        are exact; None where no moderate toxicities are assumed.
    """

    n: Counts
    dlt: Counts
    selected: Bools
    reason: Counts
    expansion_n: Counts
    expansion_dlt: Counts
    withdrawn: Bools
    weight: Floats
    trials: int | None
    calendar: Calendar | None = field(default=None)
    backfill_n: Counts | None = None
    backfill_dlt: Counts | None = None
    moderate: Floats | None = field(default=None)

    @classmethod
    def of(
        cls,
        n: Counts,
        dlt: Counts,
        selected: Bools,
        reason: Counts,
        calendar: Calendar | None = None,
        moderate: Counts | None = None,
    ) -> TrialRows:
        """Simulated trials, all with the same weight, without an expansion stage."""
        trials = n.shape[0]
        nothing = np.zeros(trials, np.int32)
        weight = np.full(trials, 1.0 / max(trials, 1))
        graded = None if moderate is None else moderate.astype(float)
        none = nothing.astype(bool)
        return cls(n, dlt, selected, reason, nothing, nothing, none, weight, trials, calendar, moderate=graded)

    @classmethod
    def exact(cls, graph: Graph, truth: Floats, moderate: Floats | None = None) -> TrialRows:
        """The terminal states of a graph with their probabilities under one truth, moderate toxicities included."""
        return cls(
            graph.n,
            graph.dlt,
            graph.selected,
            graph.reason,
            graph.expansion_n,
            graph.expansion_dlt,
            graph.withdrawn,
            graph.probabilities(truth, moderate)[0],
            None,
            moderate=None if moderate is None else graph.expected_moderate(truth, moderate),
        )

    @classmethod
    def join(cls, parts: Sequence[TrialRows]) -> TrialRows:
        """The simulated trials of several chunks, in their order."""
        trials = sum(part.trials or 0 for part in parts)
        calendars = [part.calendar for part in parts if part.calendar is not None]
        graded = [part.moderate for part in parts if part.moderate is not None]
        columns: tuple[str, ...] = ("n", "dlt", "selected", "reason", "expansion_n", "expansion_dlt", "withdrawn")
        if parts and parts[0].backfill_n is not None:
            columns = (*columns, "backfill_n", "backfill_dlt")
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
        return cls(
            **joined,
            weight=np.full(trials, 1.0 / max(trials, 1)),
            trials=trials,
            calendar=Calendar.join(calendars) if calendars else None,
            moderate=np.concatenate(graded).astype(float) if graded else None,
        )

    def with_expansion(self, n: Counts, dlt: Counts, withdrawn: Bools) -> TrialRows:
        """The same trials with the outcome of their expansion stage."""
        return replace(self, expansion_n=n, expansion_dlt=dlt, withdrawn=withdrawn)

    def with_backfill(self, n: Counts, dlt: Counts) -> TrialRows:
        """The same trials with their backfilled participants."""
        return replace(self, backfill_n=n, backfill_dlt=dlt)

    @property
    def at_regimen(self) -> Counts:
        """Evaluable participants of escalation and backfill: (T, K)."""
        return self.n if self.backfill_n is None else self.n + self.backfill_n

    @property
    def dlt_at_regimen(self) -> Counts:
        """Of those, the participants with a DLT: (T, K)."""
        return self.dlt if self.backfill_dlt is None else self.dlt + self.backfill_dlt

    @property
    def total(self) -> Counts:
        """Evaluable participants of all stages: (T,)."""
        total: Counts = (self.at_regimen.sum(axis=1) + self.expansion_n).astype(np.int32)
        return total

    @property
    def total_dlt(self) -> Counts:
        """Participants with a DLT of all stages: (T,)."""
        total: Counts = (self.dlt_at_regimen.sum(axis=1) + self.expansion_dlt).astype(np.int32)
        return total
