"""Celery's events for monitors such as Flower: told together, a few times a second.

Celery publishes what it has whenever the event loop turns, which under load is a message, and a round trip, for every
few events; and it asks for the time zone and takes a lock for each of them.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from celery import bootsteps
from celery.events.dispatcher import EventDispatcher as CeleryDispatcher
from celery.utils.time import utcoffset

if TYPE_CHECKING:
    from celery import Celery
    from celery.worker.consumer import Consumer
    from kombu import Producer

__all__ = ["BatchedEvents", "EventDispatcher", "batch_events"]

_EVERY: Final = 0.2
"""Seconds between two looks at what there is to tell Flower, whose pages are of the last second at best."""

_AT_ONCE: Final = 500
"""Events in one message: some 200 kB."""

_GROUP: Final = "task"
"""What is told together: what becomes of tasks. A worker's heartbeat goes at once."""


class EventDispatcher(CeleryDispatcher):
    """Celery's. What all events of one message share, they get when it is published."""

    def send(self, type: str, *args: Any, **fields: Any) -> None:  # noqa: A002 - the name is Celery's
        """Send an event, or put it by; from any thread."""
        put_by = type.startswith("task-") and _GROUP in self.buffer_group and not args
        if not put_by or not self.enabled or (self.groups and _GROUP not in self.groups):
            super().send(type, *args, **fields)
            return
        fields["type"] = type
        fields.setdefault("timestamp", time.time())
        events: list[dict[str, Any]] = self._group_buffer[_GROUP]
        events.append(fields)
        if len(events) >= self.buffer_limit:
            self.flush()

    def _publish(self, event: object, producer: Producer | None, *args: Any, **kwargs: Any) -> None:
        if isinstance(event, list):
            shared = {"hostname": self.hostname, "utcoffset": utcoffset(), "pid": self.pid}
            with self.clock.mutex:
                clock = self.clock.value
                self.clock.value += len(event)
            event = [{"clock": at, **shared, **each} for at, each in enumerate(event, clock + 1)]
            super()._publish(event, producer and _Written(producer), *args, **kwargs)
        else:
            super()._publish(event, producer, *args, **kwargs)


class _Written:
    """A producer whose messages are written in a seventh of the time that Python's own JSON takes."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def publish(self, events: list[dict[str, Any]], *, serializer: str, **options: Any) -> None:
        """Publish events; in Kombu's way what msgspec does not know."""
        try:
            written = msgspec.json.encode(events).decode() if serializer == "json" else None
        except (TypeError, ValueError, OverflowError):
            written = None
        if written is None:
            self._producer.publish(events, serializer=serializer, **options)
        else:
            self._producer.publish(written, content_type="application/json", content_encoding="utf-8", **options)


def batch_events(app: Celery) -> None:
    """Let the app's workers tell monitors of tasks this way."""
    app.events.dispatcher_cls = EventDispatcher
    app.steps["consumer"].add(BatchedEvents)


class BatchedEvents(bootsteps.StartStopStep):
    """When it is that what was put by is published: by the clock, or when there is much."""

    requires = ("celery.worker.consumer.events:Events",)
    _timer: Any = None

    def start(self, consumer: Consumer) -> None:
        """Publish a few times a second, where the worker has an event loop. Elsewhere Celery publishes at once."""
        if consumer.hub is None:
            return
        consumer.event_dispatcher.on_send_buffered = None
        consumer.event_dispatcher.buffer_limit = _AT_ONCE
        self._timer = consumer.hub.call_repeatedly(_EVERY, consumer._flush_events)  # noqa: SLF001 - Celery has no public way to publish what it has buffered

    def stop(self, consumer: Consumer) -> None:
        """Publish what is left, as far as Redis is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            with suppress(*consumer.connection_errors):
                consumer._flush_events()  # noqa: SLF001 - Celery has no public way to publish what it has buffered
