"""Tables of the accounts, their sessions and the append-only log of who did what with them.

Here they are as this software reads and writes them; the migrations make them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from escalation.conduct.passwords import AccountError, Hidden


def utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a zone is refused."""
    if moment.utcoffset() is None:
        raise AccountError(f"{moment!r} has no time zone; the clock has to say where it stands")
    return moment.astimezone(UTC)


class Moment(sa.TypeDecorator[datetime]):
    """A moment, kept as UTC text of fixed width: sorts as it happened, whatever zone it came from."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else utc(value).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class HiddenText(sa.TypeDecorator[str]):
    """Text that appears in no statement log and in no database error."""

    impl = sa.String(512)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else Hidden(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else Hidden(value)


metadata = sa.MetaData()
accounts_table = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(256), nullable=False, unique=True),
    sa.Column("full_name", sa.String(200), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("password_hash", HiddenText, nullable=False),
    sa.Column("password_version", sa.Integer, nullable=False),
    sa.Column("temporary", sa.Boolean, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("locked_until", Moment),
    sa.Column("created_at", Moment, nullable=False),
)
sessions_table = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_hash", HiddenText, primary_key=True),
    sa.Column("account", sa.ForeignKey(accounts_table.c.name), nullable=False, index=True),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    sa.Column("ended", sa.String(64)),
)
WIDTHS: Final = {"account": 64, "actor": 64, "trial": 200, "permission": 64, "detail": 500}
log_table = sa.Table(
    "account_log",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("event", sa.String(64), nullable=False),
    *(sa.Column(name, sa.String(width)) for name, width in WIDTHS.items()),
    sa.CheckConstraint("seq > 0", name="account_log_seq_counts_from_one"),
    sqlite_autoincrement=True,
)


def tables() -> tuple[sa.Table, ...]:
    """The tables, in the order in which they can be made."""
    return (accounts_table, sessions_table, log_table)
