"""huey, with its Redis storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis
from huey import RedisHuey

from benchmarks.peers.asking import ask
from benchmarks.sender import Sender, redis_url

if TYPE_CHECKING:
    from benchmarks.events import Fields

__all__ = ["Sending", "deliver", "huey"]

# Each of 100 threads waits on a connection of its own, and redis-py's own limit is 100.
_pool = redis.ConnectionPool.from_url(redis_url(), max_connections=300)
huey = RedisHuey("bench", connection_pool=_pool, results=False)
deliver = huey.task(name="deliver")(ask)


class Sending(Sender):
    """A call of the task."""

    def __init__(self, url: str, *, threads: int) -> None:
        del url, threads  # see dramatiq

    def send(self, event: Fields) -> None:
        deliver(**event)
