"""Inserting dead letters, and recording the outcome of a replay. Both are idempotent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import ColumnElement, Connection, Engine, Update, and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from worker.database.engine import connect
from worker.database.errors import translated
from worker.database.models import DeadLetter, State
from worker.database.replay_models import RowState, book_outcome
from worker.policy.dead_letter import MAX_RAW_BYTES, DeadLetterRecord, clean, stored_message_id
from worker.policy.fingerprint import fingerprint_of

if TYPE_CHECKING:
    from producer.event import FeedbackEvent

__all__ = ["DeadLetterStore"]

_TRIES: Final = 3
"""Attempts: insert and update both miss only if the row is deleted in between; not three times in a row."""


class DeadLetterStore:
    """The dead-letter table, as a worker writes it. Safe to share between threads; not across a fork.

    Args:
        engine: The database. `close` disposes of it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine: Final = engine

    @classmethod
    def connect(cls, url: str, *, pool_size: int = 5) -> Self:
        """Return a store for a database URL; it connects when it is first used.

        Args:
            url: Any SQLAlchemy URL of SQLite, PostgreSQL, MySQL or MariaDB; the driver may be left out.
            pool_size: Connections kept open.

        Raises:
            DatabaseUnusable: The URL can't be read, or its driver is not installed.
        """
        return cls(connect(url, pool_size=pool_size))

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def add(self, record: DeadLetterRecord) -> bool:
        """Write an event down that can't be delivered, and return whether this message made a new row.

        A message that comes again, because its worker died between the insertion and its acknowledgement, finds the row
        that it made, and is told so again: its row is counted then, and once.

        Once it returns, the row is on the disk and the message may be acknowledged. Inserting the same event again
        gives the same row:

        * A row that is dead or replaying is dead, of the cause it died of now. Its first enqueue and its count of
          replays stay. That holds too if an old copy of the message dies while the row is being replayed: the
          replay's own end still reaches the row, and until then dead is the state that stays visible.
        * A row that is delivered stays so: AquilaX has this very vote, and a late copy's death does not unsay it.
        * A row that is discarded stays so for every copy of the message from before. An event that was enqueued again
          after it had been discarded is dead again: it is wanted after all.

        Raises:
            DeadLetterStoreUnavailable: The database did not do it; keep the event and try again later.
        """
        with translated():
            made = self._update_replayed(record)
            return self._upsert(record) if made is None else made

    def rehearse(self, record: DeadLetterRecord) -> None:
        """Write a new row and roll it back in the same transaction: it is never visible, and nothing is kept.

        Raises:
            DeadLetterStoreUnavailable: The database did not do it, and would not insert either.
        """
        with translated(), self.engine.connect() as connection:
            connection.execute(insert(DeadLetter).values(_new_row(record)))
            connection.rollback()

    def _update_replayed(self, record: DeadLetterRecord) -> bool | None:
        if record.dead_letter is None or record.event is None:
            return None
        return self._update_row(_is_replayed(record.dead_letter, record.event.request_id), record)

    def _upsert(self, record: DeadLetterRecord) -> bool:
        """Insert first: nearly every event is dead-lettered once, and costs one statement in every dialect."""
        same_event = DeadLetter.dedup_key == record.dedup_key
        for _ in range(_TRIES - 1):
            try:
                return self._insert(record)
            except IntegrityError:
                if (made := self._update_row(same_event, record)) is not None:
                    return made
        return self._insert(record)

    def _insert(self, record: DeadLetterRecord) -> bool:
        with self.engine.begin() as connection:
            connection.execute(insert(DeadLetter).values(_new_row(record)))
            _book_death(connection, record)
        return True

    def _update_row(self, which: ColumnElement[bool], record: DeadLetterRecord) -> bool | None:
        """Update a row that is there already, and return whether this message made it; None if there is no row."""
        with self.engine.begin() as connection:
            connection.execute(update(DeadLetter).where(which, _may_die_again(record)).values(_death(record)))
            row = connection.execute(select(DeadLetter.message_id).where(which)).first()
            if row is not None:
                _book_death(connection, record)
        this = stored_message_id(record.message_id)
        return None if row is None else this is not None and row.message_id == this

    def resolve_replay(
        self, dead_letter_id: int, *, request_id: str, state: State, replay: str | None = None, comment: str = ""
    ) -> None:
        """Write the outcome of a replay into its row, and into that of its plan. Nothing happens if the row is gone.

        Delivered is final, also on a row that was discarded meanwhile: it is what AquilaX knows. Discarded
        is not said over a row that has an outcome already.

        Args:
            dead_letter_id: The row, as the message's envelope carries it.
            request_id: The event's. A row of another one is left alone: in a database that was restored, or changed
                for another while the event was in the queue, the id may have been given again.
            replay: The plan's name, as the envelope carries it.
            state: `State.DELIVERED`, or `State.DISCARDED` where a later vote overtook it.
            comment: The cause.

        Raises:
            DeadLetterStoreUnavailable: The database did not do it; try again later.
        """
        now, text = datetime.now(UTC), clean(comment)
        row = _is_replayed(dead_letter_id, request_id)
        outcome = RowState.DELIVERED if state is State.DELIVERED else RowState.DISCARDED
        with translated(), self.engine.begin() as connection:
            connection.execute(_settled(row, state, comment=text, at=now))
            if replay is not None:
                book_outcome(
                    connection, name=replay, dead_letter_id=dead_letter_id, state=outcome, comment=text, at=now
                )

    def settle_made(self, dedup_key: str, *, message_id: str, state: State, comment: str = "") -> bool:
        """Write into the row that a message made what became of the message; return whether there is such a row.

        The message's worker was lost after the row was committed and before the message ended. It came again, and
        AquilaX's response was another one.

        Args:
            dedup_key: The event's key.
            message_id: The message. A row that another message of the same event made is left alone.
            state: See `resolve_replay`.
            comment: The cause.

        Raises:
            DeadLetterStoreUnavailable: The database did not do it; try again later.
        """
        row = _is_made_by(dedup_key, message_id)
        with translated(), self.engine.begin() as connection:
            if connection.scalar(select(DeadLetter.id).where(row)) is None:
                return False
            connection.execute(_settled(row, state, comment=clean(comment), at=datetime.now(UTC)))
            return True

    def disown(self, dedup_key: str, *, message_id: str, comment: str) -> None:
        """Mark a dead row as delivered and as not counted; nothing happens if it is not dead any more.

        A worker whose lease had ended made it, for a message that another worker had delivered already.

        Args:
            dedup_key: See `settle_made`.
            message_id: See `settle_made`.
            comment: The cause.

        Raises:
            DeadLetterStoreUnavailable: The database did not do it; try again later.
        """
        row = and_(_is_made_by(dedup_key, message_id), DeadLetter.state == State.DEAD)
        now, text = datetime.now(UTC), clean(comment)
        with translated(), self.engine.begin() as connection:
            connection.execute(_settled(row, State.DELIVERED, comment=text, at=now).values(message_id=None))


def _settled(row: ColumnElement[bool], state: State, *, comment: str, at: datetime) -> Update:
    if state not in {State.DELIVERED, State.DISCARDED}:
        raise ValueError(f"a message ends delivered or discarded, not {state.value}; a dead letter is added")
    open_states = [State.DEAD, State.REPLAYING]
    if state is State.DELIVERED:
        open_states.append(State.DISCARDED)
    values = {"state": state, "comment": comment, "resolved_at": at}
    return update(DeadLetter).where(row, DeadLetter.state.in_(open_states)).values(values)


def _is_made_by(dedup_key: str, message_id: str) -> ColumnElement[bool]:
    return and_(DeadLetter.dedup_key == dedup_key, DeadLetter.message_id == stored_message_id(message_id))


def _book_death(connection: Connection, record: DeadLetterRecord) -> None:
    """Say in the plan that one of its rows died again, in the transaction that inserts it."""
    if record.replay is not None and record.dead_letter is not None:
        row, died = record.dead_letter, record.failed_at
        book_outcome(connection, name=record.replay, dead_letter_id=row, state=RowState.DEAD, comment="", at=died)


def _is_replayed(dead_letter_id: int, request_id: str) -> ColumnElement[bool]:
    return and_(DeadLetter.id == dead_letter_id, DeadLetter.request_id == request_id)


def _may_die_again(record: DeadLetterRecord) -> ColumnElement[bool]:
    enqueued_again = and_(DeadLetter.state == State.DISCARDED, DeadLetter.resolved_at < record.first_enqueued_at)
    return or_(DeadLetter.state.in_([State.DEAD, State.REPLAYING]), enqueued_again)


def _new_row(record: DeadLetterRecord) -> dict[str, Any]:
    return _identity(record) | _death(record) | {"replay_count": 0}


def _identity(record: DeadLetterRecord) -> dict[str, Any]:
    """The columns that are written once."""
    raw = record.raw
    return {
        "dedup_key": record.dedup_key,
        "message_id": stored_message_id(record.message_id),
        **_fields(record.event),
        "first_enqueued_at": record.first_enqueued_at,
        "raw": None if raw is None else raw[:MAX_RAW_BYTES],
    }


def _fields(event: FeedbackEvent | None) -> dict[str, Any]:
    if event is None:
        return {}
    return {
        "request_id": event.request_id,
        "status": event.status,
        "org": event.org,
        "group": event.group,
        "occurred_at": event.occurred_at,
    }


def _death(record: DeadLetterRecord) -> dict[str, Any]:
    """The columns that each failure overwrites."""
    response_body = clean(record.response_body)
    cause = fingerprint_of(record.reason, record.http_status, response_body)
    return {
        "reason": record.reason,
        "http_status": record.http_status,
        "response_body": response_body,
        "fingerprint": cause.fingerprint,
        "summary": cause.summary,
        "attempts": record.attempts,
        "failed_at": record.failed_at,
        "state": State.DEAD,
        "comment": _note(record),
        "resolved_at": None,
    }


def _note(record: DeadLetterRecord) -> str:
    if record.raw is not None and len(record.raw) > MAX_RAW_BYTES:
        return f"the first {MAX_RAW_BYTES} of the message's {len(record.raw)} bytes"
    return ""
