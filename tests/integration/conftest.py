"""What an operator's command finds: the Redis and the database of its settings, empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.places import Places, places_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore


@pytest.fixture
def places(valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """The places of an empty queue, in the Redis of the settings."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", valkey.url)
    with places_of(valkey) as places:
        yield places


@pytest.fixture
def table(sqlite_store: DeadLetterStore, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> DeadLetterStore:
    """The empty table in the database of the settings."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", sqlite_url)
    return sqlite_store
