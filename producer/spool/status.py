"""What stands in a spool's directory, told without its processes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from producer import _locks
from producer.spool import segment
from producer.spool.line import parse
from producer.spool.sender import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from producer.spool.line import Record

__all__ = ["SpoolStatus", "records_of", "status_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStatus:
    """What waits in a spool.

    Attributes:
        events: How many events wait.
        bytes: What all files take.
        oldest_at: When the oldest of them went to disk; None if none waits.
        writers: How many processes are writing to it.
        unreadable_bytes: What was set aside because it can't be read, in the file `unreadable`.
    """

    events: int
    bytes: int
    oldest_at: datetime | None
    writers: int
    unreadable_bytes: int


def status_of(directory: Path) -> SpoolStatus:
    """Return what stands in a directory; raises OSError if it can't be read."""
    events = writers = 0
    paths = segment.paths(directory)
    for path in paths:
        with suppress(FileNotFoundError):  # it was sent meanwhile
            events += max(0, segment.last_number(path) - segment.SegmentProgress(path).lines)
            writers += _locks.is_locked(path)
    unreadable = 0
    with suppress(FileNotFoundError):
        unreadable = (directory / UNREADABLE).stat().st_size
    oldest = next(_records_in(paths), None)
    return SpoolStatus(
        events=events,
        bytes=segment.measure(directory)[0],
        oldest_at=oldest.spooled_at if oldest else None,
        writers=writers,
        unreadable_bytes=unreadable,
    )


def records_of(directory: Path) -> Iterator[Record]:
    """Yield what waits in a directory, the oldest segment first; it stays there. Raises OSError."""
    yield from _records_in(segment.paths(directory))


def _records_in(paths: Iterable[Path]) -> Iterator[Record]:
    for path in paths:
        with suppress(FileNotFoundError):  # it was sent meanwhile
            offset = segment.SegmentProgress(path).offset
            while lines := segment.whole_lines(path, offset):
                offset += sum(map(len, lines))
                yield from (found[1] for text in lines if (found := parse(text)))
