"""Redis and the dead-letter database of the settings, opened for an operator; and the message if one is unavailable."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from producer.broker_url import BrokerUrl
from worker.broker.error_advice import advice
from worker.clients.redis.connections import redis_client
from worker.database.engine import shown
from worker.database.errors import DeadLetterError, DeadLetterStoreUnavailable
from worker.database.schema import check_schema
from worker.dead_letters.store import DeadLetterStore
from worker.observability.redaction import redaction_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from sqlalchemy import Engine

    from worker.settings import Settings

__all__ = ["broker_client", "broker_outage", "checked_database", "database_outage", "database_url", "shown_broker"]


def broker_client(settings: Settings, *, connections: int = 1, **options: Any) -> redis.Redis:
    """Return a client of the broker's Redis; see `redis_client` for its arguments."""
    url, master = settings.feedback_broker_url.get_secret_value(), settings.feedback_sentinel_master
    return redis_client(url, sentinel_master=master, connections=connections, **options)


@contextmanager
def checked_database(settings: Settings) -> Iterator[Engine]:
    """Open the database for one thread; its tables are those that this release knows.

    Raises:
        DeadLetterError: It is unavailable, or its tables are others. An SQLite file that is not there is not made.
    """
    with closing(DeadLetterStore.connect(database_url(settings), pool_size=1)) as store:
        check_schema(store.engine)
        yield store.engine


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
