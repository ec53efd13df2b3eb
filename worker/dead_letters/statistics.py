"""Counting a million dead letters: by cause over time, and by cause and org; from one index, without a row.

Every function here that takes an engine raises `DeadLetterStoreUnavailable` if the database is unavailable.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import CTE, Column, ColumnElement, Connection, Engine, Select, exists, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import replacement_traverse

from worker.database.errors import translated
from worker.database.models import STATISTICS, DeadLetter, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Row
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.sql.visitors import ExternallyTraversible

__all__ = [
    "BUCKETS",
    "Causes",
    "FingerprintCount",
    "Share",
    "causes_over_time",
    "covered",
    "lines_of",
    "shares",
    "summaries_by_fingerprint",
    "unindexed",
    "unsorted",
]

BUCKETS: Final = 32
"""Into how many stretches of time a chart is cut: as many bars as fit beside a line of text."""

_SHORTEST_BUCKET: Final = 60
"""Seconds. What died within one minute died at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintCount:
    """What died of one cause.

    Attributes:
        fingerprint: What filters take.
        summary: The cause as text.
        rows: How many.
        first_failed_at: When the first of them died.
        last_failed_at: When the last of them died.
        org: Whose they are, if they are all of one org.
        replayable: Whether any of them holds an event.
        counts: How many died in each stretch of time.
    """

    fingerprint: str
    summary: str
    rows: int
    first_failed_at: datetime
    last_failed_at: datetime
    org: str | None
    replayable: bool
    counts: tuple[int, ...]

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it, without its chart."""
        times = {name: getattr(self, name).isoformat() for name in ("first_failed_at", "last_failed_at")}
        return {"fingerprint": self.fingerprint, "summary": self.summary, "rows": self.rows, **times}


@dataclass(frozen=True, slots=True, kw_only=True)
class Causes:
    """All causes, the most frequent one first, over one time.

    Attributes:
        causes: The causes.
        begin: When the first stretch of time begins; None if nothing died.
        bucket: How long each stretch is.
    """

    causes: tuple[FingerprintCount, ...] = ()
    begin: datetime | None = None
    bucket: timedelta = timedelta(seconds=_SHORTEST_BUCKET)

    @property
    def rows(self) -> int:
        """How many rows died of them all."""
        return sum(cause.rows for cause in self.causes)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many died in each stretch of time, of whatever cause."""
        return tuple(map(sum, zip(*(cause.counts for cause in self.causes), strict=True)))


def causes_over_time(engine: Engine, which: ColumnElement[bool]) -> Causes:
    """Return what the rows died of, and when.

    Each cause, and each of its stretches of time, is one range of the index of the statistics: to count the entries
    between two places there takes a tenth of the time of grouping them.
    """
    with translated(), engine.connect() as connection:
        found = {row.fingerprint: row for row in connection.execute(_ends(which))}
        if not found:
            return Causes()
        # The last stretch ends with the last death. After a single burst the others are empty, and say since when.
        end = int(max(row.last for row in found.values()).timestamp()) + 1
        lived = end - int(min(row.failed_at for row in found.values()).timestamp())
        bucket = timedelta(seconds=max(_SHORTEST_BUCKET, -(-lived // BUCKETS)))
        begin = datetime.fromtimestamp(end, UTC) - BUCKETS * bucket
        counts = {cause: tuple(rows) for cause, *rows in connection.execute(_counts(which, begin, bucket))}
    # What died since the first statement may be counted by the second: its cause is shown the next time.
    causes = (_cause(row, counts[cause]) for cause, row in found.items() if any(counts.get(cause, ())))
    ordered = sorted(causes, key=lambda cause: (-cause.rows, cause.fingerprint))
    return Causes(causes=tuple(ordered), begin=begin, bucket=bucket)


def _fingerprints() -> CTE:
    """Every fingerprint that any row has, each found by one step into the index behind the one before."""
    each = select(func.min(DeadLetter.fingerprint).label("fingerprint")).cte("fingerprints", recursive=True)
    following = select(func.min(DeadLetter.fingerprint)).where(DeadLetter.fingerprint > each.c.fingerprint)
    return each.union_all(select(following.scalar_subquery()).where(each.c.fingerprint.is_not(None)))


def _ends(which: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """The first row of each cause, when its last row died, and whether its rows are of several orgs."""
    each, first = _fingerprints(), aliased(DeadLetter)
    of_each = (DeadLetter.fingerprint == each.c.fingerprint, covered(which))
    oldest = select(DeadLetter.id).where(*of_each).order_by(DeadLetter.failed_at).limit(1).scalar_subquery()
    firsts = select(oldest.label("id")).select_from(each).subquery()
    alike = (DeadLetter.fingerprint == first.fingerprint, covered(which))
    last = select(DeadLetter.failed_at).where(*alike).order_by(DeadLetter.failed_at.desc()).limit(1).scalar_subquery()
    mixed = exists(select(DeadLetter.id).where(*alike, DeadLetter.org.is_distinct_from(first.org)))
    columns = (first.fingerprint, first.summary, first.org, first.failed_at, last.label("last"), mixed.label("mixed"))
    return select(*columns).join_from(firsts, first, first.id == firsts.c.id)


def _counts(which: ColumnElement[bool], begin: datetime, bucket: timedelta) -> Select[*tuple[Any, ...]]:
    """How many rows of each cause died in each stretch of time."""
    each = _fingerprints()
    of_each = (DeadLetter.fingerprint == each.c.fingerprint, covered(which))
    rows = select(func.count()).select_from(DeadLetter).where(*of_each)
    starts = [begin + number * bucket for number in range(BUCKETS)]
    within = [(DeadLetter.failed_at >= start, DeadLetter.failed_at < start + bucket) for start in starts]
    return select(each.c.fingerprint, *(rows.where(*ends).scalar_subquery() for ends in within))


def lines_of(connection: Connection, ids: list[int]) -> dict[str, str]:
    """Return the causes of some rows as text. They are in no index, so they are read from one row of each cause."""
    lines = select(DeadLetter.fingerprint, DeadLetter.summary).where(DeadLetter.id.in_(ids))
    return {row.fingerprint: row.summary for row in connection.execute(lines)}


def summaries_by_fingerprint(engine: Engine, causes: Iterable[str]) -> dict[str, str]:
    """Return causes as text, as far as any row has still died of them."""
    lines: dict[str, str] = {}
    with translated(), engine.connect() as connection:
        for cause in sorted(set(causes)):
            line = connection.scalar(select(DeadLetter.summary).where(DeadLetter.fingerprint == cause).limit(1))
            if line is not None:
                lines[cause] = line
    return lines


def _cause(first: Row[Any], counts: tuple[int, ...]) -> FingerprintCount:
    return FingerprintCount(
        fingerprint=first.fingerprint,
        summary=first.summary,
        rows=sum(counts),
        first_failed_at=first.failed_at,
        last_failed_at=first.last,
        replayable=first.mixed or first.org is not None,
        org=None if first.mixed else first.org,
        counts=counts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many rows of one cause, one org and one state."""

    summary: str
    org: str | None
    state: State
    rows: int


def shares(engine: Engine, which: ColumnElement[bool]) -> list[Share]:
    """Return how many rows there are of each cause, org and state, the most first."""
    rows, alike = func.count().label("rows"), (DeadLetter.org, DeadLetter.state, DeadLetter.fingerprint)
    query = (
        select(*alike, rows, func.min(DeadLetter.id).label("one"))
        .where(covered(which))
        .group_by(*alike)
        .order_by(rows.desc(), *alike)
    )
    with translated(), engine.connect() as connection:
        found = connection.execute(query).all()
        lines = lines_of(connection, list({row.fingerprint: row.one for row in found}.values()))
        return [
            Share(summary=lines.get(row.fingerprint, row.fingerprint), org=row.org, state=row.state, rows=row.rows)
            for row in found
        ]


def covered(which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the same condition for a query that counts, which reads one index and no row.

    SQLite would rather go by another index, and read each row there for what it counts by.
    """

    def replaced(element: ExternallyTraversible, **_: object) -> ColumnElement[Any] | None:
        return unindexed(element) if isinstance(element, Column) and _is_in_statistics(element) else None

    return replacement_traverse(which, {}, replaced)


def _is_in_statistics(column: Column[Any]) -> bool:
    return column.name in STATISTICS and not column.primary_key and column.table.name == DeadLetter.__tablename__


class unindexed(FunctionElement[Any]):  # noqa: N801 - named like the SQL function that it is
    """A column by which SQLite chooses no index: https://sqlite.org/optoverview.html#uplus."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


class unsorted(unindexed):  # noqa: N801 - named like the SQL function that it stands for
    """A column to sort by whose index no database follows: in its order it may meet the few that fit last."""

    inherit_cache = True


@compiles(unsorted, "sqlite")
def _unsorted_of_sqlite(element: unsorted, compiler: SQLCompiler, **options: Any) -> str:
    return _unindexed_of_sqlite(element, compiler, **options)


@compiles(unsorted)
def _unsorted(element: unsorted, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    return f"coalesce({column}, {column})"


@compiles(unindexed)
def _unindexed_of_standard(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(unindexed, "sqlite")
def _unindexed_of_sqlite(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"
