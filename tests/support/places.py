"""Messages put by hand where a producer, a worker, or a fault of either would have left them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from producer.message import to_message
from tests.support.dead_letter_records import an_event
from worker.clients.redis.connections import redis_client
from worker.clients.redis.partitions import Partitions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.support.processes import RedisServer

LONG_FROM_NOW = 4_102_444_800_000
"""The year 2100, in ms."""


@dataclass(frozen=True)
class Places:
    """The places of the queue `feedback` in one Redis.

    Attributes:
        client: Answers in bytes.
    """

    client: redis.Redis

    @property
    def partitions(self) -> Partitions:
        """The only partition."""
        return Partitions([self.client])

    def count(self, **counts: int) -> None:
        """Count events as having been accepted, delivered and so on; `dead_rejected` is the field `dead:rejected`."""
        for name, number in counts.items():
            by_reason = name.startswith("dead_") and name != "dead_letters_inserted"
            field = name.replace("_", ":", 1) if by_reason else name
            self.client.hincrby("feedback:counts", field, number)

    def counted(self, field: str) -> int:
        """How many were counted."""
        return int(self.client.hget("feedback:counts", field) or 0)

    def enqueue(self, number: int = 1, *, priority: int = 0, **envelope: Any) -> list[bytes]:
        """Enqueue events as a producer does: they are counted."""
        messages = [to_message(an_event(), envelope=envelope) for _ in range(number)]
        self.client.lpush(_list(priority), *messages)
        self.count(accepted=number)
        return messages

    def enqueue_foreign(self, number: int = 1, *, redelivered: bool = False) -> list[bytes]:
        """Enqueue events as another Celery client does: they are not counted, and JSON may be spelt without a space."""
        messages = [foreign_message(redelivered=redelivered) for _ in range(number)]
        self.client.lpush("feedback", *messages)
        return messages

    def schedule(self, *messages: bytes, due: int = LONG_FROM_NOW, priority: int = 0) -> None:
        """Let messages wait for their time, each a second after the one before."""
        self.client.zadd(
            f"{_list(priority)}:delayed", {message: due + 1000 * at for at, message in enumerate(messages)}
        )

    def take(
        self, message: bytes, tag: str, *, holder: str | None = None, index: bool = True, queue: str = "feedback"
    ) -> None:
        """Put a message in flight: by default with a plain Celery worker, which has no lease."""
        self.client.hset("unacked", tag, b'[%s, "", %s]' % (message, json.dumps(queue).encode()))
        if index:
            self.client.zadd("unacked_index", {tag: 1})
        if holder is not None:
            self.hold(holder, tag)

    def hold(self, holder: str, *tags: str, until: int = LONG_FROM_NOW) -> None:
        """Let a worker hold messages, or say that it does."""
        self.client.zadd("unacked_leases", {holder: until})
        if tags:
            self.client.sadd(f"unacked_held:{holder}", *tags)


def foreign_message(*, redelivered: bool = False) -> bytes:
    """A message of another Celery client: without our header, and without a space in its JSON."""
    message = json.loads(to_message(an_event()))
    del message["headers"]["feedback"]
    if redelivered:
        message["headers"]["redelivered"] = True
    return json.dumps(message, separators=(",", ":")).encode()


def request_id_of(message: bytes) -> str:
    """The request_id of an event."""
    return str(json.loads(json.loads(message)["body"])[1]["request_id"])


@contextmanager
def places_of(server: RedisServer) -> Iterator[Places]:
    """The places in a Redis."""
    client = redis_client(server.url, connections=4)
    try:
        yield Places(client)
    finally:
        client.close()


def _list(priority: int) -> str:
    return f"feedback\x06\x16{priority}" if priority else "feedback"
