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
  rest of its sub-trial, as the software does;
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
from math import ceil
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from designs.boin import Boin, BoinParameters, interval
from designs.boin_combination import BoinCombinationParameters
from designs.selection import IsotonicSelection
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, SafetyProperty, Setting
from escalation.errors import DesignError
from escalation.partial_order import matrix_isotonic
from escalation.tally import Bools, Counts, Floats, Indices, Tally

_PER_LEVEL = 1e-5
_PER_REGIMEN = 4
"""Participants a regimen gets on average when the protocol does not say, as in the released software."""
NONE = -1
"""Stands for no MTD."""


class WaterfallParameters(BoinCombinationParameters):
    """Parameters of the waterfall design; those of BOIN are its sub-trials'."""

    cohorts: tuple[int, ...] | None = Field(
        default=None,
        description="Cohorts of each sub-trial, one number for each frequency; enough for four participants a "
        "regimen if left out.",
    )
    full_at: int = Field(
        default=12, ge=1, description="A sub-trial ends when its next regimen has this many evaluable participants."
    )
    frequency_without_mtd: Literal["stop", "next_frequency"] = Field(
        default="stop",
        description="When no dose above the lowest is acceptable at a frequency: end the trial, or go on below.",
    )
    select_elimination: Literal["rectangle", "ladder"] = Field(  # type: ignore[assignment]
        default="rectangle",
        description="What an eliminated regimen closes: everything at or above it, or the rest of its sub-trial.",
    )
    ties: Literal["random"] = Field(default="random", exclude=True, description="Not used: ladders have no ties.")  # type: ignore[assignment]
