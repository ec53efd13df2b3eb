"""How fast it goes, from two snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from worker.clients.redis.keys import CountField

if TYPE_CHECKING:
    from worker.accounting.snapshot import Snapshot

__all__ = ["Rates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Messages per second.

    Attributes:
        accepted: That came.
        ended: That came to an end, whichever.
        delivered: That ended delivered.
        over: How long that was measured.
    """

    accepted: float
    ended: float
    delivered: float
    over: timedelta

    @classmethod
    def between(cls, before: Snapshot, after: Snapshot) -> Rates | None:
        """Return the rates from one snapshot to a later one; None if there is no time in between."""
        over = after.at - before.at
        seconds = over.total_seconds()
        if seconds <= 0:
            return None
        first, last = before.balance, after.balance
        delivered = after.counts.get(CountField.DELIVERED, 0) - before.counts.get(CountField.DELIVERED, 0)
        # Counts that went back are of a Redis that lost them.
        return cls(
            accepted=max(last.accepted - first.accepted, 0) / seconds,
            ended=max(last.ended - first.ended, 0) / seconds,
            delivered=max(delivered, 0) / seconds,
            over=over,
        )

    def drained_in(self, snapshot: Snapshot) -> timedelta | None:
        """Return how long the queue takes to empty at these rates; None if it does not, or is empty already."""
        waiting, gain = snapshot.queued + snapshot.in_flight, self.ended - self.accepted
        if not waiting or gain <= 0 or snapshot.hold is not None:
            return None
        try:
            return timedelta(seconds=waiting / gain)
        except OverflowError:
            return None
