"""What a worker knows of its own life, from which its heartbeat and its probes are answered."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from worker.broker.activity import STUCK_AFTER, ConsumerActivity
from worker.broker.lease_state import SharedLeaseState

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


class Leases(SharedLeaseState):
    """Those of a process, as a test wants them: the partitions in which a lease has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.overdue: set[int] = set()

    @property
    def in_use(self) -> list[Any]:
        """One lease for each partition."""
        return [SimpleNamespace(partition=n, is_overdue=lambda _, n=n: n in self.overdue) for n in range(3)]


@pytest.fixture
def leases() -> Leases:
    """Those of `spread`."""
    return Leases()


@pytest.fixture
def spread(leases: Leases) -> ConsumerActivity:
    """A worker that is well, of a queue in three partitions."""
    pulse = ConsumerActivity(leases)
    pulse.partitions = 3
    for number in range(3):
        pulse.answered(number)
    pulse.turned(QUEUES)
    return pulse


def silence(pulse: ConsumerActivity, *partitions: int) -> None:
    """Let servers have answered 25 s ago."""
    pulse.partitions_answered |= dict.fromkeys(partitions, time.monotonic() - 25)


def test_a_worker_is_well_while_a_server_of_any_partition_answers(spread: ConsumerActivity) -> None:
    """The others' events are delivered: a restart would help nobody. It shows which are away."""
    silence(spread, 0, 2)

    assert spread.trouble() is None
    assert spread.partitions_away() == [0, 2]
    assert spread.__json__() == {"queues": ["feedback"], "partitions_away": ["00", "02"]}


def test_a_lease_that_ended_in_one_partition_of_several_is_no_trouble(spread: ConsumerActivity, leases: Leases) -> None:
    """In all of them it is, and in the ones whose servers do not answer: then the worker can do nothing."""
    leases.overdue = {1}
    assert spread.trouble() is None
    assert spread.partitions_away() == [1]

    silence(spread, 0)
    leases.overdue = {1, 2}
    beats: list[float] = []
    spread.on_beat = beats.append
    spread.turned(QUEUES)

    reason = "no partition can be worked on: no answer, or the lease on what it holds has ended, in 00, 01, 02"
    assert spread.trouble() == reason
    assert not beats


def test_a_lease_that_ended_in_the_only_partition_is_trouble(leases: Leases) -> None:
    """As others may have what it holds."""
    pulse = ConsumerActivity(leases)
    pulse.answered()
    pulse.turned(QUEUES)
    assert pulse.trouble() is None
    assert pulse.__json__() == {"queues": ["feedback"]}

    leases.overdue = {0}

    assert pulse.trouble() == "the lease on what it holds has ended: others may have it"


def test_a_partition_that_never_answered_is_away(leases: Leases) -> None:
    """As its server was when the worker started."""
    pulse = ConsumerActivity(leases)
    pulse.partitions = 3
    pulse.answered(1)
    pulse.turned(QUEUES)

    assert pulse.partitions_away() == [0, 2]
    assert pulse.trouble() is None


def test_all_servers_that_are_away_are_told_as_one_is(spread: ConsumerActivity) -> None:
    """With how long it has been."""
    silence(spread, 0, 1, 2)
    spread.answered_at = time.monotonic() - 25

    assert spread.trouble() == "Redis has not answered for 25 s"
    assert spread.partitions_away() == [0, 1, 2]


def test_everyone_is_told_by_the_server_that_answered_last(spread: ConsumerActivity) -> None:
    """One that was lost is left out, until it answers again; it is not away for that: a moment is no outage."""
    spread.answered(0)
    spread.answered(2)
    assert spread.latest_partitions()[0] == 2

    spread.lost(2)
    assert spread.latest_partitions() == [0, 1]
    assert spread.partitions_away() == []
    assert spread.partitions_lost == {2: 1}
    spread.answered(2)
    assert spread.latest_partitions()[0] == 2
