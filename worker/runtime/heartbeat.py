"""A worker's heartbeat, as a step of its start: while it is well it touches a file."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from celery import bootsteps

from worker.runtime.container import container_of
from worker.runtime.heartbeat_file import Heartbeat, heartbeat_file
from worker.runtime.pool import TaskPool

if TYPE_CHECKING:
    from celery.concurrency.base import BasePool
    from celery.worker import WorkController

    from worker.broker.activity import ConsumerActivity


__all__ = ["HeartbeatStep"]

_LOOK_EVERY: Final = 1.0


class HeartbeatStep(bootsteps.StartStopStep):
    """Begins once there is a pool to watch; processes of it have been forked by then."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: WorkController, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._stop = threading.Event()

    def start(self, worker: WorkController) -> None:
        """Touch the heartbeat whenever the event loop turns, and all is well."""
        settings = container_of(worker.app).settings
        broker_url = settings.feedback_broker_url.get_secret_value()
        file = settings.feedback_heartbeat_file or heartbeat_file(broker_url=broker_url, node=worker.hostname)
        activity = container_of(worker.app).activity
        activity.pool = worker.pool if isinstance(worker.pool, TaskPool) else None
        activity.on_beat = Heartbeat(file, worker.hostname).beat
        if worker.pool.is_green:
            threading.Thread(target=self._run, args=(worker.pool, activity), name="vitals", daemon=True).start()

    def stop(self, worker: WorkController) -> None:
        """Touch it no more."""
        self._stop.set()
        activity = container_of(worker.app).activity
        activity.on_beat, activity.pool = (lambda _: None), None

    def _run(self, pool: BasePool, activity: ConsumerActivity) -> None:
        """Stand in for the event loop while the pool is full: on gevent and eventlet the consumer waits for it then.

        This thread is a greenlet there, so it stands still if something blocks all of them.
        """
        while not self._stop.wait(_LOOK_EVERY):
            if _is_full(pool):
                activity.turned(activity.queues)


def _is_full(pool: BasePool) -> bool:
    greenlets = pool._pool  # noqa: SLF001 - Celery does not publish how many greenlets are free
    count = greenlets.free_count if hasattr(greenlets, "free_count") else greenlets.free  # gevent's, eventlet's
    return bool(count() <= 0)
