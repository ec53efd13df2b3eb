"""The dead-letter database: it must take the next event that can't be delivered; and replays that do not go on."""

from __future__ import annotations

import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_

from worker.database.engine import shown
from worker.database.errors import DatabaseUnusable, DeadLetterError, DeadLetterStoreUnavailable, SchemaError
from worker.database.models import DeadLetter, State
from worker.database.replay_models import ReplayState
from worker.database.schema import check_schema, head_revision
from worker.dead_letters.queries import count
from worker.dead_letters.replays.queries import count_left_dead, plans
from worker.dead_letters.store import DeadLetterStore
from worker.operations.database import checked_database
from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.policy.dead_letter import DeadLetterRecord, key_of_raw
from worker.policy.durations import span
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from worker.dead_letters.replays.queries import Plan
    from worker.settings import Settings

__all__ = ["look_at_database", "look_at_replays"]

_LATELY: Final = timedelta(hours=1)

_MANY: Final = 100
"""Events that died lately: more have a common cause."""

_LOOKED_AT: Final = 50
"""Of the latest replays: who pauses more, or stops more, knows of it."""

_CHECK: Final = "replays"


def look_at_database(url: str, *, rehearse: bool = True) -> Iterator[Finding]:
    """Check the database; to rehearse, a row is written and taken back."""
    try:
        store = DeadLetterStore.connect(url, pool_size=1)
    except DatabaseUnusable as error:
        yield red("database", "it can't be used", fix=str(error))
        return
    with closing(store):
        if problem := _unusable(store, url):
            yield problem
            return
        yield green("database", f"{shown(url)} answers")
        yield green("database schema", f"the table is at version {head_revision()}, as this release needs it")
        if rehearse:
            yield _writes(store)
        yield _died_lately(store, datetime.now(UTC) - _LATELY)


def _unusable(store: DeadLetterStore, url: str) -> Finding | None:
    where = f"FEEDBACK_DATABASE_URL is {shown(url)}"
    try:
        check_schema(store.engine)
    except SchemaError as error:
        summary, _, fix = str(error).partition(": ")
        return red("database schema", f"{summary} ({where})", fix=fix)
    except DeadLetterStoreUnavailable as error:
        fix = "start it, or correct FEEDBACK_DATABASE_URL; events that die wait meanwhile, and are not lost"
        return red("database", f"{where}: {error}", fix=fix)
    return None


def _writes(store: DeadLetterStore) -> Finding:
    try:
        store.rehearse(_trial(datetime.now(UTC)))
    except DeadLetterStoreUnavailable as error:
        fix = "let its user insert into dead_letters; look for a full disk, or a replica that is read-only"
        return red("database write", f"a row could not be written: {error}", fix=fix)
    return green("database write", "a row could be written, and was taken back")


def _trial(now: datetime) -> DeadLetterRecord:
    return DeadLetterRecord(
        reason=Reason.INVALID,
        failed_at=now,
        first_enqueued_at=now,
        attempts=0,
        event=None,
        dedup_key=key_of_raw(uuid.uuid4().bytes),
        response_body="aquilax-feedback doctor",
    )


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


def look_at_replays(settings: Settings) -> Iterator[Finding]:
    """Check the replays. Of a database that is unavailable nothing is said here."""
    try:
        with checked_database(settings) as engine:
            found = [_waits(engine, plan) for plan in plans(engine, limit=_LOOKED_AT)]
    except DeadLetterError:
        return
    waiting = [finding for finding in found if finding is not None]
    yield from waiting or [green(_CHECK, "none is paused, and none was stopped with rows that are still dead")]


def _waits(engine: Engine, plan: Plan) -> Finding | None:
    if plan.state is ReplayState.PAUSED:
        since = "" if plan.moved_at is None else f" since {span(datetime.now(UTC) - plan.moved_at)}"
        summary = f"replay {plan.id} by {plan.actor} is paused{since}; {plan.progress.waiting:,} rows wait"
        fix = f"`aquilax-feedback replays resume {plan.id}`, or `aquilax-feedback replays cancel {plan.id}`"
        return yellow(_CHECK, summary, fix=fix)
    if plan.state is ReplayState.STOPPED and (left := count_left_dead(engine, plan.id)):
        summary = f"replay {plan.id} was stopped ({plan.stopped_because}), and {left:,} of its rows are still dead"
        fix = f"`aquilax-feedback replays show {plan.id}` says why; fix that, then replay the rest, or discard it"
        return yellow(_CHECK, summary, fix=fix)
    return None
