"""Celery's request, which is read once, and which ends however its task does.

Celery decodes a message's body when it comes and again when its task runs, and looks for the headers that are not its
own among all of its own names, each time.

What Celery does when a task has ended may fail as anything may: then its message would stay in this worker's hand for
ever, and its place in the pool be lost.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from celery.app.task import Context
from celery.utils.saferepr import saferepr
from celery.worker import state
from celery.worker.request import Request as CeleryRequest

from producer.message import ENVELOPE
from worker.policy.message import POISON_MESSAGE, PoisonMessage
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from billiard.einfo import ExceptionInfo
    from kombu.message import Message


__all__ = ["CELERYS_OWN", "REVOKED", "TaskRequest", "without_revoked"]

log = logging.getLogger(__name__)

CELERYS_OWN: Final = frozenset(
    {*vars(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression", "args", "kwargs"}
)
"""The names that are no header of ours in what a task is told of its message, as Celery's `Context` has them."""

REVOKED: Final = "revoked"
"""What is counted of a message that an operator revoked."""

_SHOWN: Final = 1024
"""Characters of a message's arguments that monitors are told: as many as Celery's own clients write down."""


def _ending(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return one of Celery's methods that end a message, which ends it also where it fails."""

    @wraps(method)
    def end(request: TaskRequest, *args: Any, **kwargs: Any) -> object:
        try:
            return method(request, *args, **kwargs)
        except Exception:
            log.exception("a fault of ours: how the task %s ended could not be told", request.id)
            state.task_ready(request)
            # If its end was not recorded the transport gives it back, and counts that (`worker/broker/lua/ack.lua`).
            request.acknowledge()
            return None

    return end


class TaskRequest(CeleryRequest):
    """Celery's, for the worker's own process and for those of its pool.

    Args:
        message: The message.
        options: As Celery has them.
    """

    acknowledged: bool
    on_failure = _ending(CeleryRequest.on_failure)
    on_timeout = _ending(CeleryRequest.on_timeout)

    def __init_subclass__(cls) -> None:
        """Celery makes a class of its own for each task, with another `on_success`."""
        cls.on_success = _ending(cls.on_success)  # type: ignore[method-assign]  # Celery makes a subclass for each task

    def on_accepted(self, *args: Any) -> None:
        """The task begins, also where that can't be told."""
        try:
            super().on_accepted(*args)
        except Exception:
            log.exception("a fault of ours: that the task %s begins could not be told", self.id)

    def _announce_revoked(self, *args: Any) -> None:
        """An operator has revoked it: that is how it ends, and only so is it counted as revoked."""
        if not self.acknowledged:
            self.message.channel.qos.ack(self.message.delivery_tag, REVOKED)
            self.acknowledged = True
        super()._announce_revoked(*args)

    def __init__(self, message: Message, **options: Any) -> None:
        super().__init__(message, **options)
        told: dict[str, Any] = self._request_dict
        if not self._decoded:
            self._body = message.payload
            self._content_type = self._content_encoding = None
        told.setdefault("headers", {name: told[name] for name in told.keys() - CELERYS_OWN} or None)
        # A client need not send its arguments twice.
        brief = len(message.body) <= _SHOWN and not told.get("compression")
        if not told.get("argsrepr"):
            self._argsrepr = told["argsrepr"] = _shown(tuple(self._args), brief=brief)
        if not told.get("kwargsrepr"):
            self._kwargsrepr = told["kwargsrepr"] = _shown(self._kwargs, brief=brief)

    def on_retry(self, exc_info: ExceptionInfo) -> None:
        """Its message was published again; but poison, which is kept as it came, waits in Redis by its delivery tag."""
        if isinstance((self._request_dict["headers"] or {}).get(POISON_MESSAGE), PoisonMessage):
            error: Any = exc_info.exception
            # In this process billiard wraps the exception, with its traceback as text; from another it comes as it is.
            due: datetime = (getattr(error, "exc", None) or error).when
            wait = max((due - datetime.now(UTC)).total_seconds(), 0)
            self.message.channel.qos.defer(self.message.delivery_tag, wait=wait)
            self.acknowledged = True
        super().on_retry(exc_info)

    def revoked(self) -> bool:
        """Return whether it is revoked, and end it if so: by a revocation that was made while it waited."""
        if self._already_revoked:
            return True
        revocations = container_of(self._app).revocations
        if not revocations.hit(self.id, self.stamps or {}, self._identity()):
            return False
        log.info("revoked: %s[%s]", self.name, self.id)
        self._announce_revoked("revoked", False, None, False)
        return True

    def terminate(self, pool: object, signal: str | int | None = None) -> None:  # noqa: ARG002 - the signature is Celery's
        """Stop nothing: what is being sent to AquilaX can't be taken back, and what waits is revoked."""
        log.info("%s[%s] is not terminated: AquilaX may have it already", self.name, self.id)

    def _identity(self) -> str:
        """The delivery tag under which it was first handed out."""
        envelope = self._request_dict.get(ENVELOPE)
        first = envelope.get("message_id") if isinstance(envelope, dict) else None
        return first if isinstance(first, str) else str(self._message.delivery_tag or "")


def without_revoked(run: Callable[[], object], accept: object) -> None:
    """Run a task, unless it was revoked while it waited for a slot.

    Args:
        run: Runs it.
        accept: What Celery is called back by when it begins: a method of its request.
    """
    request = getattr(accept, "__self__", None)
    if not (isinstance(request, TaskRequest) and request.revoked()):
        run()


def _shown(arguments: object, *, brief: bool) -> str:
    """Return what monitors are told: all of it if the body is ``brief``.

    Celery's own way of finding what is too much costs more than to send the event to AquilaX.
    """
    return repr(arguments) if brief else saferepr(arguments, _SHOWN)
