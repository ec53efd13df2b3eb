"""``aquilax-feedback reconcile``: does everything that was accepted add up? And if not, what is wrong?"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click
import redis

from worker.accounting.continuity import Continuity, Kind, accept
from worker.accounting.documents import reconcile_record
from worker.accounting.reconcile import PATIENCE, Report
from worker.accounting.reconcile import reconcile as take_stock
from worker.accounting.repair import note_told, repair_redis, repair_table
from worker.clients.redis.partitions import shown_partition
from worker.database.audit_log import record_action
from worker.database.errors import DeadLetterError
from worker.operations.cli.broker import broker, broker_outage
from worker.operations.cli.database import outage, settings
from worker.operations.cli.output import json_text, say, shown
from worker.operations.cli.param_types import Decimal, current_actor
from worker.operations.database import checked_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Engine

    from worker.accounting.integrity import IntegrityCheck
    from worker.accounting.table_counts import Table
    from worker.clients.redis.partitions import Partitions

__all__ = ["reconcile"]

_IN_ORDER: Final = 0
_WRONG: Final = 1
_UNKNOWN: Final = 2

_NAMED: Final = 20
"""How many of one kind are named one by one; --json names all."""


@click.command()
@click.option("--repair", is_flag=True, help="Fix what is wrong, and say what was fixed.")
@click.option(
    "--patience",
    type=Decimal(min=0),
    default=PATIENCE.total_seconds(),
    show_default=True,
    metavar="SECONDS",
    help="How long something must be wrong before it is said to be.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def reconcile(patience: float, *, repair: bool, as_json: bool) -> None:
    """Prove that nothing was lost: everything that was accepted has ended, or is in a place from which it goes on.

    It may run while everything is at work. The exit status is 0 if all is in order; 1 if something was wrong, also if
    it was fixed (the next run says 0); 2 if that can't be told, because Redis or the database is unavailable.
    """
    with ExitStack() as stack:
        run = _Run(stack)
        run.go(timedelta(seconds=patience), repair=repair)
        if as_json:
            say(json_text(run.to_record(), indent=2))
        else:
            for line in _lines(run):
                say(line)
        run.note_told()
        sys.exit(run.status)


@dataclass
class _Run:
    """One run of the command."""

    stack: ExitStack
    report: Report | None = None
    repaired: list[str] = field(default_factory=list)
    redis_problem: str = ""
    repair_problem: str = ""
    _engine: Engine | None = None
    _partitions: Partitions | None = None

    def go(self, patience: timedelta, *, repair: bool) -> None:
        """Look, and fix if that is wanted."""
        self._partitions = partitions = self.stack.enter_context(broker())
        try:
            self.report = take_stock(partitions, self._open_table, patience=patience)
        except redis.RedisError as error:
            self.redis_problem = broker_outage(error)
            return
        if repair:
            self._repair(partitions, self.report)

    def note_told(self) -> None:
        """Note that what was written off is told by now: the doctor tells of it no more."""
        if self.report is not None and self._partitions is not None:
            note_told(self._partitions, self.report.check.snapshot)

    def _repair(self, partitions: Partitions, report: Report) -> None:
        """Fix what can be fixed, and note each repair that is done."""
        try:
            for repair in self._repairs(partitions, report):
                self.repaired.append(repair)
        except redis.RedisError as error:
            self.repair_problem = broker_outage(error)
        except DeadLetterError as error:
            self.repair_problem = outage(error)

    def _repairs(self, partitions: Partitions, report: Report) -> Iterator[str]:
        yield from repair_redis(partitions, report)
        if report.table is not None and self._engine is not None:
            yield from repair_table(partitions, self._engine, report)
            if report.continuity is not None and report.continuity.is_lost:
                yield from self._accept(partitions, self._engine, report.continuity, report.checks)

    def _accept(
        self, partitions: Partitions, engine: Engine, found: Continuity, checks: Sequence[IntegrityCheck]
    ) -> Iterator[str]:
        """Take a Redis that has lost data as it is, and write down who did."""
        written_off = accept(partitions, engine, found, [check.balance for check in checks])
        if written_off is None:
            return
        details = {"what": found.summary(), "missing_at_least": found.missing, "written_off": written_off}
        record_action(engine, actor=current_actor(), action="redis.accept", target="queue", details=details)
        yield f"took Redis as it is, with the totals of before carried on; written off: {written_off:,}"

    def _open_table(self) -> Engine:
        self._engine = self.stack.enter_context(checked_database(settings()))
        return self._engine

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        problem = self.redis_problem
        return reconcile_record(self.report, redis_problem=problem, repaired=self.repaired, status=self.status)

    @property
    def status(self) -> int:
        """The exit status."""
        if self.report is not None and self.report.is_wrong:
            return _WRONG
        if self.report is None or not self.report.is_certain:
            return _UNKNOWN
        return _IN_ORDER


def _lines(run: _Run) -> Iterator[str]:
    report = run.report
    if report is not None:
        yield _classification(report)
        yield from _wrong_in_redis(report)
        yield from _wrong_in_table(report)
        for repair in run.repaired:
            yield f"repaired: {shown(repair)}"
    if run.redis_problem:
        yield f"can't tell: {run.redis_problem}"
    if run.repair_problem:
        yield f"not all was repaired: {run.repair_problem}"
    if run.repaired:
        yield "run it again to see that everything is in order"


def _classification(report: Report) -> str:
    equation = "; ".join(_equations(report))
    match report.balances:
        case True:
            return f"balanced: {equation}; {_lost(report)}"
        case False:
            return f"does not balance: {equation}"
        case None:
            return f"can't tell, as foreign messages come and go meanwhile: {equation}"


def _equations(report: Report) -> Iterator[str]:
    """The equation; of several partitions the sum, or those in which it does not hold."""
    if len(report.checks) == 1 or not report.unbalanced:
        yield report.balance.equation()
        return
    for number, found in report.unbalanced[:_NAMED]:
        yield f"partition {shown_partition(number)}: {found.balance.equation()}"
    if len(report.unbalanced) > _NAMED:
        yield f"and {len(report.unbalanced) - _NAMED:,} more partitions: --json names all"


def _lost(report: Report) -> str:
    """What is lost, as the verdict names it: also what operators gave up, or threw away."""
    found = report.continuity
    if found is not None and found.is_lost:
        return "but Redis has lost data"
    gone = [(report.balance.counts.get(end, 0), end.replace("_", " ")) for end in ("written_off", "purged", "revoked")]
    text = ", ".join(f"{number:,} {end}" for number, end in gone if number)
    if text:
        return text
    if found is None or found.kind is Kind.MOVING:
        return "whether Redis has lost data can't be told"
    return "nothing lost"


def _wrong_in_redis(report: Report) -> Iterator[str]:
    found = report.check
    if report.continuity is not None and (text := report.continuity.summary()):
        yield f"{text} (--repair takes Redis as it is, and writes that down)"
    if report.continuity is not None and (lost := report.continuity.lost_hold) is not None:
        yield f"Redis had lost the hold by hand, which stands again: {shown(lost.comment)}"
    if found.no_messages:
        yield f"no messages in the queue, which a worker will dead-letter as invalid: {found.no_messages:,}"
    orphaned = [f"{_text(tag)}, request_id {name or 'unknown'}" for tag, name in sorted(found.orphaned.items())]
    yield from _named("under no lease, and not in the queue (--repair returns them)", orphaned)
    yield from _named("under no lease, and unreadable (--repair returns them)", sorted(map(_text, found.unreadable)))
    yield from _named("in the index, but not in flight (--repair drops them)", sorted(map(_text, found.index)))
    held = [f"{_text(tag)}, held by {_text(lease)}" for lease, tag in sorted(found.held)]
    yield from _named("held, but not in flight (--repair drops them)", held)
    strays = report.strays
    yield from _named(
        "lists with feedback that no worker reads (--repair moves it)", [one.summary for one in strays.lists]
    )
    if not strays.complete:
        yield "not all keys of this Redis were looked at for feedback that no worker reads: there are too many"


def _wrong_in_table(report: Report) -> Iterator[str]:
    table = report.table
    if report.table_error is not None:
        yield f"can't tell about dead letters: {outage(report.table_error)}"
    if table is None:
        return
    yield from _rows(report, table)
    stuck = [str(row.row_id) for row in report.stuck]
    yield from _named("dead letters whose replay is nowhere (--repair puts them back to dead)", stuck)


def _rows(report: Report, table: Table) -> Iterator[str]:
    missing = report.rows_missing
    pruned = f" and {table.pruned:,} pruned" if table.pruned else ""
    inserted = f"{report.inserted:,} inserted, {report.rows:,} of these in the table{pruned}"
    yield f"dead letters: {inserted}; in all {_numbers(table.by_state)}"
    if missing > 0:
        yield f"dead letters that are not in the table any more: {missing:,}; in it are {_numbers(table.by_reason)}"
    elif missing < 0:
        why = "Redis was emptied, or workers of another Redis write to this table too"
        yield f"dead letters in the table that were not counted: {-missing:,}; {why}"


def _numbers(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())


def _named(what: str, names: list[str]) -> Iterator[str]:
    if names:
        yield f"{what}: {len(names):,}"
        yield from (f"  {shown(name)}" for name in names[:_NAMED])
        if len(names) > _NAMED:
            yield f"  and {len(names) - _NAMED:,} more: --json names all"


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
