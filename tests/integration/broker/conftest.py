"""Every test of the transport also shows that its scripts touch declared keys only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.broker.partitioning import FEW, MANY
from tests.support.partitions import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from worker.clients.redis.partitions import Partitions


@pytest.fixture(autouse=True)
def _declared(keys_are_declared: None) -> None:
    """See `keys_are_declared`."""


@pytest.fixture
def partitions(valkey: RedisServer) -> Iterator[Partitions]:
    """The clients of a few partitions."""
    with opened(valkey.url, FEW) as clients:
        yield clients


@pytest.fixture
def many(valkey: RedisServer) -> Iterator[Partitions]:
    """Those of many."""
    with opened(valkey.url, MANY) as clients:
        yield clients
