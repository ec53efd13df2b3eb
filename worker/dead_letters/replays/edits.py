"""Another org or group for the events of a replay, which died because theirs were wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, case, select, update

from producer.event import FeedbackEvent
from worker.database.models import DeadLetter
from worker.database.replay_models import Replay, ReplayRow, RowState

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute

__all__ = ["Edit"]

_ANY: Final = {"request_id": "00000000-0000-0000-0000-000000000000", "status": True, "org": "any", "group": "any"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What a replay changes in its events. The request_id and the vote are the person's, and stay.

    Attributes:
        org: The organization's id; None leaves that of each event.
        group: The group's id; likewise.

    Raises:
        InvalidEvent: No event can have it.
    """

    org: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        FeedbackEvent.from_wire(_ANY | self.fields)

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an event that are changed, and what they become."""
        return {name: value for name, value in (("org", self.org), ("group", self.group)) if value is not None}

    def to_record(self) -> dict[str, Any]:
        """Return it as the audit log has it."""
        return {f"set_{name}": value for name, value in self.fields.items()}

    def changes(self) -> list[ColumnElement[int]]:
        """Return a column for each field that is changed, by its name in `to_record`: 1 where it is another now."""
        return [
            case((_differs(_COLUMNS[name][0], value), 1), else_=0).label(f"set_{name}")
            for name, value in self.fields.items()
        ]

    def write(self, connection: Connection, ids: Collection[int]) -> None:
        """Write it into dead letters, which keep what they died with beside it, however often they are edited."""
        for name, value in self.fields.items():
            column, original = _COLUMNS[name]
            others = (DeadLetter.id.in_(ids), _differs(column, value))
            connection.execute(update(DeadLetter).where(*others, original.is_(None)).values({original: column}))
            connection.execute(update(DeadLetter).where(*others).values({column: value}))

    def take_back(
        self, connection: Connection, replay_id: int, ids: Collection[int], *where: ColumnElement[bool]
    ) -> None:
        """Let dead letters that never went be as they were.

        One that another replay has sent with an edit of the same field stays as it is: it may have died with that.
        """
        for name, value in self.fields.items():
            column, original = _COLUMNS[name]
            once = set(ids) - _edited_by_others(connection, replay_id, ids, getattr(Replay, f"set_{name}"))
            these = (DeadLetter.id.in_(once), *where)
            edited = (*these, ~_differs(column, value), original.is_not(None))
            connection.execute(update(DeadLetter).where(*edited).values({column: original}))
            same = column.concat("|") == original.concat("|")
            connection.execute(update(DeadLetter).where(*these, same).values({original: None}))


def _edited_by_others(
    connection: Connection, replay_id: int, ids: Collection[int], field: ColumnElement[str | None]
) -> set[int]:
    others = (
        ReplayRow.dead_letter_id.in_(ids),
        ReplayRow.replay_id != replay_id,
        ReplayRow.state.not_in(_NEVER_EDITED),
    )
    query = select(ReplayRow.dead_letter_id).join(Replay, Replay.id == ReplayRow.replay_id)
    return set(connection.scalars(query.where(*others, field.is_not(None))))


def _differs(column: InstrumentedAttribute[str | None], value: str) -> ColumnElement[bool]:
    """Also by blanks at its end, which MariaDB does not compare."""
    return column.concat("|") != f"{value}|"


_NEVER_EDITED: Final = (RowState.WAITING, RowState.SKIPPED, RowState.REFUSED)
"""Rows of a replay that never went."""

_COLUMNS: Final = {
    "org": (DeadLetter.org, DeadLetter.original_org),
    "group": (DeadLetter.group, DeadLetter.original_group),
}
