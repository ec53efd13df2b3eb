"""Keep the number of rows that were pruned beside the table: what was buried still adds up."""

from __future__ import annotations

import sqlalchemy as sa

from worker.database.ddl import create_table, drop_table

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version."""
    create_table(
        "dead_letters_pruned",
        sa.Column("what", sa.String(32), primary_key=True),
        sa.Column("rows_pruned", sa.BigInteger(), nullable=False),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_bin",
    )


def downgrade() -> None:
    """Take it back to the version before."""
    drop_table("dead_letters_pruned")
