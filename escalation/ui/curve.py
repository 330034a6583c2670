"""The assumed curves as a figure whose points are dragged; the sliders beside it hold the values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import streamlit as st

from escalation.regimens import RegimenGrid
from escalation.report.charts.regimens import names
from escalation.report.charts.style import SERIES, TRUTH
from escalation.tally import Floats

MOST: Final = 95.0
"""Largest assumed DLT probability, in per cent."""
STEP: Final = 0.5
"""Least change, in per cent."""


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


_DRAWN: Final = st.components.v2.component("escalation_curve", js=_file("curve.js"), css=_file("curve.css"))


def curve(key: str, grid: RegimenGrid, truth: Floats, sliders: Sequence[str], target: float, within: float) -> None:
    """Draw one curve a frequency (one curve where there is one axis); a dragged point moves its slider.

    Parameters
    ----------
    truth
        (K,) assumed DLT probabilities.
    sliders
        K keys of the sliders that hold them, in per cent.
    within
        Half-width of the band around the target, not drawn when 0.
    """

    def moved() -> None:
        move = st.session_state[key].moved
        if move is not None:
            st.session_state[sliders[move["point"]]] = float(move["value"])

    _DRAWN(key=key, data=_drawing(grid, truth, target, within), on_moved_change=moved)


def _drawing(grid: RegimenGrid, truth: Floats, target: float, within: float) -> dict[str, Any]:
    """What the figure shows, in per cent."""
    percent = [round(100 * float(each), 1) for each in truth]
    labels = names(grid)
    if grid.axis == "grid":
        rows = range(grid.n_frequencies)
        series = [
            {
                "name": f"F{row + 1}",
                "colour": SERIES[row % len(SERIES)],
                "points": np.flatnonzero(grid.frequency_of == row).tolist(),
            }
            for row in rows
        ]
        columns, column = [f"D{dose}" for dose in range(1, grid.n_doses + 1)], grid.dose_of.tolist()
    else:
        series = [{"name": "assumed", "colour": TRUTH, "points": list(range(grid.size))}]
        columns, column = labels, list(range(grid.size))
    top = min(max(50.0, float(10 * np.ceil((max(percent) + 10) / 10))), 100.0)
    return {
        "values": percent,
        "names": labels,
        "columns": columns,
        "column": column,
        "series": series,
        "target": 100 * target,
        "within": 100 * within,
        "top": top,
        "most": MOST,
        "step": STEP,
        "label": "Assumed DLT probabilities; drag a point, or move it with the arrow keys",
    }
