"""A step of a worker's start that works on a thread of its own, off the way of every delivery."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from celery import bootsteps

if TYPE_CHECKING:
    from datetime import timedelta

    import redis
    from celery.worker import WorkController

__all__ = ["BackgroundStep", "first_in_period"]

_ENDS_WITHIN: Final = 1.0
"""Seconds for which a stopping worker waits for the thread: it may wait for a Redis or a database that hangs."""


def first_in_period(client: redis.Redis, key: str, period: timedelta, *, worker: str) -> bool:
    """Return whether no worker of the fleet has asked so within the period; note under the key that this one has."""
    if client.set(key, worker, nx=True, px=period):
        return True
    if client.pttl(key) == _NO_EXPIRY:  # another program wrote it: it would keep the whole fleet from it for ever
        client.pexpire(key, period)
    return False


_NO_EXPIRY: Final = -1


class BackgroundStep(bootsteps.StartStopStep):
    """Starts the thread with the worker, and lets it end while the other parts of the worker stop."""

    requires = ("celery.worker.components:Pool",)  # a pool of processes has forked by then

    def __init__(self, worker: WorkController, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def run(self, worker: WorkController) -> None:
        """Work, until ``self._stop`` is set."""

    def start(self, worker: WorkController) -> None:
        """Begin."""
        name = type(self).__name__.lower()
        self._thread = threading.Thread(target=self.run, args=(worker,), name=name, daemon=True)
        self._thread.start()

    def close(self, worker: WorkController) -> None:  # noqa: ARG002 - the signature is Celery's
        """End after what is being done, while the other parts of the worker stop."""
        self._stop.set()

    def stop(self, worker: WorkController) -> None:  # noqa: ARG002 - the signature is Celery's
        """Wait for that, though not for long."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_ENDS_WITHIN)

    def terminate(self, worker: WorkController) -> None:  # noqa: ARG002 - the signature is Celery's
        """End; what is cut short is not done."""
        self._stop.set()
