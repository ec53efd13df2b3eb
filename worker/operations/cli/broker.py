"""Redis, opened for a command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.operations.broker import broker_outage as outage_of
from worker.operations.broker import broker_partitions
from worker.operations.cli.database import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from worker.clients.redis.partitions import Partitions

__all__ = ["broker", "broker_outage"]


@contextmanager
def broker() -> Iterator[Partitions]:
    """Open the partitions of the settings' Redis; they answer in bytes, and connect when they are first used."""
    partitions = broker_partitions(settings(), connections=2)
    try:
        yield partitions
    finally:
        partitions.close()


def broker_outage(error: redis.RedisError) -> str:
    """Say that Redis can't be asked, and which setting names it."""
    return outage_of(settings(), error)
