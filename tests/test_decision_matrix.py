"""The decision table spelled out says what the engine decides."""

from __future__ import annotations

import numpy as np
import pytest

from escalation.decision import Action
from escalation.report.decision_matrix import ELIMINATE, decision_matrix
from escalation.study import load
from escalation.tally import Tally


def test_boin_decides_in_every_cell_what_the_matrix_says():
    study = load("textbook-boin")
    design = study.protocol.rule.design
    matrix = decision_matrix(design.table())
    for n, row in zip(matrix.n, matrix.cells, strict=True):
        for dlt, cell in enumerate(row):
            if cell is None:
                assert dlt > n
                continue
            tally = Tally.of(n=[[3, n, 0, 0, 0]], dlt=[[0, dlt, 0, 0, 0]], current=[1])
            said = Action.DE_ESCALATE if cell == ELIMINATE else cell
            assert design.decide(tally).action[0] == said, (n, dlt)
            assert bool(design.eliminated(tally)[0, 1]) == (cell == ELIMINATE), (n, dlt)


@pytest.mark.parametrize("variant", ["V1", "V2", "V3"])
def test_three_plus_three_decides_in_every_cell_what_the_matrix_says(variant):
    study = load("textbook-5-doses", overrides=[f"protocol.design.variant={variant}"])
    design = study.protocol.rule.design
    matrix = decision_matrix(design.table())
    assert matrix.n == (3, 6)
    for n, row in zip(matrix.n, matrix.cells, strict=True):
        for dlt, cell in enumerate(row):
            if n == 6 and dlt == 0:
                continue  # six are treated only after one DLT in three
            tally = Tally.of(n=[[3, n, 0, 0, 0]], dlt=[[0, dlt, 0, 0, 0]], current=[1], cohort_n=[3], cohort_dlt=[0])
            decided = design.decide(tally)
            if cell == ELIMINATE:
                below = decided.stops[0] and np.flatnonzero(design.select(tally)[0]).tolist() == [0]
                assert below or decided.action[0] == Action.DE_ESCALATE
            else:
                assert decided.action[0] == cell, (n, dlt)


def test_whole_cohorts_only_and_columns_up_to_the_last_boundary():
    table = load("textbook-boin").protocol.rule.design.table()
    matrix = decision_matrix(table, 3)
    assert matrix.n == tuple(range(3, 31, 3))
    assert matrix.closed
    assert len(matrix.cells[0]) == 15
    assert matrix.cells[-1][-1] == ELIMINATE
