"""``escalation report``: the operating characteristics of a study as one HTML file."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from escalation.cli_shared import (
    BudgetOption,
    DesignOption,
    Engine,
    ScenarioOption,
    SeedOption,
    SetOption,
    StudyArgument,
    TrialsOption,
    TruthOption,
    WorkersOption,
    executor_of,
    load_study,
    progress_bar,
    shared_only,
)


def report(
    study: StudyArgument,
    out: Annotated[Path, typer.Option(help="The HTML file to write; one that exists is not replaced.")],
    scenario: ScenarioOption = None,
    truth: TruthOption = None,
    engine: Annotated[Engine, typer.Option(help="auto is exact when the states fit, else sampled.")] = Engine.auto,
    trials: TrialsOption = 10_000,
    seed: SeedOption = 1,
    workers: WorkersOption = 1,
    budget: BudgetOption = None,
    design: DesignOption = None,
    set_: SetOption = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--beside", help="Compare with the study under another design on common participants; may be repeated."
        ),
    ] = None,
) -> None:
    """Write the report of a study: protocol, scenarios, operating characteristics and figures in one HTML file."""
    from escalation.compare import compare
    from escalation.report.document import simulation_report
    from escalation.safe_text import refuse_existing, whole_file
    from escalation.simulate import simulate

    refuse_existing(out)  # before the work, not after it
    loaded = load_study(study, design, set_, truth)
    others = [load_study(study, name, shared_only(set_), truth) for name in beside or ()]
    comparison = None
    with executor_of(workers) as executor, progress_bar("simulating") as progress:
        simulation = simulate(
            loaded,
            scenarios=scenario or (),
            engine=engine.value,
            trials=trials,
            seed=seed,
            executor=executor,
            progress=progress,
            budget=budget,
        )
        if others:
            comparison = compare(
                [loaded, *others],
                scenarios=scenario or (),
                engine="calendar" if engine == Engine.calendar else "sampled",
                trials=trials,
                seed=seed,
                executor=executor,
                progress=progress,
            )
    command = "escalation " + shlex.join(sys.argv[1:]) if sys.argv[1:2] == ["report"] else ""
    text = simulation_report(
        simulation, comparison=comparison, command=command, made=datetime.now(UTC).astimezone().date()
    )
    with whole_file(out) as made:
        made.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out}")
