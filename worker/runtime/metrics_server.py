"""The port on which a worker tells Prometheus what it does; a step of the worker's start."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from celery.concurrency.prefork import TaskPool as Prefork
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from producer import __version__
from worker.accounting.held_orgs import look_at_held_orgs
from worker.accounting.snapshot import take_partial_snapshot
from worker.clients.redis.connections import broker_partitions
from worker.notifications.metrics import OfNotifications
from worker.notifications.store import NotifierStore
from worker.observability.collectors import OfPool, OfProcess, OfQueue
from worker.observability.metrics import Metrics
from worker.observability.org_metrics import OfKeysFile, OfOrgs
from worker.runtime.bootsteps import ListeningStep, port_error, start_error
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from celery.worker import WorkController

    from worker.clients.redis.partitions import Partitions
    from worker.runtime.container import Container

__all__ = ["MetricsServer"]

log = logging.getLogger(__name__)

_PATIENCE: Final = 1.0
"""Seconds for Redis to answer: Prometheus waits for 10, and wants the rest even if Redis is unavailable."""

_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable of prometheus-client that names a folder in which several processes count together."""

_QUEUE_ALONE: Final = (
    "the metrics are those of the queue alone: with the prefork pool deliveries are counted by child processes, which "
    f"needs the variable {_SHARED} (see docs/operations.md)"
)


class MetricsServer(ListeningStep):
    """Serves the metrics while the worker runs, if it is given a port."""

    def __init__(self, worker: WorkController, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None
        self._partitions: Partitions | None = None

    def include_if(self, worker: WorkController) -> bool:
        """Without a port nothing is measured, and nothing listens."""
        return container_of(worker.app).settings.feedback_metrics_port is not None

    def create(self, worker: WorkController) -> None:
        """Begin to count, and listen; before the pool starts, whose processes then count as well."""
        settings = container_of(worker.app).settings
        port, host = settings.feedback_metrics_port, settings.feedback_metrics_host
        metrics = Metrics(now=container_of(worker.app).now)
        try:
            self._partitions = broker_partitions(settings, patience=_PATIENCE, retries=0)
            registry = _served(metrics, self._partitions, container_of(worker.app))
            if settings.receivers:
                store = NotifierStore(self._partitions.home, "")
                registry.register(OfNotifications(store.load))
            self._server, self._thread = start_http_server(port or 0, host, registry)
        except OSError as error:
            raise SystemExit(port_error("METRICS", host, port, error)) from None
        except ValueError as error:
            raise SystemExit(start_error(f"{_SHARED}: {error}")) from None
        container_of(worker.app).observe(metrics)
        if issubclass(worker.pool_cls, Prefork) and _SHARED not in os.environ:
            log.warning("%s", _QUEUE_ALONE)

    def stop(self, worker: WorkController) -> None:  # noqa: ARG002 - the signature is Celery's
        """Listen no more."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None
        if self._partitions is not None:
            self._partitions.close()


def _served(metrics: Metrics, partitions: Partitions, container: Container) -> CollectorRegistry:
    """What is served: what this process counts, or, in a shared folder, it and those of its pool."""
    registry = metrics.registry
    if _SHARED in os.environ:
        registry = CollectorRegistry()
        registry.register(OfPool(os.environ[_SHARED]))
    ProcessCollector(registry=registry)
    registry.register(OfProcess(__version__, container.leases))
    registry.register(OfQueue(lambda: take_partial_snapshot(partitions)))
    registry.register(OfOrgs(lambda: look_at_held_orgs(partitions)))
    if container.settings.aquilax_keys_file is not None:
        registry.register(OfKeysFile(container.keys.problem_now))
    return registry
