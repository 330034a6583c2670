"""The commands that conduct a trial nobody is in: a published one replayed, and a simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from escalation.cli_shared import DesignOption, SetOption, load_study
from escalation.trial_cli_shared import JsonOption, StudyArgument, print_json, refused, service

if TYPE_CHECKING:
    from escalation.conduct.invented import HandClock
    from escalation.conduct.service import Conduct

NewDatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="PATH|URL",
        help="A new SQLite file, or an empty PostgreSQL database; a temporary file if left out.",
    ),
]


@contextmanager
def invented_service(database: str | None) -> Iterator[tuple[Conduct, HandClock, str]]:
    """The service on a clock moved by hand over a database of its own: what is invented stays apart from records."""
    from tempfile import mkdtemp

    from escalation.conduct.database import holds_tables
    from escalation.conduct.invented import HandClock

    place = database or str(Path(mkdtemp(prefix="escalation-invented-")) / "conduct.sqlite")
    if holds_tables(place):
        raise refused(f"{place} exists; what is invented has its own database: name a new file, or an empty database")
    clock = HandClock()
    with service(place, create=True, clock=clock) as conduct:
        shown = conduct.ledger.engine.url.render_as_string(hide_password=True) if "://" in place else place
        try:
            yield conduct, clock, shown
        except BaseException:
            typer.echo(f"what was conducted until then is in {shown}", err=True)
            raise


def _where(trial: str, place: str, seq: int, head: str) -> None:
    typer.echo(f"\n{trial} is in {place}, {seq} entries, head {head}")
    typer.echo(f"look at it: escalation trial sign-in ingrid --database {place}")
    typer.echo("its invented people share the password that escalation.conduct.invented.PASSWORD names")


def demo(database: NewDatabaseOption = None, as_json: JsonOption = False) -> None:
    """Replay a published trial from its first participant to its signed recommendation."""
    from escalation.conduct.demo import TRIAL, Demo

    class Told(list[str]):
        """Story lines, printed as they are told."""

        def append(self, line: str) -> None:
            super().append(line)
            if not as_json:
                typer.echo(line)

    with invented_service(database) as (conduct, clock, place):
        lines = Demo(conduct, clock, lines=Told()).run()
        head = conduct.ledger.head(TRIAL)
    if as_json:
        print_json({"trial": TRIAL, "database": place, "version": head.seq, "head": head.hash, "lines": list(lines)})
    else:
        _where(TRIAL, place, head.seq, head.hash)


def simulate(
    study: StudyArgument,
    scenario: Annotated[str | None, typer.Option(help="The scenario; the study's first if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Master seed, as in escalation simulate.")] = 1,
    replicate: Annotated[int, typer.Option(help="Which simulated trial of the seed, counted from 1.")] = 1,
    trial: Annotated[str | None, typer.Option(help="Its name; the study's with -SIMULATED if left out.")] = None,
    design: DesignOption = None,
    set_: SetOption = None,
    database: NewDatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Conduct a trial simulated on the calendar, with every decision beside the simulated one; they must be equal."""
    from escalation.conduct.records import DrawStream
    from escalation.conduct.simulated_conduct import SimulatedConduct, course_of

    loaded = load_study(study, design, set_)
    chosen, course = course_of(loaded, scenario, seed, replicate)
    name = trial or f"{loaded.id.upper()}-SIMULATED"
    with invented_service(database) as (conduct, clock, place):
        stream = DrawStream(seed=seed, replicate=replicate)
        decisions = SimulatedConduct(conduct, clock, name, loaded, course, stream).run()
        head = conduct.ledger.head(name)
    people, dlts = len(course.state.participants), sum(course.state.dlt) + course.state.expansion_dlt
    if as_json:
        form: dict[str, Any] = {"trial": name, "database": place, "study": loaded.id, "study_hash": loaded.hash}
        form |= {"design": loaded.protocol.rule.design.label, "scenario": chosen, "seed": seed, "replicate": replicate}
        form |= {"participants": people, "dlts": dlts, "version": head.seq, "head": head.hash}
        made = [
            {
                "date": each.on.isoformat(),
                "committee": each.committee,
                "simulated": each.simulated,
                "conducted": each.conducted,
                "drawn": each.drawn,
                "equal": each.equal,
            }
            for each in decisions
        ]
        print_json({**form, "decisions": made, "equal": all(each.equal for each in decisions)})
        return
    grid = loaded.protocol.grid
    typer.echo(f"{loaded.id}, scenario {chosen}, seed {seed}, trial {replicate}: {people} treated, {dlts} with a DLT")
    for each in decisions:
        said = _said(each.conducted, grid)
        both = "as simulated" if each.equal else f"simulated: {_said(each.simulated, grid)}"
        drawn = ", drawn with the same number" if each.drawn and each.equal else ""
        typer.echo(f"{each.on}  entry {each.committee}  {said}  ({both}{drawn})")
    _where(name, place, head.seq, head.hash)


def _said(form: dict[str, Any], grid: Any) -> str:
    """A decision in a few words."""
    from escalation.regimens import Regimen

    word = form["action"].replace("_", " ")
    named = form["selected"] if form["next"] is None else [form["next"]]
    levels = ", ".join(grid.describe(grid.index(Regimen(**each))) for each in named)
    if form["next"] is None:
        return f"{word}, selected: {levels or 'none'}"
    return f"{word}: {form['size']} at {levels}"
