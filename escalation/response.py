"""Response, an outcome beside toxicity: its endpoint, and the exact binomial test of one group.

DLT and response are taken as independent given the regimen. Safety monitoring looks at DLTs only, so the responses of
the participants of a trial that was not stopped are binomial whatever its course, and its operating characteristics
follow from the trial's rows without drawing a single response. A trial that was stopped for toxicity claims nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field, model_validator
from scipy.stats import binom

from escalation.characteristics import Estimate, mean_over, ratio_over
from escalation.protocol import Model
from escalation.results import TrialRows
from escalation.tally import Counts, Floats


class ResponseEndpoint(Model):
    """What counts as a response, and the test that is made when the trial is complete."""

    definition: str = Field(default="", description="What counts as a response, in the protocol's words.")
    day: int = Field(ge=0, description="Day of evaluation, counted from the first infusion.")
    null: float = Field(
        gt=0, lt=1, description="Response probability that is of no interest; of two groups, the control group's."
    )
    target: float = Field(gt=0, lt=1, description="Response probability the trial is planned for.")
    level: float = Field(default=0.05, gt=0, lt=0.5, description="One-sided level of the test.")

    @model_validator(mode="after")
    def _target_above_null(self) -> ResponseEndpoint:
        if self.target <= self.null:
            raise ValueError(
                f"the target {self.target:g} is not above the null {self.null:g}; the test looks for more responses"
            )
        return self


def critical_numbers(most: int, null: float, level: float) -> Counts:
    """The fewest responses among n with P(X >= x) <= level for X binomial(n, null), for n = 0..most.

    The exact one-sided binomial test; an entry of n + 1 means that no number is enough.

    Examples
    --------
    >>> critical_numbers(20, 0.3, 0.05)[[2, 10, 20]]
    array([ 3,  6, 10], dtype=int32)
    """
    found = np.zeros(most + 1, np.int32)
    for n in range(most + 1):
        found[n] = np.count_nonzero(binom.sf(np.arange(n + 1) - 1, n, null) > level * (1 + 1e-12))
    return found


def planned_test(endpoint: ResponseEndpoint, participants: int) -> dict[str, float]:
    """The test of one group at its planned size, exact and without safety stopping."""
    critical = int(critical_numbers(participants, endpoint.null, endpoint.level)[-1])
    return {
        "participants": participants,
        "critical": critical,
        "level": float(binom.sf(critical - 1, participants, endpoint.null)),
        "power": float(binom.sf(critical - 1, participants, endpoint.target)),
    }


def one_group(rows: TrialRows, endpoint: ResponseEndpoint, probability: float) -> dict[str, Estimate]:
    """The response part of one group's operating characteristics.

    Parameters
    ----------
    rows
        Finished trials of any engine; their errors are those of the conditional probabilities.
    endpoint
        The endpoint and its test, made at the number evaluable when the trial is complete.
    probability
        Assumed response probability.
    """
    responders = {"responders": mean_over(rows, rows.n.sum(axis=1) * probability)}
    return claims(rows, shown(rows, endpoint, probability)) | responders | until_known(rows, endpoint)


def shown(rows: TrialRows, endpoint: ResponseEndpoint, probability: float) -> Floats:
    """Probability that each trial shows response, given its course: (T,), 0 where it was stopped."""
    n = rows.n.sum(axis=1)
    critical = critical_numbers(int(n.max(initial=0)), endpoint.null, endpoint.level)
    return np.asarray(binom.sf(critical[n] - 1, n, probability) * rows.selected.any(axis=1), dtype=float)


def claims(rows: TrialRows, shown: Floats) -> dict[str, Estimate]:
    """How often response is shown, in all trials and among the complete ones."""
    return {
        "response_shown": mean_over(rows, shown),
        "response_shown_if_complete": ratio_over(rows, shown, rows.selected.any(axis=1)),
    }


def until_known(rows: TrialRows, endpoint: ResponseEndpoint) -> dict[str, Any]:
    """Days from the first enrolment until the last response of a complete trial is known; empty without a clock."""
    if rows.calendar is None:
        return {}
    last = rows.calendar.enrolment_days + endpoint.day * rows.selected.any(axis=1)
    return {"days_until_response_known": mean_over(rows, np.maximum(rows.calendar.duration_days, last))}


MEASURES = {
    "response_shown": ("Response shown", "share of trials that are not stopped and whose test is positive"),
    "response_shown_if_complete": ("Response shown when complete", "the same among the trials not stopped"),
    "responders": ("Responders", "mean number of participants with a response, of stopped trials too"),
    "control_responders": ("Responders, control group", "the same in the control group"),
    "control_participants": ("Participants, control group", "mean number, in stopped trials in proportion"),
    "days_until_response_known": ("Days until response is known", "until the last evaluation or the safety decision"),
}
"""Names and definitions of the response measures, in the order they are printed."""
