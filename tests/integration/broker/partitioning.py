"""A queue in several partitions on one Redis: the transport's options, and what lies where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from producer.message import QUEUE
from producer.partitions import tags
from tests.integration.broker.consumers import Worker, spread
from tests.integration.broker.places import lists_of
from worker.broker.keys import KEYS, broker_keys
from worker.clients.redis.keys import CountField, feedback_keys

if TYPE_CHECKING:
    from tests.support.processes import RedisServer
    from worker.clients.redis.partitions import Partitions

__all__ = ["FEW", "MANY", "counted", "end", "in_flight", "lies_in", "options", "request_id", "waiting"]

FEW: Final = 4
MANY: Final = 16


def options(server: RedisServer, partitions: int, **more: Any) -> dict[str, Any]:
    """The transport's options, as a worker of ours has them."""
    return spread(server, partitions) | {"counts": KEYS.counts, "holds": KEYS.holds, "lease": 60.0} | more


def lies_in(partitions: Partitions) -> list[int]:
    """How many messages wait in each partition."""
    return [
        sum(client.llen(name) + client.zcard(f"{name}:delayed") for name in lists_of(QUEUE, prefix=prefix))
        for client, prefix in zip(partitions, tags(len(partitions)), strict=True)
    ]


def in_flight(partitions: Partitions) -> list[int]:
    """How many are in flight in each partition."""
    return [client.hlen(broker_keys(client).unacked) for client in partitions]


def waiting(partitions: Partitions) -> list[list[Any]]:
    """What waits in each partition, the newest first."""
    return [client.lrange(broker_keys(client).lists(QUEUE)[0], 0, -1) for client in partitions]


def counted(partitions: Partitions, field: CountField) -> list[int]:
    """How many of a kind were counted in each partition."""
    return [int(client.hget(feedback_keys(client).counts, field) or 0) for client in partitions]


def end(worker: Worker, message: Any) -> None:
    """Count a message as delivered."""
    worker.channel.qos.ack(message.delivery_tag, CountField.DELIVERED)


def request_id(message: Any) -> str:
    """That of a message's event."""
    return str(message.payload[1]["request_id"])
