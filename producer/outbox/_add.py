"""Writing an event into the outbox, in a transaction of the backend's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias, overload

import sqlalchemy
from sqlalchemy import Connection

from producer._configured import to_event
from producer.message import trace_headers
from producer.outbox._table import OutboxRow

if TYPE_CHECKING:
    from typing import Any
    from uuid import UUID

    from sqlalchemy import Insert
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    from producer.event import FeedbackEvent

    InTransaction: TypeAlias = Session | scoped_session[Any] | AsyncSession | async_scoped_session[Any] | Connection

__all__ = ["add", "insert"]

_EXPECTED: Final = (
    "expected a Session, an AsyncSession or a Connection; with an AsyncConnection, "
    "await connection.execute(outbox.insert(event))"
)


@overload
def add(session: InTransaction, request_id: FeedbackEvent, /) -> FeedbackEvent: ...
@overload
def add(
    session: InTransaction,
    request_id: str | UUID,
    status: bool | str,
    *,
    org: str,
    group: str,
    occurred_at: datetime | str | None = None,
) -> FeedbackEvent: ...
def add(
    session: InTransaction,
    request_id: FeedbackEvent | str | UUID,
    status: bool | str | None = None,
    *,
    org: str | None = None,
    group: str | None = None,
    occurred_at: datetime | str | None = None,
) -> FeedbackEvent:
    """Write one event into the outbox, given whole or by its fields; see `FeedbackEvent` for what they may be.

    It is enqueued once the session's transaction has committed, and never if that is rolled back.

    Args:
        session: A `Session` or an `AsyncSession`, for which it is as ``session.add``: the row is written with the next
            flush, at the latest by the commit. Or a `Connection`, on which it is written at once.
        request_id: The AI request that the feedback is for, or an event.
        status: 👍 is True or "true", 👎 is False or "false".
        org: The organization's id.
        group: The group's id.
        occurred_at: When the person pressed; now if None.

    Returns:
        The event.

    Raises:
        InvalidEvent: A field can't be carried; nothing was written.
        TypeError: ``session`` is none of these; for an `AsyncConnection` there is `insert`.
    """
    event = to_event(request_id, status, org, group, occurred_at)
    if isinstance(session, Connection):
        session.execute(insert(event))
    elif (written := getattr(session, "add", None)) is not None:
        written(OutboxRow(**_values(event)))
    else:
        raise TypeError(f"session is of type {type(session).__name__}: {_EXPECTED}")
    return event


def insert(event: FeedbackEvent) -> Insert:
    """Return the statement that writes an event into the outbox, for whatever executes statements in the transaction.

    Args:
        event: The event.
    """
    return sqlalchemy.insert(OutboxRow.__table__).values(_values(event))


def _values(event: FeedbackEvent) -> dict[str, str]:
    """The row: the event, the span in which it is written, and the time."""
    return {**event.to_wire(), **trace_headers(), "created_at": datetime.now(UTC).isoformat()}
