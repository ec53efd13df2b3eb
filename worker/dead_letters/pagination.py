"""Browsing a million dead letters: a page at a time, in an order, from a place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import ColumnElement, Engine, or_, select
from sqlalchemy.orm import Session, defer

from worker.database.errors import translated
from worker.database.models import DeadLetter
from worker.dead_letters.lookups import by_no_index, covered, unsorted
from worker.dead_letters.queries import count
from worker.policy.parsing import read_whole

if TYPE_CHECKING:
    from sqlalchemy import Select, SQLColumnExpression
    from sqlalchemy.orm import InstrumentedAttribute

__all__ = ["Order", "Page", "Place", "page_of", "total_of"]

_NEAR: Final = 2_000
"""Rows that are looked at in their order, one by one: where many fit, a page of them is among these. Else all that fit
are found and sorted, within one index, sooner than they are met among those that don't."""


class Order(StrEnum):
    """In which order rows are shown. Each goes by a column that is never null, and then by the id."""

    NEWEST = "newest"
    OLDEST = "oldest"
    ATTEMPTS = "attempts"
    REPLAYS = "replays"

    @property
    def column(self) -> InstrumentedAttribute[Any]:
        """The column that it goes by."""
        return _COLUMNS[self]

    @property
    def descending(self) -> bool:
        """Whether the largest comes first."""
        return self is not Order.OLDEST


_COLUMNS: Final[dict[Order, InstrumentedAttribute[Any]]] = {
    Order.NEWEST: DeadLetter.failed_at,
    Order.OLDEST: DeadLetter.failed_at,
    Order.ATTEMPTS: DeadLetter.attempts,
    Order.REPLAYS: DeadLetter.replay_count,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place between two rows, named by the row beside it: it stays where it is, whatever is inserted meanwhile.

    Attributes:
        value: The row's value of the order's column.
        row_id: The row's id.
        backwards: Whether the rows before it are wanted, and not those after it.
    """

    value: datetime | int
    row_id: int
    backwards: bool = False

    @classmethod
    def read(cls, text: str, order: Order) -> Self:
        """Read what `__str__` wrote.

        Raises:
            ValueError: It names no place in this order.
        """
        direction, _, rest = text.partition("_")
        row_id, _, value = rest.partition("_")
        if direction not in {"after", "before"}:
            raise ValueError(f"{text[:40]!r} is no place in a list: begin again at the first page")
        counts = order.column in {DeadLetter.attempts, DeadLetter.replay_count}
        number = read_whole(value) if counts else _moment(value)
        return cls(value=number, row_id=read_whole(row_id), backwards=direction == "before")

    def __str__(self) -> str:
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        return f"{'before' if self.backwards else 'after'}_{self.row_id}_{value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows, and where to go on.

    Attributes:
        rows: The rows, without their raw messages.
        before: The place of the page before; None if this is the first.
        after: The place of the next page; None if this is the last.
    """

    rows: list[DeadLetter]
    before: Place | None
    after: Place | None


def page_of(
    engine: Engine,
    which: ColumnElement[bool],
    *,
    order: Order = Order.NEWEST,
    place: Place | None = None,
    size: int,
    near: int = _NEAR,
) -> Page:
    """Return a page of rows.

    It is found by the values of the row beside it, and not by counting, so that the last page costs what the first
    does.

    Args:
        engine: The database.
        which: The rows wanted.
        order: Their order.
        place: Where to begin; at the beginning if None.
        size: How many rows at most.
        near: Among how many rows, in their order, those are looked for that fit, before all are searched.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    backwards = place is not None and place.backwards
    with translated(), Session(engine) as session:
        # The ids first: to sort whole rows, with their responses, takes several times as long.
        found = _near(session, which, order, place, near=near, size=size + 1)
        if found is None:
            found = list(session.scalars(_sorted(which, order, place).limit(size + 1)))
        rows = {row.id: row for row in session.scalars(_rows(found[:size]))}
    shown = [rows[row_id] for row_id in found[:size] if row_id in rows]
    more = len(found) > size
    if backwards:
        shown.reverse()
    return Page(
        rows=shown,
        before=_beside(shown, order, backwards=True) if (more if backwards else place is not None) else None,
        after=_beside(shown, order, backwards=False) if (more or backwards) else None,
    )


def total_of(engine: Engine, which: ColumnElement[bool], page: Page, *, most: int | None = None) -> int:
    """Return how many rows fit, of which this is a page; ``most`` and what is raised is as `count` has it."""
    if page.before is None and page.after is None:
        return len(page.rows)
    return count(engine, which, most=most)


def _near(
    session: Session, which: ColumnElement[bool], order: Order, place: Place | None, *, near: int, size: int
) -> list[int] | None:
    """Return so many ids of rows that fit, from among the next ones of the order; None if there are not so many.

    Only by time is there an index of the order.
    """
    column = DeadLetter.failed_at
    if order.column is not column:
        return None
    ids = select(DeadLetter.id).where(*_beyond(order, place)).order_by(*_by(column, order, place))
    end = session.scalar(ids.with_only_columns(column).offset(near - 1).limit(1))
    if end is not None:
        ids = ids.where(column >= end if _descends(order, place) else column <= end)
    found = list(session.scalars(ids.where(by_no_index(which)).limit(size)))
    return found if end is None or len(found) == size else None


def _sorted(which: ColumnElement[bool], order: Order, place: Place | None) -> Select[int]:
    column = order.column.expression
    beyond = map(by_no_index, _beyond(order, place))
    ids = select(DeadLetter.id).where(covered(which, "id", column.name), *beyond)
    return ids.order_by(*_by(unsorted(column), order, place))


def _by(column: SQLColumnExpression[Any], order: Order, place: Place | None) -> list[ColumnElement[Any]]:
    return [each.desc() if _descends(order, place) else each.asc() for each in (column, DeadLetter.id)]


def _descends(order: Order, place: Place | None) -> bool:
    return order.descending is not (place is not None and place.backwards)


def _rows(ids: list[int]) -> Select[DeadLetter]:
    return select(DeadLetter).where(DeadLetter.id.in_(ids)).options(defer(DeadLetter.raw, raiseload=True))


def _beyond(order: Order, place: Place | None) -> list[ColumnElement[bool]]:
    """The rows on the far side of a place; in this form every database goes straight to it in an index."""
    if place is None:
        return []
    column, value, row_id = order.column, place.value, place.row_id
    if _descends(order, place):
        return [column <= value, or_(column < value, DeadLetter.id < row_id)]
    return [column >= value, or_(column > value, DeadLetter.id > row_id)]


def _beside(rows: list[DeadLetter], order: Order, *, backwards: bool) -> Place | None:
    if not rows:
        return None
    row = rows[0] if backwards else rows[-1]
    return Place(value=getattr(row, order.column.key), row_id=row.id, backwards=backwards)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return moment.astimezone(UTC)  # here and not in a query: near the year 1 or 9999 it can't be
