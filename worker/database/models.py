"""The dead-letter table, in types that SQLite, PostgreSQL and MySQL share."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Dialect, Enum, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from producer.event import MAX_NAME_LENGTH
from worker.policy.dead_letter import MAX_MESSAGE_ID_LENGTH
from worker.policy.fingerprint import MAX_SUMMARY_LENGTH
from worker.policy.retry import Reason

__all__ = [
    "MAX_ACTOR_LENGTH",
    "PREVIEW",
    "STATISTICS",
    "UTF8MB4",
    "Base",
    "DeadLetter",
    "PrunedRows",
    "State",
    "UtcDateTime",
    "enum_column",
]

_LENGTH: Final = 16
"""Room for a reason or a state."""

MAX_ACTOR_LENGTH: Final = 128
"""Characters of an operator's name: a login, or an e-mail address."""


class State(StrEnum):
    """What has become of a dead letter."""

    DEAD = "dead"
    """It waits for an operator."""
    REPLAYING = "replaying"
    """It is being sent to AquilaX again."""
    DELIVERED = "delivered"
    """AquilaX has it after all."""
    DISCARDED = "discarded"
    """It will not be delivered: an operator said so, or a later vote overtook it."""


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware on its way in and out, UTC in the database, to the microsecond.

    SQLite and MySQL store no offset, so what they store is UTC without saying so.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without an offset: its meaning would be lost."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"a time without an offset can't be stored: {value.isoformat()}")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the signature is SQLAlchemy's
        """Give every time its offset back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """MySQL drops the microseconds unless asked for them."""
        if dialect.name in {"mysql", "mariadb"}:
            from sqlalchemy.dialects import mysql  # noqa: PLC0415 - the other databases need it not, and it is slow

            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))


class _Raw(TypeDecorator[bytes]):
    """Bytes, as many as there are: MySQL's usual type for them ends at 64 KiB."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return MySQL's largest type, and the usual one elsewhere."""
        if dialect.name in {"mysql", "mariadb"}:
            from sqlalchemy.dialects import mysql  # noqa: PLC0415 - see UtcDateTime

            return dialect.type_descriptor(mysql.LONGBLOB())
        return dialect.type_descriptor(LargeBinary())


def enum_column(values: type[StrEnum]) -> Enum:
    """A column of an enumeration's values as plain text: a new value needs no change of a type in PostgreSQL."""
    return Enum(values, native_enum=False, length=_LENGTH, values_callable=lambda every: [one.value for one in every])


UTF8MB4: Final = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")  # to SQLAlchemy they are two
    for option, value in {"charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}
"""Emoji fit, and names of orgs and groups are told apart by case: by default MySQL does neither."""


class Base(DeclarativeBase):
    """What Alembic compares the database with."""


STATISTICS: Final = (
    *("fingerprint", "failed_at", "state", "org", "org_group", "reason", "http_status"),
    *("replay_enqueued_at", "attempts", "replay_count", "id"),
)
"""All that the dashboard counts by, and sorts by: one index holds it, so that the rows need not be read."""

PREVIEW: Final = (
    *("org", "state", "fingerprint", "failed_at", "org_group", "reason", "http_status"),
    "replay_enqueued_at",
)
"""The same for a preview, in the order of its groups, and for what is of one org."""


class DeadLetter(Base):
    """One event that was not delivered, and all that an operator needs to judge it."""

    __tablename__ = "dead_letters"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    dedup_key: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the event's identity: inserting it twice gives one row."""

    message_id: Mapped[str | None] = mapped_column(String(MAX_MESSAGE_ID_LENGTH))
    """The message that made this row, as `stored_message_id` has it."""

    request_id: Mapped[str | None] = mapped_column(String(36))
    status: Mapped[bool | None]
    org: Mapped[str | None] = mapped_column(String(MAX_NAME_LENGTH))
    group: Mapped[str | None] = mapped_column("org_group", String(MAX_NAME_LENGTH))
    """``group`` is a reserved word of SQL."""
    original_org: Mapped[str | None] = mapped_column(String(MAX_NAME_LENGTH))
    """The org that it died with first, if a replay has set another one since."""
    original_group: Mapped[str | None] = mapped_column(String(MAX_NAME_LENGTH))
    """The group, likewise."""
    occurred_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    reason: Mapped[Reason] = mapped_column(enum_column(Reason))
    http_status: Mapped[int | None]
    response_body: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(12))
    """Of `summary`: the same for rows that failed for the same cause."""
    summary: Mapped[str] = mapped_column(String(MAX_SUMMARY_LENGTH))
    attempts: Mapped[int]
    history: Mapped[str | None] = mapped_column(Text)
    """The last requests that were sent for it, as JSON (`worker.policy.attempt`)."""
    first_enqueued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    failed_at: Mapped[datetime] = mapped_column(UtcDateTime)

    state: Mapped[State] = mapped_column(enum_column(State))
    comment: Mapped[str] = mapped_column(Text)
    resolved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it became delivered or discarded."""

    replay_count: Mapped[int]
    last_replay_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    replay_name: Mapped[str | None] = mapped_column(String(32))
    """The run that marked it last: two operators' runs tell their rows apart by it."""
    replay_enqueued_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When Redis acknowledged the replay. A replaying row without it was left behind by a run that was cut short."""

    raw: Mapped[bytes | None] = mapped_column(_Raw)

    __table_args__ = (
        Index("ix_dead_letters_failed_at", "failed_at", "id"),
        Index("ix_dead_letters_state", "state", "failed_at"),
        Index("ix_dead_letters_reason", "reason", "http_status", "failed_at"),
        Index("ix_dead_letters_request_id", "request_id"),
        Index("ix_dead_letters_statistics", *STATISTICS),
        Index("ix_dead_letters_org", *PREVIEW),
        {"sqlite_autoincrement": True, **UTF8MB4},
    )


class PrunedRows(Base):
    """How many rows were pruned: those that are not there any more, and were not lost."""

    __tablename__ = "dead_letters_pruned"

    what: Mapped[str] = mapped_column(String(32), primary_key=True)
    rows_pruned: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (UTF8MB4,)
