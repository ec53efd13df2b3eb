"""The limit on each org's requests at once: places are taken, handed over and put off, and one org takes no other's."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from tests.support.processes import eventually
from worker.concurrency.gevent_scheduler import GeventScheduler
from worker.delivery.org_limits import OrgLimits

FULL = 2


class Clock:
    """A monotonic clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the limits."""
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> OrgLimits:
    """Two requests of each org."""
    return OrgLimits(FULL, most_waiting=3, monotonic=clock)


def test_each_org_has_places_of_its_own(limits: OrgLimits) -> None:
    """One that has taken all of its own takes none of another's."""
    assert [limits.enter("a"), limits.enter("a")] == [None, None]
    assert limits.enter("a") is not None
    assert limits.enter("b") is None
    limits.leave("a", took=None)
    assert limits.enter("a") is None
    assert (limits.running("a"), limits.running("b"), limits.running("c")) == (2, 1, 0)


def test_what_is_over_comes_back_at_the_pace_at_which_places_become_free(limits: OrgLimits, clock: Clock) -> None:
    """Of a request that takes 0.1 s there are 20 a second with two places; each is put off behind the one before."""
    for _ in range(FULL):
        limits.enter("a")

    waits = [limits.enter("a") for _ in range(100)]

    assert None not in waits
    seconds = [wait.total_seconds() for wait in waits if wait is not None]
    assert seconds == sorted(seconds)
    assert 0.1 < seconds[0] < 0.2
    assert 4.4 < seconds[-1] < 4.8  # 100 of them at 20 a second, and a tenth sooner
    clock.now += 3600
    again = limits.enter("a")
    assert again is not None
    assert again.total_seconds() == pytest.approx(seconds[0])


def test_the_pace_is_that_of_the_requests(limits: OrgLimits) -> None:
    """AquilaX has become ten times as slow; what was not sent says nothing."""
    limits.enter("a")
    for _ in range(60):
        limits.enter("a")
        limits.leave("a", took=1.0)
        limits.enter("a")
        limits.leave("a", took=None)
    limits.enter("a")

    first, second = limits.enter("a"), limits.enter("a")

    assert first is not None
    assert second is not None
    assert second - first > timedelta(seconds=0.4)


def test_a_few_wait_in_the_worker_and_take_over_in_turn() -> None:
    """Outside the limit on deliveries, of which there is one here; more than a few go back to Redis."""
    limits, entered, ended = OrgLimits(1, most_waiting=2), list[str](), list[str]()
    first, others = threading.Event(), threading.Event()
    scheduler = GeventScheduler(1)

    def deliver(name: str, org: str, until: threading.Event | None) -> None:
        if limits.enter(org) is not None:
            ended.append(f"{name} is put off")
            return
        entered.append(name)
        if until is not None:
            scheduler.run_in_thread(until.wait)
        limits.leave(org, took=0.01)
        ended.append(name)

    try:
        scheduler.submit(lambda: deliver("a1", "a", first), tag="1")
        eventually(lambda: entered == ["a1"])
        scheduler.resize(2)
        scheduler.submit(lambda: deliver("a2", "a", others), tag="2")
        scheduler.submit(lambda: deliver("a3", "a", None), tag="3")
        scheduler.submit(lambda: deliver("b1", "b", None), tag="4")
        eventually(lambda: ended == ["a3 is put off", "b1"])
        assert limits.running("a") == 1
        first.set()
        eventually(lambda: entered == ["a1", "b1", "a2"])
        others.set()
        eventually(lambda: ended == ["a3 is put off", "b1", "a1", "a2"])
        assert limits.running("a") == 0
    finally:
        first.set()
        others.set()
        scheduler.stop()


def test_what_waits_in_a_worker_that_ends_comes_again_at_once() -> None:
    """Nothing new is begun: a place that becomes free stays so, and nothing waits here any more."""
    limits, turned_away = OrgLimits(1, most_waiting=2), list[timedelta | None]()
    scheduler = GeventScheduler(1)
    assert limits.enter("a") is None

    try:
        scheduler.submit(lambda: turned_away.append(limits.enter("a")), tag="1")
        eventually(lambda: limits.waiting == 1, what="it waits")
        limits.close()
        eventually(lambda: turned_away, what="it is turned away")
        limits.leave("a", took=0.1)
        assert (turned_away, limits.running("a"), limits.waiting) == ([timedelta()], 0, 0)
        assert limits.enter("a") is None
        scheduler.submit(lambda: turned_away.append(limits.enter("a")), tag="2")
        eventually(lambda: len(turned_away) > 1, what="the next one does not wait")
        assert (turned_away[1] or timedelta()) > timedelta()
    finally:
        scheduler.stop()
