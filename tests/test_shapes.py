"""Shapes of assumed toxicity: monotone on both axes, the MTD where their name says, random ones keyed by their seed."""

from __future__ import annotations

import numpy as np
import pytest

from escalation.regimens import RegimenGrid
from escalation.shapes import random_monotone, shapes

GRIDS = {
    "doses": RegimenGrid(doses=(1, 2, 3, 4), schedules=((0,),)),
    "frequencies": RegimenGrid(doses=(1,), schedules=((0,), (0, 7), (0, 7, 14))),
    "grid": RegimenGrid(doses=(1, 2, 3, 4, 5), schedules=((0,), (0, 7), (0, 7, 14))),
}


def monotone(values: np.ndarray, grid: RegimenGrid) -> bool:
    low, high = np.nonzero(grid.at_most)
    return bool((values[..., low] <= values[..., high]).all())


@pytest.mark.parametrize("place", GRIDS)
def test_named_shapes_are_probabilities_that_never_fall(place):
    grid = GRIDS[place]
    for name, values in shapes(grid, 0.30).items():
        assert values.shape == (grid.size,), name
        assert ((values > 0) & (values < 1)).all(), name
        assert monotone(values, grid), name


def test_the_mtd_lies_where_the_name_says():
    found = shapes(GRIDS["grid"], 0.30)
    assert found["MTD at the lowest regimen"][0] == 0.30
    assert found["MTD at the highest regimen"][-1] == 0.30
    assert found["all safe"].max() <= 0.05
    assert found["all too toxic"].min() >= 0.5
    corners = found["contour through the corners"].reshape(3, 5)
    assert corners[0, -1] == corners[-1, 0] == 0.30
    on_axis = shapes(GRIDS["doses"], 0.25)
    assert [int(np.argmin(np.abs(on_axis[f"MTD at level {k}"] - 0.25))) for k in range(1, 5)] == [0, 1, 2, 3]


@pytest.mark.parametrize("place", GRIDS)
def test_random_surfaces_are_monotone_and_repeatable(place):
    grid = GRIDS[place]
    drawn = random_monotone(grid, 0.30, number=400, seed=7)
    assert drawn.shape == (400, grid.size)
    assert monotone(drawn, grid)
    assert ((drawn > 0) & (drawn < 1)).all()
    np.testing.assert_array_equal(drawn, random_monotone(grid, 0.30, number=400, seed=7))
    assert (drawn != random_monotone(grid, 0.30, number=400, seed=8)).any()
    at = np.argmin(np.abs(drawn - 0.30), axis=1)
    assert set(at.tolist()) == set(range(grid.size))  # the MTD is found everywhere
