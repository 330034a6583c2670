"""What happens next: rows of decisions with coded reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from escalation.tally import Bools, Counts, Floats

StopKind = Literal["declared", "max_n", "n_at_regimen", "lowest_too_toxic", "no_admissible", "external"]


class Action(IntEnum):
    """The five things a design can say."""

    ESCALATE = 0
    STAY = 1
    DE_ESCALATE = 2
    WAIT = 3
    STOP = 4

    @property
    def word(self) -> str:
        """The action as files and screens spell it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a decision was taken: a stable code and its wording in two lengths.

    Attributes
    ----------
    code
        ``design.rule``; counted in the operating characteristics and logged in conduct.
    line
        One line for the investigator.
    paragraph
        The explanation for the learner.
    stop
        For a reason that ends the trial, what kind of ending it is.
    selects
        False when the trial ends without any regimen, whatever the counts say.
    """

    code: str
    line: str
    paragraph: str
    stop: StopKind | None = None
    selects: bool = True


@dataclass(frozen=True, slots=True)
class Decisions:
    """Rows of decisions, one per tally row.

    Attributes
    ----------
    action
        (S,) values of :class:`Action`.
    regimen
        (S,) where the next cohort goes, counted from 0; the current regimen when the trial stops.
    size
        (S,) participants in the next cohort, 0 when the trial stops or waits.
    reason
        (S,) index into the catalogue of coded reasons.
    allocation
        (S, K) probabilities over regimens for designs that randomise; the engine draws, never the design.
    memory
        (S, M) what the design wants to find in ``Tally.memory`` next time; kept unchanged where None.
    """

    action: Counts
    regimen: Counts
    size: Counts
    reason: Counts
    allocation: Floats | None = None
    memory: Counts | None = None

    @property
    def stops(self) -> Bools:
        """Rows in which the trial ends, shape (S,)."""
        stopped: Bools = self.action == Action.STOP
        return stopped

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Decisions:
        """The chosen rows."""
        return Decisions(
            action=self.action[index],
            regimen=self.regimen[index],
            size=self.size[index],
            reason=self.reason[index],
            allocation=None if self.allocation is None else self.allocation[index],
            memory=None if self.memory is None else self.memory[index],
        )

    def stop_where(self, rows: Bools, current: Counts, reason: int) -> Decisions:
        """The same decisions with the trial ended in the given rows for the given reason."""
        rows = rows & ~self.stops
        if not rows.any():
            return self
        allocation = self.allocation
        if allocation is not None:
            allocation = np.where(rows[:, None], 0.0, allocation)
        return replace(
            self,
            action=np.where(rows, np.int32(Action.STOP), self.action),
            regimen=np.where(rows, current, self.regimen),
            size=np.where(rows, np.int32(0), self.size),
            reason=np.where(rows, np.int32(reason), self.reason),
            allocation=allocation,
        )


def moves(current: Counts, target: Counts, order: Bools) -> Counts:
    """The action that leads from the current regimen to the target one.

    Parameters
    ----------
    current, target
        (S,) regimens counted from 0.
    order
        (K, K) partial order, ``order[a, b]`` when a <= b.

    Returns
    -------
    (S,) STAY for the same regimen, DE_ESCALATE for a lower one, ESCALATE for any other: a move
    sideways raises one axis, and raising anything is called by its name.
    """
    lower = order[target, current]
    action = np.where(target == current, Action.STAY, np.where(lower, Action.DE_ESCALATE, Action.ESCALATE))
    return action.astype(np.int32)


def catalogue_index(reasons: Sequence[Reason]) -> dict[str, int]:
    """Positions of the reason codes in a catalogue."""
    return {reason.code: position for position, reason in enumerate(reasons)}


TRIAL_REASONS = (
    Reason(
        "trial.cohort_open",
        "The cohort has open places: treat the next participants here.",
        "The decision is taken when the cohort is complete, or earlier if no outcome still open can change it.",
    ),
    Reason(
        "trial.outcomes_pending",
        "Outcomes are pending and can change the decision: wait.",
        "A participant whose window is open counts neither as a DLT nor as free of one. The decision waits until "
        "every possible outcome leads to the same answer.",
    ),
    Reason(
        "trial.backfill_pending",
        "Escalation ends here; the selection waits for the windows of backfilled participants.",
        "Open windows of backfilled participants hold up no step of escalation. The regimen selected at the end rests "
        "on their outcomes too: it is named when the last of these windows is complete. Nobody more is backfilled.",
    ),
    Reason(
        "trial.expansion_open",
        "A regimen is selected: treat the next participants of the expansion stage there.",
        "Escalation has ended. The expansion stage treats more participants at the selected regimen and can still "
        "withdraw it.",
    ),
    Reason(
        "trial.expansion_complete",
        "The expansion stage is complete: the recommendation stands.",
        "All participants of the expansion stage are followed up and the monitoring rule did not withdraw the regimen.",
        stop="declared",
    ),
    Reason(
        "trial.expansion_withdrawn",
        "Too many DLTs at the selected regimen: the recommendation is withdrawn.",
        "With the outcomes of the expansion stage the DLT probability at the selected regimen is above the "
        "monitoring threshold with the stated certainty.",
        stop="lowest_too_toxic",
        selects=False,
    ),
    Reason(
        "trial.accrual_ended",
        "No further participants come: the trial ends without a decision.",
        "The list of arrivals is used up before escalation could end by its rule.",
        stop="external",
        selects=False,
    ),
    Reason(
        "trial.closed",
        "The trial is closed.",
        "The trial has ended; nobody is treated under this protocol any more.",
    ),
)
"""Reasons that belong to the course of a trial, whatever its design."""
