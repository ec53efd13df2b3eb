"""RQ. ``python -m benchmarks.peers.rq`` is its worker pool, of workers that do not fork for each job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis
from rq import Queue, SimpleWorker
from rq.worker_pool import WorkerPool

from benchmarks.peers.asking import ask
from benchmarks.sender import Sender, redis_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.events import Fields

__all__ = ["Sending"]

_WORKERS = 4


class Sending(Sender):
    """``enqueue`` and ``enqueue_many``."""

    def __init__(self, url: str, *, threads: int) -> None:
        self._queue = Queue(connection=redis.Redis.from_url(url, max_connections=max(threads, 10)))

    def send(self, event: Fields) -> None:
        self._queue.enqueue(ask, kwargs=event, result_ttl=0)

    def send_many(self, events: Sequence[Fields]) -> None:
        self._queue.enqueue_many([Queue.prepare_data(ask, kwargs=event, result_ttl=0) for event in events])


if __name__ == "__main__":
    WorkerPool(
        ["default"],
        connection=redis.Redis.from_url(redis_url()),
        num_workers=_WORKERS,
        worker_class=SimpleWorker,
    ).start(logging_level="WARNING")
