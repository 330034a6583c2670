"""What the commands and the screens of a trial share: refusals in words, days as people write them, who may do what.

Nothing heavy is imported before it is used, so that the command line's help answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from escalation.conduct.ledger import Entry
    from escalation.conduct.roles import Decision, Permission, Role
    from escalation.conduct.service import Conduct


# refusals -----------------------------------------------------------------------------------------


def refusal(error: Exception) -> dict[str, Any] | None:
    """What was refused and every reason, as plain data; None for an exit, or a command line that cannot be read."""
    if hasattr(error, "exit_code"):
        return None
    from pydantic import ValidationError
    from sqlalchemy.exc import SQLAlchemyError

    from escalation.conduct.gates import GateRefused
    from escalation.conduct.ledger import StaleVersionError
    from escalation.errors import EscalationError

    kind = type(error).__name__
    form: dict[str, Any] = {"refused": kind, "message": str(error), "reasons": [str(error)]}
    if isinstance(error, GateRefused):
        return form | {"message": f"{what_words(error.what)} refused", "reasons": list(error.reasons)}
    if isinstance(error, StaleVersionError):
        since = [entry_line(each) for each in error.since]
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


def entry_line(entry: Entry) -> str:
    """An entry of the ledger in one line: its number, what it is, about whom, by whom and when."""
    about = entry.payload.get("participant")
    what = what_words(entry.type) + (f" of {about}" if about else "")
    return f"entry {entry.seq}: {what} by {entry.actor}, {entry.recorded_at}"


def refused(message: str) -> Exception:
    """An act that makes no sense as asked."""
    from escalation.conduct.service import ConductError

    return ConductError(message)


def check_version(conduct: Conduct, trial: str, expected: int | None) -> None:
    """Refuse when others have recorded since, before a password is asked for or an entry is looked up in vain."""
    from escalation.conduct.ledger import StaleVersionError

    found = conduct.ledger.head(trial).seq
    if expected is not None and expected != found:
        since = conduct.ledger.entries(trial, expected) if expected < found else ()
        raise StaleVersionError(trial, expected, found, since)


# dates and times ----------------------------------------------------------------------------------


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


# who may do what ----------------------------------------------------------------------------------


def may(conduct: Conduct, user: str, trial: str, permission: str) -> Decision:
    """Whether a user may do something today, without writing a refusal into the log."""
    from escalation.conduct.roles import Permission, permitted

    asked: Permission = Permission[permission]
    return permitted(conduct.delegations(trial), user, trial, asked, conduct.accounts.now().date())


def roles_today(conduct: Conduct, user: str) -> dict[str, tuple[Role, ...]]:
    """Roles held today, by trial."""
    from escalation.conduct.roles import roles_held

    today = conduct.accounts.now().date()
    found = {trial: roles_held(conduct.delegations(trial), user, trial, today) for trial in conduct.ledger.trials()}
    return {trial: held for trial, held in found.items() if held}
