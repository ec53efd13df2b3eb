"""Consumers of the transport as Celery makes them, one for each way in which messages are received."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from kombu import Connection, Consumer, Queue
from kombu.asynchronous import Hub

from worker.clients.redis.connections import kombu_broker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.processes import RedisServer
    from worker.broker.lease import Lease

__all__ = ["TRANSPORT", "Drainer", "Looper", "Worker", "connect", "spread"]

TRANSPORT = "worker.broker.transport:Transport"


def connect(server: RedisServer, **options: Any) -> Any:
    """A Kombu connection over the transport; the caller releases it."""
    return Connection(server.url, transport=TRANSPORT, transport_options=options)


def spread(server: RedisServer, partitions: int) -> dict[str, Any]:
    """The transport's options for so many partitions on one server."""
    return kombu_broker(server.url, partitions=partitions).transport_options


class Worker:
    """Takes messages by `basic_get`.

    Args:
        server: The Redis.
        queues: Where it gets messages from.
        prefetch: How many it may have in flight; 0 for any number.
        no_ack: Whether what is received counts as acknowledged.
        options: Options of the transport.
    """

    def __init__(
        self, server: RedisServer, *queues: str, prefetch: int = 0, no_ack: bool = False, **options: Any
    ) -> None:
        self.queues = queues
        self.connection = connect(server, **options)
        self.channel = self.connection.channel()
        self.channel.basic_qos(0, prefetch, False)
        self.prefetch = prefetch
        self.no_ack = no_ack
        self.received: list[Any] = []
        self.starts()

    def starts(self) -> None:
        """Begin to consume, if that is how it receives."""

    @property
    def holder(self) -> Lease:
        """Who holds what it receives."""
        holder: Lease = self.channel.holder
        return holder

    @property
    def fetching(self) -> list[Any]:
        """The channels that fetch for it: of a queue in several partitions one for each."""
        return [channel for channel in self.channel.everywhere if channel.active_queues]

    @property
    def room(self) -> int:
        """How many messages more it may have in flight."""
        estimate = self.channel.qos.can_consume_max_estimate()
        return 1000 if estimate is None else int(estimate)

    def receive(self, *, at_least: int = 0, timeout: float = 10) -> list[Any]:
        """Receive all that there is, or that there is room for.

        Args:
            at_least: Goes on until so many have come, or fails.
            timeout: Seconds until it fails.
        """
        received: list[Any] = []
        deadline = time.monotonic() + timeout
        while True:
            new = self.take()
            received += new
            if len(received) >= at_least and not new:
                return received
            assert time.monotonic() < deadline, f"{len(received)} messages came of {at_least}"

    def take(self) -> list[Any]:
        """Receive what one look brings."""
        for queue in self.queues:
            message = self.channel.basic_get(queue, no_ack=self.no_ack)
            if message is not None:
                self.received.append(message)
                return [message]
        return []

    def settle(self) -> None:
        """Wait until everything that it noted stands in Redis."""
        deadline = time.monotonic() + 10
        for holder in self.channel.holders:
            while holder._noted.pending:
                assert time.monotonic() < deadline, "not written down"
                time.sleep(0.001)
            with holder._one_at_a_time:
                pass

    def close(self) -> None:
        """Close in order: what is in flight goes back."""
        self.connection.release()

    def crash(self) -> None:
        """End like a killed process: nothing is written any more. The thread and the sockets are this process' own."""
        for channel in self.channel.everywhere:
            channel._in_poll, channel._awaits_answer = None, False
        for holder in self.channel.holders:
            holder.forget()
            with holder._changed:
                holder._changed.notify_all()
            holder._pool.disconnect()
        self.connection.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Drainer(Worker):
    """Takes messages by `drain_events`, as programs without an event loop do."""

    def starts(self) -> None:
        """Consume."""
        self.consumer = Consumer(
            self.channel,
            [Queue(name) for name in self.queues],
            on_message=self.received.append,
            no_ack=self.no_ack,
            auto_declare=False,
        )
        self.consumer.consume()

    def take(self) -> list[Any]:
        """Receive a message, or learn from Redis that there is none."""
        before, deadline = len(self.received), time.monotonic() + 10
        while len(self.received) == before:
            assert time.monotonic() < deadline, "Redis does not answer"
            with suppress(TimeoutError):
                self.connection.drain_events(timeout=0.01)
            if self.is_quiet:
                break
        return self.received[before:]

    def turn(self, longest: float = 0.02) -> None:
        """Look once."""
        with suppress(TimeoutError):
            self.connection.drain_events(timeout=longest)

    @property
    def is_quiet(self) -> bool:
        """Whether Redis has answered that there is nothing, or nothing more is wanted."""
        waits = all(channel.armed_until is not None for channel in self.fetching)
        return waits or not self.channel.qos.can_consume()


class Looper(Drainer):
    """Takes messages in an event loop, as Celery's workers do: many at once, and acknowledgements in groups."""

    def starts(self) -> None:
        """Consume, in a loop of its own."""
        self.hub = Hub()
        self.connection.register_with_event_loop(self.hub)
        super().starts()

    def turn(self, longest: float = 0.02) -> None:
        """Let the loop turn once."""
        timer = self.hub.call_later(longest, lambda: None)
        self.hub.run_once()
        timer.cancel()

    def run_until(self, seen: Callable[[], object], *, timeout: float = 10) -> None:
        """Let the loop turn until something is seen."""
        deadline = time.monotonic() + timeout
        while not seen():
            assert time.monotonic() < deadline, "not seen in time"
            self.turn(1)

    def take(self) -> list[Any]:
        """Receive what there is, until Redis says that there is no more, or there is no more room."""
        before, deadline = len(self.received), time.monotonic() + 10
        self.turn(0.001)
        while not self.is_quiet:
            assert time.monotonic() < deadline, "Redis does not answer"
            self.turn()
        return self.received[before:]

    def close(self) -> None:
        """Close in order."""
        super().close()
        self.hub.close()

    def crash(self) -> None:
        """End like a killed process."""
        super().crash()
        self.hub.close()
