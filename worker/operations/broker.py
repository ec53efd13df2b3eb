"""The Redis of the settings, opened for an operator; and the message if it is unavailable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from producer.broker_url import BrokerUrl
from worker.broker.server_errors import advice
from worker.clients.redis.connections import broker_client, broker_partitions, broker_record
from worker.observability.redaction import redaction_of

if TYPE_CHECKING:
    import redis

    from worker.settings import Settings

__all__ = ["broker_client", "broker_outage", "broker_partitions", "broker_record", "shown_broker"]


def broker_outage(settings: Settings, error: redis.RedisError) -> str:
    """Return why Redis can't be asked, which setting names it, and the fix if the error is known; without secrets."""
    text, fix = str(error), advice(str(error))
    where = f"FEEDBACK_BROKER_URL is {shown_broker(settings)}"
    return redaction_of(settings)(f"{where}: {text}{f'; {fix}' if fix not in text else ''}")


def shown_broker(settings: Settings) -> str:
    """Return the broker's URL without its secrets."""
    return BrokerUrl.read(settings.feedback_broker_url.get_secret_value(), settings.feedback_sentinel_master).shown
