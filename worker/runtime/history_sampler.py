"""Workers note once a minute, one of them for the whole fleet, how deep and old the queue is and what was accepted."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import redis

from worker.accounting.history.sampler import add_sample
from worker.accounting.snapshot import take_partial_snapshot
from worker.clients.redis.connections import broker_partitions
from worker.clients.redis.keys import feedback_keys
from worker.runtime.background_step import BackgroundStep, first_in_period
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from celery.worker import WorkController

    from worker.settings import Settings

__all__ = ["HistorySampler"]

log = logging.getLogger(__name__)

_MINUTE: Final = 60.0


class HistorySampler(BackgroundStep):
    """A thread that samples the queue at the start, and then as each minute begins, if no other worker has."""

    def run(self, worker: WorkController) -> None:
        """Sample again and again."""
        settings, said = container_of(worker.app).settings, ""
        while True:
            try:
                _sample(settings, worker.hostname)
                said = ""
            except redis.RedisError as error:
                said = _say(logging.INFO, f"the queue is not sampled: {error}", said)
            except Exception as error:  # noqa: BLE001 - an error in this thread must not end the worker; it tries again
                said = _say(logging.WARNING, f"the queue is not sampled: {type(error).__name__}: {error}", said)
            if self._stop.wait(_MINUTE - time.time() % _MINUTE):
                return


def _sample(settings: Settings, name: str) -> None:
    with closing(broker_partitions(settings)) as partitions:
        home = partitions.home
        if first_in_period(home, feedback_keys(home).history_sampled, timedelta(seconds=_MINUTE * 0.9), worker=name):
            add_sample(home, take_partial_snapshot(partitions))


def _say(level: int, text: str, said: str) -> str:
    """Once, as long as it stays the same."""
    if text != said:
        log.log(level, "%s", text)
    return text
