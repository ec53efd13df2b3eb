"""A gateway in this process, with one client's key and a producer that records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producer.testing import AsyncRecordingProducer
from tests.support.gateway import client_of
from worker.gateway.key_file import add_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx


@pytest.fixture
def producer() -> AsyncRecordingProducer:
    """What the gateway hands events to."""
    return AsyncRecordingProducer()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """The file of keys, which is not there yet."""
    return tmp_path / "keys.json"


@pytest.fixture
def key(keys_file: Path) -> str:
    """The key of the client `backend`."""
    return add_key(keys_file, "backend")


@pytest.fixture
async def client(producer: AsyncRecordingProducer, keys_file: Path, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway that sends the key."""
    async with client_of(producer, keys_file=keys_file) as client:
        client.headers["X-AX-KEY"] = key
        yield client
