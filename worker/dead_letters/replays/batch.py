"""The rows of one step, in the database: marked before they go, confirmed after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, select, update

from producer.errors import InvalidEvent
from producer.event import FeedbackEvent
from worker.database.models import DeadLetter, State
from worker.database.replay_models import ReplayRow, RowState
from worker.dead_letters.replays.policy import TO_GO

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row

    from worker.dead_letters.replays.edits import Edit

__all__ = ["Batch", "LeftOut", "confirm", "cut_short", "event_of", "mark", "take_back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The rows of one step.

    Attributes:
        events: Those that go, and their events.
        unsure: Those of a plan that has ended whose enqueue was cut short.
    """

    events: Mapping[int, FeedbackEvent] = field(default_factory=dict)
    unsure: Collection[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A row that does not go, and why."""

    state: RowState
    comment: str


def event_of(letter: Row[Any] | None, *, was: State, name: str, edit: Edit) -> FeedbackEvent | LeftOut:
    """Return the event of a dead letter as it is when its turn comes, or why it has none to send.

    Args:
        letter: The dead letter; None if it is gone.
        was: Its state when it was chosen.
        name: The plan, by its name.
        edit: What the plan changes in it.
    """
    if letter is None:
        return LeftOut(state=RowState.SKIPPED, comment="the dead letter is gone")
    if letter.state is State.DELIVERED:
        return LeftOut(state=RowState.SKIPPED, comment="delivered meanwhile")
    if letter.state is State.DISCARDED and was is not State.DISCARDED:
        return LeftOut(state=RowState.SKIPPED, comment="discarded meanwhile")
    if letter.state is State.REPLAYING and was is not State.REPLAYING and letter.replay_name != name:
        return LeftOut(state=RowState.SKIPPED, comment="part of another replay")
    fields = {name: getattr(letter, name) for name in ("request_id", "status", "org", "group", "occurred_at")}
    try:
        return FeedbackEvent.from_wire(fields | edit.fields)
    except InvalidEvent as error:  # it may have been edited by hand
        return LeftOut(state=RowState.REFUSED, comment=str(error))


def mark(
    connection: Connection, replay_id: int, name: str, *, edit: Edit, below: int, size: int, at: datetime
) -> Batch:
    """Take the next rows, mark those that go, and write down why the others don't.

    Args:
        connection: The transaction that has the plan's lease.
        replay_id: The plan.
        name: Its name.
        edit: What it changes in its events.
        below: The position behind the last row that may go now.
        size: How many rows at most.
        at: Now.
    """
    rows: list[Row[Any]] = []
    for state in TO_GO:  # two queries: each reads an index in its order
        own = (ReplayRow.replay_id == replay_id, ReplayRow.state == state, ReplayRow.position < below)
        columns = (ReplayRow.dead_letter_id, ReplayRow.state, ReplayRow.was)
        query = select(*columns).where(*own).order_by(ReplayRow.position).limit(size - len(rows))
        rows += connection.execute(query)
    letters = _letters(connection, [row.dead_letter_id for row in rows])
    events: dict[int, FeedbackEvent] = {}
    left_out: dict[LeftOut, list[int]] = {}
    for row in rows:
        found = event_of(letters.get(row.dead_letter_id), was=row.was, name=name, edit=edit)
        if isinstance(found, LeftOut):
            left_out.setdefault(found, []).append(row.dead_letter_id)
        else:
            events[row.dead_letter_id] = found
    if events:
        edit.write(connection, events.keys())
    first = [row.dead_letter_id for row in rows if row.dead_letter_id in events and row.state is RowState.WAITING]
    marked = {"state": State.REPLAYING, "last_replay_at": at, "replay_name": name, "replay_enqueued_at": None}
    _change_letters(connection, first, marked | {"replay_count": DeadLetter.replay_count + 1})
    _change_letters(connection, events.keys() - first, marked)  # taking up what was cut short is no second replay
    _change_rows(connection, replay_id, first, {"state": RowState.SENDING, "changed_at": at})
    for left, ids in left_out.items():
        _change_rows(connection, replay_id, ids, {"state": left.state, "comment": left.comment, "changed_at": at})
    return Batch(events=events)


def _letters(connection: Connection, ids: Collection[int]) -> dict[int, Row[*tuple[Any, ...]]]:
    """The dead letters, locked: an outcome that comes just now waits until they are marked."""
    event = (DeadLetter.request_id, DeadLetter.status, DeadLetter.org, DeadLetter.group.label("group"))
    columns = (DeadLetter.id, DeadLetter.state, DeadLetter.replay_name, *event, DeadLetter.occurred_at)
    query = select(*columns).where(DeadLetter.id.in_(ids)).order_by(DeadLetter.id).with_for_update()
    return {row.id: row for row in connection.execute(query)}


def confirm(connection: Connection, replay_id: int, name: str, ids: Collection[int], *, at: datetime) -> None:
    """Write down that Redis has some rows. One whose outcome has come already is left alone."""
    mine = (DeadLetter.replay_name == name, DeadLetter.state == State.REPLAYING)
    _change_letters(connection, ids, {"replay_enqueued_at": at}, *mine)
    sending = ReplayRow.state == RowState.SENDING
    _change_rows(connection, replay_id, ids, {"state": RowState.ENQUEUED, "changed_at": at}, sending)


def cut_short(connection: Connection, replay_id: int) -> Batch:
    """Return the rows of an ended plan that Redis may or may not have."""
    unsure = (ReplayRow.replay_id == replay_id, ReplayRow.state == RowState.SENDING)
    return Batch(unsure=connection.scalars(select(ReplayRow.dead_letter_id).where(*unsure)).all())


def take_back(connection: Connection, replay_id: int, name: str, ids: Collection[int], *, edit: Edit) -> None:
    """Let rows of an ended plan, which never went, be what they were."""
    sending = ReplayRow.state == RowState.SENDING
    for was in State:
        chosen = (ReplayRow.replay_id == replay_id, ReplayRow.dead_letter_id.in_(ids), ReplayRow.was == was)
        these = connection.scalars(select(ReplayRow.dead_letter_id).where(*chosen, sending)).all()
        mine = (DeadLetter.replay_name == name, DeadLetter.state == State.REPLAYING)
        if these:
            edit.take_back(connection, replay_id, these, *mine)
        before = {"state": was, "replay_count": DeadLetter.replay_count - 1}
        _change_letters(connection, these, before, *mine)
    _change_rows(connection, replay_id, ids, {"state": RowState.WAITING, "comment": _NEVER_WENT}, sending)


_NEVER_WENT: Final = "the replay ended before it went"


def _change_letters(
    connection: Connection, ids: Collection[int], values: dict[str, Any], *where: ColumnElement[bool]
) -> None:
    if ids:
        connection.execute(update(DeadLetter).where(DeadLetter.id.in_(ids), *where).values(values))


def _change_rows(
    connection: Connection, replay_id: int, ids: Collection[int], values: dict[str, Any], *where: ColumnElement[bool]
) -> None:
    if ids:
        own = (ReplayRow.replay_id == replay_id, ReplayRow.dead_letter_id.in_(ids))
        connection.execute(update(ReplayRow).where(*own, *where).values(values))
