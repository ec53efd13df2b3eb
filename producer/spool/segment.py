"""A segment: a file of spooled events, one line each; see `producer.spool.line`.

Lines are only ever appended, by the one process that holds the file's lock (flock). What is after the last whole line
when that process is gone was never acknowledged. Beside it, a file ``.sent`` holds how many bytes and lines Redis has
taken.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Final

from producer import _locks
from producer.spool.checksum import checked, content_of
from producer.spool.line import number_of

__all__ = [
    "LINES", "SegmentProgress", "create", "created_at", "last_number", "measure", "paths", "remove_orphans", "torn_end",
    "usable", "whole_lines",
]  # fmt: skip

_SUFFIX: Final = ".events"
_SENT: Final = ".sent"
_UNNAMED: Final = ".new"
_SURELY_LEFT: Final = 60.0
"""Seconds after which a segment without a name is no longer about to get one."""

_TAIL: Final = 65_536
"""Bytes at the end of a segment in which its last whole line is looked for; a line has up to about 5,000."""

LINES: Final = 500
"""Lines that are read, and sent, at once; see `producer._chunks.CHUNK`."""


def whole_lines(path: Path, offset: int) -> list[bytes]:
    """Return up to `LINES` lines of a segment from an offset on, with their line feeds; no torn one at its end."""
    lines: list[bytes] = []
    with path.open("rb") as file:
        file.seek(offset)
        for text in file:
            if not text.endswith(b"\n") or len(lines) == LINES:
                break
            lines.append(text)
    return lines


def torn_end(path: Path, offset: int) -> bytes:
    """Return what is after the last whole line."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def last_number(path: Path) -> int:
    """Return the number of a segment's last whole line: how many it has."""
    descriptor = os.open(path, os.O_RDONLY)  # a file object would take longer than all else, for each of many segments
    try:
        tail = os.pread(descriptor, _TAIL, max(0, os.fstat(descriptor).st_size - _TAIL))
    finally:
        os.close(descriptor)
    return next((number for text in reversed(tail.split(b"\n")[:-1]) if (number := number_of(text))), 0)


def paths(directory: Path) -> list[Path]:
    """Return a directory's segments, the oldest first."""
    segments = (path for path in directory.iterdir() if path.name.endswith(_SUFFIX))
    return sorted(segments, key=attrgetter("name"))  # paths themselves are compared slowly


def measure(directory: Path) -> tuple[int, Path | None]:
    """Return the bytes of all files of a directory, and its oldest segment."""
    size, names = 0, []
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it was sent meanwhile
                size += entry.stat().st_size
                if entry.name.endswith(_SUFFIX):
                    names.append(entry.name)
    return size, directory / min(names) if names else None


def create(directory: Path) -> tuple[Path, int]:
    """Make a segment, and return it with a descriptor that holds its lock; close that with `_locks.close`.

    It gets its name when it is locked: a segment without a lock is taken for that of a process that is gone.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may have been removed
    path = directory / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
    unnamed = path.with_suffix(_UNNAMED)
    descriptor = _locks.open_locked(unnamed, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL)
    try:
        unnamed.rename(path)
        _sync_directory(directory)
    except BaseException:
        _locks.close(descriptor)
        raise
    return path, descriptor


def created_at(path: Path) -> datetime:
    """Return when a segment was made."""
    return datetime.fromtimestamp(int(path.name.partition("-")[0]) / 1e9, UTC)


def usable(directory: str | os.PathLike[str]) -> Path:
    """Return a spool's directory, which is made if it is missing.

    Raises:
        ValueError: It can't be used.
    """
    path = Path(directory).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"the spool {path} can't be made: {error.strerror}") from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ValueError(f"the spool {path} can't be written by this user")
    return path


def remove_orphans(directory: Path) -> None:
    """Remove what a process left that ended between two steps: progress without a segment, a segment without a name."""
    for path in directory.iterdir():
        with suppress(FileNotFoundError):  # it got its name meanwhile
            is_without = path.suffix == _SENT and not path.with_suffix(_SUFFIX).exists()
            if is_without or (path.suffix == _UNNAMED and time.time() - path.stat().st_mtime > _SURELY_LEFT):
                path.unlink()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SegmentProgress:
    """How much of a segment Redis has taken. What a crash keeps it from saying is sent again, and delivered once."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_suffix(_SENT)
        self.offset, self.lines = self._read()

    def advance(self, size: int, lines: int) -> None:
        """Write down that so many bytes and lines more were taken."""
        self.offset += size
        self.lines += lines
        content = b"%020d %020d" % (self.offset, self.lines)
        # Overwritten in place: ext4 flushes a file that is truncated and written again.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, checked(content), 0)
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Forget it, with its segment."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> tuple[int, int]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return 0, 0
        try:
            content = content_of(os.read(descriptor, _TAIL))
        finally:
            os.close(descriptor)
        if content is None:
            return 0, 0
        offset, lines = content.split()
        return int(offset), int(lines)
