"""``aquilax-feedback spool``: what producers keep on disk while Redis does not take it."""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from producer import FeedbackProducer, ProducerError
from producer.spool import SpoolSender, records_of, status_of
from worker.clients.redis.connections import producer_options
from worker.operations.cli.database import settings
from worker.operations.cli.output import json_text, say
from worker.operations.text import utc
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.spool import SpoolStatus

__all__ = ["spool"]

_TIMEOUT: Final = 5.0
"""Seconds that one command to Redis may take."""


@click.group()
def spool() -> None:
    """See, send or export what producers keep on disk while Redis does not take it.

    DIRECTORY is FEEDBACK_SPOOL_DIR if it is left out.
    """


def _existing(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path:
    directory = value or settings().feedback_spool_dir
    if directory is None:
        raise click.UsageError("name the spool's DIRECTORY, or set FEEDBACK_SPOOL_DIR")
    if not directory.is_dir():
        raise click.UsageError(f"{directory} is no directory")
    return directory


_directory = click.argument("directory", type=click.Path(path_type=Path), required=False, callback=_existing)


@contextmanager
def _readable(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"the spool {directory} can't be used: {_said(error)}") from None


def _said(error: OSError) -> str:
    why = error.strerror or str(error)
    return f"{error.filename}: {why}" if error.filename else why


@spool.command()
@_directory
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def status(directory: Path, *, as_json: bool) -> None:
    """Say what waits in the spool DIRECTORY, since when, and who writes to it.

    The exit status is 1 if something in it can't be read.
    """
    with _readable(directory):
        found = status_of(directory)
    say(json_text(_document(found)) if as_json else "\n".join(_lines(found, directory)))
    sys.exit(1 if found.unreadable_bytes else 0)


def _document(found: SpoolStatus) -> dict[str, Any]:
    return {
        "events": found.events,
        "bytes": found.bytes,
        "oldest_at": found.oldest_at.isoformat() if found.oldest_at else None,
        "writers": found.writers,
        "unreadable_bytes": found.unreadable_bytes,
    }


def _lines(found: SpoolStatus, directory: Path) -> Iterator[str]:
    since = ""
    if found.oldest_at:
        since = f", the oldest since {utc(found.oldest_at)} ({span(datetime.now(UTC) - found.oldest_at)})"
    yield f"waiting     {found.events:,}{since}"
    yield f"on disk     {found.bytes:,} bytes in {directory}"
    yield f"writing     {found.writers:,} processes"
    if found.unreadable_bytes:
        yield f"unreadable  {found.unreadable_bytes:,} bytes in {directory / 'unreadable'}: move it away once seen"


@spool.command()
@_directory
def flush(directory: Path) -> None:
    """Send what waits in the spool DIRECTORY to the Redis of FEEDBACK_BROKER_URL.

    Producers do it by themselves; this is for a spool whose processes are gone. What a running process is writing is
    left to it. The exit status is 1 if Redis does not take all, or another process is sending it.
    """
    sent = 0
    with _readable(directory), closing(SpoolSender(directory, _connect)) as sender:
        try:
            for count in sender.send():
                sent += count
        except BlockingIOError:
            raise click.ClickException("another process is sending it just now") from None
        except ProducerError as error:
            raise click.ClickException(f"sent {sent:,}; FEEDBACK_BROKER_URL: {error}") from None
        except OSError as error:
            raise click.ClickException(f"sent {sent:,}; what is left can't be sent: {_said(error)}") from None
        left = status_of(directory)
    say(f"sent {sent:,}")
    if left.events:
        say(f"left {left.events:,} to the {left.writers:,} processes that are writing them")


def _connect(queue: str) -> FeedbackProducer:
    return FeedbackProducer(queue=queue, timeout=_TIMEOUT, max_connections=1, **producer_options(settings()))


@spool.command()
@_directory
def export(directory: Path) -> None:
    """Print what waits in the spool DIRECTORY as NDJSON, for `send --from-file`; it stays there."""
    with _readable(directory):
        for record in records_of(directory):
            say(json_text(record.event.to_wire()))
