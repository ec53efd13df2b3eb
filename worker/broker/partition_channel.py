"""The channel of one partition, beneath the channel that Celery knows."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from worker.broker.link import Link
from worker.broker.safe_channel import SafeChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from worker.broker.gatherer import Gatherer
    from worker.broker.partitioned import PartitionedChannel
    from worker.broker.qos import QoS
    from worker.clients.redis.connections import PartitionAddress

__all__ = ["LONGEST_ANSWER", "PartitionChannel", "impatient", "unchecked"]

LONGEST_ANSWER: Final = 2.0
"""Seconds that a server is waited for where others could go on, instead of the transport's own."""

_LONGEST_BROADCAST: Final = 0.5
"""Seconds in which a server must have taken what everyone is told; another one takes it too."""

_SILENT: Final = 0.5
"""Seconds without a reply to a delivery's script after which nothing more is fetched from that server."""

_PART_FOR_A_LOOK: Final = 4
"""A partition that may be empty is asked for a quarter of the credit, so that others can be asked at the same time."""

_TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout")


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
    overdue_after = LONGEST_ANSWER

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

    @property
    def gatherer(self) -> Gatherer:
        """That of the channel above."""
        return self.above.common_gatherer

    def follow(self, queues: list[str]) -> None:
        """Fetch from these queues."""
        self._followed = queues
        self._update_queue_cycle()

    @cached_property
    def client(self) -> redis.Redis:
        """The connection that waits for messages. Kombu's constructor asks on it; it is not opened for that."""
        client = unchecked(self._make_waiting_client())
        client.ping = lambda **_: True  # type: ignore[method-assign]  # the link connects, once there is something to fetch
        return client

    def _credit(self) -> int:
        """Its share of the credit. A look that may find nothing takes a part of it."""
        shared = self.above.shared_leases
        if shared and (shared.is_paused or shared.silent_for(self.global_keyprefix) > _SILENT):
            return 0  # what was fetched would go back, or wait for a server that is away, and take the others' credit
        free = self.above.unasked(super()._credit())
        return free // _PART_FOR_A_LOOK if self._watch and free >= _PART_FOR_A_LOOK else free

    def _heard(self) -> None:
        self.connection.activity.answered(self.number)
        self.link.works()

    def _sign_of_life(self) -> Callable[[], None]:
        return partial(self.connection.activity.answered, self.number)

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

    def _after_fork(self) -> None:
        super()._after_fork()
        self.link.forget()

    def close(self) -> None:
        """Close it; what it holds is the business of the channel above."""
        self.link.close()
        super().close()


def impatient(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of connections, with less patience: others can go on meanwhile."""
    limited = {name: min(params.get(name) or LONGEST_ANSWER, LONGEST_ANSWER) for name in _TIMEOUTS if name in params}
    return params | limited


def unchecked(client: redis.Redis) -> redis.Redis:
    """Let redis-py not check a client's connections that were idle: the event loop would wait for the reply to a PING.

    A server that does not answer a fetch is given up all the same.
    """
    client.connection_pool.connection_kwargs["health_check_interval"] = 0
    return client
