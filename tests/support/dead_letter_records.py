"""Records of dead letters for tests: an event like any other, and what to change in it."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from producer.event import FeedbackEvent
from worker.database.models import DeadLetter, State
from worker.policy.dead_letter import DeadLetterRecord, key_of_event, key_of_raw
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from worker.dead_letters.store import DeadLetterStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


def an_event(**changes: Any) -> FeedbackEvent:
    """A thumbs-up; every call another request_id unless one is given."""
    fields: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "status": True,
        "org": "org-1",
        "group": "group-1",
        "occurred_at": NOON,
    }
    return FeedbackEvent(**(fields | changes))


def a_record(event: FeedbackEvent | None = None, **changes: Any) -> DeadLetterRecord:
    """A rejection by a 404."""
    event = event or an_event()
    fields: dict[str, Any] = {
        "reason": Reason.REJECTED,
        "failed_at": NOON,
        "first_enqueued_at": NOON,
        "attempts": 1,
        "event": event,
        "dedup_key": key_of_event(event),
        "http_status": 404,
        "response_body": "Request ID not found",
    }
    return DeadLetterRecord(**(fields | changes))


def an_unreadable_record() -> DeadLetterRecord:
    """Of bytes that are no message and hold no event."""
    raw = b"\xff"
    return replace(a_record(), event=None, dedup_key=key_of_raw(raw), reason=Reason.INVALID, raw=raw)


def add(store: DeadLetterStore, record: DeadLetterRecord) -> int:
    """Add a row, and return the id of the row: by the event's key, or that of the replay it died in."""
    store.add(record)
    with store.engine.connect() as connection:
        row_id = connection.scalar(select(DeadLetter.id).where(DeadLetter.dedup_key == record.dedup_key))
    found = row_id or record.dead_letter
    assert found is not None
    return found


def rows_of(store: DeadLetterStore) -> list[DeadLetter]:
    """Every row, by id."""
    with Session(store.engine) as session:
        return list(session.scalars(select(DeadLetter).order_by(DeadLetter.id).options(undefer(DeadLetter.raw))))


def row_of(store: DeadLetterStore, row_id: int) -> DeadLetter:
    """The row of an id."""
    (row,) = (row for row in rows_of(store) if row.id == row_id)
    return row


def settle(store: DeadLetterStore, row_id: int, state: State, *, replay: str | None = None, comment: str = "") -> None:
    """Write the outcome of a replay into its row, as the worker does that had its event."""
    request_id = row_of(store, row_id).request_id
    assert request_id is not None
    store.resolve_replay(row_id, request_id=request_id, replay=replay, state=state, comment=comment)
