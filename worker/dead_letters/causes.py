"""What a million dead letters died of, and when: each cause over time, from one pass over one index.

Every function here that takes an engine raises `DeadLetterStoreUnavailable` if the database is unavailable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import CTE, ColumnElement, Connection, Engine, Select, case, exists, func, literal, select
from sqlalchemy.orm import aliased

from worker.database.errors import translated
from worker.database.models import DeadLetter
from worker.dead_letters.cause_chart import BUCKETS, DAY, SHORTEST_BUCKET, Chart, Ends, Numbers
from worker.dead_letters.lookups import FEW, covered, few_of, unindexed
from worker.dead_letters.statistics import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Row

    from worker.dead_letters.selection import Selection

__all__ = ["BUCKETS", "Causes", "FingerprintCount", "causes_over_time", "every_fingerprint"]

_NAMED: Final = 500
"""Causes that one statement names: SQLite takes 32,766 values, other databases more."""


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
        last_day: How many died within the last 24 hours.
        day_before: How many died in the 24 hours before these.
    """

    fingerprint: str
    summary: str
    rows: int
    first_failed_at: datetime
    last_failed_at: datetime
    org: str | None
    replayable: bool
    counts: tuple[int, ...]
    last_day: int
    day_before: int

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
    bucket: timedelta = timedelta(seconds=SHORTEST_BUCKET)

    @property
    def rows(self) -> int:
        """How many rows died of them all."""
        return sum(cause.rows for cause in self.causes)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many died in each stretch of time, of whatever cause."""
        return tuple(map(sum, zip(*(cause.counts for cause in self.causes), strict=True)))


def causes_over_time(engine: Engine, selection: Selection, *, few: int = FEW, now: datetime | None = None) -> Causes:
    """Return what the rows of a selection died of, and when.

    Few rows are fetched, and counted here. Of many, each cause, and each of its stretches of time, is one range of an
    index: to count the entries between two places there takes a tenth of the time of grouping them.

    Args:
        engine: The database.
        selection: The rows.
        few: How many rows are few.
        now: The end of the last day; this moment if None.
    """
    which, now = selection.clause(), now or datetime.now(UTC)
    with translated(), engine.connect() as connection:
        columns = (DeadLetter.id, DeadLetter.fingerprint, DeadLetter.failed_at, DeadLetter.org)
        if (rows := few_of(connection, which, *columns, most=few)) is not None:
            return _of_few(connection, rows, now)
        if selection.rest_of:
            return _of_a_list(connection, which, now)
        return _by_ranges(connection, which, now, has_one_org=len(selection.orgs) == 1)


def _of_few(connection: Connection, rows: Sequence[Row[Any]], now: datetime) -> Causes:
    """Count rows that are here."""
    if not rows:
        return Causes()
    by_cause: dict[str, list[Row[Any]]] = {}
    for row in sorted(rows, key=lambda row: (row.failed_at, row.id)):
        by_cause.setdefault(row.fingerprint, []).append(row)
    lines = lines_of(connection, [alike[0].id for alike in by_cause.values()])
    ends = [
        Ends(cause, lines.get(cause, cause), first.failed_at, alike[-1].failed_at, first.org, len(orgs) > 1)
        for cause, alike in by_cause.items()
        for first, orgs in ((alike[0], {row.org for row in alike}),)
    ]
    chart, numbers = Chart.over(ends, now), {}
    for cause, alike in by_cause.items():
        counts = Counter(chart.place_of(row.failed_at) for row in alike)
        last, both = (sum(row.failed_at >= now - days * DAY for row in alike) for days in (1, 2))
        numbers[cause] = Numbers(tuple(counts[place] for place in range(BUCKETS)), last, both - last)
    return _causes(chart, ends, numbers)


def _of_a_list(connection: Connection, which: ColumnElement[bool], now: datetime) -> Causes:
    """Count rows that another table lists: in as few passes as there are, since each reads that list again."""
    cause, fits = unindexed(DeadLetter.fingerprint.expression), covered(which)
    first, last = func.min(DeadLetter.failed_at), func.max(DeadLetter.failed_at)
    orgs = (func.min(DeadLetter.org).label("org"), func.max(DeadLetter.org).label("other_org"))
    columns = (first.label("first"), last.label("last"), *orgs, func.count(DeadLetter.org).label("with_org"))
    rows = select(cause.label("cause"), *columns, func.count().label("rows"), func.min(DeadLetter.id).label("one"))
    found = connection.execute(rows.where(fits).group_by(cause)).all()
    lines = lines_of(connection, [row.one for row in found])
    ends = [
        Ends(row.cause, lines.get(row.cause, row.cause), row.first, row.last, row.org, _is_mixed(row)) for row in found
    ]
    if not ends:
        return Causes()
    chart = Chart.over(ends, now)
    sums = (func.sum(case((within, 1), else_=0)) for within in chart.ranges)
    counted = connection.execute(select(cause.label("cause"), *sums).where(fits).group_by(cause))
    return _causes(chart, ends, {name: chart.numbers(rows) for name, *rows in counted})


def _is_mixed(row: Row[Any]) -> bool:
    return row.org != row.other_org or row.with_org not in {0, row.rows}


def _by_ranges(connection: Connection, which: ColumnElement[bool], now: datetime, *, has_one_org: bool) -> Causes:
    mixed = not has_one_org and _has_several_orgs(connection)
    ends = [Ends(*row) for row in connection.execute(_ends(which, may_be_mixed=mixed))]
    if not ends:
        return Causes()
    chart = Chart.over(ends, now)
    counts = _counts(which, chart, [each.fingerprint for each in ends])
    return _causes(chart, ends, {name: chart.numbers(rows) for name, *rows in connection.execute(counts)})


def _causes(chart: Chart, ends: Iterable[Ends], numbers: dict[str, Numbers]) -> Causes:
    # What died since the first statement may be counted by the second: its cause is shown the next time.
    found = ((each, numbers.get(each.fingerprint)) for each in ends)
    causes = (_cause(each, counted) for each, counted in found if counted is not None and any(counted.counts))
    ordered = sorted(causes, key=lambda cause: (-cause.rows, cause.fingerprint))
    return Causes(causes=tuple(ordered), begin=chart.begin, bucket=chart.bucket)


def _cause(ends: Ends, numbers: Numbers) -> FingerprintCount:
    return FingerprintCount(
        fingerprint=ends.fingerprint,
        summary=ends.summary,
        rows=sum(numbers.counts),
        first_failed_at=ends.first_failed_at,
        last_failed_at=ends.last_failed_at,
        replayable=ends.is_mixed or ends.org is not None,
        org=None if ends.is_mixed else ends.org,
        **numbers._asdict(),
    )


def _has_several_orgs(connection: Connection) -> bool:
    """Whether any two rows are of different orgs: three steps into an index. Where none are, no cause is searched."""
    lowest, highest = select(func.min(DeadLetter.org)), select(func.max(DeadLetter.org))
    none = exists(select(DeadLetter.id).where(DeadLetter.org.is_(None)))
    least, most, without = connection.execute(select(lowest.scalar_subquery(), highest.scalar_subquery(), none)).one()
    return bool(least != most or without)


def every_fingerprint() -> CTE:
    """Every fingerprint that any row has, each found by one step into the index behind the one before."""
    each = select(func.min(DeadLetter.fingerprint).label("fingerprint")).cte("fingerprints", recursive=True)
    following = select(func.min(DeadLetter.fingerprint)).where(DeadLetter.fingerprint > each.c.fingerprint)
    return each.union_all(select(following.scalar_subquery()).where(each.c.fingerprint.is_not(None)))


def _ends(which: ColumnElement[bool], *, may_be_mixed: bool) -> Select[*tuple[Any, ...]]:
    """The first row of each cause, when its last row died, and whether its rows are of several orgs."""
    fits = covered(which, "fingerprint", "failed_at", "org")
    each, first = every_fingerprint(), aliased(DeadLetter)
    of_each = (DeadLetter.fingerprint == each.c.fingerprint, fits)
    oldest = select(DeadLetter.id).where(*of_each).order_by(DeadLetter.failed_at).limit(1).scalar_subquery()
    firsts = select(oldest.label("id")).select_from(each).subquery()
    alike = (DeadLetter.fingerprint == first.fingerprint, fits)
    last = select(DeadLetter.failed_at).where(*alike).order_by(DeadLetter.failed_at.desc()).limit(1).scalar_subquery()
    mixed = exists(select(DeadLetter.id).where(*alike, DeadLetter.org.is_distinct_from(first.org)))
    columns = (first.fingerprint, first.summary, first.failed_at, last, first.org)
    is_mixed = mixed if may_be_mixed else literal(value=False)
    return select(*columns, is_mixed.label("mixed")).join_from(firsts, first, first.id == firsts.c.id)


def _counts(which: ColumnElement[bool], chart: Chart, causes: list[str]) -> Select[*tuple[Any, ...]]:
    """How many rows of each of these causes died in each stretch of time; the others have none that fits."""
    each = every_fingerprint()
    some = (each.c.fingerprint.in_(causes),) if len(causes) <= _NAMED else ()
    of_each = (DeadLetter.fingerprint == each.c.fingerprint, covered(which, "fingerprint", "failed_at"))
    rows = select(func.count()).select_from(DeadLetter).where(*of_each)
    counts = (rows.where(within).scalar_subquery() for within in chart.ranges)
    return select(each.c.fingerprint, *counts).where(*some)
