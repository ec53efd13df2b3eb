"""A group of rows that a relay has claimed: read, made into messages, and deleted or set aside."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import LargeBinary, bindparam, cast, delete, select, text, update

from producer.errors import InvalidEvent
from producer.event import FeedbackEvent
from producer.message import TRACE_HEADERS, to_messages
from producer.outbox._table import TABLE, OutboxRow
from producer.trace_context import valid_trace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import Connection, Row, Select

__all__ = ["GROUP", "ClaimedGroup"]

GROUP: Final = 500
"""Rows of a group: one transaction, and one round trip to Redis."""

_TABLE: Final = OutboxRow.__table__
_NAMES: Final[tuple[str, ...]] = (*FeedbackEvent.__slots__, *TRACE_HEADERS)
_COLUMNS: Final = [_TABLE.c[name] for name in _NAMES]


def _oldest(*columns: Any) -> Select[Any]:
    return select(_TABLE.c.id, *columns).where(_TABLE.c.problem.is_(None)).order_by(_TABLE.c.id).limit(GROUP)


# No row is passed over for good: what another relay has locked, or a longer transaction commits late under a lower id,
# is looked for again each time.
_LOCKED: Final = _oldest(*_COLUMNS).with_for_update(skip_locked=True)

_PLAIN: Final = _oldest(*(cast(column, LargeBinary) for column in _COLUMNS))
"""In SQLite any column may hold anything, text that is no UTF-8 too, which Python's driver can't read as text."""

_DELETE: Final = delete(_TABLE).where(_TABLE.c.id.in_(bindparam("ids", expanding=True)))

_DELETE_BY_KEY: Final = text(
    "DELETE claimed FROM JSON_TABLE(:ids, '$[*]' COLUMNS (id BIGINT PATH '$')) AS these "
    f"STRAIGHT_JOIN {TABLE} AS claimed ON claimed.id = these.id"
)
"""MySQL and MariaDB read more of the table for a long IN than its rows, and wait for those that other relays have
locked, which wait for this one's. So each row is looked up by its key."""

_SET_ASIDE: Final = update(_TABLE).where(_TABLE.c.id == bindparam("row")).values(problem=bindparam("why"))


@dataclass(frozen=True, kw_only=True)
class ClaimedGroup:
    """Up to 500 rows, the oldest first.

    Attributes:
        ids: Of the rows that are events.
        events: These events.
        traces: The headers of the span that each was written in.
        problems: Why the other rows are none, by their ids.
    """

    ids: list[int] = field(default_factory=list)
    events: list[FeedbackEvent] = field(default_factory=list)
    traces: list[dict[str, str]] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)

    @classmethod
    def claim(cls, connection: Connection) -> Self:
        """Read a group. Its rows are locked until the transaction ends, except in SQLite, which locks no rows."""
        group = cls()
        for row in connection.execute(_PLAIN if connection.dialect.name == "sqlite" else _LOCKED).all():
            group._read(row)
        return group

    def __len__(self) -> int:
        return len(self.ids) + len(self.problems)

    def messages(self, queue: str) -> Iterator[bytes]:
        """Yield the messages of the events."""
        at = 0
        for trace, alike in groupby(self.traces):
            until = at + sum(1 for _ in alike)
            yield from to_messages(self.events[at:until], queue=queue, trace=trace)
            at = until

    def leave(self, positions: Collection[int]) -> None:
        """Leave the events at these positions where they are: `remove` passes over their rows."""
        for number in sorted(positions, reverse=True):
            del self.ids[number], self.events[number], self.traces[number]

    def remove(self, connection: Connection) -> None:
        """Delete the rows of the events, and set the others aside."""
        if self.ids:
            if connection.dialect.name in {"mysql", "mariadb"}:
                connection.execute(_DELETE_BY_KEY, {"ids": json.dumps(self.ids)})
            else:
                connection.execute(_DELETE, {"ids": self.ids})
        if self.problems:
            connection.execute(_SET_ASIDE, [{"row": row, "why": why} for row, why in self.problems.items()])

    def _read(self, row: Row[Any]) -> None:
        number: int = row[0]
        columns: tuple[Any, ...] = row[1:]
        texts = {name: _text(value) for name, value in zip(_NAMES, columns, strict=True) if value is not None}
        trace = valid_trace(*(texts.pop(name, "") for name in TRACE_HEADERS))
        try:
            self.events.append(FeedbackEvent.from_wire(texts))
        except InvalidEvent as error:
            self.problems[number] = str(error)
        else:
            self.ids.append(number)
            self.traces.append(trace)


def _text(value: str | bytes) -> str:
    """The text of a column; what is no UTF-8 in it becomes what no event takes."""
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
