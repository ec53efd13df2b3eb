"""The leases alone: who is there, without a look at what waits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from worker.accounting.snapshot import LeaseHolder
from worker.broker.keys import KEYS

if TYPE_CHECKING:
    import redis

__all__ = ["living_leases"]


def living_leases(client: redis.Redis) -> tuple[LeaseHolder, ...]:
    """Return the leases that last, by Redis' clock.

    Args:
        client: A client that answers in bytes.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zrange(KEYS.leases, 0, -1, withscores=True)
        (seconds, microseconds), leases = pipe.execute()
    now = seconds * 1000 + microseconds / 1000
    found = (
        LeaseHolder(
            name=name.decode(errors="backslashreplace"), holds=0, lease_left=timedelta(milliseconds=until - now)
        )
        for name, until in leases
    )
    return tuple(holder for holder in found if holder.is_alive)
