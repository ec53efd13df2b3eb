"""``aquilax-feedback waiting``: what waits for its time, and sending it, or making dead letters of it, before that."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click
import redis

from worker.operations.cli.broker import broker, broker_outage
from worker.operations.cli.database import explained, settings
from worker.operations.cli.dead_letters.progress import stopping
from worker.operations.cli.dead_letters.tables import print_lines, short_time
from worker.operations.cli.output import INTERRUPTED, json_text, say, shown
from worker.operations.cli.param_types import COMMENT, TEXT, Text, WholeNumber, actor_option
from worker.operations.database import checked_database
from worker.operations.waiting.control import Chosen, WaitingControl
from worker.operations.waiting.listing import (
    LOOKED_AT,
    Cursor,
    Look,
    WaitingFilter,
    causes_of,
    look_at,
    page_of,
    read_cause,
    read_prefix,
)
from worker.operations.waiting.message import MessageId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.clients.redis.partitions import Partitions
    from worker.operations.waiting.control import Done

__all__ = ["waiting"]

_FEW: Final = 10
"""Messages that are acted on without asking: as many as one sees at a glance."""

_NARROW_MESSAGE: Final = ("due (UTC)", "request_id", "org", "attempts", "why")
_NARROW_CAUSE: Final = ("messages", "cause", "next due (UTC)", "why")

_OPTIONS: Final = (
    click.option("--org", "orgs", multiple=True, type=TEXT, help="The organization's id."),
    click.option(
        "--cause", "causes", multiple=True, type=Text("cause", read_cause), help="The cause, as `list` prints it."
    ),
    click.option(
        "--request-id",
        "request_ids",
        multiple=True,
        type=Text("request_id", read_prefix),
        help="The AI request's id, or its beginning.",
    ),
)


def _message_id(value: str) -> MessageId:
    try:
        return MessageId.read(value)
    except ValueError as error:
        raise click.BadParameter(f"{value[:40]!r}: expected {error}") from None


def _cursor(value: str) -> Cursor:
    try:
        return Cursor.read(value)
    except ValueError as error:
        raise click.BadParameter(f"{value[:40]!r}: expected {error}") from None


def _filtering(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the filters as options, and their values as its argument ``which``."""

    @wraps(command)
    def with_filter(
        *, orgs: tuple[str, ...], causes: tuple[str, ...], request_ids: tuple[str, ...], **options: Any
    ) -> None:
        command(which=WaitingFilter(orgs=orgs, causes=causes, request_ids=request_ids), **options)

    for option in reversed(_OPTIONS):
        with_filter = option(with_filter)
    return with_filter


@click.group()
def waiting() -> None:
    """Look at messages that wait for their time, send them now, or make dead letters of them now."""


@waiting.command("list")
@_filtering
@click.option("--group-by", type=click.Choice(["cause"]), help="Count the messages of each cause instead.")
@click.option("--limit", type=WholeNumber(min=1, max=1000), default=50, show_default=True, help="Messages at most.")
@click.option("--after", type=_cursor, metavar="PLACE", help="Where to go on, as the page before it says.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def list_(which: WaitingFilter, group_by: str | None, limit: int, after: Cursor | None, *, as_json: bool) -> None:
    """List what waits for its time, what is due first first: retries, and what waits for Redis or the database.

    It reads some 2,000 messages at once. If none of these fits, or not as many as asked for, it says where to go on.
    """
    with _opened() as partitions:
        look = look_at(partitions, after=after, limit=max(limit, LOOKED_AT))
    if group_by == "cause":
        _list_causes(look, which, limit, as_json=as_json)
    else:
        _list_messages(look, which, limit, as_json=as_json)
    if look.unavailable:
        names = ", ".join(f"{number:02d}" for number in look.unavailable)
        say(f"partitions that can't be asked, and what waits there: {names}", err=True)
        sys.exit(1)


def _list_messages(look: Look, which: WaitingFilter, limit: int, *, as_json: bool) -> None:
    page = page_of(look, which, size=limit)
    if as_json:
        messages = [message.to_record() for message in page.messages]
        after = None if page.after is None else str(page.after)
        say(json_text({"total": look.total, "messages": messages, "after": after}, indent=2))
        return
    lines = [
        {
            "id": str(message.id),
            "due (UTC)": _due(message.due_at),
            "request_id": shown(message.request_id),
            "org": shown(message.org),
            "attempts": str(message.attempts),
            "cause": message.cause.name,
            "why": shown(_why(message.waits, message.cause.response)),
        }
        for message in page.messages
    ]
    print_lines(lines, narrow=_NARROW_MESSAGE)
    say(f"{len(page.messages):,} shown; {look.total:,} wait", err=True)
    if page.after is not None:
        say(f"there is more, after {page.looked_at:,} that were looked at: --after {page.after}", err=True)


def _due(at: datetime | None) -> str:
    return "when its hold ends" if at is None else short_time(at)


def _list_causes(look: Look, which: WaitingFilter, limit: int, *, as_json: bool) -> None:
    causes = causes_of(look.messages, which)[:limit]
    if as_json:
        found = [cause.to_record() for cause in causes]
        say(json_text({"total": look.total, "looked_at": len(look.messages), "causes": found}, indent=2))
        return
    lines = [
        {
            "messages": str(cause.messages),
            "cause": cause.cause,
            "next due (UTC)": _due(cause.next_due),
            "orgs": shown(", ".join(f"{org or '-'} {number}" for org, number in cause.orgs.items())),
            "why": shown(_why(cause.waits, cause.response)),
        }
        for cause in causes
    ]
    print_lines(lines, narrow=_NARROW_CAUSE)
    rest = "" if look.is_whole else f" of the {len(look.messages):,} that are due first"
    say(f"{len(causes):,} causes{rest}; {look.total:,} messages wait", err=True)


def _why(waits: str, response: str) -> str:
    return f"{waits}: {response}" if response else waits


def _acting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what both actions share."""
    for option in reversed(
        (
            click.argument("ids", metavar="[ID]...", type=_message_id, nargs=-1),
            _filtering,
            click.option("--all", "everything", is_flag=True, help="All that wait, without a filter."),
            click.option("--comment", required=True, type=COMMENT, help="The reason; it is kept in the audit log."),
            actor_option,
            click.option("--yes", is_flag=True, help="Don't ask."),
            click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        )
    ):
        command = option(command)
    return command


@waiting.command("send-now")
@_acting
def send_now(*, actor: str, **asked: Any) -> None:
    """Send messages now: they go to the head of the queue. What a worker has fetched meanwhile is on its way."""
    _act("send", "sent", WaitingControl.send_now, actor=actor, **asked)


@waiting.command("dead-letter")
@_acting
def dead_letter(*, actor: str, **asked: Any) -> None:
    """Make dead letters of messages now, with the reason `exhausted`; `dead-letters replay` sends them again.

    Each is in the dead-letter table before it is removed from Redis. Cut short, it is finished by a worker.
    """
    _act("dead-letter", "dead-lettered", WaitingControl.dead_letter_now, actor=actor, **asked)


def _act(
    verb: str,
    past: str,
    action: Callable[..., Done],
    *,
    ids: tuple[MessageId, ...],
    which: WaitingFilter,
    everything: bool,
    comment: str,
    actor: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Act on what was named, and say what was done."""
    if bool(ids) + everything + (not which.is_everything) != 1:
        raise click.UsageError("expected IDs, or filters (--org, --cause, --request-id), or --all")
    with explained(), _opened() as partitions:
        if len(ids) > _FEW or not ids:
            _confirm(verb, ids, look_at(partitions, limit=1).total, yes=yes)
        with _database() as database, stopping() as stop:
            control = WaitingControl(partitions=partitions, database=database, actor=actor)
            done = action(control, Chosen(ids=ids, filter=which), comment, stop=stop)
    _tell(past, done, as_json=as_json)
    sys.exit(INTERRUPTED if stop.is_set() else 1 if done.not_taken or done.unrecorded is not None else 0)


def _confirm(verb: str, ids: tuple[MessageId, ...], total: int, *, yes: bool) -> None:
    if yes:
        return
    meant = f"{len(ids):,} messages" if ids else f"all that fit, of the {total:,} messages that wait"
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would {verb} {meant}: without a terminal to ask on, add --yes")
    click.confirm(f"{verb.capitalize()} {meant}?", abort=True, err=True)


def _tell(past: str, done: Done, *, as_json: bool) -> None:
    if as_json:
        say(json_text(done.to_record()))
        return
    text = f"{past} {done.messages:,}"
    say(f"{text}; {done.on_their_way:,} were already on their way" if done.on_their_way else text)
    for problem in done.problems:
        say(f"not taken: {shown(problem)}", err=True)
    if done.not_taken > len(done.problems):
        say(f"not taken: {done.not_taken - len(done.problems):,} more", err=True)
    if done.unrecorded is not None:
        say("it is done, but the audit log does not have it: the database is unavailable", err=True)


@contextmanager
def _database() -> Iterator[Callable[[], AbstractContextManager[Engine]]]:
    """Open the database when it is first asked for, and no more than once; it may be unavailable."""
    with ExitStack() as stack:
        opened: list[Engine] = []

        def database() -> AbstractContextManager[Engine]:
            if not opened:
                opened.append(stack.enter_context(checked_database(settings())))
            return nullcontext(opened[0])

        yield database


@contextmanager
def _opened() -> Iterator[Partitions]:
    try:
        with broker() as partitions:
            yield partitions
    except redis.RedisError as error:
        say(f"Error: {broker_outage(error)}", err=True)
        sys.exit(1)
