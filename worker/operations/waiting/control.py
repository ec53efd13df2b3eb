"""What an operator does with messages that wait for their time: send them now, or make dead letters of them now.

A message is in one place all the time. To become a dead letter it is first marked as one, where it waits: whichever
worker gets it from then on writes the dead letter, and does not send it. Then the row is inserted, and then the message
is removed and counted in one script. Cut short at any point, a worker finishes it when the message is due, with the
same row (see docs/adr/0033-waiting-messages-end-where-they-wait.md).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from worker.clients.redis.keys import CountField
from worker.database.audit_log import amend_action, write_action
from worker.database.errors import DeadLetterError, translated
from worker.dead_letters.group_commit import Insertion, commit
from worker.operations.waiting.backwards import by_id, every
from worker.operations.waiting.listing import WaitingFilter
from worker.operations.waiting.moves import Ending, Replacement, end, replace_entries, send
from worker.operations.waiting.rewriting import NotTaken, as_dead_letter, as_due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from worker.clients.redis.partitions import Partitions
    from worker.operations.waiting.backwards import Step
    from worker.operations.waiting.message import MessageId, WaitingMessage
    from worker.operations.waiting.rewriting import DeadLetterNow

__all__ = ["Chosen", "Done", "WaitingControl"]

log = logging.getLogger(__name__)

_AT_ONCE: Final = 200
"""Messages of one step: a script of 200 takes Redis some 5 ms, and a transaction of 200 rows the database 20 ms."""

_SHARE: Final = 0.5
"""For each second of work, so many are left to the others."""

_MOST_PROBLEMS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which messages are meant.

    Attributes:
        ids: These, if there are any.
        filter: Else all that fit.
    """

    ids: tuple[MessageId, ...] = ()
    filter: WaitingFilter = field(default_factory=WaitingFilter)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {"ids": [str(name) for name in self.ids]} if self.ids else self.filter.to_record()


@dataclass(slots=True, kw_only=True)
class Done:
    """What was done so far.

    Attributes:
        messages: How many messages.
        on_their_way: How many were meant, and did not wait any more: a worker has them, or an other operator was first.
        problems: Why some were not taken; of many the first.
        not_taken: How many were not taken.
        unrecorded: Why the audit log does not have it; None if it has.
    """

    messages: int = 0
    on_their_way: int = 0
    not_taken: int = 0
    problems: list[str] = field(default_factory=list)
    unrecorded: DeadLetterError | None = None

    def refuse(self, message: WaitingMessage, why: object) -> None:
        """Note that a message was not taken."""
        self.not_taken += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{message.request_id or message.id}: {why}")

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "messages": self.messages,
            "on_their_way": self.on_their_way,
            "not_taken": self.not_taken,
            "problems": list(self.problems),
            "recorded": self.unrecorded is None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingControl:
    """Acts on messages that wait, for an operator.

    Attributes:
        partitions: Redis, whose clients answer in bytes.
        database: Opens the database, whose audit log has it.
        actor: The operator.
        now: The clock.
    """

    partitions: Partitions
    database: Callable[[], AbstractContextManager[Engine]]
    actor: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def send_now(
        self,
        chosen: Chosen,
        comment: str,
        *,
        stop: Event | None = None,
        progress: Callable[[Done], None] = lambda _: None,
    ) -> Done:
        """Lay messages at the head of the queue; no account changes. A database that is unavailable prevents it not.

        Args:
            chosen: The messages.
            comment: The reason, for the audit log.
            stop: Set it to end after the step at hand.
            progress: Called after each step.

        Raises:
            redis.RedisError: Redis is unavailable; what was sent by then is sent, and stands in the audit log.
        """
        done, began = Done(), self.now()

        def fits(message: WaitingMessage) -> bool:
            """Not what was sent by then, and failed again."""
            return chosen.filter.fits(message) and (message.last is None or message.last.at < began)

        record = _Record(self, "waiting.send_now", chosen, comment, done)
        for step in self._steps(chosen, fits, done, stop or Event(), set()):
            replacements = [Replacement(message.entry, as_due(message)) for message in step.messages]
            sent = send(step.client, step.place.step, replacements)
            done.messages += sum(sent)
            done.on_their_way += len(sent) - sum(sent)
            record.amend()
            progress(done)
        return done

    def dead_letter_now(
        self,
        chosen: Chosen,
        comment: str,
        *,
        stop: Event | None = None,
        progress: Callable[[Done], None] = lambda _: None,
    ) -> Done:
        """Make dead letters of messages; the arguments are those of `send_now`.

        Raises:
            redis.RedisError: Redis is unavailable; run it again for the rest.
            DeadLetterError: The database is unavailable, or refuses; what is no dead letter yet waits as before.
        """
        done, stays = Done(), set[bytes]()
        record = _Record(self, "waiting.dead_letter", chosen, comment, done)
        if record.problem is not None:
            raise record.problem
        with self.database() as engine:
            for step in self._steps(chosen, chosen.filter.fits, done, stop or Event(), stays):
                stays.clear()
                self._bury(engine, step, comment, done, stays)
                record.amend()
                progress(done)
        return done

    def _steps(
        self, chosen: Chosen, fits: Callable[[WaitingMessage], bool], done: Done, stop: Event, stays: set[bytes]
    ) -> Iterator[Step]:
        """Yield the steps, and leave Redis and the database to others in between."""
        steps: Iterable[Step] = every(self.partitions, fits, at_once=_AT_ONCE, stays=stays)
        if chosen.ids:
            steps, gone = by_id(self.partitions, chosen.ids)
            done.on_their_way += gone
        for step in steps:
            if stop.is_set():
                return
            began = monotonic()
            yield step
            if len(step.messages) >= _AT_ONCE:
                stop.wait((monotonic() - began) * _SHARE)

    def _bury(self, engine: Engine, step: Step, comment: str, done: Done, stays: set[bytes]) -> None:
        """Mark, insert, end."""
        plans: list[tuple[WaitingMessage, DeadLetterNow]] = []
        for message in step.messages:
            try:
                plans.append((message, as_dead_letter(message, now=self.now(), comment=comment)))
            except NotTaken as error:
                done.refuse(message, error)
                stays.add(message.entry)
        replacements = [Replacement(message.entry, plan.marked) for message, plan in plans]
        waiting = replace_entries(step.client, step.place.step, replacements)
        marked = [(*plan, entry) for plan, entry in zip(plans, waiting, strict=True) if entry]
        done.on_their_way += len(plans) - len(marked)
        results = commit(engine, [Insertion(plan.record) for _, plan, _ in marked]) if marked else []
        endings, back = list[Ending](), list[Replacement]()
        failed: Exception | None = None
        for (message, plan, entry), result in zip(marked, results, strict=True):
            if isinstance(result, Exception):
                failed = result
                back.append(Replacement(entry, message.entry))
            else:
                reason = f"{CountField.DEAD}:{plan.record.reason}"
                rows = [CountField.DEAD_LETTERS_INSERTED] if result else []
                endings.append(Ending(entry, [CountField.DEAD, reason, *rows]))
        end(step.client, step.place.step, endings)
        done.messages += len(endings)  # what a worker got meanwhile it ends in the same way
        replace_entries(step.client, step.place.step, back)
        if failed is not None:
            raise failed


class _Record:
    """The line of the audit log, which says how many it was so far.

    Args:
        control: Who acts.
        action: What is done.
        chosen: To what.
        comment: Why.
        done: How far it is.
    """

    def __init__(self, control: WaitingControl, action: str, chosen: Chosen, comment: str, done: Done) -> None:
        self._control, self._chosen, self._done = control, chosen, done
        self.problem: DeadLetterError | None = None
        self._number: int | None = None
        try:
            with control.database() as engine, translated(), engine.begin() as connection:
                self._number = write_action(
                    connection,
                    actor=control.actor,
                    action=action,
                    target="waiting",
                    comment=comment,
                    details=self._details(),
                )
        except DeadLetterError as error:
            self.problem = done.unrecorded = error

    def amend(self) -> None:
        """Write down how many it is now. If that can't be done, it is told at the end."""
        if self._number is None:
            return
        try:
            with self._control.database() as engine, translated(), engine.begin() as connection:
                amend_action(connection, self._number, details=self._details())
        except DeadLetterError as error:
            self._done.unrecorded = error

    def _details(self) -> dict[str, Any]:
        return {"messages": self._done.messages, "waiting": self._chosen.to_record()}
