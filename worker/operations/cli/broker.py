"""Redis, opened for a command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.operations.broker import broker_client
from worker.operations.broker import broker_outage as outage_of
from worker.operations.cli.database import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

__all__ = ["broker", "broker_outage"]


@contextmanager
def broker() -> Iterator[redis.Redis]:
    """Open the Redis of the settings; it answers in bytes, and connects when it is first used."""
    client = broker_client(settings(), connections=2)
    try:
        yield client
    finally:
        client.close()


def broker_outage(error: redis.RedisError) -> str:
    """Say that Redis can't be asked, and which setting names it."""
    return outage_of(settings(), error)
