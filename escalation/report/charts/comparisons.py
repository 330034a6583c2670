"""Figures of designs compared: paired differences with their intervals, and what each selects side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from escalation.compare import DISTINGUISHED, Difference
from escalation.design import Design
from escalation.regimens import RegimenGrid
from escalation.report.charts.regimens import names
from escalation.report.charts.style import INK, SERIES, SHAPES, finished
from escalation.tally import Bools, Floats

NOT_DISTINGUISHED: Final = "not distinguished (~)"


def differences(
    named: Mapping[str, Mapping[str, Difference]], title: str, *, share: bool = True, step: int = 22
) -> alt.LayerChart | alt.FacetChart:
    """Paired differences from the reference, each with two standard errors to either side.

    Parameters
    ----------
    named
        Scenario -> design -> its difference.
    title
        The measure, and from what the difference is.
    share
        Whether the numbers are shares, drawn in percentage points.
    """
    unit = 100.0 if share else 1.0
    rows = [
        {
            "scenario": scenario,
            "design": design,
            "difference": unit * found.difference,
            "low": unit * (found.difference - DISTINGUISHED * found.mcse),
            "high": unit * (found.difference + DISTINGUISHED * found.mcse),
            "mcse": unit * found.mcse,
            "said": "distinguished" if found.distinguished else NOT_DISTINGUISHED,
        }
        for scenario, designs in named.items()
        for design, found in designs.items()
    ]
    listed = list(dict.fromkeys(str(row["design"]) for row in rows))
    y = alt.Y("scenario:N", sort=list(named), title=None, axis=alt.Axis(labelLimit=200))
    base = alt.Chart(pd.DataFrame(rows)).encode(
        y=y,
        yOffset=alt.YOffset("design:N", sort=listed),
        color=alt.Color("design:N", scale=alt.Scale(domain=listed, range=list(SERIES[1 : len(listed) + 1]))),
        tooltip=[
            "scenario:N",
            "design:N",
            alt.Tooltip("difference:Q", format="+.2f"),
            alt.Tooltip("mcse:Q", title="paired standard error", format=".2f"),
            alt.Tooltip("said:N", title="from none"),
        ],
    )
    said = f"{title}, percentage points" if share else title
    shape = alt.Shape("design:N", scale=alt.Scale(domain=listed, range=list(SHAPES[1 : len(listed) + 1])))
    fill = alt.condition(f"datum.said == '{NOT_DISTINGUISHED}'", alt.value(0.25), alt.value(1.0))
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=INK, strokeDash=[4, 3]).encode(x="zero:Q")
    return finished(
        alt.layer(
            zero,
            base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=said), x2="high:Q"),
            base.mark_point(filled=True, size=90, strokeWidth=1.5).encode(
                x="difference:Q", shape=shape, fillOpacity=fill
            ),
        ).properties(height=alt.Step(step if len(listed) > 1 else step + 6))
    )


def selection_side_by_side(
    grid: RegimenGrid,
    named: Mapping[str, tuple[Floats, Floats | None, float]],
    true_mtd: Bools,
    *,
    height: int = 220,
) -> alt.LayerChart | alt.FacetChart:
    """The share of trials in which each design selects each regimen; a star marks the true MTD.

    Parameters
    ----------
    named
        Design -> selection (K,), its standard errors (K,) or None, and the share that selects none.
    """
    order = [name + (" ★" if true_mtd[k] else "") for k, name in enumerate(names(grid))]
    rows = []
    for design, (selection, errors, none) in named.items():
        for k, regimen in enumerate(order):
            rows.append(_bar(design, regimen, float(selection[k]), None if errors is None else float(errors[k])))
        rows.append(_bar(design, "none", none, None))
    listed = list(named)
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("regimen:N", sort=[*order, "none"], title=None), xOffset=alt.XOffset("design:N", sort=listed)
    )
    colour = alt.Color("design:N", scale=alt.Scale(domain=listed, range=list(SERIES[: len(listed)])))
    y = alt.Y("share:Q", title="selected", axis=alt.Axis(format="%", tickCount=5))
    layers = [
        base.mark_bar(stroke="white", strokeWidth=0.5).encode(
            y=y, color=colour, tooltip=["design:N", "regimen:N", "said:N"]
        )
    ]
    if any(errors is not None for _, errors, _ in named.values()):
        layers.append(base.mark_rule(color=INK).encode(y="low:Q", y2="high:Q"))
    return finished(alt.layer(*layers).properties(height=height))


def _bar(design: str, regimen: str, share: float, error: float | None) -> dict[str, object]:
    spread = error or 0.0
    said = f"{share:.4f}" + ("" if error is None else f" (MCSE {error:.4f})")
    return {
        "design": design,
        "regimen": regimen,
        "share": share,
        "low": max(share - spread, 0.0),
        "high": share + spread,
        "said": said,
    }


def designs_named(designs: Sequence[Design[Any]]) -> list[str]:
    """Names that tell designs apart: their titles, their labels where titles are the same, numbered where both are."""
    for listed in ([each.title for each in designs], [each.label for each in designs]):
        if len(set(listed)) == len(listed):
            return listed
    return [f"{position} {each.label}" for position, each in enumerate(designs, 1)]
