"""The thread that writes spooled events to disk: what many callers hand over meanwhile shares one fsync."""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Final

from producer import _locks
from producer.errors import BrokerUnavailable, EnqueueUncertain
from producer.spool import segment
from producer.spool.group import AsyncGroup, Group, end_all
from producer.spool.line import line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

__all__ = ["Writer"]

_SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""A segment of that size is ended: it can be removed as soon as it was sent."""

_MEASURED_FOR: Final = 0.5
"""Seconds for which the size of the directory, in which other processes write too, is not measured again."""

_SPARING: Final = 20
"""Times as long as it took to measure it; ten thousand segments take tens of milliseconds."""

_MOST_WAITING: Final = 10_000
"""Calls whose records wait for a disk that does not keep up; more are refused, or the process would grow."""

_GATHER: Final = 0.0002
"""Seconds in which the callers of a group that was just written hand over what comes next. Without it the first of them
would get a sync of its own, and the others wait for it."""

_IDLE: Final = 5.0
"""Seconds without a record after which the thread ends; the next one starts another."""


def _take_all(groups: queue.SimpleQueue[Group | AsyncGroup], *, gather: bool) -> list[Group | AsyncGroup]:
    """Wait for a group, and return all that are there then; none if none comes for a while."""
    taken: list[Group | AsyncGroup] = []
    with suppress(queue.Empty):
        taken.append(groups.get(timeout=_IDLE))
        if gather:
            time.sleep(_GATHER)
        while True:
            taken.append(groups.get_nowait())
    return taken


def _is_removed(descriptor: int) -> bool:
    return not os.fstat(descriptor).st_nlink


def _require_there(descriptor: int) -> None:
    if _is_removed(descriptor):
        raise FileNotFoundError(errno.ENOENT, "its files were removed")


class Writer:
    """Appends records to a segment of its own process.

    Args:
        directory: Where the segments are.
        max_bytes: What all files of the directory may take together.
        max_age: How old the oldest segment may be.

    Attributes:
        written: How many records it has written.
    """

    def __init__(self, directory: Path, max_bytes: int, max_age: timedelta) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.start_afresh()

    def append(self, group: Group | AsyncGroup) -> None:
        """Write the lines of a group to disk, and end it; with `BrokerUnavailable` or an OSError if they are not there.

        Raises:
            BrokerUnavailable: Too much waits for the disk already, or there is no thread that could write.
        """
        if self._groups.qsize() >= _MOST_WAITING:
            raise BrokerUnavailable(f"the disk of the spool {self._directory} does not keep up")
        with self._handing_over:
            if self._thread is None:
                try:
                    self._start()
                except RuntimeError as error:
                    raise BrokerUnavailable(f"the spool {self._directory} can't be written: {error}") from error
            self._groups.put(group)

    def has_room(self) -> bool:
        """Whether the limits would let one record more in; raises OSError if the directory can't be read."""
        total, oldest = segment.measure(self._directory)
        return total < self._max_bytes and not self._waits_too_long(oldest)

    def seal(self) -> bool:
        """End the segment, which can be sent then; the next record begins another. Returns whether there was one."""
        with self._files:
            is_open = self._descriptor is not None
            self._close()
        return is_open

    def close(self) -> None:
        """End the segment for good: what comes later is refused, as this process would keep others from sending it."""
        with self._files:
            self._is_closed = True
            self._close()

    def start_afresh(self) -> None:
        """Begin with a segment of its own, and with no thread: after a fork, in the child."""
        self._files = threading.Lock()
        self._groups: queue.SimpleQueue[Group | AsyncGroup] = queue.SimpleQueue()
        self._handing_over = threading.Lock()
        self._thread = None
        self._descriptor: int | None = None
        self._path = self._directory
        self._size = 0
        self._number = 0
        self._others = 0
        self._measure_at = 0.0
        self.written = 0

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, args=(self._groups,), name="feedback-spool-writer", daemon=True)
        thread.start()
        self._thread = thread  # not before it runs: else nothing would write, nor start another

    def _run(self, groups: queue.SimpleQueue[Group | AsyncGroup]) -> None:
        are_many = False
        while waiting := _take_all(groups, gather=are_many):
            self._write_together(waiting)
            are_many = len(waiting) > 1
            del waiting  # or what was written last would stay in memory
        with self._handing_over:
            self._thread = None
            if not groups.empty():  # handed over since it was found empty
                self._start()

    def _write_together(self, groups: list[Group | AsyncGroup]) -> None:
        error: BaseException | None = None
        try:
            with self._files:
                self._write([content for group in groups for content in group.contents])
        except BaseException as raised:  # noqa: BLE001 - each waiting caller gets it
            error = raised
        end_all(groups, error)

    def _write(self, contents: Sequence[bytes]) -> None:
        if self._is_closed:
            raise BrokerUnavailable("the producer is closed")
        self._open()
        content = b"".join(map(line, contents, count(self._number + 1)))
        self._require_room(len(content))
        descriptor = self._descriptor
        assert descriptor is not None  # noqa: S101 - `_open` has just set it
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
            _require_there(descriptor)
        except BaseException:
            self._take_back(descriptor)
            raise
        self._size += len(content)
        self._number += len(contents)
        self.written += len(contents)

    def _take_back(self, descriptor: int) -> None:
        """Remove what may have been written, and end the segment: what is on disk after a failed sync is unknown."""
        try:
            os.ftruncate(descriptor, self._size)
            if not self._size:  # or a full disk would get an empty file for each call that it refuses
                self._path.unlink(missing_ok=True)
        except OSError as error:
            raise EnqueueUncertain(f"the spool {self._directory} can't be written: {error.strerror}") from error
        finally:
            self._close()

    def _open(self) -> None:
        if self._size >= _SEGMENT_BYTES or (self._descriptor is not None and _is_removed(self._descriptor)):
            self._close()
        if self._descriptor is None:
            self._path, self._descriptor = segment.create(self._directory)

    def _close(self) -> None:
        if self._descriptor is not None:
            _locks.close(self._descriptor)
        self._descriptor, self._size, self._number = None, 0, 0
        self._measure_at = 0.0

    def _require_room(self, size: int) -> None:
        now = time.monotonic()
        if now >= self._measure_at:
            total, oldest = segment.measure(self._directory)
            self._others = total - self._size
            took = time.monotonic() - now
            self._measure_at = now + max(_MEASURED_FOR, _SPARING * took)
            self._require_young(oldest)
        if self._others + self._size + size > self._max_bytes:
            raise BrokerUnavailable(f"the spool {self._directory} is full: it may take {self._max_bytes} bytes")

    def _require_young(self, oldest: Path | None) -> None:
        if oldest and self._waits_too_long(oldest):
            self._measure_at = 0.0
            at = segment.created_at(oldest).isoformat(timespec="seconds")
            raise BrokerUnavailable(
                f"the spool {self._directory} has waited for Redis since {at}, longer than {self._max_age}"
            )

    def _waits_too_long(self, oldest: Path | None) -> bool:
        return oldest is not None and segment.created_at(oldest) < datetime.now(UTC) - self._max_age
