"""Whether the broker's Redis is one that the queue is safe in."""

from __future__ import annotations

import logging
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis
from celery import bootsteps

from producer.message import QUEUE
from worker.broker.channel import default_channel
from worker.clients.redis.connections import broker_record
from worker.clients.redis.partition_record import PartitionMismatch
from worker.concurrency.at_once import ask_at_once
from worker.runtime.bootsteps import exit_with_error
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

    from worker.broker.safe_channel import SafeChannel

__all__ = ["BrokerCheck"]

log = logging.getLogger(__name__)


class BrokerCheck(bootsteps.StartStopStep):
    """Whether Redis keeps what it is given: looked at with each new connection, since Redis may have been restarted."""

    requires = ("celery.worker.consumer.connection:Connection",)
    _said = ""

    def start(self, consumer: Consumer) -> None:
        """Refuse a Redis that throws messages away, and warn of one that forgets them when it restarts."""
        _check_partitions(consumer)
        channels = default_channel(consumer.connection).channels_of(QUEUE)
        told = ask_at_once([partial(_info_of, channel) for channel in channels])
        problems = [_problem(consumer, info, is_only_one=len(channels) == 1) for info in told]
        self._warn("; ".join(dict.fromkeys(filter(None, problems))))

    def _warn(self, text: str) -> None:
        """Warn once, as long as it stays the same: a Redis that refuses is connected to every few seconds."""
        if text and text != self._said:
            log.warning("%s", text)
        self._said = text


_EVICTS: Final = (
    "Redis has maxmemory-policy {}, with which it throws queued feedback away when its memory is full: set it to "
    "noeviction (CONFIG SET maxmemory-policy noeviction, and in redis.conf)"
)
_NO_FILE: Final = (
    "Redis has no append-only file: what it holds is gone if it dies. Set appendonly yes "
    "(and appendfsync always, if not even the last second may be lost)"
)


def _info_of(channel: SafeChannel) -> dict[str, Any]:
    # Not over the channel's own connection: it may have asked for messages, and the answers would be mixed up.
    with channel.conn_or_acquire() as client:
        return dict(client.info())


def _problem(consumer: Consumer, info: dict[str, Any] | Exception, *, is_only_one: bool) -> str:
    """Return what to warn of; '' if all is well. A Redis that throws messages away ends the worker."""
    match info:
        case redis.ResponseError():
            return f"Redis does not tell whether it keeps its data (INFO: {info}): see docs/guarantees.md"
        case redis.RedisError() if not is_only_one:
            return f"a partition's server can't be asked whether it keeps its data: {info}"
        case Exception():
            raise info
        case _:
            if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
                exit_with_error(consumer, _EVICTS.format(policy))
            return "" if info.get("aof_enabled") else _NO_FILE


def _check_partitions(consumer: Consumer) -> None:
    """Refuse to start with another number of partitions than the queue was made with."""
    with closing(broker_record(container_of(consumer.app).settings)) as record:
        try:
            record.check()
        except PartitionMismatch as error:
            exit_with_error(consumer, str(error))
        except redis.ResponseError as error:
            log.warning("whether the queue has this number of partitions can't be told: %s", error)
