"""The command line. Heavy imports stay inside the commands, so that help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from escalation.app_cli import serve
from escalation.cli_shared import (
    BudgetOption,
    ComparisonEngine,
    DesignOption,
    Engine,
    JsonOption,
    ScenarioOption,
    SeedOption,
    SetOption,
    StudyArgument,
    TrialsOption,
    TruthOption,
    WorkersOption,
    console,
    executor_of,
    load_study,
    print_json,
    progress_bar,
    shared_only,
)
from escalation.report_cli import report
from escalation.trial_cli import app as trial_app

app = typer.Typer(
    name="escalation",
    help="Dose-escalation trials: exact and simulated operating characteristics, decisions, pathways, safety proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(trial_app, name="trial")
app.command(name="app")(serve)
app.command()(report)


def main() -> None:
    """Run the command line; bad input ends with one clear message and exit code 2."""
    from escalation.errors import EscalationError

    try:
        app()
    except EscalationError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


@app.command()
def simulate(
    study: StudyArgument,
    scenario: ScenarioOption = None,
    truth: TruthOption = None,
    engine: Annotated[
        Engine, typer.Option(help="auto is exact when the states fit, else sampled; calendar with windows open.")
    ] = Engine.auto,
    trials: TrialsOption = 10_000,
    seed: SeedOption = 1,
    workers: WorkersOption = 1,
    budget: BudgetOption = None,
    design: DesignOption = None,
    set_: SetOption = None,
    records: Annotated[
        Path | None,
        typer.Option(help="Write trials.csv (and participants.csv with the calendar engine) into this folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Operating characteristics of a study under its scenarios."""
    from escalation.report.forms import simulation_form
    from escalation.report.tables import print_simulation
    from escalation.simulate import simulate as run
    from escalation.simulate import write_records

    loaded = load_study(study, design, set_, truth)
    with executor_of(workers) as executor, progress_bar("simulating") as progress:
        simulation = run(
            loaded,
            scenarios=scenario or (),
            engine=engine.value,
            trials=trials,
            seed=seed,
            executor=executor,
            records=records is not None,
            progress=progress,
            budget=budget,
        )
    if records is not None:
        write_records(simulation, records)
    if as_json:
        print_json(simulation_form(simulation))
    else:
        print_simulation(console(), simulation)


@app.command()
def decide(
    study: StudyArgument,
    outcomes: Annotated[
        str,
        typer.Option(help='The trial so far, as "1NNN 2NTN" (N, T, P pending, X not evaluable, M moderate toxicity).'),
    ],
    design: DesignOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What happens next in a trial, why, and what is being waited for."""
    from escalation.advice import Advisor
    from escalation.outcomes import replay
    from escalation.report.forms import decision_form
    from escalation.report.tables import print_decision

    loaded = load_study(study, design, set_)
    protocol = loaded.protocol
    advisor = Advisor.of(protocol.rule, protocol.escalate_when)
    replayed = replay(protocol.rule, outcomes, advisor=advisor, replace_not_evaluable=protocol.evaluability.replace)
    advice = advisor.advise(replayed.state)
    if as_json:
        print_json(decision_form(loaded, replayed, advice, outcomes))
    else:
        print_decision(console(), loaded, replayed, advice)


@app.command()
def rule(
    study: StudyArgument, design: DesignOption = None, set_: SetOption = None, as_json: JsonOption = False
) -> None:
    """The rule of a study: design, guards, and the numbers worked out from the parameters, such as a skeleton."""
    from escalation.report.forms import rule_form
    from escalation.report.tables import print_rule

    loaded = load_study(study, design, set_)
    if as_json:
        print_json(rule_form(loaded))
    else:
        print_rule(console(), loaded)


@app.command()
def table(
    study: StudyArgument,
    design: DesignOption = None,
    set_: SetOption = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print E, S, D, DU cells as CSV, as decision_table reads.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The decision table by the number of evaluable participants at the current regimen."""
    from escalation.errors import EngineError
    from escalation.report.forms import table_csv, table_form
    from escalation.report.tables import print_table
    from escalation.report.wording import why_no_table

    loaded = load_study(study, design, set_)
    found = loaded.protocol.rule.design.table()
    if found is None:
        raise EngineError(f"{why_no_table(loaded.protocol.rule.design)}; use: escalation pathways")
    if as_csv:
        typer.echo(table_csv(found), nl=False)
    elif as_json:
        print_json(table_form(found))
    else:
        print_table(console(), loaded, found)


@app.command()
def verify(
    study: StudyArgument,
    design: DesignOption = None,
    set_: SetOption = None,
    budget: BudgetOption = None,
    strict: Annotated[bool, typer.Option(help="Exit with code 1 when a property is broken.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check safety properties on every state the design can reach."""
    from escalation.report.forms import proof_form
    from escalation.report.tables import print_proof
    from escalation.verify import verify as prove

    loaded = load_study(study, design, set_)
    with progress_bar("checking") as progress:
        proof = prove(loaded.protocol.rule, budget=budget, progress=progress)
    if as_json:
        print_json(proof_form(loaded, proof))
    else:
        print_proof(console(), loaded, proof)
    if strict and not proof.holds:
        raise typer.Exit(1)


@app.command()
def pathways(
    study: StudyArgument,
    from_: Annotated[str, typer.Option("--from", help="Outcomes the pathways start from.")] = "",
    cohorts: Annotated[int, typer.Option(help="Cohorts ahead.")] = 2,
    scenario: Annotated[str | None, typer.Option(help="Scenario of the probabilities; the first if left out.")] = None,
    truth: TruthOption = None,
    design: DesignOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Dose transition pathways from any state, with their probabilities."""
    from escalation.advice import Advisor
    from escalation.errors import Fault, StudyError
    from escalation.outcomes import replay
    from escalation.pathways import pathways as walk
    from escalation.report.forms import pathways_form
    from escalation.report.tables import print_pathways

    if cohorts < 0:
        raise StudyError((Fault("--cohorts", f"{cohorts} is negative", "use 0 or more"),), "command line")
    loaded = load_study(study, design, set_, truth)
    protocol = loaded.protocol
    assumed = loaded.scenario(scenario) if scenario is not None else loaded.scenarios[0]
    advisor = Advisor.of(protocol.rule, protocol.escalate_when)
    replayed = replay(protocol.rule, from_, advisor=advisor, replace_not_evaluable=protocol.evaluability.replace)
    believed = loaded.truth(assumed)
    nodes = walk(advisor, replayed.state, from_, cohorts, believed.probability, believed.moderate)
    if as_json:
        print_json(pathways_form(loaded, assumed.name, from_, cohorts, nodes))
    else:
        print_pathways(console(), loaded, assumed.name, nodes)


@app.command()
def compare(
    study: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Studies to compare; the first is the reference.")
    ],
    scenario: ScenarioOption = None,
    truth: TruthOption = None,
    engine: Annotated[ComparisonEngine, typer.Option(help="calendar adds durations.")] = ComparisonEngine.sampled,
    trials: TrialsOption = 10_000,
    seed: SeedOption = 1,
    workers: WorkersOption = 1,
    design: Annotated[
        list[str] | None, typer.Option("--design", help="Add the first study under another design; may be repeated.")
    ] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare designs on common participants: paired differences with their standard errors."""
    from escalation.compare import compare as run
    from escalation.report.forms import comparison_form
    from escalation.report.tables import print_comparison

    entries = [load_study(name, None, set_, truth) for name in study]
    entries += [load_study(study[0], name, shared_only(set_), truth) for name in design or ()]
    with executor_of(workers) as executor, progress_bar("comparing") as progress:
        comparison = run(
            entries,
            scenarios=scenario or (),
            engine=engine.value,
            trials=trials,
            seed=seed,
            executor=executor,
            progress=progress,
        )
    if as_json:
        print_json(comparison_form(comparison))
    else:
        print_comparison(console(), comparison)


@app.command()
def designs(
    as_json: JsonOption = False,
    pages: Annotated[
        Path | None, typer.Option(help="Write the reference page of every design into this folder.")
    ] = None,
) -> None:
    """The registered designs."""
    from escalation.registry import design_class, design_names

    if pages is not None:
        from escalation.report.design_pages import write_pages

        for file in write_pages(pages):
            typer.echo(f"wrote {file}")
        return

    listed = []
    for name in design_names():
        cls = design_class(name)
        listed.append(
            {
                "name": name,
                "title": cls.title,
                "citation": cls.citation,
                "parameters": cls.Parameters.model_json_schema().get("properties", {}),
            }
        )
    if as_json:
        print_json({"designs": listed})
        return
    from rich.table import Table

    printed = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "design", "published in"):
        printed.add_column(column, overflow="fold")
    for each in listed:
        printed.add_row(each["name"], each["title"], each["citation"])
    console().print(printed)


@app.command()
def studies(as_json: JsonOption = False) -> None:
    """The studies that come with the package."""
    from escalation.study import load, preset_names

    loaded = [load(name) for name in preset_names()]
    if as_json:
        listed = [
            {
                "name": each.id,
                "title": each.title,
                "registry": each.registry or None,
                "family": each.family,
                "design": each.protocol.rule.design.name,
                "scenarios": [scenario.name for scenario in each.scenarios],
                "notices": list(each.notices),
            }
            for each in loaded
        ]
        print_json({"studies": listed})
        return
    from rich.table import Table

    printed = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "study", "design", "scenarios"):
        printed.add_column(column, overflow="fold")
    for each in loaded:
        mark = " [bold red](placeholders: not protocol-complete)[/]" if each.placeholders else ""
        printed.add_row(each.id, each.title + mark, each.protocol.rule.design.label, str(len(each.scenarios)))
    console().print(printed)


@app.command()
def validate(file: Annotated[str, typer.Argument(metavar="FILE")], as_json: JsonOption = False) -> None:
    """Check a study file; every fault is listed with its path and how to mend it."""
    from escalation.errors import StudyError
    from escalation.study import load

    try:
        loaded = load(file)
    except StudyError as error:
        if as_json:
            faults = [{"path": f.path, "problem": f.problem, "remedy": f.remedy} for f in error.faults]
            print_json({"valid": False, "faults": faults, "warnings": [], "notices": []})
            raise typer.Exit(2) from None
        raise
    if as_json:
        print_json(
            {
                "valid": True,
                "faults": [],
                "warnings": list(loaded.warnings()),
                "notices": list(loaded.notices),
                "study": loaded.id,
                "study_hash": loaded.hash,
            }
        )
        return
    typer.echo(f"{file}: valid, study {loaded.id}, {loaded.hash[:12]}")
    for line in (*loaded.notices, *(f"warning: {w}" for w in loaded.warnings())):
        typer.echo(line)


@app.command()
def new(file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Write a commented study file to start from."""
    from importlib.resources import files

    from escalation.errors import Fault, StudyError

    if file.exists():
        raise StudyError((Fault("", "the file exists already", "choose another name"),), str(file))
    text = files("escalation").joinpath("template.yaml").read_text(encoding="utf-8")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(
            (Fault("", f"it cannot be written: {error.strerror}", "choose another place"),), str(file)
        ) from None
    typer.echo(f"wrote {file}; check it with: escalation validate {file}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files, for editors."""

    from escalation.study import Study

    print_json(Study.model_json_schema(by_alias=True))


if __name__ == "__main__":
    main()
