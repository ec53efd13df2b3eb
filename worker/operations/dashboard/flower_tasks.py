"""What Flower has seen of an event: the tasks of its messages, as long as it keeps them in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["SeenTask", "task_of", "tasks_of"]

_TASKS: Final = 20
"""Tasks of one event that a page shows: a message for each replay and each repetition."""

_MOMENTS: Final = ("sent", "received", "started", "retried", "succeeded", "failed", "revoked", "rejected")
"""Flower's names for what becomes of a task, each with the time at which it did last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTask:
    """A task.

    Attributes:
        id: Its id.
        state: Celery's name for how far it is.
        at: When Flower heard of it last; None if it was not said.
        moments: What became of it, and when, in order.
    """

    id: str
    state: str
    at: datetime | None
    moments: tuple[tuple[datetime, str], ...]


def task_of(tasks: Mapping[str, Any], message_id: str | None) -> SeenTask | None:
    """Return the task of a message; None if Flower has not seen it, or does not have it any more.

    Args:
        tasks: Flower's own.
        message_id: The message; None if there was none.
    """
    if message_id is None or (task := tasks.get(message_id)) is None:
        return None
    return _seen(message_id, task)


def tasks_of(tasks: Iterable[tuple[str, Any]], request_id: str) -> list[SeenTask]:
    """Return the tasks of an answer that Flower has seen, the latest first. All are looked through, not in its loop.

    Args:
        tasks: Flower's own, with their ids.
        request_id: The answer.
    """
    seen = [_seen(task_id, task) for task_id, task in tasks if request_id in (task.kwargs or "")]
    return sorted(seen, key=lambda task: task.at or datetime.min.replace(tzinfo=UTC), reverse=True)[:_TASKS]


def _seen(task_id: str, task: object) -> SeenTask:
    moments = ((at, name) for name in _MOMENTS if (at := _time(getattr(task, name, None))) is not None)
    at = _time(getattr(task, "timestamp", None))
    return SeenTask(id=task_id, state=str(getattr(task, "state", "")), at=at, moments=tuple(sorted(moments)))


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
