"""From a request to Redis, or to the spool: events of requests that come at the same moment go there together."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from producer import BrokerUnavailable, EnqueueUncertain, ProducerError
from producer.message import trace_headers
from worker.gateway.http_reply import problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer import AsyncFeedbackProducer, FeedbackEvent
    from worker.gateway.http_reply import HttpReply

__all__ = ["MOST", "Intake", "advice_on", "not_taken", "note_spooled"]

log = logging.getLogger(__name__)

MOST: Final = 500
"""Events that go together, as those of one chunk of the producer's: all of them are taken, or none."""

_SPOOLED: Final[ContextVar[list[int] | None]] = ContextVar("_SPOOLED", default=None)


def note_spooled(events: Sequence[FeedbackEvent]) -> None:
    """Note that the events of a call went to disk; the spool calls it in the task that makes the call."""
    if (noted := _SPOOLED.get()) is not None:
        noted.append(len(events))


class Intake:
    """Hands events to the producer.

    Args:
        producer: Of this process. If it has a spool, that calls `note_spooled`.
    """

    def __init__(self, producer: AsyncFeedbackProducer) -> None:
        self._producer = producer
        self._gathered: list[tuple[FeedbackEvent, asyncio.Future[bool]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def take(self, event: FeedbackEvent) -> bool:
        """Return once an event is durable, and whether it is in the spool; raises `ProducerError` if it is not durable.

        Events that come in the same turn of the event loop are one command for Redis. One that is traced goes alone:
        the messages of one command lead back to one trace.
        """
        if trace_headers():
            return await self.take_many([event])
        loop = asyncio.get_running_loop()
        if not self._gathered:
            loop.call_soon(self._send)
        durable: asyncio.Future[bool] = loop.create_future()
        self._gathered.append((event, durable))
        if len(self._gathered) >= MOST:
            self._send()
        return await durable

    async def take_many(self, events: Sequence[FeedbackEvent]) -> bool:
        """Return once up to 500 events are durable, and whether they are in the spool.

        Raises:
            ProducerError: It is not certain of any of them that it is durable.
        """
        noted: list[int] = []
        before = _SPOOLED.set(noted)
        try:
            await self._producer.enqueue_many(events)
        finally:
            _SPOOLED.reset(before)
        return bool(noted)

    def _send(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            task = asyncio.get_running_loop().create_task(self._hand_over(gathered))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _hand_over(self, gathered: list[tuple[FeedbackEvent, asyncio.Future[bool]]]) -> None:
        try:
            spooled = await self.take_many([event for event, _ in gathered])
        except BaseException as error:
            failure = error if isinstance(error, Exception) else EnqueueUncertain("the gateway is stopping")
            # Of a cluster some primaries may have taken theirs.
            failed = {id(event) for event, _ in gathered}
            if isinstance(error, ProducerError) and error.taken:
                failed = set(map(id, error.not_taken))
            for event, durable in gathered:
                if durable.done():  # its request was cancelled
                    continue
                if id(event) in failed:
                    durable.set_exception(failure)
                else:
                    durable.set_result(False)
            if not isinstance(error, Exception):
                raise
        else:
            for _, durable in gathered:
                if not durable.done():
                    durable.set_result(spooled)


def not_taken(error: ProducerError) -> HttpReply:
    """Return what a client is told of an event that is not certain to be durable; the log has the rest."""
    log.warning("not taken: %s", error)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, advice_on(error))


def advice_on(error: ProducerError) -> str:
    """Return what became of events, and what their client is to do."""
    if isinstance(error, EnqueueUncertain):
        return "it was not acknowledged in time and may have been taken: send it again, it is delivered once"
    if isinstance(error, BrokerUnavailable):
        return "it was not taken, as Redis is unavailable: send it again"
    return "it was not taken: send it again"
