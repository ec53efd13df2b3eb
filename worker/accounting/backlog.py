"""How much there is to do, for what decides how many workers there should be (docs/adr/0029)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from producer.message import QUEUE
from worker.accounting.snapshot import take_snapshot
from worker.broker.keys import broker_keys
from worker.broker.scripts import MESSAGE
from worker.clients.redis.scripts import Script, lua

if TYPE_CHECKING:
    import redis

    from worker.accounting.snapshot import Snapshot

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

        Args:
            snapshot: The moment.
            oldest_untried: Since when the oldest event waits for its first attempt; None if none does.
        """
        is_held = snapshot.hold is not None
        age = timedelta() if oldest_untried is None or is_held else snapshot.at - oldest_untried
        return cls(
            messages=0 if is_held else snapshot.queued + snapshot.in_flight,
            age=max(age, timedelta()),  # a backend's clock may be fast
            unfinished=snapshot.waiting,
        )


def take_backlog(client: redis.Redis) -> Backlog:
    """Look at the queue by a client that answers in bytes; raises `redis.RedisError` if Redis is unavailable."""
    oldest: bytes = _UNTRIED(client, broker_keys(client).lists(QUEUE), [_LOOKED_AT])
    return Backlog.of(take_snapshot(client), _moment(oldest.decode(errors="replace")))


def _moment(text: str) -> datetime | None:
    """Read when an event was enqueued; None if that is no time, as any client may have written it."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
