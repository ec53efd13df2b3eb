"""Dead letters on a terminal as tables; in a pipe as tab-separated lines that grep, cut and awk take."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Final

import click

from worker.operations.attempts import attempts_of, milliseconds_of
from worker.operations.cli.output import say, shown
from worker.operations.export import to_record
from worker.operations.text import utc, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from worker.database.models import DeadLetter
    from worker.dead_letters.causes import FingerprintCount
    from worker.dead_letters.replays.planning import PreviewCount
    from worker.policy.attempt import Attempt

__all__ = ["attempt_text", "print_causes", "print_lines", "print_one", "print_rows", "short_time"]

_NARROW_ROW: Final = ("id", "died at (UTC)", "state", "request_id", "summary")
_NARROW_CAUSE: Final = ("rows", "fingerprint", "summary")
"""The columns that a terminal has room for; `show` has the rest, and so has a pipe."""


def print_rows(rows: Iterable[DeadLetter]) -> None:
    """Print one line a row."""
    print_lines([_line(row) for row in rows], narrow=_NARROW_ROW)


def _line(row: DeadLetter) -> dict[str, str]:
    return {
        "id": str(row.id),
        "died at (UTC)": short_time(row.failed_at),
        "state": row.state.value,
        "attempts": str(row.attempts),
        "replays": str(row.replay_count),
        "request_id": row.request_id or "",
        "org": row.org or "",
        "group": row.group or "",
        "fingerprint": row.fingerprint,
        "summary": row.summary,
    }


def print_causes(causes: Iterable[tuple[str, str, FingerprintCount | PreviewCount]]) -> None:
    """Print one line a cause: its fingerprint, its summary, and how many rows."""
    lines = [
        {
            "rows": str(count.rows),
            "fingerprint": fingerprint,
            "first died (UTC)": short_time(count.first_failed_at),
            "last died (UTC)": short_time(count.last_failed_at),
            "summary": summary,
        }
        for fingerprint, summary, count in causes
    ]
    print_lines(lines, narrow=_NARROW_CAUSE)


def print_one(row: DeadLetter) -> None:
    """Print all that is known of one row."""
    for name, value in to_record(row).items():
        if value is not None and value != "":
            say(f"{name + ':':<20}{json.dumps(value) if isinstance(value, bool) else value}")
    for attempt in attempts_of(row):
        say(f"{'sent:':<20}{attempt_text(attempt)}")
    if row.raw is not None:
        say(f"{'raw:':<20}{row.raw!r}")


def attempt_text(attempt: Attempt) -> str:
    """Return one request as a line: ``2026-01-31 12:00:00 UTC 503 Service Unavailable (41 ms, worker@host), retry``."""
    waited = f"{milliseconds_of(attempt):,} ms" + (f", {shown(attempt.worker)}" if attempt.worker else "")
    return f"{utc(attempt.at)} {shown(attempt.summary)} ({waited}), {attempt.then.value.replace('_', ' ')}"


def print_lines(lines: Sequence[dict[str, str]], *, narrow: Sequence[str]) -> None:
    """Print lines of cells under their names; on a terminal the narrow ones, of which the last may be long."""
    if not lines:
        return
    if not sys.stdout.isatty():
        for cells in (lines[0], *(line.values() for line in lines)):
            say("\t".join(" ".join(cell.split()) for cell in cells))
        return
    lines = [{name: visible(cell) for name, cell in line.items()} for line in lines]
    widths = {name: max(len(name), *(len(line[name]) for line in lines)) for name in narrow}
    screen = shutil.get_terminal_size().columns
    click.secho(_fit("  ".join(name.ljust(widths[name]) for name in narrow), screen), bold=True)
    for line in lines:
        say(_fit("  ".join(line[name].ljust(widths[name]) for name in narrow), screen))


def _fit(line: str, screen: int) -> str:
    """The line as far as the screen goes: the last column, the cause, is the one that may be long."""
    line = line.rstrip()
    return line if len(line) <= screen else f"{line[: screen - 1]}…"


def short_time(moment: datetime) -> str:
    """Return a time as a table has it."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"
