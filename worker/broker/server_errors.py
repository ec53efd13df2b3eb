"""Error replies of a Redis that can't work just now: callers treat it as unavailable, and retry.

A right that the login lacks, and a cluster, are among them: a worker says what to do, and goes on once it is done.

A replica that was a master a moment ago, a full memory, a disk that can't be written: Celery knows these as errors of a
command, and ends the worker over one that comes while it connects.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import redis

from worker.broker.error_advice import advice, is_cluster, lacks_a_right

__all__ = ["ServerError", "translating_server_errors"]

_CLASSES: Final = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.MasterDownError,
)
_CODES: Final = ("NOREPLICAS", "MISCONF", "BUSY ", "CLUSTERDOWN")
"""Those for which redis-py has no class; ``BUSY`` is a script that runs for too long."""


class ServerError(redis.ConnectionError, redis.ResponseError):
    """Redis is there, and refuses for now. It is an answer to a command, and as good as a lost connection."""

    def __repr__(self) -> str:
        """Return what Redis said, and what to do: redis-py's own repr leaves the message out."""
        return f"{type(self).__name__}: {self}"


class _TakingRefusals:
    """A connection that raises `ServerError` for them."""

    def read_response(self, *args: Any, **kwargs: Any) -> object:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]  # mixed into redis-py's connection classes, which have it
        except redis.ResponseError as error:
            text = str(error)
            if lacks_a_right(text) or is_cluster(text):
                raise ServerError(f"{text}; {advice(text)}") from error
            if isinstance(error, _CLASSES) or text.startswith(_CODES):
                raise ServerError(text) from error
            raise


@cache
def translating_server_errors(connection_class: type) -> type:
    """Return a class of connections that raise `ServerError` where Redis refuses for now."""
    return type(connection_class.__name__, (_TakingRefusals, connection_class), {})
