"""Alembic's way in: runs the migrations on the connection that `worker.database.schema.upgrade` hands over.

``alembic revision --autogenerate -m "…"`` works too, on the database of ``FEEDBACK_DATABASE_URL``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from worker.database.engine import connect
from worker.database.metadata import METADATA
from worker.database.schema import VERSION_TABLE
from worker.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=METADATA, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()


def _run_on_its_own() -> None:
    engine = connect(load_settings().feedback_database_url.get_secret_value(), pool_size=1)
    try:
        with engine.begin() as connection:
            _run(connection)
    finally:
        engine.dispose()


if (handed_over := context.config.attributes.get("connection")) is not None:
    _run(handed_over)
else:
    _run_on_its_own()
