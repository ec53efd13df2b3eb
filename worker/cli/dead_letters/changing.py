"""Changing dead letters: ``replay``, ``discard``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

import click

from producer import FeedbackProducer
from worker.cli.database import opened, outage, settings
from worker.cli.dead_letters.filters import row_id, selecting
from worker.cli.dead_letters.progress import counting, stopping
from worker.cli.dead_letters.tables import print_causes
from worker.deadletters import DeadLetterStoreUnavailable
from worker.deadletters.discard import discard as discard_rows
from worker.deadletters.passed_over import passed_over
from worker.deadletters.reading import count, count_by_cause
from worker.deadletters.replay import Plan, Replay, Report, plan
from worker.deadletters.selection import replayable

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.deadletters.selection import Selection

__all__ = ["discard", "replay"]

_FEW: Final = 10
"""Rows that are changed without asking: as many as one sees at a glance."""

_PATIENCE: Final = 5.0
"""Seconds for a chunk to reach Redis: a person waits longer than a chat backend may."""

_INTERRUPTED: Final = 128 + 2
"""The exit status of a command that Ctrl-C ended, as shells have it."""


@click.command()
@click.argument("ids", metavar="[ID]...", type=row_id, nargs=-1)
@selecting
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events per second at most.")
@click.option("--limit", type=click.IntRange(min=1), help="Rows at most; the oldest first.")
@click.option("--dry-run", is_flag=True, help="Say what would be replayed, and change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def replay(
    *, selection: Selection, rate: float | None, limit: int | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Put dead letters back into the queue: those of the IDs, or those that fit the filters.

    The rows taken are the dead ones, and those that an earlier run was cut short on. A worker writes each one's outcome
    into its row. Stop it at any time, even with kill -9, and run it again: nothing is lost, and what is enqueued twice
    is delivered once. With --state replaying it also takes rows whose outcome has not come, for when Redis has lost
    its queue.
    """
    given = settings()
    url = given.feedback_broker_url.get_secret_value()
    with opened() as engine:
        planned = plan(engine, selection, limit=limit)
        complete = _tell_passed_over(engine, selection) and not (selection.ids and planned.invalid)
        if dry_run:
            _tell_plan(engine, planned, as_json=as_json)
            sys.exit(0 if complete else 1)
        _confirm("replay", planned.rows, selection, yes=yes)
        with (
            FeedbackProducer(url, sentinel_master=given.feedback_sentinel_master, timeout=_PATIENCE) as producer,
            stopping() as stop,
            counting("replaying", planned.rows) as progress,
        ):
            report = Replay(engine, producer, rate=rate, stop=stop).run(planned.which, limit=limit, progress=progress)
    _tell_report(planned, report, as_json=as_json)
    sys.exit(_status(report, complete=complete))


@click.command()
@click.argument("ids", metavar="[ID]...", type=row_id, nargs=-1)
@selecting
@click.option("--note", required=True, help="Why, for whoever reads the row later.")
@click.option("--limit", type=click.IntRange(min=1), help="Rows at most; the oldest first.")
@click.option("--dry-run", is_flag=True, help="Say what would be discarded, and change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def discard(*, selection: Selection, note: str, limit: int | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Decide that dead letters shall not be delivered. The rows stay, and can be replayed with --state discarded."""
    with opened() as engine:
        complete = _tell_passed_over(engine, selection)
        which = replayable(selection)
        fitting = count(engine, which)
        rows = fitting if limit is None else min(fitting, limit)
        if not dry_run:
            _confirm("discard", rows, selection, yes=yes)
            with counting("discarding", rows) as progress:
                rows = discard_rows(engine, which, note=note, limit=limit, progress=progress)
    result = {"would_discard" if dry_run else "discarded": rows}
    click.echo(json.dumps(result) if as_json else f"{'would discard' if dry_run else 'discarded'} {rows:,}")
    sys.exit(0 if complete else 1)


def _tell_passed_over(engine: Engine, selection: Selection) -> bool:
    """Say which of the ids are not taken, and return whether all of them are."""
    problems = passed_over(engine, selection)
    for problem in problems:
        click.echo(problem, err=True)
    return not problems


def _confirm(verb: str, rows: int, selection: Selection, *, yes: bool) -> None:
    """Ask before many rows, or all there are, are changed; where nobody can answer, refuse."""
    if yes or not rows or (rows <= _FEW and not selection.is_everything):
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"this would {verb} {rows:,} rows, and there is nobody to ask: add --yes, or look first with --dry-run"
        )
    click.confirm(f"{verb.capitalize()} {rows:,} rows?", abort=True, err=True)


def _tell_plan(engine: Engine, planned: Plan, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"would_replay": planned.rows, "invalid": planned.invalid}))
        return
    print_causes(count_by_cause(engine, planned.which))
    click.echo(f"would replay {planned.rows:,}{_left_out(planned)}")


def _tell_report(planned: Plan, report: Report, *, as_json: bool) -> None:
    failure = _failure(report)
    for refusal in report.refused:
        click.echo(refusal, err=True)
    if as_json:
        result = {"enqueued": report.enqueued, "invalid": planned.invalid, "refused": len(report.refused)}
        click.echo(json.dumps(result | {"interrupted": report.interrupted, "failure": failure}))
    else:
        click.echo(f"enqueued {report.enqueued:,} of {planned.rows:,}{_left_out(planned)}")
    if failure:
        click.echo(f"stopped: {failure}", err=True)
    if failure or report.interrupted:
        click.echo("run the same command again to go on: nothing is lost, and nothing is delivered twice", err=True)


def _failure(report: Report) -> str | None:
    """What stopped a replay, with the setting to look at."""
    match report.failure:
        case None:
            return None
        case DeadLetterStoreUnavailable() as error:
            return outage(settings().feedback_database_url.get_secret_value(), error)
        case error:
            return f"FEEDBACK_BROKER_URL: {error}"


def _left_out(planned: Plan) -> str:
    if not planned.invalid:
        return ""
    return f"; {planned.invalid:,} invalid left out: they hold no event, only a message that can't be read as one"


def _status(report: Report, *, complete: bool) -> int:
    if report.interrupted:
        return _INTERRUPTED
    return 0 if complete and not report.failure and not report.refused else 1
