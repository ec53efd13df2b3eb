"""What one caller hands to the writer, and waits for: a thread by a lock, a task of asyncio by a future of its loop."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["AsyncGroup", "Group", "end_all"]


class Group:
    """Lines of one call of a thread's.

    Attributes:
        contents: What the lines say; see `producer.spool.line.contents`.
        error: Why they are not on disk; None if they are. To be read once `wait` has returned True.
    """

    __slots__ = ("_waiting", "contents", "error")

    def __init__(self, contents: Sequence[bytes]) -> None:
        self.contents = contents
        self.error: BaseException | None = None
        self._waiting = threading.Lock()  # a future's condition takes six times as long
        self._waiting.acquire()

    def wait(self, seconds: float) -> bool:
        """Return whether the writer has ended with it within so many seconds."""
        return self._waiting.acquire(timeout=seconds)

    def end(self) -> None:
        """Let `wait` return."""
        self._waiting.release()


class AsyncGroup:
    """Lines of one call of a task's; attributes are those of `Group`."""

    __slots__ = ("_waiting", "contents", "error", "loop")

    def __init__(self, contents: Sequence[bytes]) -> None:
        self.contents = contents
        self.error: BaseException | None = None
        self.loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[None] = self.loop.create_future()

    async def wait(self, seconds: float) -> bool:
        """Return whether the writer has ended with it within so many seconds."""
        await asyncio.wait({self._waiting}, timeout=seconds)
        return self._waiting.done()

    def end(self) -> None:
        """Let `wait` return; to be called in its loop."""
        if not self._waiting.done():
            self._waiting.set_result(None)


def end_all(groups: Iterable[Group | AsyncGroup], error: BaseException | None) -> None:
    """Let all callers go on; each loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[AsyncGroup]] = {}
    for group in groups:
        group.error = error
        if isinstance(group, Group):
            group.end()
        else:
            by_loop.setdefault(group.loop, []).append(group)
    for loop, those in by_loop.items():
        with suppress(RuntimeError):  # it was closed meanwhile: no caller waits
            loop.call_soon_threadsafe(_end, those)


def _end(groups: list[AsyncGroup]) -> None:
    for group in groups:
        group.end()
