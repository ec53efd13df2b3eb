"""`AsyncFeedbackProducer`: hand feedback over to Redis from coroutines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, overload

from producer._async_pools import AsyncPools
from producer._chunks import Item, Taken, async_chunks
from producer._configured import Configured, not_kept, to_event
from producer._partitioned import PartitionedMessages, require_answers, require_one_taken
from producer._resp import enqueuing, is_elsewhere, leaves_clean, require_answer, require_taken
from producer._routing import ASK_AGAIN, LAST_TRY, ONLY
from producer.errors import BrokerUnavailable, EnqueueUncertain, ProducerError
from producer.message import to_messages
from producer.partitions import partition_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Sequence
    from datetime import datetime
    from types import TracebackType
    from uuid import UUID

    from producer.event import FeedbackEvent

__all__ = ["AsyncFeedbackProducer"]


class AsyncFeedbackProducer(Configured):
    """Enqueues feedback events from coroutines; to be shared by all tasks, and to be made once for a process.

    All calls of an event loop go over one connection at once (in a cluster one to each primary), so thousands of tasks
    need no thousands of connections.
    It may be used from several loops, one after the other.

    Args:
        url: See `FeedbackProducer`.
        timeout: The budget of one call, in seconds: resolving, connecting, logging in, sending and the reply, all
            together.
        queue: The Celery queue that the workers consume.
        max_connections: Connections at most in one event loop, in a cluster to each primary. There is one while Redis
            answers; those that have left a call without an answer stay until the last call on them has ended.
        sentinel_master: The name of the master that the sentinels watch, if ``url`` names sentinels. They are asked for
            it each time that a connection is made: after one was lost, or led to a server that is not the master.
        partitions: See `FeedbackProducer`.
        spool: See `FeedbackProducer`.
        replicas: See `FeedbackProducer`. The calls of an event loop that come together are confirmed together.
        fsync: See `FeedbackProducer`.

    Raises:
        ValueError: An argument can't be used.
    """

    def _open(self) -> None:
        self._pools = AsyncPools(self._routes, self._max_connections)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._pools.closed

    @overload
    async def enqueue(
        self,
        request_id: FeedbackEvent,
        /,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - see below
    ) -> FeedbackEvent: ...
    @overload
    async def enqueue(
        self,
        request_id: str | UUID,
        status: bool | str,
        *,
        org: str,
        group: str,
        occurred_at: datetime | str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - see below
    ) -> FeedbackEvent: ...
    async def enqueue(
        self,
        request_id: FeedbackEvent | str | UUID,
        status: bool | str | None = None,
        *,
        org: str | None = None,
        group: str | None = None,
        occurred_at: datetime | str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it bounds name resolution too, which no scope can cancel
    ) -> FeedbackEvent:
        """Hand one event over; as `FeedbackProducer.enqueue`."""
        event = to_event(request_id, status, org, group, occurred_at)
        await self._hand_over((event,), timeout)
        return event

    async def enqueue_many(
        self,
        events: Iterable[Item] | AsyncIterable[Item],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - of each chunk, and see enqueue
    ) -> int:
        """Hand many events over; as `FeedbackProducer.enqueue_many`."""
        with Taken() as taken:
            async for chunk in async_chunks(events):
                await self._hand_over(chunk, timeout)
                taken.count += len(chunk)
        return taken.count

    async def enqueue_messages(
        self,
        messages: Sequence[bytes],
        *,
        events: Sequence[FeedbackEvent] = (),
        request_ids: Sequence[str] = (),
        timeout: float | None = None,  # noqa: ASYNC109 - see enqueue
    ) -> None:
        """Hand ready-made messages over; as `FeedbackProducer.enqueue_messages`."""
        if not messages:
            return
        deadline = asyncio.get_running_loop().time() + self._budget(timeout)
        if not self._is_whole:
            prefixes = self._address.prefixes
            if len(events) == len(messages) == 1:  # the shortest way
                partition = partition_of(events[0].request_id, len(prefixes))
                command = enqueuing(self._queue, messages, prefix=prefixes[partition])
                require_one_taken(await self._pools.ask_one(partition, command, deadline), events[0])
                return
            sorted_ = PartitionedMessages(messages, events, request_ids, len(prefixes))
            sorted_.require_taken(await self._pools.ask(sorted_.commands(self._queue, prefixes), deadline))
            return
        try:
            require_taken(await self._ask(enqueuing(self._queue, messages), deadline))
        except ProducerError as error:
            error.not_taken, error.messages_not_taken = tuple(events), tuple(range(len(messages)))
            raise

    async def ping(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - see enqueue
        anywhere: bool = False,
    ) -> None:
        """Return if Redis answers; as `FeedbackProducer.ping`."""
        try:
            deadline = asyncio.get_running_loop().time() + self._budget(timeout)
            if self._is_whole:
                require_answer(await self._ask(self._pings[0], deadline))
            else:
                require_answers(await self._pools.ask(self._pings, deadline), anywhere=anywhere)
        except EnqueueUncertain as error:
            raise BrokerUnavailable(str(error)) from error

    async def aclose(self) -> None:
        """Close the connections. Calls under way end with an error; later ones raise `BrokerUnavailable`."""
        if self._spool is not None:
            self._spool.close()
        self._pools.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _hand_over(self, events: Sequence[FeedbackEvent], timeout: float | None) -> None:  # noqa: ASYNC109 - see enqueue
        if (spool := self._spool) is None:
            await self.enqueue_messages(to_messages(events, queue=self._queue), events=events, timeout=timeout)
            return
        tried, left = self._outages.divided(events) if spool.tries_redis() else ((), events)
        why: ProducerError | None = None
        is_total = True
        if tried:
            try:
                await self.enqueue_messages(to_messages(tried, queue=self._queue), events=tried, timeout=timeout)
            except (BrokerUnavailable, EnqueueUncertain) as error:
                if self.closed:
                    raise
                why, left, is_total = error, (*left, *error.not_taken), self._outages.failed(tried, error)
            else:
                self._outages.succeeded(tried)
        if left:
            with not_kept(left, why):
                await spool.put_async(left, self._queue, why if is_total else None)

    async def _ask(self, command: bytes, deadline: float) -> bytes:
        loop = asyncio.get_running_loop()
        while True:
            pipeline = self._pools.pipeline(loop, deadline, ONLY)
            reply = await pipeline.ask(command, deadline)
            if not leaves_clean(reply):
                pipeline.retire()
            if not is_elsewhere(reply) or loop.time() + ASK_AGAIN + LAST_TRY >= deadline:
                return reply
            await asyncio.sleep(ASK_AGAIN)  # see `FeedbackProducer`
