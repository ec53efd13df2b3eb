"""What the consuming thread did last: written by it and by the threads of the leases, read by any thread.

From it a worker tells whether it is well: its heartbeat, and its answers to liveness and readiness probes. Reading it
takes no lock and asks no server.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from worker.broker.lease_state import SharedLeaseState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["STUCK_AFTER", "ConsumerActivity", "Watched"]

_ANSWER_WITHIN: Final = 20.0
"""Seconds in which Redis answers a worker that is well: an idle one asks every second, a busy one renews its lease
every 10 s at least (`worker.broker.lease`)."""

STUCK_AFTER: Final = 60.0
"""Seconds after which an event loop that has not turned hangs."""


class Watched(Protocol):
    """A pool whose thread shows that it turns."""

    def ping(self) -> None:
        """Ask the thread for a sign of life; it is not waited for."""

    @property
    def silent_for(self) -> float:
        """For how many seconds the thread has owed it."""


class ConsumerActivity:
    """Signs of life of this process; moments are those of `time.monotonic`."""

    def __init__(self, leases: SharedLeaseState | None = None) -> None:
        self._leases = leases or SharedLeaseState()
        self.turned_at = time.monotonic()
        """When its event loop turned last, or when it last tried to connect."""
        self.answered_at: float | None = None
        """When Redis answered last."""
        self.answered_on = 0.0
        """The same, as `time.time` had it."""
        self.partitions_answered: dict[int, float] = {}
        """When the server of each partition answered last, by its number, if there are several."""
        self.partitions_lost: Counter[int] = Counter()
        """How often the server of each was lost: connections from before lead to a server that may be another."""
        self.queues: Collection[str] = ()
        """From which it consumes."""
        self.pool: Watched | None = None
        """Where the deliveries run, if that can be watched."""
        self.on_beat: Callable[[float], object] = lambda _: None
        """Called about every second while it is well, by the thread that consumes, with `answered_on`."""

    def __json__(self) -> dict[str, list[str]]:
        """Return what `inspect stats` shows of the transport options."""
        return {"queues": sorted(self.queues)}

    def turned(self, queues: Collection[str] | None = None) -> None:
        """Note that the event loop turns.

        Args:
            queues: From which it consumes; None from what connects, perhaps beside the consumer.
        """
        self.turned_at = time.monotonic()
        if queues is not None:
            self.queues = queues
        if self.pool is not None:
            self.pool.ping()
        if queues and self.trouble() is None:
            self.on_beat(self.answered_on)

    def answered(self, partition: int | None = None) -> None:
        """Note that Redis has answered, or the server of one of several partitions; from any thread."""
        self.answered_at, self.answered_on = time.monotonic(), time.time()
        if partition is not None:
            self.partitions_answered[partition] = self.answered_at

    def lost(self, partition: int) -> None:
        """Note that the connection to the server of one of several partitions was lost."""
        self.partitions_lost[partition] += 1
        self.partitions_answered.pop(partition, None)

    def latest_partitions(self) -> list[int]:
        """Return the partitions whose servers have answered, the latest first."""
        return sorted(self.partitions_answered, key=lambda number: -self.partitions_answered[number])

    def hang(self) -> str | None:
        """Return what hangs in this process, so that only a restart helps; None if nothing does."""
        if (age := time.monotonic() - self.turned_at) > STUCK_AFTER:
            return f"the event loop has not turned for {age:.0f} s"
        if self.pool is not None and (age := self.pool.silent_for) > STUCK_AFTER:
            return f"the thread of the deliveries has not turned for {age:.0f} s"
        return None

    def trouble(self) -> str | None:
        """Return why this worker can't do its work just now; None if it can."""
        if hang := self.hang():
            return hang
        now = time.monotonic()
        if self.answered_at is None:
            return "Redis has not answered yet"
        if (age := now - self.answered_at) > _ANSWER_WITHIN:
            return f"Redis has not answered for {age:.0f} s"
        if not self.queues:
            return "it consumes from no queue"
        if any(lease.is_overdue(now) for lease in self._leases.in_use):
            return "the lease on what it holds has ended: others may have it"
        return None
