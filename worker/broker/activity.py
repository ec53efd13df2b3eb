"""What the consuming thread did last: written by it and by the threads of the leases, read by any thread.

From it a worker tells whether it is well: its heartbeat, and its answers to liveness and readiness probes. Reading it
takes no lock and asks no server.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from worker.broker.lease_state import SharedLeaseState
from worker.clients.redis.partitions import shown_partition

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
        self.partitions = 1
        """How many partitions the queue has."""
        self.partitions_answered: dict[int, float] = {}
        """When the server of each partition answered last, by its number, if there are several."""
        self.partitions_lost: Counter[int] = Counter()
        """How often the server of each was lost: connections from before lead to a server that may be another."""
        self._lost: set[int] = set()
        """The partitions whose servers have not answered since they were lost."""
        self.queues: Collection[str] = ()
        """From which it consumes."""
        self.pool: Watched | None = None
        """Where the deliveries run, if that can be watched."""
        self.on_beat: Callable[[float], object] = lambda _: None
        """Called about every second while it is well, by the thread that consumes, with `answered_on`."""

    def __json__(self) -> dict[str, list[str]]:
        """Return what `inspect stats` shows of the transport options."""
        shown = {"queues": sorted(self.queues)}
        if self.partitions > 1:
            shown["partitions_away"] = [shown_partition(number) for number in self.partitions_away()]
        return shown

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
            self._lost.discard(partition)

    def lost(self, partition: int) -> None:
        """Note that the connection to the server of one of several partitions was lost."""
        self.partitions_lost[partition] += 1
        self._lost.add(partition)

    def latest_partitions(self) -> list[int]:
        """Return the partitions whose servers have answered, the latest first."""
        answered = self.partitions_answered.copy()  # leases answer in threads of their own
        return sorted(answered.keys() - self._lost, key=lambda number: -answered[number])

    def partitions_away(self) -> list[int]:
        """Return the numbers of the partitions that can't be worked on just now, if there are several.

        Those are the ones whose servers have not answered for long, and the ones in which the lease on what it holds
        has ended.
        """
        if self.partitions == 1:
            return []
        now = time.monotonic()
        answered = {number for number, at in self.partitions_answered.copy().items() if now - at <= _ANSWER_WITHIN}
        overdue = {lease.partition for lease in self._leases.in_use if lease.is_overdue(now)}
        return [number for number in range(self.partitions) if number not in answered or number in overdue]

    def hang(self) -> str | None:
        """Return what hangs in this process, so that only a restart helps; None if nothing does."""
        if (age := time.monotonic() - self.turned_at) > STUCK_AFTER:
            return f"the event loop has not turned for {age:.0f} s"
        if self.pool is not None and (age := self.pool.silent_for) > STUCK_AFTER:
            return f"the thread of the deliveries has not turned for {age:.0f} s"
        return None

    def trouble(self) -> str | None:
        """Return why this worker can't do its work just now; None if it can, be it in one of several partitions."""
        if hang := self.hang():
            return hang
        now = time.monotonic()
        if self.answered_at is None:
            return "Redis has not answered yet"
        if (age := now - self.answered_at) > _ANSWER_WITHIN:
            return f"Redis has not answered for {age:.0f} s"
        if not self.queues:
            return "it consumes from no queue"
        return self._trouble_in_partitions(now)

    def _trouble_in_partitions(self, now: float) -> str | None:
        """Return why no partition can be worked on; of several, one that is there is reason enough to be ready."""
        away = self.partitions_away()
        if self.partitions == 1 and any(lease.is_overdue(now) for lease in self._leases.in_use):
            return "the lease on what it holds has ended: others may have it"
        if self.partitions == 1 or len(away) < self.partitions:
            return None
        numbers = ", ".join(map(shown_partition, away))
        return f"no partition can be worked on: no answer, or the lease on what it holds has ended, in {numbers}"
