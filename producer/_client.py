"""`FeedbackProducer`: hand feedback over to Redis from threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self, overload

from producer._chunks import Item, Taken, chunks
from producer._configured import Configured, not_kept, to_event
from producer._partitioned import PartitionedMessages, require_answers, require_one_taken
from producer._pools import Pools
from producer._resp import enqueuing, is_elsewhere, leaves_clean, require_answer, require_taken
from producer._routing import ASK_AGAIN, LAST_TRY, ONLY
from producer.errors import BrokerUnavailable, EnqueueUncertain, ProducerError
from producer.message import to_messages
from producer.partitions import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from types import TracebackType
    from uuid import UUID

    from producer.event import FeedbackEvent

__all__ = ["FeedbackProducer"]

_PART_ANSWERS: Final = 1.0
"""Seconds that it may take to find out whether any server answers."""


class FeedbackProducer(Configured):
    """Enqueues feedback events; to be shared by all threads, and to be made once for a process.

    Safe after a fork: a child opens connections of its own.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+socket://``, ``sentinel://`` or, of a cluster,
            ``redis+cluster://`` or ``rediss+cluster://``; docs/settings.md lists its options.
        timeout: The budget of one call, in seconds: waiting for a connection, resolving, connecting, logging in,
            sending and the reply, all together.
        queue: The Celery queue that the workers consume.
        max_connections: Connections at most, in a cluster to each primary. A call that finds all of them busy waits,
            within its budget.
        sentinel_master: The name of the master that the sentinels watch, if ``url`` names sentinels. They are asked for
            it each time that a connection is made: after one was lost, or led to a server that is not the master.
        partitions: How many partitions the queue has: 16 in a cluster if None, and 1 on one Redis. Each is on one node.
            Their number is recorded in Redis with the first event, and never changes; with another one no event is
            sent.
        spool: A directory on a local disk, or a `producer.spool.Spool`, that keeps events while Redis does not take
            them: calls return once an event is in Redis or there, and a thread sends it to Redis later.
        replicas: How many of Redis' replicas must have an event before a call returns. Fewer in time is
            `EnqueueUncertain`: Redis has taken the event, and may lose it with its machine.
        fsync: Whether an event must be in the append-only file, on the disk of Redis and of each of these replicas,
            before a call returns. It needs ``appendonly yes``, ``appendfsync always``, and Redis 7.2 or Valkey.

    Raises:
        ValueError: An argument can't be used.
    """

    def _open(self) -> None:
        self._pools = Pools(self._routes, self._max_connections)
        if self._is_whole:
            self._pool = self._pools.at(ONLY, 0)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._pools.closed

    @overload
    def enqueue(self, request_id: FeedbackEvent, /, *, timeout: float | None = None) -> FeedbackEvent: ...
    @overload
    def enqueue(
        self,
        request_id: str | UUID,
        status: bool | str,
        *,
        org: str,
        group: str,
        occurred_at: datetime | str | None = None,
        timeout: float | None = None,
    ) -> FeedbackEvent: ...
    def enqueue(
        self,
        request_id: FeedbackEvent | str | UUID,
        status: bool | str | None = None,
        *,
        org: str | None = None,
        group: str | None = None,
        occurred_at: datetime | str | None = None,
        timeout: float | None = None,
    ) -> FeedbackEvent:
        """Hand one event over, given whole or by its fields; see `FeedbackEvent` for what they may be.

        Args:
            request_id: The AI request that the feedback is for, or an event.
            status: 👍 is True or "true", 👎 is False or "false".
            org: The organization's id.
            group: The group's id.
            occurred_at: When the person pressed; now if None.
            timeout: The budget of this call in seconds, if not the producer's own.

        Returns:
            The event that Redis has acknowledged, or that is on the spool's disk.

        Raises:
            InvalidEvent: A field can't be carried; nothing was sent.
            BrokerUnavailable: Not sent; try again later. With a spool: nor was it kept there.
            EnqueueUncertain: It may have been sent, or fewer replicas have it than must; enqueue it again, it is
                delivered once.
        """
        event = to_event(request_id, status, org, group, occurred_at)
        self._hand_over((event,), timeout)
        return event

    def enqueue_many(self, events: Iterable[Item], *, timeout: float | None = None) -> int:
        """Hand many events over, in one round trip for each 500.

        Args:
            events: Events, or mappings of their fields. A generator is drawn from as chunks are sent.
            timeout: The budget of each chunk in seconds, if not the producer's own.

        Returns:
            How many events Redis has acknowledged, or the spool has kept: all of them.

        Raises:
            ProducerError: As `enqueue`. ``taken`` counts the events that were acknowledged, and ``not_taken`` has those
                of the chunk at hand that were not: with a single partition all of them, as a chunk is taken as a
                whole, or not; with several each partition's part of it is.
            Exception: What ``events`` raises of its own comes through, with a note that says how many were taken.
        """
        with Taken() as taken:
            for chunk in chunks(events):
                self._hand_over(chunk, timeout)
                taken.count += len(chunk)
        return taken.count

    def enqueue_messages(
        self,
        messages: Sequence[bytes],
        *,
        events: Sequence[FeedbackEvent] = (),
        request_ids: Sequence[str] = (),
        timeout: float | None = None,
    ) -> None:
        """Hand ready-made messages over, in one round trip. The spool takes none.

        Those of one partition are taken together, or not at all; with a single partition that is all of them.

        Args:
            messages: Encoded tasks ``feedback.deliver``; up to 5,000.
            events: The events in them, for the error's ``not_taken``.
            request_ids: Of each message, in their order: these tell its partition, as the events do. Without either
                it is read from the message, which takes longer.
            timeout: The budget in seconds, if not the producer's own.

        Raises:
            BrokerUnavailable: Not sent; try again later. ``taken`` counts those that were taken all the same.
            EnqueueUncertain: Some may have been sent; ``taken`` as before, and ``not_taken`` are all others.
            ValueError: They are too many for one command, or ``request_ids`` are not as many.
        """
        if not messages:
            return
        deadline = time.monotonic() + self._budget(timeout)
        if not self._is_whole:
            prefixes = self._address.prefixes
            if len(events) == len(messages) == 1:  # the shortest way
                partition = partition_of(events[0].request_id, len(prefixes))
                command = enqueuing(self._queue, messages, prefix=prefixes[partition])
                require_one_taken(self._pools.ask_one(partition, command, deadline), events[0])
                return
            sorted_ = PartitionedMessages(messages, events, request_ids, len(prefixes))
            sorted_.require_taken(self._pools.ask(sorted_.commands(self._queue, prefixes), deadline))
            return
        try:
            require_taken(self._ask(enqueuing(self._queue, messages), deadline))
        except ProducerError as error:
            error.not_taken, error.messages_not_taken = tuple(events), tuple(range(len(messages)))
            raise

    def ping(self, *, timeout: float | None = None, anywhere: bool = False) -> None:
        """Return if Redis answers, and in a cluster each primary that has a partition; for a probe of readiness.

        With ``replicas`` or ``fsync``: if it confirms a write, which changes nothing, as it must confirm events.

        Args:
            timeout: The budget in seconds, if not the producer's own.
            anywhere: Whether one primary that does so is enough: its events are taken then.

        Raises:
            BrokerUnavailable: It can't be reached, does not answer, or does not confirm.
        """
        try:
            deadline = time.monotonic() + self._budget(timeout)
            if self._is_whole:
                require_answer(self._ask(self._pings[0], deadline))
            else:
                require_answers(self._pools.ask(self._pings, deadline), anywhere=anywhere)
        except EnqueueUncertain as error:
            raise BrokerUnavailable(str(error)) from error

    def answers_in_part(self) -> bool:
        """Return whether the partitions are at several servers, and one of them answers; for the spool."""
        if len(self._routes.places()) < 2:  # noqa: PLR2004 - several
            return False
        outcomes = self._pools.ask(self._pings, time.monotonic() + min(self._timeout, _PART_ANSWERS))
        return any(isinstance(outcome, bytes) and outcome[:1] != b"-" for outcome in outcomes.values())

    def close(self) -> None:
        """Close the connections. Calls under way end as they would; later ones raise `BrokerUnavailable`.

        What is in the spool stays there, and the next process that uses its directory sends it.
        """
        self._pools.close()
        if self._spool is not None:
            self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hand_over(self, events: Sequence[FeedbackEvent], timeout: float | None) -> None:
        if (spool := self._spool) is None:
            self.enqueue_messages(to_messages(events, queue=self._queue), events=events, timeout=timeout)
            return
        tried, left = self._outages.divided(events) if spool.tries_redis() else ((), events)
        why: ProducerError | None = None
        is_total = True
        if tried:
            try:
                self.enqueue_messages(to_messages(tried, queue=self._queue), events=tried, timeout=timeout)
            except (BrokerUnavailable, EnqueueUncertain) as error:
                if self.closed:
                    raise
                why, left, is_total = error, (*left, *error.not_taken), self._outages.failed(tried, error)
            else:
                self._outages.succeeded(tried)
        if left:
            with not_kept(left, why):
                spool.put(left, self._queue, why if is_total else None)

    def _ask(self, command: bytes, deadline: float) -> bytes:
        """Ask, and ask again while a cluster says that the slot is elsewhere, or about to be."""
        while True:
            reply = self._ask_once(command, deadline)
            if not is_elsewhere(reply) or time.monotonic() + ASK_AGAIN + LAST_TRY >= deadline:
                return reply
            time.sleep(ASK_AGAIN)

    def _ask_once(self, command: bytes, deadline: float) -> bytes:
        connection = self._pool.take(deadline)
        asked_at = time.monotonic()
        try:
            reply = connection.ask(command, deadline)
        except BaseException:
            self._pool.drop(connection, asked_at)
            raise
        if leaves_clean(reply):
            self._pool.release(connection)
        else:
            self._pool.drop(connection, asked_at)
        return reply
