"""Figures of what only a clock can tell: how long trials last, and what holds them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd

from escalation.characteristics import Distribution, Estimate
from escalation.report.charts.style import INK, SELECTED, TREATED, finished
from escalation.report.charts.trials import CAUSES, Cause
from escalation.tally import Floats

_MARKED = {0.05: "5 %", 0.5: "median", 0.95: "95 %"}


def distribution(
    values: Floats, spread: Distribution, title: str, *, bins: int = 40, height: int = 200
) -> alt.LayerChart | alt.FacetChart:
    """How a whole number spreads over the simulated trials, with its 5 % quantile, median and 95 % quantile.

    Parameters
    ----------
    values
        (T,) one entry a trial, all with the same weight.
    spread
        Their distribution, whose quantiles are marked.
    title
        What the numbers are.
    """
    low, high = float(np.floor(values.min())), float(np.floor(values.max())) + 1
    width = max(1.0, float(np.ceil((high - low) / bins)))  # whole widths, so that every bar holds as many numbers
    edges = np.arange(low, high + width, width)
    counted, _ = np.histogram(values, edges)
    share = counted / max(len(values), 1)
    bars = pd.DataFrame(
        {
            "from": edges[:-1],
            "to": edges[1:],
            "none": 0.0,
            "share": share,
            "said": [f"{a:g} to {b - 1:g}" if width > 1 else f"{a:g}" for a, b in pairwise(edges)],
            "mcse": np.sqrt(share * (1 - share) / max(len(values), 1)),
        }
    )
    marks = pd.DataFrame(
        [
            {"at": estimate.value, "said": f"{_MARKED[q]}: {estimate.value:g}", "mcse": estimate.mcse, "row": row}
            for row, (q, estimate) in enumerate((q, spread.quantiles[q]) for q in _MARKED)
        ]
    )
    x = alt.X("from:Q", title=title, scale=alt.Scale(nice=False, zero=False))
    y = alt.Y("share:Q", title="share of trials", axis=alt.Axis(format="%", tickCount=4))
    tooltip = [
        alt.Tooltip("said:N", title=title),
        alt.Tooltip("share:Q", title="share of trials", format=".4f"),
        alt.Tooltip("mcse:Q", title="MCSE", format=".4f"),
    ]
    lines = alt.Chart(marks).encode(x="at:Q")
    layered = alt.layer(
        alt.Chart(bars)
        .mark_bar(color=TREATED, stroke="white", strokeWidth=0.5)
        .encode(x=x, x2="to:Q", y=y, y2="none:Q", tooltip=tooltip),
        lines.mark_rule(color=INK, strokeWidth=1.5, strokeDash=[4, 3]).encode(tooltip=["said:N", "mcse:Q"]),
        *(
            alt.Chart(marks.iloc[[row]])
            .mark_text(align="center", fontSize=12, color=INK)
            .encode(x="at:Q", y=alt.value(-8 - 15 * row), text="said:N")
            for row in range(len(marks))  # one above the other, for quantiles can be close
        ),
    ).properties(height=height)
    return finished(layered)


def spreads(named: Mapping[str, Distribution], title: str, *, step: int = 30) -> alt.LayerChart | alt.FacetChart:
    """Distributions under one another: a line from the 5 % to the 95 % quantile, a bar over the middle half."""
    rows = [
        {
            "what": name,
            "said": f"{spread.quantiles[0.5].value:g}",
            "median": spread.quantiles[0.5].value,
            "mean": spread.mean.value,
            "mcse": spread.mean.mcse,
        }
        | {f"q{round(100 * q)}": estimate.value for q, estimate in spread.quantiles.items()}
        for name, spread in named.items()
    ]
    base = alt.Chart(pd.DataFrame(rows)).encode(
        y=alt.Y("what:N", sort=list(named), title=None, axis=alt.Axis(labelLimit=220)),
        tooltip=[
            "what:N",
            *(alt.Tooltip(f"q{q}:Q", title=f"{q} %") for q in (5, 25)),
            "median:Q",
            *(alt.Tooltip(f"q{q}:Q", title=f"{q} %") for q in (75, 95)),
            alt.Tooltip("mean:Q", format=".2f"),
            alt.Tooltip("mcse:Q", title="MCSE of the mean", format=".2f"),
        ],
    )
    return finished(
        alt.layer(
            base.mark_rule(color=SELECTED, strokeWidth=1.5).encode(
                x=alt.X("q5:Q", title=title, axis=alt.Axis(tickCount=8)), x2="q95:Q"
            ),
            base.mark_bar(color=TREATED, height=13).encode(x="q25:Q", x2="q75:Q"),
            base.mark_tick(color=INK, thickness=3, size=17).encode(x="median:Q"),
            base.mark_text(dy=-13, fontSize=11, color=INK).encode(x="median:Q", text="said:N"),
        ).properties(height=alt.Step(step + 8))
    )


def suspended_days(named: Mapping[str, Mapping[Cause, Estimate]], *, step: int = 26) -> alt.LayerChart | alt.FacetChart:
    """Mean days on which nobody could be enrolled, by cause.

    Parameters
    ----------
    named
        Name -> cause -> mean days of a trial, with their standard error.
    """
    rows = [
        {"what": name, "cause": word, "days": days[cause].value, "mcse": days[cause].mcse, "order": position}
        for name, days in named.items()
        for position, (cause, (word, _)) in enumerate(CAUSES.items())
    ]
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("days:Q", title="mean days without enrolment", stack="zero"),
        y=alt.Y("what:N", sort=list(named), title=None, axis=alt.Axis(labelLimit=220)),
        order="order:Q",
        tooltip=[
            "what:N",
            "cause:N",
            alt.Tooltip("days:Q", format=".2f"),
            alt.Tooltip("mcse:Q", title="MCSE", format=".2f"),
        ],
    )
    words, tones = [word for word, _ in CAUSES.values()], [tone for _, tone in CAUSES.values()]
    colour = alt.Color("cause:N", scale=alt.Scale(domain=words, range=tones), legend=alt.Legend(orient="top"))
    return finished(alt.layer(base.mark_bar(height=16).encode(color=colour)).properties(height=alt.Step(step)))
