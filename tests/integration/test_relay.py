"""``aquilax-feedback relay``: from a backend's database to Redis, and what it says where it can't."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text

from producer import FeedbackEvent, outbox
from tests.support.commands import command, record_of, succeed
from tests.support.environment import clean_environment
from tests.support.processes import eventually
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.processes import RedisServer

EVENT = FeedbackEvent(request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="o", group="g")


@pytest.fixture
def environment(valkey: RedisServer, tmp_path: Path) -> dict[str, str]:
    """A backend's database, which has no outbox yet, and Redis."""
    database = tmp_path / "backend.sqlite3"
    database.touch()
    return {"FEEDBACK_OUTBOX_URL": f"sqlite:///{database}", "FEEDBACK_BROKER_URL": valkey.url}


def _press(environment: Mapping[str, str], times: int = 1) -> None:
    engine = create_engine(environment["FEEDBACK_OUTBOX_URL"])
    with engine.begin() as connection:
        for _ in range(times):
            outbox.add(connection, EVENT)
    engine.dispose()


def test_the_table_is_made_and_what_is_in_it_is_carried(environment: dict[str, str], valkey: RedisServer) -> None:
    """Twice made is once made; the status says what waits, for people and for programs."""
    for _ in range(2):
        assert succeed(environment, "relay", "--create-table") == "the table feedback_outbox is there\n"
    assert succeed(environment, "relay", "--status") == "0 waiting\n0 set aside\n"
    _press(environment, times=2)

    shown = succeed(environment, "relay", "--status")
    record = record_of(environment, "relay", "--status")
    assert succeed(environment, "relay", "--once") == "relayed 2, set aside 0\n"

    assert shown.startswith("2 waiting, the oldest written ")
    assert (record["waiting"], record["set_aside"]) == (2, 0)
    with valkey.client() as client:
        assert client.llen("feedback") == 2


def test_a_row_that_is_no_event_makes_the_status_1(environment: dict[str, str]) -> None:
    """The others are carried all the same."""
    succeed(environment, "relay", "--create-table")
    _press(environment, times=2)
    engine = create_engine(environment["FEEDBACK_OUTBOX_URL"])
    with engine.begin() as connection:
        connection.execute(text("UPDATE feedback_outbox SET org = '' WHERE id = 1"))
    engine.dispose()

    ended = command(environment, "relay", "--once")

    assert (ended.exit_code, ended.stdout) == (1, "relayed 1, set aside 1\n")
    assert succeed(environment, "relay", "--status").endswith("1 set aside; their column `problem` says why\n")


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"FEEDBACK_OUTBOX_URL": ""}, 2, "FEEDBACK_OUTBOX_URL is not set"),
        ({"FEEDBACK_OUTBOX_URL": "nosuch://s3cret-word@h/x"}, 2, "FEEDBACK_OUTBOX_URL: nosuch is no database"),
        ({"FEEDBACK_OUTBOX_URL": "postgresql+asyncpg://h/x"}, 2, "FEEDBACK_OUTBOX_URL names the driver"),
        ({"FEEDBACK_OUTBOX_URL": "postgresql://h/x?pool=5"}, 2, "FEEDBACK_OUTBOX_URL: the option pool"),
        ({"FEEDBACK_OUTBOX_URL": "sqlite:////nowhere/at-all"}, 2, "FEEDBACK_OUTBOX_URL: there is no file /nowhere/at"),
        ({"FEEDBACK_OUTBOX_URL": "postgresql://u:s3cret-word@127.0.0.1:1/x"}, 1, "u:***@127.0.0.1:1/x: the database"),
        ({}, 1, "no table feedback_outbox: run `aquilax-feedback relay --create-table`"),
        ({"FEEDBACK_RELAY_INTERVAL": "7200"}, 2, "FEEDBACK_RELAY_INTERVAL: expected at most an hour"),
    ],
)
def test_what_is_wrong_is_named_with_the_fix(
    environment: dict[str, str], given: dict[str, str], status: int, words: str
) -> None:
    """By the setting, and without its secret: status 2 if it is for the operator to change one, else 1."""
    ended = command(environment | given, "relay", "--once")

    assert ended.exit_code == status
    assert words in " ".join(ended.output.split())
    assert "s3cret-word" not in ended.output


def test_without_redis_the_rows_stay(environment: dict[str, str]) -> None:
    """And it is said which setting names it."""
    succeed(environment, "relay", "--create-table")
    _press(environment)

    ended = command(environment | {"FEEDBACK_BROKER_URL": "redis://:s3cret-word@127.0.0.1:1/0"}, "relay", "--once")

    assert (ended.exit_code, "s3cret-word" in ended.output) == (1, False)
    assert "FEEDBACK_BROKER_URL: Redis: " in ended.output
    assert record_of(environment, "relay", "--status")["waiting"] == 1


def test_it_runs_until_it_is_told_to_stop(environment: dict[str, str], valkey: RedisServer) -> None:
    """It carries what commits meanwhile, tells its metrics, and ends with status 0."""
    succeed(environment, "relay", "--create-table")
    port = free_port()
    told = {"FEEDBACK_METRICS_PORT": str(port), "FEEDBACK_LOG_FORMAT": "json", "FEEDBACK_RELAY_INTERVAL": "0.02"}
    relay = subprocess.Popen(
        [sys.executable, "-m", "worker.operations.cli", "relay"],
        env=clean_environment() | environment | told,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _press(environment)
        with valkey.client() as client:
            eventually(lambda: client.llen("feedback") == 1, what="it is carried")
        metrics = eventually(lambda: _metrics(port), what="metrics are served")
    finally:
        relay.send_signal(signal.SIGTERM)
        _, errors = relay.communicate(timeout=30)

    assert relay.returncode == 0, errors
    assert json.loads(errors.splitlines()[-1])["event"] == "the relay ends: 1 events relayed, 0 rows set aside"
    assert {"aquilax_feedback_outbox_relayed_total 1.0", "aquilax_feedback_outbox_waiting_rows 0.0"} <= set(metrics)
    assert "aquilax_feedback_outbox_relay_up 1.0" in metrics


def _metrics(port: int) -> list[str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines: list[str] = answer.read().decode().splitlines()
    except OSError:
        return []
    return lines if "aquilax_feedback_outbox_relayed_total 1.0" in lines else []
