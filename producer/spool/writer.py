"""The thread that writes spooled events to disk: what many callers hand over meanwhile shares one fsync."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final

from producer.errors import BrokerUnavailable
from producer.spool import locks, segment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

    from producer.spool.segment import Record

__all__ = ["Writer"]

_SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""A segment of that size is ended: it can be removed as soon as it was sent."""

_MEASURED_FOR: Final = 0.5
"""Seconds for which the size of the directory, in which other processes write too, is not measured again."""


_MOST_WAITING: Final = 10_000
"""Calls whose records wait for a disk that does not keep up; more are refused, or the process would grow."""


_IDLE: Final = 5.0
"""Seconds without a record after which the thread ends; the next one starts another."""


class _Group:
    """Records that one caller has handed over, and the future that it waits for."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.written: Future[None] = Future()


def _take_all(groups: SimpleQueue[_Group]) -> list[_Group]:
    """Wait for a group, and return all that are there then; none if none comes for a while."""
    taken = []
    with suppress(Empty):
        taken.append(groups.get(timeout=_IDLE))
        while True:
            taken.append(groups.get_nowait())
    return taken


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
        self._thread: Thread | None = None
        self.start_afresh()

    def append(self, records: Sequence[Record]) -> Future[None]:
        """Return a future that ends when the records are on disk.

        It ends with `BrokerUnavailable` or with an OSError if they are not, and never will be.

        Raises:
            BrokerUnavailable: Too much waits for the disk already.
        """
        if self._groups.qsize() >= _MOST_WAITING:
            raise BrokerUnavailable(f"the disk of the spool {self._directory} does not keep up")
        group = _Group(records)
        with self._handing_over:
            self._groups.put(group)
            if self._thread is None:
                self._start()
        return group.written

    def seal(self) -> bool:
        """End the segment, which can be sent then; the next record begins another. Returns whether there was one."""
        with self._files:
            is_open = self._descriptor is not None
            self._close()
        return is_open

    def start_afresh(self) -> None:
        """Begin with a segment of its own, and with no thread: after a fork, in the child."""
        self._files = Lock()
        self._groups: SimpleQueue[_Group] = SimpleQueue()
        self._handing_over = Lock()
        self._thread = None
        self._descriptor: int | None = None
        self._size = 0
        self._number = 0
        self._others = 0
        self._measured_at = -_MEASURED_FOR
        self.written = 0

    def _start(self) -> None:
        self._thread = Thread(target=self._run, args=(self._groups,), name="feedback-spool-writer", daemon=True)
        self._thread.start()

    def _run(self, groups: SimpleQueue[_Group]) -> None:
        while waiting := _take_all(groups):
            self._write_together(waiting)
            del waiting  # or what was written last would stay in memory
        with self._handing_over:
            self._thread = None
            if not groups.empty():  # handed over since it was found empty
                self._start()

    def _write_together(self, groups: list[_Group]) -> None:
        try:
            with self._files:
                self._write([record for group in groups for record in group.records])
        except BaseException as error:  # noqa: BLE001 - each waiting caller gets it
            for group in groups:
                group.written.set_exception(error)
        else:
            for group in groups:
                group.written.set_result(None)

    def _write(self, records: Sequence[Record]) -> None:
        self._open()
        first = self._number + 1
        content = b"".join(segment.line(record, first + index) for index, record in enumerate(records))
        self._require_room(len(content))
        descriptor = self._descriptor
        assert descriptor is not None  # noqa: S101 - `_open` has just set it
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except BaseException:
            # What is on disk is not known after a failed fsync: the lines are taken back, and the segment ends here.
            try:
                os.ftruncate(descriptor, self._size)
            finally:
                self._close()
            raise
        self._size += len(content)
        self._number += len(records)
        self.written += len(records)

    def _open(self) -> None:
        if self._size >= _SEGMENT_BYTES:
            self._close()
        if self._descriptor is None:
            self._descriptor = segment.create(self._directory)

    def _close(self) -> None:
        if self._descriptor is not None:
            locks.close(self._descriptor)
        self._descriptor, self._size, self._number = None, 0, 0
        self._measured_at = -_MEASURED_FOR

    def _require_room(self, size: int) -> None:
        now = time.monotonic()
        if now - self._measured_at >= _MEASURED_FOR:
            self._require_young()
            self._others, self._measured_at = segment.size_of(self._directory) - self._size, now
        if self._others + self._size + size > self._max_bytes:
            raise BrokerUnavailable(f"the spool {self._directory} is full: it may take {self._max_bytes} bytes")

    def _require_young(self) -> None:
        oldest = next(iter(segment.paths(self._directory)), None)
        if oldest and (since := segment.created_at(oldest)) < datetime.now(UTC) - self._max_age:
            at = since.isoformat(timespec="seconds")
            raise BrokerUnavailable(
                f"the spool {self._directory} has waited for Redis since {at}, longer than {self._max_age}"
            )
