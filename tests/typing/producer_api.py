"""What a type checker says of a backend that uses the producers. ``make check`` lets mypy read it; nothing runs it.

What is right has the stated type. What is wrong has a ``type: ignore`` for the one error that it must be, and mypy
reports an ignore that it does not need.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, assert_type
from uuid import UUID

from sqlalchemy import Insert

from producer import (
    AsyncFeedbackProducer,
    EnqueueUncertain,
    FeedbackEvent,
    FeedbackProducer,
    InvalidEvent,
    ProducerError,
    outbox,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

    from producer.testing import AsyncRecordingProducer, RecordingProducer

ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
EVENT = FeedbackEvent(request_id=ID, status=True, org="o", group="g")


def threads(producer: FeedbackProducer) -> None:
    """A `FeedbackProducer` takes an event or its fields, and gives the event back."""
    assert_type(producer.enqueue(EVENT), FeedbackEvent)
    assert_type(producer.enqueue(EVENT, timeout=1), FeedbackEvent)
    assert_type(producer.enqueue(ID, True, org="o", group="g"), FeedbackEvent)
    assert_type(producer.enqueue(UUID(ID), "true", org="o", group="g", occurred_at=datetime.now(UTC)), FeedbackEvent)
    assert_type(producer.enqueue_many([EVENT, EVENT.to_wire()]), int)
    assert_type(FeedbackProducer.from_env(), FeedbackProducer)

    producer.enqueue(EVENT, True)  # type: ignore[call-overload] # an event or its fields, not both
    producer.enqueue(ID, True, org="o")  # type: ignore[call-overload] # the group is missing
    producer.enqueue(ID, True, "o", "g")  # type: ignore[call-overload] # org and group are named, never confused
    producer.enqueue(ID, 1.5, org="o", group="g")  # type: ignore[call-overload] # a status is a bool or text
    producer.enqueue_many(EVENT)  # type: ignore[arg-type] # one event is not many


async def coroutines(producer: AsyncFeedbackProducer, source: AsyncIterator[FeedbackEvent]) -> None:
    """An `AsyncFeedbackProducer` does the same, to be awaited."""
    assert_type(await producer.enqueue(EVENT), FeedbackEvent)
    assert_type(await producer.enqueue(ID, True, org="o", group="g"), FeedbackEvent)
    assert_type(await producer.enqueue_many(source), int)
    async with AsyncFeedbackProducer.from_env() as own:
        assert_type(own, AsyncFeedbackProducer)

    await producer.enqueue(EVENT, org="o")  # type: ignore[call-overload] # an event or its fields, not both
    with producer:  # type: ignore[attr-defined] # it is closed by awaiting
        pass


def in_a_transaction(session: Session, its_async: AsyncSession, connection: Connection, other: AsyncConnection) -> None:
    """The outbox takes what `enqueue` takes, in every kind of transaction, and nothing is awaited."""
    assert_type(outbox.add(session, EVENT), FeedbackEvent)
    assert_type(outbox.add(its_async, ID, True, org="o", group="g"), FeedbackEvent)
    assert_type(outbox.add(connection, UUID(ID), "true", org="o", group="g"), FeedbackEvent)
    assert_type(outbox.insert(EVENT), Insert)

    outbox.add(other, EVENT)  # type: ignore[call-overload] # it has to await outbox.insert
    outbox.add(session, ID, True)  # type: ignore[call-overload] # whose it is


def events() -> None:
    """An event has plain fields, and can't be changed."""
    assert_type((EVENT.request_id, EVENT.status, EVENT.org), tuple[str, bool, str])
    assert_type(EVENT.occurred_at, datetime)

    EVENT.status = False  # type: ignore[misc] # frozen
    FeedbackEvent(ID, True, "o", "g")  # type: ignore[call-arg] # by names only


def errors(uncertain: EnqueueUncertain, invalid: InvalidEvent) -> None:
    """One tree, and what each error says."""
    caught: list[ProducerError] = [uncertain, invalid]
    assert_type(caught[0].not_taken, tuple[FeedbackEvent, ...])
    assert_type(caught[0].taken, int)
    assert_type(invalid.field, str)

    field = caught[0].field  # type: ignore[attr-defined] # only of an invalid event
    assert field


def testing(recording: RecordingProducer, its_async: AsyncRecordingProducer) -> Iterator[FeedbackProducer]:
    """A producer that records stands where a real one is asked for."""
    yield recording
    assert_type(recording.enqueue(EVENT), FeedbackEvent)
    assert_type(recording.assert_enqueued(request_id=UUID(ID), status="true"), FeedbackEvent)

    yield its_async  # type: ignore[misc] # not for threads
    recording.assert_enqueued(reqest_id=ID)  # type: ignore[call-arg] # no field of an event
