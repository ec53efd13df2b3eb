"""What both producers have in common: how they are configured, and how they take what they are given."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from producer._outages import Outages
from producer._resp import PING
from producer._routing import routes_of
from producer.address import Address
from producer.environment import secret, switch, whole_number, without_line_end
from producer.errors import ProducerError
from producer.event import FeedbackEvent
from producer.message import QUEUE
from producer.partitions import MOST_PARTITIONS
from producer.write_concern import MOST_REPLICAS, WriteConcern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from producer._client import FeedbackProducer
    from producer.spool import Spool

__all__ = ["DEFAULT_URL", "Configured", "not_kept", "to_event"]

DEFAULT_URL: Final = "redis://127.0.0.1:6379/0"
_LONGEST_TIMEOUT: Final = 86_400.0
"""Seconds that a budget may have: a day, which every clock and every system call can express."""

_PATIENCE: Final = 1.0
"""Seconds for which each step of connecting goes on behind the backs of calls whose time is up, so that a handshake
slower than the budget still ends in a connection for a later call. Linux repeats a lost SYN after one second."""

_SPOOL_TIMEOUT: Final = 5.0
"""Seconds that a command may take with which a spool is sent: no call waits for it."""

_OF_BROKER: Final[dict[str, tuple[str, Callable[[str], int]]]] = {
    "partitions": ("FEEDBACK_PARTITIONS", partial(whole_number, least=1, most=MOST_PARTITIONS)),
    "replicas": ("FEEDBACK_ENQUEUE_REPLICAS", partial(whole_number, most=MOST_REPLICAS)),
    "fsync": ("FEEDBACK_ENQUEUE_FSYNC", switch),
}
"""Arguments that say what the queue consists of, and what must have an event; with their variables, and how these are
read."""


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
        partitions: int | None = None,
        spool: str | os.PathLike[str] | Spool | None = None,
        replicas: int = 0,
        fsync: bool = False,
    ) -> None:
        self._timeout = _in_range(timeout)
        if max_connections < 1:
            raise ValueError(f"max_connections is {max_connections}: expected at least 1")
        if not queue:
            raise ValueError("queue is empty: expected the name of a Celery queue")
        self._address = Address(
            url, patience=max(_PATIENCE, timeout), sentinel_master=sentinel_master, partitions=partitions
        )
        self._queue = queue
        self._max_connections = max_connections
        prefixes = self._address.prefixes
        self._is_whole = prefixes == ("",)
        self._concern = WriteConcern.of(replicas, fsync=fsync, queue=queue)
        self._pings = {
            number: self._concern.probe(prefix) if self._concern else PING for number, prefix in enumerate(prefixes)
        }
        self._routes = routes_of(self._address, self._concern)
        self._outages = Outages(self._routes, len(prefixes))
        self._spool = None if spool is None else self._attached(spool, url, sentinel_master)
        self._open()

    @property
    def spool(self) -> Spool | None:
        """The directory that keeps events while Redis does not take them, if there is one."""
        return self._spool

    def _attached(self, spool: str | os.PathLike[str] | Spool, url: str, sentinel_master: str | None) -> Spool:
        # These take 5 ms to import, which a producer without a spool does not pay.
        from producer._client import FeedbackProducer  # noqa: PLC0415 - see above
        from producer.spool import Spool  # noqa: PLC0415 - see above

        def connect(queue: str) -> FeedbackProducer:
            timeout = max(self._timeout, _SPOOL_TIMEOUT)
            return FeedbackProducer(
                url,
                timeout=timeout,
                queue=queue,
                max_connections=1,
                sentinel_master=sentinel_master,
                partitions=len(self._address.prefixes),
                replicas=self._concern.replicas if self._concern else 0,
                fsync=self._concern.fsync if self._concern else False,
            )

        made = spool if isinstance(spool, Spool) else Spool(spool)
        made.attach(connect)
        return made

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it was closed."""

    @abstractmethod
    def _open(self) -> None:
        """Prepare for connections; none is made before the first event."""

    @property
    def queue(self) -> str:
        """The Celery queue that events go to."""
        return self._queue

    def _budget(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else _in_range(timeout)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Make a producer for the broker that ``FEEDBACK_BROKER_URL`` names, as the worker does.

        The URL may stand in a file instead, which ``FEEDBACK_BROKER_URL_FILE`` names. If it names sentinels,
        ``FEEDBACK_SENTINEL_MASTER`` names the master that they watch. ``FEEDBACK_SPOOL_DIR`` names the directory of the
        spool, with the limits ``FEEDBACK_SPOOL_MAX_BYTES`` and ``FEEDBACK_SPOOL_MAX_AGE`` (seconds).
        ``FEEDBACK_PARTITIONS`` is ``partitions``, ``FEEDBACK_ENQUEUE_REPLICAS`` ``replicas``, and
        ``FEEDBACK_ENQUEUE_FSYNC`` (yes or no) ``fsync``.

        Args:
            environ: The environment; this process's own if None.
            overrides: Any argument of the class; they win. A ``url`` comes with its own ``sentinel_master``, or none.

        Raises:
            ValueError: The URL, or the file that it stands in, can't be read, the spool can't be used, or another
                variable can't.
        """
        environ = os.environ if environ is None else environ
        if "url" not in overrides:
            overrides["url"] = secret(environ, "FEEDBACK_BROKER_URL") or DEFAULT_URL
            master = without_line_end(environ.get("FEEDBACK_SENTINEL_MASTER") or "")
            overrides.setdefault("sentinel_master", master or None)
        if "spool" not in overrides and (directory := without_line_end(environ.get("FEEDBACK_SPOOL_DIR") or "")):
            from producer.spool import Spool  # noqa: PLC0415 - see `_attached`

            overrides["spool"] = Spool.from_env(directory, environ)
        for argument, (name, read) in _OF_BROKER.items():
            if argument not in overrides and (text := without_line_end(environ.get(name) or "")):
                overrides[argument] = _read(name, text, read)
        return cls(**overrides)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._address)!r}, timeout={self._timeout}, queue={self._queue!r})"


def _read(name: str, text: str, read: Callable[[str], int]) -> int:
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}: {error}") from None


def _in_range(timeout: float) -> float:
    if not 0 < timeout <= _LONGEST_TIMEOUT:
        raise ValueError(f"timeout is {timeout}: expected seconds, above 0 and up to {_LONGEST_TIMEOUT:.0f}")
    return timeout


@contextmanager
def not_kept(events: Sequence[FeedbackEvent], why: ProducerError | None) -> Iterator[None]:
    """Tell an error of the spool which events were not kept, and what Redis had not taken them for."""
    try:
        yield
    except ProducerError as error:
        error.not_taken = tuple(events)
        error.taken = why.taken if why is not None else 0
        raise error from why


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
            raise TypeError("expected an event or its fields, not both")
        return request_id
    fields = {"request_id": request_id, "status": status, "org": org, "group": group, "occurred_at": occurred_at}
    return FeedbackEvent.from_wire(fields)
