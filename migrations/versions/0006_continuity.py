"""Keep beside the dead letters what Redis had counted, and the hold by hand: a Redis that lost its data is noticed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from worker.database.ddl import create_table, drop_table

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_EVERY_CHARACTER = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    """Bring the schema to this version."""
    create_table(
        "redis_generations",
        sa.Column("generation", sa.String(32), primary_key=True),
        sa.Column("recorded_at", _MOMENT, nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("totals", sa.Text(), nullable=False),
        **_EVERY_CHARACTER,
    )
    create_table(
        "operator_holds",
        sa.Column("generation", sa.String(32), primary_key=True),
        sa.Column("change_number", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        **_EVERY_CHARACTER,
    )


def downgrade() -> None:
    """Take it back to the version before: the two tables and all that is in them."""
    for table in ("operator_holds", "redis_generations"):
        drop_table(table)
