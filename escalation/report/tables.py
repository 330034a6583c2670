"""Tables for the terminal: readable at 80 columns, every number with its error or the word exact."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from escalation import __version__
from escalation.advice import Advice
from escalation.characteristics import MEASURES, Characteristics, Distribution, Estimate
from escalation.compare import ComparedScenario, Comparison
from escalation.design import DecisionTable, Estimates
from escalation.outcomes import Replay
from escalation.pathways import Node
from escalation.regimens import RegimenGrid
from escalation.report.one_regimen import groups_line, response_rows, response_test_line, safety_rows, stopping_table
from escalation.report.proof_notes import proof_notes
from escalation.report.wording import (
    CERTAIN_AND_WAITING,
    headline,
    latest_outcomes,
    next_step,
    outlook_lines,
    waits_although_certain,
)
from escalation.response import MEASURES as RESPONSE_MEASURES
from escalation.simulate import ScenarioResult, Simulation
from escalation.study import Study
from escalation.trial import PENDING
from escalation.verify import Proof


def number(estimate: Estimate, digits: int = 4) -> str:
    """A value with its Monte Carlo standard error, alone when it is exact."""
    if np.isnan(estimate.value):
        return "not defined"
    value = f"{estimate.value:.{digits}f}"
    return value if estimate.mcse is None else f"{value} ({estimate.mcse:.{digits}f})"


def heading(study: Study) -> RenderableType:
    """What the study is, and what must be said wherever it is shown."""
    rule = study.protocol.rule
    lines: list[RenderableType] = [
        Text(study.title, style="bold"),
        Text(f"{study.id}{f' ({study.registry})' if study.registry else ''}, design: {rule.design.label}"),
    ]
    if study.groups is not None:
        lines.append(Text(groups_line(study.groups)))
    lines += [Text(notice, style="bold red") for notice in study.notices]
    lines += [Text(f"warning: {line}", style="yellow") for line in study.warnings()]
    return Group(*lines)


def identity(study: Study, more: str = "") -> Text:
    """What a printed result needs to be traced: version, study hash, engine."""
    return Text(f"escalation {__version__}, study {study.hash[:12]}{more}", style="dim")


def print_simulation(console: Console, simulation: Simulation) -> None:
    """Operating characteristics, scenario by scenario."""
    study = simulation.study
    console.print(heading(study))
    for note in simulation.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    test = response_test_line(study)
    if test is not None:
        console.print(test)
    for result in simulation.scenarios:
        console.print()
        for part in _scenario(result, study, simulation.trials):
            console.print(part)
    console.print()
    if simulation.engine == "exact":
        console.print(identity(study, f", exact: no Monte Carlo error ({simulation.states:,} states)"))
    else:
        console.print(
            identity(
                study,
                f", {simulation.engine} engine, {simulation.trials:,} trials, seed {simulation.seed}; "
                "Monte Carlo standard errors in parentheses",
            )
        )


def _scenario(result: ScenarioResult, study: Study, trials: int | None) -> Iterable[RenderableType]:
    c, grid = result.characteristics, study.protocol.grid
    how = "exact" if trials is None else f"{trials:,} trials"
    description = study.scenario(result.name).description
    yield Text.assemble((f"Scenario {result.name}", "bold"), f" ({how})", f": {description}" if description else "")
    if study.family == "escalation":
        yield _regimen_table(c, grid, result.truth)
        yield _summary(c, study)
    else:
        yield _one_regimen(result, study)


def _regimen_table(c: Characteristics, grid: RegimenGrid, truth: np.ndarray) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("regimen")
    backfilled = ("backfilled",) if c.backfill is not None else ()
    for name in ("true DLT", "selected", "patients", *backfilled, "DLTs"):
        table.add_column(name, justify="right")

    def cell(values: np.ndarray, errors: np.ndarray | None, k: int, digits: int) -> str:
        return number(Estimate(float(values[k]), None if errors is None else float(errors[k])), digits)

    for k in range(grid.size):
        mark = " *" if c.true_mtd[k] else ""
        table.add_row(
            f"{grid.level(k)}  {grid.label(k)}{mark}",
            f"{truth[k]:.4g}",
            cell(c.selection, c.selection_mcse, k, 4),
            cell(c.patients, c.patients_mcse, k, 3),
            *(() if c.backfill is None else (cell(c.backfill, c.backfill_mcse, k, 3),)),
            cell(c.dlts, c.dlts_mcse, k, 3),
        )
    table.add_row("none", "", number(c.no_selection, 4), "", "")
    return table


_MTD_RULES = {
    "closest": "closest to the target",
    "equal": "equal to the target",
    "largest_le": "the largest not above the target",
    "contour": "closest in each frequency, at most target + 0.05",
}


def mtd_rule(study: Study) -> str:
    """Which regimens count as the true MTD, in words."""
    return _MTD_RULES["contour" if study.protocol.rule.design.selects_contour else study.criteria.mtd_rule]


def _point(quantile: Estimate) -> str:
    """A quantile, which is a whole number, with its error to two digits."""
    return f"{quantile.value:g}" if quantile.mcse is None else f"{quantile.value:g} ({quantile.mcse:.2g})"


def _spread(distribution: Distribution, digits: int = 2) -> str:
    low, middle, high = (_point(distribution.quantiles[q]) for q in (0.05, 0.5, 0.95))
    return (
        f"mean {number(distribution.mean, digits)}, SD {number(distribution.sd, digits)}, "
        f"5 % {low}, median {middle}, 95 % {high}, most {distribution.maximum:g}"
    )


def _summary(c: Characteristics, study: Study) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("what", style="cyan")
    table.add_column("value", overflow="fold")
    table.add_row(f"participants ({c.stages})", _spread(c.total_patients))
    table.add_row("participants with a DLT", _spread(c.total_dlts))
    if c.expansion:
        table.add_row(
            "expansion stage",
            f"{number(c.expansion['patients'], 3)} participants, {number(c.expansion['dlts'], 3)} with a DLT, "
            f"withdrawn {number(c.expansion['withdrawn'], 4)}",
        )
    for name, (title, _) in MEASURES.items():
        if name in c.measures:
            table.add_row(title, number(c.measures[name]))
    if c.duration_days is not None:
        table.add_row("duration in days", _spread(c.duration_days, 1))
    for name, estimate in c.calendar.items():
        table.add_row(name.replace("_", " "), number(estimate, 3))
    for code, estimate in c.stop_reasons.items():
        table.add_row(f"ended by {code}", number(estimate))
    table.add_row("judged by", f"target {study.target:g}; true MTD (*): {mtd_rule(study)}")
    return table


def _one_regimen(result: ScenarioResult, study: Study) -> Table:
    """Safety monitoring and response of a single regimen; nothing is selected among others."""
    c = result.characteristics
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("what", style="cyan")
    table.add_column("value", overflow="fold")
    for row in safety_rows(result, study, number):
        table.add_row(*row)
    group = "" if study.groups is None else ", treatment group"
    table.add_row(f"participants{group}", _spread(c.total_patients))
    table.add_row(f"participants with a DLT{group}", _spread(c.total_dlts))
    table.add_row("observed minus true DLT rate, complete", number(c.measures["observed_rate_bias_at_selection"]))
    for row in response_rows(result, study, number):
        table.add_row(*row)
    if c.duration_days is not None:
        table.add_row("duration in days", _spread(c.duration_days, 1))
    for name, estimate in c.calendar.items():
        table.add_row(name.replace("_", " "), number(estimate, 3))
    for code, estimate in c.stop_reasons.items():
        table.add_row(f"ended by {code}", number(estimate))
    return table


def print_decision(console: Console, study: Study, replayed: Replay, advice: Advice) -> None:
    """The decision, why, and what is being waited for."""
    rule, state = study.protocol.rule, replayed.state
    grid = rule.grid
    console.print(heading(study))
    for departure in replayed.departures:
        console.print(Text(f"departure from the design: {departure}", style="yellow"))
    console.print()
    certain = waits_although_certain(advice)
    told = "Wait for the windows to be complete." if certain else headline(advice, rule)
    console.print(Panel(Text(told, style="bold"), expand=False))
    for code in advice.reasons:
        line = CERTAIN_AND_WAITING if certain else rule.reason(code).line
        console.print(Text.assemble(line, (f"  [{code}]", "dim")))
    if rule.expansion is not None and state.stage == "escalation" and len(advice.selected) == 1:
        console.print(f"Then {rule.expansion.describe(grid)}.")
    if advice.certain:
        console.print("Certain already: no outcome still open can change it.")
    pending = [number + 1 for number, person in state.participants.items() if person.status == PENDING]
    if pending and not advice.decides:
        console.print("Pending: participant " + ", ".join(map(str, pending)))
    for line in outlook_lines(advice, grid):
        console.print(f"  {line}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("regimen")
    graded = rule.reads_grades
    for name in ("evaluable", "DLTs", *(("moderate toxicities",) if graded else ()), "pending"):
        table.add_column(name, justify="right")
    for k in range(grid.size):
        if state.n[k] or state.pending[k] or state.moderate[k]:
            moderate = (state.moderate[k],) if graded else ()
            table.add_row(grid.describe(k), *map(str, (state.n[k], state.dlt[k], *moderate, state.pending[k])))
    if state.expansion_n or state.expansion_pending:
        stage = (state.expansion_n, state.expansion_dlt, *(("",) if graded else ()), state.expansion_pending)
        table.add_row("expansion stage, at the selected regimen", *map(str, stage))
    for k in range(grid.size):
        if state.backfill_n[k] or state.backfill_pending[k]:
            counts = (state.backfill_n[k], state.backfill_dlt[k], *(("",) if graded else ()), state.backfill_pending[k])
            table.add_row(f"backfilled: {grid.describe(k)}", *map(str, counts))
    if table.row_count:
        console.print()
        console.print(table)
    found = rule.design.estimates(rule.counted(state.tally()))
    if found is not None:
        console.print()
        console.print(_estimates(found, grid))
        console.print(Text(found.method, style="dim"))
    console.print(identity(study))


def _estimates(found: Estimates, grid: RegimenGrid) -> Table:
    """Estimated DLT probabilities with their intervals."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("regimen")
    table.add_column("estimated DLT probability", justify="right")
    table.add_column(f"{found.level * 100:g} % interval", justify="right")
    for name in found.by_regimen:
        table.add_column(name.replace("_", " "), justify="right")
    for k in range(grid.size):
        if np.isfinite(found.curve[0, k]):
            interval = f"{found.lower[0, k]:.3f} to {found.upper[0, k]:.3f}"
            more = (f"{values[0, k]:.3f}" for values in found.by_regimen.values())
            table.add_row(grid.describe(k), f"{found.curve[0, k]:.3f}", interval, *more)
    return table


def print_rule(console: Console, study: Study) -> None:
    """The rule of a study in the order it is applied, and the numbers worked out from its parameters."""
    design = study.protocol.rule.design
    console.print(heading(study))
    console.print(Text(type(design).citation, style="dim"))
    for step in study.protocol.rule.steps():
        console.print(f"  - {step}")
    for name, value in design.constants().items():
        numbers = [f"{each:.4g}" for each in value] if isinstance(value, list) else [f"{value}"]
        console.print(
            Text.assemble(
                (name.replace("de_escalate", "de-escalate").replace("_", " "), "cyan"), "  ", " ".join(numbers)
            )
        )
    console.print(identity(study))


def print_table(console: Console, study: Study, table: DecisionTable) -> None:
    """The decision table by the number of evaluable participants at the current regimen."""
    console.print(heading(study))
    if study.family != "escalation":
        console.print(stopping_table(table))
        console.print(identity(study))
        return
    printed = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("evaluable", "escalate if at most", "de-escalate if at least", "eliminate if at least"):
        printed.add_column(name, justify="right")
    size = study.protocol.cohort_size
    rows = zip(
        table.n, table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least, strict=True
    )
    for n, *limits in rows:
        style = "bold" if n % size == 0 else "dim"
        printed.add_row(str(n), *("never" if limit is None else str(limit) for limit in limits), style=style)
    console.print(printed)
    console.print(identity(study))


def print_proof(console: Console, study: Study, proof: Proof) -> None:
    """The safety proof: what was checked, on how many states, and what breaks."""
    console.print(heading(study))
    for step in study.protocol.rule.steps():
        console.print(f"  - {step}")
    console.print(f"\n{proof.states:,} reachable decision states checked, every one.\n")
    for verdict in proof.verdicts:
        mark = Text("holds  ", style="green") if verdict.holds else Text("BROKEN ", style="bold red")
        console.print(Text.assemble(mark, verdict.statement))
        if verdict.counterexample:
            console.print(f"        counterexample: {verdict.counterexample}")
    for note in proof_notes(study, proof):
        console.print(f"\n{note}")
    console.print(identity(study))


def print_pathways(console: Console, study: Study, scenario: str, nodes: tuple[Node, ...]) -> None:
    """Dose transition pathways as a tree, with their probabilities."""
    console.print(heading(study))
    console.print(f"Probabilities under scenario {scenario}.")
    grid = study.protocol.grid
    branches: list[Tree] = []
    for position, node in enumerate(nodes):
        says = next_step(node.advice, grid)
        text = Text.assemble(
            (latest_outcomes(nodes, position), "bold"), f"  {says}", (f"  {node.probability:.4f}", "cyan")
        )
        branches.append(Tree(text) if node.parent is None else branches[node.parent].add(text))
    console.print(branches[0])
    console.print(identity(study))


AMONG_REGIMENS = {"selection_within", "selection_below", "overdosing_60", "overdosing_80", "poor_allocation"}
"""Measures of a choice among regimens; with one regimen they say nothing."""


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Designs side by side on common participants, below each number its difference from the first."""
    console.print(heading(comparison.studies[0]))
    said = set(comparison.studies[0].notices)
    for position, study in enumerate(comparison.studies, 1):
        console.print(Text(f"{position}  {study.protocol.rule.design.label}", style="bold"))
        if study.id != comparison.studies[0].id:
            console.print(Text(f"   {study.title}, {study.id}"))
        more = [*study.notices, *(f"warning: {line}" for line in study.warnings() if position > 1)]
        for line in more:
            if line not in said:
                console.print(Text(f"   {line}", style="bold red" if line in study.notices else "yellow"))
        said |= set(more)
    for note in comparison.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    several = comparison.studies[0].protocol.grid.size > 1
    for scenario in comparison.scenarios:
        console.print()
        console.print(
            Text.assemble((f"Scenario {scenario.name}", "bold"), f"  truth {_truth(scenario.truth, comparison)}")
        )
        for others in _beside(console.width, len(comparison.studies)):
            console.print(_compared(scenario, others, several))
        best = scenario.benchmark
        if several:
            line = f"Optimal benchmark, {best.participants} participants: PCS {number(best.correct_selection, 3)}"
            console.print(line)
    console.print()
    console.print(
        identity(
            comparison.studies[0],
            f", {comparison.engine} engine, {comparison.trials:,} common trials, seed {comparison.seed}; Monte Carlo "
            "standard errors in parentheses; below each number the paired difference from 1, ~ where it is not "
            "distinguished from none (under two standard errors)",
        )
    )


_NAMES, _NUMBERS = 17, 17
"""Characters of the names of measures, and of a column of numbers with the space before it."""


def _beside(width: int, entries: int) -> list[list[int]]:
    """The later entries of a comparison in groups, each of which fits beside the first."""
    fits = max(1, (width - _NAMES) // _NUMBERS - 1)
    return [list(range(first, min(first + fits, entries))) for first in range(1, entries, fits)]


def _compared(scenario: ComparedScenario, others: list[int], several: bool) -> Table:
    """The first entry of a comparison with some of the others beside it."""
    names = {
        **{name: title for name, (title, _) in MEASURES.items()},
        "patients": "Participants",
        "dlts": "DLTs",
        "duration_days": "Duration in days",
        "response_shown": RESPONSE_MEASURES["response_shown"][0],
    }
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("measure", width=_NAMES)
    for position in (0, *others):
        table.add_column(f"{position + 1}", justify="right", no_wrap=True)
    for name in scenario.names:
        if not several and name in AMONG_REGIMENS:
            continue
        cells = []
        for position in (0, *others):
            measures = scenario.measures[position]
            cell = number(measures[name], 3) if name in measures else "-"
            difference = scenario.differences[position - 1].get(name) if position else None
            if difference is not None:
                cell += f"\n{_difference(difference.difference, difference.mcse, difference.distinguished)}"
            cells.append(cell)
        table.add_row(names.get(name, name), *cells)
    return table


def _difference(value: float, mcse: float, distinguished: bool) -> str:
    return f"{'' if distinguished else '~'}{value:+.3f} ({mcse:.3f})"


def _truth(truth: np.ndarray, comparison: Comparison) -> str:
    rows = comparison.studies[0].protocol.grid.matrix(truth)
    return " / ".join(" ".join(f"{p:g}" for p in row) for row in rows)
