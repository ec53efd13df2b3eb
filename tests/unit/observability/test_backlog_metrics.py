"""The backlog as an autoscaler reads it: each number by its name, and none where it can't be told."""

from __future__ import annotations

from datetime import timedelta

import redis
from prometheus_client import CollectorRegistry, generate_latest

from worker.accounting.backlog import Backlog
from worker.observability.backlog_metrics import OfBacklog

BACKLOG = Backlog(messages=50, age=timedelta(seconds=45), unfinished=60)


def told(collector: OfBacklog) -> list[str]:
    """Its lines."""
    registry = CollectorRegistry()
    registry.register(collector)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_a_replay_is_work_too() -> None:
    """Its rows are in the database, and only a worker brings them forward."""
    assert told(OfBacklog(lambda: BACKLOG, lambda: 2)) == [
        "aquilax_feedback_backlog_messages 50.0",
        "aquilax_feedback_backlog_age_seconds 45.0",
        "aquilax_feedback_unfinished_work 62.0",
    ]


def test_without_redis_there_is_no_number() -> None:
    """0 would stop the last worker; what is missing is an error to an autoscaler, which has a rule for it."""

    def look() -> Backlog:
        raise redis.ConnectionError("gone")

    assert told(OfBacklog(look, lambda: 2)) == []
