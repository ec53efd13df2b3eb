"""What the columns of a dead letter hold, from its record."""

from __future__ import annotations

import json
from typing import Any, Final

from worker.database.models import State
from worker.policy.dead_letter import MAX_RAW_BYTES, DeadLetterRecord, clean, stored_message_id
from worker.policy.fingerprint import fingerprint_of

__all__ = ["death", "new_row"]

_EVENT: Final = {name: name for name in ("request_id", "status", "org", "occurred_at")} | {"org_group": "group"}
"""Columns, and the fields of an event that they hold. SQLAlchemy drops parameters of any other name without a word."""


def new_row(record: DeadLetterRecord) -> dict[str, Any]:
    """Return all columns of a new row."""
    event, raw = record.event, record.raw
    return {
        **{column: None if event is None else getattr(event, field) for column, field in _EVENT.items()},
        "dedup_key": record.dedup_key,
        "message_id": stored_message_id(record.message_id),
        "first_enqueued_at": record.first_enqueued_at,
        "raw": None if raw is None else raw[:MAX_RAW_BYTES],
        "replay_count": 0,
        **death(record),
    }


def death(record: DeadLetterRecord) -> dict[str, Any]:
    """Return the columns that each failure overwrites."""
    response_body = clean(record.response_body)
    cause = fingerprint_of(record.reason, record.http_status, response_body)
    return {
        "reason": record.reason,
        "http_status": record.http_status,
        "response_body": response_body,
        "fingerprint": cause.fingerprint,
        "summary": cause.summary,
        "attempts": record.attempts,
        "history": json.dumps([attempt.to_record() for attempt in record.history]) if record.history else None,
        "failed_at": record.failed_at,
        "state": State.DEAD,
        "comment": _comment(record),
        "resolved_at": None,
    }


def _comment(record: DeadLetterRecord) -> str:
    if record.raw is not None and len(record.raw) > MAX_RAW_BYTES:
        return f"the first {MAX_RAW_BYTES} of the message's {len(record.raw)} bytes"
    return clean(record.comment)
