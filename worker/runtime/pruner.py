"""What is over is pruned by the workers themselves: once an hour, by one of them, and never at a delivery's cost."""

from __future__ import annotations

import logging
import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from worker.clients.redis.connections import broker_client
from worker.clients.redis.keys import feedback_keys
from worker.dead_letters.pruning import prune
from worker.dead_letters.store import DeadLetterStore
from worker.runtime.background_step import BackgroundStep, first_in_period
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from celery.worker import WorkController

    from worker.settings import Settings

__all__ = ["Pruner"]

log = logging.getLogger(__name__)

_EVERY: Final = timedelta(hours=1)
_FIRST_LOOK: Final = 5.0
_LOOK_EVERY: Final = 300.0
"""Seconds, give or take a half, so that the workers of a fleet don't all look at once."""


class Pruner(BackgroundStep):
    """A thread that prunes, whatever becomes of it: no worker ends or waits for its sake."""

    def run(self, worker: WorkController) -> None:
        """Look now and then whether it is time."""
        settings = container_of(worker.app).settings
        wait = _FIRST_LOOK
        while not self._stop.wait(wait * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter, no secret
            wait = _LOOK_EVERY
            try:
                self._look(settings, worker.hostname)
            except Exception as error:  # noqa: BLE001 - an error in this thread must not end the worker; it tries again
                log.warning("what is over is not pruned this time: %s: %s", type(error).__name__, error)

    def _look(self, settings: Settings, name: str) -> None:
        """Prune, if no worker has in the last hour."""
        with closing(broker_client(settings)) as client:
            if not first_in_period(client, feedback_keys(client).pruned, _EVERY, worker=name):
                return
        before = datetime.now(UTC) - settings.feedback_retention
        with closing(DeadLetterStore.connect(settings.feedback_database_url.get_secret_value(), pool_size=1)) as store:
            pruned = prune(store.engine, before, stop=self._stop)
        if pruned.dead_letters or pruned.replays:
            counts = f"{pruned.dead_letters} dead letters and {pruned.replays} replays"
            log.info("pruned %s that were over before %s", counts, f"{before:%Y-%m-%d %H:%M}")
