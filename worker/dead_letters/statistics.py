"""Counting a hundred thousand dead letters: by cause over time, and by cause and org; from one index, without a row.

Every function here that takes an engine raises `DeadLetterStoreUnavailable` if the database is unavailable.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Integer, func, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import replacement_traverse

from worker.database.errors import translated
from worker.database.models import DeadLetter, State

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    """Return what the rows died of, and when."""
    with translated(), engine.connect() as connection:
        died = select(func.min(DeadLetter.failed_at), func.max(DeadLetter.failed_at)).where(covered(which))
        first, last = connection.execute(died).one()
        if not (first and last):
            return Causes()
        # The last stretch ends with the last death. After a single burst the others are empty, and say since when.
        end = int(last.timestamp()) + 1
        seconds = max(_SHORTEST_BUCKET, -(-(end - int(first.timestamp())) // BUCKETS))
        begin = end - BUCKETS * seconds
        bucket = (_epoch(DeadLetter.failed_at) - begin) // seconds
        query = (
            select(
                DeadLetter.fingerprint,
                bucket.label("bucket"),
                func.min(DeadLetter.id).label("one"),
                func.count().label("rows"),
                func.min(DeadLetter.failed_at).label("first"),
                func.max(DeadLetter.failed_at).label("last"),
                func.min(DeadLetter.org).label("first_org"),
                func.max(DeadLetter.org).label("last_org"),
            )
            .where(covered(which))
            .group_by(DeadLetter.fingerprint, literal_column("bucket"))
        )
        groups: defaultdict[str, list[Any]] = defaultdict(list)
        for row in connection.execute(query):
            groups[row.fingerprint].append(row)
        lines = lines_of(connection, [rows[0].one for rows in groups.values()])
    causes = sorted(
        (_cause(rows, lines.get(cause, cause)) for cause, rows in groups.items()),
        key=lambda cause: (-cause.rows, cause.fingerprint),
    )
    return Causes(causes=tuple(causes), begin=datetime.fromtimestamp(begin, UTC), bucket=timedelta(seconds=seconds))


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


def _cause(rows: list[Any], line: str) -> FingerprintCount:
    """What the stretches of time of one cause say together."""
    counts = Counter({min(row.bucket, BUCKETS - 1): row.rows for row in rows})
    orgs = {org for row in rows for org in (row.first_org, row.last_org)}
    return FingerprintCount(
        fingerprint=rows[0].fingerprint,
        summary=line,
        rows=counts.total(),
        first_failed_at=min(row.first for row in rows),
        last_failed_at=max(row.last for row in rows),
        replayable=orgs != {None},
        org=orgs.pop() if len(orgs) == 1 else None,
        counts=tuple(counts[number] for number in range(BUCKETS)),
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
    rows, alike = func.count().label("rows"), (DeadLetter.fingerprint, DeadLetter.org, DeadLetter.state)
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

    SQLite would rather go by the time, in another index, and read each row there for what it counts by.
    """

    def replaced(element: ExternallyTraversible, **_: object) -> ColumnElement[Any] | None:
        return unindexed(element) if isinstance(element, ColumnElement) and element.compare(_DIED_AT) else None

    return replacement_traverse(which, {}, replaced)


_DIED_AT: Final[ColumnElement[Any]] = DeadLetter.__table__.c.failed_at


class unindexed(FunctionElement[Any]):  # noqa: N801 - named like the SQL function that it is
    """A column by which SQLite chooses no index: https://sqlite.org/optoverview.html#uplus."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(unindexed)
def _unindexed_of_standard(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(unindexed, "sqlite")
def _unindexed_of_sqlite(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


class _epoch(FunctionElement[int]):  # noqa: N801 - named like the SQL function that it is
    """The seconds from 1970 to a time, as each database computes them."""

    type = Integer()
    inherit_cache = True


@compiles(_epoch)
def _epoch_of_standard(element: _epoch, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST(FLOOR(EXTRACT(EPOCH FROM {compiler.process(element.clauses, **options)})) AS INTEGER)"


@compiles(_epoch, "sqlite")
def _epoch_of_sqlite(element: _epoch, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST(strftime('%s', {compiler.process(element.clauses, **options)}) AS INTEGER)"


@compiles(_epoch, "mysql", "mariadb")
def _epoch_of_mysql(element: _epoch, compiler: SQLCompiler, **options: Any) -> str:
    return f"TIMESTAMPDIFF(SECOND, '1970-01-01', {compiler.process(element.clauses, **options)})"
