from __future__ import annotations

import numpy as np
import pytest

from designs.axis import Ladder, ladder_along
from escalation.design import Setting
from escalation.errors import DesignError, OutcomeError
from escalation.regimens import RegimenGrid

GRID = RegimenGrid(doses=(1, 2, 3, 4, 5), schedules=((0,), (0, 7), (0, 7, 14)))
DOSES = RegimenGrid(doses=(1, 2, 3), schedules=((0,),))
FREQUENCIES = RegimenGrid(doses=(1,), schedules=((0,), (0, 7), (0, 7, 14)))


@pytest.mark.parametrize(
    ("grid", "start", "axis", "regimens"),
    [
        (GRID, 6, "dose", (5, 6, 7, 8, 9)),
        (GRID, 6, "frequency", (1, 6, 11)),
        (DOSES, 1, None, (0, 1, 2)),
        (DOSES, 1, "dose", (0, 1, 2)),
        (FREQUENCIES, 0, None, (0, 1, 2)),
        (FREQUENCIES, 2, "frequency", (0, 1, 2)),
    ],
)
def test_ladder_is_the_line_through_the_start(grid, start, axis, regimens):
    ladder = ladder_along(Setting(grid, 3, start), axis)
    assert ladder.regimens == regimens
    assert len(ladder) == len(regimens)
    below = grid.at_most[np.ix_(regimens, regimens)]
    assert np.array_equal(below, np.triu(np.ones_like(below)))


def test_grid_needs_a_choice_of_axis():
    with pytest.raises(DesignError, match="5 doses by 3 frequencies") as raised:
        ladder_along(Setting(GRID, 3, 0), None, "protocol.design.axis")
    assert raised.value.fault.path == "protocol.design.axis"
    assert "axis: dose or axis: frequency" in raised.value.fault.remedy


@pytest.mark.parametrize(("grid", "axis"), [(DOSES, "frequency"), (FREQUENCIES, "dose")])
def test_axis_with_a_single_level_is_refused(grid, axis):
    with pytest.raises(DesignError, match=f"only one {axis} level"):
        ladder_along(Setting(grid, 3, 0), axis)


def test_position_undoes_index():
    ladder = Ladder((1, 6, 11))
    assert ladder.position(ladder.index.astype(np.int32)).tolist() == [0, 1, 2]
    assert ladder.position(np.zeros(0, np.int32)).tolist() == []


@pytest.mark.parametrize("off", [0, 2, 12, 14])
def test_position_off_the_ladder_is_refused(off):
    with pytest.raises(OutcomeError, match="not on the ladder"):
        Ladder((1, 6, 11)).position(np.array([6, off], np.int32))


def test_mark_and_spread_fill_the_grid():
    ladder = Ladder((1, 3))
    marked = ladder.mark(np.array([1, 0, 0], np.int32), np.array([True, False, True]), 4)
    assert marked.tolist() == [[False, False, False, True], [False] * 4, [False, True, False, False]]
    assert np.array_equal(ladder.spread(np.array([[0.1, 0.2]]), 4), [[np.nan, 0.1, np.nan, 0.2]], equal_nan=True)
