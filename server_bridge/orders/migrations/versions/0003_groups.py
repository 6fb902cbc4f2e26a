"""orders of groups: entries of one folder that belong together by their names"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Never by batch mode: on SQLite it makes the table anew, and dropping the old one cascades to its files.
    op.add_column("orders", sa.Column("members", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("orders", "members")
