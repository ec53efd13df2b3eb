"""Operators are told of what needs attention, by one worker of the fleet at a time and never at a delivery's cost."""

from __future__ import annotations

import logging
import secrets
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.clients.redis.connections import broker_partitions
from worker.database.schema import checked_engine
from worker.notifications.notifier import PERIOD, Notifier
from worker.notifications.sending import check_receiver
from worker.observability.redaction import redaction_of
from worker.runtime.background_step import BackgroundStep
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from celery.worker import WorkController

    from worker.settings import Settings

__all__ = ["Notifications"]

log = logging.getLogger(__name__)

_PATIENCE: Final = 5.0
"""Seconds for Redis to answer."""

_LOOK_EVERY: Final = PERIOD.total_seconds() / 4
"""Seconds between two tries to take a round: so the next worker takes over soon."""


class Notifications(BackgroundStep):
    """A thread that takes rounds, if any address is set; whatever becomes of them, no worker ends for their sake."""

    def __init__(self, worker: WorkController, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._said = ""

    def include_if(self, worker: WorkController) -> bool:
        """Where no address is set, no thread is."""
        return bool(container_of(worker.app).settings.receivers)

    def run(self, worker: WorkController) -> None:
        """Take a round whenever it is time."""
        settings = container_of(worker.app).settings
        self._check(settings)
        notifier = Notifier(
            settings=settings,
            database=lambda: checked_engine(settings.feedback_database_url.get_secret_value()),
            token=f"{worker.hostname} {secrets.token_hex(8)}",
            stops=self._stop.is_set,
        )
        while not self._stop.is_set():
            self._look(settings, notifier)
            self._stop.wait(_LOOK_EVERY)

    def _look(self, settings: Settings, notifier: Notifier) -> None:
        try:
            with closing(broker_partitions(settings, patience=_PATIENCE, retries=0)) as partitions:
                if notifier.take_round(partitions):
                    self._said = ""
        except redis.RedisError as error:
            self._say(settings, logging.INFO, str(error))
        except Exception as error:  # noqa: BLE001 - an error in this thread must not end the worker; it tries again
            self._say(settings, logging.WARNING, f"{type(error).__name__}: {error}")

    def _say(self, settings: Settings, level: int, problem: str) -> None:
        """Once, as long as it stays the same."""
        text = redaction_of(settings)(f"no notification goes out this time: {problem}")
        if text != self._said:
            log.log(level, "%s", text)
        self._said = text

    def _check(self, settings: Settings) -> None:
        """Say at the start which address is wrong: not when the first message is lost."""
        for receiver in settings.receivers:
            if self._stop.is_set():
                return
            if problem := check_receiver(receiver):
                log.error("FEEDBACK_NOTIFY_URLS: the receiver %s can't be told: %s", receiver.name, problem)
