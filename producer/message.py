"""The Celery protocol-2 message for an event, as Kombu's Redis transport lays it in the queue's list.

Formats: the task message is Celery's `protocol 2 <https://docs.celeryq.dev/en/stable/internals/protocol.html>`_; its
envelope is Kombu's virtual transport's (``kombu.transport.virtual.Channel.prepare_message`` and ``basic_publish``). A
test pins every field against what Celery itself publishes.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from base64 import b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from producer.event import FeedbackEvent

__all__ = ["JOURNEY", "QUEUE", "TASK", "to_message"]

TASK: Final = "feedback.deliver"
QUEUE: Final = "feedback"
JOURNEY: Final = "feedback"
"""The message header that travels with an event from its first enqueue to its end."""

JOURNEY_VERSION: Final = 1


def to_message(
    event: FeedbackEvent,
    *,
    queue: str = QUEUE,
    enqueued_at: datetime | None = None,
    journey: dict[str, Any] | None = None,
) -> bytes:
    """Return the bytes to LPUSH on ``queue`` for a Celery worker to run ``feedback.deliver`` with this event.

    Args:
        event: The event.
        queue: The Celery queue, which is also the name of the Redis list.
        enqueued_at: When the event was first enqueued; now if None.
        journey: More for the journey header, such as the dead letter that is being replayed.
    """
    kwargs = event.to_wire()
    travels = {"v": JOURNEY_VERSION, "enqueued_at": (enqueued_at or datetime.now(UTC)).isoformat(), **(journey or {})}
    body = json.dumps([[], kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return json.dumps(
        {
            "body": b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": TASK,
                "id": event.request_id,
                "shadow": None,
                "eta": None,
                "expires": None,
                "group": None,
                "group_index": None,
                "retries": 0,
                "timelimit": [None, None],
                "root_id": event.request_id,
                "parent_id": None,
                "argsrepr": "()",
                "kwargsrepr": repr(kwargs),
                "origin": f"{os.getpid()}@{_HOSTNAME}",
                "ignore_result": True,
                "replaced_task_nesting": 0,
                "stamped_headers": None,
                "stamps": {},
                JOURNEY: travels,
            },
            "properties": {
                "correlation_id": event.request_id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    ).encode()


_HOSTNAME: Final = socket.gethostname()
