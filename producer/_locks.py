"""Locks of the kernel's on files (flock), which end with their process, and which no forked child shares.

A child inherits the open files of its parent, and with them their locks: it closes its copies, or a lock would last
as long as the child.
"""

from __future__ import annotations

import fcntl
import os
from threading import Lock
from typing import TYPE_CHECKING

from producer._forks import in_each_child, notice_fork

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["close", "is_locked", "open_locked"]


class _LockedFiles:
    """The descriptors of this process that hold locks."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.changing = Lock()
        self.descriptors: set[int] = set()

    def before_fork(self) -> None:
        self.changing.acquire()

    def after_fork_in_parent(self) -> None:
        self.changing.release()

    def after_fork_in_child(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.reset()


_LOCKED = _LockedFiles()
os.register_at_fork(before=_LOCKED.before_fork, after_in_parent=_LOCKED.after_fork_in_parent)
in_each_child(_LOCKED.after_fork_in_child)


def open_locked(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file, take its lock, and return its descriptor, for `close`; arguments are those of `os.open`.

    Raises:
        BlockingIOError: Another descriptor has the lock, of this process or of another.
        OSError: The file can't be opened.
    """
    notice_fork()
    with _LOCKED.changing:
        descriptor = os.open(path, flags, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        _LOCKED.descriptors.add(descriptor)
    return descriptor


def close(descriptor: int) -> None:
    """Free a file's lock, also where a process that was forked without Python has the file too, and close it."""
    with _LOCKED.changing:
        _LOCKED.descriptors.discard(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process has a file's lock."""
    try:
        close(open_locked(path, os.O_RDWR))
    except BlockingIOError:
        return True
    return False
