"""How much there is to do, for what decides how many workers there should be (docs/adr/0029)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from producer.message import QUEUE
from worker.accounting.snapshot import take_partial_snapshot
from worker.broker.keys import broker_keys
from worker.broker.scripts import MESSAGE
from worker.clients.redis.scripts import Script, lua

if TYPE_CHECKING:
    import redis

    from worker.accounting.snapshot import Snapshot
    from worker.clients.redis.partitions import Partitions

__all__ = ["Backlog", "take_backlog"]

_UNTRIED: Final = Script(MESSAGE + lua("worker.accounting", "entries", "untried"))

_LOOKED_AT: Final = 100
"""Entries at each end of each list: the one that waits longest is at the end, behind those that were returned to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What workers have to do.

    Attributes:
        messages: Those that more workers would end sooner; none while nothing is sent.
        age: How long the oldest of these has been waiting for its first attempt.
        unfinished: Messages that have not ended, whatever they wait for: while there are any, a worker is needed.
    """

    messages: int
    age: timedelta
    unfinished: int

    @classmethod
    def of(cls, snapshot: Snapshot, oldest_untried: datetime | None) -> Self:
        """Judge a moment.

        A partition that can't be asked counts as one message that has not ended: workers of what it has are not to be
        stopped. More of them would not end any of it sooner, so the rest is told of the others alone.

        Args:
            snapshot: The moment.
            oldest_untried: Since when the oldest event waits for its first attempt; None if none does.
        """
        is_held = snapshot.hold is not None
        age = timedelta() if oldest_untried is None or is_held else snapshot.at - oldest_untried
        return cls(
            messages=0 if is_held else snapshot.queued + snapshot.in_flight,
            age=max(age, timedelta()),  # a backend's clock may be fast
            unfinished=snapshot.waiting + len(snapshot.unavailable),
        )


def take_backlog(partitions: Partitions) -> Backlog:
    """Look at the queue by clients that answer in bytes; raises `redis.RedisError` if none can be asked."""
    snapshot = take_partial_snapshot(partitions)
    asked = [part.number for part in snapshot.parts if part.snapshot is not None] or [0]
    moments = [moment for moment in partitions.ask_all(_oldest_untried, only=asked) if moment is not None]
    return Backlog.of(snapshot, min(moments, default=None))


def _oldest_untried(client: redis.Redis) -> datetime | None:
    """Since when the oldest event of a partition waits; None also if that is no time, as any client may write one."""
    text: bytes = _UNTRIED(client, broker_keys(client).lists(QUEUE), [_LOOKED_AT])
    try:
        return datetime.fromisoformat(text.decode(errors="replace"))
    except ValueError:
        return None
