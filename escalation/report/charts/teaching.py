"""Figures of the lessons: windows over the days, the chance to pass a level, and intervals against the exact value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt
import numpy as np
import pandas as pd

from escalation.characteristics import Estimate
from escalation.regimens import RegimenGrid
from escalation.report.charts.style import DLT, INK, SAFE, SELECTED, SERIES, TRUTH, finished
from escalation.tally import Floats
from escalation.truth import Window


def windows(
    grid: RegimenGrid, listed: Mapping[str, Window], regimens: Sequence[int]
) -> alt.LayerChart | alt.FacetChart:
    """Infusions and DLT windows of regimens, a lane for each regimen and window.

    Parameters
    ----------
    listed
        Name -> window, for example one from the first and one from the last infusion.
    regimens
        Which regimens to draw, counted from 0.
    """
    lanes, given = [], []
    for k in regimens:
        schedule = grid.schedule(k)
        for name, window in listed.items():
            lane = f"{grid.label(k)}, {name}" if len(listed) > 1 else grid.label(k)
            lanes.append({"lane": lane, "from": 0, "to": window.end(schedule), "window": name})
            given += [{"lane": lane, "day": day} for day in schedule]
    frame, order = pd.DataFrame(lanes), [str(each["lane"]) for each in lanes]
    x = alt.X("from:Q", title="day since the first infusion", axis=alt.Axis(format="d", tickMinStep=1))
    y = alt.Y("lane:N", sort=order, title=None, axis=alt.Axis(labelLimit=260, labelOverlap=False))
    colours = alt.Scale(domain=list(listed), range=[SELECTED, SERIES[1]][: len(listed)])
    base = alt.Chart(frame)
    bars = base.mark_bar(height=14, opacity=0.45).encode(
        x=x, x2="to:Q", y=y, color=alt.Color("window:N", scale=colours, legend=None)
    )
    ends = base.mark_text(align="left", dx=4, color=INK, fontSize=12).encode(x="to:Q", y=y, text="to:Q")
    ticks = alt.Chart(pd.DataFrame(given)).mark_tick(color=INK, thickness=3, size=18, orient="vertical")
    layered = alt.layer(bars, ticks.encode(x="day:Q", y=y, tooltip=["lane:N", "day:Q"]), ends)
    return finished(layered.properties(height=34 * len(order) + 70))


def passing(p: Floats, passes: Floats, marked: Mapping[str, tuple[float, float]]) -> alt.LayerChart | alt.FacetChart:
    """The probability that a level is passed, against its DLT probability, with named points on the curve."""
    curve = pd.DataFrame({"p": p, "passes": passes})
    points = pd.DataFrame([{"said": name, "p": x, "passes": y} for name, (x, y) in marked.items()])
    x = alt.X("p:Q", title="DLT probability of the level", axis=alt.Axis(format="%"))
    y = alt.Y("passes:Q", title="passes the level", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    line = alt.Chart(curve).mark_line(color=TRUTH).encode(x=x, y=y)
    dots = alt.Chart(points).mark_point(filled=True, size=90, color=DLT).encode(x=x, y=y)
    words = alt.Chart(points).mark_text(align="left", dx=9, dy=-8, color=INK, fontSize=13)
    return finished(alt.layer(line, dots, words.encode(x=x, y=y, text="said:N")).properties(height=300))


def intervals(
    names: Sequence[str], estimates: Sequence[Estimate], exact: float, errors: float = 2.0
) -> alt.LayerChart | alt.FacetChart:
    """Simulated estimates with so many standard errors to both sides, and the exact value as a line.

    An interval that misses the exact value is drawn in another colour with another shape.
    """
    rows = []
    for name, each in zip(names, estimates, strict=True):
        spread = errors * (each.mcse or 0.0)
        holds = abs(each.value - exact) <= spread
        rows.append(
            {
                "name": name,
                "value": each.value,
                "low": each.value - spread,
                "high": each.value + spread,
                "interval": "holds the exact value" if holds else "misses it",
            }
        )
    kinds = ["holds the exact value", "misses it"]
    x = alt.X("name:N", sort=list(names), title="seed", axis=alt.Axis(labelOverlap=True))
    y = alt.Y("value:Q", title=None, axis=alt.Axis(format="%"), scale=alt.Scale(zero=False))
    colour = alt.Color("interval:N", scale=alt.Scale(domain=kinds, range=[SAFE, DLT]))
    shape = alt.Shape("interval:N", scale=alt.Scale(domain=kinds, range=["circle", "cross"]))
    base = alt.Chart(pd.DataFrame(rows))
    line = (
        alt.Chart(pd.DataFrame([{"exact": exact}]))
        .mark_rule(color=INK, strokeDash=[4, 4])
        .encode(y=alt.Y("exact:Q", title=None))
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=x, y=alt.Y("low:Q", title=None), y2="high:Q", color=colour)
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, color=colour, shape=shape)
    return finished(alt.layer(line, bars, dots).properties(height=300))


def follow_up(days: Floats, curves: Mapping[str, Floats], until: int | None = None) -> alt.LayerChart | alt.FacetChart:
    """Cumulative DLT probabilities over the days since the first infusion; a line at the day reached so far."""
    rows = [
        {"day": float(day), "DLT by then": float(share), "curve": name}
        for name, values in curves.items()
        for day, share in zip(days, values, strict=True)
    ]
    listed = list(curves)
    scale = alt.Scale(domain=listed, range=list(SERIES[: len(listed)]))
    x = alt.X("day:Q", title="day since the first infusion", axis=alt.Axis(format="d"))
    y = alt.Y("DLT by then:Q", title="DLT by then", axis=alt.Axis(format="%"))
    line = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line()
        .encode(
            x=x,
            y=y,
            color=alt.Color("curve:N", scale=scale, legend=alt.Legend(orient="top") if len(listed) > 1 else None),
            strokeDash=alt.StrokeDash("curve:N", legend=None),
        )
    )
    layers = [line]
    if until is not None:
        here = alt.Chart(pd.DataFrame([{"day": until, "said": f"today, day {until}"}]))
        layers.append(here.mark_rule(color=INK, strokeDash=[3, 3]).encode(x="day:Q"))
        layers.append(here.mark_text(align="left", dx=5, color=INK).encode(x="day:Q", y=alt.value(12), text="said:N"))
    return finished(alt.layer(*layers).properties(height=280))


def enlarged(chart: alt.TopLevelMixin, factor: float) -> dict[str, Any]:
    """The specification of a chart with its words, marks and height larger, for a projector."""
    spec = chart.to_dict(format="vega-lite")
    return {key: _enlarged(key, value, factor) for key, value in spec.items()}


_SIZES: Final = {"fontSize", "labelFontSize", "titleFontSize", "dx", "dy", "labelLimit", "thickness", "strokeWidth"}


def _enlarged(key: str, value: Any, factor: float, *, of_mark: bool = False) -> Any:
    if isinstance(value, dict) and key != "datasets":
        return {name: _enlarged(name, each, factor, of_mark=key == "mark") for name, each in value.items()}
    if isinstance(value, list) and key != "datasets":
        return [_enlarged(key, each, factor) for each in value]
    scaled = key in _SIZES or key == "height" or (key == "size" and of_mark)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return value * (factor**2 if key == "size" else factor) if scaled and numeric else value


def days_of(end: int) -> Floats:
    """Days to draw a curve over, a quarter of a day apart."""
    return np.arange(0, end + 0.25, 0.25)
