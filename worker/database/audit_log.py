"""What operators did, and why: one line for each change made by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Index, Integer, String, Text, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from worker.database.errors import translated
from worker.database.models import MAX_ACTOR_LENGTH, UTF8MB4, Base, UtcDateTime
from worker.policy.dead_letter import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine

__all__ = ["Action", "OperatorAction", "actions", "amend_action", "record_action", "write_action"]

_MAX_NAME: Final = 64


class OperatorAction(Base):
    """One change that an operator made."""

    __tablename__ = "operator_actions"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(String(MAX_ACTOR_LENGTH))
    action: Mapped[str] = mapped_column(String(_MAX_NAME))
    target: Mapped[str] = mapped_column(String(_MAX_NAME))
    comment: Mapped[str] = mapped_column(Text)
    details: Mapped[str] = mapped_column(Text)
    """A JSON object."""

    __table_args__ = (
        Index("ix_operator_actions_target", "target", "id"),
        {"sqlite_autoincrement": True, **UTF8MB4},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One change that an operator made.

    Attributes:
        id: Its number: a later one has a higher one.
        at: When.
        actor: The operator.
        action: What was done, such as ``replay.create``, ``replay.pause``, ``discard``, ``hold``.
        target: What it was done to, such as ``replay 7``, ``dead letters``, ``queue``.
        comment: The operator's comment.
        details: More, such as how many rows.
    """

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    comment: str
    details: Mapping[str, Any] = field(default_factory=dict)


def record_action(
    engine: Engine, *, actor: str, action: str, target: str, comment: str = "", details: Mapping[str, Any] | None = None
) -> None:
    """Write one action down; the arguments are those of `Action`.

    Raises:
        DeadLetterStoreUnavailable: The database did not do it.
    """
    with translated(), engine.begin() as connection:
        write_action(connection, actor=actor, action=action, target=target, comment=comment, details=details)


def write_action(
    connection: Connection,
    *,
    actor: str,
    action: str,
    target: str,
    comment: str,
    details: Mapping[str, Any] | None = None,
) -> int:
    """Write one action down, in the transaction of the change itself, and return its id.

    The other arguments are those of `Action`.
    """
    values = {
        "at": datetime.now(UTC),
        "actor": clean(actor)[:MAX_ACTOR_LENGTH],
        "action": action,
        "target": target,
        "comment": clean(comment),
        "details": json.dumps(details or {}, ensure_ascii=False),
    }
    (row_id,) = connection.execute(insert(OperatorAction).values(values)).inserted_primary_key or (0,)
    return int(row_id)


def amend_action(connection: Connection, action_id: int, *, details: Mapping[str, Any]) -> None:
    """Write down how far an action is that goes in steps, in the transaction of a step.

    Args:
        connection: The transaction.
        action_id: The action, as `write_action` returned it.
        details: What takes the place of its details.
    """
    values = {"details": json.dumps(details, ensure_ascii=False)}
    connection.execute(update(OperatorAction).where(OperatorAction.id == action_id).values(values))


def actions(engine: Engine, *, limit: int = 50, before: int | None = None, target: str | None = None) -> list[Action]:
    """Return up to ``limit`` actions of operators, the latest first; with an id ``before`` one, and to one ``target``.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    query = select(OperatorAction).order_by(OperatorAction.id.desc()).limit(limit)
    if before is not None:
        query = query.where(OperatorAction.id < before)
    if target is not None:
        query = query.where(OperatorAction.target == target)
    with translated(), engine.connect() as connection:
        return [Action(**row._asdict() | {"details": json.loads(row.details)}) for row in connection.execute(query)]
