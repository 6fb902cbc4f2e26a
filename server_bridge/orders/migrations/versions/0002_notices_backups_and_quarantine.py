"""notices, backup stamps, quarantined files, site facts, and orders that the bridge seals"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server_bridge.orders.models import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Never by batch mode: on SQLite it makes the table anew, and dropping the old one cascades to its files.
    op.add_column("orders", sa.Column("seal", sa.String(length=8), nullable=False, server_default="agent"))
    op.add_column(
        "orders", sa.Column("listing_digest", sa.String(length=64), nullable=False, server_default="")
    )
    op.add_column("orders", sa.Column("listed_at", UtcDateTime(), nullable=True))

    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("order_id", sa.String(length=36), nullable=True),
        sa.Column("person", sa.String(length=255), nullable=False),
        sa.Column("for_staff", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.JSON(), nullable=False),
        sa.Column("withdrawn_at", UtcDateTime(), nullable=True),
        sa.Column("mailed_person_at", UtcDateTime(), nullable=True),
        sa.Column("mailed_staff_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_notices_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_notices_order_id"), ["order_id"], unique=False)

    op.create_table(
        "backup_stamps",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("covers_until", UtcDateTime(), nullable=False),
        sa.Column("reported_at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("backup_stamps", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_backup_stamps_covers_until"), ["covers_until"], unique=False)

    op.create_table(
        "quarantined_files",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("order_id", sa.String(length=36), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("quarantine_path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.String(length=32), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("keep_until", UtcDateTime(), nullable=True),
        sa.Column("unlinked_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("quarantined_files", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quarantined_files_order_id"), ["order_id"], unique=False)

    op.create_table(
        "site_facts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("site_facts")
    with op.batch_alter_table("quarantined_files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_quarantined_files_order_id"))

    op.drop_table("quarantined_files")
    with op.batch_alter_table("backup_stamps", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_backup_stamps_covers_until"))

    op.drop_table("backup_stamps")
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_notices_order_id"))
        batch_op.drop_index(batch_op.f("ix_notices_at"))

    op.drop_table("notices")
    op.drop_column("orders", "listed_at")
    op.drop_column("orders", "listing_digest")
    op.drop_column("orders", "seal")
