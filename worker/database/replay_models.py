"""The tables of replay plans, and writing down what became of each of their rows.

Plans and what advances them are in `worker.dead_letters.replays`. The tables are here because the end of a replayed
message writes the outcome into them, in one transaction with the dead letter itself.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, Double, Index, Integer, String, Text, select, update
from sqlalchemy.orm import Mapped, mapped_column

from producer.event import MAX_NAME_LENGTH
from worker.database.models import MAX_ACTOR_LENGTH, UTF8MB4, Base, State, UtcDateTime, enum_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

__all__ = ["ACTIVE", "OPEN", "Replay", "ReplayRow", "ReplayState", "RowState", "book_outcomes"]


class ReplayState(StrEnum):
    """How far a plan is."""

    PLANNED = "planned"
    """Its rows are chosen, and none has gone."""
    CANARY = "canary"
    """The first few go; the rest waits for what becomes of them."""
    RUNNING = "running"
    """Its rows go, and their outcomes come."""
    PAUSED = "paused"
    """An operator said to wait: no more rows go, and the outcomes of those that went still come."""
    FINISHED = "finished"
    """Every row has its outcome."""
    CANCELLED = "cancelled"
    """An operator ended it: no more rows go."""
    STOPPED = "stopped"
    """A canary died again: no more rows go."""


ACTIVE: Final = (ReplayState.PLANNED, ReplayState.CANARY, ReplayState.RUNNING, ReplayState.PAUSED)
"""The states of a plan that has not ended."""


class RowState(StrEnum):
    """What has become of a row of a plan."""

    WAITING = "waiting"
    """Its turn has not come; if the plan has ended, it was not sent."""
    SENDING = "sending"
    """It is being enqueued; if that was cut short, only Redis can tell whether it has it."""
    ENQUEUED = "enqueued"
    """Redis has it, and its outcome has not come."""
    DELIVERED = "delivered"
    """AquilaX has it."""
    DEAD = "dead"
    """It died again."""
    DISCARDED = "discarded"
    """A later vote on the same answer overtook it."""
    REFUSED = "refused"
    """It makes no event: the dead letter was edited by hand."""
    SKIPPED = "skipped"
    """When its turn came there was nothing to send: it was discarded, delivered or deleted meanwhile."""
    LOST = "lost"
    """Redis has lost it, as `aquilax-feedback reconcile` found out; the dead letter is dead again."""


OPEN: Final = (RowState.WAITING, RowState.SENDING, RowState.ENQUEUED)
"""The states of a row whose outcome is still to come, while its plan is active."""

_LAST_WORDS: Final = (RowState.DELIVERED, RowState.DEAD, RowState.DISCARDED)
"""The outcomes of a message, which no other takes back. An outcome may come before the enqueue is confirmed, and late
after a row was taken for lost."""


class Replay(Base):
    """One plan: which rows, how fast, how far, by which operator, with which comment."""

    __tablename__ = "replays"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    """Its name in Redis and in messages. Unlike the id it means no other plan in a database that was restored."""
    state: Mapped[ReplayState] = mapped_column(enum_column(ReplayState))

    selection: Mapped[str] = mapped_column(Text)
    """The filters by which its rows were chosen, as JSON: for people. The rows themselves are in `ReplayRow`."""
    rate: Mapped[float | None] = mapped_column(Double)
    """Rows a second at most."""
    canary: Mapped[int]
    """How many rows go first; 0 if all go at once."""
    canary_until: Mapped[int]
    """The position behind the last canary. More become canaries if nothing came of the first ones."""
    set_org: Mapped[str | None] = mapped_column(String(MAX_NAME_LENGTH))
    """The org that its events get; None if they keep theirs."""
    set_group: Mapped[str | None] = mapped_column(String(MAX_NAME_LENGTH))
    """The group, likewise."""
    total: Mapped[int]
    """How many rows it has."""
    elsewhere: Mapped[int]
    """How many more fitted and were left out, because another plan that has not ended has them."""
    invalid: Mapped[int]
    """How many more fitted and were left out, because they hold no event."""

    actor: Mapped[str] = mapped_column(String(MAX_ACTOR_LENGTH))
    comment: Mapped[str] = mapped_column(Text)
    stopped_because: Mapped[str] = mapped_column(Text)

    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    begins_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Until when it waits before its first row goes; None if it begins at once."""
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    canary_passed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    moved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its last chunk went."""
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When what an ended plan left behind was cleared up."""

    step_number: Mapped[int]
    """The number of the next step. A message for another step is an old one, and does nothing."""
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the next step is due; None if no process has taken the plan up."""
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """The end of the lease on the step."""

    __table_args__ = (
        Index("ix_replays_closed_at", "closed_at", "state"),
        {"sqlite_autoincrement": True, **UTF8MB4},
    )


class ReplayRow(Base):
    """One dead letter of a plan."""

    __tablename__ = "replay_rows"

    replay_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    dead_letter_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    position: Mapped[int]
    """Its place in the order in which rows go, from 0."""
    state: Mapped[RowState] = mapped_column(enum_column(RowState))
    was: Mapped[State] = mapped_column(enum_column(State))
    """The state of the dead letter when it was chosen."""
    fingerprint: Mapped[str] = mapped_column(String(12))
    """What it had died of when it was chosen."""
    comment: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ix_replay_rows_state", "replay_id", "state", "position"),
        Index("ix_replay_rows_dead_letter_id", "dead_letter_id"),
        UTF8MB4,
    )


def book_outcomes(
    connection: Connection, *, name: str, dead_letter_ids: Sequence[int], state: RowState, comment: str, at: datetime
) -> None:
    """Write one outcome of messages into their plan's rows. Nothing happens where there is no such plan or row.

    Args:
        connection: A transaction: the dead letter is written in the same.
        name: The plan's name in messages.
        dead_letter_ids: The rows.
        state: The outcome.
        comment: The cause.
        at: Now.
    """
    plan = select(Replay.id).where(Replay.name == name).scalar_subquery()
    row = (ReplayRow.replay_id == plan, ReplayRow.dead_letter_id.in_(dead_letter_ids))
    values = {"state": state, "comment": comment, "changed_at": at}
    connection.execute(update(ReplayRow).where(*row, ReplayRow.state.not_in(_LAST_WORDS)).values(values))
