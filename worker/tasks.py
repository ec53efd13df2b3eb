"""Celery tasks: adapters. They translate a Celery request into a message, and an ending into Celery's own words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Never

from celery.exceptions import Reject, Retry

from producer.message import JOURNEY, TASK
from worker.delivery import Again, Buried, Done
from worker.policy.message import read_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery, Task

    from worker.delivery import Delivery

__all__ = ["LONGEST_COUNTDOWN", "DeadLettered", "register"]

LONGEST_COUNTDOWN: Final = timedelta(minutes=5)
"""A message that waits longer comes back in between, and waits on.

A waiting message is unacknowledged, and Kombu delivers it again once the visibility timeout has passed; so no wait
may be longer than that timeout, and that timeout must be short enough for what a killed worker leaves behind.
"""


class DeadLettered(Exception):
    """The event is in the dead-letter table: for Celery and Flower the task has failed."""

    def __repr__(self) -> str:
        """Celery shows an exception by its repr: here that is the sentence itself."""
        return str(self)


class Waiting(Retry):  # type: ignore[misc]  # Celery is untyped
    """The event comes again later."""

    def __repr__(self) -> str:
        """As of `DeadLettered`."""
        return str(self)


def register(app: Celery, delivery: Callable[[], Delivery]) -> None:
    """Register ``feedback.deliver`` with the app.

    Args:
        app: The Celery app.
        delivery: Returns the process's delivery; it is first called when the first message comes.
    """

    def deliver(task: Task, /, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401 - whatever stands in the message
        request = task.request
        message = read_message(
            args,
            kwargs,
            (request.headers or {}).get(JOURNEY),
            delivery_tag=(request.properties or {}).get("delivery_tag") or request.id,
            received_at=datetime.now(UTC),
        )
        match delivery().deliver(message):
            case Done(words=words):
                return words
            case Buried(words=words):
                raise DeadLettered(words)
            case Again() as again:
                _come_again(task, again)

    app.task(name=TASK, bind=True, acks_late=True, throws=(DeadLettered,), typing=False)(deliver)


def _come_again(task: Task, again: Again) -> Never:
    """Publish the message anew before the old one is acknowledged: a crash in between gives two, never none.

    `Task.retry` would reject the message for good if Redis were away just now: here it goes back.
    """
    request = task.request
    at = again.journey.not_before or datetime.now(UTC)
    eta = min(at, datetime.now(UTC) + LONGEST_COUNTDOWN)
    headers = {**(request.headers or {}), JOURNEY: again.journey.to_header()}
    try:
        task.signature_from_request(request, headers=headers, eta=eta, retries=request.retries + 1).apply_async()
    except Exception as error:
        raise Reject(error, requeue=True) from error
    raise Waiting(again.words, when=at)
