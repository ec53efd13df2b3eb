"""What is in Redis, for Prometheus and for autoscalers, told by a process that runs whether or not a worker does."""

from __future__ import annotations

import logging
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final, Self

import redis
from prometheus_client import CollectorRegistry, ProcessCollector

from worker.accounting.backlog import take_backlog
from worker.accounting.held_orgs import look_at_held_orgs
from worker.accounting.snapshot import take_partial_snapshot
from worker.clients.redis.connections import broker_client, broker_partitions
from worker.database.errors import DeadLetterError
from worker.dead_letters.replays.attendance import attended
from worker.observability.backlog_metrics import OfBacklog
from worker.observability.collectors import OfQueue
from worker.observability.org_metrics import OfOrgs
from worker.observability.redaction import redaction_of
from worker.operations.database import checked_database, database_outage
from worker.operations.metrics_port import metrics_port
from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from worker.settings import Settings

__all__ = ["exporting"]

log = logging.getLogger(__name__)

_PATIENCE: Final = 1.0
"""Seconds for Redis to answer: KEDA waits for 3 in all."""

_LOOK_EVERY: Final = 5.0
"""Seconds between looks at the replays."""


@contextmanager
def exporting(settings: Settings) -> Iterator[None]:
    """Serve the metrics for the length of the block.

    Raises:
        SettingsError: No port is set, or it can't be listened on.
    """
    if settings.feedback_metrics_port is None:
        raise SettingsError("FEEDBACK_METRICS_PORT is not set: set it to a port to serve the metrics on, such as 9540")
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    with (
        closing(broker_partitions(settings, patience=_PATIENCE, retries=0)) as partitions,
        _GoingReplays(settings) as replays,
    ):
        registry.register(OfQueue(lambda: take_partial_snapshot(partitions)))
        registry.register(OfOrgs(lambda: look_at_held_orgs(partitions)))
        registry.register(OfBacklog(lambda: take_backlog(partitions), lambda: replays.number))
        with metrics_port(settings, registry):
            yield


class _GoingReplays:
    """Counts the replays that go on, in a thread of its own: a database that hangs keeps no autoscaler waiting.

    Attributes:
        number: How many there were last; 0 while that can't be told, as without the database none goes on.
    """

    def __init__(self, settings: Settings) -> None:
        self.number = 0
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replays", daemon=True)
        self._told = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _run(self) -> None:
        with closing(broker_client(self._settings, patience=_PATIENCE, retries=0)) as client:
            while not self._stop.is_set():
                try:
                    with checked_database(self._settings) as engine:
                        self._watch(engine, client)
                except DeadLetterError as error:
                    self.number = 0
                    self._tell(database_outage(self._settings, error))
                self._stop.wait(_LOOK_EVERY)

    def _watch(self, engine: Engine, client: redis.Redis) -> None:
        while not self._stop.is_set():
            try:
                found = attended(engine, client)
            except redis.RedisError as error:  # an autoscaler is told no number then: see `OfBacklog`
                self._tell(redaction_of(self._settings)(f"Redis is unavailable: {error}"))
            else:
                self.number = found.active - found.paused
                self._tell("")
            self._stop.wait(_LOOK_EVERY)

    def _tell(self, problem: str) -> None:
        """Log what keeps the replays from being counted, once; '' if nothing does."""
        if problem and problem != self._told:
            log.warning("replays are not counted: %s", problem)
        self._told = problem
