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
from escalation.compare import Comparison
from escalation.decision import Action
from escalation.design import DecisionTable
from escalation.outcomes import Replay
from escalation.pathways import Node
from escalation.regimens import RegimenGrid
from escalation.report.wording import headline, outlook_lines, where_to
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
    yield _regimen_table(c, grid, result.truth)
    yield _summary(c, study)


def _regimen_table(c: Characteristics, grid: RegimenGrid, truth: np.ndarray) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("regimen")
    for name in ("true DLT", "selected", "patients", "DLTs"):
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
    stages = "escalation and expansion" if c.expansion else "escalation"
    table.add_row(f"participants ({stages})", _spread(c.total_patients))
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
    rule = _MTD_RULES["contour" if study.protocol.rule.design.selects_contour else study.criteria.mtd_rule]
    table.add_row("judged by", f"target {study.target:g}; true MTD (*): {rule}")
    return table


def print_decision(console: Console, study: Study, replayed: Replay, advice: Advice) -> None:
    """The decision, why, and what is being waited for."""
    rule, state = study.protocol.rule, replayed.state
    grid = rule.grid
    console.print(heading(study))
    for departure in replayed.departures:
        console.print(Text(f"departure from the design: {departure}", style="yellow"))
    console.print()
    console.print(Panel(Text(headline(advice, rule), style="bold"), expand=False))
    for code in advice.reasons:
        reason = rule.reason(code)
        console.print(Text.assemble(reason.line, (f"  [{code}]", "dim")))
    drawn = [] if advice.allocation is None else [(k, p) for k, p in enumerate(advice.allocation) if p > 0]
    if len(drawn) > 1:
        shares = ", ".join(f"level {grid.level(k)} with probability {p:.3g}" for k, p in drawn)
        console.print(f"To be drawn by whoever conducts the trial: {shares}.")
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
    for name in ("evaluable", "DLTs", "pending"):
        table.add_column(name, justify="right")
    for k in range(grid.size):
        if state.n[k] or state.pending[k]:
            table.add_row(grid.describe(k), str(state.n[k]), str(state.dlt[k]), str(state.pending[k]))
    if state.expansion_n or state.expansion_pending:
        counts = (state.expansion_n, state.expansion_dlt, state.expansion_pending)
        table.add_row("expansion stage, at the selected regimen", *map(str, counts))
    if table.row_count:
        console.print()
        console.print(table)
    console.print(identity(study))


def print_table(console: Console, study: Study, table: DecisionTable) -> None:
    """The decision table by the number of evaluable participants at the current regimen."""
    console.print(heading(study))
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
    if not proof.holds:
        console.print("\nA broken property is a fact about the design as published, not an error of this check.")
    console.print(identity(study))


def print_pathways(console: Console, study: Study, scenario: str, nodes: tuple[Node, ...]) -> None:
    """Dose transition pathways as a tree, with their probabilities."""
    console.print(heading(study))
    console.print(f"Probabilities under scenario {scenario}.")
    grid = study.protocol.grid
    branches: list[Tree] = []
    for node in nodes:
        advice = node.advice
        says = (
            f"has {advice.size} places at level {grid.level(advice.regimen)}"
            if advice.action == Action.STAY and not advice.decides
            else where_to(advice.action, advice.regimen, advice.selected, grid)
        )
        shown = node.outcomes or "start"
        if node.parent is not None:
            before = nodes[node.parent].outcomes
            shown = node.outcomes[len(before) :].strip() if node.outcomes.startswith(before) else node.outcomes
        text = Text.assemble((shown, "bold"), f"  {says}", (f"  {node.probability:.4f}", "cyan"))
        branches.append(Tree(text) if node.parent is None else branches[node.parent].add(text))
    console.print(branches[0])
    console.print(identity(study))


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Designs side by side on common participants, differences from the first."""
    for study in comparison.studies:
        console.print(heading(study))
    for note in comparison.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    names = {
        **{name: title for name, (title, _) in MEASURES.items()},
        "patients": "Participants",
        "dlts": "DLTs",
        "duration_days": "Duration in days",
    }
    for scenario in comparison.scenarios:
        console.print()
        console.print(
            Text.assemble((f"Scenario {scenario.name}", "bold"), f"  truth {_truth(scenario.truth, comparison)}")
        )
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("measure")
        for position, study in enumerate(comparison.studies, 1):
            table.add_column(f"{position} {study.protocol.rule.design.title}", justify="right", overflow="fold")
            if position > 1:
                table.add_column(f"{position} - 1", justify="right")
        for name in scenario.measures[0]:
            cells = []
            for position, measures in enumerate(scenario.measures):
                cells.append(number(measures[name], 3) if name in measures else "-")
                if position:
                    difference = scenario.differences[position - 1].get(name)
                    cells.append(
                        "-"
                        if difference is None
                        else _difference(difference.difference, difference.mcse, difference.distinguished)
                    )
            table.add_row(names.get(name, name), *cells)
        console.print(table)
        best = scenario.benchmark
        console.print(f"Optimal benchmark, {best.participants} participants: PCS {number(best.correct_selection, 3)}")
    console.print()
    console.print(
        identity(
            comparison.studies[0],
            f", {comparison.engine} engine, {comparison.trials:,} common trials, seed {comparison.seed}; Monte Carlo "
            "standard errors in parentheses, of differences the paired ones; ~ marks a difference not distinguished "
            "from none (under two standard errors)",
        )
    )


def _difference(value: float, mcse: float, distinguished: bool) -> str:
    return f"{'' if distinguished else '~'}{value:+.3f} ({mcse:.3f})"


def _truth(truth: np.ndarray, comparison: Comparison) -> str:
    rows = comparison.studies[0].protocol.grid.matrix(truth)
    return " / ".join(" ".join(f"{p:g}" for p in row) for row in rows)
