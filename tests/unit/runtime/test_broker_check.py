"""What a worker makes of what its servers tell of themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery.exceptions import WorkerShutdown

from worker.runtime.broker_check import _problem

STARTING: Any = SimpleNamespace(restart_count=1)
RUNNING: Any = SimpleNamespace(restart_count=2)
SAFE = {"maxmemory_policy": "noeviction", "aof_enabled": 1}


def test_a_server_that_keeps_everything_is_no_problem() -> None:
    """Nothing is said."""
    assert _problem(STARTING, SAFE, is_only_one=True) == ""


def test_a_server_that_throws_messages_away_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The worker does not start, and says what to set."""
    with pytest.raises(WorkerShutdown):
        _problem(STARTING, SAFE | {"maxmemory_policy": "allkeys-lru"}, is_only_one=False)

    assert "CONFIG SET maxmemory-policy noeviction" in capsys.readouterr().err


def test_a_worker_that_had_begun_before_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """What it holds would be lost to it; it tells."""
    _problem(RUNNING, SAFE | {"maxmemory_policy": "allkeys-lru"}, is_only_one=True)

    assert "set it to noeviction" in caplog.text


def test_a_server_without_a_file_is_told() -> None:
    """It works, until it dies."""
    assert "no append-only file" in _problem(STARTING, SAFE | {"aof_enabled": 0}, is_only_one=True)


def test_one_of_several_that_is_away_is_told() -> None:
    """The others are consumed meanwhile; of the only one the connection is tried again."""
    away = redis.ConnectionError("it is away")

    assert "it is away" in _problem(STARTING, away, is_only_one=False)
    with pytest.raises(redis.ConnectionError, match="it is away"):
        _problem(STARTING, away, is_only_one=True)


def test_a_server_that_does_not_tell_is_told() -> None:
    """A login without INFO."""
    refusal = redis.ResponseError("NOPERM")

    assert "INFO: NOPERM" in _problem(STARTING, refusal, is_only_one=True)
