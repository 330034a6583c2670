"""What is known: rows of trial states, one row one trial.

A single live trial is a batch of one. Designs read a :class:`Tally` and never change it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows of trial states: S trials over K regimens, at the moment a decision is asked for.

    Attributes
    ----------
    n
        (S, K) evaluable participants: a complete DLT window, or a DLT.
    dlt
        (S, K) of those, the participants with at least one DLT.
    pending
        (S, K) dosed, window still open, no DLT so far. Pending is not negative.
    exposure
        (S, K) sum over the pending of the fraction of the window followed, each in 0..1.
    current
        (S,) regimen now open, counted from 0.
    cohort_n, cohort_dlt
        (S,) evaluable participants and DLTs of the cohort just completed.
    memory
        (S, M) whole numbers a design asked to have kept from its previous decision.
    moderate
        (S, K) participants without a DLT whose worst event is a moderate toxicity, evaluable or not; (S, 0) where
        the rule does not read grades.
    person_at, person_time, person_dlt
        (S, Q) participants with an open window or a DLT, one by one, for designs that weigh each:
        the regimen (-1 where a row has fewer), the fraction of the window followed so far or at
        the onset of the DLT, and whether there is a DLT. Q is 0 where no clock runs.
    backfill_n, backfill_dlt
        (S, K) evaluable backfilled participants and their DLTs, which are not part of ``n`` and ``dlt``; None where
        nobody is backfilled.
    """

    n: Counts
    dlt: Counts
    pending: Counts
    exposure: Floats
    current: Counts
    cohort_n: Counts
    cohort_dlt: Counts
    memory: Counts
    moderate: Counts
    person_at: Counts
    person_time: Floats
    person_dlt: Bools
    backfill_n: Counts | None = None
    backfill_dlt: Counts | None = None

    @classmethod
    def of(
        cls,
        n: npt.ArrayLike,
        dlt: npt.ArrayLike,
        current: npt.ArrayLike,
        *,
        pending: npt.ArrayLike | None = None,
        exposure: npt.ArrayLike | None = None,
        cohort_n: npt.ArrayLike | None = None,
        cohort_dlt: npt.ArrayLike | None = None,
        memory: npt.ArrayLike | None = None,
        moderate: npt.ArrayLike | None = None,
        person_at: npt.ArrayLike | None = None,
        person_time: npt.ArrayLike | None = None,
        person_dlt: npt.ArrayLike | None = None,
        backfill_n: npt.ArrayLike | None = None,
        backfill_dlt: npt.ArrayLike | None = None,
    ) -> Tally:
        """A tally from whatever holds the counts; what is not given is zero.

        Examples
        --------
        >>> Tally.of(n=[[3, 3]], dlt=[[0, 1]], current=[1]).rows
        1
        """
        n_rows = np.atleast_2d(np.asarray(n, dtype=np.int32))
        rows = n_rows.shape[0]

        def counts(value: npt.ArrayLike | None, shape: tuple[int, ...]) -> Counts:
            if value is None:
                return np.zeros(shape, dtype=np.int32)
            return np.asarray(value, dtype=np.int32).reshape(shape)

        return cls(
            n=n_rows,
            dlt=counts(dlt, n_rows.shape),
            pending=counts(pending, n_rows.shape),
            exposure=(
                np.zeros(n_rows.shape) if exposure is None else np.asarray(exposure, float).reshape(n_rows.shape)
            ),
            current=counts(current, (rows,)),
            cohort_n=counts(cohort_n, (rows,)),
            cohort_dlt=counts(cohort_dlt, (rows,)),
            memory=counts(memory, (rows, 0)) if memory is None else np.asarray(memory, np.int32).reshape(rows, -1),
            moderate=counts(moderate, (rows, 0) if moderate is None else n_rows.shape),
            person_at=np.asarray([] if person_at is None else person_at, np.int32).reshape(rows, -1),
            person_time=np.asarray([] if person_time is None else person_time, float).reshape(rows, -1),
            person_dlt=np.asarray([] if person_dlt is None else person_dlt, bool).reshape(rows, -1),
            backfill_n=None if backfill_n is None else counts(backfill_n, n_rows.shape),
            backfill_dlt=None if backfill_n is None else counts(backfill_dlt, n_rows.shape),
        )

    @classmethod
    def complete(
        cls, n: Counts, dlt: Counts, current: Counts, cohort_n: Counts, cohort_dlt: Counts, memory: Counts
    ) -> Tally:
        """Rows in which every window is complete, from arrays of the right shapes."""
        nobody = np.zeros((len(n), 0), dtype=np.int32)
        return cls(
            n=n,
            dlt=dlt,
            pending=np.zeros_like(n),
            exposure=np.zeros(n.shape),
            current=current,
            cohort_n=cohort_n,
            cohort_dlt=cohort_dlt,
            memory=memory,
            moderate=nobody,
            person_at=nobody,
            person_time=nobody.astype(float),
            person_dlt=nobody.astype(bool),
        )

    @property
    def rows(self) -> int:
        """Number of trials S."""
        return int(self.n.shape[0])

    @property
    def total(self) -> Counts:
        """Evaluable participants in all, shape (S,)."""
        total: Counts = self.n.sum(axis=1, dtype=np.int32)
        return total

    def at_current(self, values: npt.NDArray[np.int32]) -> Counts:
        """The values of an (S, K) array at each row's current regimen, shape (S,)."""
        taken: Counts = values[np.arange(len(values)), self.current]
        return taken

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Tally:
        """The chosen rows."""
        return Tally(
            n=self.n[index],
            dlt=self.dlt[index],
            pending=self.pending[index],
            exposure=self.exposure[index],
            current=self.current[index],
            cohort_n=self.cohort_n[index],
            cohort_dlt=self.cohort_dlt[index],
            memory=self.memory[index],
            moderate=self.moderate[index],
            person_at=self.person_at[index],
            person_time=self.person_time[index],
            person_dlt=self.person_dlt[index],
            backfill_n=None if self.backfill_n is None else self.backfill_n[index],
            backfill_dlt=None if self.backfill_dlt is None else self.backfill_dlt[index],
        )

    def with_backfill(self) -> Tally:
        """The same rows with the backfilled participants among the evaluable."""
        if self.backfill_n is None or self.backfill_dlt is None:
            return self
        n, dlt = self.n + self.backfill_n, self.dlt + self.backfill_dlt
        return replace(self, n=n, dlt=dlt, backfill_n=None, backfill_dlt=None)

    def without_backfill(self) -> Tally:
        """The same rows with the backfilled participants left out."""
        return self if self.backfill_n is None else replace(self, backfill_n=None, backfill_dlt=None)

    def as_if_clear(self) -> Tally:
        """The same rows with every pending participant counted as evaluable and free of a DLT."""
        if not self.pending.any():
            return self
        return replace(self, n=self.n + self.pending, pending=np.zeros_like(self.pending))
