"""Flower with the dashboard in it, on each of the databases and a real Valkey."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.flower import ServedFlower, served_flower
from worker.dead_letters.store import DeadLetterStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer


@pytest.fixture
def browsed(tables_url: str) -> Iterator[DeadLetterStore]:
    """The dead letters that the dashboard shows."""
    with closing(DeadLetterStore.connect(tables_url)) as store:
        yield store


@pytest.fixture
def flower(tables_url: str, valkey: RedisServer) -> Iterator[ServedFlower]:
    """Flower on loopback, without a login."""
    with served_flower(broker_url=valkey.url, database_url=tables_url) as flower:
        yield flower
