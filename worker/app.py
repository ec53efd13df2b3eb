"""The Celery app: its configuration, its tasks, and the steps of its workers."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from celery import concurrency
from celery.signals import worker_process_shutdown, worker_shutdown
from kombu import Exchange, Queue

from producer.message import QUEUE
from worker.broker import install
from worker.broker.keys import KEYS
from worker.clients.redis.connections import kombu_broker
from worker.dead_letters.replays.queue import ADVANCE, REPLAYS
from worker.delivery.tasks import register, register_advance
from worker.runtime.bootsteps import GracefulShutdown, Preflight
from worker.runtime.broker_check import BrokerCheck
from worker.runtime.container import Container, FeedbackApp
from worker.runtime.continuity_recorder import ContinuityRecorder
from worker.runtime.duplicate_nodenames import DuplicateNodenames
from worker.runtime.event_dispatcher import batch_events
from worker.runtime.heartbeat import HeartbeatStep
from worker.runtime.history_sampler import HistorySampler
from worker.runtime.hold_mirroring import HoldMirroring
from worker.runtime.hold_watch import HoldWatch
from worker.runtime.inspect_stats import InspectStats
from worker.runtime.metrics_server import MetricsServer
from worker.runtime.notifications import Notifications
from worker.runtime.probe_server import Probes
from worker.runtime.pruner import Pruner
from worker.runtime.remote_control import CONTROL_EXCHANGE, EVENT_EXCHANGE
from worker.runtime.replay_scheduler import ReplayScheduler
from worker.runtime.request import TaskRequest
from worker.runtime.revocation_commands import KnowRevocations
from worker.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from worker.settings import Settings

__all__ = ["FeedbackApp", "create_app"]

_BROKERS_OF_CELERY: Final = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")
"""What Celery reads before any configuration; ``celery -b`` and BROKER_URL set the first."""

_POOL: Final = "worker.runtime.pool:TaskPool"
"""The pool, also if ``-P threads`` names it: Celery's own pool of threads can't be resized."""

_WORKER_STEPS: Final = (
    Preflight, GracefulShutdown, MetricsServer, Probes, Pruner, ReplayScheduler, HeartbeatStep, DuplicateNodenames,
    ContinuityRecorder, HoldMirroring, HistorySampler, Notifications,
)  # fmt: skip


def create_app(settings: Settings | None = None) -> FeedbackApp:
    """Return the Celery app with the tasks ``feedback.deliver`` and ``feedback.advance_replay``.

    Args:
        settings: The settings; read from the environment if None.

    Raises:
        SettingsError: A setting is wrong, or Celery has been told of a Redis past our settings.
    """
    settings = settings or load_settings()
    _refuse_another_broker()
    install()
    concurrency.ALIASES["threads"] = _POOL
    broker = kombu_broker(
        settings.feedback_broker_url.get_secret_value(),
        sentinel_master=settings.feedback_sentinel_master,
        partitions=settings.feedback_partitions,
    )
    app = FeedbackApp(
        "aquilax-feedback", broker=broker.url, control="worker.runtime.remote_control:Control", set_as_current=False
    )
    app.conf.update(_configuration(settings))
    app.conf.broker_transport_options.update(broker.transport_options)
    app.conf.broker_use_ssl = broker.tls
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each worker's log how it reads the schema
    parts = app.feedback = Container(settings)
    app.conf.broker_transport_options.update(shared_leases=parts.leases, activity=parts.activity)
    parts.logs.connect()
    batch_events(app)
    register(app, lambda: parts.delivery, lambda: parts.redelivery, request=TaskRequest)
    register_advance(app, lambda: parts.advancer, request=TaskRequest)
    app.steps["worker"].update(_WORKER_STEPS)
    app.steps["consumer"].update((BrokerCheck, HoldWatch, KnowRevocations, InspectStats))
    worker_shutdown.connect(parts.close)
    worker_process_shutdown.connect(parts.close)
    return app


def _refuse_another_broker() -> None:
    """Have one Redis for all parts: Celery's own variable is checked by none of ours, and read by Celery alone."""
    if given := [name for name in _BROKERS_OF_CELERY if os.environ.get(name)]:
        names = " and ".join(given)
        raise SettingsError(
            f"{names}: not read here (`celery -b` and BROKER_URL set CELERY_BROKER_URL): "
            "leave it out, and name the Redis in FEEDBACK_BROKER_URL, for all parts"
        )


def _configuration(settings: Settings) -> dict[str, Any]:
    return {
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_default_queue": QUEUE,
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in (QUEUE, REPLAYS)],
        "task_routes": {ADVANCE: {"queue": REPLAYS}},
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_consumer": "worker.runtime.consumer:Consumer",
        "worker_pool": _POOL,
        "worker_concurrency": settings.feedback_concurrency,
        "worker_prefetch_multiplier": 2,
        "worker_send_task_events": settings.feedback_task_events,
        "control_exchange": CONTROL_EXCHANGE,
        "event_exchange": EVENT_EXCHANGE,
        "worker_redirect_stdouts": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # for ever: Celery's 100 are used up within the hour
        "broker_transport_options": {
            "lease": settings.feedback_lease.total_seconds(),
            "counts": KEYS.counts,
            "holds": KEYS.holds,
            "telemetry": (EVENT_EXCHANGE,),
            "farthest": settings.feedback_retry_horizon.total_seconds(),
            "socket_connect_timeout": 5,
            "socket_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    }
