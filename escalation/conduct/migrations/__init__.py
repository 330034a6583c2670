"""Schema of the ledger's store, by numbered steps: created or upgraded on command, never on import."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from escalation.conduct.ledger import FIELDS, LedgerClosedSchemaError

VERSION_TABLE: Final = "ledger_schema"
"""Where the store keeps its schema's number; a name of our own, so that a shared database can hold others."""

LOCK: Final = 0x657363616C617465
"""PostgreSQL advisory lock under which a schema is changed."""


SCHEMA: Final = "0002"
"""The schema this software works with, the last of the steps."""

METADATA: Final = sa.MetaData()
LEDGER: Final = sa.Table(
    "ledger",
    METADATA,
    *(
        sa.Column(
            field,
            sa.BigInteger() if field == "seq" else sa.Text(),
            primary_key=field in ("trial", "seq"),
            autoincrement=False,
            nullable=field in ("reason", "idempotency_key"),
        )
        for field in FIELDS
    ),
    sa.UniqueConstraint("trial", "idempotency_key", name="ledger_idempotency_key"),
)
"""The one table: an entry's fields as columns, its payload as canonical JSON."""

GUARDS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "sqlite": {
        "ledger": ("ledger_no_update", "ledger_no_delete", "ledger_next_only"),
        "account_log": ("account_log_no_update", "account_log_no_delete", "account_log_no_replace"),
    },
    "postgresql": {
        "ledger": ("ledger_no_update", "ledger_no_delete", "ledger_no_truncate", "ledger_next_only"),
        "account_log": ("account_log_append_only",),
    },
}
"""The triggers by which the database refuses changes, by the table they guard."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "escalation.conduct:migrations")
    return config


def released() -> tuple[str, ...]:
    """The schemas this software knows, oldest first."""
    steps = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(step.revision for step in steps)[::-1]


def upgrade(connection: sa.Connection, to: str = "head") -> None:
    """Bring the store up to a schema, within the transaction of the connection: wholly or not at all."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    if (found := current(connection)) is not None and found not in released():
        raise _newer(found)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def current(connection: sa.Connection) -> str | None:
    """The schema a store has, None when it has none."""
    sqlite = connection.dialect.name == "sqlite"
    query = f"SELECT name FROM sqlite_master WHERE name = '{VERSION_TABLE}'"
    if connection.exec_driver_sql(query if sqlite else f"SELECT to_regclass('{VERSION_TABLE}')").scalar() is None:
        return None
    found: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return found


def must_be_current(connection: sa.Connection) -> None:
    """Refuse a store whose schema is not this software's."""
    found = current(connection)
    if found is None:
        raise LedgerClosedSchemaError("the store has no ledger yet; create it: escalation trial init")
    if found == SCHEMA:
        return
    if found in released():
        raise LedgerClosedSchemaError(
            f"the ledger has schema {found}, this software uses {SCHEMA}; copy the database, then upgrade it: "
            "escalation trial upgrade"
        )
    raise _newer(found)


def _newer(found: str) -> LedgerClosedSchemaError:
    return LedgerClosedSchemaError(
        f"the ledger has schema {found}, newer than this software's {SCHEMA}; use the software that wrote it, or newer"
    )


def must_be_guarded(connection: sa.Connection) -> None:
    """Refuse to write where somebody has removed or disabled a guard of the ledger or of the account log."""
    sqlite = connection.dialect.name == "sqlite"
    # the ledger's fire always; the account log's as ordinary triggers do
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('ledger', 'account_log')"
        if sqlite
        else "SELECT tgname FROM pg_trigger WHERE (tgrelid = 'ledger'::regclass AND tgenabled = 'A') "
        "OR (tgrelid = 'account_log'::regclass AND tgenabled IN ('O', 'A'))"
    )
    standing = set(connection.exec_driver_sql(query).scalars())
    for table, guards in GUARDS[connection.dialect.name].items():
        if missing := [guard for guard in guards if guard not in standing]:
            raise LedgerClosedSchemaError(
                f"somebody has removed the guard {', '.join(missing)} against changes to the "
                f"{table.replace('_', ' ')}; nothing was recorded; check every trial against its last printed head "
                "hash, and restore a backup into a new store"
            )
