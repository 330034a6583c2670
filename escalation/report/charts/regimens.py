"""Figures over the regimens: assumed DLT probabilities, selection and allocation, on one axis and on the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from escalation.design import Estimates
from escalation.regimens import RegimenGrid
from escalation.report.charts.style import DASHES, DLT, INK, SELECTED, SERIES, SHAPES, TREATED, TRUTH, finished
from escalation.tally import Bools, Floats


@dataclass(frozen=True, slots=True)
class Shares:
    """What one design does at every regimen: shares and, when simulated, their standard errors, (K,) each."""

    selection: Floats
    allocation: Floats
    none: float
    selection_mcse: Floats | None = None
    allocation_mcse: Floats | None = None


def names(grid: RegimenGrid) -> list[str]:
    """Regimens as axes print them: the amount on one axis, the level on the grid."""
    return [grid.label(k) if grid.axis != "grid" else grid.level(k) for k in range(grid.size)]


def dose_toxicity(
    grid: RegimenGrid, curves: Mapping[str, Floats], target: float, *, within: float = 0.0, height: int = 220
) -> alt.LayerChart | alt.FacetChart:
    """DLT probability of the regimens of one axis: assumed curves, the target, and the band around it.

    Parameters
    ----------
    curves
        Name -> (K,) DLT probabilities.
    within
        Half-width of the band, not drawn when 0.
    """
    order = names(grid)
    rows = [
        {"regimen": order[k], "DLT probability": float(values[k]), "curve": name}
        for name, values in curves.items()
        for k in range(grid.size)
    ]
    listed = list(curves)
    colours = [TRUTH, *SERIES][: len(listed)]
    highest = max(0.5, *(float(np.max(values)) for values in curves.values()))
    said = "DLT probability"
    x = alt.X("regimen:N", sort=order, title=None)
    y = alt.Y(
        "DLT probability:Q",
        title=said,
        scale=alt.Scale(domain=[0, min(1.0, highest * 1.05)]),
        axis=alt.Axis(format="%"),
    )
    base = alt.Chart(pd.DataFrame(rows))
    colour = alt.Color("curve:N", scale=alt.Scale(domain=listed, range=colours), legend=_legend(listed))
    shape = alt.Shape("curve:N", scale=alt.Scale(domain=listed, range=list(SHAPES[: len(listed)])), legend=None)
    dash = alt.StrokeDash("curve:N", scale=alt.Scale(domain=listed, range=list(DASHES[: len(listed)])), legend=None)
    tooltip = ["curve:N", "regimen:N", alt.Tooltip("DLT probability:Q", format=".4g")]
    aim = pd.DataFrame([{"aim": target, "low": target - within, "high": target + within, "said": f"target {target:g}"}])
    layers: list[alt.Chart] = []
    if within:
        layers.append(
            alt.Chart(aim).mark_rect(color=INK, opacity=0.12).encode(y=alt.Y("low:Q", title=said), y2="high:Q")
        )
    layers += [
        alt.Chart(aim).mark_rule(color=INK, strokeDash=[4, 4]).encode(y=alt.Y("aim:Q", title=said)),
        alt.Chart(aim)
        .mark_text(color=INK, align="left", dx=4, dy=-7, fontSize=12)
        .encode(y=alt.Y("aim:Q", title=said), text="said:N", x=alt.value(0)),
        base.mark_line().encode(x=x, y=y, color=colour, strokeDash=dash),
        base.mark_point(filled=True, size=80).encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
    ]
    if len(listed) == 1:
        text = alt.Text("DLT probability:Q", format=".0%")
        layers.append(base.mark_text(dy=-12, color=INK, fontSize=12).encode(x=x, y=y, text=text))
    return finished(alt.layer(*layers).properties(height=height))


def estimated_curve(
    grid: RegimenGrid, found: Estimates, n: Sequence[int], dlt: Sequence[int], target: float, *, height: int = 230
) -> alt.LayerChart | alt.FacetChart:
    """What a design believes after the outcomes so far: estimates with their intervals beside the observed rates.

    Parameters
    ----------
    found
        Estimates of one trial; regimens without one are left out.
    n, dlt
        (K,) evaluable participants and DLTs; rings are the observed rates, with their counts.
    """
    order, said = names(grid), "DLT probability"
    believed = [
        {
            "regimen": order[k],
            "estimate": float(found.curve[0, k]),
            "lower": float(found.lower[0, k]),
            "upper": float(found.upper[0, k]),
        }
        for k in range(grid.size)
        if np.isfinite(found.curve[0, k])
    ]
    seen = [
        {"regimen": order[k], "rate": dlt[k] / n[k], "evaluable": n[k], "said": f"{dlt[k]}/{n[k]}"}
        for k in range(grid.size)
        if n[k]
    ]
    x = alt.X("regimen:N", sort=order, title=None, scale=alt.Scale(domain=order))
    y = alt.Y("estimate:Q", title=said, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    base = alt.Chart(pd.DataFrame(believed, columns=["regimen", "estimate", "lower", "upper"])).encode(x=x)
    rates = alt.Chart(pd.DataFrame(seen, columns=["regimen", "rate", "evaluable", "said"])).encode(x=x)
    aim = alt.Chart(pd.DataFrame([{"aim": target}]))
    layers = [
        aim.mark_rule(color=INK, strokeDash=[4, 4]).encode(y=alt.Y("aim:Q", title=said)),
        base.mark_rule(color=TRUTH, strokeWidth=3, opacity=0.6).encode(y=alt.Y("lower:Q", title=said), y2="upper:Q"),
        base.mark_line(color=TRUTH).encode(y=y),
        base.mark_point(color=TRUTH, filled=True, size=90, opacity=1).encode(
            y=y, tooltip=["regimen:N", alt.Tooltip("estimate:Q", format=".4f"), "lower:Q", "upper:Q"]
        ),
        rates.mark_point(color=DLT, size=170, strokeWidth=2.5).encode(
            y=alt.Y("rate:Q", title=said), tooltip=["regimen:N", "said:N"]
        ),
        rates.mark_text(color=INK, dx=20, fontSize=12).encode(y=alt.Y("rate:Q", title=said), text="said:N"),
    ]
    return finished(alt.layer(*layers).properties(height=height))


def _legend(listed: Sequence[str]) -> alt.Legend | None:
    return alt.Legend(orient="top") if len(listed) > 1 else None


def selection_and_allocation(
    grid: RegimenGrid, shares: Shares, true_mtd: Bools, *, height: int = 200
) -> alt.LayerChart | alt.FacetChart:
    """What a design selects and where it treats; a star marks the true MTD, whiskers show standard errors."""
    order = [name + (" ★" if true_mtd[k] else "") for k, name in enumerate(names(grid))]
    rows = [
        _bar(regimen, what, float(values[k]), None if errors is None else float(errors[k]))
        for k, regimen in enumerate(order)
        for what, values, errors in (
            ("selected", shares.selection, shares.selection_mcse),
            ("participants", shares.allocation, shares.allocation_mcse),
        )
    ]
    rows.append(_bar("none", "selected", shares.none, None))
    whats = ["selected", "participants"]
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("regimen:N", sort=[*order, "none"], title=None), xOffset=alt.XOffset("what:N", sort=whats)
    )
    y = alt.Y("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=4))
    colour = alt.Color(
        "what:N", scale=alt.Scale(domain=whats, range=[SELECTED, TREATED]), legend=alt.Legend(orient="top")
    )
    layers = [
        base.mark_bar().encode(y=y, color=colour, tooltip=["regimen:N", "what:N", "said:N"]),
        base.mark_text(dy=-7, fontSize=11, color=INK).encode(y=y, text=alt.Text("share:Q", format=".0%")),
    ]
    if shares.selection_mcse is not None:
        layers.append(base.mark_rule(color=INK).encode(y="low:Q", y2="high:Q"))
    return finished(alt.layer(*layers).properties(height=height))


def _bar(regimen: str, what: str, share: float, error: float | None) -> dict[str, object]:
    spread = error or 0.0
    said = f"{share:.4f} (exact)" if error is None else f"{share:.4f} (MCSE {error:.4f})"
    return {
        "regimen": regimen,
        "what": what,
        "share": share,
        "low": max(share - spread, 0.0),
        "high": share + spread,
        "said": said,
    }


def heat_map(
    grid: RegimenGrid,
    values: Floats,
    title: str,
    *,
    marked: Bools | None = None,
    contour: Bools | None = None,
    highest: float | None = None,
    height: int = 170,
) -> alt.LayerChart | alt.FacetChart:
    """A share or probability of every regimen of the grid, dose across and frequency upwards.

    Parameters
    ----------
    marked
        (K,) regimens marked with a star: the true MTD.
    contour
        (K,) regimens on the safe side of a contour, whose edge is drawn as a line.
    highest
        Value of the darkest colour, the largest of ``values`` when None.
    """
    top = highest or max(0.01, float(np.max(values)))
    rows = [
        {
            "dose": int(grid.dose_of[k]) + 1,
            "frequency": int(grid.frequency_of[k]) + 1,
            "left": int(grid.dose_of[k]) + 0.5,
            "right": int(grid.dose_of[k]) + 1.5,
            "below": int(grid.frequency_of[k]) + 0.5,
            "above": int(grid.frequency_of[k]) + 1.5,
            "value": float(values[k]),
            "said": f"{values[k]:.0%}" + (" ★" if marked is not None and marked[k] else ""),
            "regimen": grid.describe(k),
        }
        for k in range(grid.size)
    ]
    frame = pd.DataFrame(rows)
    cells = (
        alt.Chart(frame)
        .mark_rect(stroke="white")
        .encode(
            x=_axis("left", "dose level", grid.n_doses),
            x2="right",
            y=_axis("below", "frequency level", grid.n_frequencies),
            y2="above",
            color=alt.Color("value:Q", scale=alt.Scale(scheme="blues", domain=[0, top]), legend=None),
            tooltip=["regimen:N", alt.Tooltip("value:Q", format=".4f")],
        )
    )
    dark = alt.condition(f"datum.value > {0.55 * top}", alt.value("white"), alt.value("#1B2A2E"))
    text = alt.Chart(frame).mark_text(fontSize=13).encode(x="dose:Q", y="frequency:Q", text="said:N", color=dark)
    layers = [cells, text]
    if contour is not None:
        edges = _edges(contour.reshape(grid.shape))
        line = alt.Chart(edges).mark_rule(color=DLT, strokeWidth=4)
        layers.append(line.encode(x="x:Q", x2="x2:Q", y="y:Q", y2="y2:Q"))
    return finished(alt.layer(*layers).properties(title=alt.Title(title, anchor="start", fontSize=13), height=height))


def _axis(field: str, title: str, levels: int) -> alt.X | alt.Y:
    kind = alt.X if field == "left" else alt.Y
    axis = alt.Axis(values=list(range(1, levels + 1)), format="d", grid=False, tickSize=0)
    scale = alt.Scale(domain=[0.5, levels + 0.5], nice=False, zero=False)
    return kind(f"{field}:Q", title=title, axis=axis, scale=scale)


def _edges(safe: Bools) -> pd.DataFrame:
    """The edge between the regimens on the safe side and the others, as lines along cells."""
    frequencies, doses = safe.shape
    lines = []
    for f in range(frequencies):
        for d in range(doses - 1):
            if safe[f, d] != safe[f, d + 1]:
                lines.append((d + 1.5, d + 1.5, f + 0.5, f + 1.5))
    for f in range(frequencies - 1):
        for d in range(doses):
            if safe[f, d] != safe[f + 1, d]:
                lines.append((d + 0.5, d + 1.5, f + 1.5, f + 1.5))
    return pd.DataFrame(lines, columns=["x", "x2", "y", "y2"])
