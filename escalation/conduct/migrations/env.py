"""How Alembic reaches the store: over the connection, and in the transaction, it is handed."""

from __future__ import annotations

from alembic import context

from escalation.conduct.migrations import METADATA, VERSION_TABLE


def run() -> None:
    """Run the steps."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=METADATA,
        version_table=VERSION_TABLE,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # the name Alembic loads this file under
    run()
