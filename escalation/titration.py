"""Accelerated titration: single participants before the cohorts of the design.

The first participants are treated one at a time, each one level above the last, as long as nobody has a DLT and,
where the protocol reads grades, until a second participant has a moderate toxicity. At the first DLT, at the
moderate toxicity that reaches the limit, or at the top, the level is filled to a whole cohort, and from then on the
design decides.

A *moderate toxicity* is the outcome between none and a DLT: the participant's worst event attributable to treatment
within the DLT window is of grade 2, or of a higher grade that is no DLT. Participants are counted, not events.

After titration 3+3 goes on in the variants that de-escalate: a level below, passed with one
participant, is filled before it can be declared.

Where this departs from the paper: it is the first stage of design 2 of Simon and colleagues, whose grade 2 toxicities
are those of the first course (the DLT window here). Their designs 3 and 4 double the dose while they titrate and
design 4 counts every course; here a step is always to the next level of the study, whatever its amount, and one
window counts. Doses are not raised within a participant.

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
from escalation.tally import Bools, Counts, Tally


class Titration(BaseModel):
    """The stage of single participants in front of a design that climbs one line of regimens.

    Decisions of the design to stop, and to leave an eliminated level, stand.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: Literal["first_dlt", "moderate_toxicity"] = Field(
        default="first_dlt",
        description="What ends the single participants, besides reaching the top: the first DLT alone, or also a "
        "number of participants with a moderate toxicity (grade 2 or more, attributable, no DLT).",
    )
    moderate_limit: int = Field(
        default=2,
        ge=1,
        description="Participants with a moderate toxicity that end titration, where it ends on them.",
    )

    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "titration.clear",
            "Nothing ends titration so far: the next single participant is treated one level up.",
            "While the trial titrates, levels are passed with one participant each, so that few are treated at levels "
            "far below the target. The first DLT ends this, and where the protocol reads grades so does a number of "
            "participants with a moderate toxicity.",
        ),
        Reason(
            "titration.first_dlt",
            "The first DLT ends titration: fill this level to a whole cohort.",
            "The single participant at this level becomes the first of a whole cohort, after which the design decides "
            "on all that is known.",
        ),
        Reason(
            "titration.moderate",
            "Moderate toxicities have reached the limit and end titration: fill this level to a whole cohort.",
            "A moderate toxicity is an event of grade 2 or more that is attributable to treatment and no DLT. Several "
            "of them announce levels at which single participants are too few. The participant at this level becomes "
            "the first of a whole cohort, after which the design decides on all that is known.",
        ),
        Reason(
            "titration.top",
            "Titration has reached the top: fill this level to a whole cohort.",
            "There is no level left to pass with a single participant. The one at the top becomes the first of a whole "
            "cohort, after which the design decides on all that is known.",
        ),
    )

    @property
    def reads_grades(self) -> bool:
        """Whether moderate toxicities count."""
        return self.until == "moderate_toxicity"

    def titrates(self, n: Counts) -> Bools:
        """Rows in which no level has had more than one evaluable participant: grades are read there only."""
        still: Bools = n.max(axis=1) <= 1
        return still

    def reads(self, n: Counts, dlt: Counts, regimen: Counts, size: Counts) -> Bools:
        """Rows in which the grades of the next cohort can matter: one participant at a new level, no DLT so far."""
        new = n[np.arange(len(n)), regimen] == 0
        return np.asarray(self.titrates(n) & new & (size == 1) & (dlt.sum(axis=1) == 0))

    def apply(self, tally: Tally, decisions: Decisions, design: Design[Any], offset: int) -> Decisions:
        """The design's decisions, overruled in the rows that still titrate."""
        line = np.array(design.line, dtype=np.int32)
        rank = np.full(design.grid.size, -1, dtype=np.int32)
        rank[line] = np.arange(len(line))
        here = rank[tally.current]
        closed = design.eliminated(tally)
        open_here = ~np.take_along_axis(closed, tally.current[:, None].astype(np.intp), axis=1)[:, 0]
        single = self.titrates(tally.n) & (tally.at_current(tally.n) == 1) & (here >= 0) & ~decisions.stops
        toxic = tally.dlt.sum(axis=1) > 0
        moderate = np.zeros_like(toxic)
        if self.reads_grades:
            moderate = tally.moderate.sum(axis=1) >= self.moderate_limit
        clear = ~toxic & ~moderate & (here < len(line) - 1)
        up, fill = single & clear, single & ~clear & open_here
        why = offset + np.where(toxic, 1, np.where(moderate, 2, 3))
        return replace(
            decisions,
            action=np.where(up, Action.ESCALATE, np.where(fill, Action.STAY, decisions.action)).astype(np.int32),
            regimen=np.where(
                up, line[np.clip(here + 1, 0, len(line) - 1)], np.where(fill, tally.current, decisions.regimen)
            ).astype(np.int32),
            size=np.where(up, 1, np.where(fill, design.setting.cohort_size - 1, decisions.size)).astype(np.int32),
            reason=np.where(up, offset, np.where(fill, why, decisions.reason)).astype(np.int32),
        )

    def describe(self) -> str:
        """The stage in one line."""
        ends = "the first DLT"
        if self.reads_grades:
            people = "participant has" if self.moderate_limit == 1 else "participants have"
            ends += f" or until {self.moderate_limit} {people} had a moderate toxicity"
        return f"single participants, one level up at a time, until {ends}; then that level to a whole cohort"
