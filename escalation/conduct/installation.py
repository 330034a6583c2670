"""Where a conduct installation keeps its ledger and accounts, and how it is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from escalation.conduct.accounts import Accounts
from escalation.conduct.passwords import Passwords
from escalation.conduct.service import Conduct
from escalation.conduct.store import Ledger, migrate

ENVIRONMENT = "ESCALATION_DATABASE"
"""Environment variable naming the database when a command does not."""


def default_database() -> str:
    """The database of this user: the environment's, else a file in the home folder."""
    return os.environ.get(ENVIRONMENT) or str(Path.home() / ".escalation" / "conduct.sqlite")


def open_conduct(
    database: str,
    *,
    create: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    passwords: Passwords | None = None,
) -> Conduct:
    """The service over a database: a SQLite path, or a PostgreSQL URL.

    ``create`` makes a new database, or brings an older one to this software's schema.
    """
    if create:
        if "://" not in database:
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        migrate(database)
    ledger = Ledger.open(database, clock=clock)
    return Conduct(ledger, Accounts(ledger.engine, clock=clock, passwords=passwords))
