"""Alembic's entry: runs the revisions on the connection that `migrate` opened."""

from __future__ import annotations

from alembic import context

from server_bridge.orders.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter columns in place; batch mode copies the table instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
