"""The A+B acceptance rule on a ladder of regimens: what every member of the 3+3 family shares.

A rung gets A participants. Fewer than C with a DLT: it passes. C to D: B more, and it passes
with E or fewer of A+B. More than that: it fails. The classical 3+3 is A=3, B=3, C=D=E=1.

References
----------
Storer BE (1989) Biometrics 45:925-937, doi:10.2307/2531693.
Lin Y, Shih WJ (2001) Biostatistics 2:203-215, doi:10.1093/biostatistics/2.2.203.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from escalation.decision import Reason
from escalation.design import DecisionTable, Parameters, Setting
from escalation.tally import Bools, Counts

UP, HOLD, DOWN, DONE = 0, 1, 2, 3
"""What happens on the ladder: one rung up, more at this rung, one rung down, finished."""

NOTHING = -1
"""Declared rung when no rung is the MTD."""

REASONS = (
    Reason(
        "three_plus_three.first_cohort_clear",
        "Too few DLTs in the first cohort to hold back: escalate.",
        "In the first cohort fewer participants than the rule's limit had a DLT (none of three in the classical "
        "design), so the next level is opened.",
    ),
    Reason(
        "three_plus_three.expanded_accepted",
        "The expanded cohort stays within the limit: escalate.",
        "After the second cohort at this level no more participants had a DLT than the rule accepts (one of six in "
        "the classical design), so the next level is opened.",
    ),
    Reason(
        "three_plus_three.one_dlt",
        "DLTs in the grey zone: treat a second cohort at this level.",
        "One DLT among three is too much to escalate and too little to stop. A second cohort at the same level "
        "decides: at most one DLT of six passes the level.",
    ),
    Reason(
        "three_plus_three.cohort_incomplete",
        "The cohort is not complete: treat the remaining participants at this level.",
        "The rule decides on complete cohorts. Participants are still missing here, and no outcome so far has "
        "decided the question.",
    ),
    Reason(
        "three_plus_three.confirm_level",
        "The level above failed and this one has only its first cohort: treat more here.",
        "A level is declared the MTD only when a full A+B participants (six in the classical design) were treated "
        "there. The level above has failed, so this one is filled up.",
    ),
    Reason(
        "three_plus_three.confirm_top",
        "The highest level passed its first cohort: treat more before declaring it.",
        "This variant asks for a full A+B participants (six) at the MTD also when it is the highest level.",
    ),
    Reason(
        "three_plus_three.de_escalate",
        "Too many DLTs: go one level down and treat more there.",
        "Two or more participants with a DLT make this level unacceptable; it and everything above it is closed. "
        "The level below is filled up before it can be declared.",
    ),
    Reason(
        "three_plus_three.second_dlt",
        "Too many DLTs: escalation ends and the level below is the MTD.",
        "Two or more participants with a DLT make this level unacceptable. The level below has passed and is "
        "declared; this variant treats nobody more, or the level below already has its full number.",
        stop="declared",
    ),
    Reason(
        "three_plus_three.mtd_confirmed",
        "This level passed with its full number and the level above failed: it is the MTD.",
        "The level above is closed and this one stayed within the limit with all its participants, so it is the "
        "highest acceptable level.",
        stop="declared",
    ),
    Reason(
        "three_plus_three.top_accepted",
        "The highest level passed: it is declared.",
        "There is no higher level to try. Toxicity did not limit the escalation, so strictly this is the highest "
        "tested level rather than a maximum tolerated one.",
        stop="declared",
    ),
    Reason(
        "three_plus_three.lowest_failed",
        "Too many DLTs at the lowest level: no level is recommended.",
        "The lowest level is unacceptable and there is no lower one to turn to.",
        stop="lowest_too_toxic",
        selects=False,
    ),
    Reason(
        "three_plus_three.nothing_below",
        "Too many DLTs at the starting level and nothing was tried below: no level is recommended.",
        "This variant does not de-escalate. Escalation started above the lowest level and failed there, so no "
        "level has passed.",
        stop="no_admissible",
        selects=False,
    ),
)
"""The coded reasons of the 3+3 family; designs with a second stage add theirs."""

INDEX = {reason.code.removeprefix("three_plus_three."): position for position, reason in enumerate(REASONS)}


class APlusBParameters(Parameters):
    """Parameters of the A+B rule: the named variants V1 to V3 and the numbers behind them."""

    variant: Literal["V1", "V2", "V3"] = Field(
        default="V1",
        description="V1: no de-escalation, the level below a failed one is declared with three. "
        "V2: de-escalation, six at the MTD except at the top level. V3: de-escalation, six at the MTD everywhere.",
    )
    deescalate: bool | None = Field(
        default=None, description="De-escalate after a failed level; the variant's if left out."
    )
    six_at_top: bool | None = Field(
        default=None, description="Fill the top level up to A+B before declaring it; the variant's if left out."
    )
    reading: Literal["R1", "R2", "R3"] = Field(
        default="R1",
        description="What '2 or more DLTs' ends. R1: among up to six at one level. R2: among three at one level, "
        "no second cohort. R3: cumulatively over the trial, three per level.",
    )
    expand_by: int | None = Field(
        default=None, ge=1, description="B, participants of the second cohort; A if left out."
    )
    escalate_below: int = Field(default=1, ge=1, description="C: with fewer DLTs among A the level passes.")
    expand_up_to: int = Field(default=1, ge=0, description="D: with C to D DLTs among A, B more are treated.")
    accept_up_to: int = Field(default=1, ge=0, description="E: with at most E DLTs among A+B the level passes.")

    @model_validator(mode="after")
    def _consistent(self) -> APlusBParameters:
        if self.expand_up_to < self.escalate_below - 1:
            raise ValueError("expand_up_to (D) must be at least escalate_below - 1 (C - 1); raise D or lower C")
        if self.reading != "R1" and self.deescalates:
            raise ValueError("readings R2 and R3 never expand a level, so they need variant V1 (no de-escalation)")
        return self

    @property
    def deescalates(self) -> bool:
        """Whether a failed level sends the trial one level down."""
        return self.variant != "V1" if self.deescalate is None else self.deescalate

    @property
    def confirms_top(self) -> bool:
        """Whether the top level needs A+B participants before it is declared."""
        return self.variant == "V3" if self.six_at_top is None else self.six_at_top


@dataclass(frozen=True)
class LadderMove:
    """Rows of answers on a ladder of L rungs.

    Attributes
    ----------
    kind
        (S,) UP, HOLD, DOWN or DONE.
    rung
        (S,) rung of the next cohort, counted from 0; the present one when DONE.
    size
        (S,) participants of the next cohort, 0 when DONE.
    declared
        (S,) when DONE the rung declared, or NOTHING.
    reason
        (S,) index into :data:`REASONS`.
    """

    kind: Counts
    rung: Counts
    size: Counts
    declared: Counts
    reason: Counts


@dataclass(frozen=True)
class APlusBRule:
    """The A+B rule with its numbers fixed: A from the protocol's cohort size, the rest from the parameters."""

    a: int
    b: int
    c: int
    d: int
    e: int
    deescalate: bool
    confirm_top: bool
    cumulative: bool

    @classmethod
    def of(cls, parameters: APlusBParameters, setting: Setting) -> APlusBRule:
        """The rule a protocol asks for."""
        a = setting.cohort_size
        if parameters.reading == "R1":
            b, c, d, e = (
                parameters.expand_by or a,
                parameters.escalate_below,
                parameters.expand_up_to,
                parameters.accept_up_to,
            )
        else:  # a single cohort per level: it passes with at most E, nothing is expanded
            b, e = 0, parameters.accept_up_to
            c, d = e + 1, e
        return cls(a, b, c, d, e, parameters.deescalates, parameters.confirms_top, parameters.reading == "R3")

    def named(self, reading: str) -> str:
        """The variant in force, as labels print it."""
        known = {(False, False): "V1", (True, False): "V2", (True, True): "V3"}
        name = known.get((self.deescalate, self.confirm_top), "V1 with six at the top")
        if (self.a, self.b, self.c, self.d, self.e) == (3, 3, 1, 1, 1) or reading != "R1":
            return f"{name}, reading {reading}"
        return f"{name}, A+B ({self.a},{self.b},{self.c},{self.d},{self.e})"

    @property
    def full(self) -> int:
        """A+B: the most participants one rung can get."""
        return self.a + self.b

    def failed(self, n: Counts, dlt: Counts) -> Bools:
        """Rungs that are unacceptable, whatever the outcomes still missing: (S, L)."""
        if self.cumulative:
            over = dlt.sum(axis=-1, keepdims=True) > self.e
            last = np.cumsum(n[..., ::-1] > 0, axis=-1)[..., ::-1] == 1  # the highest rung tried
            cumulative: Bools = over & last & (n > 0)
            return cumulative
        beyond: Bools = np.where(n <= self.a, dlt > self.d, dlt > self.e)
        return beyond

    def passed(self, n: Counts, dlt: Counts) -> Bools:
        """Rungs that passed, with their first cohort or with all A+B: (S, L)."""
        first = (n == self.a) & (dlt < self.c)
        complete = (n >= self.full) & (dlt <= self.e)
        passed: Bools = (first | complete) & ~self.failed(n, dlt)
        return passed

    def missing(self, n: Counts) -> Counts:
        """Participants a rung still needs: to A while its first cohort is open, to A+B afterwards."""
        target = np.where(n < self.a, self.a, self.full)
        return np.maximum(target - n, 0).astype(np.int32)

    def step(self, n: Counts, dlt: Counts, rung: Counts, closed: Bools | None = None) -> LadderMove:
        """What happens next on a ladder.

        Parameters
        ----------
        n, dlt
            (S, L) evaluable participants and DLTs on the rungs, lowest first.
        rung
            (S,) the present rung.
        closed
            (S, L) rungs that may not be tried for reasons outside this ladder.
        """
        rows, rungs = n.shape
        each = np.arange(rows)
        failed, passed = self.failed(n, dlt), self.passed(n, dlt)
        if closed is not None:
            failed = failed | closed
        above, below = np.minimum(rung + 1, rungs - 1), np.maximum(rung - 1, 0)
        at_top, at_bottom = rung == rungs - 1, rung == 0
        full = n[each, rung] >= self.full
        ok, bad = passed[each, rung], failed[each, rung]
        shut_above = ~at_top & failed[each, above]
        tried_below = ~at_bottom & (n[each, below] > 0)
        full_below = tried_below & (n[each, below] >= self.full)
        confirmed = full | (not self.deescalate)

        kind = np.full(rows, HOLD, np.int32)
        target = rung.astype(np.int32)
        size = self.missing(n)[each, rung]
        declared = np.full(rows, NOTHING, np.int32)
        reason = np.full(rows, INDEX["cohort_incomplete"], np.int32)

        def put(where: Bools, code: str, *, go: int = HOLD, to: Counts | None = None) -> None:
            reason[where] = INDEX[code]
            kind[where] = go
            if to is not None:
                target[where] = to[where]

        put((n[each, rung] == self.a) & ~ok & ~bad, "one_dlt")

        put(up := ok & ~at_top & ~shut_above, "first_cohort_clear", go=UP, to=above)
        put(up & full & (self.b > 0), "expanded_accepted", go=UP, to=above)
        size[up] = self.missing(n)[each, above][up]
        put(ok & shut_above & ~confirmed, "confirm_level")
        put(settled := ok & shut_above & confirmed, "mtd_confirmed", go=DONE)
        put(ok & at_top, "top_accepted", go=DONE)
        unconfirmed_top = ok & at_top & ~full & self.confirm_top
        put(unconfirmed_top, "confirm_top")
        declared[settled | (ok & at_top & ~unconfirmed_top)] = rung[settled | (ok & at_top & ~unconfirmed_top)]

        put(bad & at_bottom, "lowest_failed", go=DONE)
        if self.deescalate:
            down = bad & ~at_bottom & ~full_below
            put(down, "de_escalate", go=DOWN, to=below)
            size[down] = self.missing(n)[each, below][down]
            settled_below = bad & full_below
        else:
            put(bad & ~at_bottom & ~tried_below, "nothing_below", go=DONE)
            settled_below = bad & tried_below
        put(settled_below, "second_dlt", go=DONE)
        declared[settled_below] = below[settled_below]
        size[kind == DONE] = 0
        return LadderMove(kind, target, size.astype(np.int32), declared, reason)

    def table(self) -> DecisionTable | None:
        """The acceptance table; None for the cumulative reading, which looks at the whole ladder."""
        if self.cumulative:
            return None
        first = self.d + 1 if self.d < self.a else None
        if self.b == 0:
            return DecisionTable((self.a,), (self.c - 1,), (first,), (first,))
        over = (first, self.e + 1)
        return DecisionTable((self.a, self.full), (self.c - 1, self.e), over, over)

    def standing(self, n: Counts, dlt: Counts) -> Counts:
        """The highest rung that could be declared on the counts alone, or NOTHING: (S,).

        For a finished ladder this is the rung declared; for one cut short by a guard it is the
        highest rung that passed with as many participants as the variant asks for.
        """
        passed, full = self.passed(n, dlt), n >= self.full
        good = passed & (full | (not self.deescalate))
        good[:, -1] = passed[:, -1] & (full[:, -1] | (not self.confirm_top))
        highest = n.shape[1] - 1 - np.argmax(good[:, ::-1], axis=1)
        return np.where(good.any(axis=1), highest, NOTHING).astype(np.int32)
