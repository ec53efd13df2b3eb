"""Workers write down in the database what Redis has counted, and the hold by hand; a lost hold stands again.

A thread, off the way of every delivery: where Redis or the database is unavailable it tries again.
"""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.accounting.continuity import record
from worker.clients.redis.connections import broker_partitions
from worker.clients.redis.keys import feedback_keys
from worker.database.errors import DeadLetterError
from worker.database.schema import checked_engine
from worker.runtime.background_step import BackgroundStep, first_in_period
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from celery.worker import WorkController

    from worker.settings import Settings

__all__ = ["ContinuityRecorder"]

log = logging.getLogger(__name__)

_EVERY: Final = timedelta(seconds=10)


class ContinuityRecorder(BackgroundStep):
    """A thread that records, at the start, every ten seconds for the whole fleet, and when the worker stops."""

    def __init__(self, worker: WorkController, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._said = ""

    def run(self, worker: WorkController) -> None:
        """Record again and again, and for the last time while the other parts of the worker stop."""
        settings = container_of(worker.app).settings
        ended = False
        while True:
            try:
                self._record(settings, worker.hostname, always=ended)
            except (redis.RedisError, DeadLetterError) as error:
                self._say(logging.INFO, f"Redis' totals are not written down: {error}")
            except Exception as error:  # noqa: BLE001 - an error in this thread must not end the worker; it tries again
                self._say(logging.WARNING, f"Redis' totals are not written down: {type(error).__name__}: {error}")
            if ended:
                return
            ended = self._stop.wait(_EVERY.total_seconds())

    def _record(self, settings: Settings, name: str, *, always: bool) -> None:
        with closing(broker_partitions(settings)) as partitions:
            home = partitions.home
            key = feedback_keys(home).recorded
            if not (first_in_period(home, key, _EVERY * 0.9, worker=name) or always):
                return
            # Checked: an SQLite file that was moved away is not created again by connecting.
            with checked_engine(settings.feedback_database_url.get_secret_value()) as engine:
                found = record(partitions, engine)
        if found.lost_hold is not None:
            log.error("Redis had lost the hold by hand, which stands again: %s", found.lost_hold.comment)
        if found.is_lost:
            self._say(logging.ERROR, f"{found.summary()}: see `aquilax-feedback reconcile`")
        else:
            self._said = ""

    def _say(self, level: int, text: str) -> None:
        """Once, as long as it stays the same."""
        if text != self._said:
            log.log(level, "%s", text)
        self._said = text
