"""Group commit: what many deliveries write goes into the database in one transaction.

A commit waits for the disk whatever it holds, so one for each dead letter would limit a worker to a few hundred a
second. Each caller is told when its own write is committed. A write that the database refuses fails alone: the group is
halved until it stands alone, and the others are committed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Update, and_, bindparam, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.database.errors import DeadLetterStoreUnavailable, translated
from worker.database.models import DeadLetter, State
from worker.database.replay_models import RowState, book_outcomes
from worker.dead_letters.cause_sightings import RecentSightings, write_sightings
from worker.dead_letters.columns import death, new_row
from worker.policy.dead_letter import DeadLetterRecord, clean, stored_message_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    Found = Row[int, str, str | None, str | None]

__all__ = ["Disowning", "Insertion", "MadeOutcome", "ReplayOutcome", "Write", "commit"]

_TRIES: Final = 3
"""Attempts for one write: another process inserts its row, or deletes it, in between; not three times in a row."""


@dataclass(frozen=True, slots=True)
class Insertion:
    """See `worker.dead_letters.store.DeadLetterStore.add`."""

    record: DeadLetterRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    state: State
    comment: str

    def __post_init__(self) -> None:
        if self.state not in {State.DELIVERED, State.DISCARDED}:
            raise ValueError(f"a message ends delivered or discarded, not {self.state.value}; a dead letter is added")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOutcome(_Outcome):
    """See `worker.dead_letters.store.DeadLetterStore.resolve_replay`."""

    dead_letter_id: int
    request_id: str
    replay: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeOutcome(_Outcome):
    """See `worker.dead_letters.store.DeadLetterStore.settle_made`."""

    dedup_key: str
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disowning:
    """See `worker.dead_letters.store.DeadLetterStore.disown`."""

    dedup_key: str
    message_id: str
    comment: str


Write = Insertion | ReplayOutcome | MadeOutcome | Disowning


class _Vanished(Exception):
    """A row was deleted after it was found, so the write has to look for it again."""


def commit(engine: Engine, writes: Sequence[Write], *, recent: RecentSightings | None = None) -> list[bool | Exception]:
    """Commit a group of writes, and what they died of.

    Args:
        engine: The database.
        writes: The group.
        recent: Which causes need not be written down again; none if None.

    Returns:
        For each write its result (see the methods of `worker.dead_letters.store.DeadLetterStore`), or its error.
    """
    try:
        with translated():
            recent = recent or RecentSightings()
            return list(_alone(engine, writes, recent) if len(writes) == 1 else _together(engine, writes, recent))
    except Exception as error:  # noqa: BLE001 - each caller gets the error of its own write, whatever it is
        if len(writes) == 1 or _concerns_all(error):
            return [error] * len(writes)
    half = len(writes) // 2
    return commit(engine, writes[:half], recent=recent) + commit(engine, writes[half:], recent=recent)


def _concerns_all(error: Exception) -> bool:
    """Whether the database is unavailable or locked. What is wrong with a row, and a deadlock, is not of all."""
    cause = error.__cause__
    if not isinstance(error, DeadLetterStoreUnavailable) or not isinstance(cause, OperationalError | PoolTimeout):
        return False
    driver: Any = getattr(cause, "orig", None)
    return getattr(driver, "sqlstate", None) != _PG_DEADLOCK and getattr(driver, "args", ())[:1] != (_MYSQL_DEADLOCK,)


_PG_DEADLOCK: Final = "40P01"
_MYSQL_DEADLOCK: Final = 1213


def _alone(engine: Engine, writes: Sequence[Write], recent: RecentSightings) -> list[bool]:
    for _ in range(_TRIES - 1):
        try:
            return _together(engine, writes, recent)
        except (IntegrityError, _Vanished):
            continue
    return _together(engine, writes, recent)


def _together(engine: Engine, writes: Sequence[Write], recent: RecentSightings) -> list[bool]:
    results = [True] * len(writes)
    insertions, outcomes = [], []
    deaths: list[dict[str, Any]] = []
    at = datetime.now(UTC)
    with engine.begin() as connection:
        for number, write in enumerate(writes):
            match write:
                case Insertion(record=record):
                    insertions.append((number, record))
                case ReplayOutcome():
                    outcomes.append(write)
                case MadeOutcome():
                    results[number] = _settle_made(connection, write, at)
                case Disowning():
                    _disown(connection, write, at)
        while insertions:
            insertions = _insert(connection, insertions, results, deaths)
        if outcomes:
            _resolve(connection, outcomes, at)
        write_sightings(connection, sightings := recent.due(deaths))
    recent.note(sightings)
    return results


def _insert(
    connection: Connection,
    insertions: list[tuple[int, DeadLetterRecord]],
    results: list[bool],
    deaths: list[dict[str, Any]],
) -> list[tuple[int, DeadLetterRecord]]:
    """Insert or update rows, and note for each whether its message made it; return repetitions within the group.

    What was written is added to the deaths.
    """
    rows = _Rows(connection, [record for _, record in insertions])
    new: dict[str, dict[str, Any]] = {}
    known: list[dict[str, Any]] = []
    repeated = []
    for number, record in insertions:
        if (row := rows.of(record)) is not None:
            known.append({"found": row.id, "enqueued": record.first_enqueued_at, **death(record)})
            message_id = stored_message_id(record.message_id)
            results[number] = message_id is not None and row.message_id == message_id
        elif record.dedup_key in new:
            repeated.append((number, record))
        else:
            new[record.dedup_key] = new_row(record)
    if new:
        connection.execute(insert(DeadLetter), [new[key] for key in sorted(new)])
    if known:
        _update(connection, known)
    _book_deaths(connection, [record for _, record in insertions])
    deaths += [*new.values(), *known]
    return repeated


class _Rows:
    """The rows that are there already: of the same event, or the ones that were replayed."""

    def __init__(self, connection: Connection, records: list[DeadLetterRecord]) -> None:
        columns = (DeadLetter.id, DeadLetter.dedup_key, DeadLetter.request_id, DeadLetter.message_id)
        keys = [record.dedup_key for record in records]
        found = list(connection.execute(select(*columns).where(DeadLetter.dedup_key.in_(keys))))
        self._by_key: dict[str, Found] = {row.dedup_key: row for row in found}
        self._by_id: dict[tuple[int, str], Found] = {}
        if ids := [record.dead_letter for record in records if record.dead_letter is not None]:
            found = list(connection.execute(select(*columns).where(DeadLetter.id.in_(ids))))
            self._by_id = {(row.id, row.request_id): row for row in found}

    def of(self, record: DeadLetterRecord) -> Found | None:
        if record.dead_letter is not None and record.event is not None:
            row = self._by_id.get((record.dead_letter, record.event.request_id))
            if row is not None:
                return row
        return self._by_key.get(record.dedup_key)


_DIE_AGAIN: Final = update(DeadLetter).where(
    DeadLetter.id == bindparam("found"),
    or_(
        DeadLetter.state.in_([State.DEAD, State.REPLAYING]),
        and_(DeadLetter.state == State.DISCARDED, DeadLetter.resolved_at < bindparam("enqueued")),
    ),
)
"""The columns that it sets are those among its parameters."""


def _update(connection: Connection, known: list[dict[str, Any]]) -> None:
    """Update rows, in the order of their ids: two groups at once must not wait for each other in a ring."""
    known.sort(key=lambda row: row["found"])
    connection.execute(_DIE_AGAIN, known)
    ids = {row["found"] for row in known}
    if len(connection.execute(select(DeadLetter.id).where(DeadLetter.id.in_(ids))).all()) < len(ids):
        raise _Vanished


def _book_deaths(connection: Connection, records: list[DeadLetterRecord]) -> None:
    """Record in the plans which of their rows died again, in the transaction that inserts them."""
    deaths: dict[str, list[DeadLetterRecord]] = defaultdict(list)
    for record in records:
        if record.replay is not None and record.dead_letter is not None:
            deaths[record.replay].append(record)
    for name, died in sorted(deaths.items()):
        ids = [record.dead_letter for record in died if record.dead_letter is not None]
        at = max(record.failed_at for record in died)
        book_outcomes(connection, name=name, dead_letter_ids=ids, state=RowState.DEAD, comment="", at=at)


def _resolve(connection: Connection, outcomes: list[ReplayOutcome], at: datetime) -> None:
    """Write outcomes of replays into their rows, and into those of their plans, one statement for all alike."""
    ids = [outcome.dead_letter_id for outcome in outcomes]
    found = connection.execute(select(DeadLetter.id, DeadLetter.request_id).where(DeadLetter.id.in_(ids)))
    rows = {(row.id, row.request_id) for row in found}
    alike: dict[tuple[State, str], list[int]] = defaultdict(list)
    booked: dict[tuple[str, State, str], list[int]] = defaultdict(list)
    for outcome in outcomes:
        comment = clean(outcome.comment)
        if (outcome.dead_letter_id, outcome.request_id) in rows:
            alike[outcome.state, comment].append(outcome.dead_letter_id)
        if outcome.replay is not None:
            booked[outcome.replay, outcome.state, comment].append(outcome.dead_letter_id)
    for (state, comment), same in sorted(alike.items()):
        connection.execute(_settled(DeadLetter.id.in_(same), state, comment=comment, at=at))
    for (name, state, comment), same in sorted(booked.items()):
        row_state = RowState.DELIVERED if state is State.DELIVERED else RowState.DISCARDED
        book_outcomes(connection, name=name, dead_letter_ids=same, state=row_state, comment=comment, at=at)


def _settle_made(connection: Connection, outcome: MadeOutcome, at: datetime) -> bool:
    row = _is_made_by(outcome.dedup_key, outcome.message_id)
    if connection.scalar(select(DeadLetter.id).where(row)) is None:
        return False
    connection.execute(_settled(row, outcome.state, comment=clean(outcome.comment), at=at))
    return True


def _disown(connection: Connection, disowning: Disowning, at: datetime) -> None:
    row = and_(_is_made_by(disowning.dedup_key, disowning.message_id), DeadLetter.state == State.DEAD)
    settled = _settled(row, State.DELIVERED, comment=clean(disowning.comment), at=at)
    connection.execute(settled.values(message_id=None))


def _is_made_by(dedup_key: str, message_id: str) -> ColumnElement[bool]:
    return and_(DeadLetter.dedup_key == dedup_key, DeadLetter.message_id == stored_message_id(message_id))


def _settled(row: ColumnElement[bool], state: State, *, comment: str, at: datetime) -> Update:
    open_states = [State.DEAD, State.REPLAYING]
    if state is State.DELIVERED:
        open_states.append(State.DISCARDED)
    values = {"state": state, "comment": comment, "resolved_at": at}
    return update(DeadLetter).where(row, DeadLetter.state.in_(open_states)).values(values)
