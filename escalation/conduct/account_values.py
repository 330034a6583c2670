"""What accounts deal in: users, sessions, lines of the log, and the refusals, with the limits they follow from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from escalation.errors import EscalationError

MOST_FAILURES: Final = 5
LOCK_TIME: Final = timedelta(minutes=15)
IDLE: Final = timedelta(minutes=30)
ABSOLUTE: Final = timedelta(hours=12)


class SignInError(EscalationError):
    """A sign-in or a confirmation refused; the same words whatever the reason, which only the log tells."""

    def __str__(self) -> str:
        return (
            "the user name or the password is not right, or the account is not active or locked; "
            f"{MOST_FAILURES} wrong passwords lock it for {LOCK_TIME.seconds // 60} minutes, "
            "an administrator can unlock it"
        )


class LockedError(EscalationError):
    """An account closed for a while after too many wrong passwords, said to whoever is signed in to it."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until

    def __str__(self) -> str:
        until = f"{self.until:%Y-%m-%d %H:%M:%S} UTC"
        return f"{MOST_FAILURES} wrong passwords: locked until {until}; try again then, or ask an administrator"


class SessionEnd(StrEnum):
    """Why a session no longer counts, as a code that stays the same."""

    IDLE = "idle"
    ABSOLUTE = "absolute"
    SIGNED_OUT = "signed_out"
    DEACTIVATED = "deactivated"
    PASSWORD_CHANGED = "password_changed"
    UNKNOWN = "unknown"


_ENDED: Final = {
    SessionEnd.IDLE: "it was not used for 30 minutes",
    SessionEnd.ABSOLUTE: "it began 12 hours ago",
    SessionEnd.SIGNED_OUT: "it was signed out",
    SessionEnd.DEACTIVATED: "the account was deactivated",
    SessionEnd.PASSWORD_CHANGED: "the password was changed",
    SessionEnd.UNKNOWN: "it is not known here",
}


class SessionEndedError(EscalationError):
    """A session that no longer counts, and why."""

    def __init__(self, why: SessionEnd) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the session has ended: {_ENDED[self.why]}; sign in again"


class AccountEvent(StrEnum):
    """What the account log can say, as codes that stay the same."""

    CREATED = "created"
    PASSWORD_CHANGED = "password_changed"
    PASSWORD_RESET = "password_reset"
    PASSWORD_REHASHED = "password_rehashed"
    DEACTIVATED = "deactivated"
    REACTIVATED = "reactivated"
    UNLOCKED = "unlocked"
    SIGNED_IN = "signed_in"
    FAILED = "sign_in_failed"
    CONFIRMED = "password_confirmed"
    NOT_CONFIRMED = "confirmation_failed"
    LOCKED = "locked_out"
    REFUSED_LOCKED = "refused_while_locked"
    SESSION_ENDED = "session_ended"
    PERMISSION_REFUSED = "permission_refused"
    ACCESSED = "accessed"


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account; a temporary password has to be changed before signing anything."""

    name: str
    full_name: str
    active: bool
    temporary_password: bool


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session just begun. The token is given once and kept nowhere."""

    user: User
    token: str = field(repr=False)
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of the account log."""

    seq: int
    at: datetime
    event: AccountEvent
    account: str | None
    actor: str | None
    trial: str | None
    permission: str | None
    detail: str
