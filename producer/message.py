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
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from producer.trace_context import trace_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer.event import FeedbackEvent

__all__ = ["JOURNEY", "JOURNEY_VERSION", "QUEUE", "TASK", "counts_of", "to_message", "to_messages"]

TASK: Final = "feedback.deliver"
QUEUE: Final = "feedback"
JOURNEY: Final = "feedback"
"""The message header that travels with an event from its first enqueue to its end."""

JOURNEY_VERSION: Final = 2
"""The header's version. Since 2 a message with it was counted as accepted in the step that enqueued it."""

# The messages of all events differ in a few values only. The rest is encoded once, here, and what those of one call
# share, once for the call. A placeholder stands for the inside of a JSON string, except %(journey)s, an object, and
# %(priority)d.
_EMBED: Final = json.dumps({"callbacks": None, "errbacks": None, "chain": None, "chord": None})
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
        },
        separators=(",", ":"),
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
    return to_messages((event,), queue=queue, enqueued_at=enqueued_at, journey=journey, priority=priority)[0]


def to_messages(
    events: Sequence[FeedbackEvent],
    *,
    queue: str = QUEUE,
    enqueued_at: datetime | None = None,
    journey: dict[str, Any] | None = None,
    priority: int = 0,
) -> list[bytes]:
    """Return the messages of events that are enqueued together; arguments are as of `to_message`."""
    template = _template(queue, priority, os.getpid())
    travels = _journey(enqueued_at or datetime.now(UTC), journey) + _trace()
    # Tags are not a counter's or a generator's: those repeat themselves after a fork.
    tags = os.urandom(_TAG * len(events)).hex()
    return [
        _message(template, event, travels, tags[at : at + 2 * _TAG])
        for event, at in zip(events, range(0, len(tags), 2 * _TAG), strict=True)
    ]


def _message(template: str, event: FeedbackEvent, travels: str, tag: str) -> bytes:
    name, status, moment = event.request_id, event.status_text, event.occurred_at.isoformat()
    as_json, as_repr = _whose(event.org, event.group)
    body = f'[[], {{"request_id": "{name}", "status": "{status}", {as_json}, "occurred_at": "{moment}"}}, {_EMBED}]'
    shown = f"{{'request_id': '{name}', 'status': '{status}', {as_repr}, 'occurred_at': '{moment}'}}"
    encoded = b2a_base64(body.encode(), newline=False).decode()
    return (template % (encoded, name, name, shown, travels, name, tag)).encode()


@lru_cache(maxsize=1024)
def _whose(org: str, group: str) -> tuple[str, str]:
    """Org and group as they stand in the body, and in the `repr` of the keyword arguments as it stands in a header."""
    return f'"org": {_encode(org)}, "group": {_encode(group)}', _inside(f"'org': {org!r}, 'group': {group!r}")


@lru_cache(maxsize=64)
def _template(queue: str, priority: int, pid: int) -> str:
    """The message with what one call's have in common; what is left out are, in this order, `_message`'s."""
    left = dict.fromkeys(("body", "id", "kwargsrepr", "journey", "tag"), "%s")
    hostname, name = (text.replace("%", "%%") for text in (_HOSTNAME, _inside(queue)))
    return _MESSAGE % (left | {"pid": pid, "hostname": hostname, "queue": name, "priority": priority})


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
_TAG: Final = 16
"""Random bytes of a delivery tag."""
