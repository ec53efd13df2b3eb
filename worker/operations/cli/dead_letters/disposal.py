"""Letting dead letters go: ``discard`` keeps the rows, ``prune`` deletes those, and the replays, that are over."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from worker.dead_letters.discard import discard as discard_rows
from worker.dead_letters.pruning import count_prunable
from worker.dead_letters.pruning import prune as prune_rows
from worker.dead_letters.queries import count
from worker.dead_letters.selection import replayable
from worker.operations.cli.database import opened, settings
from worker.operations.cli.dead_letters.filters import (
    confirm,
    opened_for,
    row_id,
    selecting,
    tell_passed_over,
    time,
)
from worker.operations.cli.dead_letters.progress import counting, stopping
from worker.operations.cli.output import INTERRUPTED, say
from worker.operations.cli.param_types import COMMENT, WholeNumber, actor_option
from worker.operations.text import utc
from worker.policy.parsing import LARGEST

if TYPE_CHECKING:
    from worker.dead_letters.pruning import Pruned
    from worker.dead_letters.selection import Selection

__all__ = ["discard", "prune"]


@click.command()
@click.argument("ids", metavar="[ID]...", type=row_id, nargs=-1)
@selecting
@click.option("--comment", required=True, type=COMMENT, help="The reason; it is kept with each row.")
@actor_option
@click.option("--limit", type=WholeNumber(min=1), help="Rows at most; the oldest first.")
@click.option("--dry-run", is_flag=True, help="Say what would be discarded, and change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def discard(
    *, selection: Selection, comment: str, actor: str, limit: int | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Decide that dead letters shall not be delivered. The rows stay, and can be replayed with --state discarded."""
    with opened_for(selection) as engine:
        complete = tell_passed_over(engine, selection)
        which = replayable(selection)
        rows = min(count(engine, which), limit or LARGEST)
        if not dry_run:
            confirm("discard", rows, selection, yes=yes)
            with stopping() as stop, counting("discarding", rows) as progress:
                rows = discard_rows(
                    engine, which, comment=comment, actor=actor, limit=limit, stop=stop, progress=progress
                )
    verb = "would discard" if dry_run else "discarded"
    say(json.dumps({verb.replace(" ", "_"): rows}) if as_json else f"{verb} {rows:,}")
    interrupted = not dry_run and stop.is_set()
    sys.exit(INTERRUPTED if interrupted else 0 if complete else 1)


@click.command()
@click.option(
    "--older-than",
    "before",
    type=time,
    metavar="TIME",
    help="Since when it is over at least: 30d or 12h ago, or ISO 8601 (UTC); FEEDBACK_RETENTION ago if not said.",
)
@click.option("--dry-run", is_flag=True, help="Say how many would be pruned, and change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def prune(before: datetime | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete what is over: dead letters that were delivered after all or discarded, and replays that have ended.

    Dead letters that are dead or replaying stay, and so do replays that are under way.

    Workers do the same by themselves once an hour, for what was over longer than FEEDBACK_RETENTION ago.
    `aquilax-feedback reconcile` knows of what was pruned, and does not miss it.
    """
    if before is None:
        before = datetime.now(UTC) - settings().feedback_retention
    with opened() as engine:
        over = count_prunable(engine, before)
        if dry_run:
            _tell("would prune", over, before, as_json=as_json)
            return
        _confirm(over, before, yes=yes)
        with stopping() as stop, counting("pruning", over.dead_letters) as progress:
            pruned = prune_rows(engine, before, stop=stop, progress=lambda done: progress(done.dead_letters))
    _tell("pruned", pruned, before, as_json=as_json)
    sys.exit(INTERRUPTED if stop.is_set() else 0)


def _confirm(over: Pruned, before: datetime, *, yes: bool) -> None:
    """Ask always: what is pruned is gone."""
    if yes or not (over.dead_letters or over.replays):
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"this would delete {_counted(over)}: without a terminal to ask on, add --yes, or look first with --dry-run"
        )
    click.confirm(f"Delete {_counted(over)} that were over before {utc(before)}?", abort=True, err=True)


def _tell(verb: str, rows: Pruned, before: datetime, *, as_json: bool) -> None:
    name = verb.replace(" ", "_")
    counts = {name: rows.dead_letters, f"{name}_replays": rows.replays}
    text = f"{verb} {_counted(rows)} that were over before {utc(before)}"
    say(json.dumps(counts) if as_json else text)


def _counted(rows: Pruned) -> str:
    return f"{rows.dead_letters:,} dead letters and {rows.replays:,} replays"
