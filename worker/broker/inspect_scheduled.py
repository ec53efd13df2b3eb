"""``celery inspect scheduled``: what waits in Redis, where plain Celery shows what waits in the worker's memory."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from celery.worker import control
from redis import RedisError

from worker.broker.keys import DELAYED
from worker.broker.payload import to_payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.utils.collections import AttributeDict

    from worker.broker.safe_channel import SafeChannel

__all__ = ["scheduled"]

log = logging.getLogger(__name__)

_SHOWN: Final = 1000
"""The next so many of each list: a list of a million is of no use."""

_PRIORITY: Final = 6
"""The priority at which Celery's timer starts a task when it is due."""

_in_memory = control.scheduled


@control.inspect_command(name="scheduled", alias="dump_schedule")
def scheduled(state: AttributeDict) -> list[dict[str, Any]]:
    """List of currently scheduled ETA/countdown tasks."""
    listed: list[dict[str, Any]] = _in_memory(state)
    consumer = state.consumer.task_consumer
    if consumer is not None and hasattr(consumer.channel, "keys"):
        try:
            listed += [
                entry
                for queue in consumer.queues
                for channel in consumer.channel.channels_of(queue.name)
                for entry in _waiting(channel, queue.name, state.hostname)
            ]
        except RedisError as error:
            log.warning("what waits in Redis can't be listed: %s", error)
    return listed


def _waiting(channel: SafeChannel, queue: str, hostname: str) -> Iterator[dict[str, Any]]:
    with channel.scripting() as client:
        for name in channel.keys.lists(queue):
            for entry, due in client.zrange(name + DELAYED, 0, _SHOWN - 1, withscores=True):
                payload = to_payload(entry, tag="", queue=queue)
                headers = payload["headers"]
                if "id" in headers:
                    eta = headers.get("eta") or datetime.fromtimestamp(due / 1000, UTC).isoformat()
                    yield {"eta": eta, "priority": _PRIORITY, "request": _request(channel, payload, hostname)}


def _request(channel: SafeChannel, payload: dict[str, Any], hostname: str) -> dict[str, Any]:
    """What Celery tells of a request (`celery.worker.request.Request.info`)."""
    headers = payload["headers"]
    message = channel.Message(payload, channel=channel)
    info = message.delivery_info
    try:
        args, kwargs, _ = message.decode()
    except Exception:  # noqa: BLE001 - a decoder may raise anything over an invalid body
        args, kwargs = headers.get("argsrepr"), headers.get("kwargsrepr")
    return {
        "id": headers["id"],
        "name": headers.get("task"),
        "args": args,
        "kwargs": kwargs,
        "type": headers.get("task"),
        "hostname": hostname,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {
            "exchange": info.get("exchange"),
            "routing_key": info.get("routing_key"),
            "priority": message.properties.get("priority"),
            "redelivered": info.get("redelivered", False),
        },
        "worker_pid": None,
    }
