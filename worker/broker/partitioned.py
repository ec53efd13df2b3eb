"""Channels for a queue of several partitions: one of the event loop's, and beneath it one for each partition.

The channel that Celery knows has what there is once: its own queues, remote control, events, and the prefetch credit.
A queue that is counted lies in all partitions. Each has a channel beneath, which fetches from it under leases of its
own; what it fetches is delivered, and acknowledged, through the channel above.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from kombu.utils.json import dumps

from producer.partitions import partition_of
from worker.broker.event_id import request_id_of
from worker.broker.link import Link
from worker.broker.payload import HELD_IN
from worker.broker.redelivery import republished
from worker.broker.safe_channel import SafeChannel

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import redis
    from kombu.transport import virtual

    from worker.broker.fetch import Fetched
    from worker.broker.lease import Lease
    from worker.broker.qos import QoS
    from worker.clients.redis.connections import PartitionAddress

__all__ = ["PartitionChannel", "PartitionedChannel"]

_RESERVED: Final = 0.25
"""Seconds for which the credit is kept back that an unanswered partition was asked to use: a server that has not
answered by then shall not keep the others from it."""

_LONGEST_ANSWER: Final = 2.0
"""Seconds that a server is waited for where others could go on, instead of the transport's own."""

_LONGEST_BROADCAST: Final = 0.5
"""Seconds in which a server must have taken what everyone is told; another one takes it too."""

_SILENT: Final = 0.5
"""Seconds without a reply to a delivery's script after which nothing more is fetched from that server."""

_PART_FOR_A_LOOK: Final = 4
"""A partition that may be empty is asked for a quarter of the credit, so that others can be asked at the same time."""

_SERVERS_TRIED: Final = 2
"""Servers by which something is told to everyone, before it is tried in Kombu's way."""

_TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout")
_WAITING: Final = "BRPOP"
"""Kombu's name for the connection that waits for messages."""


class PartitionChannel(SafeChannel):
    """The channel of one partition: it fetches for the channel above, whose credit it takes.

    Args:
        above: The channel that Celery knows.
        number: The partition's number.
        address: What stands before its keys, and what finds its server.
    """

    from_transport_options: ClassVar[tuple[str, ...]] = tuple(
        name for name in SafeChannel.from_transport_options if name != "global_keyprefix"
    )
    overdue_after = _LONGEST_ANSWER

    def __init__(self, above: PartitionedChannel, number: int, address: PartitionAddress) -> None:
        self.above = above
        self.number = number
        self.global_keyprefix = address.prefix
        self.master = address.master
        self._followed: list[str] = []
        self._broadcasting: tuple[redis.ConnectionPool, int] | None = None
        super().__init__(above.connection)
        self._no_ack = above.acknowledges_itself
        name = f"partition {number:02d} of the queue"
        lost = partial(above.connection.activity.lost, number)
        self.link: Link = Link(self.client, name=name, opened=above.connection.wake, lost=lost)

    def link_of(self, kind: str) -> Link:  # noqa: ARG002 - it only has one
        """Return what keeps its connection open."""
        return self.link

    @property
    def qos(self) -> QoS:
        """That of the channel above: one prefetch credit for all partitions."""
        return cast("QoS", self.above.qos)

    @property
    def active_queues(self) -> list[str]:  # type: ignore[override]  # its stub says a set, which Kombu no longer returns
        """The queues that it fetches from."""
        return self._followed

    def follow(self, queues: list[str]) -> None:
        """Fetch from these queues."""
        self._followed = queues
        self._update_queue_cycle()

    @cached_property
    def client(self) -> redis.Redis:
        """The connection that waits for messages. Kombu's constructor asks on it; it is not opened for that."""
        client = self._make_waiting_client()
        client.ping = lambda **_: True  # type: ignore[method-assign]  # the link connects, once there is something to fetch
        return client

    @property
    def asked_for(self) -> int:
        """How many messages its server was asked for that may come at any moment."""
        if not self._awaits_answer or self._brpop_sent_at is None:
            return 0
        return self._credit_asked if time.monotonic() - self._brpop_sent_at < _RESERVED else 0

    def _credit(self) -> int:
        """Its share: what others were asked for is theirs. A look that may find nothing takes a part of the rest."""
        if self.above.shared_leases and self.above.shared_leases.silent_for(self.global_keyprefix) > _SILENT:
            return 0  # what was fetched would only wait for a server that is away, and take the others' credit
        free = super()._credit() - sum(channel.asked_for for channel in self.above.beneath)
        return free // _PART_FOR_A_LOOK if self._watch and free >= _PART_FOR_A_LOOK else free

    def _heard(self) -> None:
        self.connection.activity.answered(self.number)
        self.link.works()

    def broadcasting_pool(self) -> redis.ConnectionPool:
        """Return connections on which everyone is told something; the thread that delivers waits on none for long."""
        losses = self.connection.activity.partitions_lost[self.number]
        if self._broadcasting is None or self._broadcasting[1] != losses:
            self._end_broadcasting()
            pool = self._get_pool()
            pool.connection_kwargs |= dict.fromkeys(_TIMEOUTS, _LONGEST_BROADCAST)
            self._broadcasting = pool, losses
        return self._broadcasting[0]

    def _end_broadcasting(self) -> None:
        broadcasting, self._broadcasting = self._broadcasting, None
        if broadcasting is not None:
            broadcasting[0].disconnect()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        return impatient(super()._connparams(asynchronous))

    def _disconnect_pools(self) -> None:
        self._end_broadcasting()
        super()._disconnect_pools()

    def close(self) -> None:
        """Close it; what it holds is the business of the channel above."""
        self.link.close()
        super().close()


class PartitionedChannel(SafeChannel):
    """The channel that Celery knows, with a channel beneath it for each partition, if there are several."""

    partitions: Sequence[PartitionAddress] = ()
    """What stands before the keys of each partition, and what finds its server; empty if there is only one."""
    partition_class: ClassVar[type[PartitionChannel]] = PartitionChannel

    from_transport_options: ClassVar[tuple[str, ...]] = (*SafeChannel.from_transport_options, "partitions")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._beneath: tuple[PartitionChannel, ...] = ()
        self._restoring = threading.Lock()
        super().__init__(*args, **kwargs)
        self.links: dict[str, Link] = {}
        """Those of its own connections, by what they are for."""
        self.is_above_partitions = bool(self.partitions)
        if self.partitions:
            self.overdue_after = _LONGEST_ANSWER

    @property
    def acknowledges_itself(self) -> set[str]:
        """The queues whose messages end as they are handed over."""
        return self._no_ack

    @property
    def beneath(self) -> tuple[PartitionChannel, ...]:
        """The channels of the partitions; made when first needed."""
        if self.partitions and not self._beneath and not self.closed:
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
            client: Any = self.client if kind == _WAITING else self.subclient
            name = "what there is once for all partitions" if kind == _WAITING else "remote control"
            self.links[kind] = Link(client, name=name, opened=self.connection.wake)
        return self.links[kind]

    @cached_property
    def subclient(self) -> Any:  # noqa: ANN401 - redis-py's publish and subscribe, as Kombu prefixes it
        """The connection that listens to what everyone is told."""
        client: Any = super().subclient  # type: ignore[misc]  # Kombu's
        if self.partitions:
            client._reconnect = lambda *_: None  # noqa: SLF001 - the link connects; redis-py would, in the event loop
        return client

    def is_spread(self, queue: str) -> bool:
        """Whether a queue lies in all partitions."""
        return bool(self.partitions) and queue in self.counts

    @property
    def consumed_queues(self) -> list[str]:
        """The queues that are consumed from, whoever fetches."""
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
        """The partition that a message belongs to: that of the one that it takes over from, or its event's."""
        if not self.is_spread(queue):
            return None
        beneath = self.beneath
        return (
            self._partition_at(republished(message.get("headers")).held_in)
            or beneath[partition_of(request_id_of(message), len(beneath))]
        )

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
        super()._put_fanout(  # type: ignore[misc]  # Kombu's
            exchange, message, routing_key, **kwargs
        )

    def _get_one(self, queue: str, *, no_ack: bool) -> Iterator[Fetched]:
        for channel in self.beneath if self.is_spread(queue) else ():
            yield from channel._get_one(queue, no_ack=no_ack)  # noqa: SLF001 - a channel of this module
        if not self.is_spread(queue):
            yield from super()._get_one(queue, no_ack=no_ack)

    def _size(self, queue: str) -> int:
        if self.is_spread(queue):
            return sum(channel._size(queue) for channel in self.beneath)  # noqa: SLF001 - a channel of this module
        return super()._size(queue)

    def _purge(self, queue: str) -> int:
        if self.is_spread(queue):
            return sum(channel._purge(queue) for channel in self.beneath)  # noqa: SLF001 - a channel of this module
        return super()._purge(queue)

    def restore_everywhere(self) -> None:
        """Return what plain Celery workers left in flight, in a thread: no server that is away holds others up."""
        if self._restoring.acquire(blocking=False):
            threading.Thread(target=self._restore_everywhere, name="restore", daemon=True).start()

    def _restore_everywhere(self) -> None:
        try:
            for channel in self.everywhere:
                with suppress(*self.connection_errors):
                    self.qos.restore_visible_in(channel)
        finally:
            self._restoring.release()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        params = super()._connparams(asynchronous)
        return impatient(params) if self.partitions else params

    def let_go(self, keep: Collection[str]) -> None:
        """Return what is in flight to the heads of its queues; see `SafeChannel.let_go`."""
        for channel in self._beneath:
            channel.finish_asking()
        super().let_go(keep)

    def close(self) -> None:
        """Close it, and the channels of the partitions."""
        if not self.closed:
            for channel in self._beneath:
                channel.finish_asking()
        for link in self.links.values():
            link.close()
        super().close()
        for channel in self._beneath:
            channel.close()
        self._beneath = ()


def impatient(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of connections, with less patience: others can go on meanwhile."""
    limited = {name: min(params.get(name) or _LONGEST_ANSWER, _LONGEST_ANSWER) for name in _TIMEOUTS if name in params}
    return params | limited


def held_in_of(qos: QoS, tag: str) -> str:
    """Return the key of the set of what a message's holder holds, as the message says; '' if it is not known."""
    message: virtual.Message | None = qos._delivered.get(tag)  # noqa: SLF001 - Kombu has no public way
    return str(message.properties.get(HELD_IN, "")) if message is not None else ""
