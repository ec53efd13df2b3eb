"""Celery tasks: adapters. They translate a Celery request into a message, and an ending into Celery's own words."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Never

from celery.exceptions import Reject, Retry

from producer.message import JOURNEY, TASK
from worker.delivery import Again, Buried, Done
from worker.policy.message import read_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery, Task
    from celery.app.task import Context

    from worker.delivery import Delivery
    from worker.policy.message import Message, Unreadable

__all__ = ["LONGEST_COUNTDOWN", "DeadLettered", "Waiting", "register"]

log = logging.getLogger(__name__)

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
        try:
            ending = delivery().deliver(_message(task, args, kwargs))
        except Exception as error:
            # Celery acknowledges a task that fails: here the message goes back, behind all others.
            log.exception("a message goes back to the queue because of a fault of ours")
            raise Reject(error, requeue=True) from error
        match ending:
            case Done(words=words):
                return words
            case Buried(words=words):
                raise DeadLettered(words)
            case Again() as again:
                _come_again(task, again)

    # Not shared: a second app in this process would otherwise run the first one's delivery.
    app.task(name=TASK, bind=True, shared=False, acks_late=True, throws=(DeadLettered,), typing=False)(deliver)


def _message(task: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Message | Unreadable:
    request = task.request
    return read_message(
        args,
        kwargs,
        _headers(request).get(JOURNEY),
        delivery_tag=str((request.properties or {}).get("delivery_tag") or request.id),
        received_at=datetime.now(UTC),
    )


def _headers(request: Context) -> dict[str, Any]:
    """The message's own headers; a foreign client may have put anything there, and it is no reason to fail."""
    return request.headers if isinstance(request.headers, dict) else {}


def _come_again(task: Task, again: Again) -> Never:
    """Publish the message anew before the old one is acknowledged: a crash in between gives two, never none.

    `Task.retry` would reject the message for good if Redis were away just now: here it goes back.
    """
    request = task.request
    at = again.journey.not_before or datetime.now(UTC)
    eta = min(at, datetime.now(UTC) + LONGEST_COUNTDOWN)
    request.headers = {**_headers(request), JOURNEY: again.journey.to_header()}
    try:
        task.signature_from_request(request, eta=eta, retries=request.retries + 1).apply_async()
    except Exception as error:
        raise Reject(error, requeue=True) from error
    raise Waiting(again.words, when=at)
