"""The settings and the dead-letter database, for a command; a failure ends it with a message and an exit status."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from worker.database.engine import connect
from worker.database.errors import DatabaseUnusable, DeadLetterError
from worker.database.schema import check_schema
from worker.operations import database
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


def outage(error: DeadLetterError) -> str:
    """Say why the database can't be used."""
    return database.database_outage(settings(), error)


@contextmanager
def explained() -> Iterator[None]:
    """End the command where the database can't be used: status 2 if a setting is wrong, else 1."""
    try:
        yield
    except DatabaseUnusable as error:
        raise click.UsageError(str(error)) from None
    except DeadLetterError as error:
        raise click.ClickException(outage(error)) from None


@contextmanager
def opened(*, checked: bool = True) -> Iterator[Engine]:
    """Open the database of the settings.

    Args:
        checked: Whether its table must be the one that this release knows.
    """
    url = database.database_url(settings())
    with explained():
        engine = connect(url, looking=True)
        try:
            if checked:
                check_schema(engine)
            yield engine
        finally:
            engine.dispose()
