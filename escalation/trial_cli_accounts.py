"""The commands of people: installation, signing in and out, accounts, and who is delegated to what.

``app`` is the group of every command of a trial; ``escalation.trial_cli`` adds the others to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from escalation.trial_cli_records import Group
from escalation.trial_cli_shared import (
    DatabaseOption,
    JsonOption,
    KeyOption,
    NameArgument,
    RoleOption,
    StdinOption,
    TrialArgument,
    VersionOption,
    WhyOption,
    allow,
    ask_password,
    done,
    keep_session,
    print_json,
    print_receipt,
    read_day,
    refused,
    service,
    signed_in,
    utc_day,
)
from escalation.trial_desk import may as may
from escalation.trial_desk import roles_today as roles_today

PASSWORD = "ESCALATION_PASSWORD"
"""Environment variable with the password for signing in; signatures never read it."""


SETTINGS: dict[str, Any] = {"no_args_is_help": True, "add_completion": False, "cls": Group, "rich_markup_mode": None}
app = typer.Typer(
    help="Live conduct of a trial: participants, infusions, events, and decisions with their signatures.",
    pretty_exceptions_enable=False,
    **SETTINGS,
)
users = typer.Typer(help="Accounts, by an administrator.", **SETTINGS)
app.add_typer(users, name="users")


@app.command()
def init(
    name: NameArgument,
    full_name: Annotated[str, typer.Option(help="Printed name, as it stands in signatures.")],
    database: DatabaseOption = None,
    password_stdin: StdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create the database and its first administrator."""
    password = ask_password(password_stdin, "Password of the administrator", confirm=True)
    with service(database, create=True) as conduct:
        user = conduct.initialise(name, full_name, password)
        place = conduct.ledger.engine.url.render_as_string(hide_password=True)
    if as_json:
        print_json({"administrator": user.name, "database": place})
    else:
        typer.echo(f"{place}: {user.full_name} ({user.name}) is its administrator")
        typer.echo(f"next: escalation trial sign-in {user.name}")


@app.command("sign-in")
def sign_in(
    name: NameArgument,
    database: DatabaseOption = None,
    password_stdin: StdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Sign in; the password comes from the keyboard, standard input or $ESCALATION_PASSWORD, never from an argument."""
    named = os.environ.get(PASSWORD)
    password = named if named is not None and not password_stdin else ask_password(password_stdin)
    with service(database) as conduct:
        signed = conduct.accounts.sign_in(name, password)
        keep_session(conduct, signed.token)
    user = signed.user
    if as_json:
        print_json({"user": user.name, "temporary_password": user.temporary_password, "ends": str(signed.ends_at)})
        return
    typer.echo(f"signed in as {user.full_name} ({user.name}), until {signed.ends_at:%Y-%m-%d %H:%M} UTC at the latest")
    if user.temporary_password:
        typer.echo("somebody else knows this password; choose your own before signing: escalation trial password")


@app.command("sign-out")
def sign_out(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """End the session."""
    with signed_in(database) as (conduct, token):
        conduct.accounts.sign_out(token)
        keep_session(conduct, None)
    done("signed out", as_json)


@app.command()
def whoami(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Who is signed in, and in which roles of which trials today."""
    with signed_in(database) as (conduct, token):
        user = conduct.accounts.authenticate(token)
        roles = {trial: [str(role) for role in held] for trial, held in roles_today(conduct, user.name).items()}
    if as_json:
        print_json({"user": user.name, "full_name": user.full_name, "roles": roles})
        return
    typer.echo(f"{user.full_name} ({user.name})")
    for trial, held in roles.items():
        typer.echo(f"  {trial}: {', '.join(held).replace('_', ' ')}")


@app.command()
def password(database: DatabaseOption = None, password_stdin: StdinOption = False, as_json: JsonOption = False) -> None:
    """Choose another password: the present one first, then the new one; every session ends."""
    with signed_in(database) as (conduct, token):
        user = conduct.accounts.authenticate(token)
        present = ask_password(password_stdin, "Present password")
        conduct.accounts.change_password(user, present, ask_password(password_stdin, "New password", confirm=True))
        keep_session(conduct, None)
    done("the password is changed; sign in again", as_json)


@users.command("add")
def users_add(
    name: NameArgument,
    full_name: Annotated[str, typer.Option(help="Printed name, as it stands in signatures.")],
    database: DatabaseOption = None,
    password_stdin: StdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """A new account with a temporary password, which its owner changes before signing."""
    with signed_in(database) as (conduct, token):
        allow(conduct, token, "MANAGE_ACCOUNTS")
        temporary = ask_password(password_stdin, f"Temporary password of {name}", confirm=True)
        user = conduct.create_user(token, name, full_name, temporary)
    done(f"{user.full_name} ({user.name}) has an account with a temporary password", as_json)
    if not as_json:
        typer.echo(f"next: escalation trial delegate TRIAL {user.name} --role ROLE")


@users.command("list")
def users_list(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """All accounts."""
    with signed_in(database) as (conduct, token):
        allow(conduct, token, "MANAGE_ACCOUNTS")
        found = conduct.accounts.users()
    rows = [
        {"user": u.name, "full_name": u.full_name, "active": u.active, "temporary_password": u.temporary_password}
        for u in found
    ]
    if as_json:
        print_json({"users": rows})
        return
    for row in rows:
        notes = [] if row["active"] else ["not active"]
        notes += ["temporary password"] if row["temporary_password"] else []
        typer.echo(f"{row['user']:<20} {row['full_name']}{' (' + ', '.join(notes) + ')' if notes else ''}")


def _changing(act: str, words: str) -> Callable[..., None]:
    """The command of an act on an account that needs its reason."""

    def change(
        name: NameArgument, reason: WhyOption, database: DatabaseOption = None, as_json: JsonOption = False
    ) -> None:
        with signed_in(database) as (conduct, token):
            by = allow(conduct, token, "MANAGE_ACCOUNTS")
            getattr(conduct.accounts, act)(name, by=by, reason=reason)
        done(f"{name} {words}", as_json)

    return change


for _act, _words, _line in (
    ("deactivate", "is deactivated", "Close an account from now on; every session of it ends."),
    ("reactivate", "is active again", "Open a closed account again."),
    ("unlock", "is unlocked", "End a lock after wrong passwords before its time."),
):
    users.command(_act, help=_line)(_changing(_act, _words))


@users.command("reset")
def users_reset(
    name: NameArgument,
    database: DatabaseOption = None,
    password_stdin: StdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a temporary password to somebody who forgot theirs."""
    with signed_in(database) as (conduct, token):
        by = allow(conduct, token, "MANAGE_ACCOUNTS")
        temporary = ask_password(password_stdin, f"Temporary password of {name}", confirm=True)
        conduct.accounts.reset_password(name, temporary, by=by)
    done(f"{name} has a temporary password", as_json)


@app.command()
def delegate(
    trial: TrialArgument,
    name: NameArgument,
    role: RoleOption,
    starts: Annotated[str, typer.Option(metavar="DATE", help="First day.")] = "today",
    ends: Annotated[str | None, typer.Option(metavar="DATE", help="Last day; open if left out.")] = None,
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a user a role in a trial; in "installation", an administrator of all of them."""
    with signed_in(database) as (conduct, token):
        user, chosen = conduct.accounts.user(name), role_named(role)
        today = utc_day(conduct)
        last = None if ends is None else read_day(ends, today)
        first = read_day(starts, today)
        receipt = conduct.delegate(
            token, trial, user.name, chosen, first, last, expected_version=expected_version, key=key
        )
    print_receipt(receipt, as_json)


@app.command("end-delegation")
def end_delegation(
    trial: TrialArgument,
    name: NameArgument,
    role: RoleOption,
    ends: Annotated[str, typer.Option(metavar="DATE", help="Last day.")] = "today",
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a delegation on a day."""
    with signed_in(database) as (conduct, token):
        user, chosen, last = conduct.accounts.user(name), role_named(role), read_day(ends, utc_day(conduct))
        receipt = conduct.end_delegation(
            token, trial, user.name, chosen, last, expected_version=expected_version, key=key
        )
    print_receipt(receipt, as_json)


def role_named(name: str) -> Any:
    """The role of a name as it was typed."""
    from escalation.conduct.roles import Role

    try:
        return Role(name.replace("-", "_").replace(" ", "_"))
    except ValueError:
        raise refused(f"{name!r} is not a role; one of {', '.join(Role)}") from None
