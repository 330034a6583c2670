"""What the commands of a trial share: options, errors in words, sessions, dates and passwords.

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

if TYPE_CHECKING:
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

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


def refusal(error: Exception) -> dict[str, Any] | None:
    """What was refused and every reason, as plain data; None for an exit, or a command line that cannot be read."""
    if hasattr(error, "exit_code"):
        return None
    from pydantic import ValidationError
    from sqlalchemy.exc import SQLAlchemyError

    from escalation.conduct.accounts import SessionEndedError
    from escalation.conduct.gates import GateRefused
    from escalation.conduct.ledger import StaleVersionError
    from escalation.errors import EscalationError

    kind = type(error).__name__
    form: dict[str, Any] = {"refused": kind, "message": str(error), "reasons": [str(error)]}
    if isinstance(error, GateRefused):
        return form | {"message": f"{what_words(error.what)} refused", "reasons": list(error.reasons)}
    if isinstance(error, SessionEndedError):
        message = f"{error} with: escalation trial sign-in NAME"
        return form | {"message": message, "reasons": [message]}
    if isinstance(error, StaleVersionError):
        since = [f"entry {e.seq}: {what_words(e.type)} by {e.actor}, {e.recorded_at}" for e in error.since]
        return form | {"expected": error.expected, "found": error.found, "reasons": since or [str(error)]}
    if isinstance(error, ValidationError):
        faults = [f"{'.'.join(map(str, each['loc'])) or 'record'}: {each['msg']}" for each in error.errors()]
        return form | {"message": "the record cannot be made", "reasons": faults}
    if isinstance(error, SQLAlchemyError):
        message = f"the database refuses: {getattr(error, 'orig', None) or type(error).__name__}; nothing was recorded"
        return form | {"message": message, "reasons": [message]}
    if isinstance(error, OSError):
        message = f"{error.filename or 'file'}: {error.strerror or error}"
        return form | {"message": message, "reasons": [message]}
    if isinstance(error, EscalationError) or type(error) is LookupError:
        return form
    message = f"unexpected {kind}: {error}; check the trial with verify, and report this"
    return form | {"message": message, "reasons": [message]}


def what_words(kind: str) -> str:
    """The type of an entry in words."""
    return kind.replace("_", " ").replace("dlt", "DLT")


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


def refused(message: str) -> Exception:
    """An act that makes no sense as asked."""
    from escalation.conduct.service import ConductError

    return ConductError(message)


def ask_password(from_stdin: bool, prompt: str = "Password", *, confirm: bool = False) -> str:
    """A password from the keyboard, or one line of standard input; never from an argument."""
    if from_stdin:
        line = sys.stdin.readline()
        if not line:
            raise typer.Abort
        return line.rstrip("\r\n")
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))


def check_version(conduct: Conduct, trial: str, expected: int | None) -> None:
    """Refuse when others have recorded since, before a password is asked for or an entry is looked up in vain."""
    from escalation.conduct.ledger import StaleVersionError

    found = conduct.ledger.head(trial).seq
    if expected is not None and expected != found:
        since = conduct.ledger.entries(trial, expected) if expected < found else ()
        raise StaleVersionError(trial, expected, found, since)


# dates and times --------------------------------------------------------------------------------


def read_day(text: str, today: date) -> date:
    """A date: ``2026-03-03``, ``today`` or ``yesterday``."""
    from datetime import date, timedelta

    if text in ("today", "yesterday"):
        return today - timedelta(days=text == "yesterday")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise refused(f"{text!r} is no date; write 2026-03-03, today or yesterday") from None


def read_moment(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """A moment: with its offset, or in the site's time, or ``now``; refused where the clock change makes it unclear."""
    from datetime import UTC, datetime

    if text == "now":
        return now.astimezone(zone).replace(microsecond=0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise refused(f"{text!r} is no time; write 2026-03-03T09:30, with +01:00 where needed, or now") from None
    if moment.tzinfo is not None:
        return moment
    first, second = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        twice = first.astimezone(UTC) < second.astimezone(UTC)
        why = "happens twice" if twice else "does not exist"
        raise refused(f"{text} {why} in {zone}, where the clock changes; write it with its offset from UTC")
    return first


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
