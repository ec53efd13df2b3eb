"""``aquilax-feedback trace``: what became of one press."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import click

from worker.operations.cli.broker import broker
from worker.operations.cli.database import settings
from worker.operations.cli.output import json_text, say, shown
from worker.operations.cli.param_types import TEXT
from worker.operations.database import checked_database
from worker.operations.event_trace.lookup import read_search, request_ids, trace_event
from worker.operations.event_trace.timeline import statements, story_record, timeline
from worker.operations.text import utc

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from worker.clients.redis.partitions import Partitions
    from worker.operations.event_trace.found import EventTrace

__all__ = ["trace"]

_COLUMN: Final = 25


@click.command()
@click.argument("name", metavar="REQUEST_ID", type=TEXT)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def trace(name: str, *, as_json: bool) -> None:
    """Say what became of a press, by its request_id: everything that is known of it, as one timeline.

    REQUEST_ID is that of its chat answer, or the first 8 characters of it or more.

    It looks at the queue, what is scheduled and in flight, the dead letters, their replays and what operators did
    with these, what is remembered as delivered, and the spool and the outbox of the settings. Of every attempt it has
    the time, the worker, and AquilaX's response.

    All messages that wait are looked through: of a million, for some seconds. The exit status is 1 if nothing is known,
    or not everything could be asked.
    """
    try:
        request_id, is_whole = read_search(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with ExitStack() as stack:
        partitions, database = stack.enter_context(broker()), _database(stack)
        if not is_whole:
            request_id = _the_only_one(partitions, database, request_id)
        found = trace_event(settings(), partitions, database, request_id)
    if as_json:
        say(json_text(story_record(found), indent=2))
    else:
        _print(found)
    sys.exit(0 if found.is_known and found.is_whole else 1)


def _database(stack: ExitStack) -> Callable[[], Engine]:
    opened: list[Engine] = []

    def database() -> Engine:
        if not opened:
            opened.append(stack.enter_context(checked_database(settings())))
        return opened[0]

    return database


def _the_only_one(partitions: Partitions, database: Callable[[], Engine], beginning: str) -> str:
    """Return the one request_id that begins so; end the command where there are several, or none."""
    found, problems = request_ids(settings(), partitions, database, beginning)
    for problem in problems:
        say(problem, err=True)
    if len(found) == 1:
        return found[0]
    if found:
        say("\n".join(found))
        raise click.ClickException(f"{len(found):,} request_ids begin with {beginning}: give one of these")
    raise click.ClickException(
        f"nothing that waits or has died begins with {beginning}; what was delivered is found by its whole request_id"
    )


def _print(found: EventTrace) -> None:
    for text in statements(found):
        say(shown(text))
    moments = timeline(found)
    if moments:
        say()
    for moment in moments:
        say(f"{utc(moment.at) + (' ~' if moment.is_about else ''):<{_COLUMN}}{shown(moment.text)}")
    search = found.search
    if search is not None and not search.is_whole:
        say(f"{search.looked_at:,} of {search.total:,} messages were looked through", err=True)
    for problem in found.problems:
        say(problem, err=True)
