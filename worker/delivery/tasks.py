"""Celery tasks: adapters. They translate a Celery request into a message, and a result into Celery's own exceptions."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Never, assert_never

import redis
from celery._state import _task_stack  # what `celery.current_task` looks at
from celery.exceptions import Reject, Retry

from producer.message import ENVELOPE, TASK, TRACE_HEADERS
from worker.broker.payload import HELD_IN, PROBE, UNENDED, UNREAD_ID
from worker.broker.redelivery import is_in_flight, is_plain
from worker.concurrency.scheduler import run_in_thread
from worker.database.errors import DeadLetterStoreUnavailable
from worker.dead_letters.replays import step
from worker.dead_letters.replays.queue import ADVANCE
from worker.policy.message import POISON_MESSAGE, PoisonMessage, read_message
from worker.policy.result import Completed, DeadLetteredResult, Redeliver

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery, Task
    from celery.app.task import Context
    from celery.canvas import Signature
    from celery.worker.request import Request

    from worker.broker.redelivery import Redelivery
    from worker.dead_letters.replays.advancer import Advancer
    from worker.delivery.service import DeliveryService
    from worker.policy.message import Message

__all__ = ["DeadLettered", "Waiting", "register", "register_advance"]

log = logging.getLogger(__name__)

_OF_A_DELIVERY: Final = {PROBE, UNENDED}
"""Headers that say how a message was handed out: its next turn is another one."""


class DeadLettered(Exception):
    """The event is in the dead-letter table: for Celery and Flower the task has failed."""

    def __repr__(self) -> str:
        """Celery shows an exception by its repr: here that is the sentence itself."""
        return str(self)


class Waiting(Retry):
    """The event comes again later."""

    def __repr__(self) -> str:
        """See `DeadLettered`."""
        return str(self)


def register(
    app: Celery,
    delivery: Callable[[], DeliveryService],
    redelivery: Callable[[], Redelivery],
    *,
    request: type[Request],
) -> None:
    """Register ``feedback.deliver`` with the app.

    Args:
        app: The Celery app.
        delivery: Returns the process's delivery; it is first called when the first message comes.
        redelivery: Returns what publishes the process's messages again.
        request: The class of the task's requests.
    """

    def deliver(task: Task, /, *args: Any, **kwargs: Any) -> str:
        try:
            worker = delivery()
            ending = worker.deliver(_message(task, args, kwargs, received_at=worker.now()))
        except Exception as error:
            # Celery acknowledges a task that fails: here the message goes back, behind all others.
            log.exception("a message goes back to the queue because of a fault of ours")
            raise Reject(error, requeue=True) from error
        match ending:
            case Completed(summary=text):
                return text
            case DeadLetteredResult(summary=text):
                raise DeadLettered(text)
            case Redeliver() as again:
                _come_again(task, again, redelivery())

    # Not shared: a second app in this process would otherwise run the first one's delivery.
    options = {"Request": request, "throws": (DeadLettered,), "typing": False}
    app.task(name=TASK, bind=True, shared=False, acks_late=True, **options)(deliver)


def register_advance(app: Celery, advancer: Callable[[], Advancer], *, request: type[Request]) -> None:
    """Register ``feedback.advance_replay`` with the app.

    Args:
        app: The Celery app.
        advancer: Returns what brings the process's plans forward; it is first called when the first message comes.
        request: See `register`.
    """

    def advance_replay(task: Task, replay_id: int, step_number: int) -> str:
        try:
            done = advancer().advance(replay_id, step_number)
        except (redis.RedisError, DeadLetterStoreUnavailable) as error:
            log.warning("replay %s waits: %s", replay_id, error)
            return f"waits: {error}"  # a worker's watch takes it up again
        match done:
            case step.ReplayEnded():
                return "nothing more to do"
            case step.StepTaken():
                return "another worker has taken this step"
            case step.NextStep(step_number=next_step, after=after):
                _next_step(task, (replay_id, next_step), at=advancer().moment(after))
            case _:
                assert_never(done)

    app.task(name=ADVANCE, bind=True, shared=False, acks_late=True, Request=request)(advance_replay)


def _publish(task: Task, request: Context, message: Signature) -> None:
    """Publish a message as the task that runs, in whatever thread: it takes over from that task's own."""
    _task_stack.push(task)
    task.request_stack.push(request)
    try:
        message.apply_async()
    finally:
        task.request_stack.pop()
        _task_stack.pop()


def _next_step(task: Task, args: tuple[int, int], *, at: datetime) -> Never:
    """Publish the next step in the place of this one. If it gets lost, a worker's watch finds the plan overdue."""
    retries = task.request.retries + 1
    task.signature_from_request(task.request, args=args, kwargs={}, eta=at, retries=retries).apply_async()
    raise Waiting(f"step {args[1]} follows", when=at)


def _message(
    task: Task, args: tuple[Any, ...], kwargs: dict[str, Any], *, received_at: datetime
) -> Message | PoisonMessage:
    request = task.request
    headers, properties = _headers(request), request.properties or {}
    if isinstance(poison := headers.get(POISON_MESSAGE), PoisonMessage):
        return poison
    return read_message(
        args,
        kwargs,
        headers.get(ENVELOPE),
        delivery_tag=str(properties.get("delivery_tag") or request.id),
        message_id=message_id if isinstance(message_id := headers.get(UNREAD_ID), str) else "",
        held_in=str(properties.get(HELD_IN) or ""),
        received_at=received_at,
        probe=headers.get(PROBE) is True,
        redelivered=headers.get("redelivered") is True,
        trace={name: value for name in TRACE_HEADERS if isinstance(value := headers.get(name), str)},
    )


def _headers(request: Context) -> dict[str, Any]:
    """The message's own headers; a foreign client may have put anything there, and it is no reason to fail."""
    return request.headers if isinstance(request.headers, dict) else {}


def _come_again(task: Task, again: Redeliver, redelivery: Redelivery) -> Never:
    """Publish the message again; the transport puts it in the place of the old one, in one step.

    `Task.retry` would reject the message for good if Redis were unavailable just now: here it goes back.
    """
    request = task.request
    if isinstance(_headers(request).get(POISON_MESSAGE), PoisonMessage):
        # The message itself is not this task's own: its request lets it wait in Redis (`TaskRequest.on_retry`).
        raise Waiting(again.summary, when=again.due)
    headers = {name: value for name, value in _headers(request).items() if name not in _OF_A_DELIVERY}
    if again.as_it_is:
        headers["redelivered"] = True  # it was counted as accepted: so the transport knows
        headers[UNREAD_ID] = again.envelope.message_id
    else:
        headers[ENVELOPE] = again.envelope.to_header()
    try:
        if is_plain(request) and is_in_flight(request):
            redelivery.publish(request, headers, due=again.due, set_aside=again.set_aside)
        else:
            request.headers = headers
            signature = task.signature_from_request(request, eta=again.due, retries=request.retries + 1)
            run_in_thread(_publish, task, request, signature)
    except Exception as error:
        raise Reject(error, requeue=True) from error
    raise Waiting(again.summary, when=again.due or datetime.now(UTC))
