"""What every figure shares: colours that colour-blind readers tell apart, fonts, and files without a browser."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import altair as alt
import vl_convert

from escalation.decision import Action

INK: Final = "#6A7D84"
"""Lines and labels that read on light and on dark: above 4 to 1 on both backgrounds."""
TRUTH: Final = "#8A6FB3"
SELECTED: Final = "#0072B2"
TREATED: Final = "#56B4E9"
DLT: Final = "#D55E00"
SAFE: Final = "#009E73"
PENDING: Final = "#E69F00"
MODERATE: Final = "#B79F00"
SERIES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A6FB3", "#7F7F7F")
"""Okabe and Ito's colours, in the order designs are listed."""
SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "stroke")
DASHES: Final = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3], [10, 2], [3, 1])

ACTIONS: Final = {
    Action.ESCALATE: ("E", "#009E73", "escalate"),
    Action.STAY: ("S", "#56B4E9", "stay"),
    Action.DE_ESCALATE: ("D", "#E69F00", "de-escalate"),
    Action.WAIT: ("W", "#BBBBBB", "wait"),
    Action.STOP: ("X", "#D55E00", "stop"),
}
"""Letter, colour and word of every action; the letter is always printed, so colour never speaks alone."""
ELIMINATE: Final = ("DU", "#D55E00", "de-escalate and never return")
FONT: Final = "Source Sans, DejaVu Sans, Arial, sans-serif"

Chart = TypeVar("Chart", bound=Any)
Drawn = alt.LayerChart | alt.FacetChart
"""What a figure's function returns."""


def finished(chart: Chart) -> Chart:
    """The chart with the project's fonts and quiet axes."""
    styled: Chart = (
        chart.configure(font=FONT)
        .configure_view(strokeWidth=0)
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridOpacity=0.4)
        .configure_axisX(labelAngle=0)
        .configure_header(labelFontSize=13, labelFontWeight="bold", title=None)
        .configure_legend(labelFontSize=12, title=None, orient="top")
    )
    return styled


def svg(chart: alt.TopLevelMixin) -> str:
    """The figure as SVG text, for reports and slides."""
    return str(vl_convert.vegalite_to_svg(chart.to_dict(format="vega-lite")))


def png(chart: alt.TopLevelMixin, scale: float = 2.0) -> bytes:
    """The figure as a PNG picture."""
    return bytes(vl_convert.vegalite_to_png(chart.to_dict(format="vega-lite"), scale=scale))
