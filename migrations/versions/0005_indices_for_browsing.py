"""Let the dashboard count causes, and sort by attempts, without reading the rows themselves, at a hundred thousand."""

from __future__ import annotations

from worker.database.ddl import create_index, drop_index

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version."""
    for name, columns in _INDICES.items():
        create_index(f"ix_dead_letters_{name}", "dead_letters", columns)


def downgrade() -> None:
    """Take it back to the version before."""
    for name in _INDICES:
        drop_index(f"ix_dead_letters_{name}", "dead_letters")


_INDICES = {
    "triage": ["state", "reason", "http_status", "cause", "org", "org_group", "failed_at", "replay_enqueued_at"],
    "tries": ["state", "attempts", "replay_count"],
}
