"""Ids that were asked for and are not eligible, and why: silence would look like success."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from worker.database.errors import translated
from worker.database.models import DeadLetter, State
from worker.dead_letters.selection import replayable

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.dead_letters.selection import Selection

__all__ = ["passed_over"]

_FIX: Final = {
    State.DEAD: "add --state dead",
    State.REPLAYING: "its outcome has not come yet; add --state replaying if Redis has lost its queue",
    State.DELIVERED: "AquilaX has it",
    State.DISCARDED: "add --state discarded",
}


def passed_over(engine: Engine, selection: Selection) -> list[str]:
    """Say of each id of a selection that is not `replayable` why it is not, in the order given.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    if not selection.ids:
        return []
    with translated(), engine.connect() as connection:
        taken = set(connection.scalars(select(DeadLetter.id).where(replayable(selection))))
        known = select(DeadLetter.id, DeadLetter.state).where(DeadLetter.id.in_(selection.ids))
        states = {row.id: row.state for row in connection.execute(known)}
    chosen = selection.states or (State.DEAD,)
    return [_why(row_id, states.get(row_id), chosen) for row_id in dict.fromkeys(selection.ids) if row_id not in taken]


def _why(row_id: int, state: State | None, chosen: tuple[State, ...]) -> str:
    if state is None:
        return f"there is no dead letter {row_id}"
    if state is State.DELIVERED or state not in chosen:
        return f"{row_id} is {state.value}: {_FIX[state]}"
    return f"{row_id} does not fit the other filters"
