"""What is in the outbox, and whether there is one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import case, exc, func, inspect, select

from producer.outbox._errors import OutboxTableError
from producer.outbox._table import TABLE, OutboxRow

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["OutboxStatus", "create_table", "require_table", "status"]

_ROWS = OutboxRow.__table__.c


@dataclass(frozen=True, kw_only=True)
class OutboxStatus:
    """What is in the outbox.

    Attributes:
        waiting: Rows that are to be carried to Redis.
        set_aside: Rows that are no valid event; the column ``problem`` says why.
        oldest_at: When the first of the waiting rows was written; None if there is none, or its time can't be read.
    """

    waiting: int
    set_aside: int
    oldest_at: datetime | None


def status(connection: Connection) -> OutboxStatus:
    """Count the rows that are committed."""
    waits = _ROWS.problem.is_(None)
    total, waiting = connection.execute(select(func.count(), func.count(case((waits, 1))))).one()
    oldest = connection.scalar(select(_ROWS.created_at).where(waits).order_by(_ROWS.id).limit(1))
    return OutboxStatus(waiting=waiting, set_aside=total - waiting, oldest_at=_moment(oldest))


def create_table(engine: Engine) -> None:
    """Create the table, for a backend without migrations; if it is there already, make sure that it has every column.

    Raises:
        OutboxTableError: A column is missing.
    """
    with suppress(exc.DBAPIError), engine.begin() as connection:  # if another one creates it now, it is looked at below
        OutboxRow.metadata.create_all(connection)
    with engine.connect() as connection:
        require_table(connection)


def require_table(connection: Connection) -> None:
    """Make sure that the table is there, with every column.

    Raises:
        OutboxTableError: It is not.
    """
    fix = "run `aquilax-feedback relay --create-table`, or add outbox.table(metadata) to your migrations"
    try:
        there = {column["name"] for column in inspect(connection).get_columns(TABLE)}
    except exc.NoSuchTableError:
        raise OutboxTableError(f"the database has no table {TABLE}: {fix}") from None
    if missing := [column.name for column in _ROWS if column.name not in there]:
        raise OutboxTableError(f"{TABLE} has no column {missing[0]}: add it; docs/guides/outbox.md has the table")


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.utcoffset() is not None else None
