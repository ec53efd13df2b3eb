"""What an operator tells one worker by Celery's remote control, and that it stands in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from producer.message import QUEUE
from worker.database.audit_log import record_action
from worker.database.errors import DeadLetterError
from worker.dead_letters.replays.queue import REPLAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from celery import Celery
    from sqlalchemy import Engine

__all__ = ["NoReply", "Told", "WorkerAction", "WorkerControl"]

_WITHIN: Final = 3.0
"""Seconds in which a worker answers: its event loop never waits for AquilaX."""

_TARGET: Final = 64
"""Characters of a target in the audit log."""


class WorkerAction(StrEnum):
    """What a worker can be told."""

    QUIET = "quiet"
    """Take no more feedback; what it has in flight it ends."""
    CONSUME = "consume"
    """Take feedback again."""
    STOP = "stop"
    """End in order: what it has in flight it ends, or returns to the queue."""
    GROW = "grow"
    """Deliver more at once."""
    SHRINK = "shrink"
    """Deliver fewer at once."""

    @property
    def takes_number(self) -> bool:
        """Whether it takes by how many."""
        return self in {WorkerAction.GROW, WorkerAction.SHRINK}


class NoReply(Exception):
    """The worker did not answer, or answered that it did not do it; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of it.

    Attributes:
        reply: What the worker answered; that it was told, if it answers nothing to that.
        unrecorded: Why the audit log does not have it; None if it has.
    """

    reply: str
    unrecorded: DeadLetterError | None

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {"reply": self.reply, "recorded": self.unrecorded is None}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerControl:
    """Tells workers what to do, for an operator. A database that is unavailable prevents nothing.

    Attributes:
        app: Ours, and used for nothing else meanwhile.
        database: Opens the database, whose audit log has it.
        actor: The operator.
    """

    app: Celery
    database: Callable[[], AbstractContextManager[Engine]]
    actor: str

    def tell(self, name: str, action: WorkerAction, *, comment: str, by: int = 1) -> Told:
        """Tell a worker something.

        Args:
            name: Its node name.
            action: What.
            comment: The reason, for the audit log.
            by: By how many its pool grows or shrinks.

        Raises:
            NoReply: It did not answer, or refused. It may do it all the same, and later.
            kombu.exceptions.OperationalError: The broker is unavailable.
        """
        replies = [self._send(name, *command) for command in _commands(action, by)]
        return Told(reply="; ".join(dict.fromkeys(replies)), unrecorded=self._record(name, action, comment, by))

    def _send(self, name: str, command: str, arguments: dict[str, Any], answers: bool) -> str:
        with self.app.connection_for_write() as connection:
            control: Any = self.app.control
            # A connection of its own, also to send on: Kombu keeps the pools of a URL for the life of the process.
            control.mailbox.producer_pool = None
            options = {"arguments": arguments, "destination": [name], "connection": connection}
            if not answers:
                control.broadcast(command, **options)
                return "it was told"
            replies = control.broadcast(command, reply=True, timeout=_WITHIN, limit=1, **options) or []
        for reply in (reply[name] for reply in replies if name in reply):
            if isinstance(reply, dict) and "ok" in reply:
                return str(reply["ok"])
            raise NoReply(f"{name} did not do it: {reply.get('error', reply) if isinstance(reply, dict) else reply}")
        raise NoReply(f"{name} did not answer within {_WITHIN:g} s: it hangs, or is ending; it may do it later")

    def _record(self, name: str, action: WorkerAction, comment: str, by: int) -> DeadLetterError | None:
        details = {"worker": name} | ({"by": by} if action.takes_number else {})
        try:
            with self.database() as engine:
                record_action(
                    engine,
                    actor=self.actor,
                    action=f"worker.{action}",
                    target=f"worker {name}"[:_TARGET],
                    comment=comment,
                    details=details,
                )
        except DeadLetterError as error:
            return error
        return None


def _commands(action: WorkerAction, by: int) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """What is sent for an action: the command, its arguments, and whether a worker answers it."""
    match action:
        case WorkerAction.QUIET:
            yield from (("cancel_consumer", {"queue": queue}, True) for queue in (QUEUE, REPLAYS))
        case WorkerAction.CONSUME:
            yield from (("add_consumer", {"queue": queue}, True) for queue in (QUEUE, REPLAYS))
        case WorkerAction.STOP:
            yield "shutdown", {}, False
        case WorkerAction.GROW:
            yield "pool_grow", {"n": by}, True
        case WorkerAction.SHRINK:
            yield "pool_shrink", {"n": by}, True
