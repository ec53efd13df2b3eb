"""A Redis that is lost or refuses is told of in its own words: once, then once a minute, and once when it is over."""

from __future__ import annotations

import logging

import pytest
import redis

from worker.broker.server_errors import ServerError
from worker.runtime.broker_outages import QUIET, BrokerOutages


class _Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


@pytest.fixture
def clock(caplog: pytest.LogCaptureFixture) -> _Clock:
    """A clock that stands still, and a log that keeps everything."""
    caplog.set_level(logging.INFO, logger="worker.runtime.broker_outages")
    return _Clock()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ServerError("NOPERM no permissions; give the broker's login its keys"), "give the broker's login its keys"),
        (redis.AuthenticationError("Authentication required."), "Authentication required."),
        (redis.AuthenticationError("invalid username-password pair"), "invalid username-password pair"),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), "loading the dataset"),
        (ServerError("You can't write against a read only replica."), "read only replica"),
        (ServerError("command not allowed when used memory > 'maxmemory'."), "used memory > 'maxmemory'"),
        (ServerError("MISCONF Errors writing to the AOF file"), "MISCONF Errors writing"),
    ],
    ids=["NOPERM", "NOAUTH", "WRONGPASS", "LOADING", "READONLY", "OOM", "MISCONF"],
)
def test_the_words_of_redis_are_told(
    clock: _Clock, caplog: pytest.LogCaptureFixture, error: Exception, words: str
) -> None:
    """The repr of redis-py's exceptions, which Celery logs, leaves them out."""
    BrokerOutages(clock).met(error)

    (line,) = _said(caplog)
    assert words in line


def test_what_goes_on_is_told_once_a_minute(clock: _Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A worker tries again every few seconds; what is new is told at once."""
    interruptions, error = BrokerOutages(clock), ServerError("no keys")

    told = []
    for _ in range(130):
        interruptions.met(error)
        told += _said(caplog)
        clock.seconds += 0.5
    interruptions.met(ServerError("no channels"))

    assert len(told) == 2
    assert "no channels" in _said(caplog)[0]


def test_the_end_is_told_once_and_not_before_it_has_lasted(clock: _Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A worker without the right to fetch is ready for a moment each time; the next interruption is a new one."""
    interruptions, error = BrokerOutages(clock), ServerError("no keys")
    interruptions.passed()
    interruptions.met(error)
    clock.seconds += QUIET - 1
    interruptions.passed()
    interruptions.met(error)
    assert len(_said(caplog)) == 1

    clock.seconds += QUIET
    interruptions.passed()
    interruptions.passed()
    interruptions.met(error)

    over, again = _said(caplog)
    assert over == "Redis works again after 4.0 s; until then it failed 2 times"
    assert "no keys" in again


def test_what_goes_on_is_tried_ever_more_seldom(clock: _Clock) -> None:
    """Each try is a few lines of Celery's in the log; three seconds are soon enough."""
    interruptions, pauses = BrokerOutages(clock), []
    for _ in range(5):
        interruptions.met(ServerError("no keys"))
        pauses.append(interruptions.pause)

    assert pauses == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_refusal_is_shown_with_its_words() -> None:
    """Wherever an exception's repr is logged, as Celery does."""
    assert repr(ServerError("Redis is in cluster mode")) == "ServerError: Redis is in cluster mode"
