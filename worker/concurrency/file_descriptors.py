"""File descriptors: how many deliveries at once a process has enough of them for.

Each delivery needs one, for its connection to AquilaX. A process that has none left can neither answer its monitors nor
reach the database, nor connect to Redis again; so some are kept for that, and deliveries wait for each other instead.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from worker.concurrency.scheduler import current_scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.concurrency.scheduler import Waiter

__all__ = ["OutOfDescriptors", "Room", "deliveries_at_once", "is_own_shortage"]

log = logging.getLogger(__name__)

_KEPT: Final = 24
"""Descriptors for all else that a worker opens as it goes: the database, Redis, names, certificates, replies."""

_AT_START: Final = 48
"""As many as a worker has open before its first delivery, where the system does not say."""

_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class OutOfDescriptors(Exception):
    """This process can open no more connections: it is our shortage, and no fault of AquilaX or of an event."""


def is_own_shortage(error: BaseException) -> bool:
    """Whether an error of the system says that this process or machine has run out of something."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES


def deliveries_at_once(wanted: int) -> int:
    """Return how many deliveries this process has descriptors for, at the most as many as are wanted.

    The limit is raised first, as far as this process may.
    """
    used = _open_now()
    limit = _raised(used + wanted + _KEPT)
    possible = max(1, min(wanted, limit - used - _KEPT))
    if possible < wanted:
        log.warning(
            "this worker may open %d files, and so delivers %d events at once, not the %d of its concurrency: "
            "let it open %d (ulimit -n, LimitNOFILE), or lower FEEDBACK_CONCURRENCY",
            limit,
            possible,
            wanted,
            used + wanted + _KEPT,
        )
    return possible


def _raised(needed: int) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def _open_now() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only the names are counted; pathlib would make an object of each
    except OSError:
        return _AT_START


class Room:
    """As many deliveries at once as there are descriptors for; the others wait, before they have claimed anything.

    Args:
        most: How many at once.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._free = most
        self._waiting: deque[Waiter] = deque()
        self._threads = threading.BoundedSemaphore(most)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for room, and take it."""
        scheduler = current_scheduler()
        if scheduler is None:
            with self._threads:
                yield
            return
        if self._free:
            self._free -= 1
        else:
            waiter = scheduler.waiter()
            self._waiting.append(waiter)
            waiter.get()  # a delivery that ends hands its room on
        try:
            yield
        finally:
            if self._waiting:
                scheduler.wake_threadsafe((self._waiting.popleft(),))
            else:
                self._free += 1
