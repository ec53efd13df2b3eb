"""The Celery protocol-2 message for an event, as Kombu's Redis transport lays it in the queue's list.

Formats: the task message is Celery's `protocol 2 <https://docs.celeryq.dev/en/stable/internals/protocol.html>`_; its
envelope is Kombu's virtual transport's (``kombu.transport.virtual.Channel.prepare_message`` and ``basic_publish``).

What Celery reads the same if it is not there is left out, because a backlog of millions lies in memory: headers and
properties that say nothing, and the arguments as monitors show them, which a worker writes itself
(`worker.runtime.request`). The body is JSON as it is, which is shorter than in base64. A test pins what is there
against what Celery itself publishes, and what Celery reads where the rest is not.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from base64 import urlsafe_b64encode
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from producer.event import FeedbackEvent

__all__ = [
    "CARRIED_TRACE", "ENVELOPE", "ENVELOPE_VERSION", "QUEUE", "TASK", "TRACE_HEADERS",
    "Parts", "counts_of", "messages_of", "to_message", "to_messages", "trace_headers", "whose",
]  # fmt: skip

TASK: Final = "feedback.deliver"
QUEUE: Final = "feedback"
ENVELOPE: Final = "feedback"
"""The message header that travels with an event from its first enqueue to its end."""

ENVELOPE_VERSION: Final = 2
"""The header's version. Since 2 a message with it was counted as accepted in the step that enqueued it."""

TRACE_HEADERS: Final = ("traceparent", "tracestate")
"""The message headers that lead back to the span in which it was enqueued: https://www.w3.org/TR/trace-context/."""

CARRIED_TRACE: Final[ContextVar[Mapping[str, str]]] = ContextVar("CARRIED_TRACE", default=MappingProxyType({}))
"""Trace headers that a program without OpenTelemetry was given, and hands on."""

Parts: TypeAlias = tuple[str, str, str, str]
"""What the message of an event has of it: request_id, status, `whose` and occurred_at."""

# The messages of all events differ in a few values only. The rest is encoded once, here, and what those of one call
# share, once for the call. A placeholder stands for the inside of a JSON string, except %(envelope)s, an object, and
# %(whose)s and %(priority)s, members of one.
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def _inside(text: str) -> str:
    """The text as it stands between the quotes of a JSON string."""
    return _encode(text)[1:-1]


_BODY: Final = _inside(
    '[[],{"request_id":"%(id)s","status":"%(status)s",%(whose)s,"occurred_at":"%(occurred_at)s"},{}]'
)
_MESSAGE: Final = (
    _encode(
        {
            "body": "%(body)s",
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "task": TASK,
                "id": "%(task)s",
                "origin": "gen%(pid)s@%(hostname)s",
                "ignore_result": True,
                ENVELOPE: "%(envelope)s",
            },
            "properties": {
                "delivery_info": {"exchange": "", "routing_key": "%(queue)s"},
                "delivery_tag": "%(tag)s",
            },
        }
    )
    .replace('"%(envelope)s"', "%(envelope)s")
    .replace('"%(tag)s"', '"%(tag)s"%(priority)s')
    .replace("%(body)s", _BODY)
)


def counts_of(queue: str) -> str:
    """Return the name of the hash that counts what became of a queue's messages."""
    return f"{queue}:counts"


def to_message(
    event: FeedbackEvent,
    *,
    queue: str = QUEUE,
    enqueued_at: datetime | None = None,
    envelope: dict[str, Any] | None = None,
    priority: int = 0,
) -> bytes:
    """Return the bytes to lay in ``queue`` for a Celery worker to run ``feedback.deliver`` with this event.

    They lead back to the current span of OpenTelemetry, if there is one. Their headers say that they are counted as
    accepted, so they must be enqueued by `producer._resp.enqueuing`.

    Args:
        event: The event.
        queue: The Celery queue, which is also the name of the Redis list.
        enqueued_at: When the event was first enqueued; now if None.
        envelope: More for the header `feedback`, such as the dead letter that is being replayed.
        priority: Kombu's, from 0, the most urgent, to 9. Each has a list of its own, in which the message belongs.
    """
    return to_messages((event,), queue=queue, enqueued_at=enqueued_at, envelope=envelope, priority=priority)[0]


def to_messages(
    events: Sequence[FeedbackEvent],
    *,
    queue: str = QUEUE,
    enqueued_at: datetime | None = None,
    envelope: dict[str, Any] | None = None,
    priority: int = 0,
    trace: Mapping[str, str] | None = None,
) -> list[bytes]:
    """Return the messages of events that are enqueued together; arguments are those of `to_message`.

    They lead back to the span that the headers ``trace`` name, if these are given.
    """
    parts = [
        (event.request_id, event.status_text, whose(event.org, event.group), event.occurred_at.isoformat())
        for event in events
    ]
    return messages_of(parts, queue=queue, enqueued_at=enqueued_at, envelope=envelope, priority=priority, trace=trace)


def messages_of(
    parts: Sequence[Parts],
    *,
    queue: str,
    enqueued_at: datetime | None = None,
    envelope: dict[str, Any] | None = None,
    priority: int = 0,
    trace: Mapping[str, str] | None = None,
) -> list[bytes]:
    """Return the messages of events that are given by their parts; as `to_messages`."""
    template = _template(queue, priority, os.getpid())
    travels = _envelope(enqueued_at or datetime.now(UTC), envelope)
    travels += "".join(
        f',"{name}":{_encode(value)}' for name, value in (trace_headers() if trace is None else trace).items()
    )
    # Not a counter's or a generator's: those repeat themselves after a fork.
    tags = urlsafe_b64encode(os.urandom(_TAG * len(parts))).decode()
    tasks = os.urandom(_TASK * len(parts)).hex()
    return [
        _message(template, part, travels, tags[at : at + _TAG_LENGTH], tasks[2 * at : 2 * (at + _TASK)])
        for part, at in zip(parts, range(0, len(tags), _TAG_LENGTH), strict=True)
    ]


def _message(template: str, parts: Parts, travels: str, tag: str, task: str) -> bytes:
    name, status, owner, moment = parts
    # A UUID of version 4, but for two bits of chance less, and of this message alone: were it the request_id, `revoke`
    # and Flower would take all presses on one answer for one task.
    task = f"{task[:8]}-{task[8:12]}-4{task[13:16]}-a{task[17:20]}-{task[20:]}"
    return (template % (name, status, _inside_of(owner), moment, task, travels, tag)).encode()


@lru_cache(maxsize=1024)
def whose(org: str, group: str) -> str:
    """Return org and group as members of a JSON object: a backend has few of them."""
    return f'"org":{_encode(org)},"group":{_encode(group)}'


@lru_cache(maxsize=1024)
def _inside_of(text: str) -> str:
    return _inside(text)


@lru_cache(maxsize=64)
def _template(queue: str, priority: int, pid: int) -> str:
    """The message with what one call's have in common; what is left out are, in this order, `_message`'s."""
    left = dict.fromkeys(("id", "status", "whose", "occurred_at", "task", "envelope", "tag"), "%s")
    hostname, name = (text.replace("%", "%%") for text in (_HOSTNAME, _inside(queue)))
    said = f',"priority":{priority:d}' if priority else ""
    return _MESSAGE % (left | {"pid": pid, "hostname": hostname, "queue": name, "priority": said})


def _envelope(enqueued_at: datetime, more: dict[str, Any] | None) -> str:
    if not more:
        return _NEW_ENVELOPE % enqueued_at.isoformat()
    return _encode({"v": ENVELOPE_VERSION, "enqueued_at": enqueued_at.isoformat(), **more})


def trace_headers() -> Mapping[str, str]:
    """Return the headers that name the current span of OpenTelemetry, or those of `CARRIED_TRACE`; there may be none.

    A process that has not imported OpenTelemetry has no current span. Nothing is imported here: a backend that forks
    while one of its threads imports would leave its child waiting for ever for that import to end.
    """
    current_span = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    span = current_span and current_span().get_span_context()
    if not span or not span.is_valid:
        return CARRIED_TRACE.get()
    parent = {"traceparent": f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"}
    return parent | ({"tracestate": span.trace_state.to_header()} if span.trace_state else {})


_NEW_ENVELOPE: Final = _encode({"v": ENVELOPE_VERSION, "enqueued_at": "%s"})
_HOSTNAME: Final = _inside(socket.gethostname())
_TAG: Final = 12
"""Random bytes of a delivery tag: a multiple of 3, so that base64 needs no padding."""

_TAG_LENGTH: Final = _TAG // 3 * 4
"""Characters of it."""

_TASK: Final = 16
"""Random bytes of a task id; as many as a tag has characters, so that `to_messages` cuts both alike."""
