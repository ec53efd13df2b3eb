"""Messages put by hand into the partitions of a queue, as producers, workers and their faults leave them."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from producer.message import QUEUE, to_message
from tests.support.dead_letter_records import an_event
from tests.support.places import LONG_FROM_NOW
from worker.broker.keys import broker_keys
from worker.clients.redis.connections import redis_partitions
from worker.clients.redis.keys import CountField, feedback_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from worker.clients.redis.partitions import Partitions

__all__ = ["count", "enqueue", "enqueue_in", "message_of", "opened", "request_id_of_partition", "request_ids", "take"]


@contextmanager
def opened(url: str, number: int | None = None, **options: Any) -> Iterator[Partitions]:
    """The clients of so many partitions."""
    with closing(redis_partitions(url, partitions=number, connections=4, **options)) as partitions:
        yield partitions


def message_of(request_id: str = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", **envelope: Any) -> bytes:
    """A producer's message of an event."""
    return to_message(replace(an_event(), request_id=request_id), envelope=envelope)


def request_id_of_partition(partitions: Partitions, number: int) -> str:
    """A request_id whose events belong to a partition."""
    return next(name for name in request_ids(10_000) if partitions.number_of(name) == number)


def request_ids(number: int) -> list[str]:
    """So many, which are the same each time."""
    return [str(UUID(int=at)) for at in range(number)]


def enqueue(partitions: Partitions, *request_ids: str) -> None:
    """Enqueue an event of each, in its partition."""
    for name in request_ids:
        enqueue_in(partitions.of(name), message_of(name))


def enqueue_in(client: redis.Redis, *messages: bytes) -> None:
    """Enqueue messages in a partition, and count them."""
    client.lpush(broker_keys(client).lists(QUEUE)[0], *messages)
    count(client, accepted=len(messages))


def count(client: redis.Redis, **counts: int) -> None:
    """Count messages of a partition."""
    for name, number in counts.items():
        client.hincrby(feedback_keys(client).counts, CountField(name), number)


def take(client: redis.Redis, holder: str, *tags: str, until: int = LONG_FROM_NOW) -> None:
    """Let a worker take the last messages of a partition's list, under a lease; without any it only has the lease."""
    keys = broker_keys(client)
    client.zadd(keys.leases, {holder: until})
    for tag in tags:
        message = client.rpop(keys.lists(QUEUE)[0])
        assert isinstance(message, bytes)
        client.hset(keys.unacked, tag, b'[%s, "", %s]' % (message, json.dumps(QUEUE).encode()))
        client.zadd(keys.index, {tag: 1})
        client.sadd(f"{keys.held_prefix}{holder}", tag)
