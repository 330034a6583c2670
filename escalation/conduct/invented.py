"""Invented people on a clock moved by hand: who conducts demonstrations and simulated trials."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from escalation.conduct.accounts import IDLE
from escalation.conduct.roles import Role
from escalation.conduct.service import Conduct

PASSWORD = "a passphrase for the demonstration"
ADMINISTRATOR = "admin"
PEOPLE = {
    "ingrid": ("Ingrid Investigator", Role.INVESTIGATOR),
    "carlos": ("Carlos Coordinator", Role.COORDINATOR),
    "stefan": ("Stefan Statistician", Role.STATISTICIAN),
    "maria": ("Maria Member", Role.COMMITTEE_MEMBER),
    "chen": ("Chen Member", Role.COMMITTEE_MEMBER),
}


@dataclass
class HandClock:
    """A clock that moves only when it is moved."""

    moment: datetime = field(default_factory=lambda: datetime(2026, 1, 5, 9, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment

    def to(self, moment: datetime) -> None:
        """Move forward to a moment."""
        self.moment = max(self.moment, moment)


@dataclass
class InventedPeople:
    """The accounts of an installation of its own, and a session of whoever acts next."""

    conduct: Conduct
    clock: HandClock
    _tokens: dict[str, tuple[str, datetime]] = field(default_factory=dict, init=False, repr=False)

    def employ(self, trial: str) -> None:
        """Make the administrator and everybody's account, and delegate them in a trial."""
        self.conduct.initialise(ADMINISTRATOR, "Ada Administrator", PASSWORD)
        admin = self.token(ADMINISTRATOR)
        for name, (full_name, role) in PEOPLE.items():
            self.conduct.create_user(admin, name, full_name, f"temporary {PASSWORD}")
            self.conduct.accounts.change_password(name, f"temporary {PASSWORD}", PASSWORD)
            self.conduct.delegate(admin, trial, name, role, self.clock.moment.date())

    def token(self, name: str) -> str:
        """A session of somebody, a new one when the last was not used for a while."""
        token, used = self._tokens.get(name, ("", datetime.min.replace(tzinfo=UTC)))
        if self.clock.moment - used > IDLE / 2:
            token = self.conduct.accounts.sign_in(name, PASSWORD).token
        self._tokens[name] = token, self.clock.moment
        return token
