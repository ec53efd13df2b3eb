"""The spool's threads where a process can have no more of them, and where its producer is closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from producer import BrokerUnavailable, FeedbackProducer
from producer.spool import Spool, status_of
from tests.support.processes import eventually
from tests.unit.producer.spool.test_spool import EVENTS, _Played

if TYPE_CHECKING:
    from pathlib import Path

UNREACHABLE = "redis://127.0.0.1:1/0"


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No thread can be started until the patch is undone, as where a container has its limit of processes."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return monkeypatch


def test_a_process_without_a_thread_to_spare_is_told_and_spools_once_it_has_one(
    tmp_path: Path, no_thread: pytest.MonkeyPatch
) -> None:
    """Its calls end with the producer's own error at once. What was refused is not kept; later all is sent."""
    spool, redis = Spool(tmp_path), _Played()
    spool.attach(redis)
    for _ in range(2):
        with pytest.raises(BrokerUnavailable, match="can't be written: can't start new thread"):
            spool.put(EVENTS[:1], "feedback", BrokerUnavailable("away"))
    no_thread.undo()

    spool.put(EVENTS[1:2], "feedback")

    eventually(lambda: redis.taken() == EVENTS[1:2])
    assert eventually(lambda: spool.is_redis_available)
    spool.close()


def test_a_closed_producer_keeps_nothing_that_no_other_process_could_send(tmp_path: Path) -> None:
    """It is refused, as one without a spool refuses it; also where Redis was found unavailable before."""
    producer = FeedbackProducer(UNREACHABLE, spool=tmp_path)
    producer.enqueue(EVENTS[0])
    producer.close()

    with pytest.raises(BrokerUnavailable, match="the producer is closed") as raised:
        producer.enqueue(EVENTS[1])

    assert raised.value.not_taken == (EVENTS[1],)
    assert (status_of(tmp_path).events, status_of(tmp_path).writers) == (1, 0)
