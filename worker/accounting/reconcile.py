"""Reconciling: does it add up, and if not, what exactly is wrong?

Everything of a partition is looked at in one step in Redis, so a system at work is no excuse. A message that a worker
has ended and not let go of yet looks odd for a moment, though, and so does a row that was just marked: what is wrong
has to be wrong for a while before it is said.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import redis

from worker.accounting.continuity import Continuity, look_at_continuity, record
from worker.accounting.integrity import IntegrityCheck, check, find_replays, sum_of_checks
from worker.accounting.snapshot import take_snapshot
from worker.accounting.strays import Strays, find_strays
from worker.accounting.table_counts import Replaying, Table, look_at_table, replaying
from worker.clients.redis.keys import CountField
from worker.database.errors import DeadLetterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from worker.accounting.balance import Balance
    from worker.clients.redis.partitions import Partitions

__all__ = ["PATIENCE", "Report", "reconcile"]

PATIENCE: Final = timedelta(seconds=5)
"""How long something must be wrong: ten times as long as a worker takes to let go of what has ended."""

_LOOK_EVERY: Final = 0.5
_STRAYS_WITHIN: Final = 10.0
"""Seconds for looking through the names of all keys: some millions."""
_COUNTED_WITHIN: Final = 0.02
"""Seconds within which an insertion is mostly counted."""
_OUTCOME_WITHIN: Final = 1.0
"""Seconds in which the outcome of a message that has just ended is in its row, however little patience there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a reconciliation found.

    Attributes:
        checks: What Redis says, for each partition by its number.
        table: What the dead-letter table says; None if it can't be asked.
        table_error: Why it can't.
        uncounted_rows: Rows beyond the number of counted insertions, also after a while.
        continuity: Whether Redis has the data that it had; None if that can't be told.
        stuck: Rows that wait for the outcome of a replay that is nowhere.
        strays: Lists with feedback that no worker reads.
    """

    checks: tuple[IntegrityCheck, ...]
    table: Table | None = None
    uncounted_rows: int = 0
    continuity: Continuity | None = None
    table_error: DeadLetterError | None = None
    stuck: tuple[Replaying, ...] = ()
    strays: Strays = field(default_factory=Strays)

    @property
    def check(self) -> IntegrityCheck:
        """What all partitions say together."""
        return sum_of_checks(self.checks)

    @property
    def balance(self) -> Balance:
        """The equation; of several partitions the sum: it may hold where `unbalanced` ones make up for each other."""
        return self.check.balance

    @property
    def unbalanced(self) -> tuple[tuple[int, IntegrityCheck], ...]:
        """The partitions in which the equation does not hold, each with its number."""
        return tuple((number, found) for number, found in enumerate(self.checks) if found.balance.missing)

    @property
    def inserted(self) -> int:
        """How many dead letters were counted as inserted at the moment of the equation."""
        return self.check.snapshot.counts.get(CountField.DEAD_LETTERS_INSERTED, 0)

    @property
    def rows_missing(self) -> int:
        """How many dead letters were inserted, not pruned, and are not in the table; negative if it has too many."""
        if self.table is None:
            return 0
        return max(self.inserted - self.table.made - self.table.pruned, 0) - self.uncounted_rows

    @property
    def rows(self) -> int:
        """How many of the inserted are in the table, and those that were not counted: not those that died since."""
        return 0 if self.table is None else self.inserted - self.table.pruned - self.rows_missing

    @property
    def balances(self) -> bool | None:
        """Whether the equation holds in each partition; None if that can't be told."""
        if not self.unbalanced:
            return True
        return False if any(found.exact for _, found in self.unbalanced) else None

    @property
    def is_lost(self) -> bool:
        """Whether Redis has lost data."""
        return self.continuity is not None and self.continuity.is_lost

    @property
    def is_wrong(self) -> bool:
        """Whether anything has to be repaired."""
        in_redis = self.balances is False or not self.check.hangs_together
        wrong_rows = self.rows_missing > 0 or bool(self.stuck)
        return in_redis or self.is_lost or wrong_rows or bool(self.strays.lists)

    @property
    def is_certain(self) -> bool:
        """Whether everything could be asked."""
        return self.balances is not None and self.table is not None


def reconcile(
    partitions: Partitions,
    open_table: Callable[[], Engine],
    *,
    patience: timedelta = PATIENCE,
    strays_within: float = _STRAYS_WITHIN,
    writes: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Compare what was accepted with where it is, and with the dead-letter table.

    Args:
        partitions: Clients that answer in bytes.
        open_table: Returns the database, or raises what is wrong with it.
        patience: How long something must be wrong before it is said to be.
        strays_within: Seconds for looking through the names of all keys.
        writes: Whether the totals are written down in the database, and a hold by hand that Redis lost stands again.
        sleep: Waits.

    Raises:
        redis.RedisError: Redis, or one of the partitions, is unavailable, or refuses.
    """
    found = _settled(partitions, patience, sleep)
    report = Report(checks=found, strays=find_strays(partitions, within=strays_within))
    try:
        engine = open_table()
        report = replace(report, continuity=(_recorded if writes else look_at_continuity)(partitions, engine))
        # Redis first: a row is there before it is counted.
        table = look_at_table(engine)
        report = replace(report, table=table, uncounted_rows=_uncounted_rows(partitions, table, patience, sleep))
        return replace(report, stuck=_stuck(partitions, engine, patience, sleep))
    except DeadLetterError as error:
        return replace(report, table=None, table_error=error)


def _recorded(partitions: Partitions, engine: Engine) -> Continuity:
    """Write the totals down; a Redis that is full, or read-only, is looked at all the same."""
    try:
        return record(partitions, engine)
    except redis.ResponseError:
        return look_at_continuity(partitions, engine)


def _settled(partitions: Partitions, patience: timedelta, sleep: Callable[[float], None]) -> tuple[IntegrityCheck, ...]:
    """Check until nothing is wrong, or in each partition the same has been for long enough."""
    found = partitions.ask_all(check)
    since = [one.snapshot.at for one in found]

    def odd() -> list[int]:
        return [
            number
            for number, one in enumerate(found)
            if not _is_in_order(one) and one.snapshot.at - since[number] < patience
        ]

    while numbers := odd():
        sleep(_LOOK_EVERY)
        for number, later in zip(numbers, partitions.ask_all(check, only=numbers), strict=True):
            found[number] = found[number].and_then(later)
    return tuple(found)


def _is_in_order(found: IntegrityCheck) -> bool:
    return found.hangs_together and not found.balance.missing


def _uncounted_rows(partitions: Partitions, table: Table, patience: timedelta, sleep: Callable[[float], None]) -> int:
    """Return how many more rows there are than counted insertions, once those of meanwhile are counted too.

    A worker counts an insertion a moment after it wrote the row, so the count is read until it has come up to the rows
    that were seen.
    """
    rows, deadline = table.made + table.pruned, time.monotonic() + patience.total_seconds()
    while (
        more := rows - take_snapshot(partitions).counts.get(CountField.DEAD_LETTERS_INSERTED, 0)
    ) > 0 and time.monotonic() < deadline:
        sleep(_COUNTED_WITHIN)
    return max(more, 0)


def _stuck(
    partitions: Partitions, engine: Engine, patience: timedelta, sleep: Callable[[float], None]
) -> tuple[Replaying, ...]:
    """Return the rows whose replay is nowhere, whenever it is looked for."""
    waiting = replaying(engine)
    deadline = time.monotonic() + max(patience.total_seconds(), _OUTCOME_WITHIN)
    while waiting:
        found = find_replays(partitions, {row.row_id for row in waiting})
        waiting = {row for row in waiting if row.row_id not in found}
        if not waiting or time.monotonic() >= deadline:
            break
        sleep(_LOOK_EVERY)
        waiting &= replaying(engine)
    return tuple(sorted(waiting, key=lambda row: row.row_id))
