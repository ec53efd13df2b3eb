"""Redis' clock, as the workers read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest
import redis

from worker.clients.redis.clock import RedisClock

if TYPE_CHECKING:
    from tests.support.processes import RedisServer

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LOCAL = NOON + timedelta(hours=1)
"""This machine's clock is an hour fast."""


class Times:
    """A Redis that tells the time, unless it is unavailable; and the time that passes."""

    def __init__(self) -> None:
        self.passed = 1000.0
        self.is_away = False
        self.takes = 0.0
        self.asked = 0
        self.ahead = timedelta(0)
        self.clock = RedisClock(cast("redis.Redis", self), monotonic=lambda: self.passed, local=lambda: LOCAL)

    def time(self) -> tuple[int, int]:
        """As of redis.Redis."""
        self.asked += 1
        if self.is_away:
            raise redis.ConnectionError
        self.passed += self.takes / 2
        told = NOON + timedelta(seconds=self.passed - 1000) + self.ahead
        self.passed += self.takes / 2
        return int(told.timestamp()), told.microsecond


@pytest.fixture
def times() -> Times:
    """A Redis that tells noon."""
    return Times()


def test_the_time_is_redis_and_goes_on(times: Times) -> None:
    """One look serves for a minute."""
    assert times.clock.now() == NOON

    times.passed += 59
    assert times.clock.now() == NOON + timedelta(seconds=59)
    assert times.asked == 1


def test_it_looks_again_after_a_minute(times: Times) -> None:
    """A clock that was put right is followed."""
    times.clock.now()
    times.passed += 61
    times.ahead = timedelta(seconds=3)

    assert times.clock.now() == NOON + timedelta(seconds=64)


def test_the_last_look_serves_while_redis_is_away(times: Times) -> None:
    """And Redis is not asked for each event."""
    times.clock.now()
    times.is_away = True
    times.passed += 100

    assert times.clock.now() == NOON + timedelta(seconds=100)
    times.passed += 4
    assert times.clock.now() == NOON + timedelta(seconds=104)
    assert times.asked == 2


def test_this_machines_clock_serves_before_the_first_look(times: Times) -> None:
    """Until Redis is there."""
    times.is_away = True
    assert times.clock.now() == LOCAL

    times.is_away = False
    times.passed += 5
    assert times.clock.now() == NOON + timedelta(seconds=5)


def test_it_is_never_early_however_long_an_answer_took(times: Times) -> None:
    """It is not known when on the way Redis looked: a Retry-After is obeyed in full whenever that was."""
    times.takes = 0.4

    assert abs(times.clock.now() - NOON - timedelta(seconds=0.6)) < timedelta(milliseconds=1)


def test_a_look_that_took_long_does_not_spoil_a_better_one(times: Times) -> None:
    """The client asked more than once: how old the reply is can't be known."""
    times.clock.now()
    times.passed += 61
    times.takes, times.ahead = 8.0, timedelta(seconds=4)

    assert times.clock.now() == NOON + timedelta(seconds=69)
    times.takes, times.ahead = 0.0, timedelta(0)
    times.passed += 5
    assert times.clock.now() == NOON + timedelta(seconds=74)
    assert times.asked == 3


def test_it_reads_a_real_server(broker: RedisServer) -> None:
    """To within the way there and back."""
    with redis.Redis(port=broker.port) as client:
        assert abs(RedisClock(client).now() - datetime.now(UTC)) < timedelta(seconds=2)
