"""The Celery app, and the only place that knows every part."""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from celery import Celery, concurrency
from celery.signals import worker_process_shutdown, worker_shutdown
from kombu import Exchange, Queue

from producer.message import QUEUE
from worker.broker import install
from worker.clients.aquilax.client import AquilaX
from worker.clients.redis.clock import RedisClock
from worker.clients.redis.connections import kombu_broker
from worker.concurrency.file_descriptors import Room, deliveries_at_once
from worker.concurrency.scheduler import run_in_thread
from worker.dead_letters.replays.advancer import Advancer
from worker.dead_letters.replays.queue import ADVANCE, REPLAYS
from worker.dead_letters.store import DeadLetterStore
from worker.delivery.hold import HOLD, Announcer, Hold
from worker.delivery.hooks import HookChain
from worker.delivery.idempotency import IdempotencyStore
from worker.delivery.revocations import Revocations
from worker.delivery.service import DeliveryService
from worker.delivery.tasks import register, register_advance
from worker.observability.logs import Logs
from worker.observability.outcome_log import OutcomeLog
from worker.observability.redaction import Redactor, secrets_of
from worker.runtime.bootsteps import BrokerCheck, GracefulShutdown, HoldWatch, Preflight
from worker.runtime.container import ProcessContainer
from worker.runtime.continuity_recorder import ContinuityRecorder
from worker.runtime.duplicate_nodenames import DuplicateNodenames
from worker.runtime.event_dispatcher import batch_events
from worker.runtime.heartbeat import HeartbeatStep
from worker.runtime.inspect_stats import InspectStats
from worker.runtime.metrics_server import MetricsServer
from worker.runtime.probe_server import Probes
from worker.runtime.pruner import Pruner
from worker.runtime.remote_control import CONTROL_EXCHANGE, EVENT_EXCHANGE
from worker.runtime.replay_scheduler import ReplayScheduler
from worker.runtime.revocation_commands import KnowRevocations
from worker.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from worker.delivery.hooks import Hooks
    from worker.settings import Settings

__all__ = ["FeedbackApp", "create_app"]

_LEASE_MARGIN: Final = timedelta(seconds=30)
"""A claim outlasts the longest request by this much, for name resolution, which no timeout reaches."""

_BROKERS_OF_CELERY: Final = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")
"""What Celery reads before any configuration; ``celery -b`` and BROKER_URL set the first."""

_POOL: Final = "worker.runtime.pool:TaskPool"
"""The pool, also if ``-P threads`` names it: Celery's own pool of threads can't be resized."""

_KEPT_OPEN: Final = 1000
"""Connections to AquilaX that are kept: a pool may grow at any time, and none is opened before a delivery needs it."""

_NEW_OBJECTS: Final = 50_000
"""That many more than there were, and Python looks for cycles among them: what is in hand is about 15,000."""


class Container(ProcessContainer):
    """The parts of one worker process, made when first needed: after a pool has forked, not before."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.announcer = Announcer()
        self.revocations = Revocations()
        self.logs = Logs(settings.feedback_log_format, Redactor(secrets_of(settings)))
        self.hooks = HookChain(*_traces(), OutcomeLog(now=self.now, sample=settings.feedback_log_sample))
        self._delivery: DeliveryService | None = None
        self._advancer: Advancer | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def delivery(self) -> DeliveryService:
        """The process's delivery; many tasks ask for the first one at once."""
        return self._delivery or run_in_thread(self._first_delivery)

    def _first_delivery(self) -> DeliveryService:
        with self._one_at_a_time:
            if self._delivery is None:
                self._delivery = self._make_delivery()
                _look_for_garbage_seldom()
            return self._delivery

    def observe(self, hooks: Hooks) -> None:
        """Let one more hear of the deliveries, as long as none has been made."""
        self.hooks = self.hooks.and_also(hooks)

    def now(self) -> datetime:
        """Return the time: by Redis' clock, where this process delivers."""
        delivery = self._delivery
        return datetime.now(UTC) if delivery is None else delivery.now()

    @cached_property
    def room(self) -> Room | None:
        """As many deliveries at once as there are file descriptors for; None if there are enough."""
        wanted = self.settings.feedback_concurrency
        possible = deliveries_at_once(wanted)
        return Room(possible) if possible < wanted else None

    def _make_delivery(self) -> DeliveryService:
        settings = self.settings
        idempotency = IdempotencyStore.connect(
            settings.feedback_broker_url.get_secret_value(),
            sentinel_master=settings.feedback_sentinel_master,
            ttl=settings.feedback_idempotency_ttl,
            lease=settings.feedback_request_timeout + _LEASE_MARGIN,
            connections=settings.feedback_concurrency,
        )
        clock = RedisClock(idempotency.client)
        clock.now()  # a look before there is anything that would have to wait for it
        return DeliveryService(
            aquilax=AquilaX(
                settings.aquilax_base_url,
                settings.require_api_key(),
                timeout=settings.feedback_request_timeout,
                connections=max(settings.feedback_concurrency, _KEPT_OPEN),
            ),
            idempotency=idempotency,
            hold=Hold(
                idempotency.client,
                scripts=idempotency.scripts,
                by=f"{socket.gethostname()}:{os.getpid()}",
                announcer=self.announcer,
                begun=self.hooks.hold_begun,
            ),
            dead_letters=DeadLetterStore.connect(settings.feedback_database_url.get_secret_value()),
            policy=settings.retry_policy,
            now=clock.now,
            hooks=self.hooks,
            room=self.room,
        )

    @property
    def advancer(self) -> Advancer:
        """What brings the process's replay plans forward; as of `delivery`."""
        with self._one_at_a_time:
            if self._advancer is None:
                self._advancer = self.make_advancer()
            return self._advancer

    def make_advancer(self) -> Advancer:
        """Return another one, with connections of its own."""
        settings = self.settings
        return Advancer.connect(
            settings.feedback_database_url.get_secret_value(),
            settings.feedback_broker_url.get_secret_value(),
            sentinel_master=settings.feedback_sentinel_master,
            lease=settings.feedback_lease,
        )

    def close(self, **_: object) -> None:
        """Close what was opened in this process; a signal's receiver."""
        with self._one_at_a_time:
            opened = [part for part in (self._delivery, self._advancer) if part is not None]
            self._delivery = self._advancer = None
        for part in opened:
            part.close()


def _look_for_garbage_seldom() -> None:
    """Spare Python most of its search for garbage in cycles, a tenth of the CPU: deliveries leave hardly any."""
    gc.freeze()  # what is there now stays
    gc.set_threshold(_NEW_OBJECTS)


class FeedbackApp(Celery):
    """The Celery app, with the parts of the process."""

    feedback: Container


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
        settings.feedback_broker_url.get_secret_value(), sentinel_master=settings.feedback_sentinel_master
    )
    app = FeedbackApp(
        "aquilax-feedback", broker=broker.url, control="worker.runtime.remote_control:Control", set_as_current=False
    )
    app.conf.update(_configuration(settings))
    app.conf.broker_transport_options.update(broker.transport_options)
    app.conf.broker_use_ssl = broker.tls
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each worker's log how it reads the schema
    parts = app.feedback = Container(settings)
    parts.logs.connect()
    batch_events(app)
    register(app, lambda: parts.delivery)
    register_advance(app, lambda: parts.advancer)
    app.steps["worker"].update(
        (Preflight, GracefulShutdown, MetricsServer, Probes, Pruner, ReplayScheduler, HeartbeatStep, DuplicateNodenames)
    )
    app.steps["worker"].add(ContinuityRecorder)
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


def _traces() -> tuple[Hooks, ...]:
    """What makes spans, if OpenTelemetry is installed: first, so that the log's lines are written within them."""
    try:
        from worker.observability.tracing import Traces  # noqa: PLC0415 - OpenTelemetry is optional
    except ModuleNotFoundError:
        return ()
    return (Traces(),)


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
        "worker_send_task_events": True,
        "control_exchange": CONTROL_EXCHANGE,
        "event_exchange": EVENT_EXCHANGE,
        "worker_redirect_stdouts": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # for ever: Celery's 100 are used up within the hour
        "broker_transport_options": {
            "lease": settings.feedback_lease.total_seconds(),
            "counts": {QUEUE: f"{QUEUE}:counts"},
            "holds": {QUEUE: HOLD},
            "farthest": settings.feedback_retry_horizon.total_seconds(),
            "socket_connect_timeout": 5,
            "socket_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    }
