"""A backend's outbox: whether a relay carries what waits, and what it has set aside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import exc

from producer.outbox import OutboxTableError
from worker.database.errors import DatabaseUnusable
from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.operations.relay import open_outbox, outbox_outage, outbox_status
from worker.policy.durations import span
from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.settings import Settings

__all__ = ["look_at_outbox"]

_CHECK: Final = "outbox"
_SOON: Final = timedelta(minutes=1)
"""A relay that runs carries a row within seconds."""


def look_at_outbox(settings: Settings) -> Iterator[Finding]:
    """Check that nothing waits for long in the backend's database, and that every row is an event."""
    try:
        with open_outbox(settings) as engine:
            found = outbox_status(engine)
    except (SettingsError, DatabaseUnusable) as error:
        yield red(_CHECK, str(error), fix="correct FEEDBACK_OUTBOX_URL, also where the relays run")
        return
    except OutboxTableError as error:
        yield red(_CHECK, str(error), fix="make the table; backends can't write feedback into it")
        return
    except exc.SQLAlchemyError as error:
        yield red(_CHECK, outbox_outage(settings, error), fix="bring it back, or correct FEEDBACK_OUTBOX_URL")
        return
    yield _waiting(found.waiting, found.oldest_at)
    if found.set_aside:
        fix = "correct those rows and set their `problem` to NULL, or delete them"
        yield yellow(_CHECK, f"{found.set_aside:,} rows are no event, and are set aside", fix=fix)


def _waiting(rows: int, oldest_at: datetime | None) -> Finding:
    age = datetime.now(UTC) - oldest_at if oldest_at is not None else timedelta()
    if age < _SOON:
        return green(_CHECK, f"{rows:,} rows wait to be carried")
    fix = "start `aquilax-feedback relay`, or see in its log what it waits for"
    return red(_CHECK, f"{rows:,} rows wait to be carried, the oldest for {span(age)}", fix=fix)
