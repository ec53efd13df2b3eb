"""Dead letters on a terminal as tables; in a pipe as tab-separated lines that grep, cut and awk take."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.deadletters.record import to_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from worker.deadletters import DeadLetter
    from worker.deadletters.reading import CauseCount

__all__ = ["print_causes", "print_one", "print_rows"]

_ROW: Final = ("id", "died at (UTC)", "state", "attempts", "replays", "request_id", "org", "group", "cause", "why")
_CAUSE: Final = ("rows", "cause", "first died (UTC)", "last died (UTC)", "why")


def print_rows(rows: Iterable[DeadLetter]) -> None:
    """Print one line a row."""
    _print(
        _ROW,
        [
            (
                str(row.id),
                _short(row.died_at),
                row.state.value,
                str(row.attempts),
                str(row.replay_count),
                row.request_id or "",
                row.org or "",
                row.group or "",
                row.cause,
                row.cause_line,
            )
            for row in rows
        ],
    )


def print_causes(causes: Iterable[CauseCount]) -> None:
    """Print one line a cause."""
    _print(
        _CAUSE,
        [
            (str(cause.rows), cause.cause, _short(cause.first_died_at), _short(cause.last_died_at), cause.line)
            for cause in causes
        ],
    )


def print_one(row: DeadLetter) -> None:
    """Print all that is known of one row."""
    for name, value in to_record(row).items():
        if value is not None and value != "":
            click.echo(f"{name + ':':<20}{json.dumps(value) if isinstance(value, bool) else value}")
    if row.raw is not None:
        click.echo(f"{'raw:':<20}{row.raw!r}")


def _print(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    if not sys.stdout.isatty():
        for line in (head, *lines):
            click.echo("\t".join(" ".join(cell.split()) for cell in line))
        return
    table = Table(*head, box=None, header_style="bold", pad_edge=False)
    for line in lines:
        table.add_row(*map(Text, line))  # text, not markup: an answer in square brackets is no colour
    Console().print(table)


def _short(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
