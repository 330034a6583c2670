"""A decision table written by the study team, along one axis.

Any rule that decides from the number evaluable and the number with a DLT at the current level can be
given as the table itself, the way publications print it: a column for every number evaluable, a row for
every number of DLTs, and in the cells E (escalate), S (stay), D (de-escalate) or DU (de-escalate, and
never come back: the level and all above it are eliminated). Cells with more DLTs than participants are
left empty::

    DLTs,3,6
    0,E,E
    1,S,E
    2,D,S
    3,DU,D
    4,,DU
    5,,DU
    6,,DU

The table is read strictly. Every column has a decision for every possible number of DLTs, the numbers
evaluable are all from 1 on or all multiples of the cohort size, and the decisions are ordered: more DLTs
among as many participants, one more participant with a DLT, or as many DLTs among fewer participants
never make the decision milder. Each breach is reported with its row and column.

What the table does not say is read on the safe side. A number evaluable between two columns, or beyond
the last one, takes its counts from the column before it: as many DLTs among more participants are no
worse, so this never escalates where the table would not. The trial ends before a level gets more
participants than the table covers.

The trial ends when the lowest level is eliminated. Otherwise the level is selected whose isotonic
estimate is closest to the target, as for BOIN.

References
----------
Ji Y, Yang S (2017) On the interval-based dose-finding designs, doi:10.48550/arXiv.1706.03277 (the form of the table).

Examples
--------
The table above is the 3+3 rule written as a table, but with de-escalation instead of an end. Two DLTs
among six stay, where 3+3 would go down.

>>> from designs.decision_table import UploadedTable, UploadedTableParameters
>>> from escalation.design import Setting
>>> from escalation.regimens import RegimenGrid
>>> from escalation.tally import Tally
>>> text = "DLTs,3,6\\n0,E,E\\n1,S,E\\n2,D,S\\n3,DU,D\\n4,,DU\\n5,,DU\\n6,,DU"
>>> grid = RegimenGrid(doses=(10, 20, 40), schedules=((0,),), unit="mg")
>>> design = UploadedTable(
...     UploadedTableParameters(target=0.30, table=text), Setting(grid, cohort_size=3, start=0, max_patients=18)
... )
>>> seen = Tally.of(n=[[3, 3, 0], [3, 6, 0], [3, 3, 0]], dlt=[[0, 1, 0], [0, 1, 0], [0, 3, 0]], current=[1, 1, 1])
>>> [design.reasons[reason].code for reason in design.decide(seen).reason]
['decision_table.stay', 'decision_table.escalate', 'decision_table.eliminated']
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from designs.boundaries import DE_ESCALATE, ESCALATE, Boundaries
from designs.interval import IntervalDesign, IntervalParameters, with_shared_reasons
from designs.table_text import ELIMINATE, Columns, read_columns
from escalation.decision import Action, Reason
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.numerics import NEVER
from escalation.tally import Bools, Counts, Tally


class UploadedTableParameters(IntervalParameters):
    """Parameters of an uploaded decision table."""

    table: str = Field(
        json_schema_extra={"file": "csv"},
        description="The table as comma-separated text: a header with the numbers evaluable, then for every number "
        "of DLTs a row of E, S, D or DU. In a study file also the name of a CSV file beside it.",
    )
    elimination_certainty: float | None = Field(
        default=None,
        gt=0.5,
        lt=1,
        description="Also eliminate a level when Pr(p > target | data) exceeds this; the DU cells alone if left out.",
    )

    @field_validator("table")
    @classmethod
    def _readable(cls, table: str) -> str:
        read_columns(table)
        return table


class UploadedTable(IntervalDesign[UploadedTableParameters]):
    """An uploaded decision table along the dose axis or the frequency axis."""

    name: ClassVar[str] = "decision_table"
    title: ClassVar[str] = "Decision table"
    citation: ClassVar[str] = "the study's own table; form as in Ji & Yang (2017), doi:10.48550/arXiv.1706.03277"
    Parameters = UploadedTableParameters
    escalates: ClassVar[str] = "decision_table.escalate"
    stays: ClassVar[str] = "decision_table.stay"
    de_escalates: ClassVar[str] = "decision_table.de_escalate"
    reasons: ClassVar[tuple[Reason, ...]] = with_shared_reasons(
        "decision_table",
        Reason(
            "decision_table.escalate",
            "The decision table says E for these counts: escalate.",
            "The study fixed its decisions in a table before it began. For the number evaluable and the number of "
            "DLTs at this level the table says escalate, so the next cohort goes one level up.",
        ),
        Reason(
            "decision_table.stay",
            "The decision table says S for these counts: stay.",
            "The study fixed its decisions in a table before it began. For the number evaluable and the number of "
            "DLTs at this level the table says stay, so the next cohort is treated here again.",
        ),
        Reason(
            "decision_table.de_escalate",
            "The decision table says D for these counts: de-escalate.",
            "The study fixed its decisions in a table before it began. For the number evaluable and the number of "
            "DLTs at this level the table says de-escalate, so the next cohort goes one level down.",
        ),
        Reason(
            "decision_table.eliminated",
            "This level is too toxic and is eliminated with all higher ones: de-escalate.",
            "For the counts at this level the table says DU, or the probability that its DLT rate is above the target "
            "exceeds the elimination certainty where the study gives one. The level and everything above it is closed "
            "for the rest of the trial, and the next cohort goes to the highest level still open.",
        ),
        Reason(
            "decision_table.lowest_eliminated",
            "The lowest level is too toxic: the trial stops and nothing is recommended.",
            "For the counts at the lowest level the table says DU, or the probability that its DLT rate is above the "
            "target exceeds the elimination certainty where the study gives one. Every level is closed, so no level "
            "can be selected.",
            stop="lowest_too_toxic",
            selects=False,
        ),
        Reason(
            "decision_table.complete",
            "The next cohort would take its level past the end of the decision table: escalation ends.",
            "The table has no decision for as many participants as the next cohort would bring to its level. "
            "Escalation ends, and the selection is made from what is known.",
            stop="n_at_regimen",
        ),
    )

    def __init__(self, parameters: UploadedTableParameters, setting: Setting) -> None:
        self.columns = read_columns(parameters.table)
        sizes = list(self.columns)
        step = sizes[0]
        if step not in (1, setting.cohort_size):
            raise DesignError(
                "protocol.design.table",
                f"the columns are multiples of {step}, and cohorts have {setting.cohort_size} participants",
                f"give a column for every number from 1 on, or for the multiples of {setting.cohort_size}",
            )
        self.last = sizes[-1]
        if self.last < setting.cohort_size:
            raise DesignError(
                "protocol.design.table",
                f"the last column is {self.last}, and the first cohort has {setting.cohort_size} participants",
                "add columns",
            )
        super().__init__(parameters, setting)

    @property
    def table_size(self) -> int:
        """The last column, or the protocol's maximum where that is smaller."""
        return min(super().table_size, self.last)

    @classmethod
    def limits(cls, parameters: UploadedTableParameters, n_max: int) -> tuple[Counts, Counts]:
        """The boundaries of the table; a number evaluable without a column has those of the column before it."""
        columns = read_columns(parameters.table)
        escalate = _carried(columns, n_max, -1, lambda cells: cells.count(ESCALATE) - 1)
        strict = _carried(columns, n_max, int(NEVER), lambda cells: _first(cells, DE_ESCALATE))
        # before the first column nobody escalates, and what forces its de-escalation does so already
        first = min(columns)
        strict[1:first] = _first(columns[first], DE_ESCALATE)
        return escalate, strict

    @classmethod
    def eliminations(cls, parameters: UploadedTableParameters, n_max: int) -> tuple[Counts, Counts]:
        """The DU cells, and the posterior rule where ``elimination_certainty`` is given."""
        listed = _carried(read_columns(parameters.table), n_max, int(NEVER), lambda cells: _first(cells, ELIMINATE))
        eliminate, stop = super().eliminations(parameters, n_max)
        return np.minimum(listed, eliminate), np.minimum(listed, stop)

    def _cases(self, tally: Tally, bound: Boundaries) -> list[tuple[str, Bools, Action, Counts]]:
        cases = super()._cases(tally, bound)
        level = self.ladder.position(tally.current)
        ends: list[tuple[str, Bools, Action, Counts]] = []
        for code, holds, action, there in cases:
            if action != Action.STOP:
                regimen = self.ladder.index[np.clip(there, 0, len(self.ladder) - 1)]
                n_there = np.take_along_axis(tally.n, regimen[:, None], axis=1)[:, 0]
                full = holds & (n_there + self.setting.cohort_size > self.last)
                ends.append(("decision_table.complete", full, Action.STOP, level))
            ends.append((code, holds, action, there))
        return ends


def _first(cells: tuple[int, ...], at_least: int) -> int:
    """The fewest DLTs whose decision is this strict, NEVER when none is."""
    return next((dlt for dlt, move in enumerate(cells) if move >= at_least), int(NEVER))


def _carried(columns: Columns, n_max: int, before: int, read: Callable[[tuple[int, ...]], int]) -> Counts:
    """What is read off each column, for n = 0..n_max, between columns that of the column before."""
    boundary = np.full(n_max + 1, before, dtype=np.int32)
    for size in columns:
        boundary[size:] = read(columns[size])
    return boundary
