"""START HERE: one round of the fleet's notifications: observe, note what is new, group it, send."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from worker.database.errors import DeadLetterError
from worker.dead_letters.triage import triages
from worker.notifications.episodes import noted
from worker.notifications.events import EventKind
from worker.notifications.grouping import grouped
from worker.notifications.observation import observe
from worker.notifications.outbox import due, kept, settled
from worker.notifications.rendering import rendered
from worker.notifications.sending import AT_ONCE, send, send_all
from worker.notifications.store import NotifierStore
from worker.observability.redaction import redaction_of
from worker.policy.dead_letter import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.clients.redis.partitions import Partitions
    from worker.notifications.sending import Send
    from worker.notifications.state import NotifierState
    from worker.settings import Settings

__all__ = ["PERIOD", "Notifier", "new_message_id"]

log = logging.getLogger(__name__)

PERIOD: Final = timedelta(seconds=10)
"""From the beginning of one round to that of the next, of the whole fleet."""


def new_message_id() -> str:
    """Return what no other message is called."""
    return f"msg_{secrets.token_hex(12)}"


@dataclass(frozen=True, kw_only=True)
class Notifier:
    """Takes rounds.

    Attributes:
        settings: Who is told, and when.
        database: Opens the database.
        token: What no other worker calls itself.
        by: What sends.
        stops: Whether this worker is to end: it begins to send nothing more then.
    """

    settings: Settings
    database: Callable[[], AbstractContextManager[Engine]]
    token: str
    by: Send = send
    stops: Callable[[], bool] = lambda: False

    def take_round(self, partitions: Partitions) -> bool:
        """Take a round, if no other worker does or has a moment ago; return whether this one has.

        Raises:
            redis.RedisError: Redis is unavailable, or refuses.
        """
        store = NotifierStore(partitions.home, self.token)
        if not store.acquire():
            return False
        try:
            known = store.load()
            seen = observe(partitions, self.database, known_until=known.known_until, known_causes=known.causes)
            age = self.settings.feedback_notify_backlog_age
            state = self._decided(noted(known, seen, backlog_age=age, redact=self._redact), seen.at)
            # Before anything is sent: what is told was found once, whatever becomes of this worker.
            if store.save(state):
                self._send(store, state, seen.at)
        finally:
            store.release(PERIOD * 0.9)
        return True

    def _decided(self, state: NotifierState, at: datetime) -> NotifierState:
        names = [receiver.name for receiver in self.settings.receivers]
        muted = self._muted(state, at)
        state = grouped(
            state,
            at,
            window=self.settings.feedback_notify_window,
            quiet=self.settings.quiet_hours,
            receivers=names,
            is_muted=lambda fingerprint, _at: fingerprint in muted,
            new_id=new_message_id,
        )
        return kept(state, at, names)

    def _muted(self, state: NotifierState, at: datetime) -> set[str]:
        """The pending causes of which operators want to hear nothing; none while the database can't be asked."""
        causes = {event.subject for event in state.pending if event.kind is EventKind.NEW_CAUSE}
        if not causes:
            return set()
        try:
            with self.database() as engine:
                return {name for name, decided in triages(engine, causes).items() if decided.is_muted(at)}
        except DeadLetterError:
            return set()

    def _send(self, store: NotifierStore, state: NotifierState, at: datetime) -> None:
        receivers = {receiver.name: receiver for receiver in self.settings.receivers}
        flower = self.settings.feedback_flower_url
        attempts = due(state, at)
        for first in range(0, len(attempts), AT_ONCE):
            some = attempts[first : first + AT_ONCE]
            orders = [(receivers[one.receiver], rendered(one.message, flower_url=flower)) for one in some]
            problems = [self._redact(one) for one in send_all(orders, keys=self.settings.signing_keys, by=self.by)]
            for attempt, problem in zip(some, problems, strict=True):
                _say(attempt.receiver, problem, failed_before=state.receivers[attempt.receiver].failures > 0)
            state = settled(state, zip(some, problems, strict=True), at)
            if not store.save(state) or self.stops():
                return

    def _redact(self, text: str) -> str:
        return redaction_of(self.settings)(clean(text))


def _say(receiver: str, problem: str, *, failed_before: bool) -> None:
    """Once when a receiver begins to fail, and once when it takes messages again."""
    if problem and not failed_before:
        log.warning("the receiver %s did not take a notification, and is tried again: %s", receiver, problem)
    elif problem:
        log.debug("the receiver %s did not take a notification: %s", receiver, problem)
    elif failed_before:
        log.info("the receiver %s takes notifications again", receiver)
