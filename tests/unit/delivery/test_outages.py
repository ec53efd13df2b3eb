from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
import redis

from worker.database.errors import DeadLetterStoreUnavailable
from worker.delivery.outages import Dependency, DependencyOutages

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Clock:
    """A clock that is set."""

    now = NOON

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At noon."""
    return Clock()


@pytest.fixture
def outages(clock: Clock, caplog: pytest.LogCaptureFixture) -> DependencyOutages:
    """None so far."""
    caplog.set_level(logging.INFO, "worker.delivery.outages")
    return DependencyOutages(clock)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What the log has: level and words."""
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_trouble_is_one_warning_and_its_end_one_line(
    outages: DependencyOutages, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """However many events wait for it."""
    for _ in range(50):
        assert outages.explain(redis.ConnectionError()) == "Redis is unavailable: ConnectionError"
    clock.now += timedelta(seconds=12)
    outages.passed(Dependency.REDIS)
    outages.passed(Dependency.REDIS)

    assert lines(caplog) == [
        (
            "WARNING",
            (
                "events are snoozed: Redis is unavailable: ConnectionError; they spend no attempt, and go on once"
                " it is back"
            ),
        ),
        ("INFO", "Redis is back after 12 s; until then it failed 50 times"),
    ]


def test_one_that_comes_and_goes_is_one(
    outages: DependencyOutages, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A success right after a failure is not the end: of many connections some still work."""
    for _ in range(10):
        outages.explain(redis.ConnectionError())
        clock.now += timedelta(seconds=1)
        outages.passed(Dependency.REDIS)

    assert [level for level, _ in lines(caplog)] == ["WARNING"]


def test_each_cause_has_its_own_warning(
    outages: DependencyOutages, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """And comes again when it comes again."""
    gone = DeadLetterStoreUnavailable("gone")
    assert outages.explain(gone) == "the dead-letter database is unavailable: gone"
    outages.explain(redis.ConnectionError())
    clock.now += timedelta(minutes=1)
    outages.passed(Dependency.DATABASE)
    outages.explain(gone)

    assert [(level, words.partition(":")[0]) for level, words in lines(caplog)] == [
        ("WARNING", "events are snoozed"),
        ("WARNING", "events are snoozed"),
        ("INFO", "the dead-letter database is back after 1 min; until then it failed 1 times"),
        ("WARNING", "events are snoozed"),
    ]


def test_a_fault_of_ours_is_told_with_its_traceback(
    outages: DependencyOutages, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time: it is for us to find."""
    assert outages.explain(ZeroDivisionError()) == "a fault of ours: ZeroDivisionError"
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [("ERROR", True)]
