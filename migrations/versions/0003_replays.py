"""Make replays durable: plans, their rows, and who did what."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from worker.database.ddl import create_index, create_table, drop_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_EVERY_CHARACTER: dict[str, Any] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    """Bring the schema to this version."""
    create_table(
        "replays",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("run", sa.String(32), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("rate", sa.Double()),
        sa.Column("canary", sa.Integer(), nullable=False),
        sa.Column("canary_until", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("elsewhere", sa.Integer(), nullable=False),
        sa.Column("invalid", sa.Integer(), nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("stopped_because", sa.Text(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("started_at", _MOMENT),
        sa.Column("canary_passed_at", _MOMENT),
        sa.Column("moved_at", _MOMENT),
        sa.Column("ended_at", _MOMENT),
        sa.Column("closed_at", _MOMENT),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("due_at", _MOMENT),
        sa.Column("leased_until", _MOMENT),
        sqlite_autoincrement=True,
        **_EVERY_CHARACTER,
    )
    create_index("ix_replays_closed_at", "replays", ["closed_at", "state"])
    create_table(
        "replay_rows",
        sa.Column("replay_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("dead_letter_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("was", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(12), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("changed_at", _MOMENT),
        **_EVERY_CHARACTER,
    )
    create_index("ix_replay_rows_state", "replay_rows", ["replay_id", "state", "position"])
    create_index("ix_replay_rows_dead_letter_id", "replay_rows", ["dead_letter_id", "state"])
    create_table(
        "operator_actions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
        **_EVERY_CHARACTER,
    )
    create_index("ix_operator_actions_target", "operator_actions", ["target", "id"])


def downgrade() -> None:
    """Take it back to the version before: the three tables and all that is in them."""
    for table in ("operator_actions", "replay_rows", "replays"):
        drop_table(table)
