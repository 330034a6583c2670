"""The ledger, and the guards by which the database itself refuses to change it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REFUSAL = "the ledger is append-only: what is recorded is never changed or removed"
NOT_NEXT = "not the next entry of its trial, or its idempotency key is used"

SQLITE = (
    f"CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    f"CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    # INSERT OR REPLACE removes rows without asking the delete trigger, by any of the table's keys, the rowid among
    # them (-1 here while it is not given); so only the next entry may come in at all.
    f"""
    CREATE TRIGGER ledger_next_only BEFORE INSERT ON ledger
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM ledger WHERE trial = NEW.trial)
      OR NEW.prev_hash IS NOT coalesce(
           (SELECT hash FROM ledger WHERE trial = NEW.trial ORDER BY seq DESC LIMIT 1), '{"0" * 64}')
      OR EXISTS (SELECT 1 FROM ledger WHERE trial = NEW.trial AND idempotency_key = NEW.idempotency_key)
      OR EXISTS (SELECT 1 FROM ledger WHERE rowid = NEW.rowid)
    BEGIN SELECT RAISE(ABORT, '{NOT_NEXT}'); END
    """,
)

POSTGRESQL = (
    f"""
    CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
      RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation';
    END $body$
    """,
    f"""
    CREATE FUNCTION ledger_next() RETURNS trigger LANGUAGE plpgsql AS $body$
    DECLARE
      last_seq bigint := 0;
      last_hash text := repeat('0', 64);
    BEGIN
      EXECUTE format('SELECT seq, hash FROM %I.%I WHERE trial = $1 ORDER BY seq DESC LIMIT 1',
                     TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO last_seq, last_hash USING NEW.trial;
      IF NEW.seq <> coalesce(last_seq, 0) + 1 OR NEW.prev_hash <> coalesce(last_hash, repeat('0', 64)) THEN
        RAISE EXCEPTION '{NOT_NEXT}' USING ERRCODE = 'integrity_constraint_violation';
      END IF;
      RETURN NEW;
    END $body$
    """,
    "CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()",
    "CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()",
    "CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()",
    "CREATE TRIGGER ledger_next_only BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION ledger_next()",
    # Guards that hold even where replication would switch ordinary triggers off.
    "ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_no_update",
    "ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_no_delete",
    "ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_no_truncate",
    "ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_next_only",
)


def upgrade() -> None:
    """Create the table and its guards."""
    op.create_table(
        "ledger",
        sa.Column("trial", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("effective", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("software", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trial", "seq", name="ledger_pkey"),
        sa.UniqueConstraint("trial", "idempotency_key", name="ledger_idempotency_key"),
    )
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: going back would remove the record."""
    raise NotImplementedError("a ledger is never removed; restore a backup into a new store instead")
