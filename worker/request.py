"""Celery's request, which is read once.

Celery decodes a message's body when it comes and again when its task runs, and looks for the headers that are not its
own among all of its own names, each time anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celery.app.task import Context
from celery.utils.saferepr import saferepr
from celery.worker.request import Request as CeleryRequest

if TYPE_CHECKING:
    from kombu.message import Message

__all__ = ["Request"]

_CELERYS_OWN: Final = frozenset(
    {*vars(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression", "args", "kwargs"}
)
"""The names that are no header of ours in what a task is told of its message, as Celery's `Context` has them."""

_SHOWN: Final = 1024
"""Characters of a message's arguments that monitors are told: as many as Celery's own clients write down."""


class Request(CeleryRequest):  # type: ignore[misc]  # Celery is untyped
    """Celery's, for the worker's own process and for those of its pool.

    Args:
        message: The message.
        options: As Celery has them.
    """

    def __init__(self, message: Message, **options: Any) -> None:  # noqa: ANN401 - Celery's own
        super().__init__(message, **options)
        told: dict[str, Any] = self._request_dict
        if not self._decoded:
            self._body = message.payload
            self._content_type = self._content_encoding = None
        told.setdefault("headers", {name: told[name] for name in told.keys() - _CELERYS_OWN} or None)
        # A client need not send its arguments twice.
        brief = len(message.body) <= _SHOWN and not told.get("compression")
        if not told.get("argsrepr"):
            self._argsrepr = told["argsrepr"] = _shown(tuple(self._args), brief=brief)
        if not told.get("kwargsrepr"):
            self._kwargsrepr = told["kwargsrepr"] = _shown(self._kwargs, brief=brief)


def _shown(arguments: object, *, brief: bool) -> str:
    """Return what monitors are told: all of it if the body is ``brief``.

    Celery's own way of finding what is too much costs more than to send the event to AquilaX.
    """
    return repr(arguments) if brief else saferepr(arguments, _SHOWN)
