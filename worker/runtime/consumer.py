"""A Celery consumer that loses no message: what Celery would drop, or die of, becomes a dead letter `invalid`.

And one that keeps what it works on when it loses Redis, and is soon back when Redis is.

Celery acknowledges what it can't decode and tasks that it does not know, drops what has expired, and ends the worker,
again at each start, over a message whose parts have the wrong types. Feedback has no other copy: whatever stands in the
queue is kept whole in the dead-letter table, and the worker goes on.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import redis
from celery.exceptions import CPendingDeprecationWarning
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.common import PREFETCH_COUNT_MAX
from kombu.exceptions import OperationalError

from producer.message import ENVELOPE, QUEUE, TASK
from worker.accounting.key_types import find_wrong_types
from worker.broker.channel import default_channel
from worker.broker.payload import HELD_IN, POISON, PROBE, QUEUED_IN
from worker.broker.server_errors import ServerError
from worker.policy.envelope import Envelope
from worker.policy.message import Message as Readable
from worker.policy.message import PoisonMessage, read_message
from worker.runtime.bootsteps import exit_with_error
from worker.runtime.broker_outages import QUIET, BrokerOutages, without_celerys_warning
from worker.runtime.container import container_of
from worker.runtime.message_validation import (
    MOST_HOLDERS,
    MessageParts,
    NoTask,
    content_of,
    for_celery,
    poison_for_celery,
    problem_of,
    unended,
    wait_of,
)
from worker.runtime.pool import TaskPool
from worker.runtime.tracer import delivery_tracer

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu import Connection
    from kombu.message import Message
    from kombu.transport import virtual

__all__ = ["Consumer"]

log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 3.0
"""Seconds between tries to reach Redis."""

_FAULT_PAUSE: Final = 5.0
"""Seconds after which a message that our own code failed to receive is tried again."""


class Consumer(CeleryConsumer):
    """Celery's consumer, but for the messages that it would not bring to a task."""

    initial_prefetch_count: int
    connection_errors: tuple[type[BaseException], ...]
    _receive_task: Callable[[Message], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # As which Kombu raises what Redis refuses while it publishes; Celery publishes as it starts, and would end.
        self.connection_errors = (*self.connection_errors, OperationalError)
        self._interruptions = BrokerOutages()

    def update_strategies(self) -> None:
        """Also give the deliveries their own tracer, in a pool of this process."""
        super().update_strategies()
        if isinstance(self.pool, TaskPool):
            task = self.app.tasks[TASK]
            task.__trace__ = delivery_tracer(self.app, task, hostname=self.hostname)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        """Return the function that is called with each message."""
        receive = self._receive_task = super().create_task_handler(*args, **kwargs)
        of_redis = (*self.connection_errors, *self.channel_errors)

        def on_task_received(message: Message) -> None:
            whole = MessageParts(message)
            try:
                self._receive(message, whole, receive)
            except of_redis:
                raise
            except Exception as error:  # noqa: BLE001 - any fault of the code around a message: `_keep_back` logs it
                self._keep_back(message, error)

        return on_task_received

    def _receive(self, message: Message, whole: MessageParts, receive: Callable[[Message], None]) -> None:
        """Bring a message to its task, if it can be one, and is due."""
        if unended(message) >= MOST_HOLDERS:
            self._hand_over_poison(message, whole, f"{MOST_HOLDERS} workers were lost over it, or forgot it")
            return
        try:
            content = content_of(message)
            problem = problem_of(message, content, horizon=container_of(self.app).settings.feedback_retry_horizon)
        except NoTask as error:
            problem = str(error)
        if problem:
            self._hand_over_poison(message, whole, problem)
        elif wait := wait_of(content):
            message.channel.qos.defer(message.delivery_tag, wait=wait)
        else:
            for_celery(message, content)
            receive(message)

    def _keep_back(self, message: Message, error: Exception) -> None:
        """Let a message wait that our own code failed to receive: it is not to blame."""
        log.error("a message waits because of a fault of ours: it was not received", exc_info=error)
        for request in tuple(state.requests.values()):
            if request.message is message:
                state.task_ready(request)
        message.channel.qos.defer(message.delivery_tag, wait=_FAULT_PAUSE)

    def call_soon_ack(self, p: Callable[..., object], *args: Any, **kwargs: Any) -> object:
        """Acknowledge or reject a message: at once, in the thread of its task, where the holder gathers what ends.

        Celery has its event loop do that. It would have to be woken for each message.
        """
        if self.hub is None or not isinstance(self.pool, TaskPool):
            return super().call_soon_ack(p, *args, **kwargs)
        return p(*args, **kwargs)

    @property
    def max_prefetch_count(self) -> int:
        """How many messages may be in flight: with an autoscaler, for its most. Celery takes its fewest."""
        scaler = getattr(self.controller, "autoscaler", None)
        places: int = self.pool.num_processes if scaler is None else scaler.max_concurrency
        return min(places * int(self.prefetch_multiplier), int(PREFETCH_COUNT_MAX))

    def _update_prefetch_count(self, index: int = 0) -> None:
        """Follow a pool that grew or shrank; or an autoscaler, whose most is about to change by ``index``."""
        scaler = getattr(self.controller, "autoscaler", None)
        coming = 0 if scaler is None else index * self.prefetch_multiplier
        wanted = min(max(self.max_prefetch_count + coming, 1), PREFETCH_COUNT_MAX)
        change = wanted - self.initial_prefetch_count
        self.initial_prefetch_count = wanted
        if change > 0:
            self.qos.increment_eventually(change)
        else:
            self.qos.decrement_eventually(-change)

    def connect(self) -> Connection:
        """Connect, and look at the keys before any is read: another program may have changed their types."""
        connection = super().connect()
        with default_channel(connection).scripting() as client:
            try:
                wrong = find_wrong_types(client)
            except redis.ResponseError as error:
                log.warning("Redis does not tell what type its keys have (TYPE: %s)", error)
                return connection
        if wrong:
            exit_with_error(self, "; ".join(f"{one.summary}: {one.fix}" for one in wrong))
        return connection

    def ensure_connected(self, conn: Connection) -> Connection:
        """Connect, however long it takes; Celery's tries come ever more seldom, up to 30 s apart."""
        activity = container_of(self.app).activity
        ensure = partial(conn.ensure_connection, interval_start=_FIRST_PAUSE, interval_max=_LONGEST_PAUSE)

        def ensure_and_show_life(
            *args: Any, callback: Callable[[], object] | None = None, **options: Any
        ) -> Connection:
            def on_wait() -> None:
                activity.turned()  # a worker that waits for Redis is alive
                if callback is not None:
                    callback()

            connection: Connection = ensure(*args, callback=on_wait, **options)
            return connection

        activity.turned()
        conn.ensure_connection = ensure_and_show_life  # type: ignore[method-assign]  # replaced on this one connection
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Keep in flight what is being worked on: it will be acknowledged on another connection. The rest goes back."""
        if isinstance(self.pool, TaskPool) and self.task_consumer is not None:
            self.task_consumer.channel.kept = self.pool.drop_unstarted()
        self._interruptions.met(exc)
        with warnings.catch_warnings(), without_celerys_warning():
            # What Celery 6 will do by default is what must not be done here: ending the tasks that are running.
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)
        if isinstance(exc, (ServerError, OperationalError)):
            time.sleep(self._interruptions.pause)  # it is there, so that connecting again would not be waited for

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Say what Redis refuses before there is a channel, and wait; Celery would try again at once, and for ever."""
        if not isinstance(exc, (ServerError, OperationalError)):
            super().on_connection_error_before_connected(exc)
            return
        self._interruptions.met(exc)
        time.sleep(self._interruptions.pause)

    def on_ready(self) -> None:
        """Consume; if that still works in a moment, an interruption is over."""
        super().on_ready()
        self.timer.call_after(QUIET + 0.5, self._interruptions.passed)

    def cancel_active_requests(self) -> None:
        """Cancel what runs, in a cold shutdown. Threads can't be cancelled: `GracefulShutdown` leaves them."""
        if not isinstance(self.pool, TaskPool):
            super().cancel_active_requests()

    def on_unknown_message(self, body: object, message: Message) -> None:  # noqa: ARG002 - the signature is Celery's
        """Keep a message that names no task."""
        self._hand_over_poison(message, MessageParts(message), "it names no task")

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002 - likewise
        """Keep a message for a task that is not ours."""
        self._hand_over_poison(message, MessageParts(message), f"there is no task {exc}")

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002 - likewise
        """Keep a message that Celery refuses."""
        self._hand_over_poison(message, MessageParts(message), f"Celery refuses it: {exc}")

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Keep a message whose body can't be read."""
        self._hand_over_poison(message, MessageParts(message), f"its body can't be read: {exc!r}")

    def _hand_over_poison(self, message: Message, parts: MessageParts, problem: str) -> None:
        """Hand what is no task to the pool, where it becomes a dead letter: the event loop waits for no database."""
        if HELD_IN not in message.properties:
            self._move(message)
            return
        poison_for_celery(message, _poison(message, parts, problem))
        self._receive_task(message)

    def _move(self, message: Message) -> None:
        """Lay what is of no use in another queue into the one of feedback: there it is counted, and brought to its end.

        It may be there twice, if this worker dies in between, and is not lost.
        """
        log.warning("a message of the queue %s goes into %s", message.properties.get(QUEUED_IN), QUEUE)
        if POISON in message.headers and isinstance(message.body, bytes):
            with message.channel.conn_or_acquire() as client:
                client.lpush(QUEUE, message.body)
        else:
            message.channel._put(QUEUE, cast("virtual.Message", message).serializable() | {"headers": message.headers})  # noqa: SLF001 - Kombu has no public way to queue an encoded message
        message.ack()


def _poison(message: Message, parts: MessageParts, problem: str) -> PoisonMessage:
    """Return what is kept of a message: all of it, and the event in it, if there is one."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    tag, now = str(message.delivery_tag), datetime.now(UTC)
    poison = PoisonMessage(
        raw=b"",
        problem=problem,
        envelope=Envelope(enqueued_at=now, message_id=tag),
        delivery_tag=tag,
        held_in=str(message.properties[HELD_IN]),
        probe=headers.get(PROBE) is True,
    )
    if POISON in headers and isinstance(message.body, bytes):
        return replace(poison, raw=message.body, problem=str(headers[POISON]))
    try:
        args, kwargs, headers = content_of(message)
    except NoTask:
        return replace(poison, raw=parts.as_json())
    found = read_message(args, kwargs, headers.get(ENVELOPE), delivery_tag=tag, received_at=now)
    carries = found if isinstance(found, Readable) else None
    return replace(poison, raw=parts.as_json(), envelope=found.envelope, carries=carries)
