"""The tracer of `feedback.deliver`: runs the task, and tells Celery how it ended.

Celery's own copies each frame of an exception's traceback, pickles it and formats it, which for a retry or a dead
letter costs several times the delivery (docs/adr/0023-a-tracer-for-deliveries.md). Here its one line is enough.
Signals are sent as Celery sends them. A message that asks for canvas is left to Celery's tracer.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery import signals
from celery._state import _task_stack  # what `celery.current_task` looks at
from celery.app.task import Context
from celery.app.trace import TraceInfo, build_tracer, trace_ok_t
from celery.exceptions import Reject, Retry

from worker.broker.redelivery import is_plain
from worker.delivery.tasks import DeadLettered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery import Celery, Task
    from celery.utils.dispatch.signal import Signal

__all__ = ["delivery_tracer"]

_SUCCESS: Final = "SUCCESS"
_FAILURE: Final = "FAILURE"
_RETRY: Final = "RETRY"
_REJECTED: Final = "REJECTED"
"""Celery's states of a task (`celery.states`)."""


class _Ending(ExceptionInfo):
    """An exception as its one line; the rest is what Celery's request reads of billiard's."""

    def __init__(self, error: Exception, *, wrapped: bool = False) -> None:
        self.type = type(error)
        self.traceback = f"{self.type.__module__}.{self.type.__qualname__}: {error}"
        self.exception = _Wrapped(error) if wrapped else error


class _Wrapped(ExceptionWithTraceback):
    """What Celery's request takes the exception of a retry from."""

    def __init__(self, error: Exception) -> None:
        self.exc = error
        self.tb = ""


def delivery_tracer(app: Celery, task: Task, *, hostname: str) -> Callable[..., trace_ok_t]:
    """Return the tracer.

    Args:
        app: The Celery app.
        task: `feedback.deliver`.
        hostname: The node name of the worker.
    """
    celerys = build_tracer(task.name, task, app.loader, hostname, app=app)

    def trace(
        uuid: str, args: Sequence[object], kwargs: dict[str, object], request: dict[str, object] | None = None
    ) -> trace_ok_t:
        context = Context(request or {}, args=args, called_directly=False, kwargs=kwargs)
        if not is_plain(context):
            return celerys(uuid, args, kwargs, request)
        begun = monotonic()
        _task_stack.push(task)
        task.request_stack.push(context)
        state, value = _SUCCESS, None
        try:
            _send(signals.task_prerun, task, task_id=uuid, task=task, args=args, kwargs=kwargs)
            value = task.run(*args, **kwargs)
            took = monotonic() - begun
            _send(signals.task_success, task, result=value, runtime=took)
            return trace_ok_t(value, None, took, repr(value))
        except Exception as error:  # noqa: BLE001 - Celery is told, whatever it is
            value = error
            state = _RETRY if isinstance(error, Retry) else _REJECTED if isinstance(error, Reject) else _FAILURE
            return trace_ok_t(_tell(task, context, error, state), TraceInfo(state, error), monotonic() - begun, None)
        finally:
            told = {"args": args, "kwargs": kwargs, "retval": value, "state": state}
            _send(signals.task_postrun, task, task_id=uuid, task=task, **told)
            _task_stack.pop()
            task.request_stack.pop()

    return trace


def _tell(task: Task, context: Context, error: Exception, state: str) -> ExceptionInfo:
    """Send the signal of an ending, and return what Celery's request is told of it."""
    ending: ExceptionInfo
    if state == _RETRY:
        ending = _Ending(error, wrapped=True)
        _send(signals.task_retry, task, request=context, reason=error, einfo=ending)
    elif state == _REJECTED:
        ending = _Ending(error)
        ending.internal = True
    elif isinstance(error, DeadLettered):
        ending = _Ending(error)
        told = {"args": context.args, "kwargs": context.kwargs, "traceback": error.__traceback__, "einfo": ending}
        _send(signals.task_failure, task, task_id=context.id, exception=error, **told)
    else:
        ending = TraceInfo(state, error).handle_error_state(task, context)
    return ending


def _send(signal: Signal, sender: Task, /, **said: object) -> None:
    """Send a signal. Celery's own `send` looks up its receivers even where there are none."""
    if signal.receivers:
        signal.send(sender=sender, **said)
