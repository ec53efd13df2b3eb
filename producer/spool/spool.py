"""`Spool`: a directory that keeps events while Redis does not take them."""

from __future__ import annotations

import logging
import math
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

from producer._forks import in_each_child, notice_fork
from producer.environment import without_line_end
from producer.errors import BrokerUnavailable, EnqueueUncertain, ProducerError
from producer.message import trace_headers
from producer.spool import segment
from producer.spool.group import AsyncGroup, Group
from producer.spool.line import contents
from producer.spool.sender import SpoolSender
from producer.spool.status import SpoolStatus, status_of
from producer.spool.writer import Writer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from producer._client import FeedbackProducer
    from producer.event import FeedbackEvent

__all__ = ["Spool"]

T = TypeVar("T")

log = logging.getLogger(__name__)

_MAX_BYTES: Final = 1024**3
_MAX_AGE: Final = timedelta(days=7)
_PROBE_EVERY: Final = 1.0
"""Seconds between tries while Redis is unavailable, and between looks at what other processes have left."""

_LIMITS: Final = {"MAX_BYTES": "bytes, such as 1073741824", "MAX_AGE": "seconds, such as 604800"}
_MOST: Final = 1e13
"""More than any disk has, and seconds that a `timedelta` can have."""


class Spool:
    """Keeps events on disk, durably, while Redis does not take them, and sends them when it does again.

    The directory is shared by all processes of a host that are given it; each has its own `Spool`, and any of them
    sends what another has left. It must be on a local disk that survives the process.

    Args:
        directory: The directory; it is made if it is missing, for its owner alone.
        max_bytes: What may stand in it altogether, roughly: an event takes about 250 bytes.
        max_age: For how long the oldest event may wait. After that the spool refuses more, as Redis is not coming back
            by itself; it keeps what it has.
        timeout: Seconds that a call waits for the disk at most.
        on_spooled: Called in the caller's thread with the events that went to disk; the call then returns.
        on_sent: Called in the spool's thread with the number of events that Redis has taken from it.

    Attributes:
        sent: How many events this process has taken from it, and sent; others' are among them.
        is_redis_available: Whether calls try Redis first. If not, it is probed once a second. While only some primaries
            of a cluster are unavailable, calls for these alone go to disk, and each is tried once a second.

    Raises:
        ValueError: The directory can't be used, or a limit is no such.
    """

    is_redis_available: bool
    _wake: threading.Event
    _trouble: str
    _beginning: threading.Lock

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_bytes: int = _MAX_BYTES,
        max_age: timedelta = _MAX_AGE,
        timeout: float = 1.0,
        on_spooled: Callable[[Sequence[FeedbackEvent]], object] | None = None,
        on_sent: Callable[[int], object] | None = None,
    ) -> None:
        for name, value in {"max_bytes": max_bytes, "max_age": max_age.total_seconds(), "timeout": timeout}.items():
            if value <= 0:
                raise ValueError(f"{name} of the spool is {value}: expected more than 0")
        self.directory: Final = segment.usable(directory)
        self._timeout = timeout
        self._on_spooled = on_spooled
        self._on_sent = on_sent
        self._writer = Writer(self.directory, max_bytes, max_age)
        self._sender: SpoolSender | None = None
        self._thread: threading.Thread | None = None
        self._has_begun = True
        self._start_afresh()
        _SPOOLS.add(self)

    @classmethod
    def from_env(cls, directory: str, environ: Mapping[str, str]) -> Spool:
        """Make a spool with the limits of an environment.

        Args:
            directory: The directory.
            environ: ``FEEDBACK_SPOOL_MAX_BYTES`` and ``FEEDBACK_SPOOL_MAX_AGE`` (seconds) of it are read.

        Raises:
            ValueError: The directory can't be used, or a limit can't be read.
        """
        size, age = (_number(environ, f"FEEDBACK_SPOOL_{name}", expected) for name, expected in _LIMITS.items())
        return cls(
            directory,
            max_bytes=_MAX_BYTES if size is None else int(size),
            max_age=_MAX_AGE if age is None else timedelta(seconds=age),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.directory)!r})"

    @property
    def spooled(self) -> int:
        """How many events this process has put into it."""
        return self._writer.written

    def attach(self, connect: Callable[[str], FeedbackProducer]) -> None:
        """Let it send: producers call it with what makes a producer for a queue.

        Raises:
            ValueError: It belongs to another producer.
        """
        if self._sender is not None:
            raise ValueError(f"the spool {self.directory} belongs to another producer: give each a Spool of its own")
        self._sender = SpoolSender(self.directory, connect)
        self._look()

    def tries_redis(self) -> bool:
        """Return whether a call tries Redis first."""
        notice_fork()
        if not self._has_begun:
            self._begin()
        return self.is_redis_available

    def status(self) -> SpoolStatus:
        """Return what stands in the directory, of all processes. It reads a little of each segment."""
        return status_of(self.directory)

    def has_room(self) -> bool:
        """Return whether its limits would let one event more in; for a probe of readiness. It looks at no content.

        Raises:
            OSError: The directory can't be read.
        """
        return self._writer.has_room()

    def put(self, events: Sequence[FeedbackEvent], queue: str, why: ProducerError | None = None) -> None:
        """Keep events on disk.

        Args:
            events: The events.
            queue: The queue that they are for.
            why: What Redis did not take them for; None if it was not asked.

        Raises:
            BrokerUnavailable: It has no room, or can't be written.
            EnqueueUncertain: The disk took too long: they may be spooled, or not.
        """
        group = Group(self._contents(events, queue, why))
        self._writer.append(group)
        self._end(events, group, is_over=group.wait(self._timeout))

    async def put_async(self, events: Sequence[FeedbackEvent], queue: str, why: ProducerError | None = None) -> None:
        """Keep events on disk; as `put`."""
        group = AsyncGroup(self._contents(events, queue, why))
        self._writer.append(group)
        self._end(events, group, is_over=await group.wait(self._timeout))

    def close(self) -> None:
        """Stop sending. What is in it stays there, and the next process that uses the directory sends it."""
        notice_fork()
        self._closed.set()
        self._wake.set()
        self._writer.close()

    def _contents(self, events: Sequence[FeedbackEvent], queue: str, why: ProducerError | None) -> list[bytes]:
        notice_fork()
        if why is not None and self.is_redis_available:
            log.warning("Redis does not take events, which go to the spool %s: %s", self.directory, why)
            self.is_redis_available = False
            self._wake.set()
        self._ensure_thread()
        return contents(events, queue=queue, spooled_at=datetime.now(UTC), trace=trace_headers())

    def _end(self, events: Sequence[FeedbackEvent], group: Group | AsyncGroup, *, is_over: bool) -> None:
        if not is_over:
            raise EnqueueUncertain(f"the disk of the spool {self.directory} took longer than {self._timeout} s")
        error = group.error
        if isinstance(error, OSError):
            raise BrokerUnavailable(
                f"the spool {self.directory} can't be written: {error.strerror or error}"
            ) from error
        if isinstance(error, ProducerError):  # all callers of a group have the same, and each says its own events
            raise type(error)(str(error))
        if error is not None:
            raise error
        if self._on_spooled is not None:
            _tell(self._on_spooled, events)

    def _begin(self) -> None:
        """Begin in a child: with locks as its gevent has patched them since the fork, and what others have left."""
        with self._beginning:
            if not self._has_begun:
                self._writer.start_afresh()
                self._start_afresh()
                self._has_begun = True
        self._look()

    def _look(self) -> None:
        with suppress(OSError):
            if segment.paths(self.directory):
                self._ensure_thread()

    def _ensure_thread(self) -> None:
        if self._thread is None and self._sender is not None:
            with self._starting:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="feedback-spool", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError as error:  # no more threads for now: the next call tries again
                        log.warning("the spool %s is not sent for now: %s", self.directory, error)
                    else:
                        self._thread = thread

    def _run(self) -> None:
        assert self._sender is not None  # noqa: S101 - there is no thread before
        while not self._closed.is_set():
            self._wake.clear()
            try:
                self._send(self._sender)
            except Exception:
                log.exception("the spool %s can't be sent", self.directory)
            self._wake.wait(_PROBE_EVERY)
        self._sender.close()

    def _send(self, sender: SpoolSender) -> None:
        trouble = ""
        try:
            if not self.is_redis_available:
                sender.ping()
            self._send_ended(sender)
        except BlockingIOError:  # another process sends; and Redis has answered
            self._found_available()
        except ProducerError as error:
            self.is_redis_available = error.taken > 0 or sender.answers_in_part()
            log.debug("the spool %s waits for Redis: %s", self.directory, error)
            return
        except OSError as error:  # the disk fails, and Redis has answered: calls had better go there
            trouble = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
            self._found_available()
        if trouble not in {"", self._trouble}:
            log.error("the spool %s can't be sent: %s", self.directory, trouble)
        self._trouble = trouble
        # What had ended was sent. Now this process's own segment, which also shows whether Redis takes events again.
        if self._writer.seal():
            self._wake.set()
        else:
            self._found_available()

    def _send_ended(self, sender: SpoolSender) -> None:
        for count in sender.send():
            self._found_available()
            self.sent += count
            if self._on_sent is not None:
                _tell(self._on_sent, count)
            if self._closed.is_set():
                break

    def _found_available(self) -> None:
        if not self.is_redis_available:
            log.warning("Redis takes events again: the spool %s is being sent", self.directory)
            self.is_redis_available = True

    def _start_afresh(self) -> None:
        self.sent = 0
        self.is_redis_available = True
        self._trouble = ""
        self._thread = None
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()

    def after_fork_in_child(self) -> None:
        """Share neither segment nor thread with the parent."""
        self._writer.start_afresh()
        self._start_afresh()
        self._beginning = threading.Lock()
        self._has_begun = False


def _number(environ: Mapping[str, str], name: str, expected: str) -> float | None:
    text = without_line_end(environ.get(name) or "")
    try:
        number = float(text) if text else None
    except ValueError:
        number = math.nan
    if number is not None and not 0 < number < _MOST:
        raise ValueError(f"{name} is {text!r}: expected {expected}")
    return number


def _tell(callback: Callable[[T], object], what: T) -> None:
    try:
        callback(what)
    except Exception:
        log.exception("a callback of the spool has failed; its events are safe")


_SPOOLS: Final[WeakSet[Spool]] = WeakSet()


def _after_fork_in_child() -> None:
    for spool in list(_SPOOLS):
        spool.after_fork_in_child()


in_each_child(_after_fork_in_child)
