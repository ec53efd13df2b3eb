"""``aquilax-feedback send``: feedback by hand, one event or a file of them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TextIO

import click
from rich.console import Console
from rich.progress import Progress

from producer import FeedbackEvent, FeedbackProducer, InvalidEvent, ProducerError
from worker.clients.redis.connections import producer_options
from worker.operations.cli.database import settings
from worker.operations.cli.event_files import READERS, BadHeader, BadLine, GoodLine, Line
from worker.operations.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["send"]

_CHUNK: Final = 500
_PATIENCE: Final = 5.0
"""Seconds for a chunk: a person waits longer than a chat backend may."""

# click keeps the lines of a paragraph as they are if it begins with a backspace.
_EXAMPLES: Final = """\b
Examples:
  aquilax-feedback send 77e81bbc-3e7f-47b9-87fa-681b5d2f54e6 true \\
    --org 65dd3e835a669e3347654200 --group 67e86d036e9921509f730483
  aquilax-feedback send --from-file presses.ndjson
  aquilax-feedback send --from-file presses.csv --org 65dd3e835a669e3347654200
"""


@click.command(epilog=_EXAMPLES)
@click.argument("request_id", required=False)
@click.argument("status", required=False, type=click.Choice(["true", "false"]))
# --org, --group and --occurred-at arrive as `fields`, under the names that an event has for them.
@click.option("--org", help="The organization's id; with --from-file, for lines that name none.")
@click.option("--group", help="The group's id; with --from-file, for lines that name none.")
@click.option(
    "--occurred-at",
    help="When the person pressed, ISO 8601 with an offset; now if left out. With --from-file, for lines without it.",
)
@click.option(
    "--from-file",
    "file",
    type=click.File("r", encoding="utf-8-sig", errors="surrogateescape"),
    help="Send every event of a file: NDJSON, or CSV with a header; - is standard input.",
)
@click.option(
    "--format", "format_", type=click.Choice(sorted(READERS)), help="The file's format; by its ending if left out."
)
@click.option("--from-line", type=click.IntRange(min=1), default=1, help="Pass over the lines before this one.")
def send(
    request_id: str | None,
    status: str | None,
    file: TextIO | None,
    format_: str | None,
    from_line: int,
    **fields: str | None,
) -> None:
    """Enqueue feedback by hand: one event, or all of a file.

    A file has the fields request_id, status, org, group and, if known, occurred_at; in CSV the first line names them.
    A line that is no event is reported with its number and the reason, and the rest is sent; the exit status is then 1.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if (file is None) == (request_id is None):
        both = "" if file is None else ", and not both"
        raise click.UsageError(f"expected REQUEST_ID and true or false, or --from-file{both}")
    with FeedbackProducer(timeout=_PATIENCE, **producer_options(settings())) as producer:
        if file is None:
            _send_one(producer, {"request_id": request_id, "status": status, **given})
        else:
            lines = READERS[format_ or _format(file)](file, given)
            try:
                sys.exit(_send_file(producer, file, (line for line in lines if line.number >= from_line)))
            except BadHeader as error:
                raise click.ClickException(str(error)) from None


def _send_one(producer: FeedbackProducer, fields: dict[str, str | None]) -> None:
    try:
        event = FeedbackEvent.from_wire({name: value for name, value in fields.items() if value is not None})
        producer.enqueue(event)
    except InvalidEvent as error:
        raise click.UsageError(str(error)) from None
    except ProducerError as error:
        raise click.ClickException(f"FEEDBACK_BROKER_URL: {error}") from None
    say(f"enqueued {event.request_id} {event.status_text}")


@dataclass
class _Tally:
    sent: int = 0
    bad: int = 0


def _send_file(producer: FeedbackProducer, file: TextIO, lines: Iterable[Line]) -> int:
    """Send what can be sent, and return the exit status."""
    console = Console(stderr=True)
    tally = _Tally()
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("sending", total=_size(file))
        good = _good(lines, tally, console)
        while chunk := list(islice(good, _CHUNK)):
            try:
                producer.enqueue_many(line.event for line in chunk)
            except ProducerError as error:
                goes_on = f"go on with --from-line {chunk[0].number} (what is sent twice is delivered once)"
                _tell(console, f"stopped: FEEDBACK_BROKER_URL: {error}\n{tally.sent} sent; {goes_on}", style="red")
                return 1
            tally.sent += len(chunk)
            progress.update(task, completed=_position(file), description=f"sent {tally.sent:,}")
    say(f"enqueued {tally.sent}, refused {tally.bad}")
    return 1 if tally.bad else 0


def _good(lines: Iterable[Line], tally: _Tally, console: Console) -> Iterator[GoodLine]:
    for line in lines:
        if isinstance(line, BadLine):
            tally.bad += 1
            _tell(console, f"line {line.number}: {line.problem}")
        else:
            yield line


def _tell(console: Console, text: str, *, style: str | None = None) -> None:
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _format(file: TextIO) -> str:
    return "csv" if file.name.lower().endswith(".csv") else "ndjson"


def _size(file: TextIO) -> int | None:
    """The file's size in bytes; None for a pipe, whose size is unknown."""
    return os.fstat(file.fileno()).st_size or None if file.seekable() else None


def _position(file: TextIO) -> int:
    """How far the file has been read, in bytes."""
    return file.buffer.tell() if file.seekable() else 0
