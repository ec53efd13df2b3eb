"""The results as a table, as JSON and as a page of the documentation."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from tests.chaos.outcome import Outcome

__all__ = ["machine", "show", "write_json", "write_page"]

_COLUMNS: Final = (
    "scenario",
    "server",
    "events",
    "faults",
    "lost",
    "twice",
    "allowed",
    "first after",
    "drained after",
    "plain Celery",
)
_WAITS: Final = (
    "scenario",
    "server",
    "longest wait of a partition that was hurt",
    "of another",
    "longest call for another",
)


def machine() -> str:
    """This machine, in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kind = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {kind}"


def show(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print the table, and under it what went wrong."""
    table = Table(*_COLUMNS, title=f"Chaos, {machine()}", title_justify="left")
    for column in table.columns[2:-1]:
        column.justify = "right"
    for row in _rows(outcomes):
        table.add_row(*row)
    console.print(table)
    if waits := _waits(outcomes):
        table = Table(*_WAITS, title="Partitions of a cluster", title_justify="left")
        for row in waits:
            table.add_row(*row)
        console.print(table)
    for outcome in outcomes:
        if outcome.notes:
            console.print(f"{_title(outcome)}: {'; '.join(outcome.notes)}", highlight=False, soft_wrap=True)
    for outcome in outcomes:
        if outcome.failed:
            console.print(f"[red]FAILED {_title(outcome)}[/] (logs: {outcome.folder})", highlight=False, soft_wrap=True)
            for failure in outcome.failures:
                console.print(f"   {failure}", highlight=False, markup=False, soft_wrap=True)
    failed = sum(outcome.failed for outcome in outcomes)
    console.print(f"{len(outcomes) - failed} held, {failed} failed", highlight=False)


def write_json(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write every result whole."""
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "results": [outcome.to_json() for outcome in outcomes],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def write_page(path: Path, outcomes: Sequence[Outcome], *, text: str) -> None:
    """Write the table as Markdown.

    Args:
        path: The page.
        outcomes: The results.
        text: What stands before the table.
    """
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---|---|" + "---:|" * (len(_COLUMNS) - 3) + "---|"]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(outcomes)]
    if waits := _waits(outcomes):
        lines += ["", "| " + " | ".join(_WAITS) + " |", "|---|---|" + "---:|" * (len(_WAITS) - 2)]
        lines += ["| " + " | ".join(row) + " |" for row in waits]
    notes = [f"- {_title(outcome)}: {'; '.join(outcome.notes)}" for outcome in outcomes if outcome.notes]
    day = datetime.now(UTC).date().isoformat()
    page = [text, f"Measured on {day}: {machine()}.", "\n".join(lines)]
    page += ["\n".join(notes)] if notes else []
    path.write_text("\n\n".join(page) + "\n")


def _rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """One row for each run of ours, with the run of plain Celery on the same server beside it."""
    plain = {(outcome.scenario, outcome.server): outcome for outcome in outcomes if outcome.plain}
    shown = []
    for outcome in outcomes:
        if outcome.plain:
            continue
        shown.append(_row(outcome, plain.pop((outcome.scenario, outcome.server), None)))
    shown += [_row(other, other) for other in plain.values()]
    return shown


def _row(outcome: Outcome, plain: Outcome | None) -> tuple[str, ...]:
    return (
        outcome.scenario,
        outcome.server,
        f"{outcome.events:,}",
        str(outcome.faults),
        str(len(outcome.lost)),
        str(outcome.duplicates),
        str(outcome.allowed),
        _seconds(outcome.first),
        _seconds(outcome.drained),
        _beside(plain),
    )


def _waits(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """One row for each run on a cluster: how long its partitions went without a delivery."""
    return [
        (
            outcome.scenario,
            outcome.server,
            f"{outcome.gaps.hurt:.2f} s",
            "-" if outcome.gaps.others is None else f"{outcome.gaps.others:.2f} s",
            "-" if outcome.gaps.others_call is None else f"{outcome.gaps.others_call:.2f} s",
        )
        for outcome in outcomes
        if outcome.gaps is not None
    ]


def _beside(plain: Outcome | None) -> str:
    if plain is None:
        return ""
    if not plain.events:
        return "failed: " + "; ".join(plain.failures)
    words = [f"{len(plain.lost)} of {plain.events:,} lost", f"{plain.duplicates} twice"]
    words += [f"drained after {_seconds(plain.drained)}" if plain.drained is not None else "not drained"]
    return ", ".join([*words, *plain.notes])


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"


def _title(outcome: Outcome) -> str:
    return f"{outcome.scenario}, {outcome.server}{' (plain Celery)' if outcome.plain else ''}"
