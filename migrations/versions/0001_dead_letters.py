"""Create the dead-letter table.

It spells every column out and takes no constant from the code: what a migration did must not change afterwards.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from worker.database.ddl import create_index, create_table, drop_table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Bring the schema to this version."""
    create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("dedup_key", sa.String(64), nullable=False, unique=True),
        sa.Column("request_id", sa.String(36)),
        sa.Column("status", sa.Boolean()),
        sa.Column("org", sa.String(128)),
        sa.Column("org_group", sa.String(128)),
        sa.Column("occurred_at", _MOMENT),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("cause", sa.String(12), nullable=False),
        sa.Column("cause_line", sa.String(200), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_enqueued_at", _MOMENT, nullable=False),
        sa.Column("failed_at", _MOMENT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("resolved_at", _MOMENT),
        sa.Column("replay_count", sa.Integer(), nullable=False),
        sa.Column("last_replay_at", _MOMENT),
        sa.Column("replay_run", sa.String(32)),
        sa.Column("replay_enqueued_at", _MOMENT),
        sa.Column("raw", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")),
        sqlite_autoincrement=True,
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_bin",
    )
    for name, columns in _INDICES.items():
        create_index(f"ix_dead_letters_{name}", "dead_letters", columns)


def downgrade() -> None:
    """Take it back to the version before: the table and all that is in it."""
    drop_table("dead_letters")


_INDICES = {
    "failed_at": ["failed_at", "id"],
    "state": ["state", "failed_at"],
    "cause": ["cause", "failed_at"],
    "reason": ["reason", "http_status", "failed_at"],
    "org_group": ["org", "org_group", "failed_at"],
    "request_id": ["request_id"],
}
