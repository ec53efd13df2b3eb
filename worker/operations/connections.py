"""Redis and the dead-letter database of the settings, opened for an operator; and the message if one is unavailable."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from producer.broker_url import BrokerUrl
from worker.broker.server_errors import advice
from worker.clients.redis.connections import broker_client
from worker.database.engine import shown
from worker.database.errors import DeadLetterError, DeadLetterStoreUnavailable
from worker.database.schema import checked_engine
from worker.observability.redaction import redaction_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from sqlalchemy import Engine

    from worker.settings import Settings

__all__ = ["broker_client", "broker_outage", "checked_database", "database_outage", "database_url", "shown_broker"]


@contextmanager
def checked_database(settings: Settings) -> Iterator[Engine]:
    """Open the database for one thread; its tables are those that this release knows.

    Raises:
        DeadLetterError: It is unavailable, or its tables are others. An SQLite file that is not there is not made.
    """
    with checked_engine(database_url(settings)) as engine:
        yield engine


def broker_outage(settings: Settings, error: redis.RedisError) -> str:
    """Return why Redis can't be asked, which setting names it, and the fix if the error is known; without secrets."""
    text, fix = str(error), advice(str(error))
    where = f"FEEDBACK_BROKER_URL is {shown_broker(settings)}"
    return redaction_of(settings)(f"{where}: {text}{f'; {fix}' if fix not in text else ''}")


def database_outage(settings: Settings, error: DeadLetterError) -> str:
    """Return the same for the database. Other errors than its absence say themselves what to do."""
    if isinstance(error, DeadLetterStoreUnavailable):
        return redaction_of(settings)(f"FEEDBACK_DATABASE_URL is {shown(database_url(settings))}: {error}")
    return str(error)


def database_url(settings: Settings) -> str:
    """Return the database's URL, with its password."""
    return settings.feedback_database_url.get_secret_value()


def shown_broker(settings: Settings) -> str:
    """Return the broker's URL without its secrets."""
    return BrokerUrl.read(settings.feedback_broker_url.get_secret_value(), settings.feedback_sentinel_master).shown
