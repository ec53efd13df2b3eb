"""The broker's Redis, opened for a command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from producer.broker_url import BrokerUrl
from worker.broker.error_advice import advice
from worker.clients.redis.connections import redis_client
from worker.operations.cli.database import settings
from worker.policy.redaction import Redaction, secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

__all__ = ["broker", "broker_outage"]


@contextmanager
def broker() -> Iterator[redis.Redis]:
    """Open the Redis of the settings; it answers in bytes, and connects when it is first used."""
    given = settings()
    client = redis_client(
        given.feedback_broker_url.get_secret_value(), sentinel_master=given.feedback_sentinel_master, connections=2
    )
    try:
        yield client
    finally:
        client.close()


def broker_outage(error: redis.RedisError) -> str:
    """Say that Redis can't be asked, and which setting names it."""
    given, words, fix = settings(), str(error), advice(str(error))
    broker = BrokerUrl.read(given.feedback_broker_url.get_secret_value(), given.feedback_sentinel_master)
    redacted = Redaction(secrets_in_url(given.feedback_broker_url.get_secret_value()))
    return redacted(f"FEEDBACK_BROKER_URL is {broker.shown}: {words}{f'; {fix}' if fix not in words else ''}")
