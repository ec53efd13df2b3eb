"""``aquilax-feedback exporter``: what autoscalers and Prometheus are told while no worker runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from producer import FeedbackProducer
from tests.support.commands import command, succeed
from tests.support.dead_letter_records import a_record, add
from tests.support.environment import clean_environment
from tests.support.processes import eventually
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.processes import RedisServer

REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


@pytest.fixture
def environment(valkey: RedisServer, sqlite_url: str) -> dict[str, str]:
    """An empty Redis, a database without tables, and a port."""
    port = str(free_port())
    return {"FEEDBACK_BROKER_URL": valkey.url, "FEEDBACK_DATABASE_URL": sqlite_url, "FEEDBACK_METRICS_PORT": port}


@contextmanager
def exporter(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The process, which must end with status 0 when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.operations.cli", "exporter"],
        env=clean_environment() | dict(environment),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def told(environment: Mapping[str, str], name: str) -> float | None:
    """A metric's value; None if it is not told, or nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{environment['FEEDBACK_METRICS_PORT']}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.split()[0] == f"aquilax_feedback_{name}"), None)


def test_what_waits_is_told_without_a_worker(environment: dict[str, str]) -> None:
    """An autoscaler starts the first one by it."""
    with exporter(environment):
        eventually(lambda: told(environment, "unfinished_work") == 0, what="nothing is to be done")
        with FeedbackProducer(environment["FEEDBACK_BROKER_URL"], timeout=5) as producer:
            producer.enqueue(REQUEST_ID, True, org="o", group="g")

        eventually(lambda: told(environment, "unfinished_work") == 1, what="a worker is needed")
        assert told(environment, "backlog_messages") == 1
        eventually(lambda: told(environment, "queued_messages") == 1, what="what all workers tell")
        eventually(lambda: (told(environment, "backlog_age_seconds") or 0) > 0.1, what="it grows old")


def test_a_hold_keeps_one_worker_and_calls_for_no_more(environment: dict[str, str]) -> None:
    """By hand, as by itself."""
    upgrade(environment["FEEDBACK_DATABASE_URL"])
    with FeedbackProducer(environment["FEEDBACK_BROKER_URL"], timeout=5) as producer:
        producer.enqueue(REQUEST_ID, True, org="o", group="g")
    succeed(environment, "hold", "--comment", "AquilaX migrates")

    with exporter(environment):
        eventually(lambda: told(environment, "unfinished_work") == 1, what="a worker is needed")
        assert told(environment, "backlog_messages") == told(environment, "backlog_age_seconds") == 0


def test_a_replay_is_work_until_it_is_paused(environment: dict[str, str]) -> None:
    """Its plan is in the database alone; without the tables there is none, and that is no fault."""
    with exporter(environment):
        eventually(lambda: told(environment, "unfinished_work") == 0, what="nothing is to be done")
        upgrade(environment["FEEDBACK_DATABASE_URL"])
        with closing(DeadLetterStore.connect(environment["FEEDBACK_DATABASE_URL"])) as store:
            add(store, a_record())
        succeed(environment, "dead-letters", "replay", "--yes", "--no-wait")

        eventually(lambda: told(environment, "unfinished_work") == 1, what="a worker is needed")
        succeed(environment, "replays", "pause", "1")
        eventually(lambda: told(environment, "unfinished_work") == 0, what="nobody waits for it")


def test_without_redis_it_says_so_and_tells_no_number(environment: dict[str, str], valkey: RedisServer) -> None:
    """A frozen one included, and within the three seconds that KEDA waits."""
    with exporter(environment):
        eventually(lambda: told(environment, "redis_up") == 1, what="it answers")
        valkey.run.pause()
        try:
            eventually(lambda: told(environment, "redis_up") == 0, what="Redis is unavailable")
            assert told(environment, "unfinished_work") is None
        finally:
            valkey.run.thaw()
        eventually(lambda: told(environment, "unfinished_work") == 0, what="Redis is back")


def test_what_is_wrong_is_named_with_the_fix(environment: dict[str, str], valkey: RedisServer) -> None:
    """A port that is not given, or is taken."""
    missing = command(environment | {"FEEDBACK_METRICS_PORT": ""}, "exporter")
    taken = command(environment | {"FEEDBACK_METRICS_PORT": str(valkey.port)}, "exporter")

    assert (missing.exit_code, taken.exit_code) == (2, 2)
    assert "FEEDBACK_METRICS_PORT is not set" in missing.output
    assert "give FEEDBACK_METRICS_PORT one that is free" in " ".join(taken.output.split())
