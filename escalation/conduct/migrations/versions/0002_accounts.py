"""The accounts, their sessions and the append-only log of who did what with them."""

from __future__ import annotations

from alembic import op

from escalation.conduct.account_tables import create_tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and the log's guards."""
    create_tables(op.get_bind())


def downgrade() -> None:
    """Refuse: going back would remove the log."""
    raise NotImplementedError("an account log is never removed; restore a backup into a new store instead")
