"""What both producers have in common: how they are configured, and how they take what they are given."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Self

from producer.address import Address
from producer.environment import secret, without_line_end
from producer.event import FeedbackEvent
from producer.message import QUEUE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

__all__ = ["DEFAULT_URL", "Configured", "to_event"]

DEFAULT_URL: Final = "redis://127.0.0.1:6379/0"
_LONGEST_TIMEOUT: Final = 86_400.0
"""Seconds that a budget may have: a day, which every clock and every system call can express."""

_PATIENCE: Final = 1.0
"""Seconds for which each step of connecting goes on behind the backs of calls whose time is up, so that a handshake
slower than the budget still ends in a connection for a later call. Linux repeats a lost SYN after one second."""


class Configured(ABC):
    """What both producers are told: where, how long, under which name."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float = 0.25,
        queue: str = QUEUE,
        max_connections: int = 64,
        sentinel_master: str | None = None,
    ) -> None:
        self._timeout = _in_range(timeout)
        if max_connections < 1:
            raise ValueError(f"max_connections is {max_connections}: expected at least 1")
        if not queue:
            raise ValueError("queue is empty: expected the name of a Celery queue")
        self._address = Address(url, patience=max(_PATIENCE, timeout), sentinel_master=sentinel_master)
        self._queue = queue
        self._max_connections = max_connections
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Prepare for connections; none is made before the first event."""

    def _budget(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else _in_range(timeout)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Make a producer for the broker that ``FEEDBACK_BROKER_URL`` names, as the worker does.

        The URL may stand in a file instead, which ``FEEDBACK_BROKER_URL_FILE`` names. If it names sentinels,
        ``FEEDBACK_SENTINEL_MASTER`` names the master that they watch.

        Args:
            environ: The environment; this process's own if None.
            overrides: Any argument of the class; they win. A ``url`` comes with its own ``sentinel_master``, or none.

        Raises:
            ValueError: The URL, or the file that it stands in, can't be read.
        """
        environ = os.environ if environ is None else environ
        if "url" not in overrides:
            overrides["url"] = secret(environ, "FEEDBACK_BROKER_URL") or DEFAULT_URL
            master = without_line_end(environ.get("FEEDBACK_SENTINEL_MASTER") or "")
            overrides.setdefault("sentinel_master", master or None)
        return cls(**overrides)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._address)!r}, timeout={self._timeout}, queue={self._queue!r})"


def _in_range(timeout: float) -> float:
    if not 0 < timeout <= _LONGEST_TIMEOUT:
        raise ValueError(f"timeout is {timeout}: expected seconds, above 0 and up to {_LONGEST_TIMEOUT:.0f}")
    return timeout


def to_event(
    request_id: FeedbackEvent | str | UUID,
    status: bool | str | None,
    org: str | None,
    group: str | None,
    occurred_at: datetime | str | None,
) -> FeedbackEvent:
    """Return the event that was given, whole or by its fields; raises `InvalidEvent`, or TypeError if both were."""
    if isinstance(request_id, FeedbackEvent):
        if (status, org, group, occurred_at) != (None, None, None, None):
            raise TypeError("enqueue takes an event or its fields, not both")
        return request_id
    fields = {"request_id": request_id, "status": status, "org": org, "group": group, "occurred_at": occurred_at}
    return FeedbackEvent.from_wire(fields)
