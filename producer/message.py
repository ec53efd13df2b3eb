"""The Celery protocol-2 message for an event, as Kombu's Redis transport lays it in the queue's list.

Formats: the task message is Celery's `protocol 2 <https://docs.celeryq.dev/en/stable/internals/protocol.html>`_; its
envelope is Kombu's virtual transport's (``kombu.transport.virtual.Channel.prepare_message`` and ``basic_publish``). A
test pins every field against what Celery itself publishes.
"""

from __future__ import annotations

import json
import os
import socket
from binascii import b2a_base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from producer.trace_context import trace_headers

if TYPE_CHECKING:
    from producer.event import FeedbackEvent

__all__ = ["JOURNEY", "JOURNEY_VERSION", "QUEUE", "TASK", "counts_of", "to_message"]

TASK: Final = "feedback.deliver"
QUEUE: Final = "feedback"
JOURNEY: Final = "feedback"
"""The message header that travels with an event from its first enqueue to its end."""

JOURNEY_VERSION: Final = 2
"""The header's version. Since 2 a message with it was counted as accepted in the step that enqueued it."""

# The messages of all events differ in a few values only. The rest is encoded once, here, which makes a message three
# times as fast. A placeholder stands for the inside of a JSON string, except %(journey)s, an object, and %(priority)d.
_BODY: Final = json.dumps(
    [
        [],
        {
            "request_id": "%(id)s",
            "status": "%(status)s",
            "org": "%(org)s",
            "group": "%(group)s",
            "occurred_at": "%(occurred_at)s",
        },
        {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
    ]
)
_MESSAGE: Final = (
    json.dumps(
        {
            "body": "%(body)s",
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": TASK,
                "id": "%(id)s",
                "shadow": None,
                "eta": None,
                "expires": None,
                "group": None,
                "group_index": None,
                "retries": 0,
                "timelimit": [None, None],
                "root_id": "%(id)s",
                "parent_id": None,
                "argsrepr": "()",
                "kwargsrepr": "%(kwargsrepr)s",
                "origin": "gen%(pid)s@%(hostname)s",
                "ignore_result": True,
                "replaced_task_nesting": 0,
                "stamped_headers": None,
                "stamps": {},
                JOURNEY: "%(journey)s",
            },
            "properties": {
                "correlation_id": "%(id)s",
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "%(queue)s"},
                "priority": "%(priority)s",
                "body_encoding": "base64",
                "delivery_tag": "%(tag)s",
            },
        }
    )
    .replace('"%(journey)s"', "%(journey)s")
    .replace('"%(priority)s"', "%(priority)d")
)


def counts_of(queue: str) -> str:
    """Return the name of the hash that counts what became of a queue's messages."""
    return f"{queue}:counts"


def to_message(
    event: FeedbackEvent,
    *,
    queue: str = QUEUE,
    enqueued_at: datetime | None = None,
    journey: dict[str, Any] | None = None,
    priority: int = 0,
) -> bytes:
    """Return the bytes to lay in ``queue`` for a Celery worker to run ``feedback.deliver`` with this event.

    They lead back to the current span of OpenTelemetry, if there is one.

    They say that they are counted as accepted, so they must be enqueued as the producers do: `producer.resp.enqueuing`.

    Args:
        event: The event.
        queue: The Celery queue, which is also the name of the Redis list.
        enqueued_at: When the event was first enqueued; now if None.
        journey: More for the journey header, such as the dead letter that is being replayed.
        priority: Kombu's, from 0, the most urgent, to 9. Each has a list of its own, in which the message belongs.
    """
    kwargs = event.to_wire()
    body = _BODY % {
        "id": event.request_id,
        "status": kwargs["status"],
        "org": _inside(event.org),
        "group": _inside(event.group),
        "occurred_at": kwargs["occurred_at"],
    }
    message = _MESSAGE % {
        "body": b2a_base64(body.encode(), newline=False).decode(),
        "id": event.request_id,
        "kwargsrepr": _inside(repr(kwargs)),
        "pid": os.getpid(),
        "hostname": _HOSTNAME,
        "journey": _journey(enqueued_at or datetime.now(UTC), journey) + _trace(),
        "priority": priority,
        "queue": _inside(queue),
        "tag": os.urandom(16).hex(),  # not a counter or a generator's: those repeat themselves after a fork
    }
    return message.encode()


def _journey(enqueued_at: datetime, more: dict[str, Any] | None) -> str:
    if not more:
        return _NEW_JOURNEY % enqueued_at.isoformat()
    return json.dumps({"v": JOURNEY_VERSION, "enqueued_at": enqueued_at.isoformat(), **more})


def _trace() -> str:
    """The headers that follow the journey, which is the last: of the current span, if there is one."""
    return "".join(f', "{name}": {_encode(value)}' for name, value in trace_headers().items())


_NEW_JOURNEY: Final = json.dumps({"v": JOURNEY_VERSION, "enqueued_at": "%s"})
_encode: Final = json.JSONEncoder().encode


def _inside(text: str) -> str:
    """The text as it stands between the quotes of a JSON string."""
    return _encode(text)[1:-1]


_HOSTNAME: Final = _inside(socket.gethostname())
