"""The outbox of the settings, for an operator: opened, looked at, and carried to their Redis."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from sqlalchemy import exc

from producer import FeedbackProducer, outbox
from worker.clients.redis.connections import producer_options
from worker.database.engine import connect, missing_file, shown
from worker.observability.outbox_metrics import OfOutbox
from worker.observability.redaction import redaction_of
from worker.operations.metrics_port import metrics_port
from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from worker.settings import Settings

__all__ = ["open_outbox", "opened_relay", "outbox_outage", "outbox_status", "served_metrics"]

_SETTING: Final = "FEEDBACK_OUTBOX_URL"


@contextmanager
def open_outbox(settings: Settings) -> Iterator[Engine]:
    """Open the backend's database. An SQLite file that is not there is not made.

    Raises:
        SettingsError: No URL is set, or it names a file that is not there.
        DatabaseUnusable: The URL can't be used.
    """
    engine = connect(settings.require_outbox_url(), pool_size=2, setting=_SETTING)
    if (file := missing_file(engine)) is not None:
        raise SettingsError(f"{_SETTING}: there is no file {file}: set it to the backend's own")
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def opened_relay(settings: Settings, engine: Engine) -> Iterator[outbox.Relay]:
    """Make a relay from the outbox to the Redis of the settings.

    A database that is unavailable just now is no reason to fail: the relay waits for it.

    Raises:
        OutboxTableError: The database has no such table, or one that lacks a column.
    """
    with suppress(exc.DBAPIError, exc.TimeoutError), engine.connect() as connection:
        outbox.require_table(connection)
    interval = settings.feedback_relay_interval.total_seconds()
    with closing(FeedbackProducer(**producer_options(settings))) as producer:
        yield outbox.Relay(engine, producer, interval=interval)


def outbox_status(engine: Engine) -> outbox.OutboxStatus:
    """Count what is in the outbox.

    Raises:
        OutboxTableError: There is none.
    """
    with engine.connect() as connection:
        outbox.require_table(connection)
        return outbox.status(connection)


def outbox_outage(settings: Settings, error: Exception) -> str:
    """Return why nothing was relayed, and which setting names what is unavailable; without secrets."""
    if isinstance(error, exc.SQLAlchemyError):
        text = f"{_SETTING} is {shown(settings.require_outbox_url())}: {outbox.reason_of(error)}"
    else:
        text = f"FEEDBACK_BROKER_URL: {outbox.reason_of(error)}"
    return redaction_of(settings)(text)


@contextmanager
def served_metrics(settings: Settings, relay: outbox.Relay, engine: Engine) -> Iterator[None]:
    """Serve the relay's metrics for the length of the block, if the settings name a port.

    Raises:
        SettingsError: The port can't be listened on.
    """
    if settings.feedback_metrics_port is None:
        yield
        return
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(OfOutbox(relay, lambda: outbox_status(engine)))
    with metrics_port(settings, registry):
        yield
