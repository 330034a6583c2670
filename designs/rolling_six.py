"""Rolling six and its queue variant (IQ rolling six), along the dose axis or the frequency axis.

A 3+3 that does not close between cohorts of three: two to six participants are treated at a level at
the same time, and the level of every next participant follows from three numbers at the current
level: how many were treated, how many of them are evaluable, and how many had a DLT. Participants who
became not evaluable are not counted. ``variant: iq`` lets up to eight be treated at a level when that
cannot expose more than the rolling six does, and escalates on the first three clear ones.

The decisions are those of the table printed by Frankel and colleagues, cell by cell. States the table
leaves out are ``unlisted``: accrual is held until an outcome leads to a listed state (``hold``, the
default, an assumption), or the design refuses them by name (``refuse``). Two of them are implied and
decided: six evaluable without a DLT escalate, and with seven or eight treated under IQ the same.

A level is too toxic at two DLTs (IQ: at three, or at two with six or fewer evaluable), and is never
treated again. Participants then go to the level below, or, when it was treated already, as many more
are treated there as it takes. The MTD is the highest level below all too toxic ones with at most one
DLT among six or more evaluable, or none among five (the sixth could not change it), or under IQ two
among seven or eight. The same holds at the highest level, where the rule would escalate and cannot.
When the lowest level is too toxic nothing is recommended.

Cohorts are of one: the protocol's cohort size is not used.

References
----------
Skolnik JM, Barrett JS, Jayaraman B, Patel D, Adamson PC (2008) J Clin Oncol 26:190-195,
doi:10.1200/JCO.2007.12.7712.
Frankel PH, Chung V, Tuscano J, Siddiqi T, Sampath S, Longmate J, Groshen S, Newman EM (2020) JAMA
Netw Open 3(5):e204787, doi:10.1001/jamanetworkopen.2020.4787.

Examples
--------
Five were treated. With four clear ones and the fifth pending the sixth is treated at the same level by
the rolling six, and one level up by IQ. Six treated and three clear: the rolling six holds accrual.

>>> step("rolling_six", 5, 4, 0), step("iq", 5, 4, 0), step("rolling_six", 6, 3, 0)
('same', 'escalate', 'hold')
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from designs.axis import ladder_along
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, Parameters, SafetyProperty, Setting
from escalation.errors import OutcomeError
from escalation.tally import Bools, Counts, Tally

Variant = Literal["rolling_six", "iq"]
Step = Literal["same", "hold", "escalate", "de_escalate", "mtd", "unlisted"]
MOST = {"rolling_six": 6, "iq": 8}
"""Most participants treated at a level."""


def step(variant: Variant, total: int, evaluable: int, dlt: int) -> Step:
    """What happens to the next participant, from the numbers at the current level.

    Parameters
    ----------
    variant
        ``rolling_six`` or ``iq``.
    total, evaluable, dlt
        Participants treated without the not evaluable, of those evaluable, and of those with a DLT.

    Returns
    -------
    ``unlisted`` for states the published table leaves out and does not imply.
    """
    if not 0 <= dlt <= evaluable <= total or total > MOST[variant]:
        return "unlisted"
    if variant == "iq":
        return _iq(total, evaluable, dlt)
    if dlt >= 2:
        return "de_escalate"
    if dlt == 1:
        if evaluable == 6:
            return "escalate"
        return "hold" if total == 6 else "same"
    if evaluable >= 5 or evaluable == total >= 3:
        return "escalate"
    return "hold" if total == 6 else "same"


def _iq(total: int, evaluable: int, dlt: int) -> Step:
    if dlt >= 3 or (dlt == 2 and evaluable <= 6):
        return "de_escalate"
    if dlt == 2:
        return "mtd" if evaluable == total else "hold"
    if evaluable >= 6 or (dlt == 0 and evaluable >= 3):
        return "escalate"
    if total <= 5:
        return "same"
    # seats are taken one further for every outcome known, up to eight
    listed = {
        0: {(6, 0): "hold", (6, 1): "same", (7, 1): "hold", (6, 2): "same", (7, 2): "same", (8, 2): "hold"},
        1: {(6, 1): "hold", (6, 2): "hold", (6, 3): "hold", (6, 4): "same", (6, 5): "same", (7, 4): "hold"}
        | {(7, 5): "same"},
    }
    return listed[dlt].get((total, evaluable), "unlisted")  # type: ignore[return-value]


class RollingSixParameters(Parameters):
    """Parameters of the rolling six."""

    variant: Variant = Field(
        default="rolling_six", description="Rolling six, or its queue variant with up to eight at a level."
    )
    unlisted: Literal["hold", "refuse"] = Field(
        default="hold", description="What is done in the rare states the published table leaves out."
    )
    axis: Literal["dose", "frequency"] | None = Field(
        default=None,
        description="The axis to climb. Needed on a grid, where the other axis stays at the starting level.",
    )


class RollingSix(Design[RollingSixParameters]):
    """Rolling six or IQ rolling six; with every window complete before the next participant, one at a time."""

    name: ClassVar[str] = "rolling_six"
    title: ClassVar[str] = "Rolling six"
    citation: ClassVar[str] = "Skolnik et al. (2008) J Clin Oncol 26:190-195, doi:10.1200/JCO.2007.12.7712"
    Parameters = RollingSixParameters
    needs_clock: ClassVar[bool] = True
    reads_follow_up: ClassVar[bool] = False
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(
            "rolling_six.same",
            "Too few outcomes to move: treat the next participant at this level.",
            "Fewer than the rule needs are clear at this level and there is room for more. Treating the next "
            "participant here keeps the trial open without exposing more than a 3+3 with an expanded cohort would.",
        ),
        Reason(
            "rolling_six.hold",
            "The level is full and outcomes that decide are pending: accrual is held.",
            "As many participants as the rule allows are being followed at this level. Accrual waits until enough of "
            "their outcomes are known.",
        ),
        Reason(
            "rolling_six.unlisted",
            "The published table does not list this state: accrual is held until an outcome decides.",
            "The table leaves rare states out. Holding accrual exposes nobody, and every further outcome leads "
            "towards a listed state. That accrual is held here is an assumption of this software.",
        ),
        Reason(
            "rolling_six.escalate",
            "Enough participants at this level are clear: escalate.",
            "Three or more participants without a DLT, or at most one DLT among six, open the next level.",
        ),
        Reason(
            "rolling_six.de_escalate",
            "Too many DLTs at this level: go down.",
            "Two or more DLTs close this level and everything above it. The next participant is treated below.",
        ),
        Reason(
            "rolling_six.more_for_the_mtd",
            "No higher level is open: treat more here before it is declared the MTD.",
            "The next level is too toxic or does not exist. The MTD needs at most one DLT among six evaluable "
            "participants (or none among five), and this level has fewer.",
        ),
        Reason(
            "rolling_six.mtd",
            "The highest level with an acceptable number of DLTs among enough participants: it is the MTD.",
            "Every higher level is too toxic or does not exist, and this level had at most one DLT among six "
            "evaluable participants, none among five, or under IQ two among seven or eight.",
            stop="declared",
        ),
        Reason(
            "rolling_six.lowest_too_toxic",
            "The lowest level is too toxic: the trial stops without a recommendation.",
            "Two or more DLTs at the lowest level leave no level to treat at, so nothing can be recommended.",
            stop="lowest_too_toxic",
            selects=False,
        ),
    )

    def __init__(self, parameters: RollingSixParameters, setting: Setting) -> None:
        super().__init__(parameters, setting)
        self.ladder = ladder_along(setting, parameters.axis)
        self.most = MOST[parameters.variant]
        size = self.most + 1
        steps = {name: code for code, name in enumerate(_STEPS)}
        self._table = np.array(
            [
                [[steps[step(parameters.variant, n, e, y)] for y in range(size)] for e in range(size)]
                for n in range(size)
            ],
            dtype=np.int32,
        )

    @property
    def lowest(self) -> int:
        return self.ladder.regimens[0]

    @property
    def first_size(self) -> int:
        """One: every participant is assigned by the rule."""
        return 1

    @property
    def own_maximum(self) -> int:
        return self.most * len(self.ladder)

    @property
    def variant(self) -> str:
        """The variant, and what it does in unlisted states when that is not holding accrual."""
        named = {"rolling_six": "rolling six", "iq": "IQ"}[self.parameters.variant]
        return named if self.parameters.unlisted == "hold" else f"{named}, refuses unlisted states"

    def decide(self, tally: Tally) -> Decisions:
        """The published table at the current level, with closed and missing levels taken into account."""
        rows, top = np.arange(tally.rows), len(self.ladder) - 1
        level = self.ladder.position(tally.current)
        total, evaluable, dlt = self._counts(tally)
        closed = self._too_toxic(tally)
        n_open = np.where(closed.any(axis=1), closed.argmax(axis=1), top + 1)
        found = self._lookup(total[rows, level], evaluable[rows, level], dlt[rows, level])
        higher = level + 1 < n_open
        too_high = level >= n_open
        # where the trial stands after going down: the level under all closed ones
        under = np.where(too_high, np.maximum(n_open - 1, 0), level)
        enough = self._acceptable(tally)[rows, under]
        full = total[rows, under] >= 6
        last = too_high | ((found == _ESCALATE) & ~higher)

        # the first case that holds decides
        cases = (
            ("rolling_six.lowest_too_toxic", n_open == 0, level, False),
            ("rolling_six.mtd", (last & enough) | (found == _MTD), level, False),
            ("rolling_six.hold", last & full, level, True),
            ("rolling_six.de_escalate", too_high, under, False),
            ("rolling_six.more_for_the_mtd", last, level, False),
            ("rolling_six.escalate", found == _ESCALATE, level + 1, False),
            ("rolling_six.same", found == _SAME, level, False),
            ("rolling_six.unlisted", found == _UNLISTED, level, True),
            ("rolling_six.hold", np.ones(tally.rows, dtype=bool), level, True),
        )
        case = np.argmax(np.stack([holds for _, holds, _, _ in cases]), axis=0)
        target = self.ladder.index[np.choose(case, [there for _, _, there, _ in cases])].astype(np.int32)
        waits = np.array([waits for _, _, _, waits in cases])[case]
        ends = np.array([self.reasons[self.cite(code)].stop is not None for code, _, _, _ in cases])[case]
        still = waits | ends
        action = np.where(ends, Action.STOP, np.where(waits, Action.WAIT, 0))
        moved = moves(tally.current, target, self.grid.at_most)
        return Decisions(
            action=np.where(still, action, moved).astype(np.int32),
            regimen=np.where(still, tally.current, target).astype(np.int32),
            size=np.where(still, 0, 1).astype(np.int32),
            reason=np.array([self.cite(code) for code, _, _, _ in cases], dtype=np.int32)[case],
        )

    def select(self, tally: Tally) -> Bools:
        """The highest level under all too toxic ones, if as many were evaluable there as the MTD needs."""
        closed = self._too_toxic(tally)
        n_open = np.where(closed.any(axis=1), closed.argmax(axis=1), len(self.ladder))
        levels = np.arange(len(self.ladder))
        usable = self._acceptable(tally)
        usable &= levels < n_open[:, None]
        highest = len(levels) - 1 - np.argmax(usable[:, ::-1], axis=1)
        anywhere: Bools = usable.sum(axis=1) > 0
        return self.ladder.mark(highest.astype(np.int32), anywhere, self.grid.size)

    def eliminated(self, tally: Tally) -> Bools:
        """Levels too toxic by the rule, and every regimen at or above one of them."""
        closed = np.zeros(tally.n.shape, dtype=bool)
        closed[:, self.ladder.index] = self._too_toxic(tally)
        above: Bools = closed.astype(np.float32) @ self.grid.at_most.astype(np.float32) > 0
        return above

    def properties(self) -> tuple[SafetyProperty, ...]:
        """What the rule promises about every decision."""
        return (
            SafetyProperty("never treats at or above a level with too many DLTs", self._treats_closed),
            SafetyProperty(f"never treats more than {self.most} at a level", self._overfills),
            SafetyProperty("never goes up more than one level at a time", self._skips),
        )

    def _counts(self, tally: Tally) -> tuple[Counts, Counts, Counts]:
        """Treated, evaluable and with a DLT at the levels, (S, L) each."""
        here = self.ladder.index
        return (tally.n + tally.pending)[:, here], tally.n[:, here], tally.dlt[:, here]

    def _lookup(self, total: Counts, evaluable: Counts, dlt: Counts) -> Counts:
        outside = (total > self.most) | (evaluable > total) | (dlt > evaluable)
        found: Counts = np.where(
            outside,
            _UNLISTED,
            self._table[tuple(np.minimum(each, self.most) for each in (total, evaluable, dlt))],
        )
        if self.parameters.unlisted == "refuse" and (found == _UNLISTED).any():
            row = int(np.argmax(found == _UNLISTED))
            raise OutcomeError(
                f"the published table of the {self.variant} does not list {total[row]} treated, {evaluable[row]} "
                f"evaluable, {dlt[row]} with a DLT: decide by the protocol, or set unlisted: hold"
            )
        return found

    def _too_toxic(self, tally: Tally) -> Bools:
        """Levels with too many DLTs, (S, L)."""
        _, evaluable, dlt = self._counts(tally)
        if self.parameters.variant == "rolling_six":
            toxic: Bools = dlt >= 2
            return toxic
        # a level that was left for a lower one stays closed, whatever its pending participants turn out to be
        left = np.arange(len(self.ladder)) > self.ladder.position(tally.current)[:, None]
        closed: Bools = (dlt >= 3) | ((dlt == 2) & ((evaluable <= 6) | left))
        return closed

    def _acceptable(self, tally: Tally) -> Bools:
        """Levels with few enough DLTs among enough evaluable participants to be the MTD, (S, L)."""
        _, evaluable, dlt = self._counts(tally)
        fine: Bools = ((evaluable >= 6) & (dlt <= 1)) | ((evaluable >= 5) & (dlt == 0))
        if self.parameters.variant == "iq":
            fine |= (evaluable >= 7) & (dlt == 2)
        return fine

    def _treats_closed(self, tally: Tally, decisions: Decisions) -> Bools:
        closed = np.take_along_axis(self.eliminated(tally), decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0]
        broken: Bools = closed & (decisions.size > 0)
        return broken

    def _overfills(self, tally: Tally, decisions: Decisions) -> Bools:
        rows = np.arange(tally.rows)
        there = tally.n[rows, decisions.regimen] + tally.pending[rows, decisions.regimen]
        broken: Bools = (there + decisions.size > self.most) & (decisions.size > 0)
        return broken

    def _skips(self, tally: Tally, decisions: Decisions) -> Bools:
        broken: Bools = self.ladder.position(decisions.regimen) > self.ladder.position(tally.current) + 1
        return broken


_STEPS: tuple[Step, ...] = ("same", "hold", "escalate", "de_escalate", "mtd", "unlisted")
_SAME, _HOLD, _ESCALATE, _DOWN, _MTD, _UNLISTED = range(len(_STEPS))
