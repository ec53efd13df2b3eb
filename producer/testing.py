"""For the tests of a chat backend: producers that record the events in place of Redis, and fail when told to.

    from producer import BrokerUnavailable
    from producer.testing import RecordingProducer

    producer = RecordingProducer()
    backend = create_app(producer)          # wherever the backend takes its producer from
    ...
    producer.assert_enqueued(request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True)

    with producer.failing(BrokerUnavailable):
        ...                                 # the backend meets a Redis that is unavailable

They are the real producers without their connections: the signatures, the validation, the messages, the chunks of
``enqueue_many`` and what an error says of them are the same. Use `RecordingProducer` for `FeedbackProducer`, and
`AsyncRecordingProducer` for `AsyncFeedbackProducer`. No test framework is needed.
"""

from __future__ import annotations

import copy
import itertools
import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from producer._async_client import AsyncFeedbackProducer
from producer._client import FeedbackProducer
from producer._configured import Configured
from producer._resp import enqueuing
from producer.errors import BrokerUnavailable, ProducerError
from producer.event import FeedbackEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

__all__ = ["AsyncRecordingProducer", "EventFields", "Recorder", "RecordingProducer"]


class EventFields(TypedDict, total=False):
    """Any of an event's fields, as `FeedbackEvent` takes them."""

    request_id: str | UUID
    status: bool | str
    org: str
    group: str
    occurred_at: datetime | str


_ANY: Final[EventFields] = {
    "request_id": "00000000-0000-0000-0000-000000000000",
    "status": True,
    "org": "any",
    "group": "any",
    "occurred_at": datetime.fromtimestamp(0, UTC),
}


class Recorder(Configured):
    """What both recording producers can do beside enqueueing."""

    def _open(self) -> None:
        self._recorded: list[FeedbackEvent] = []
        self._failures: Iterator[tuple[ProducerError, bool]] = iter(())
        self._is_failing = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def recorded(self) -> list[FeedbackEvent]:
        """The events that a real Redis would have now, in the order in which they were enqueued."""
        return self._recorded.copy()

    def clear(self) -> None:
        """Forget the recorded events."""
        self._recorded.clear()

    @contextmanager
    def failing(
        self,
        error: ProducerError | type[ProducerError] = BrokerUnavailable,
        *,
        times: int | None = None,
        recorded: bool = False,
    ) -> Iterator[None]:
        """Let the calls within this ``with`` block fail. Events are still validated first.

        Args:
            error: What they raise: a class, or an error with a message of yours.
            times: How many calls fail before the others succeed; all if None. Each chunk of ``enqueue_many`` counts
                as a call.
            recorded: Whether the events of a failing call are recorded, as when Redis has taken them and only its reply
                was lost: both happen with `EnqueueUncertain`.
        """
        told = error("the test told the producer to fail") if isinstance(error, type) else error
        before, failures = (self._failures, self._is_failing), itertools.repeat((told, recorded))
        self._failures, self._is_failing = itertools.islice(failures, times), True
        try:
            yield
        finally:
            self._failures, self._is_failing = before

    def enqueued(self, **fields: Unpack[EventFields]) -> list[FeedbackEvent]:
        """Return the recorded events that have all of these fields, each spelled in any way that `FeedbackEvent` takes.

        Raises:
            InvalidEvent: No event can have such a field.
        """
        wanted = FeedbackEvent.from_wire(_ANY | fields)
        return [
            event for event in self._recorded if all(getattr(event, name) == getattr(wanted, name) for name in fields)
        ]

    def assert_enqueued(self, **fields: Unpack[EventFields]) -> FeedbackEvent:
        """Return the one recorded event that has these fields; they are those of `enqueued`.

        Raises:
            AssertionError: There is none, or more than one.
        """
        found = self.enqueued(**fields)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} events with {fields} are recorded: expected 1; {self._listed()}")
        return found[0]

    def refute_enqueued(self, **fields: Unpack[EventFields]) -> None:
        """Return if no recorded event has these fields, or none is recorded at all if no field is given.

        Raises:
            AssertionError: There is one.
        """
        if found := self.enqueued(**fields):
            raise AssertionError(f"{len(found)} events with {fields} are recorded: expected none; {self._listed()}")

    def _answer(self) -> None:
        """Answer a ping, which fails as calls do, and is none of those that were told to."""
        if self._closed or self._is_failing:
            raise BrokerUnavailable("the test told the producer to fail")

    def _listed(self) -> str:
        return "\n  ".join((f"all {len(self._recorded)} recorded events:", *map(repr, self._recorded)))

    def _take(self, messages: Sequence[bytes], events: Sequence[FeedbackEvent], timeout: float | None) -> None:
        """Take the messages as Redis would; they say themselves which events they carry."""
        self._budget(timeout)
        enqueuing(self._queue, messages)
        error, recorded = next(self._failures, (None, True))
        if self._closed:
            error, recorded = BrokerUnavailable("the producer is closed"), False
        if recorded:
            self._recorded += [FeedbackEvent.from_wire(json.loads(json.loads(each)["body"])[1]) for each in messages]
        if error is not None:
            failure = copy.copy(error)  # a traceback and events of its own for each call
            failure.not_taken, failure.messages_not_taken = tuple(events), tuple(range(len(messages)))
            raise failure


class RecordingProducer(Recorder, FeedbackProducer):
    """A `FeedbackProducer` that records; it takes the same arguments, and connects to nothing."""

    def enqueue_messages(
        self,
        messages: Sequence[bytes],
        *,
        events: Sequence[FeedbackEvent] = (),
        request_ids: Sequence[str] = (),  # noqa: ARG002 - a recorder has no partitions
        timeout: float | None = None,
    ) -> None:
        """Record ready-made messages; as `FeedbackProducer.enqueue_messages`."""
        if messages:
            self._take(messages, events, timeout)

    def ping(self, *, timeout: float | None = None, anywhere: bool = False) -> None:  # noqa: ARG002 - see enqueue_messages
        """Return, or fail where calls fail; as `FeedbackProducer.ping`."""
        self._budget(timeout)
        self._answer()

    def close(self) -> None:
        """Let later calls raise `BrokerUnavailable`, as a closed producer does."""
        self._closed = True


class AsyncRecordingProducer(Recorder, AsyncFeedbackProducer):
    """An `AsyncFeedbackProducer` that records; it takes the same arguments, and connects to nothing."""

    async def enqueue_messages(
        self,
        messages: Sequence[bytes],
        *,
        events: Sequence[FeedbackEvent] = (),
        request_ids: Sequence[str] = (),  # noqa: ARG002 - a recorder has no partitions
        timeout: float | None = None,  # noqa: ASYNC109 - see AsyncFeedbackProducer.enqueue
    ) -> None:
        """Record ready-made messages; as `AsyncFeedbackProducer.enqueue_messages`."""
        if messages:
            self._take(messages, events, timeout)

    async def ping(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - see AsyncFeedbackProducer.enqueue
        anywhere: bool = False,  # noqa: ARG002 - see enqueue_messages
    ) -> None:
        """Return, or fail where calls fail; as `AsyncFeedbackProducer.ping`."""
        self._budget(timeout)
        self._answer()

    async def aclose(self) -> None:
        """Let later calls raise `BrokerUnavailable`, as a closed producer does."""
        self._closed = True
