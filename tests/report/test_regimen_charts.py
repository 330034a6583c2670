"""Figures over the regimens: what they draw is what the engines say."""

from __future__ import annotations

import numpy as np
import pytest

from escalation.outcomes import replay
from escalation.report.charts.regimens import Shares, dose_toxicity, estimated_curve, heat_map, selection_and_allocation
from escalation.report.charts.style import png, svg
from escalation.study import load


def test_estimates_stand_beside_the_observed_rates():
    study = load("textbook-crm")
    rule = study.protocol.rule
    state = replay(rule, "1NNN 2NTN").state
    found = rule.design.estimates(state.tally())
    chart = estimated_curve(rule.grid, found, state.n, state.dlt, study.target)
    drawn = chart.to_dict()
    values = [row for rows in drawn["datasets"].values() for row in rows]
    estimates = {row["regimen"]: row["estimate"] for row in values if "estimate" in row}
    assert list(estimates.values()) == pytest.approx(list(found.curve[0]))
    assert {row["said"] for row in values if "said" in row} == {"0/3", "1/3"}
    assert "1/3" in svg(chart)


def test_the_contour_is_drawn_between_the_safe_regimens_and_the_others():
    study = load("nct05672420")
    grid = study.protocol.grid
    values = np.linspace(0.05, 0.6, grid.size)
    safe = values <= 0.3
    drawn = heat_map(grid, values, "Assumed DLT", marked=safe, contour=safe).to_dict()
    rows = [row for rows in drawn["datasets"].values() for row in rows]
    edges = [row for row in rows if "x2" in row and "value" not in row]
    cells = safe.reshape(grid.shape)
    assert len(edges) == (cells[:, :-1] != cells[:, 1:]).sum() + (cells[:-1] != cells[1:]).sum()


def test_every_figure_becomes_a_file():
    grid = load("textbook-5-doses").protocol.grid
    p = np.array([0.05, 0.15, 0.3, 0.45, 0.6])
    shares = Shares(p / p.sum(), p / p.sum(), 0.1, 0.01 + 0 * p, 0.01 + 0 * p)
    for chart in (
        dose_toxicity(grid, {"a": p, "b": p / 2}, 0.3, within=0.05),
        selection_and_allocation(grid, shares, p == 0.3),
    ):
        assert svg(chart).startswith("<svg")
        assert png(chart)[:4] == b"\x89PNG"
