"""The dead-letter database of the settings, opened for an operator; and the message if it is unavailable.

It does without `worker.operations.broker`: to import redis-py takes as long as a command on dead letters has.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.database.engine import shown
from worker.database.errors import DeadLetterError, DeadLetterStoreUnavailable
from worker.database.schema import checked_engine
from worker.observability.redaction import redaction_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from worker.settings import Settings

__all__ = ["checked_database", "database_outage", "database_url"]


@contextmanager
def checked_database(settings: Settings) -> Iterator[Engine]:
    """Open the database for one thread; its tables are those that this release knows.

    Raises:
        DeadLetterError: It is unavailable, or its tables are others. An SQLite file that is not there is not made.
    """
    with checked_engine(database_url(settings)) as engine:
        yield engine


def database_outage(settings: Settings, error: DeadLetterError) -> str:
    """Return why the database can't be used, without secrets. Most errors say themselves what to do."""
    if isinstance(error, DeadLetterStoreUnavailable):
        return redaction_of(settings)(f"FEEDBACK_DATABASE_URL is {shown(database_url(settings))}: {error}")
    return str(error)


def database_url(settings: Settings) -> str:
    """Return the database's URL, with its password."""
    return settings.feedback_database_url.get_secret_value()
