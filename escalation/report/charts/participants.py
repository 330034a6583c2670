"""One participant's course as a figure: the DLT window, infusions planned and given, and events with their grades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import altair as alt
import pandas as pd

from escalation.report.charts.style import DLT, INK, SAFE, SELECTED, finished

GRADES: Final = ("#9CC9E8", "#56B4E9", "#E69F00", "#D55E00", "#7A1F00")
"""A colour for each CTCAE grade; the grade is printed in it."""
WINDOW: Final = "#C9CFD1"


@dataclass(frozen=True, slots=True)
class Span:
    """Days from the first infusion on which something held: a window, or an event at a grade."""

    lane: str
    start: float
    end: float
    said: str
    grade: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A day on which something happened, or was planned to."""

    lane: str
    day: float
    kind: str
    said: str


_KINDS: Final = ("planned", "given", "missed", "visit", "DLT")
_COLOURS: Final = ("#8C9599", SELECTED, DLT, SAFE, DLT)
_SHAPES: Final = ("diamond", "circle", "cross", "square", "triangle-up")
_FRAME: Final = 100
"""Height of the legend, the axis and its title."""


def participant_timeline(spans: Sequence[Span], marks: Sequence[Mark], today: float) -> alt.LayerChart | alt.FacetChart:
    """The course of a participant in days from the first infusion, which is day 0; the line is today.

    The number in a bar is the CTCAE grade of the event on those days.
    """
    lanes = list(dict.fromkeys([*(each.lane for each in spans), *(each.lane for each in marks)]))
    y = alt.Y("lane:N", sort=lanes, title=None, axis=alt.Axis(labelLimit=220), scale=alt.Scale(domain=lanes))
    held = pd.DataFrame(
        [_held(each) for each in spans], columns=["lane", "start", "middle", "end", "said", "label", "colour"]
    )
    days = pd.DataFrame(
        [{"lane": each.lane, "day": each.day, "kind": each.kind, "said": each.said} for each in marks],
        columns=["lane", "day", "kind", "said"],
    )
    x = alt.X("start:Q", title="day from the first infusion", axis=alt.Axis(tickMinStep=1, format="d"))
    bars = alt.Chart(held).encode(y=y, x=x, x2="end:Q", tooltip=["lane:N", "said:N"])
    places = [place for place, kind in enumerate(_KINDS) if kind in set(days["kind"])]
    kinds = [_KINDS[place] for place in places]
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=[_SHAPES[place] for place in places]))
    colour = alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=[_COLOURS[place] for place in places]))
    points = alt.Chart(days).encode(y=y, x="day:Q", tooltip=["lane:N", "said:N"], shape=shape, color=colour)
    line = alt.Chart(pd.DataFrame([{"day": today, "said": "today"}]))
    layers = [
        bars.mark_bar(height=16, opacity=0.75, cornerRadius=2).encode(color=alt.Color("colour:N", scale=None)),
        alt.Chart(held).mark_text(color="#10191b", fontWeight="bold").encode(y=y, x="middle:Q", text="label:N"),
        line.mark_rule(color=INK, strokeDash=[4, 4]).encode(x="day:Q"),
        line.mark_text(color=INK, align="left", dx=4, fontSize=12).encode(x="day:Q", y=alt.value(-6), text="said:N"),
        points.mark_point(size=110, filled=True, opacity=1),
    ]
    chart: alt.LayerChart = alt.layer(*layers).resolve_scale(color="independent", shape="independent")
    return finished(chart.properties(height=28 * len(lanes) + _FRAME))


def _held(span: Span) -> dict[str, str | float]:
    """A span as a row; one of a moment is drawn as half a day."""
    end = max(span.end, span.start + 0.5)
    return {
        "lane": span.lane,
        "start": span.start,
        "middle": (span.start + end) / 2,
        "end": end,
        "said": span.said,
        "label": str(span.grade) if span.grade else "",
        "colour": GRADES[span.grade - 1] if span.grade else WINDOW,
    }
