"""Channels for a queue of several partitions: one of the event loop's, and beneath it one for each partition.

The channel that Celery knows has what there is once: its own queues, remote control, events, and the prefetch credit.
A queue that is counted lies in all partitions. Each has a channel beneath, which fetches from it under leases of its
own; what it fetches is delivered, and acknowledged, through the channel above.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import redis
from kombu.transport.virtual.base import queue_declare_ok_t
from kombu.utils.json import dumps

from producer.partitions import partition_of
from worker.broker.event_id import request_id_of
from worker.broker.fetch import LAST_ANSWER
from worker.broker.fetched import Fetched
from worker.broker.gatherer import Gatherer
from worker.broker.link import LISTENING, WAITING, Link
from worker.broker.partition_channel import LONGEST_ANSWER, PartitionChannel, impatient, unchecked
from worker.broker.payload import HELD_IN
from worker.broker.redelivery import republished
from worker.broker.safe_channel import SafeChannel
from worker.concurrency.at_once import ask_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from kombu.transport import virtual

    from worker.broker.fetched import Fetched
    from worker.broker.lease import Lease
    from worker.broker.qos import QoS
    from worker.clients.redis.connections import PartitionAddress

__all__ = ["PartitionedChannel"]

log = logging.getLogger(__name__)

_RESERVED: Final = 0.25
"""Seconds for which the credit is kept back that an unanswered partition was asked to use: a server that has not
answered by then shall not keep the others from it."""

_HOME: Final = 0
"""The number of the first partition, whose server has what there is once."""

_BINDINGS_EVERY: Final = 15.0
"""Seconds between two looks whether Kombu has bindings to refresh, which it does more seldom."""

_FIRST_LISTENING: Final = 1.0
"""Seconds that a consumer of broadcasts waits, as it starts, for the server that they come from."""

_SERVERS_TRIED: Final = 2
"""Servers by which something is told to everyone, before it is tried in Kombu's way."""


class PartitionedChannel(SafeChannel):
    """The channel that Celery knows, with a channel beneath it for each partition, if there are several."""

    partitions: Sequence[PartitionAddress] = ()
    """What stands before the keys of each partition, and what finds its server; empty if there is only one."""
    partition_class: ClassVar[type[PartitionChannel]] = PartitionChannel

    telemetry: Collection[str] = ()
    """Exchanges of whose broadcasts none is worth waiting for, where there are several partitions."""

    from_transport_options: ClassVar[tuple[str, ...]] = (*SafeChannel.from_transport_options, "partitions", "telemetry")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._beneath: tuple[PartitionChannel, ...] = ()
        self._aside = {"restore": threading.Lock(), "refresh bindings": threading.Lock()}
        self._bindings_looked_at = float("-inf")
        super().__init__(*args, **kwargs)
        self.links: dict[str, Link] = {}
        """Those of its own connections, by what they are for."""
        self.is_above_partitions = bool(self.partitions)
        if self.partitions:
            self.overdue_after = LONGEST_ANSWER

    @cached_property
    def common_gatherer(self) -> Gatherer:
        """What ends messages in all partitions."""
        return Gatherer(self.connection.wake)

    @property
    def acknowledges_itself(self) -> set[str]:
        """The queues whose messages end as they are handed over."""
        return self._no_ack

    @property
    def beneath(self) -> tuple[PartitionChannel, ...]:
        """The channels of the partitions; made when first needed."""
        if self.partitions and not self._beneath and not self.closed:
            self.connection.activity.partitions = len(self.partitions)
            self._beneath = tuple(
                self.partition_class(self, number, address) for number, address in enumerate(self.partitions)
            )
        return self._beneath

    def channels_of(self, queue: str) -> tuple[SafeChannel, ...]:
        """Return the channels that fetch from a queue: those of the partitions if it lies in all of them."""
        return self.beneath if self.is_spread(queue) else (self,)

    @property
    def everywhere(self) -> tuple[SafeChannel, ...]:
        """Itself, and the channels of all partitions."""
        return (self, *self.beneath)

    def link_of(self, kind: str) -> Link | None:
        """Return what keeps one of its connections open; None if there is one partition, whose loss is Celery's."""
        if not self.partitions:
            return None
        if kind not in self.links:
            client: Any = self.client if kind == WAITING else self.subclient
            name = "what there is once for all partitions" if kind == WAITING else "remote control"
            losses = partial(self.connection.activity.partitions_lost.__getitem__, _HOME)
            self.links[kind] = Link(client, name=name, opened=self.connection.wake, losses=losses)
        return self.links[kind]

    def _make_waiting_client(self) -> redis.Redis:
        client = super()._make_waiting_client()
        return unchecked(client) if self.partitions else client

    @cached_property
    def subclient(self) -> Any:  # noqa: ANN401 - redis-py's publish and subscribe, as Kombu prefixes it
        """The connection that listens to what everyone is told."""
        client: Any = super().subclient  # type: ignore[misc]  # Kombu's
        if self.partitions:
            client._reconnect = lambda *_, **__: None  # noqa: SLF001 - the link connects; redis-py would, in the event loop
        return client

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> None:
        """Consume from a queue. A consumer of broadcasts has asked for them when this returns.

        Unless their server is away: it is waited for a second, in which nothing is delivered, and asked later.
        """
        super().basic_consume(queue, no_ack, *args, **kwargs)
        if self.partitions and queue in self.active_fanout_queues:  # type: ignore[attr-defined]  # Kombu's
            self.connection.cycle.listen(self, within=_FIRST_LISTENING)

    def _heard(self) -> None:
        super()._heard()
        if WAITING in self.links:
            self.links[WAITING].works()

    def _receive(self) -> bool:
        received = super()._receive()
        if LISTENING in self.links:
            self.links[LISTENING].works()
        return received

    def _credit(self) -> int:
        free = super()._credit()
        return self.unasked(free) if self.partitions else free

    def unasked(self, free: int) -> int:
        """Return how much of the free credit no channel was asked to use, and may be used by one more.

        What a server was asked for and has not answered for long is lent to another one, once: so there may be twice as
        much in flight as the prefetch count says, and one message for each partition beyond that, where servers are
        slow; no more than one message where a program wants one at a time.
        """
        fresh = late = 0
        for channel in self.everywhere:
            asked, waited = channel.asked_for
            if waited < _RESERVED:
                fresh += asked
            else:
                late += asked
        if self.takes_one:
            return free - fresh - max(late - 1, 0)
        return max(free - fresh - max(late - int(self.qos.prefetch_count), 0), int(free > fresh))

    def is_spread(self, queue: str) -> bool:
        """Whether a queue lies in all partitions."""
        return bool(self.partitions) and queue in self.counts

    @property
    def consumed_queues(self) -> list[str]:
        """The queues that are consumed from, by this channel or those beneath it."""
        return list(super().active_queues)

    @property
    def active_queues(self) -> list[str]:  # type: ignore[override]  # likewise
        """The queues that it fetches from itself."""
        return [queue for queue in super().active_queues if not self.is_spread(queue)]

    def _update_queue_cycle(self) -> None:
        super()._update_queue_cycle()
        spread = [queue for queue in self.consumed_queues if self.is_spread(queue)]
        if spread or self._beneath:
            for channel in self.beneath:
                channel.follow(spread)

    @property
    def holders(self) -> list[Lease]:
        """All leases with messages of this channel, in all partitions."""
        return [*super().holders, *(lease for channel in self._beneath for lease in channel.holders)]

    def holder_of(self, tag: str) -> Lease:
        """The lease on a message that this channel has in flight."""
        for channel in self._beneath:
            current = channel.current_holder
            if current is not None and tag in current:
                return current
        for lease in self.holders:
            if tag in lease:
                return lease
        at = self._partition_at(held_in_of(self.qos, tag))
        return super().holder_of(tag) if at is None else at.holder_of(tag)  # it has ended before

    def _partition_at(self, key: str) -> PartitionChannel | None:
        """The partition that a key lies in."""
        return next((channel for channel in self._beneath if key.startswith(channel.global_keyprefix)), None)

    def _partition_for(self, queue: str, message: dict[str, Any]) -> PartitionChannel | None:
        """The partition that a message belongs to: that of the one that it takes over from, or its event's.

        What is no event goes to the first one.
        """
        if not self.is_spread(queue):
            return None
        beneath = self.beneath
        if taken_over := self._partition_at(republished(message.get("headers")).held_in):
            return taken_over
        request_id = request_id_of(message)
        return beneath[partition_of(request_id, len(beneath)) if request_id else _HOME]

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        partition = self._partition_for(queue, message)
        if partition is None:
            super()._put(queue, message, **kwargs)
        else:
            kwargs.pop("_publish_batch", None)  # a batch is of one server
            partition._put(queue, message, **kwargs)  # noqa: SLF001 - a channel of this module

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **kwargs: Any) -> None:
        """Tell everyone, by the server that answered last: in a cluster any of them reaches all."""
        latest = self.connection.activity.latest_partitions() if self.partitions else []
        for number in latest[:_SERVERS_TRIED]:
            with suppress(*self.connection_errors):
                client = self.Client(connection_pool=self.beneath[number].broadcasting_pool())
                for topic in self._get_publish_topics(exchange, routing_key):  # type: ignore[attr-defined]  # Kombu's
                    client.publish(topic, dumps(message))
                return
        if self.partitions and exchange in self.telemetry and self.connection.activity.queues:
            return  # Kombu would wait until the first partition's server is there, in the event loop
        super()._put_fanout(  # type: ignore[misc]  # Kombu's
            exchange, message, routing_key, **kwargs
        )

    def _get_one(self, queue: str, *, no_ack: bool) -> Iterator[Fetched]:
        if not self.is_spread(queue):
            yield from super()._get_one(queue, no_ack=no_ack)
            return
        for channel in self.beneath:
            yield from channel._get_one(queue, no_ack=no_ack)  # noqa: SLF001 - a channel of this module

    def _size(self, queue: str) -> int:
        if self.is_spread(queue):
            return sum(channel._size(queue) for channel in self.beneath)  # noqa: SLF001 - a channel of this module
        return super()._size(queue)

    def _purge(self, queue: str) -> int:
        if self.is_spread(queue):
            return sum(channel._purge(queue) for channel in self.beneath)  # noqa: SLF001 - a channel of this module
        return super()._purge(queue)

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> queue_declare_ok_t:
        """Declare a queue. One that is spread can be declared while servers of it are away: theirs is not counted."""
        if queue is None or passive or not self.is_spread(queue):
            return cast("queue_declare_ok_t", super().queue_declare(queue, passive, **kwargs))
        self._new_queue(queue, **kwargs)
        found = ask_at_once([partial(channel._size, queue) for channel in self.beneath])  # noqa: SLF001 - a channel of this module
        sizes = [size for size in found if not isinstance(size, Exception)]
        if not sizes and isinstance(found[0], Exception):
            raise found[0]
        return queue_declare_ok_t(queue, sum(sizes), 0)

    def restore_everywhere(self) -> None:
        """Return what plain Celery workers left in flight, in a thread: no server that is away holds others up."""
        self._do_aside("restore", self._restore_everywhere)

    def _restore_everywhere(self) -> None:
        for channel in self.everywhere:
            with suppress(redis.RedisError):
                self.qos.restore_visible_in(channel)

    def maybe_refresh_binding_expiry(self) -> None:
        """Keep the bindings of its own queues alive; where there are several partitions in a thread likewise."""
        if not self.partitions:
            super().maybe_refresh_binding_expiry()
        elif self._expires and time.monotonic() - self._bindings_looked_at > _BINDINGS_EVERY:
            self._bindings_looked_at = time.monotonic()
            self._do_aside("refresh bindings", super().maybe_refresh_binding_expiry)

    def _do_aside(self, name: str, work: Callable[[], object]) -> None:
        """Do something in a thread, unless it is still being done."""
        if self._aside[name].acquire(blocking=False):
            threading.Thread(target=self._do_and_release, args=(name, work), name=name, daemon=True).start()

    def _do_and_release(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except redis.RedisError as error:
            log.debug("%s: later, as a server is away: %s", name, error)
        except Exception:
            if not self._closing:  # else it was cut short
                log.exception("a fault of ours: %s", name)
        finally:
            self._aside[name].release()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        params = super()._connparams(asynchronous)
        return impatient(params) if self.partitions else params

    def let_go(self, keep: Collection[str]) -> None:
        """Return what is in flight to the heads of its queues; see `SafeChannel.let_go`."""
        self._finish_asking_beneath()
        super().let_go(keep)

    def _finish_asking_beneath(self) -> None:
        """Read the replies that are under way; all together they are waited for as long as one."""
        deadline = time.monotonic() + LAST_ANSWER
        for channel in self._beneath:
            channel.finish_asking(within=max(deadline - time.monotonic(), 0))

    def _after_fork(self) -> None:
        self._aside = {name: threading.Lock() for name in self._aside}
        super()._after_fork()
        self.__dict__.pop("common_gatherer", None)
        for link in self.links.values():
            link.forget()

    def close(self) -> None:
        """Close it, and the channels of the partitions."""
        if not self.closed:
            self._finish_asking_beneath()
        for link in self.links.values():
            link.close()
        super().close()
        if "common_gatherer" in self.__dict__:
            self.common_gatherer.close()
        for channel in self._beneath:
            channel.close()
        self._beneath = ()


def held_in_of(qos: QoS, tag: str) -> str:
    """Return the key of the set of what a message's holder holds, as the message says; '' if it is not known."""
    message: virtual.Message | None = qos._delivered.get(tag)  # noqa: SLF001 - Kombu has no public way
    return str(message.properties.get(HELD_IN, "")) if message is not None else ""
