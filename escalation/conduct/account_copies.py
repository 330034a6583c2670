"""Accounts and their log as plain rows, for a backup and its restoration; sessions are not carried over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from escalation.conduct.account_tables import Moment, accounts_table, log_table
from escalation.conduct.passwords import Hidden

TABLES: Final = {table.name: table for table in (accounts_table, log_table)}

Row = Mapping[str, Any]


def account_rows(connection: sa.Connection) -> tuple[Row, ...]:
    """Every account and every line of the account log, each with the table it stands in; none before they existed."""
    there = set(sa.inspect(connection).get_table_names())
    return tuple(
        {"table": name, "row": {column: _plain(value) for column, value in row.items()}}
        for name, table in TABLES.items()
        if name in there
        for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()
    )


def insert_accounts(connection: sa.Connection, rows: Iterable[Row]) -> None:
    """Put accounts and log lines back as they were, into a store that has none."""
    for row in rows:
        table = TABLES[row["table"]]
        connection.execute(table.insert(), {name: _typed(table.c[name], value) for name, value in row["row"].items()})
    if connection.dialect.name == "postgresql":  # lines given with their number do not move the counter
        last = sa.select(sa.func.max(log_table.c.seq)).scalar_subquery()
        counter = sa.func.pg_get_serial_sequence("account_log", "seq")
        connection.execute(sa.select(sa.func.setval(counter, sa.func.coalesce(last, 1), last.is_not(None))))


def has_accounts(connection: sa.Connection) -> bool:
    """Whether somebody has an account in the store."""
    return connection.execute(sa.select(accounts_table.c.name).limit(1)).first() is not None


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return "".join(value) if isinstance(value, Hidden) else value


def _typed(column: sa.Column[Any], value: Any) -> Any:
    moment = value is not None and isinstance(column.type, Moment)
    return datetime.fromisoformat(value) if moment else value
