"""The parts of one worker process, and how the parts of Celery's worker get them."""

from __future__ import annotations

import gc
import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, cast

from celery import Celery

from worker.accounting.history.flusher import HistoryFlusher
from worker.broker.activity import ConsumerActivity
from worker.broker.lease_state import SharedLeaseState
from worker.broker.redelivery import Redelivery
from worker.clients.aquilax.client import AquilaX
from worker.clients.aquilax.key_reload import ReloadedKeys
from worker.clients.redis.clock import RedisClock
from worker.clients.redis.connections import broker_client
from worker.concurrency.file_descriptors import Room, deliveries_at_once
from worker.concurrency.scheduler import run_in_thread
from worker.dead_letters.replays.advancer import Advancer
from worker.dead_letters.store import DeadLetterStore
from worker.delivery.hold import Announcer, Hold
from worker.delivery.hooks import HookChain
from worker.delivery.org_holds import OrgHolds
from worker.delivery.org_limits import OrgLimits
from worker.delivery.partitioned_idempotency import connect_idempotency
from worker.delivery.revocations import Revocations
from worker.delivery.service import DeliveryService
from worker.observability.logs import Logs
from worker.observability.outcome_log import OutcomeLog
from worker.observability.redaction import Redactor, secrets_of
from worker.runtime.org_watch import OrgWatch

if TYPE_CHECKING:
    from worker.delivery.hooks import Hooks
    from worker.settings import Settings

__all__ = ["Container", "FeedbackApp", "container_of"]

_LEASE_MARGIN: Final = timedelta(seconds=30)
"""A claim outlasts the longest request by this much, for name resolution, which no timeout reaches."""

_KEPT_OPEN: Final = 1000
"""Connections to AquilaX that are kept: a pool may grow at any time, and none is opened before a delivery needs it."""

_HISTORY_PATIENCE: Final = 2.0
"""Seconds that the thread which writes the history waits for Redis: it tries again by itself."""

_NEW_OBJECTS: Final = 50_000
"""That many more than there were, and Python looks for cycles among them: what is in flight is about 15,000."""


class Container:
    """The parts of one worker process, made when first needed: after a pool has forked, not before."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.node = ""
        """The worker's node name, once it starts."""
        self.announcer = Announcer()
        self.hold_changed = threading.Event()
        """Set when this process begins or ends a hold; who mirrors it into the other partitions clears it."""
        self.revocations = Revocations()
        self.leases = SharedLeaseState()
        self.activity = ConsumerActivity(self.leases)
        self.redactor = Redactor(secrets_of(settings))
        self.logs = Logs(settings.feedback_log_format, self.redactor)
        self.hooks = HookChain(*_traces(), OutcomeLog(now=self.now, sample=settings.feedback_log_sample))
        self._delivery: DeliveryService | None = None
        self._org_watch: OrgWatch | None = None
        self._advancer: Advancer | None = None
        self._history: HistoryFlusher | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def delivery(self) -> DeliveryService:
        """The process's delivery; many tasks ask for the first one at once."""
        return self._delivery or run_in_thread(self._first_delivery)

    def _first_delivery(self) -> DeliveryService:
        with self._one_at_a_time:
            if self._delivery is None:
                history = HistoryFlusher(broker_client(self.settings, patience=_HISTORY_PATIENCE, retries=0))
                self._delivery = self._make_delivery(self.hooks.and_also(history.tally))
                self._history = history
                history.start()
                _look_for_garbage_seldom()
            return self._delivery

    def stop_waiting(self) -> None:
        """Let no event wait in this process for a place of its org, as the process ends."""
        if self._delivery is not None:
            self._delivery.stop_waiting()

    @property
    def redelivery(self) -> Redelivery:
        """What publishes messages of the process's delivery again."""
        return Redelivery(self.delivery.scripts_at, self.leases)

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

    @cached_property
    def keys(self) -> ReloadedKeys:
        """The keys that this process uses; raises `SettingsError` when they are first read, and can't be used."""
        return ReloadedKeys(self.settings, learned=self.redactor.learn)

    def _make_delivery(self, hooks: Hooks) -> DeliveryService:
        settings = self.settings
        idempotency = connect_idempotency(
            settings.feedback_broker_url.get_secret_value(),
            sentinel_master=settings.feedback_sentinel_master,
            partitions=settings.feedback_partitions,
            ttl=settings.feedback_idempotency_ttl,
            lease=settings.feedback_request_timeout + _LEASE_MARGIN,
            connections=settings.feedback_concurrency,
            shared=self.leases,
        )
        clock = RedisClock(idempotency.client)
        clock.now()  # a look before there is anything that would have to wait for it
        actor = f"{socket.gethostname()}:{os.getpid()}"
        org_holds = OrgHolds(
            idempotency.client,
            scripts=idempotency.scripts,
            actor=actor,
            ring=lambda: self.keys.ring,
            begun=self.hooks.hold_begun,
        )
        most, of_all = settings.feedback_org_concurrency, settings.feedback_concurrency
        limits = None if most is None or most >= of_all else OrgLimits(most, most_waiting=of_all)
        delivery = DeliveryService(
            aquilax=AquilaX(
                settings.aquilax_base_url,
                self.keys.ring,
                timeout=settings.feedback_request_timeout,
                connections=max(settings.feedback_concurrency, _KEPT_OPEN),
            ),
            idempotency=idempotency,
            hold=Hold(
                idempotency.client,
                scripts=idempotency.scripts,
                actor=actor,
                announcer=self.announcer,
                begun=self.hooks.hold_begun,
                changed=self.hold_changed.set,
                stands=self.leases.pause,
            ),
            org_holds=org_holds,
            dead_letters=DeadLetterStore.connect(settings.feedback_database_url.get_secret_value()),
            policy=settings.retry_policy,
            now=clock.now,
            hooks=hooks,
            room=self.room,
            org_limits=limits,
            worker=self.node,
        )
        self._org_watch = OrgWatch(settings, keys=self.keys, holds=org_holds, use_keys=delivery.use_keys, name=actor)
        self._org_watch.start()
        return delivery

    @property
    def advancer(self) -> Advancer:
        """What brings the process's replay plans forward; see `delivery`."""
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
            partitions=settings.feedback_partitions,
            lease=settings.feedback_lease,
        )

    def end_history(self) -> None:
        """Write what was counted since the history was written last, before the process ends without `close`."""
        if self._history is not None:
            self._history.close()

    def close(self, **_: object) -> None:
        """Close what was opened in this process; a signal's receiver."""
        with self._one_at_a_time:
            # The history last: it counts how the deliveries ended.
            parts = (self._org_watch, self._delivery, self._advancer, self._history)
            self._org_watch = self._delivery = self._advancer = self._history = None
        opened = [part for part in parts if part is not None]
        for part in opened:
            part.close()


def _look_for_garbage_seldom() -> None:
    """Spare Python most of its search for garbage in cycles, a tenth of the CPU: deliveries leave hardly any."""
    gc.freeze()  # what is there now stays
    gc.set_threshold(_NEW_OBJECTS)


def _traces() -> tuple[Hooks, ...]:
    """What makes spans, if OpenTelemetry is installed: first, so that the log's lines are written within them."""
    try:
        from worker.observability.tracing import Traces  # noqa: PLC0415 - OpenTelemetry is optional
    except ModuleNotFoundError:
        return ()
    return (Traces(),)


class FeedbackApp(Celery):
    """A Celery app with a container."""

    feedback: Container

    def uses_utc_timezone(self) -> bool:
        """Return whether times are of UTC. Celery asks for each message; its own answer takes a lock each time."""
        return self._uses_utc

    @cached_property
    def _uses_utc(self) -> bool:
        return super().uses_utc_timezone()


def container_of(app: Celery) -> Container:
    """Return the container of an app that `worker.app.create_app` has made."""
    return cast("FeedbackApp", app).feedback
