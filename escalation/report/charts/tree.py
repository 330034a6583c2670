"""Dose transition pathways as a tree: what each outcome of the next cohorts leads to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import altair as alt
import pandas as pd

from escalation.decision import Action
from escalation.pathways import Node
from escalation.regimens import RegimenGrid
from escalation.report.charts.style import ACTIONS, INK, finished
from escalation.report.wording import latest_outcomes, next_step

MOST_LEAVES: Final = 260
"""Ends of a tree that can still be drawn; a longer one is for the list."""
_ROW: Final = 26
_COLUMN: Final = 270
_FORK: Final = 0.72
"""Where the branches of a node part, in columns: behind its words."""


def leaves(nodes: Sequence[Node]) -> int:
    """Number of nodes nothing follows."""
    return len(nodes) - len({node.parent for node in nodes if node.parent is not None})


def pathway_tree(
    nodes: Sequence[Node], grid: RegimenGrid, *, probabilities: bool = True
) -> alt.LayerChart | alt.FacetChart:
    """The pathways from left to right, one column a cohort; letters and colours tell the decision at each node.

    Parameters
    ----------
    nodes
        Depth first, as :func:`escalation.pathways.pathways` gives them.
    probabilities
        Print the probability of each node, and draw likely branches thicker.
    """
    height = _heights(nodes)
    rows = [_row(nodes, k, grid, height, probabilities) for k in range(len(nodes))]
    frame = pd.DataFrame(rows)
    edges = pd.DataFrame(_edges(nodes, height), columns=["x", "y", "x2", "y2", "weight"])
    deepest = max(node.depth for node in nodes)
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.08, deepest + 1.0], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[max(height) + 0.6, -0.6], nice=False))
    words = [word for _, _, word in ACTIONS.values()]
    shown = [word for word in words if word in set(frame["action"])]
    colours = {word: colour for _, colour, word in ACTIONS.values()}
    colour = alt.Color(
        "action:N", scale=alt.Scale(domain=shown, range=[colours[word] for word in shown]), legend=alt.Legend()
    )
    tooltip = ["outcomes:N", "decision:N", "reason:N", *(["probability:N"] if probabilities else [])]
    width = alt.Size("weight:Q", scale=alt.Scale(domain=[0, 1], range=[1, 9]), legend=None)
    line = alt.Chart(edges).mark_rule(color=INK, opacity=0.3).encode(x=x, y=y, x2="x2:Q", y2="y2:Q")
    base = alt.Chart(frame).encode(x=x, y=y, tooltip=tooltip)
    inner = base.transform_filter("!datum.end")
    layers = [
        line.encode(size=width) if probabilities else line,
        base.mark_point(filled=True, size=330, opacity=1, shape="circle").encode(color=colour),
        base.mark_text(fontSize=12, fontWeight="bold", color="#10191B").encode(text="letter:N"),
        # above and below the line of a node that something follows; on one line at an end
        inner.mark_text(align="left", dx=14, dy=-9, fontSize=12, fontWeight="bold", color=INK).encode(text="latest:N"),
        inner.mark_text(align="left", dx=14, dy=10, fontSize=11, color=INK).encode(text="said:N"),
        base.transform_filter("datum.end").mark_text(align="left", dx=14, fontSize=12, color=INK).encode(text="line:N"),
    ]
    size = {"width": _COLUMN * (deepest + 1), "height": max(90, int(_ROW * (max(height) + 1.2)))}
    return finished(alt.layer(*layers).properties(**size))


def _edges(nodes: Sequence[Node], height: Sequence[float]) -> list[tuple[float, float, float, float, float]]:
    """Lines along the words of a node that something follows, then across to what follows it."""
    lines: list[tuple[float, float, float, float, float]] = []
    for k in sorted({node.parent for node in nodes if node.parent is not None}):
        lines.append((nodes[k].depth, height[k], nodes[k].depth + _FORK, height[k], nodes[k].probability))
    for k, node in enumerate(nodes):
        if node.parent is not None:
            fork = node.depth - 1 + _FORK
            lines.append((fork, height[node.parent], node.depth, height[k], node.probability))
    return lines


def _row(
    nodes: Sequence[Node], k: int, grid: RegimenGrid, height: Sequence[float], probabilities: bool
) -> dict[str, object]:
    node = nodes[k]
    waits = node.advice.action == Action.STAY and not node.advice.decides
    letter, _, word = ACTIONS[node.advice.action]
    decision = next_step(node.advice, grid)
    latest, end = latest_outcomes(nodes, k), k + 1 == len(nodes) or nodes[k + 1].parent != k
    chance = f"{node.probability:.4f}"
    said = f"{decision}, {chance}" if probabilities and node.parent is not None else decision
    return {
        "end": end,
        "line": f"{latest}: {said}",
        "x": float(node.depth),
        "y": float(height[k]),
        "letter": letter,
        "action": ACTIONS[Action.STAY][2] if waits else word,
        "latest": latest,
        "said": said,
        "outcomes": node.outcomes or "start",
        "decision": decision,
        "reason": ", ".join(node.advice.reasons),
        "probability": f"{chance} (exact)",
    }


def _heights(nodes: Sequence[Node]) -> list[float]:
    """Row of every node: ends one below the other, the others in the middle of what follows them."""
    children: dict[int, list[int]] = {}
    for k, node in enumerate(nodes):
        if node.parent is not None:
            children.setdefault(node.parent, []).append(k)
    height = [0.0] * len(nodes)
    free = 0
    for k in range(len(nodes)):
        if k not in children:
            height[k] = float(free)
            free += 1
    for k in reversed(range(len(nodes))):
        if k in children:
            height[k] = (height[children[k][0]] + height[children[k][-1]]) / 2
    return height
