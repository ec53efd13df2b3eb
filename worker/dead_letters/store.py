"""Inserting dead letters, and recording the outcome of a replay: both idempotent, and in groups."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import Engine, insert

from worker.concurrency.batcher import Batcher
from worker.database.engine import connect
from worker.database.errors import DeadLetterStoreUnavailable, translated
from worker.database.models import DeadLetter, State
from worker.dead_letters.cause_sightings import RecentSightings
from worker.dead_letters.columns import new_row
from worker.dead_letters.group_commit import Disowning, Insertion, MadeOutcome, ReplayOutcome, Write, commit

if TYPE_CHECKING:
    from worker.policy.dead_letter import DeadLetterRecord

__all__ = ["DeadLetterStore"]

_GROUP_LIMIT: Final = 200
"""Writes in one transaction: beyond that its commit is a small part of what each costs."""

_PENDING_LIMIT: Final = 1000
"""Writes that may wait: beyond that the database is too slow for what comes, and events wait in Redis."""

_GATHER: Final = 0.25
"""Seconds for which writes of a scheduler's tasks are gathered. A commit costs 1 ms of CPU and a wait for the disk, and
a row in it 0.1 ms: one commit for each would be a third of all CPU where one event in ten dies."""

_TIMEOUT: Final = 15.0
"""Seconds that a delivery waits for its write: longer than a lock is waited for, whose own error says more."""


class DeadLetterStore:
    """The dead-letter table, as a worker writes it. Safe to share between threads; not across a fork.

    Writes of many threads and tasks are committed together (`worker.dead_letters.group_commit`). A write returns once
    it is committed. Under a scheduler a task that waits for it leaves the limit on deliveries.

    Args:
        engine: The database. `close` disposes of it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine: Final = engine
        self._batcher: Batcher[Write, bool] = Batcher(
            partial(commit, engine, recent=RecentSightings()),
            name="dead letters",
            limit=_GROUP_LIMIT,
            pending_limit=_PENDING_LIMIT,
            timeout=_TIMEOUT,
            gather=_GATHER,
        )

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
        """Commit what waits, and close every connection."""
        self._batcher.close()
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
        return self._write(Insertion(record))

    def rehearse(self, record: DeadLetterRecord) -> None:
        """Write a new row and roll it back in the same transaction: it is never visible, and nothing is kept.

        Raises:
            DeadLetterStoreUnavailable: The database did not do it, and would not insert either.
        """
        with translated(), self.engine.connect() as connection:
            connection.execute(insert(DeadLetter), [new_row(record)])
            connection.rollback()

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
        self._write(
            ReplayOutcome(
                dead_letter_id=dead_letter_id, request_id=request_id, replay=replay, state=state, comment=comment
            )
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
        return self._write(MadeOutcome(dedup_key=dedup_key, message_id=message_id, state=state, comment=comment))

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
        self._write(Disowning(dedup_key=dedup_key, message_id=message_id, comment=comment))

    def _write(self, write: Write) -> bool:
        """Commit a write together with those of other deliveries, and return its result."""
        try:
            return self._batcher.call(write)
        except TimeoutError as error:
            raise DeadLetterStoreUnavailable(f"the dead-letter database is too slow: {error}") from None
