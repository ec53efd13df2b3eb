"""The broker's Redis, opened for a command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from producer.address import Address
from worker.cli.database import settings
from worker.redis_clients import redis_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

__all__ = ["broker", "broker_outage"]


@contextmanager
def broker() -> Iterator[redis.Redis]:
    """Open the Redis of the settings; it answers in bytes, and connects when it is first used."""
    client = redis_client(settings().feedback_broker_url.get_secret_value(), connections=2)
    try:
        yield client
    finally:
        client.close()


def broker_outage(error: redis.RedisError) -> str:
    """Say that Redis can't be asked, and which setting names it."""
    address = Address(settings().feedback_broker_url.get_secret_value(), patience=1)
    return f"FEEDBACK_BROKER_URL is {address}: {error}"
