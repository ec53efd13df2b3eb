"""What operators were told: written-off events are told of until `aquilax-feedback reconcile` has named them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from worker.clients.redis.keys import TOLD, CountField

if TYPE_CHECKING:
    from worker.accounting.snapshot import Snapshot

__all__ = ["note_told", "written_off_untold"]


def note_told(client: redis.Redis, seen: Snapshot) -> None:
    """Note that a reconciliation has named what was written off so far. A login that may only read notes nothing.

    Args:
        client: A client that answers in bytes.
        seen: What was named.
    """
    number = seen.counts.get(CountField.WRITTEN_OFF, 0)
    with suppress(redis.RedisError):
        if number or client.exists(TOLD):
            client.hset(TOLD, CountField.WRITTEN_OFF, number)


def written_off_untold(client: redis.Redis, now: Snapshot) -> int:
    """Return how many events were written off that no reconciliation has named.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    told = client.hget(TOLD, CountField.WRITTEN_OFF)
    number = int(told) if isinstance(told, bytes) and told.isdigit() else 0
    return max(now.counts.get(CountField.WRITTEN_OFF, 0) - number, 0)
