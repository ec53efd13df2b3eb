"""The workers' own timer: once an hour for all of them, and at no delivery's cost."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from tests.support.dead_letter_records import a_record, add, rows_of
from tests.support.processes import eventually
from worker.clients.redis.keys import FeedbackKeys
from worker.database.models import DeadLetter, State
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore
from worker.runtime import pruner as retention
from worker.runtime.pruner import Pruner
from worker.sandbox.stack import free_port
from worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer

PRUNED = FeedbackKeys().pruned

LONG_AGO = datetime.now(UTC) - timedelta(days=100)
NO_WORKER: Any = None
"""The step asks it nothing as it stops."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait five minutes."""
    monkeypatch.setattr(retention, "_FIRST_LOOK", 0.05)
    monkeypatch.setattr(retention, "_LOOK_EVERY", 0.05)


@pytest.fixture
def settings(valkey: RedisServer, sqlite_url: str) -> Settings:
    """A Redis, and a database with its table."""
    upgrade(sqlite_url)
    return load_settings(feedback_broker_url=valkey.url, feedback_database_url=sqlite_url, _env_file=None)


@pytest.fixture
def table(settings: Settings) -> Iterator[DeadLetterStore]:
    """The table."""
    with closing(DeadLetterStore.connect(settings.feedback_database_url.get_secret_value())) as store:
        yield store


def _over(table: DeadLetterStore) -> None:
    row_id = add(table, a_record())
    with table.engine.begin() as connection:
        values = {"state": State.DELIVERED, "resolved_at": LONG_AGO, "failed_at": LONG_AGO}
        connection.execute(update(DeadLetter).where(DeadLetter.id == row_id).values(values))


def _start(settings: Settings, name: str) -> Pruner:
    feedback = SimpleNamespace(settings=settings)
    worker: Any = SimpleNamespace(app=SimpleNamespace(feedback=feedback), hostname=name, steps=[])
    step = Pruner(worker)
    step.start(worker)
    return step


def test_one_worker_prunes_for_all(settings: Settings, table: DeadLetterStore, valkey: RedisServer) -> None:
    """The first worker, once an hour: the others see that it is done."""
    _over(table)
    steps = [_start(settings, name) for name in ("a", "b", "c")]
    try:
        eventually(lambda: not rows_of(table), what="what was over is pruned")
        with valkey.client() as client:
            assert client.get(PRUNED) in {"a", "b", "c"}
            assert 3500 < client.ttl(PRUNED) <= 3600
            _over(table)
            client.delete(PRUNED)
        eventually(lambda: not rows_of(table), what="the hour is over")
    finally:
        for step in steps:
            step.stop(NO_WORKER)


def test_what_the_setting_keeps_is_kept(settings: Settings, table: DeadLetterStore, valkey: RedisServer) -> None:
    """For longer than it has been over."""
    _over(table)
    step = _start(settings.model_copy(update={"feedback_retention": timedelta(days=101)}), "a")
    try:
        with valkey.client() as client:
            eventually(lambda: client.get(PRUNED), what="a look")
    finally:
        step.stop(NO_WORKER)

    assert len(rows_of(table)) == 1


@pytest.mark.parametrize("away", ["feedback_broker_url", "feedback_database_url"])
def test_a_server_that_is_away_is_logged_and_no_more(
    settings: Settings, table: DeadLetterStore, caplog: pytest.LogCaptureFixture, away: str
) -> None:
    """The worker delivers on, and the next look comes; no password is in the log."""
    _over(table)
    urls = {
        "feedback_broker_url": f"redis://:hunter2@127.0.0.1:{free_port()}/0",
        "feedback_database_url": f"postgresql://u:hunter2@127.0.0.1:{free_port()}/x",
    }
    changed = load_settings(**(settings.model_dump() | {away: urls[away]}), _env_file=None)

    with caplog.at_level(logging.WARNING):
        step = _start(changed, "a")
        try:
            eventually(lambda: "what is over is not pruned this time" in caplog.text, what="a warning")
        finally:
            step.stop(NO_WORKER)

    assert "hunter2" not in caplog.text
    assert len(rows_of(table)) == 1
