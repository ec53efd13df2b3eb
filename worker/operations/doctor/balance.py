"""The books: has everything that was accepted ended, or a place; was anything written off; has Redis lost data?"""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import redis

from worker.accounting.continuity import Kind, look_at_continuity
from worker.accounting.reconcile import reconcile
from worker.accounting.repair import written_off_untold
from worker.clients.redis.partitions import shown_partition
from worker.database.errors import DeadLetterError
from worker.operations.broker import broker_partitions
from worker.operations.database import checked_database
from worker.operations.doctor.finding import Finding, green, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.accounting.continuity import Continuity
    from worker.accounting.reconcile import Report
    from worker.operations.doctor.finding import Finding
    from worker.settings import Settings

__all__ = ["look_at_books", "look_at_redis_data"]

_REDIS_PATIENCE: Final = 2.0
"""Seconds for one command."""

_WRONG_FOR: Final = timedelta(seconds=3)
"""How long something must be wrong before it is said to be: what a worker is just at looks odd for a moment."""

_CHECK: Final = "books"


def look_at_books(settings: Settings) -> Iterator[Finding]:
    """Compare what was accepted with where it is, as `aquilax-feedback reconcile` does.

    Of a Redis or a database that is unavailable nothing is said here.
    """
    partitions = broker_partitions(settings, patience=_REDIS_PATIENCE, retries=0)
    with ExitStack() as stack, closing(partitions):
        try:
            report = reconcile(
                partitions,
                lambda: stack.enter_context(checked_database(settings)),
                patience=_WRONG_FOR,
                strays_within=0,
                writes=False,
            )
            untold = written_off_untold(partitions, report.check.snapshot)
        except redis.RedisError:
            return
        yield _balance(report)
        if untold:
            fix = "`aquilax-feedback reconcile` tells of them; find out why they were gone"
            yield yellow("written off", f"{untold:,} written off since it was last told", fix=fix)


def _balance(report: Report) -> Finding:
    wrong = list(_wrong(report))
    if wrong or (report.is_wrong and not report.strays.lists):  # stray feedback has a check of its own
        summary = "; ".join(wrong) or "they are not in order"
        return red(_CHECK, summary, fix="`aquilax-feedback reconcile` says what exactly, and with --repair fixes it")
    if report.balances is None:
        return green(_CHECK, f"{report.balance.equation()}; foreign messages come and go, so it is not exact")
    return green(_CHECK, f"{report.balance.equation()}: nothing is missing")


def _wrong(report: Report) -> Iterator[str]:
    found = report.check
    if report.balances is False:
        several = len(report.checks) > 1
        for number, partition in report.unbalanced:
            balance, where = partition.balance, f"partition {shown_partition(number)}: " if several else ""
            missing = f"{balance.missing:,} events are missing"
            yield f"{where}{missing if balance.missing > 0 else 'it does not balance'}: {balance.equation()}"
    if report.is_lost:
        yield "Redis has lost data"
    numbers = {
        "messages under no lease": len(found.orphaned) + len(found.unreadable),
        "entries without a message": len(found.index) + len(found.held),
        "dead letters that are not in the table any more": max(report.rows_missing, 0),
        "dead letters whose replay is nowhere": len(report.stuck),
    }
    yield from (f"{number:,} {what}" for what, number in numbers.items() if number)


def look_at_redis_data(settings: Settings) -> Iterator[Finding]:
    """Check that Redis has the data that it had, and the hold by hand; nothing is said if either is unavailable."""
    try:
        with (
            closing(broker_partitions(settings, patience=_REDIS_PATIENCE)) as partitions,
            checked_database(settings) as engine,
        ):
            found = look_at_continuity(partitions, engine)
    except (redis.RedisError, DeadLetterError):
        return
    yield _continuity(found)
    if (lost := found.lost_hold) is not None:
        fix = "a worker lets it stand again within seconds; if none runs: `aquilax-feedback hold --comment …`"
        yield red("hold by hand", f"Redis has lost it: {lost.comment} (said by {lost.actor})", fix=fix)


def _continuity(found: Continuity) -> Finding:
    check = "broker data"
    if found.is_lost:
        fix = (
            "restore Redis' data if there is a later copy; else enqueue again what your backends still know, and take "
            "Redis as it is: `aquilax-feedback reconcile --repair`"
        )
        return red(check, found.summary(), fix=fix)
    if found.kind is Kind.MOVING:
        fix = "wait until `aquilax-feedback move` has ended; if it was cut short, run it again"
        return yellow(check, "it is being moved to another Redis, or that was cut short", fix=fix)
    if found.kind is Kind.SAME:
        return green(check, "its totals go on from those that the database knows")
    return green(check, "its totals are not in the database yet: a worker writes them down")
