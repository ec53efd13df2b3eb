"""Notifications, for an operator: a message to try the receivers with, and how each of them does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from worker.notifications.events import Event, EventKind
from worker.notifications.notifier import new_message_id
from worker.notifications.rendering import rendered
from worker.notifications.sending import send, send_all
from worker.notifications.state import Message, ReceiverHealth
from worker.notifications.store import NotifierStore
from worker.observability.redaction import redaction_of
from worker.policy.dead_letter import clean
from worker.settings import SettingsError

if TYPE_CHECKING:
    import redis

    from worker.notifications.sending import Send
    from worker.notifications.state import NotifierState
    from worker.policy.notification_receiver import Receiver
    from worker.settings import Settings

__all__ = [
    "NotificationsReport",
    "ReceiverReport",
    "Trial",
    "notifications_report",
    "required_receivers",
    "try_receivers",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a receiver did with a message that tries it.

    Attributes:
        receiver: Its name.
        problem: Why it did not take it, without secrets; '' if it did.
    """

    receiver: str
    problem: str

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {"receiver": self.receiver, "taken": not self.problem, "problem": self.problem}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverReport:
    """How one receiver does.

    Attributes:
        name: Its name.
        health: As the workers know it.
        waiting: Messages that it has not taken yet.
    """

    name: str
    health: ReceiverHealth
    waiting: int

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        health, tried = self.health, self.health.not_before
        return {
            "receiver": self.name,
            "waiting": self.waiting,
            "failures": health.failures,
            "problem": health.problem,
            "tried_again_at": None if tried is None else tried.isoformat(),
            "taken_at": None if health.taken_at is None else health.taken_at.isoformat(),
            "given_up": health.given_up,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationsReport:
    """How notifications stand.

    Attributes:
        receivers: Each receiver of the settings.
        pending: Events that wait to be a message.
        quiet: Whether it is a quiet hour.
        looked_at: When a worker last looked for new causes; None if none ever did.
    """

    receivers: tuple[ReceiverReport, ...]
    pending: int
    quiet: bool
    looked_at: datetime | None

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it. Programs of others read it: add, don't rename."""
        return {
            "receivers": [receiver.to_record() for receiver in self.receivers],
            "pending": self.pending,
            "quiet": self.quiet,
            "looked_at": None if self.looked_at is None else self.looked_at.isoformat(),
        }


def required_receivers(settings: Settings) -> tuple[Receiver, ...]:
    """Return who is told.

    Raises:
        SettingsError: No address is set.
    """
    if not settings.receivers:
        raise SettingsError("FEEDBACK_NOTIFY_URLS is not set: set it to the addresses that are told, such as slack://…")
    return settings.receivers


def try_receivers(settings: Settings, *, actor: str, by: Send = send) -> list[Trial]:
    """Send a message to every receiver, now and once; quiet hours don't keep it back.

    Raises:
        SettingsError: No address is set.
    """
    receivers = required_receivers(settings)
    now = datetime.now(UTC)
    redact = redaction_of(settings)
    text = f"this is a test by {redact(clean(actor)) or 'an operator'}: nothing has happened"
    event = Event(kind=EventKind.TEST, subject="", at=now, text=text)
    message = rendered(Message(id=new_message_id(), at=now, events=(event,)), flower_url=settings.feedback_flower_url)
    problems = send_all([(receiver, message) for receiver in receivers], keys=settings.signing_keys, by=by)
    return [
        Trial(receiver=receiver.name, problem=redact(problem))
        for receiver, problem in zip(receivers, problems, strict=True)
    ]


def notifications_report(settings: Settings, home: redis.Redis, *, now: datetime) -> NotificationsReport:
    """Return how notifications stand, by what the workers know.

    Args:
        settings: Who is told.
        home: The first partition.
        now: For the quiet hours.

    Raises:
        redis.RedisError: Redis is unavailable.
    """
    state, quiet = NotifierStore(home, "").load(), settings.quiet_hours
    return NotificationsReport(
        receivers=tuple(_report(receiver, state) for receiver in settings.receivers),
        pending=len(state.pending) + state.dropped,
        quiet=quiet is not None and quiet.contain(now),
        looked_at=state.known_until,
    )


def _report(receiver: Receiver, state: NotifierState) -> ReceiverReport:
    return ReceiverReport(
        name=receiver.name,
        health=state.receivers.get(receiver.name, ReceiverHealth()),
        waiting=state.waiting_for(receiver.name),
    )
