"""What an operator's command finds: the Redis and the database of its settings, empty."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.places import Places, places_of
from worker.deadletters import DeadLetterStore, upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.processes import RedisServer


@pytest.fixture
def places(valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """The places of an empty queue, in the Redis of the settings."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", valkey.url)
    with places_of(valkey) as places:
        yield places


@pytest.fixture
def table(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadLetterStore]:
    """The empty table in the database of the settings."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", sqlite_url)
    upgrade(sqlite_url)
    with closing(DeadLetterStore.connect(sqlite_url)) as store:
        yield store
