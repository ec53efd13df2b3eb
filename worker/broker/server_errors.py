"""Error replies of a Redis that can't work just now: callers treat it as unavailable, and retry.

A right that the login lacks, and a cluster, are among them: a worker says what to do, and goes on once it is done.

A replica that was a master a moment ago, a full memory, a disk that can't be written: Celery knows these as errors of a
command, and ends the worker over one that comes while it connects.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import redis

__all__ = ["ServerError", "advice", "translating_server_errors"]

_CLASSES: Final = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.MasterDownError,
)
_CODES: Final = ("NOREPLICAS", "MISCONF", "BUSY ", "CLUSTERDOWN")
"""Those for which redis-py has no class; ``BUSY`` is a script that runs for too long."""

_CLUSTER: Final = re.compile(r"^(CROSSSLOT|MOVED|ASK)\b|don't hash to the same slot|not allowed in cluster mode")
_COMMAND: Final = re.compile(r"no permissions to run the '([^']+)' command")
_NO_KEY: Final = re.compile(r"no permissions to access (one of the keys|a key)\b", re.IGNORECASE)
_NO_CHANNEL: Final = re.compile(r"no permissions to access (one of the channels|a channel)\b", re.IGNORECASE)
"""Redis 7.0 has one wording, later ones and Valkey another."""

_LINES: Final = "docs/settings.md has all of them, in the section Rights, for ACL SETUSER"


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
            if fix := advice(text):
                raise ServerError(f"{text}; {fix}") from error
            if isinstance(error, _CLASSES) or text.startswith(_CODES):
                raise ServerError(text) from error
            raise


@cache
def translating_server_errors(connection_class: type) -> type:
    """Return a class of connections that raise `ServerError` where Redis refuses for now."""
    return type(connection_class.__name__, (_TakingRefusals, connection_class), {})


def advice(text: str) -> str:
    """Return what to do about a refusal, as Redis words it; '' if that is not known."""
    if _CLUSTER.search(text):
        return "Redis is in cluster mode: name its nodes in FEEDBACK_BROKER_URL as redis+cluster://host:port,host:port"
    if found := _COMMAND.search(text):
        return f"give the broker's login the right +{found[1].lower()}: {_LINES}"
    if _NO_KEY.search(text):
        return f"give the broker's login its keys: {_LINES}"
    if _NO_CHANNEL.search(text):
        return f"give the broker's login its channels, on which workers are spoken to: {_LINES}"
    return ""
