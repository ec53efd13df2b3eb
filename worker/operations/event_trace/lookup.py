"""Looking an answer up: in Redis, in the tables, and in the spool and the outbox where there is one."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import redis
from sqlalchemy import MetaData, exc, select

from producer.outbox import OutboxTableError, table
from producer.spool import records_of
from worker.accounting.message_search import search_messages
from worker.broker.set_aside import moment_of
from worker.database.audit_log import actions
from worker.database.errors import DatabaseUnusable, DeadLetterError
from worker.dead_letters.queries import find, request_ids_like
from worker.dead_letters.replays.queries import replays_of
from worker.delivery.hold import Hold
from worker.delivery.org_holds import read_org_holds
from worker.delivery.remembered import remembered
from worker.operations.broker import broker_outage
from worker.operations.database import database_outage
from worker.operations.event_trace.found import EventTrace, OutboxEntry, TracedRow
from worker.operations.relay import open_outbox, outbox_outage
from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from producer.spool.line import Record
    from worker.accounting.message_search import MessageSearch
    from worker.clients.redis.partitions import Partitions
    from worker.settings import Settings

__all__ = ["EXPECTED", "read_search", "request_ids", "trace_event"]

EXPECTED: Final = "a request_id such as 77e81bbc-3e7f-47b9-87fa-681b5d2f54e6, or its first 8 characters or more"

_WHOLE: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BEGINNING: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f-]*)?")

_REPLAYS: Final = 10
"""Replays of a row whose actions are looked up, and actions of each."""

_MATCHES: Final = 50

_OUTBOX: Final = table(MetaData())


def read_search(text: str) -> tuple[str, bool]:
    """Read what an operator has typed or copied: also with the … with which a list cuts it.

    Returns:
        The request_id or its beginning, in lower case, and whether it is a whole one.

    Raises:
        ValueError: It is neither.
    """
    wanted = text.strip().rstrip("…").lower()
    if _WHOLE.fullmatch(wanted):
        return wanted, True
    if _BEGINNING.fullmatch(wanted) and _fits(wanted):
        return wanted, False
    raise ValueError(f"request_id is {text[:60]!r}: expected {EXPECTED}")


def _fits(beginning: str) -> bool:
    """Return whether a request_id may begin so."""
    return len(beginning) < len(_PATTERN) and all(
        (character == "-") == (place == "-") for character, place in zip(beginning, _PATTERN, strict=False)
    )


_PATTERN: Final = "00000000-0000-0000-0000-000000000000"


def trace_event(
    settings: Settings,
    partitions: Partitions,
    database: Callable[[], Engine],
    request_id: str,
    *,
    most: int | None = None,
) -> EventTrace:
    """Look everything up that is known of an answer; what can't be asked is said, and the rest is told.

    Args:
        settings: Where everything is.
        partitions: Redis.
        database: Opens the database.
        request_id: The answer's, in lower case.
        most: How many messages to look through at most; all of them if None.
    """
    trace = EventTrace(request_id=request_id, at=datetime.now(UTC), ttl=settings.feedback_idempotency_ttl)
    trace = _in_redis(trace, settings, partitions, most)
    trace = _in_tables(trace, settings, database)
    trace = _in_spool(trace, settings)
    return _in_outbox(trace, settings)


def request_ids(
    settings: Settings,
    partitions: Partitions,
    database: Callable[[], Engine],
    beginning: str,
    *,
    most: int | None = None,
) -> tuple[list[str], list[str]]:
    """Return the request_ids that begin so, at most 50, and what could not be asked; the arguments are those of above.

    What was delivered is remembered by a digest, and is found by its whole request_id only.
    """
    found, problems = set[str](), []
    try:
        search = search_messages(partitions, beginning, most=most)
        found |= {message.request_id for message in search.found}
        problems += _partial(settings, search)
    except redis.RedisError as error:
        problems.append(broker_outage(settings, error))
    try:
        found |= set(request_ids_like(database(), beginning, limit=_MATCHES))
    except DeadLetterError as error:
        problems.append(database_outage(settings, error))
    spooled, problem = _spooled(settings, beginning)
    found |= {record.event.request_id for record in spooled or ()}
    return sorted(found)[:_MATCHES], problems + problem


def _in_redis(trace: EventTrace, settings: Settings, partitions: Partitions, most: int | None) -> EventTrace:
    request_id = trace.request_id
    try:
        search = search_messages(partitions, request_id, most=most)
        known = remembered(partitions.of(request_id), request_id, now=trace.at)
        if not search.found and known.until is None:  # it may have moved on between two looks
            search = search_messages(partitions, request_id, most=most)
        hold = Hold(partitions.home, actor="").state()
        org_holds = {moment_of(each.scope): each for each in read_org_holds(partitions.home)}
    except redis.RedisError as error:
        return _with(trace, [broker_outage(settings, error)])
    return _with(
        replace(trace, search=search, remembered=known, hold=hold, org_holds=org_holds), _partial(settings, search)
    )


def _partial(settings: Settings, search: MessageSearch) -> list[str]:
    return [
        broker_outage(settings, redis.ConnectionError(f"partition {number:02d} can't be asked: {error}"))
        for number, error in sorted(search.unavailable.items())
    ]


def _in_tables(trace: EventTrace, settings: Settings, database: Callable[[], Engine]) -> EventTrace:
    try:
        engine = database()
        rows = tuple(_row(engine, row) for row in find(engine, trace.request_id))
    except DeadLetterError as error:
        return _with(trace, [database_outage(settings, error)])
    return replace(trace, rows=rows)


def _row(engine: Engine, row: Any) -> TracedRow:  # noqa: ANN401 - a dead letter
    replays = replays_of(engine, row.id)
    done = [
        action
        for replay in replays[:_REPLAYS]
        for action in actions(engine, limit=_REPLAYS, target=f"replay {replay.replay_id}")
    ]
    return TracedRow(row=row, replays=replays, actions=done)


def _in_spool(trace: EventTrace, settings: Settings) -> EventTrace:
    spooled, problems = _spooled(settings, trace.request_id)
    return _with(replace(trace, spooled=spooled), problems)


def _spooled(settings: Settings, beginning: str) -> tuple[tuple[Record, ...] | None, list[str]]:
    directory = settings.feedback_spool_dir
    if directory is None or not directory.is_dir():
        return None, []
    try:
        fitting = (one for one in records_of(directory) if one.event.request_id.startswith(beginning))
        return tuple(islice(fitting, _MATCHES)), []
    except OSError as error:
        return None, [f"the spool {directory} can't be read: {error.strerror or error}"]


def _in_outbox(trace: EventTrace, settings: Settings) -> EventTrace:
    if settings.feedback_outbox_url is None:
        return trace
    row = _OUTBOX.c
    query = select(row.status, row.occurred_at, row.created_at, row.problem).where(row.request_id == trace.request_id)
    try:
        with open_outbox(settings) as engine, engine.connect() as connection:
            found = connection.execute(query.order_by(row.id).limit(_MATCHES)).all()
    except (SettingsError, DatabaseUnusable) as error:
        return _with(trace, [str(error)])
    except (exc.SQLAlchemyError, OutboxTableError) as error:
        return _with(trace, [outbox_outage(settings, error)])
    entries = (
        OutboxEntry(status=status, occurred_at=pressed, created_at=written, problem=problem or "")
        for status, pressed, written, problem in found
    )
    return replace(trace, outbox=tuple(entries))


def _with(trace: EventTrace, problems: list[str]) -> EventTrace:
    return replace(trace, problems=(*trace.problems, *problems))
