"""Decisions in words: one catalogue for command line, screens and records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from escalation.advice import Advice, Possibility
from escalation.decision import Action
from escalation.design import Design
from escalation.pathways import Node
from escalation.regimens import RegimenGrid
from escalation.rule import Rule

CERTAIN_AND_WAITING: Final = (
    "Every outcome still open leads to the same decision; this protocol takes it when the windows are complete."
)


def waits_although_certain(advice: Advice) -> bool:
    """Whether a decision waits for complete windows only, not for an outcome that could change it."""
    verdicts = {(each.action, each.regimen, each.selected, each.allocation) for each in advice.outlook}
    return advice.action == Action.WAIT and len(verdicts) == 1


def drawable(allocation: Sequence[float] | None) -> list[tuple[int, float]]:
    """The regimens a decision can draw with their probabilities; none where only one is possible."""
    possible = [(k, share) for k, share in enumerate(allocation or ()) if share > 0]
    return possible if len(possible) > 1 else []


def draw_words(allocation: Sequence[float] | None, grid: RegimenGrid) -> str:
    """The regimens a decision draws one of: ``level 2.1 with probability 0.5, ...``; empty when nothing is drawn."""
    return ", ".join(f"level {grid.level(k)} with probability {share:.3g}" for k, share in drawable(allocation))


def where_to(
    action: Action,
    regimen: int,
    selected: tuple[int, ...],
    grid: RegimenGrid,
    allocation: Sequence[float] | None = None,
) -> str:
    """A decision as the end of a sentence: ``escalates to level 2 (20 mg)``."""
    if action != Action.STOP and (possible := drawable(allocation)):
        return "draws level " + " or ".join(grid.level(k) for k, _ in possible)
    if action == Action.STOP:
        if not selected:
            return "stops without a recommendation"
        return "stops and selects level " + ", ".join(grid.level(k) for k in selected)
    verb = {Action.ESCALATE: "escalates to", Action.DE_ESCALATE: "de-escalates to", Action.STAY: "treats more at"}
    return f"{verb.get(action, 'waits at')} level {grid.level(regimen)}"


def next_step(advice: Advice, grid: RegimenGrid) -> str:
    """What happens at a node of a pathway, as the end of a sentence."""
    if advice.action == Action.STAY and not advice.decides:
        return f"has {advice.size} places at level {grid.level(advice.regimen)}"
    return where_to(advice.action, advice.regimen, advice.selected, grid, advice.allocation)


def latest_outcomes(nodes: Sequence[Node], position: int) -> str:
    """The outcomes a node adds to the one before; all of them where it settles earlier ones."""
    node = nodes[position]
    if node.parent is None:
        return node.outcomes or "start"
    before = nodes[node.parent].outcomes
    return node.outcomes[len(before) :].strip() if node.outcomes.startswith(before) else node.outcomes


def why_no_table(design: Design[Any]) -> str:
    """Why a design has no decision table."""
    return f"{design.label} decides on more than the counts at the current regimen, so it has no table"


def outlook_lines(advice: Advice, grid: RegimenGrid) -> list[str]:
    """What each completion of the open outcomes would lead to, equal decisions brought together."""
    if not advice.outlook:
        return []
    if any(possibility.moderate for possibility in advice.outlook):
        return [f"{says}: {', '.join(outcomes)}" for says, outcomes in graded_outlook(advice, grid)]
    if len(advice.open_at) == 1:
        return _one_regimen(advice, grid)
    lines = []
    for possibility in advice.outlook:
        parts = [
            f"{more} at level {grid.level(regimen)}"
            for more, (regimen, _) in zip(possibility.further, advice.open_at, strict=True)
        ]
        lines.append(f"{' and '.join(parts)} further DLTs: {_says(possibility, grid)}")
    return lines


def graded_outlook(advice: Advice, grid: RegimenGrid) -> list[tuple[str, list[str]]]:
    """Decisions of an outlook that tells moderate toxicities apart, each with the outcomes that lead to it."""
    found: dict[str, list[str]] = {}
    for each in advice.outlook:
        told = zip(each.moderate, each.further, advice.open_at, strict=True)
        parts = [graded_words(moderate, dlts, grid, regimen, count) for moderate, dlts, (regimen, count) in told]
        found.setdefault(_says(each, grid), []).append(" and ".join(parts))
    return list(found.items())


def graded_words(moderate: int, dlts: int, grid: RegimenGrid, regimen: int, count: int) -> str:
    """The outcomes still open at a regimen once they are known."""
    if count == 1:
        said = "a DLT" if dlts else "a moderate toxicity" if moderate else "neither moderate toxicity nor DLT"
    else:
        said = f"{moderate} moderate toxicities and {dlts} DLTs"
    return f"{said} at level {grid.level(regimen)}"


def _one_regimen(advice: Advice, grid: RegimenGrid) -> list[str]:
    most = advice.open_at[0][1]
    lines = []
    answers: dict[int, list[str]] = {}
    for possibility in advice.outlook:
        heard = answers.setdefault(possibility.further[0], [])
        heard.extend({_says(possibility, grid)} - set(heard))
    for says, group in groupby(sorted(answers), key=lambda count: ", or ".join(answers[count])):
        counts = list(group)
        low, high = counts[0], counts[-1]
        if low == 0 and high == most:
            number = "whatever the open outcomes"
        elif high == most:
            number = f"{low} or more further DLTs" if low < most else f"{low} further DLT{'s' if low > 1 else ''}"
        elif low == high:
            number = "no further DLT" if low == 0 else f"{low} further DLT{'s' if low > 1 else ''}"
        else:
            number = (
                f"at most {high} further DLT{'s' if high > 1 else ''}" if low == 0 else f"{low} to {high} further DLTs"
            )
        lines.append(f"{number}: {says}")
    return lines


def _says(possibility: Possibility, grid: RegimenGrid) -> str:
    return where_to(possibility.action, possibility.regimen, possibility.selected, grid, possibility.allocation)


def headline(advice: Advice, rule: Rule) -> str:
    """The advice in one sentence."""
    grid = rule.grid
    if advice.action == Action.WAIT:
        return "Wait: outcomes that decide are pending."
    if advice.action == Action.STOP:
        chosen = ", ".join(grid.describe(k) for k in advice.selected)
        return f"Stop. Selected: {chosen}." if chosen else "Stop. No regimen is recommended."
    verb = {Action.ESCALATE: "Escalate to", Action.DE_ESCALATE: "De-escalate to", Action.STAY: "Treat"}[advice.action]
    people = f"{advice.size} participant{'s' if advice.size != 1 else ''}"
    if shares := draw_words(advice.allocation, grid):
        return f"Draw the regimen of the next {people if advice.size != 1 else 'participant'}: {shares}."
    if advice.action == Action.STAY:
        more = people.replace(" ", " more ", 1) if advice.decides else people
        return f"Treat {more} at level {grid.level(advice.regimen)}: {grid.describe(advice.regimen)}."
    return f"{verb} level {grid.level(advice.regimen)}: {grid.describe(advice.regimen)}, {people}."
