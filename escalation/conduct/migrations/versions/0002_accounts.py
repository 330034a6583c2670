"""The accounts, their sessions and the append-only log of who did what with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REFUSAL = "account_log is append-only"

SQLITE = (
    f"CREATE TRIGGER account_log_no_update BEFORE UPDATE ON account_log BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    f"CREATE TRIGGER account_log_no_delete BEFORE DELETE ON account_log BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    # INSERT OR REPLACE removes the old row without asking the delete trigger.
    "CREATE TRIGGER account_log_no_replace BEFORE INSERT ON account_log "
    "WHEN EXISTS (SELECT 1 FROM account_log WHERE seq = NEW.seq) "
    f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
)

POSTGRESQL = (
    "CREATE FUNCTION account_log_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$",
    "CREATE TRIGGER account_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON account_log "
    "FOR EACH STATEMENT EXECUTE FUNCTION account_log_refuse()",
)


def upgrade() -> None:
    """Create the tables and the log's guards; moments are UTC text of fixed width."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(256), nullable=False, unique=True),
        sa.Column("full_name", sa.String(200), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("password_hash", sa.String(512), nullable=False),
        sa.Column("password_version", sa.Integer(), nullable=False),
        sa.Column("temporary", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", sa.String(32), nullable=True),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(512), primary_key=True),
        sa.Column("account", sa.String(64), sa.ForeignKey("accounts.name"), nullable=False, index=True),
        sa.Column("started_at", sa.String(32), nullable=False),
        sa.Column("seen_at", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.String(32), nullable=True),
        sa.Column("ended", sa.String(64), nullable=True),
    )
    op.create_table(
        "account_log",
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("account", sa.String(64), nullable=True),
        sa.Column("actor", sa.String(64), nullable=True),
        sa.Column("trial", sa.String(200), nullable=True),
        sa.Column("permission", sa.String(64), nullable=True),
        sa.Column("detail", sa.String(500), nullable=True),
        sa.CheckConstraint("seq > 0", name="account_log_seq_counts_from_one"),
        sqlite_autoincrement=True,
    )
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: going back would remove the log."""
    raise NotImplementedError("an account log is never removed; restore a backup into a new store instead")
