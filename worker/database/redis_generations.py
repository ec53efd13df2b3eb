"""What the database remembers of Redis: each generation of its data with the last totals, and the hold by hand.

Redis carries a generation, a number drawn at random, among its counts. A Redis that was emptied, or lost its volume,
has none or another one; one that came back from an older copy has the same one, and totals that are lower than before.
A queue of several partitions has a row for each: the first one's is named by its generation, and the others' by that
generation with more behind it (`worker.accounting.continuity`).

Every function here that takes an engine raises `DeadLetterStoreUnavailable` if the database is unavailable.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import BigInteger, Boolean, CursorResult, String, Text, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from worker.database.errors import translated
from worker.database.models import MAX_ACTOR_LENGTH, UTF8MB4, Base, UtcDateTime
from worker.policy.dead_letter import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine, Update

__all__ = [
    "HandHold",
    "OperatorHold",
    "Recorded",
    "RedisGeneration",
    "forget_generations",
    "hand_holds",
    "record_hand_hold",
    "record_totals",
    "recorded_generations",
]

_MAX_GENERATION: Final = 32


class RedisGeneration(Base):
    """The data of one Redis, from its first message to its loss, and what it had counted at last."""

    __tablename__ = "redis_generations"

    generation: Mapped[str] = mapped_column(String(_MAX_GENERATION), primary_key=True)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """By Redis' clock."""
    waiting: Mapped[int] = mapped_column(BigInteger)
    totals: Mapped[str] = mapped_column(Text)
    """A JSON object."""

    __table_args__ = (UTF8MB4,)


class OperatorHold(Base):
    """What an operator said last of a hold by hand, in one generation of Redis."""

    __tablename__ = "operator_holds"

    generation: Mapped[str] = mapped_column(String(_MAX_GENERATION), primary_key=True)
    change_number: Mapped[int] = mapped_column(BigInteger)
    """How many times operators have held or resumed by hand: of Redis and the database the higher one knows better."""
    held: Mapped[bool] = mapped_column(Boolean)
    comment: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(String(MAX_ACTOR_LENGTH))
    since: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (UTF8MB4,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A generation as it was last seen.

    Attributes:
        generation: Its number.
        at: When it was seen, by Redis' clock.
        waiting: Messages that were queued, in flight or scheduled then.
        totals: What was counted so far, by name.
    """

    generation: str
    at: datetime
    waiting: int
    totals: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandHold:
    """What an operator said last of a hold by hand; the attributes are those of `OperatorHold`."""

    generation: str
    change_number: int
    held: bool
    comment: str
    actor: str
    since: datetime


def recorded_generations(engine: Engine) -> list[Recorded]:
    """Return the generations that are known, the last one that was seen first."""
    query = select(RedisGeneration).order_by(RedisGeneration.recorded_at.desc(), RedisGeneration.generation)
    with translated(), engine.connect() as connection:
        return [
            Recorded(generation=row.generation, at=row.recorded_at, waiting=row.waiting, totals=json.loads(row.totals))
            for row in connection.execute(query)
        ]


def record_totals(engine: Engine, *seen: Recorded) -> None:
    """Write down what generations have counted; what was seen before stays if it was seen later."""
    rows = [
        {
            "generation": one.generation,
            "recorded_at": one.at,
            "waiting": one.waiting,
            "totals": json.dumps(dict(one.totals), sort_keys=True),
        }
        for one in seen
    ]
    _upsert(engine, RedisGeneration, [(_older_totals(row), row) for row in rows])


def _older_totals(row: Mapping[str, Any]) -> Update:
    this = (RedisGeneration.generation == row["generation"], RedisGeneration.recorded_at <= row["recorded_at"])
    return update(RedisGeneration).where(*this).values(row)


def forget_generations(engine: Engine) -> None:
    """Delete the totals of all generations, so that those of now may be lower."""
    with translated(), engine.begin() as connection:
        connection.execute(delete(RedisGeneration))


def hand_holds(engine: Engine) -> list[HandHold]:
    """Return what operators said last of a hold by hand in each generation, the last change first."""
    query = select(OperatorHold).order_by(OperatorHold.since.desc(), OperatorHold.generation)
    with translated(), engine.connect() as connection:
        return [HandHold(**row._asdict()) for row in connection.execute(query)]


def record_hand_hold(engine: Engine, said: HandHold) -> None:
    """Write down what an operator said of a hold by hand, unless a later change is known."""
    values = asdict(said) | {"comment": clean(said.comment), "actor": clean(said.actor)[:MAX_ACTOR_LENGTH]}
    this = OperatorHold.generation == said.generation
    older = update(OperatorHold).where(this, OperatorHold.change_number <= said.change_number).values(values)
    _upsert(engine, OperatorHold, [(older, values)])


def _upsert(engine: Engine, table: type[Base], rows: Sequence[tuple[Update, dict[str, Any]]]) -> None:
    """Update each row, or insert it; nothing is done if it is there and its update does not apply."""
    with translated():
        with engine.begin() as connection:
            results = [(cast("CursorResult[Any]", connection.execute(older)), values) for older, values in rows]
            new = [values for result, values in results if not result.rowcount]
        for values in new:
            # It is there, and later; or another worker has just inserted it.
            with suppress(IntegrityError), engine.begin() as connection:
                connection.execute(insert(table).values(values))
