"""What a channel has in flight: the keys that it is in, and the leases that own it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import redis
from kombu.transport import redis as kombu_redis

from worker.broker.keys import Keys
from worker.broker.lease import RENEWALS, Lease
from worker.clients.redis.keys import with_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from worker.broker.activity import ConsumerActivity
    from worker.broker.gatherer import Gatherer
    from worker.broker.lease_state import SharedLeaseState

__all__ = ["InFlightChannel"]

_LEASE_TIMEOUT: Final = 5.0
_SHORTEST_TIMEOUT: Final = 0.5
"""Seconds that a lease's command may take, where the transport's options set no socket timeout, and at least."""


class InFlightChannel(kombu_redis.Channel):
    """Kombu's Redis channel, with leases on what it has in flight."""

    lease: float = 20.0
    """Seconds without a renewal after which a lease ends, and its messages go to others."""
    counts: Mapping[str, str] = {}
    """The queues whose messages are counted, and the hash of their counts."""
    holds: Mapping[str, str] = {}
    """The queues that can be held, and the hash of their hold."""
    node: str = ""
    """The node name of the worker that consumes; it stands in the name of its lease."""
    shared_leases: SharedLeaseState | None = None
    """What the leases share with the process's other parts."""
    farthest: float = float("inf")
    """Seconds ahead within which a message of a counted queue waits for its time; any other is handed out at once."""

    number: int = 0
    """The number of the partition that it fetches from."""

    from_transport_options: ClassVar[tuple[str, ...]] = (
        *kombu_redis.Channel.from_transport_options,
        "lease",
        "counts",
        "holds",
        "node",
        "shared_leases",
        "farthest",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.current_holder: Lease | None = None
        self._retired: list[Lease] = []
        self.kept: Collection[str] = ()
        """What is still being worked on as the channel closes: it stays in flight."""
        super().__init__(*args, **kwargs)

    @cached_property
    def keys(self) -> Keys:
        """The names of the keys."""
        return Keys(
            prefix=self.global_keyprefix,
            sep=self.sep,
            steps=tuple(self.priority_steps),
            unacked_name=self.unacked_key,
            index_name=self.unacked_index_key,
            counts=self.counts,
            holds=self.holds,
        )

    @property
    def holder(self) -> Lease:
        """The lease on what this channel fetches."""
        if self.current_holder is None:
            lease = Lease(self._lease_pool(), self.keys, lease=self.lease, node=self.node, shared=self.shared_leases)
            lease.grouped = bool(self.connection and self.connection.has_loop)
            if self.connection is not None:
                lease.on_flushed = self.connection.wake
                lease.on_renewed = self._sign_of_life()
            lease.partition = self.number
            lease.gatherer = self.gatherer if lease.grouped else None
            self.current_holder = lease
        return self.current_holder

    @property
    def gatherer(self) -> Gatherer | None:
        """What ends messages under several leases together; None if there is one."""
        return None

    @property
    def takes_one(self) -> bool:
        """Whether it fetches one message at a time."""
        if self.connection is None or not self.connection.has_loop:
            return True  # a program that drains by hand gets one at a time; the rest stays available to others
        return "can_consume" in vars(self.qos)  # Celery's `worker_disable_prefetch` decides for each message

    def _sign_of_life(self) -> Callable[[], None]:
        """What is called when its lease was renewed, by another thread; the channel may be closed by then."""
        return cast("ConsumerActivity", self.connection.activity).answered

    def _lease_pool(self) -> redis.ConnectionPool:
        """A command that hangs must not cost the lease: there has to be time for another on a new connection."""
        pool = self._get_pool()
        timeout = max(min(self.socket_timeout or _LEASE_TIMEOUT, self.lease / RENEWALS), _SHORTEST_TIMEOUT)
        pool.connection_kwargs["socket_timeout"] = timeout
        if "socket_connect_timeout" in pool.connection_kwargs:  # a Unix socket has none
            pool.connection_kwargs["socket_connect_timeout"] = timeout
        return pool

    def holder_of(self, tag: str) -> Lease:
        """The lease on a message that this channel has in flight."""
        current = self.current_holder
        if current is not None and tag in current:
            return current
        for lease in self._retired:
            if tag in lease:
                return lease
        return self.holders[-1] if self.holders else self.holder  # it has ended before

    @property
    def holders(self) -> list[Lease]:
        """All leases with messages of this channel."""
        return [*self._retired, *([] if self.current_holder is None else [self.current_holder])]

    def _retire_lease(self) -> None:
        """Take another lease for what comes from now on: Redis may still hand this one messages that are never read."""
        if self.current_holder is not None:
            self.current_holder.retire()
            self._retired = [lease for lease in self.holders if not lease.done]
            self.current_holder = None

    def scripting(self) -> redis.Redis:
        """A client that puts no prefix before keys: the scripts are given whole names."""
        return with_prefix(redis.Redis(connection_pool=self.pool), self.global_keyprefix)

    def adopt(self, tag: str) -> None:
        """Hold a message that Kombu's own code laid in `unacked`."""
        self.scripting().sadd(self.holder.held_key, tag)
        self.holder.hold([tag])

    def _after_fork(self) -> None:
        for lease in self.holders:
            lease.forget()
        self._retired, self.current_holder = [], None
        super()._after_fork()
