"""The recording producers behave as the real ones do, without Redis."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from producer import (
    AsyncFeedbackProducer,
    BrokerUnavailable,
    EnqueueUncertain,
    FeedbackEvent,
    FeedbackProducer,
    InvalidEvent,
)
from producer.message import to_messages
from producer.testing import AsyncRecordingProducer, Recorder, RecordingProducer
from tests.support.producers import EVENT

REQUEST_ID = EVENT.request_id


class Face:
    """Calls of either producer, awaited where they are to be."""

    def __init__(self, producer: Any) -> None:
        self.producer = producer

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            result = getattr(self.producer, name)(*arguments, **options)
            return asyncio.run(result) if inspect.iscoroutine(result) else result

        return call

    def close(self) -> None:
        """Close it, by whichever name it has for that."""
        self.__getattr__("aclose" if isinstance(self.producer, AsyncRecordingProducer) else "close")()


@pytest.fixture(params=[RecordingProducer, AsyncRecordingProducer])
def face(request: pytest.FixtureRequest) -> Face:
    """Each of the two."""
    return Face(request.param())


@pytest.fixture
def recorder(face: Face) -> Recorder:
    """The same, for what it tells."""
    recording: Recorder = face.producer
    return recording


def test_an_event_is_recorded_as_it_is_enqueued(face: Face, recorder: Recorder) -> None:
    """Whole, by its fields, among many or as a ready-made message: in the order of the calls."""
    assert face.enqueue(EVENT) == EVENT
    second = face.enqueue(UUID(REQUEST_ID), "false", org="o", group="g")
    assert face.enqueue_many([EVENT, {**EVENT.to_wire(), "org": "another"}]) == 2
    face.enqueue_messages(to_messages([EVENT]))

    assert recorder.recorded[:3] == [EVENT, second, EVENT]
    assert [event.org for event in recorder.recorded] == ["o", "o", "o", "another", "o"]
    recorder.clear()
    assert recorder.recorded == []


@pytest.mark.parametrize(
    ("real", "recording"), [(FeedbackProducer, RecordingProducer), (AsyncFeedbackProducer, AsyncRecordingProducer)]
)
def test_the_signatures_are_the_real_ones(real: type, recording: type) -> None:
    """And it is a real one to `isinstance`, so that the backend's own annotations and checks hold."""
    assert issubclass(recording, real)
    public = [name for name, _ in inspect.getmembers(real, callable) if not name.startswith("_")]
    assert {"enqueue", "enqueue_many", "enqueue_messages", "from_env"} <= set(public)
    for name in ("__init__", *public):
        mine, its = getattr(recording, name), getattr(real, name)
        assert inspect.signature(mine) == inspect.signature(its), name
        assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(its), name


def test_what_the_real_one_refuses_is_refused(face: Face, recorder: Recorder) -> None:
    """A test that passes here must not fail at the door of the real one."""
    with pytest.raises(InvalidEvent, match="org is ''") as refused:
        face.enqueue(REQUEST_ID, True, org="", group="g")
    with pytest.raises(InvalidEvent, match="event 2: status is missing") as among_many:
        face.enqueue_many([EVENT, EVENT, {**EVENT.to_wire(), "status": None}])
    with pytest.raises(ValueError, match="timeout is -1"):
        face.enqueue(EVENT, timeout=-1)
    with pytest.raises(ValueError, match="messages are 5001"):
        face.enqueue_messages(to_messages([EVENT]) * 5001)
    with pytest.raises(ValueError, match="timeout is 0"):
        type(face.producer)(timeout=0)
    with pytest.raises(ValueError, match="redis"):
        type(face.producer)("http://not-redis")

    assert refused.value.field == "org"
    assert among_many.value.not_taken == (EVENT, EVENT)
    assert recorder.recorded == []


def test_it_fails_within_the_block_only(face: Face, recorder: Recorder) -> None:
    """With an error of the named class, which says what was not taken."""
    with recorder.failing(BrokerUnavailable):
        for _ in range(3):
            with pytest.raises(BrokerUnavailable) as failed:
                face.enqueue(EVENT)
            assert (failed.value.taken, failed.value.not_taken) == (0, (EVENT,))
        recorder.refute_enqueued()
    face.enqueue(EVENT)

    assert recorder.recorded == [EVENT]


def test_it_fails_as_often_as_it_is_told(face: Face, recorder: Recorder) -> None:
    """So that a backend's own second try can be tested; a block within a block is the one that counts."""
    with recorder.failing(BrokerUnavailable), recorder.failing(EnqueueUncertain("its reply was lost"), times=1):
        with pytest.raises(EnqueueUncertain, match="its reply was lost"):
            face.enqueue(EVENT)
        face.enqueue(EVENT)

    assert recorder.recorded == [EVENT]


def test_a_lost_reply_may_leave_the_event_behind(face: Face, recorder: Recorder) -> None:
    """The other half of `EnqueueUncertain`: Redis has it, and the caller can't know."""
    with recorder.failing(EnqueueUncertain, recorded=True), pytest.raises(EnqueueUncertain):
        face.enqueue(EVENT)

    assert recorder.recorded == [EVENT]


def test_of_many_the_chunks_before_the_failure_are_taken(face: Face, recorder: Recorder) -> None:
    """`taken` and `not_taken` are those of the real producers, of 500 events a chunk."""

    def events() -> Any:
        yield from [EVENT] * 500
        with recorder.failing(BrokerUnavailable):
            yield from [EVENT] * 500

    with pytest.raises(BrokerUnavailable) as failed:
        face.enqueue_many(events())

    assert (failed.value.taken, len(failed.value.not_taken)) == (500, 500)
    assert len(recorder.recorded) == 500


def test_an_invalid_event_is_refused_before_the_failure(face: Face, recorder: Recorder) -> None:
    """As by the real producer, which validates before it sends."""
    with recorder.failing(BrokerUnavailable), pytest.raises(InvalidEvent):
        face.enqueue("nonsense", True, org="o", group="g")


def test_a_closed_one_takes_no_more(face: Face, recorder: Recorder) -> None:
    """A backend that enqueues after its shutdown finds out in its tests."""
    face.close()
    with pytest.raises(BrokerUnavailable, match="the producer is closed"):
        face.enqueue(EVENT)

    assert recorder.recorded == []


def test_an_assertion_finds_an_event_by_any_of_its_fields(face: Face, recorder: Recorder) -> None:
    """However they are spelled, as the producer itself takes them."""
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    event = face.enqueue(REQUEST_ID, False, org="o", group="g", occurred_at=noon)
    face.enqueue(REQUEST_ID, True, org="o", group="g")

    assert recorder.assert_enqueued(request_id=UUID(REQUEST_ID), status="false") == event
    assert recorder.assert_enqueued(request_id=REQUEST_ID.upper(), occurred_at="2026-01-31T13:00:00+01:00") == event
    assert len(recorder.enqueued(org="o")) == 2
    recorder.refute_enqueued(org="another")


def test_a_failed_assertion_lists_what_is_recorded(face: Face, recorder: Recorder) -> None:
    """What one wants to know next."""
    face.enqueue_many([EVENT, EVENT])

    with pytest.raises(AssertionError, match=f"0 events with .*another.* expected 1; all 2 .*\n.*{REQUEST_ID}"):
        recorder.assert_enqueued(org="another")
    with pytest.raises(AssertionError, match=r"2 events with .* expected 1"):
        recorder.assert_enqueued(org="o")
    with pytest.raises(AssertionError, match=r"2 events with .* expected none"):
        recorder.refute_enqueued()


@pytest.mark.parametrize("fields", [{"reqest_id": REQUEST_ID}, {"request_id": "nonsense"}])
def test_an_assertion_of_what_no_event_has_is_an_error(face: Face, fields: Any) -> None:
    """A misspelled name would otherwise refute everything."""
    with pytest.raises(InvalidEvent):
        face.producer.refute_enqueued(**fields)


def test_it_imports_nothing_but_the_producer() -> None:
    """A backend's test suite needs no more than the base install, and no certain test framework."""
    names = "sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - {'__main__'})"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.append('.'); import producer.testing; print({names})",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['producer']"


def test_an_event_reads_the_same_back_from_its_message(face: Face, recorder: Recorder) -> None:
    """What is recorded comes from the message: what is asserted is what a worker would get."""
    event = FeedbackEvent(request_id=REQUEST_ID, status=True, org='Ünï "%s" \\', group="g")
    face.enqueue(event)

    assert recorder.assert_enqueued(org='Ünï "%s" \\') == event
