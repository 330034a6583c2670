"""Accelerated titration: single participants before the cohorts of the design.

The first participants are treated one at a time, each one level above the last, as long as nobody has
a DLT. At the first DLT, or at the top, the level is filled to a whole cohort, and from then on the
design decides.

After titration 3+3 goes on in the variants that de-escalate: a level below, passed with one
participant, is filled before it can be declared.

Where this departs from the paper: Simon and colleagues also leave titration at the second grade 2
event attributable to treatment in the first course. A tally knows DLTs only, so that trigger is not
here. Doses are not raised within a participant.

References
----------
Simon R, Freidlin B, Rubinstein L, et al. (1997) J Natl Cancer Inst 89:1138-1147, doi:10.1093/jnci/89.15.1138.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from escalation.decision import Action, Decisions, Reason
from escalation.design import Design
from escalation.tally import Tally


class Titration(BaseModel):
    """The stage of single participants in front of a design that climbs one line of regimens.

    Decisions of the design to stop, and to leave an eliminated level, stand.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: Literal["first_dlt"] = Field(
        default="first_dlt", description="What ends the single participants, besides reaching the top."
    )

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "titration.clear",
            "No DLT so far: the next single participant is treated one level up.",
            "While the trial titrates, levels are passed with one participant each, so that few are treated at levels "
            "far below the target. The first DLT ends this.",
        ),
        Reason(
            "titration.fill",
            "Titration ends here: fill this level to a whole cohort.",
            "The first DLT has occurred, or the top is reached. The single participant at this level becomes the "
            "first of a whole cohort, after which the design decides on all that is known.",
        ),
    )

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        """The design's decisions, overruled in the rows that still titrate."""
        line = np.array(design.line, dtype=np.int32)
        rank = np.full(design.grid.size, -1, dtype=np.int32)
        rank[line] = np.arange(len(line))
        here = rank[tally.current]
        closed = design.eliminated(tally)
        open_here = ~np.take_along_axis(closed, tally.current[:, None].astype(np.intp), axis=1)[:, 0]
        single = (tally.n.max(axis=1) <= 1) & (tally.at_current(tally.n) == 1) & (here >= 0) & ~decisions.stops
        clear = (tally.dlt.sum(axis=1) == 0) & (here < len(line) - 1)
        up, fill = single & clear, single & ~clear & open_here
        return replace(
            decisions,
            action=np.where(up, Action.ESCALATE, np.where(fill, Action.STAY, decisions.action)).astype(np.int32),
            regimen=np.where(
                up, line[np.clip(here + 1, 0, len(line) - 1)], np.where(fill, tally.current, decisions.regimen)
            ).astype(np.int32),
            size=np.where(up, 1, np.where(fill, design.setting.cohort_size - 1, decisions.size)).astype(np.int32),
            reason=np.where(up, offset, np.where(fill, offset + 1, decisions.reason)).astype(np.int32),
        )

    def describe(self) -> str:
        """The stage in one line."""
        return "single participants, one level up at a time, until the first DLT; then that level to a whole cohort"
