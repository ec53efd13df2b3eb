"""`AsyncFeedbackProducer`: hand feedback over to Redis from coroutines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, overload

from producer._chunks import Item, Taken, async_chunks
from producer._configured import ASK_AGAIN, Configured, not_kept, to_event
from producer._pipeline import Pipeline
from producer._resp import enqueuing, is_elsewhere, leaves_clean, require_answer, require_taken
from producer.errors import BrokerUnavailable, EnqueueUncertain, ProducerError
from producer.message import to_messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Sequence
    from datetime import datetime
    from types import TracebackType
    from uuid import UUID

    from producer.event import FeedbackEvent

__all__ = ["AsyncFeedbackProducer"]


class AsyncFeedbackProducer(Configured):
    """Enqueues feedback events from coroutines; to be shared by all tasks, and to be made once for a process.

    All calls of an event loop go over one connection at once, so thousands of tasks need no thousands of connections.
    It may be used from several loops, one after the other.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+socket://`` or ``sentinel://``; docs/settings.md lists
            its options.
        timeout: The budget of one call, in seconds: resolving, connecting, logging in, sending and the reply, all
            together.
        queue: The Celery queue that the workers consume.
        max_connections: Connections at most in one event loop. There is one while Redis answers; those that have left
            a call without an answer stay until the last call on them has ended.
        sentinel_master: The name of the master that the sentinels watch, if ``url`` names sentinels. They are asked for
            it each time that a connection is made: after one was lost, or led to a server that is not the master.
        spool: See `FeedbackProducer`.
        replicas: See `FeedbackProducer`. The calls of an event loop that come together are confirmed together.
        fsync: See `FeedbackProducer`.

    Raises:
        ValueError: An argument can't be used.
    """

    def _open(self) -> None:
        self._closed = False
        self._pipelines: dict[asyncio.AbstractEventLoop, list[Pipeline]] = {}

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

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
        timeout: float | None = None,  # noqa: ASYNC109 - see enqueue
    ) -> None:
        """Hand ready-made messages over; as `FeedbackProducer.enqueue_messages`."""
        if not messages:
            return
        try:
            require_taken(await self._ask(enqueuing(self._queue, messages, prefix=self._address.prefixes[0]), timeout))
        except ProducerError as error:
            error.not_taken = tuple(events)
            raise

    async def ping(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - see enqueue
        """Return if Redis answers; as `FeedbackProducer.ping`."""
        try:
            require_answer(await self._ask(self._ping, timeout))
        except EnqueueUncertain as error:
            raise BrokerUnavailable(str(error)) from error

    async def aclose(self) -> None:
        """Close the connections. Calls under way end with an error; later ones raise `BrokerUnavailable`."""
        self._closed = True
        if self._spool is not None:
            self._spool.close()
        here = asyncio.get_running_loop()
        while self._pipelines:
            loop, pipelines = self._pipelines.popitem()
            for pipeline in pipelines:
                if loop is here or loop.is_closed():
                    pipeline.close()
                else:  # it belongs to another thread
                    loop.call_soon_threadsafe(pipeline.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _hand_over(self, events: Sequence[FeedbackEvent], timeout: float | None) -> None:  # noqa: ASYNC109 - see enqueue
        spool = self._spool
        why: ProducerError | None = None
        if spool is None or spool.tries_redis():
            try:
                return await self.enqueue_messages(
                    to_messages(events, queue=self._queue), events=events, timeout=timeout
                )
            except (BrokerUnavailable, EnqueueUncertain) as error:
                if spool is None or self.closed:
                    raise
                why = error
        with not_kept(events, why):
            await spool.put_async(events, self._queue, why)
        return None

    async def _ask(self, command: bytes, timeout: float | None) -> bytes:  # noqa: ASYNC109 - see enqueue
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._budget(timeout)
        while True:
            pipeline = self._pipeline(loop, deadline)
            reply = await pipeline.ask(command, deadline)
            if not leaves_clean(reply):
                pipeline.retire()
            if not is_elsewhere(reply) or loop.time() + ASK_AGAIN >= deadline:
                return reply
            await asyncio.sleep(ASK_AGAIN)  # see `FeedbackProducer`

    def _pipeline(self, loop: asyncio.AbstractEventLoop, deadline: float) -> Pipeline:
        if self._closed:
            raise BrokerUnavailable("the producer is closed")
        pipelines = self._pipelines.get(loop)
        if pipelines is None:
            self._forget_closed_loops()
            pipelines = self._pipelines[loop] = []
        if pipelines and pipelines[-1].usable():
            return pipelines[-1]
        pipelines[:] = [pipeline for pipeline in pipelines if not pipeline.closed]
        if len(pipelines) >= self._max_connections:
            raise BrokerUnavailable(f"all {self._max_connections} connections wait for Redis to answer")
        pipelines.append(Pipeline(self._address, loop, self._concern, deadline))
        return pipelines[-1]

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._pipelines if loop.is_closed()]:
            for pipeline in self._pipelines.pop(loop):
                pipeline.close()
