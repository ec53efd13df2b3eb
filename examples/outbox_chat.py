"""A chat backend on SQLAlchemy that keeps each press in its own database, and hands it over from there.

The press and its feedback are one transaction: both are kept, or neither. `aquilax-feedback relay` carries the feedback
to Redis, or a thread of the backend, as `serve` shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from producer import FeedbackEvent, FeedbackProducer, outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncSession


class Base(DeclarativeBase):
    """The backend's own tables."""


class Answer(Base):
    """An answer of the chat, under the id that AquilaX knows it by."""

    __tablename__ = "answers"

    request_id: Mapped[str] = mapped_column(primary_key=True)
    org: Mapped[str]
    group: Mapped[str] = mapped_column("org_group")
    helpful: Mapped[bool | None]


outbox.table(Base.metadata)  # Alembic's autogenerate and `create_all` make it with the others


def pressed(session: Session, request_id: str, helpful: bool) -> FeedbackEvent:
    """Keep the press, and its feedback with it."""
    with session.begin():
        answer = session.get_one(Answer, request_id)
        answer.helpful = helpful
        return outbox.add(session, request_id, helpful, org=answer.org, group=answer.group)


async def pressed_async(session: AsyncSession, request_id: str, helpful: bool) -> FeedbackEvent:
    """Do the same with asyncio: like `session.add`, `outbox.add` is not awaited."""
    async with session.begin():
        answer = await session.get_one(Answer, request_id)
        answer.helpful = helpful
        return outbox.add(session, request_id, helpful, org=answer.org, group=answer.group)


def serve(engine: Engine, producer: FeedbackProducer, until_stopped: Callable[[], None]) -> None:
    """Carry what is committed in a thread, for as long as the backend serves; start it after a fork, not before."""
    with outbox.Relay(engine, producer):
        until_stopped()
