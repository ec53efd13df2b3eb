"""Let a dead letter say which message's burial made it: a message that is buried twice is counted once."""

from __future__ import annotations

import sqlalchemy as sa

from worker.database.ddl import add_column, drop_column

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version."""
    add_column("dead_letters", sa.Column("message_id", sa.String(64)))


def downgrade() -> None:
    """Take it back to the version before."""
    drop_column("dead_letters", "message_id")
