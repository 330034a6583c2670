"""Two randomised groups: their sizes, and the exact power of comparing two response probabilities.

The power is a sum over every pair of response counts, so it is exact for any test that is a function of the two
counts. The alternative is one-sided: a higher response probability with the treatment.

References
----------
Lancaster HO (1961) J Am Stat Assoc 56:223-234, doi:10.1080/01621459.1961.10482105 (mid-P).
Lydersen S, Fagerland MW, Laake P (2009) Stat Med 28:1159-1175, doi:10.1002/sim.3531 (which test to use).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt
from scipy.stats import binom, hypergeom, norm

from escalation.characteristics import Estimate, mean_over
from escalation.protocol import Model
from escalation.response import ResponseEndpoint, claims, until_known
from escalation.results import TrialRows
from escalation.tally import Bools, Floats

TwoGroupTest = Literal["fisher_mid_p", "fisher", "z_unpooled"]


class Group(Model):
    """One of the two groups, in words."""

    label: str = Field(min_length=1)
    description: str = ""


class Groups(Model):
    """The two groups of a randomised study; the protocol's regimen is the treatment group's."""

    participants: int = Field(ge=2, description="Evaluable participants in both groups together.")
    ratio: tuple[PositiveInt, PositiveInt] = Field(
        default=(1, 1), description="Allocation ratio, control to treatment."
    )
    control: Group
    treatment: Group
    test: TwoGroupTest = Field(
        default="fisher_mid_p",
        description="Comparison of the two response counts, one-sided: Fisher's test with mid-P, Fisher's exact test, "
        "or the z test with unpooled variance.",
    )

    @property
    def sizes(self) -> tuple[float, float]:
        """Participants of control and treatment by the ratio; whole numbers in a valid study."""
        control, treatment = self.ratio
        unit = self.participants / (control + treatment)
        return unit * control, unit * treatment


def p_values(control: int, treatment: int, test: TwoGroupTest) -> Floats:
    """One-sided p-values for every pair of response counts, small when the treatment has more.

    Parameters
    ----------
    control, treatment
        Participants of the groups.
    test
        ``fisher``: the hypergeometric probability of as many responses with the treatment or more, given the total.
        ``fisher_mid_p``: the same, the observed count at half its probability. ``z_unpooled``: the difference of
        proportions over its unpooled standard error; without any variance, 0, 1/2 or 1 by the difference's sign.

    Returns
    -------
    (control + 1, treatment + 1), responses of control in rows, of treatment in columns.

    Examples
    --------
    Three of three against none of three: one of the twenty ways to choose three of six.

    >>> float(p_values(3, 3, "fisher")[0, 3].round(6)), float(p_values(3, 3, "fisher_mid_p")[0, 3].round(6))
    (0.05, 0.025)
    """
    x, y = np.arange(control + 1)[:, None], np.arange(treatment + 1)[None, :]
    if test == "z_unpooled":
        first, second = x / control, y / treatment
        spread = np.sqrt(first * (1 - first) / control + second * (1 - second) / treatment)
        score = (second - first) / np.where(spread > 0, spread, 1.0)
        return np.where(spread > 0, norm.sf(score), (1 - np.sign(second - first)) / 2)
    law = (control + treatment, x + y, treatment)
    beyond = np.asarray(hypergeom.sf(y - 1, *law), dtype=float)
    return beyond - 0.5 * hypergeom.pmf(y, *law) if test == "fisher_mid_p" else beyond


@lru_cache(maxsize=64)
def _rejects(control: int, treatment: int, test: TwoGroupTest, level: float) -> Bools:
    rejects: Bools = p_values(control, treatment, test) <= level * (1 + 1e-9)
    rejects.setflags(write=False)
    return rejects


def power(
    control: int, treatment: int, test: TwoGroupTest, level: float, control_probability: float, probability: float
) -> float:
    """Probability that the test is positive, summed over every pair of response counts.

    Examples
    --------
    With three against three only 0 against 3 is significant at .05 by Fisher's test: (1 - p)^3 q^3.

    >>> round(power(3, 3, "fisher", 0.05, 0.1, 0.9), 6) == round(0.9**6, 6)
    True
    """
    rejects = _rejects(control, treatment, test, level)
    first = binom.pmf(np.arange(control + 1), control, control_probability)
    second = binom.pmf(np.arange(treatment + 1), treatment, probability)
    return float(first @ rejects @ second)


def planned_test(endpoint: ResponseEndpoint, groups: Groups) -> dict[str, float]:
    """The comparison at its planned sizes, exact and without safety stopping.

    ``level`` is at the null response probability in both groups, ``level_largest`` the largest at any common response
    probability .001, .002, ... .999.
    """
    control, treatment = (round(size) for size in groups.sizes)
    rejects = _rejects(control, treatment, groups.test, endpoint.level)
    common = np.arange(1, 1000)[:, None] / 1000
    first = binom.pmf(np.arange(control + 1), control, common)
    second = binom.pmf(np.arange(treatment + 1), treatment, common)
    at = (control, treatment, groups.test, endpoint.level)
    return {
        "participants": groups.participants,
        "control": control,
        "treatment": treatment,
        "level": power(*at, endpoint.null, endpoint.null),
        "level_largest": float(((first @ rejects) * second).sum(axis=1).max()),
        "power": power(*at, endpoint.null, endpoint.target),
    }


def two_groups(
    rows: TrialRows, endpoint: ResponseEndpoint, groups: Groups, control_probability: float, probability: float
) -> dict[str, Estimate]:
    """The response part of two groups' operating characteristics.

    Parameters
    ----------
    rows
        Finished trials: the treatment group's course under its safety monitoring.
    endpoint, groups
        The test and the sizes. A complete trial compares the control group at its planned size.
    control_probability, probability
        Assumed response probabilities of control and treatment.

    A trial stopped for toxicity has control participants in proportion; a calendar counts them.
    """
    n = rows.n.sum(axis=1)
    first, second = groups.ratio
    control = np.where(rows.selected.any(axis=1), groups.sizes[0], n * first / second)
    if rows.calendar is not None:
        control = rows.calendar.control
    return (
        claims(rows, shown(rows, endpoint, groups, control_probability, probability))
        | {
            "responders": mean_over(rows, n * probability),
            "control_responders": mean_over(rows, control * control_probability),
            "control_participants": mean_over(rows, control),
        }
        | until_known(rows, endpoint)
    )


def shown(
    rows: TrialRows, endpoint: ResponseEndpoint, groups: Groups, control_probability: float, probability: float
) -> Floats:
    """Probability that each trial shows a difference, given its course: (T,), 0 where it was stopped."""
    n, complete = rows.n.sum(axis=1), rows.selected.any(axis=1)
    found = np.zeros(len(n))
    for size in np.unique(n[complete]):
        at = (round(groups.sizes[0]), int(size), groups.test, endpoint.level)
        found[complete & (n == size)] = power(*at, control_probability, probability)
    return found
