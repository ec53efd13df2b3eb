"""Create every table of the first release.

Every column is spelt out, with no constant from the code: what a migration did must not change afterwards.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UTF8MB4: dict[str, Any] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    """Create the tables and their indices that are not there yet.

    MariaDB and MySQL commit each statement by itself: an upgrade that was cut short is run again, and goes on.
    """
    for table in _METADATA.sorted_tables:
        table.create(op.get_bind(), checkfirst=True)
        present = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table.name)}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in present:
                index.create(op.get_bind())


def downgrade() -> None:
    """Drop the tables and all that is in them."""
    for table in reversed(_METADATA.sorted_tables):
        table.drop(op.get_bind(), checkfirst=True)


_METADATA = sa.MetaData()

sa.Table(
    "dead_letters",
    _METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("dedup_key", sa.String(64), nullable=False, unique=True),
    sa.Column("message_id", sa.String(64)),
    sa.Column("request_id", sa.String(36)),
    sa.Column("status", sa.Boolean()),
    sa.Column("org", sa.String(128)),
    sa.Column("org_group", sa.String(128)),
    sa.Column("original_org", sa.String(128)),
    sa.Column("original_group", sa.String(128)),
    sa.Column("occurred_at", _MOMENT),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("http_status", sa.Integer()),
    sa.Column("response_body", sa.Text(), nullable=False),
    sa.Column("fingerprint", sa.String(12), nullable=False),
    sa.Column("summary", sa.String(200), nullable=False),
    sa.Column("history", sa.Text()),
    sa.Column("attempts", sa.Integer(), nullable=False),
    sa.Column("first_enqueued_at", _MOMENT, nullable=False),
    sa.Column("failed_at", _MOMENT, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("comment", sa.Text(), nullable=False),
    sa.Column("resolved_at", _MOMENT),
    sa.Column("replay_count", sa.Integer(), nullable=False),
    sa.Column("last_replay_at", _MOMENT),
    sa.Column("replay_name", sa.String(32)),
    sa.Column("replay_enqueued_at", _MOMENT),
    sa.Column("raw", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")),
    sa.Index("ix_dead_letters_failed_at", "failed_at", "id"),
    sa.Index("ix_dead_letters_state", "state", "failed_at"),
    sa.Index("ix_dead_letters_reason", "reason", "http_status", "failed_at"),
    sa.Index(
        "ix_dead_letters_org",
        *("org", "state", "fingerprint", "failed_at", "org_group", "reason", "http_status"),
        "replay_enqueued_at",
    ),
    sa.Index("ix_dead_letters_request_id", "request_id"),
    sa.Index(
        "ix_dead_letters_statistics",
        *("fingerprint", "failed_at", "state", "org", "org_group", "reason", "http_status"),
        *("replay_enqueued_at", "attempts", "replay_count", "id"),
    ),
    sqlite_autoincrement=True,
    **_UTF8MB4,
)
sa.Table(
    "dead_letter_causes",
    _METADATA,
    sa.Column("fingerprint", sa.String(12), primary_key=True),
    sa.Column("summary", sa.String(200), nullable=False),
    sa.Column("first_seen_at", _MOMENT, nullable=False),
    sa.Column("last_seen_at", _MOMENT, nullable=False),
    sa.Column("returned_at", _MOMENT),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("changed_at", _MOMENT),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("muted_until", _MOMENT),
    sa.Column("runbook_url", sa.String(500), nullable=False),
    sa.Index("ix_dead_letter_causes_last_seen_at", "last_seen_at"),
    **_UTF8MB4,
)
sa.Table(
    "dead_letters_pruned",
    _METADATA,
    sa.Column("what", sa.String(32), primary_key=True),
    sa.Column("rows_pruned", sa.BigInteger(), nullable=False),
    **_UTF8MB4,
)
sa.Table(
    "replays",
    _METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("name", sa.String(32), nullable=False, unique=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("selection", sa.Text(), nullable=False),
    sa.Column("rate", sa.Double()),
    sa.Column("canary", sa.Integer(), nullable=False),
    sa.Column("canary_until", sa.Integer(), nullable=False),
    sa.Column("set_org", sa.String(128)),
    sa.Column("set_group", sa.String(128)),
    sa.Column("total", sa.Integer(), nullable=False),
    sa.Column("elsewhere", sa.Integer(), nullable=False),
    sa.Column("invalid", sa.Integer(), nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("comment", sa.Text(), nullable=False),
    sa.Column("stopped_because", sa.Text(), nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("begins_at", _MOMENT),
    sa.Column("started_at", _MOMENT),
    sa.Column("canary_passed_at", _MOMENT),
    sa.Column("moved_at", _MOMENT),
    sa.Column("ended_at", _MOMENT),
    sa.Column("closed_at", _MOMENT),
    sa.Column("step_number", sa.Integer(), nullable=False),
    sa.Column("due_at", _MOMENT),
    sa.Column("leased_until", _MOMENT),
    sa.Index("ix_replays_closed_at", "closed_at", "state"),
    sqlite_autoincrement=True,
    **_UTF8MB4,
)
sa.Table(
    "replay_rows",
    _METADATA,
    sa.Column("replay_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("dead_letter_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer(), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("was", sa.String(16), nullable=False),
    sa.Column("fingerprint", sa.String(12), nullable=False),
    sa.Column("comment", sa.Text(), nullable=False),
    sa.Column("changed_at", _MOMENT),
    sa.Index("ix_replay_rows_state", "replay_id", "state", "position"),
    sa.Index("ix_replay_rows_dead_letter_id", "dead_letter_id"),
    **_UTF8MB4,
)
sa.Table(
    "operator_actions",
    _METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("target", sa.String(64), nullable=False),
    sa.Column("comment", sa.Text(), nullable=False),
    sa.Column("details", sa.Text(), nullable=False),
    sa.Index("ix_operator_actions_target", "target", "id"),
    sqlite_autoincrement=True,
    **_UTF8MB4,
)
sa.Table(
    "api_tokens",
    _METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("name", sa.String(48), nullable=False, unique=True),
    sa.Column("prefix", sa.String(16), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.Column("last_used_at", _MOMENT),
    sa.Column("revoked_at", _MOMENT),
    sqlite_autoincrement=True,
    **_UTF8MB4,
)
sa.Table(
    "redis_generations",
    _METADATA,
    sa.Column("generation", sa.String(32), primary_key=True),
    sa.Column("recorded_at", _MOMENT, nullable=False),
    sa.Column("waiting", sa.BigInteger(), nullable=False),
    sa.Column("totals", sa.Text(), nullable=False),
    **_UTF8MB4,
)
sa.Table(
    "operator_holds",
    _METADATA,
    sa.Column("generation", sa.String(32), primary_key=True),
    sa.Column("change_number", sa.BigInteger(), nullable=False),
    sa.Column("held", sa.Boolean(), nullable=False),
    sa.Column("comment", sa.Text(), nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("since", _MOMENT, nullable=False),
    **_UTF8MB4,
)
