"""``aquilax-feedback dead-letters discard``: what shall not be delivered."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from worker.dead_letters.discard import discard as discard_rows
from worker.dead_letters.queries import count
from worker.dead_letters.selection import replayable
from worker.operations.cli.dead_letters.confirmation import actor_option, confirm, tell_passed_over
from worker.operations.cli.dead_letters.filters import opened_for, row_id, selecting
from worker.operations.cli.dead_letters.progress import counting
from worker.operations.cli.output import say
from worker.operations.cli.param_types import COMMENT, WholeNumber

if TYPE_CHECKING:
    from worker.dead_letters.selection import Selection

__all__ = ["discard"]


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
        fitting = count(engine, which)
        rows = fitting if limit is None else min(fitting, limit)
        if not dry_run:
            confirm("discard", rows, selection, yes=yes)
            with counting("discarding", rows) as progress:
                rows = discard_rows(engine, which, comment=comment, actor=actor, limit=limit, progress=progress)
    result = {"would_discard" if dry_run else "discarded": rows}
    say(json.dumps(result) if as_json else f"{'would discard' if dry_run else 'discarded'} {rows:,}")
    sys.exit(0 if complete else 1)
