"""What the leases of one process share with its other parts."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from worker.broker.lease import Lease

__all__ = ["SharedLeaseState"]

_TAGS_LIMIT: Final = 10_000
"""More messages than any process has in flight."""


_MIRRORED_WITHIN: Final = 0.5
"""Seconds in which a hold stands in all partitions whose servers are there."""


class Silent(Protocol):
    """What asks a server for deliveries."""

    @property
    def silent_for(self) -> float:
        """For how many seconds the server has owed a reply."""


class SharedLeaseState:
    """The leases, how many were lost, and the messages that a script has already removed from those in flight.

    The idempotency store adds a message, and the lease that acknowledges it takes it: nothing is left to write for it.
    Another process may acknowledge it (a pool's parent), so not all are taken: at a limit all are forgotten. An
    acknowledgement that is written all the same does no harm.

    Attributes:
        lost: How often a lease of this process ended before it was renewed.
        outside_credit: How many messages in flight take no prefetch credit: their deliveries wait for the database.
        starved: Whether a channel found no credit left when it last looked.
    """

    def __init__(self) -> None:
        self.lost = 0
        self.outside_credit = 0
        self.starved = False
        self._settled: dict[str, None] = {}
        self._scripts: dict[str, Silent] = {}
        self._paused_until = 0.0
        self._leases: WeakSet[Lease] = WeakSet()
        self._one_at_a_time = threading.Lock()

    def __json__(self) -> dict[str, int]:
        """Return what `inspect stats` shows of the transport options."""
        return {"lost": self.lost}

    def add_lease(self, lease: Lease) -> None:
        """Note a lease that has begun."""
        with self._one_at_a_time:
            self._leases.add(lease)

    @property
    def in_use(self) -> list[Lease]:
        """The leases of this process that have begun."""
        with self._one_at_a_time:
            return list(self._leases)

    def set_outside_credit(self, count: int) -> None:
        """Note how many messages take no credit, and let a channel fetch that had none left."""
        grew, self.outside_credit = count > self.outside_credit, count
        if grew and self.starved:
            self.starved = False
            for lease in self.in_use:
                lease.free_credit()

    def watch(self, prefix: str, scripts: Silent) -> None:
        """Note what runs the scripts of deliveries in a partition, by what stands before its keys."""
        self._scripts[prefix] = scripts

    def silent_for(self, prefix: str) -> float:
        """For how many seconds a partition's server has owed a delivery a reply."""
        scripts = self._scripts.get(prefix)
        return 0.0 if scripts is None else scripts.silent_for

    def pause(self) -> None:
        """Have channels of partitions fetch nothing for a moment: a hold stands, and is on its way to all partitions.

        Else what goes back because of it would come again, and be sent again, until its own partition holds too.
        """
        self._paused_until = time.monotonic() + _MIRRORED_WITHIN

    @property
    def is_paused(self) -> bool:
        """Whether nothing is fetched just now."""
        return time.monotonic() < self._paused_until

    def add_settled(self, tag: str) -> None:
        """Remember a message, by its delivery tag."""
        if len(self._settled) >= _TAGS_LIMIT:
            self._settled.clear()
        self._settled[tag] = None

    def take_settled(self, tag: str) -> bool:
        """Return whether it was added, once."""
        return self._settled.pop(tag, self) is None
