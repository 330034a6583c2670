"""Least squares under the grid's partial order: exact, whatever the method it is compared with."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import isotonic_regression

from escalation.advice import Advice
from escalation.decision import Action
from escalation.partial_order import lower_sets, matrix_isotonic, within_reach
from escalation.regimens import RegimenGrid
from escalation.tally import Tally


def dykstra(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rows and columns in turn with Dykstra's corrections, until nothing moves: another way to the same fit."""
    fit, by_row, by_column = values.astype(float), np.zeros(values.shape), np.zeros(values.shape)
    for _ in range(20_000):
        before = fit
        rows = np.array([isotonic_regression(v, weights=w).x for v, w in zip(fit + by_row, weights, strict=True)])
        by_row = fit + by_row - rows
        fit = np.array(
            [isotonic_regression(v, weights=w).x for v, w in zip((rows + by_column).T, weights.T, strict=True)]
        ).T
        by_column = rows + by_column - fit
        if np.abs(fit - before).max() < 1e-13:
            break
    return fit


@pytest.mark.parametrize("shape", [(1, 5), (3, 1), (2, 2), (3, 5), (4, 4)])
def test_lower_sets_are_all_sets_closed_downwards(shape):
    frequencies, doses = shape
    sets = lower_sets(frequencies, doses)
    assert len(np.unique(sets, axis=0)) == len(sets) == comb(frequencies + doses, doses)
    grid = RegimenGrid(
        doses=tuple(range(1, doses + 1)), schedules=tuple(tuple(range(f + 1)) for f in range(frequencies))
    )
    low, high = np.nonzero(grid.at_most)
    assert not (sets[:, high] & ~sets[:, low]).any()


@given(
    arrays(np.float64, (3, 5), elements=st.floats(0, 1, allow_subnormal=False)),
    arrays(np.float64, (3, 5), elements=st.floats(0.05, 30)),
)
def test_the_fit_is_the_least_squares_fit(values, weights):
    fit = matrix_isotonic(values.reshape(1, -1), weights.reshape(1, -1), (3, 5)).reshape(3, 5)
    assert (np.diff(fit, axis=0) >= -1e-9).all()
    assert (np.diff(fit, axis=1) >= -1e-9).all()
    residual = weights * (values - fit)
    # the conditions of Karush, Kuhn and Tucker: residuals sum to 0 on a level, and no lower set wants to move
    for level in np.unique(fit.round(9)):
        assert residual[np.isclose(fit, level, atol=1e-9)].sum() == pytest.approx(0, abs=1e-6)
    sums = lower_sets(3, 5) @ residual.ravel()
    assert sums.min() >= -1e-6


def test_it_agrees_with_alternating_projections():
    draws = np.random.default_rng(7)
    for _ in range(12):
        values, weights = draws.random((3, 5)), draws.integers(0, 12, (3, 5)) + 0.1
        fit = matrix_isotonic(values.reshape(1, -1), weights.reshape(1, -1), (3, 5)).reshape(3, 5)
        assert fit == pytest.approx(dykstra(values, weights), abs=1e-8)


def test_rows_do_not_depend_on_each_other():
    draws = np.random.default_rng(1)
    values, weights = draws.random((9_001, 6)), draws.random((9_001, 6)) + 0.1
    whole = matrix_isotonic(values, weights, (2, 3))
    alone = np.concatenate([matrix_isotonic(values[k : k + 1], weights[k : k + 1], (2, 3)) for k in (0, 4_000, 9_000)])
    assert whole[[0, 4_000, 9_000]] == pytest.approx(alone, abs=1e-12)


def test_within_reach_neither_skips_nor_raises_both():
    """Three doses by three frequencies; 1.1 and 2.1 were tried, the trial stands at 1.1 or at 2.1."""
    grid = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7), (0, 7, 14)))
    counts = np.zeros((2, 9), int)
    counts[:, [0, 1]] = 3
    reach = within_reach(Tally.of(n=counts, dlt=0 * counts, current=[0, 1]), grid)
    levels = [[grid.level(int(k)) for k in np.flatnonzero(row)] for row in reach]
    assert levels[0] == ["1.1", "2.1", "3.1", "1.2"]  # 2.2 would raise both from 1.1
    assert levels[1] == ["1.1", "2.1", "3.1", "1.2", "2.2"]


def test_a_drawn_regimen_names_its_own_action():
    grid = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7)))
    advice = Advice(Action.ESCALATE, 1, 3, ("pipe.drawn",), decides=True, allocation=(0.25, 0.25, 0, 0.25, 0.25, 0))
    drawn = {k: advice.drawing(k, 1, grid).action for k in (0, 1, 3, 4)}
    assert drawn == {0: Action.DE_ESCALATE, 1: Action.STAY, 3: Action.ESCALATE, 4: Action.ESCALATE}
    assert advice.drawing(3, 1, grid).regimen == 3
    stopped = Advice(Action.STOP, 1, 0, ("pipe.no_admissible",), allocation=(0.0,) * 6)
    assert stopped.drawing(1, 1, grid).action == Action.STOP
