"""Which message in flight a published one takes over from."""

from __future__ import annotations

from typing import Final, NamedTuple

from celery import current_task

from worker.broker.payload import HELD_IN

__all__ = ["Republished", "republished"]


class Republished(NamedTuple):
    """A message in flight: its delivery tag, and the set of what its holder holds; each '' if there is none."""

    tag: str = ""
    held_in: str = ""


_NONE: Final = Republished()


def republished(headers: object) -> Republished:
    """Return the message in flight that a published message goes on for.

    It is one that a task publishes about itself to be tried again (`celery.app.task.Task.retry`): the same id, one
    retry more. If the task acknowledges late, its own message is still in flight, and ends in the moment in which the
    new one is there: not before, or a crash would lose it, and not after, or a crash would double it.
    """
    if not isinstance(headers, dict) or "id" not in headers or "task" not in headers:
        return _NONE
    if not current_task or not current_task.acks_late or current_task.name != headers["task"]:
        return _NONE
    request = current_task.request
    if request.called_directly or request.is_eager or request.id != headers["id"]:
        return _NONE
    if headers.get("retries") != (request.retries or 0) + 1:
        return _NONE
    properties = request.properties
    tag = properties.get("delivery_tag") if isinstance(properties, dict) else None
    return Republished(tag, str(properties.get(HELD_IN, ""))) if isinstance(tag, str) else _NONE
