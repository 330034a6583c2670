"""What the commands share: arguments and options, how a study is loaded, and how results are printed.

Nothing heavy is imported before a command runs, so that help answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from escalation.study import Study


class Engine(StrEnum):
    """The engines a simulation can ask for."""

    auto = "auto"
    exact = "exact"
    sampled = "sampled"
    calendar = "calendar"


class ComparisonEngine(StrEnum):
    """The engines a comparison on common participants can ask for."""

    sampled = "sampled"
    calendar = "calendar"


StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="A study file, or the name of a preset (see: studies).")
]
DesignOption = Annotated[str | None, typer.Option("--design", help="Use another registered design, with its defaults.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Replace any value of the study by its path.")
]
TruthOption = Annotated[
    str | None,
    typer.Option(
        "--truth", metavar="P", help='DLT probabilities in place of the scenarios; grid rows separated by "/".'
    ),
]
ScenarioOption = Annotated[list[str] | None, typer.Option("--scenario", help="Only these scenarios; may be repeated.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TrialsOption = Annotated[int, typer.Option(help="Simulated trials per scenario.")]
SeedOption = Annotated[int, typer.Option(help="Master seed; the same seed gives the same numbers.")]
BudgetOption = Annotated[
    int | None, typer.Option(help="Most states held by exact enumeration; half a million if left out.", min=1)
]
WorkersOption = Annotated[int, typer.Option(help="Processes; the numbers do not depend on it.")]


def console() -> Console:
    """Where tables are printed: as wide as the terminal, 120 columns elsewhere."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120
    return Console(highlight=False, soft_wrap=False, width=width)


def print_json(form: Any) -> None:
    """JSON for programs."""
    typer.echo(json.dumps(form, indent=2, ensure_ascii=False, allow_nan=False))


def load_study(study: str, design: str | None, overrides: list[str] | None, truth: str | None = None) -> Study:
    """The study of a file or a preset, with another design, other values or another truth where asked."""
    from escalation.study import load

    return load(study, design=design, overrides=overrides or (), truth=truth)


@contextmanager
def executor(workers: int) -> Iterator[Any]:
    """As many processes as asked for; None for one, which needs no other."""
    from escalation.errors import Fault, StudyError

    if workers < 1:
        raise StudyError((Fault("--workers", f"{workers} workers cannot run", "use 1 or more"),), "command line")
    if workers == 1:
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield pool


@contextmanager
def progress(label: str) -> Iterator[Any]:
    """A bar on stderr, drawn only for work that lasts more than a second at a terminal."""
    from time import monotonic

    from rich.console import Console
    from rich.progress import Progress

    errors = Console(stderr=True)
    if not errors.is_terminal:
        yield None
        return
    began = monotonic()
    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task(label, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=monotonic() - began > 1)
