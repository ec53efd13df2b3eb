"""Redelivery: a task's message is published again in place of the one in flight, as lean as its producer wrote it.

Celery's `Task.retry` writes a whole message of its own, over a connection of its own, in a thread: several times the
cost of a delivery. What it writes for canvas (callbacks, chains, groups, stamps) is left to it.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from celery import current_task
from kombu.utils.json import dumps

from worker.broker.keys import DELAYED, Keys, broker_keys
from worker.broker.payload import HELD_IN, QUEUED_IN
from worker.broker.scripts import PUBLISH
from worker.broker.set_aside import moment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from celery.app.task import Context

    from worker.broker.lease_state import SharedLeaseState
    from worker.clients.redis.batching import ScriptBatcher
    from worker.clients.redis.scripts import RunsScripts

__all__ = ["Redelivery", "Republished", "is_in_flight", "is_plain", "publish_instead", "republished"]

log = logging.getLogger(__name__)

_CANVAS: Final = frozenset(
    {
        *("callbacks", "errbacks", "chain", "chord", "group", "shadow"),
        *("expires", "stamped_headers", "stamps", "replaced_task_nesting"),
    }
)
"""What a plain message has none of."""

_KEPT: Final = ("origin", "root_id", "parent_id")
"""Celery's headers that go along, if a message has them."""

_COMPACT: Final = (",", ":")


def is_plain(request: Context) -> bool:
    """Return whether a message asks for nothing but to run its task: no callbacks, chains, groups, limits or stamps."""
    told = vars(request)
    return (_CANVAS.isdisjoint(told) or not any(map(told.get, _CANVAS))) and not any(told.get("timelimit") or ())


def is_in_flight(request: Context) -> bool:
    """Return whether a message came over this transport, which says of each which queue it was taken from."""
    return isinstance(request.properties, dict) and bool(request.properties.get(QUEUED_IN))


class Republished(NamedTuple):
    """A message in flight: its delivery tag, and the set of what its holder holds; each '' if there is none."""

    tag: str = ""
    held_in: str = ""


_NONE: Final = Republished()


def republished(headers: object) -> Republished:
    """Return the message in flight that a published message goes on for.

    It is one that a task publishes about itself to be tried again (`celery.app.task.Task.retry`): the same id, one
    retry more. If the task acknowledges late, its own message is still in flight, and ends in the moment in which the
    new one is there: not before, or a crash would lose it, and not after, or a crash would double it.
    """
    if not isinstance(headers, dict) or "id" not in headers or "task" not in headers:
        return _NONE
    if not current_task or not current_task.acks_late or current_task.name != headers["task"]:
        return _NONE
    request = current_task.request
    if request.called_directly or request.is_eager or request.id != headers["id"]:
        return _NONE
    if headers.get("retries") != (request.retries or 0) + 1:
        return _NONE
    properties = request.properties
    tag = properties.get("delivery_tag") if isinstance(properties, dict) else None
    return Republished(tag, str(properties.get(HELD_IN, ""))) if isinstance(tag, str) else _NONE


def publish_instead(
    client: RunsScripts, keys: Keys, name: str, message: str, *, due: int | None, instead_of: Republished
) -> bool:
    """Publish a message in one step with the end of the one in flight, if it takes over from one.

    Args:
        client: Runs scripts in the broker's Redis.
        keys: The broker's keys.
        name: The list, with its prefix.
        message: The message.
        due: When it is handed out, in ms since 1970; None at the end of its list.
        instead_of: The message in flight.

    Returns:
        Whether it was published. If not, the lease on the one in flight had ended, and another worker has it.

    Raises:
        redis.RedisError: Redis is unavailable; the message in flight is still there.
    """
    places = [name, name + DELAYED, keys.unacked, keys.index, instead_of.held_in or keys.unacked]
    published = bool(PUBLISH(client, places, [message, "" if due is None else due, instead_of.tag]))
    if not published:
        log.warning("a task is not published again: its lease ended, and another worker has its message")
    return published


class Redelivery:
    """Publishes messages again, each in one step with the end of the one in flight.

    Args:
        scripts_at: Returns what runs scripts where a message lies, by the key of the set of what its holder holds.
        shared: Is told of each message in flight that ends so.
    """

    def __init__(self, scripts_at: Callable[[str], ScriptBatcher], shared: SharedLeaseState) -> None:
        self._scripts_at = scripts_at
        self._shared = shared

    def publish(
        self, request: Context, headers: Mapping[str, Any], *, due: datetime | None, set_aside: str = ""
    ) -> None:
        """Publish the message of a plain request again, with one retry more.

        Args:
            request: What Celery tells the task of its message.
            headers: The message's headers beside Celery's own.
            due: When it is handed out next; None at the end of its queue.
            set_aside: The name under which it waits instead (`worker.broker.set_aside`); '' under none.

        Raises:
            redis.RedisError: Redis is unavailable; the message in flight is still there.
        """
        if set_aside:
            due = None
        properties = request.properties
        queue, tag, held_in = (str(properties.get(name) or "") for name in (QUEUED_IN, "delivery_tag", HELD_IN))
        priority = properties.get("priority")
        scripts = self._scripts_at(held_in)
        keys = broker_keys(scripts)
        name = keys.list_of(queue, priority)
        message = dumps(_message(request, headers, queue=queue, priority=priority, due=due), separators=_COMPACT)
        if set_aside:
            moment: int | None = moment_of(set_aside)
        else:
            moment = None if due is None else round(due.timestamp() * 1000)
        instead_of = Republished(tag, held_in)
        if publish_instead(scripts, keys, name, message, due=moment, instead_of=instead_of) and held_in:
            self._shared.add_settled(tag)


def _message(
    request: Context, headers: Mapping[str, Any], *, queue: str, priority: object, due: datetime | None
) -> dict[str, Any]:
    """Return the message, as `producer.message` describes it."""
    told = vars(request)
    return {
        "body": dumps([request.args, request.kwargs, {}], separators=_COMPACT),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "task": told["task"],
            "id": request.id,
            **{name: told[name] for name in _KEPT if told.get(name)},
            "retries": (request.retries or 0) + 1,
            **({} if due is None else {"eta": due.isoformat()}),
            "ignore_result": True,
            **headers,
        },
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": queue},
            "delivery_tag": secrets.token_urlsafe(12),
            **({"priority": priority} if priority else {}),
        },
    }
