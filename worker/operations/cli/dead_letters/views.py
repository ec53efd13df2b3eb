"""Looking at dead letters: ``list``, ``show``, ``export``."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast

import click

from worker.database.models import State
from worker.dead_letters.causes import causes_over_time
from worker.dead_letters.pagination import page_of, total_of
from worker.dead_letters.queries import count, find, stream
from worker.operations.cli.database import opened
from worker.operations.cli.dead_letters.filters import of_the_dead, opened_for, selecting
from worker.operations.cli.dead_letters.progress import counting
from worker.operations.cli.dead_letters.tables import print_causes, print_one, print_rows
from worker.operations.cli.output import json_text, say, whole_file
from worker.operations.cli.param_types import TEXT, WholeNumber
from worker.operations.export import to_record, write_csv, write_ndjson
from worker.policy.parsing import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from worker.database.models import DeadLetter
    from worker.dead_letters.selection import Selection

__all__ = ["export", "list_", "show"]

_WRITERS: Final[Mapping[str, Callable[[Iterable[DeadLetter], TextIO], None]]] = {
    "ndjson": write_ndjson,
    "csv": write_csv,
}


@click.command("list")
@selecting
@click.option("--group-by", type=click.Choice(["fingerprint"]), help="Count the rows of each cause instead.")
@click.option("--limit", type=WholeNumber(min=1), default=50, show_default=True, help="Rows at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(selection: Selection, group_by: str | None, limit: int, as_json: bool) -> None:
    """List dead letters, the newest death first: those that are dead, or of the states of --state.

    The others that fit, such as those delivered by a replay, are counted at the end.
    """
    with opened_for(selection) as engine:
        shown = of_the_dead(selection)
        if group_by == "fingerprint":
            _list_causes(engine, shown, limit, as_json=as_json)
        else:
            _list_rows(engine, shown, limit, as_json=as_json)
        if shown is not selection and not as_json:
            _tell_others(engine, selection)


def _tell_others(engine: Engine, selection: Selection) -> None:
    """Say how many rows fit that are in another state: who looks for one of these must not take it for lost."""
    others = tuple(state for state in State if state is not State.DEAD)
    if hidden := count(engine, replace(selection, states=others).clause()):
        say(f"{hidden:,} more in other states: --state any shows them", err=True)


def _list_rows(engine: Engine, selection: Selection, limit: int, *, as_json: bool) -> None:
    page = page_of(engine, selection.clause(), size=limit)
    if as_json:
        _print_json([to_record(row) for row in page.rows])
        return
    print_rows(page.rows)
    sys.stdout.flush()  # the rows are there before all that fit are counted
    say(f"{len(page.rows):,} of {total_of(engine, selection.clause(), page):,} shown", err=True)


def _list_causes(engine: Engine, selection: Selection, limit: int, *, as_json: bool) -> None:
    every = causes_over_time(engine, selection).causes
    causes = every[:limit]
    if as_json:
        _print_json([cause.to_record() for cause in causes])
    else:
        print_causes((cause.fingerprint, cause.summary, cause) for cause in causes)
        say(f"{len(causes):,} of {len(every):,} causes shown", err=True)


@click.command()
@click.argument("name", metavar="ID|REQUEST_ID", type=TEXT)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def show(name: str, as_json: bool) -> None:
    """Show all that is known of one dead letter, or of all those of one request_id."""
    with opened() as engine:
        rows = find(engine, name)
    if not rows:
        raise click.ClickException(f"there is no dead letter {name}")
    if as_json:
        _print_json([to_record(row, with_raw=True) for row in rows])
        return
    for number, row in enumerate(rows):
        if number:
            say()
        print_one(row)


@click.command()
@selecting
@click.option("--format", "format_", type=click.Choice(list(_WRITERS)), default="ndjson", show_default=True)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    default="-",
    help="The file to write, whole or not at all; - is standard output.",
)
@click.option("--limit", type=WholeNumber(min=1), help="Rows at most.")
def export(selection: Selection, format_: str, output: Path, limit: int | None) -> None:
    """Write dead letters of every state to a file, oldest first, with their raw messages."""
    named = str(output) != "-"
    with opened_for(selection) as engine:

        def total() -> int:
            return min(count(engine, selection.clause()), limit or LARGEST)

        with counting("exporting", total) as progress:
            rows = _FingerprintRow(stream(engine, selection.clause(), limit=limit, with_raw=True), progress)
            destination: AbstractContextManager[TextIO] = whole_file(output) if named else _standard_output()
            with destination as file:
                _WRITERS[format_](rows, file)
    if named:
        say(f"{rows.passed:,} rows written to {output}", err=True)


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    """UTF-8 whatever the terminal has: programs read it."""
    with click.open_file("-", "w", encoding="utf-8") as output:
        yield cast("TextIO", output)
        output.flush()


class _FingerprintRow:
    """Rows, page by page, that are counted as they pass."""

    def __init__(self, pages: Iterable[list[DeadLetter]], progress: Callable[[int], None]) -> None:
        self.passed = 0
        self._pages = pages
        self._progress = progress

    def __iter__(self) -> Iterator[DeadLetter]:
        for page in self._pages:
            yield from page
            self.passed += len(page)
            self._progress(self.passed)


def _print_json(value: object) -> None:
    say(json_text(value, indent=2))
