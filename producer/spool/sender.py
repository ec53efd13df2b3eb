"""Sends what was spooled to Redis, segment by segment, the oldest first."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from producer import _locks
from producer.errors import ProducerError
from producer.message import QUEUE, messages_of
from producer.spool import segment
from producer.spool.line import sendable
from producer.spool.segment import SegmentProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from producer._client import FeedbackProducer
    from producer.message import Parts

__all__ = ["UNREADABLE", "SpoolSender"]

log = logging.getLogger(__name__)

_LOCK: Final = "lock"

UNREADABLE: Final = "unreadable"
"""The file to which lines go that can't be read: a part of the disk was damaged, or power was lost while it wrote."""


class SpoolSender:
    """Empties a spool's directory. One process at a time does it; a lock of the kernel's keeps the others out.

    Args:
        directory: Where the segments are.
        connect: Makes a producer for a queue: without a spool, and with one connection.
    """

    def __init__(self, directory: Path, connect: Callable[[str], FeedbackProducer]) -> None:
        self._directory = directory
        self._connect = connect
        self._producers: dict[str, FeedbackProducer] = {}
        self._unwritten: dict[Path, SegmentProgress] = {}
        self._read_through: dict[Path, int] = {}
        self._cut_short: tuple[tuple[Path, int], set[int]] = (directory, 0), set()

    def close(self) -> None:
        """Close the connections."""
        while self._producers:
            self._producers.popitem()[1].close()

    def ping(self) -> None:
        """Return if Redis answers, of a cluster any primary; raises as `FeedbackProducer.ping`."""
        if not self.answers_in_part():
            self._producer(QUEUE).ping()

    def answers_in_part(self) -> bool:
        """Return whether there are several primaries, and one of them answers."""
        return self._producer(QUEUE).answers_in_part()

    def send(self) -> Iterator[int]:
        """Send the segments that have ended in chunks of up to 500, and yield how many events each had.

        One that is still written is left: what is not on disk yet may be taken back, and its caller be told so. One
        that the disk refuses, or that belongs to another user, is passed over, and keeps none of the others back.

        Raises:
            BlockingIOError: Another process sends it just now.
            BrokerUnavailable: Redis does not take it; the rest stays where it is.
            EnqueueUncertain: Redis may have taken the last chunk, which will be sent again.
            OSError: A segment can't be read or removed; the others were sent.
        """
        failed: OSError | None = None
        with self._alone():
            for path in segment.paths(self._directory):
                try:
                    if not _locks.is_locked(path):
                        yield from self._send_segment(path)
                except FileNotFoundError:
                    pass  # it was removed meanwhile
                except OSError as error:
                    failed = failed or error
            segment.remove_orphans(self._directory)
        if failed is not None:
            raise failed

    def _send_segment(self, path: Path) -> Iterator[int]:
        progress = SegmentProgress(path)
        if path in self._unwritten and self._unwritten[path].offset > progress.offset:
            progress = self._unwritten[path]
        while lines := segment.whole_lines(path, progress.offset):
            found = [sendable(text) for text in lines]
            events = [event for event in found if event]
            size = sum(map(len, lines))
            bad = b"".join(text for text, event in zip(lines, found, strict=True) if not event)
            self._set_aside(bad, path, progress.offset + size)
            self._send_chunk(events, (path, progress.offset))
            self._advance(progress, path, size, len(lines))
            yield len(events)
        torn = segment.torn_end(path, progress.offset)
        self._set_aside(torn, path, progress.offset + len(torn))
        path.unlink()
        progress.remove()
        self._unwritten.pop(path, None)
        self._read_through.pop(path, None)

    def _advance(self, progress: SegmentProgress, path: Path, size: int, lines: int) -> None:
        """Note what Redis has taken; in memory, if a full disk has no room for it: to remove the segment makes room."""
        try:
            progress.advance(size, lines)
        except OSError as error:
            if path not in self._unwritten:
                log.warning("how much of %s was sent is kept in memory alone: %s", path, error.strerror or error)
            self._unwritten[path] = progress

    def _send_chunk(
        self, events: Sequence[tuple[Parts, tuple[str, Mapping[str, str]]]], place: tuple[Path, int]
    ) -> None:
        """Send the events of the lines at a place, but for those that were taken when it was tried before."""
        if self._cut_short[0] != place:
            self._cut_short = place, set()
        taken = self._cut_short[1]
        left = [(number, *event) for number, event in enumerate(events) if number not in taken]
        chunks: dict[str, tuple[list[int], list[bytes], list[str]]] = {}
        for (queue, trace), alike in groupby(left, key=itemgetter(2)):
            places, parts, _ = zip(*alike, strict=True)
            chunk = chunks.setdefault(queue, ([], [], []))
            chunk[0].extend(places)
            chunk[1].extend(messages_of(parts, queue=queue, trace=trace))
            chunk[2].extend(request_id for request_id, *_ in parts)
        for queue, (numbers, messages, request_ids) in chunks.items():
            try:
                self._producer(queue).enqueue_messages(messages, request_ids=request_ids)
            except ProducerError as error:
                # Of a cluster some primaries may have taken theirs: they are not to get them again with each try.
                not_taken = {numbers[at] for at in error.messages_not_taken}
                taken.update(number for number in numbers if number not in not_taken)
                raise
            taken.update(numbers)

    def _set_aside(self, text: bytes, path: Path, through: int) -> None:
        """Keep what can't be read of a segment up to an offset, once: its lines may be read again, as Redis fails."""
        if self._read_through.get(path, 0) >= through:
            return
        if text.strip(b"\0\n"):  # a file that was extended when power was lost ends with zeros
            with (self._directory / UNREADABLE).open("ab") as file:
                file.write(text.removesuffix(b"\n") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            log.error("%d bytes of the spool %s can't be read, and are set aside", len(text), path)
            self._read_through[path] = through

    def _producer(self, queue: str) -> FeedbackProducer:
        if queue not in self._producers:
            self._producers[queue] = self._connect(queue)
        return self._producers[queue]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = _locks.open_locked(self._directory / _LOCK, os.O_RDWR | os.O_CREAT)
        try:
            yield
        finally:
            _locks.close(descriptor)
