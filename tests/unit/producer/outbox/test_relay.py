"""The relay: what is committed arrives, whatever fails; on SQLite, where one relay at a time carries."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine, event, exc, text, update

from producer import BrokerUnavailable, EnqueueUncertain, FeedbackEvent, outbox
from producer.outbox import _relay
from producer.testing import RecordingProducer
from tests.support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METADATA = MetaData()
ROWS = outbox.table(METADATA)


def _event(number: int) -> FeedbackEvent:
    return FeedbackEvent(request_id=f"00000000-0000-4000-8000-{number:012d}", status=True, org="o", group="g")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database with an outbox."""
    engine = create_engine(f"sqlite:///{tmp_path}/backend.sqlite3")
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def producer() -> RecordingProducer:
    """It records in place of Redis."""
    return RecordingProducer()


def _write(engine: Engine, numbers: Iterator[int] | range) -> list[FeedbackEvent]:
    events = [_event(number) for number in numbers]
    with engine.begin() as connection:
        for each in events:
            outbox.add(connection, each)
    return events


def _status(engine: Engine) -> outbox.OutboxStatus:
    with engine.connect() as connection:
        return outbox.status(connection)


def test_rows_are_carried_in_order_and_gone(engine: Engine, producer: RecordingProducer) -> None:
    """More than two groups of them, and each keeps the time of its press."""
    events = _write(engine, range(1100))
    before = _status(engine)

    assert outbox.Relay(engine, producer).run_once() == 1100
    assert producer.recorded == events
    assert (before.waiting, _status(engine)) == (1100, outbox.OutboxStatus(waiting=0, set_aside=0, oldest_at=None))
    assert before.oldest_at is not None


def test_while_redis_is_unavailable_rows_stay_and_backends_can_write(
    engine: Engine, producer: RecordingProducer
) -> None:
    """Nothing is locked, neither while Redis is waited for nor between two tries."""
    (first,) = _write(engine, range(1))
    relay = outbox.Relay(engine, producer, interval=0.01)

    with producer.failing(BrokerUnavailable("no answer")), relay:
        eventually(lambda: relay.problem == "Redis: no answer", what="the relay says why")
        (second,) = _write(engine, range(1, 2))
        assert _status(engine).waiting == 2
    with relay:
        eventually(lambda: relay.relayed == 2, what="it goes on")

    assert producer.recorded == [first, second]
    assert relay.problem is None


def test_what_may_have_been_sent_is_sent_again(engine: Engine, producer: RecordingProducer) -> None:
    """Redis may have it or not: the worker delivers it once."""
    (each,) = _write(engine, range(1))
    relay = outbox.Relay(engine, producer)

    with producer.failing(EnqueueUncertain, recorded=True), pytest.raises(EnqueueUncertain):
        relay.run_once()
    relay.run_once()

    assert producer.recorded == [each, each]


def test_a_relay_that_ends_between_the_acknowledgement_and_the_deletion_sends_again(
    engine: Engine, producer: RecordingProducer
) -> None:
    """Its rows are as they were."""
    (each,) = _write(engine, range(1))

    @contextmanager
    def broken_deletion() -> Iterator[None]:
        def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("DELETE"):
                raise exc.OperationalError(statement, None, OSError("the disk is full"))

        event.listen(engine, "before_cursor_execute", fail)
        yield
        event.remove(engine, "before_cursor_execute", fail)

    relay = outbox.Relay(engine, producer)
    with broken_deletion(), pytest.raises(exc.OperationalError):
        relay.run_once()
    assert (_status(engine).waiting, relay.relayed) == (1, 0)
    relay.run_once()

    assert producer.recorded == [each, each]


def test_a_row_that_is_no_event_is_set_aside_and_blocks_no_other(
    engine: Engine, producer: RecordingProducer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named with the reason; once corrected by hand it is carried."""
    events = _write(engine, range(4))
    with engine.begin() as connection:
        connection.execute(update(ROWS).where(ROWS.c.id == 1).values(status="maybe"))
        connection.execute(text("UPDATE feedback_outbox SET org_group = CAST(x'ff' AS TEXT) WHERE id = 2"))
        connection.execute(text("UPDATE feedback_outbox SET occurred_at = 5, traceparent = x'00' WHERE id = 3"))
    relay = outbox.Relay(engine, producer)

    assert relay.run_once() == 1
    assert (producer.recorded, relay.set_aside, _status(engine).set_aside) == (events[3:], 3, 3)
    assert "row 1 of feedback_outbox is set aside: status is 'maybe': expected" in caplog.text
    assert "row 2 of feedback_outbox is set aside: group is" in caplog.text
    assert "row 3 of feedback_outbox is set aside: occurred_at is '5'" in caplog.text
    with engine.begin() as connection:
        connection.execute(update(ROWS).where(ROWS.c.id == 1).values(status="true", problem=None))
    assert relay.run_once() == 1
    assert producer.recorded[1:] == events[:1]


class _SlowProducer(RecordingProducer):
    """Takes a group when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.told = threading.Event(), threading.Event()

    def enqueue_messages(self, *args: Any, **kwargs: Any) -> None:
        self.asked.set()
        assert self.told.wait(10)
        super().enqueue_messages(*args, **kwargs)


def test_of_two_relays_on_one_file_one_carries_and_backends_go_on(engine: Engine, producer: RecordingProducer) -> None:
    """No row is sent by both, and while Redis is waited for nothing is locked. The end waits for the group."""
    _write(engine, range(1))
    slow = _SlowProducer()
    first, second = outbox.Relay(engine, slow), outbox.Relay(engine, producer)

    with first:
        assert slow.asked.wait(10)
        assert second.run_once() == 0
        _write(engine, range(1, 2))
        threading.Timer(0.2, slow.told.set).start()  # only once the block is being left

    assert (len(slow.recorded), first.relayed, _status(engine).waiting) == (1, 1, 1)
    assert second.run_once() == 1


def test_a_database_that_fails_is_waited_for(
    engine: Engine, producer: RecordingProducer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and not at each try."""
    monkeypatch.setattr(_relay, "_LONGEST_WAIT", 0.01)
    METADATA.drop_all(engine)
    relay = outbox.Relay(engine, producer, interval=0.01)

    with relay:
        eventually(lambda: relay.problem is not None, what="the relay says why")
        time.sleep(0.1)
        assert str(relay.problem).startswith("the database: OperationalError: no such table")
        METADATA.create_all(engine)
        _write(engine, range(1))
        eventually(lambda: relay.relayed == 1, what="it goes on")

    assert caplog.text.count("nothing is relayed") == 1


@pytest.mark.parametrize("interval", [0, -1, float("nan"), 3601])
def test_an_interval_that_is_none_is_refused(engine: Engine, producer: RecordingProducer, interval: float) -> None:
    """By its name."""
    with pytest.raises(ValueError, match="interval is"):
        outbox.Relay(engine, producer, interval=interval)


def test_an_engine_of_asyncio_is_refused_by_name(producer: RecordingProducer) -> None:
    """A relay is a thread."""
    with pytest.raises(TypeError, match="engine is of type str: expected an Engine"):
        outbox.Relay("sqlite://", producer)  # type: ignore[arg-type]  # the test's point


def test_each_event_leads_back_to_the_span_of_its_own(engine: Engine) -> None:
    """Rows of one trace go together, and each message has the headers of its row."""
    sent: list[bytes] = []

    class Producer(RecordingProducer):
        def enqueue_messages(self, messages: Any, **_: Any) -> None:
            sent.extend(messages)

    _write(engine, range(3))
    parent = f"00-{1:032x}-{1:016x}-01"
    with engine.begin() as connection:
        connection.execute(update(ROWS).where(ROWS.c.id == 2).values(traceparent=parent, tracestate="a=b"))

    outbox.Relay(engine, Producer()).run_once()

    assert [parent.encode() in message for message in sent] == [False, True, False]
    assert b'"tracestate":"a=b"' in sent[1]


def test_a_trace_that_is_none_is_left_out(engine: Engine) -> None:
    """Any program writes rows: what is no header of W3C's, or is longer than one, would go into each message."""
    sent: list[bytes] = []

    class Producer(RecordingProducer):
        def enqueue_messages(self, messages: Any, **_: Any) -> None:
            sent.extend(messages)

    _write(engine, range(2))
    parent = f"00-{1:032x}-{1:016x}-01"
    with engine.begin() as connection:
        connection.execute(update(ROWS).where(ROWS.c.id == 1).values(traceparent="a span", tracestate="a=b"))
        connection.execute(update(ROWS).where(ROWS.c.id == 2).values(traceparent=parent, tracestate="a" * 100_000))

    assert outbox.Relay(engine, Producer()).run_once() == 2

    assert [b"traceparent" in message for message in sent] == [False, True]
    assert not any(b"tracestate" in message for message in sent)
