"""The dead-letter database: it must take the next event that can't be delivered."""

from __future__ import annotations

import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_

from worker.database.engine import shown
from worker.database.errors import DatabaseUnusable, DeadLetterStoreUnavailable, SchemaError
from worker.database.models import DeadLetter, State
from worker.database.schema import check_schema, head_revision
from worker.dead_letters.queries import count
from worker.dead_letters.store import DeadLetterStore
from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.policy.dead_letter import DeadLetterRecord, key_of_raw
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["look_at_database"]

_LATELY: Final = timedelta(hours=1)
_MANY: Final = 100
"""Events that died lately: more have a common cause."""


def look_at_database(url: str, *, rehearse: bool = True) -> Iterator[Finding]:
    """Check the database.

    Args:
        url: As `worker.database.engine.connect` takes it.
        rehearse: Whether a row is written, and taken back.
    """
    try:
        store = DeadLetterStore.connect(url, pool_size=1)
    except DatabaseUnusable as error:
        yield red("database", "it can't be used", fix=str(error))
        return
    with closing(store):
        try:
            check_schema(store.engine)
        except SchemaError as error:
            summary, _, fix = str(error).partition(": ")
            yield red("database schema", f"{summary} (FEEDBACK_DATABASE_URL is {shown(url)})", fix=fix)
            return
        except DeadLetterStoreUnavailable as error:
            yield _away(url, error)
            return
        yield green("database", f"{shown(url)} answers")
        yield green("database schema", f"the table is at version {head_revision()}, as this release needs it")
        if rehearse:
            yield _writes(store)
        yield _died_lately(store, datetime.now(UTC) - _LATELY)


def _away(url: str, error: DeadLetterStoreUnavailable) -> Finding:
    return red(
        "database",
        f"FEEDBACK_DATABASE_URL is {shown(url)}: {error}",
        fix="start it, or correct FEEDBACK_DATABASE_URL; events that die wait meanwhile, and are not lost",
    )


def _writes(store: DeadLetterStore) -> Finding:
    now = datetime.now(UTC)
    trial = DeadLetterRecord(
        reason=Reason.INVALID,
        failed_at=now,
        first_enqueued_at=now,
        attempts=0,
        event=None,
        dedup_key=key_of_raw(uuid.uuid4().bytes),
        response_body="aquilax-feedback doctor",
    )
    try:
        store.rehearse(trial)
    except DeadLetterStoreUnavailable as error:
        fix = "let its user insert into dead_letters; look for a full disk, or a replica that is read-only"
        return red("database write", f"a row could not be written: {error}", fix=fix)
    return green("database write", "a row could be written, and was taken back")


def _died_lately(store: DeadLetterStore, since: datetime) -> Finding:
    check = "dead letters"
    try:
        lately = count(store.engine, and_(DeadLetter.state == State.DEAD, DeadLetter.failed_at >= since))
    except DeadLetterStoreUnavailable as error:
        return red(check, f"they can't be counted: {error}", fix="look at the database")
    summary = f"{lately:,} died in the last hour and wait for you"
    if lately < _MANY:
        return green(check, summary)
    return yellow(check, summary, fix="`aquilax-feedback dead-letters list --group-by fingerprint` says of what")
