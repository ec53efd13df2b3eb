"""The dead-letter table and the queue that the command line uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore


@pytest.fixture
def table(table: DeadLetterStore, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> DeadLetterStore:
    """The dead-letter table and the queue that the command line's settings name."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", valkey.url)
    return table


@pytest.fixture
def queue(valkey: RedisServer) -> Iterator[redis.Redis]:
    """A look into the queue."""
    with valkey.client() as client:
        yield client
