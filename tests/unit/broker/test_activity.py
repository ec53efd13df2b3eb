"""What a worker knows of its own life, from which its heartbeat and its probes are answered."""

from __future__ import annotations

import time

import pytest

from worker.broker.activity import STUCK_AFTER, ConsumerActivity

QUEUES = {"feedback"}


class Pool:
    """A pool whose thread owes a sign of life."""

    def __init__(self, silent_for: float = 0) -> None:
        self.silent_for = silent_for
        self.pings = 0

    def ping(self) -> None:
        """Count that it is asked for one."""
        self.pings += 1


@pytest.fixture
def pulse() -> ConsumerActivity:
    """That of a worker that is well."""
    pulse = ConsumerActivity()
    pulse.answered()
    pulse.turned(QUEUES)
    return pulse


def test_a_worker_to_which_redis_answers_is_well(pulse: ConsumerActivity) -> None:
    """It beats, with the moment of the answer, however busy it is: nothing of it hangs on new messages."""
    beats: list[float] = []
    pulse.on_beat = beats.append

    pulse.turned(QUEUES)

    assert pulse.trouble() is None
    assert beats == [pulse.answered_on]


def test_a_worker_that_waits_for_redis_is_alive_and_in_trouble(pulse: ConsumerActivity) -> None:
    """A restart does not help: it is not asked for."""
    beats: list[float] = []
    pulse.on_beat = beats.append
    pulse.answered_at = time.monotonic() - 25

    pulse.turned(None)

    assert pulse.hang() is None
    assert pulse.trouble() == "Redis has not answered for 25 s"
    assert not beats


def test_a_worker_that_never_reached_redis_is_in_trouble() -> None:
    """As it starts."""
    assert ConsumerActivity().trouble() == "Redis has not answered yet"


def test_a_worker_that_consumes_from_no_queue_is_in_trouble(pulse: ConsumerActivity) -> None:
    """After `control cancel_consumer`."""
    pulse.turned(set())

    assert pulse.hang() is None
    assert pulse.trouble() == "it consumes from no queue"


def test_an_event_loop_that_stands_still_hangs(pulse: ConsumerActivity) -> None:
    """Only a restart helps."""
    pulse.turned_at = time.monotonic() - STUCK_AFTER - 5

    assert pulse.hang() == pulse.trouble() == "the event loop has not turned for 65 s"


def test_a_thread_of_deliveries_that_stands_still_hangs(pulse: ConsumerActivity) -> None:
    """It is asked for a sign of life whenever the event loop turns."""
    pool = Pool(silent_for=STUCK_AFTER + 5)
    pulse.pool = pool

    pulse.turned(QUEUES)

    assert pool.pings == 1
    assert pulse.hang() == pulse.trouble() == "the thread of the deliveries has not turned for 65 s"


def test_what_connects_beside_the_consumer_hides_no_queue(pulse: ConsumerActivity) -> None:
    """On gevent the remote control connects by itself, and the consumer may be waiting for room then."""
    pulse.turned(None)

    assert pulse.queues == QUEUES
    assert pulse.trouble() is None
