"""Flower with the dashboard in it, on each of the databases and a real Valkey."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.flower import ServedFlower, served_flower
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def browsed_url(request: pytest.FixtureRequest) -> str:
    """SQLite, then PostgreSQL, then MariaDB; up to date."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    upgrade(url)
    return url


@pytest.fixture
def browsed(browsed_url: str) -> Iterator[DeadLetterStore]:
    """The dead letters that the dashboard shows."""
    with closing(DeadLetterStore.connect(browsed_url)) as store:
        yield store


@pytest.fixture
def flower(browsed_url: str, valkey: RedisServer) -> Iterator[ServedFlower]:
    """Flower on loopback, without a login."""
    with served_flower(broker_url=valkey.url, database_url=browsed_url) as flower:
        yield flower
