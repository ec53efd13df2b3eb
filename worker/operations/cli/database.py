"""The dead-letter database, opened for a command; whatever is wrong with it is said in words and an exit status."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from worker.database.engine import shown
from worker.database.errors import DatabaseUnusable, DeadLetterError, DeadLetterStoreUnavailable
from worker.database.schema import check_schema
from worker.dead_letters.store import DeadLetterStore
from worker.policy.redaction import Redaction, secrets_in_url
from worker.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

__all__ = ["explained", "opened", "outage", "settings"]


def settings() -> Settings:
    """Return the settings; a wrong one ends the command with status 2."""
    try:
        return load_settings()
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


def outage(url: str, error: DeadLetterError) -> str:
    """Say why the database at a URL can't be used. Other errors than its absence say themselves what to do."""
    if isinstance(error, DeadLetterStoreUnavailable):
        return Redaction(secrets_in_url(url))(f"FEEDBACK_DATABASE_URL is {shown(url)}: {error}")
    return str(error)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """End the command where the database can't be used: status 2 if a setting is wrong, else 1.

    Args:
        url: The database.
    """
    try:
        yield
    except DatabaseUnusable as error:
        raise click.UsageError(str(error)) from None
    except DeadLetterError as error:
        raise click.ClickException(outage(url, error)) from None


@contextmanager
def opened(*, checked: bool = True) -> Iterator[Engine]:
    """Open the database of the settings.

    Args:
        checked: Whether its table must be the one that this release knows.
    """
    url = settings().feedback_database_url.get_secret_value()
    with explained(url):
        store = DeadLetterStore.connect(url)
        try:
            if checked:
                check_schema(store.engine)
            yield store.engine
        finally:
            store.close()
