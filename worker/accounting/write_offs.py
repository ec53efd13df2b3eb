"""What operators were told: written-off events are told of until `aquilax-feedback reconcile` has named them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import redis

from producer.message import QUEUE

if TYPE_CHECKING:
    from worker.accounting.snapshot import Snapshot

__all__ = ["note_told", "written_off_untold"]

_TOLD: Final = f"{QUEUE}:told"
"""A hash in Redis, beside the counts: both are lost together."""

_WRITTEN_OFF: Final = "written_off"


def note_told(client: redis.Redis, seen: Snapshot) -> None:
    """Note that a reconciliation has named what was written off so far. A login that may only read notes nothing.

    Args:
        client: A client that answers in bytes.
        seen: What was named.
    """
    number = seen.counts.get(_WRITTEN_OFF, 0)
    with suppress(redis.RedisError):
        if number or client.exists(_TOLD):
            client.hset(_TOLD, _WRITTEN_OFF, number)


def written_off_untold(client: redis.Redis, now: Snapshot) -> int:
    """Return how many events were written off that no reconciliation has named.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    told = client.hget(_TOLD, _WRITTEN_OFF)
    number = int(told) if isinstance(told, bytes) and told.isdigit() else 0
    return max(now.counts.get(_WRITTEN_OFF, 0) - number, 0)
