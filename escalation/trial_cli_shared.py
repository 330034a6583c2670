"""What the commands of a trial share: options, errors, output, sessions and passwords.

Nothing heavy is imported before a command runs, so that help answers at once.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from escalation.cli_shared import StudyArgument as StudyArgument
from escalation.cli_shared import console as console
from escalation.cli_shared import print_json as print_json
from escalation.trial_desk import check_version as check_version
from escalation.trial_desk import read_day as read_day
from escalation.trial_desk import read_moment as read_moment
from escalation.trial_desk import refusal, what_words
from escalation.trial_desk import refused as refused

if TYPE_CHECKING:
    from datetime import date, datetime

    from escalation.conduct.service import Conduct, Receipt

SESSION = "ESCALATION_SESSION"
"""Environment variable naming the file in which sessions are kept."""
_JSON = "escalation.trial.json"


def _remember_json(ctx: typer.Context, value: bool) -> bool:
    """Let refusals know that the reader is a program."""
    ctx.meta[_JSON] = value
    return value


TrialArgument = Annotated[str, typer.Argument(metavar="TRIAL", help="The trial's name, as it was opened.")]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="PATH|URL",
        help="SQLite file or PostgreSQL URL; $ESCALATION_DATABASE or the home folder's if left out.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.", callback=_remember_json)]
VersionOption = Annotated[
    int | None,
    typer.Option("--expected-version", metavar="N", help="Refuse when others have recorded since entry N.", min=0),
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, in words.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="The same key records once, however often it is sent.")]

StdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, one line each.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's code name.")]
WhyOption = Annotated[str, typer.Option("--reason", help="Why, in words.")]
RoleOption = Annotated[
    str,
    typer.Option(help="investigator, coordinator, statistician, committee_member, monitor or administrator."),
]
ParticipantArgument = Annotated[str, typer.Argument(metavar="PARTICIPANT", help="The participant's code.")]


# errors -------------------------------------------------------------------------------------------


class Refusing(TyperGroup):
    """Commands whose refusals are in words, or in JSON for programs, with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.Abort:
            typer.echo("error: nothing was entered; nothing was recorded", err=True)
            raise typer.Exit(2) from None
        except Exception as error:
            form = refusal(error)
            if form is None:
                raise
            if form["refused"] == "SessionEndedError":
                message = f"{form['message']} with: escalation trial sign-in NAME"
                form |= {"message": message, "reasons": [message]}
        if ctx.meta.get(_JSON):
            print_json(form)
        else:
            typer.echo(f"error: {form['message']}", err=True)
            for reason in form["reasons"]:
                if reason != form["message"]:
                    typer.echo(f"  - {reason}", err=True)
        raise typer.Exit(2)


# output -----------------------------------------------------------------------------------------


def print_receipt(receipt: Receipt, as_json: bool, more: dict[str, Any] | None = None, lines: str = "") -> None:
    """What is in the ledger now: entry number, time, and the head hash to keep."""
    last = receipt.entries[-1]
    if as_json:
        entries = [{k: v for k, v in e.as_dict().items() if k in _SHOWN} for e in receipt.entries]
        print_json({"trial": last.trial, "version": last.seq, "head": last.hash, "entries": entries, **(more or {})})
        return
    for entry in receipt.entries:
        what, when = what_words(entry.type), entry.recorded_at[:19].replace("T", " ")
        typer.echo(f"recorded: entry {entry.seq} of {entry.trial}, {what}, {when} UTC, by {entry.actor}")
    if lines:
        typer.echo(lines)
    typer.echo(f"head {last.hash}")


_SHOWN = frozenset({"seq", "type", "recorded_at", "effective", "actor", "reason", "hash"})


# the database and who is signed in --------------------------------------------------------------


def open_service(database: str, *, create: bool = False, clock: Callable[[], datetime] | None = None) -> Conduct:
    """The service over a database, on the system's clock unless it is given another."""
    from escalation.conduct.installation import open_conduct

    if clock is None:
        return open_conduct(database, create=create)
    return open_conduct(database, create=create, clock=clock)


@contextmanager
def service(
    database: str | None, *, create: bool = False, clock: Callable[[], datetime] | None = None
) -> Iterator[Conduct]:
    """The service over the named or the default database, let go of afterwards."""
    from escalation.conduct.installation import default_database

    conduct = open_service(database or default_database(), create=create, clock=clock)
    try:
        yield conduct
    finally:
        conduct.ledger.close()


@contextmanager
def signed_in(database: str | None) -> Iterator[tuple[Conduct, str]]:
    """The service, and the token of whoever is signed in to that database."""
    with service(database) as conduct:
        yield conduct, session_token(conduct)


def session_path() -> Path:
    """The file in which sessions are kept, readable by its owner only."""
    named = os.environ.get(SESSION)
    return Path(named) if named else Path(typer.get_app_dir("escalation")) / "sessions.json"


def _place(conduct: Conduct) -> str:
    """The database as sessions name it, without a database password; a token goes only where it came from."""
    url = conduct.ledger.engine.url
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database or "").resolve())
    return url.render_as_string(hide_password=True)


def _sessions() -> dict[str, str]:
    path = session_path()
    if not path.exists():
        return {}
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise refused(f"{path} can be read by others; make it yours alone (chmod 600) and sign in again")
    with suppress(ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(kept, dict):
            return {str(place): str(token) for place, token in kept.items()}
    raise refused(f"{path} cannot be read as sessions; remove it and sign in again")


def session_token(conduct: Conduct) -> str:
    """The token kept for a database."""
    token = _sessions().get(_place(conduct))
    if token is None:
        raise refused("nobody is signed in here; sign in with: escalation trial sign-in NAME")
    return token


def keep_session(conduct: Conduct, token: str | None) -> None:
    """Keep the token of a database, or forget it; the file is replaced as a whole and never readable by others."""
    path, kept = session_path(), _sessions()
    kept.pop(_place(conduct), None)
    if token is not None:
        kept[_place(conduct)] = token
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix=".sessions-", dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(kept, file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def ask_password(from_stdin: bool, prompt: str = "Password", *, confirm: bool = False) -> str:
    """A password from the keyboard, or one line of standard input; never from an argument."""
    if from_stdin:
        line = sys.stdin.readline()
        if not line:
            raise typer.Abort
        return line.rstrip("\r\n")
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))


# small helpers ------------------------------------------------------------------------------------


def read_json(place: str) -> Any:
    """JSON from a file, or from standard input when the place is ``-``."""
    text = sys.stdin.read() if place == "-" else Path(place).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise refused(f"{place}: no JSON ({error})") from None


def done(line: str, as_json: bool) -> None:
    """Say that something was done which leaves no receipt."""
    if as_json:
        print_json({"done": line})
    else:
        typer.echo(line)


def signing(from_stdin: bool) -> str:
    """The password under a signature: asked for every time, whatever the environment holds."""
    return ask_password(from_stdin, "Password, to sign")


def utc_day(conduct: Conduct) -> date:
    """Today by the service's clock, in UTC."""
    return conduct.accounts.now().date()


def allow(conduct: Conduct, token: str, permission: str, trial: str | None = None) -> str:
    """The signed-in user's name when they may do something, for acts of the accounts and the ledger themselves."""
    from escalation.conduct.roles import Permission
    from escalation.conduct.service import INSTALLATION

    user, _ = conduct.authorise(token, trial or INSTALLATION, Permission[permission])
    return user.name
