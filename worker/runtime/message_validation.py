"""What Celery is told of a message of ours: who it is for and what it carries, and nothing that Celery would carry out.

A message is what a client wrote, and Celery trusts much of it: a chain, a chord and callbacks are published
when the task has ended, with the worker's login; an exchange and a routing key say where a retry goes; a `shadow`, a
`stamps` or a `timelimit` of the wrong type fails somewhere between the message and its task, where no task can answer
for it. Feedback needs none of them. So of what is Celery's own, only what is listed here comes through, each checked;
headers of any other name are left as they are.
"""

from __future__ import annotations

import json
import time
import uuid
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from producer.message import QUEUE, TASK
from worker.broker.payload import HANDED_OUT_AS, HELD_IN, OWN_TAG, QUEUED_IN, UNENDED, due_at
from worker.dead_letters.replays.queue import ADVANCE, REPLAYS
from worker.policy.message import POISON_MESSAGE
from worker.runtime.request import CELERYS_OWN

if TYPE_CHECKING:
    from datetime import timedelta

    from kombu.message import Message

    from worker.policy.message import PoisonMessage

__all__ = [
    "MOST_HOLDERS",
    "Content",
    "MessageParts",
    "NoTask",
    "content_of",
    "for_celery",
    "poison_for_celery",
    "problem_of",
    "unended",
    "wait_of",
]

MOST_HOLDERS: Final = 5
"""Workers that a message may outlive: one that was killed over it is bad luck, and the fifth is not."""

_TASK_OF: Final = {QUEUE: TASK, REPLAYS: ADVANCE}
"""The one task that each of our queues has."""

_PARTS: Final = 3
_LONGEST_NAME: Final = 255
_LONGEST_SHOWN: Final = 8192
"""Characters of what names a message, and of its arguments as a client would have monitors see them."""

_TEXTS: Final = {
    **dict.fromkeys(("root_id", "parent_id", "origin", "compression"), _LONGEST_NAME),
    **dict.fromkeys(("argsrepr", "kwargsrepr"), _LONGEST_SHOWN),
}
"""Celery's headers that come through if they are text, and of how many characters at most."""

_GREATEST: Final = 2**31 - 1
_LEAST_URGENT: Final = 9
_ON_TIME: Final = 0.05
"""Seconds for which waiting is not worth while."""

_OF_A_DELIVERY: Final = {"redelivered", HANDED_OUT_AS, HELD_IN, OWN_TAG, QUEUED_IN, UNENDED}
"""What differs from one delivery of a message to the next."""


class NoTask(ValueError):
    """A message is no task's: why, as text."""


class Content(NamedTuple):
    """A message's arguments, and its headers of protocol 2."""

    args: list[Any]
    kwargs: dict[str, Any]
    headers: dict[str, Any]


class MessageParts:
    """A message as it came, whatever is left of it afterwards."""

    def __init__(self, message: Message) -> None:
        self._headers, self._properties = message.headers, message.properties
        self._content = (message.content_type, message.content_encoding)
        self.body = message.body

    def as_json(self) -> bytes:
        """The whole message, but for what differs from one delivery to the next: redelivered it is the same message."""
        content_type, content_encoding = self._content
        parts = {
            "headers": _without_mark(self._headers),
            "properties": _as_sent(self._properties),
            "content-type": content_type,
            "content-encoding": content_encoding,
            "body": _text(self.body),
        }
        try:
            return json.dumps(parts, default=repr).encode()
        except (RecursionError, ValueError):  # nested deeper than Python writes
            return json.dumps({"body": parts["body"]}, default=repr).encode()


def content_of(message: Message) -> Content:
    """Return what a message carries, of either protocol; raises `NoTask` if it is no task message."""
    if not isinstance(message.headers, dict):
        raise NoTask("its headers are not an object")
    try:
        payload = message.payload
    except Exception as error:
        raise NoTask(f"its body can't be read: {error!r}") from error
    args, kwargs, embed, headers = _parts_of(payload, message.headers)
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict) or not isinstance(embed, dict | None):
        raise NoTask("its args are not a list, its kwargs not an object, or its embed neither an object nor null")
    return Content(list(args), kwargs, headers)


def _parts_of(payload: object, headers: dict[str, Any]) -> tuple[object, object, object, dict[str, Any]]:
    if "task" in headers:
        if not isinstance(payload, list | tuple) or len(payload) != _PARTS:
            raise NoTask("its body is not a list of args, kwargs and embed")
        return *payload, headers
    # Protocol 1, in which the body says it all.
    if not isinstance(payload, dict) or "task" not in payload:
        raise NoTask("it names no task")
    of_body = {name: payload.get(name) for name in ("task", "id", "retries", "eta")}
    return payload.get("args", []), payload.get("kwargs", {}), None, of_body | headers


def problem_of(message: Message, content: Content, *, horizon: timedelta) -> str:
    """Say what keeps a message from being a task of its queue, due within the horizon; '' if nothing does."""
    task, eta = content.headers["task"], content.headers.get("eta")
    if task != _TASK_OF.get(_queue_of(message), task):
        return f"there is no task {str(task)[:_LONGEST_NAME]!r} in this queue"
    if eta is None:
        return ""
    if due_at(content.headers) is None:
        return f"its eta is no time: {str(eta)[:_LONGEST_NAME]!r}"
    if wait_of(content) > horizon.total_seconds():
        return f"its eta is further ahead than FEEDBACK_RETRY_HORIZON: {str(eta)[:_LONGEST_NAME]}"
    return ""


def wait_of(content: Content) -> float:
    """Return in how many seconds a message is due; 0 if it is.

    What is in the headers the transport has seen to (`worker.broker.fetch`), but not what the body says.
    """
    due = due_at(content.headers)
    wait = 0 if due is None else due / 1000 - time.time()
    return wait if wait > _ON_TIME else 0


def unended(message: Message) -> int:
    """Return how often a message was handed out and did not come to an end: its worker died, or forgot it."""
    times = message.headers.get(UNENDED) if isinstance(message.headers, dict) else None
    return times if isinstance(times, int) else 0


def for_celery(message: Message, content: Content) -> None:
    """Leave of a message what its task needs, in the form that Celery expects."""
    headers = content.headers
    retries = headers.get("retries")
    message.headers = {
        **{
            name: value
            for name, value in headers.items()
            if name not in CELERYS_OWN or (name in _TEXTS and _word(value, _TEXTS[name]))
        },
        **(_stamps(headers) if "stamps" in headers else {}),
        "lang": "py",
        "task": headers["task"],
        "id": _word(headers.get("id"), _LONGEST_NAME) or _id_of(message),
        "retries": retries if type(retries) is int and 0 <= retries < _GREATEST else 0,
    }
    _address(message)
    message._decoded_cache = [content.args, content.kwargs, {}]  # noqa: SLF001 - Kombu reads `payload` from it; there is no public way


def poison_for_celery(message: Message, poison: PoisonMessage) -> None:
    """Make of a message that can be no task one of `feedback.deliver` that carries what it was."""
    message.headers = {
        "lang": "py",
        "task": TASK,
        "id": _id_of(message),
        "retries": 0,
        "argsrepr": "()",
        "kwargsrepr": "{}",
        POISON_MESSAGE: poison,
    }
    _address(message)
    message.body = b""
    message._decoded_cache = [[], {}, {}]  # noqa: SLF001 - Kombu reads `payload` from it; there is no public way


def _id_of(message: Message) -> str:
    return _word(str(message.delivery_tag), _LONGEST_NAME) or str(uuid.uuid4())


def _address(message: Message) -> None:
    """Leave of a message's properties those of its delivery, and its priority."""
    priority, queue = message.properties.get("priority"), _queue_of(message)
    message.delivery_info = {"exchange": "", "routing_key": queue}
    if isinstance(info := message.properties.get("delivery_info"), dict) and info.get("redelivered") is True:
        message.delivery_info["redelivered"] = True
    message.properties = {
        **{name: message.properties[name] for name in (HELD_IN, QUEUED_IN) if name in message.properties},
        "delivery_tag": message.delivery_tag,
        "delivery_info": message.delivery_info,
        "priority": priority if type(priority) is int and 0 <= priority <= _LEAST_URGENT else 0,
    }


def _queue_of(message: Message) -> str:
    return str(message.properties.get(QUEUED_IN) or QUEUE)


def _stamps(headers: dict[str, Any]) -> dict[str, Any]:
    """The stamps by which an operator may revoke it, as far as they are text."""
    names, stamps = headers.get("stamped_headers"), headers.get("stamps")
    if not isinstance(names, list) or not isinstance(stamps, dict):
        return {}
    told = {name: stamps[name] for name in names if _word(name, _LONGEST_NAME) and name in stamps}
    values = [value for stamp in told.values() for value in (stamp if isinstance(stamp, list) else [stamp])]
    fit = all(_word(value, _LONGEST_NAME) for value in values)
    return {"stamped_headers": list(told), "stamps": told} if fit and told else {}


def _word(value: object, most: int) -> str:
    """Text that can be a name in a log, in a monitor and in Redis; '' if it can't."""
    return value if isinstance(value, str) and len(value) <= most and value.isprintable() else ""


def _as_sent(properties: object) -> object:
    """With the delivery tag that the client gave it."""
    if isinstance(properties, dict) and OWN_TAG in properties:
        properties = {**properties, "delivery_tag": properties[OWN_TAG]}
    return _without_mark(properties)


def _without_mark(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {name: _without_mark(inner) for name, inner in value.items() if name not in _OF_A_DELIVERY}


def _text(body: object) -> object:
    """A body that is no text stands in base64."""
    if not isinstance(body, bytes):
        return body
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(body).decode()}
