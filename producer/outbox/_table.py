"""The table `feedback_outbox`: an event's fields as text, as they stand in the message that is made of them.

Times are ISO 8601 text with an offset. So no database, driver or session's time zone changes one, a row may be written
by any means, and one that was changed by hand can always be read, to be named and set aside.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BLANK_SCHEMA, BigInteger, Column, Integer, MetaData, String, Table, Text
from sqlalchemy.orm import DeclarativeBase

from producer.event import MAX_NAME_LENGTH

__all__ = ["TABLE", "OutboxRow", "table"]

TABLE: Final = "feedback_outbox"
"""The table's name, the same in every backend: the relay looks for it."""

_UUID_LENGTH: Final = 36
_TIME_LENGTH: Final = 32
"""Characters of ``2026-01-31T12:00:00.123456+00:00``."""

_TRACEPARENT_LENGTH: Final = 55
"""Of W3C's version 00."""

_MYSQL: Final[dict[str, Any]] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")  # to SQLAlchemy they are two
    for option, value in {"charset": "utf8mb4", "collate": "utf8mb4_bin", "engine": "InnoDB"}.items()
}
"""Any org fits, and rows can be locked one by one."""


def table(metadata: MetaData) -> Table:
    """Add the outbox's table to a backend's own metadata, for its Alembic or its `create_all`, and return it.

    It is always in the connection's default schema, whatever schema the metadata has.
    """
    if TABLE in metadata.tables:
        return metadata.tables[TABLE]
    return Table(
        TABLE,
        metadata,
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("request_id", String(_UUID_LENGTH), nullable=False),
        Column("status", String(len("false")), nullable=False),
        Column("org", String(MAX_NAME_LENGTH), nullable=False),
        Column("org_group", String(MAX_NAME_LENGTH), key="group", nullable=False),  # GROUP is a reserved word of SQL
        Column("occurred_at", String(_TIME_LENGTH), nullable=False),
        Column("created_at", String(_TIME_LENGTH), nullable=False),
        Column("traceparent", String(_TRACEPARENT_LENGTH)),
        Column("tracestate", Text),
        Column("problem", Text),  # why the relay has set the row aside
        schema=BLANK_SCHEMA,
        sqlite_autoincrement=True,  # an id is never given twice, whatever was deleted
        **_MYSQL,
    )


class _OutboxBase(DeclarativeBase):
    """A registry of its own: no mapping of the backend's is touched."""


class OutboxRow(_OutboxBase):
    """A row, for the sessions' unit of work."""

    __table__ = table(_OutboxBase.metadata)
