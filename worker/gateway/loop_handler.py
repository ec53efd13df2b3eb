"""A handler of `logging` for an event loop: the lines of a moment are formatted and written together, in the loop.

A write for each line takes longer than the line itself. A thread that wrote them, as the worker's does
(`worker.observability.line_gathering`), would fight the loop for Python's lock at each of its callbacks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from worker.observability.line_gathering import text_of

__all__ = ["LoopHandler"]

_MOMENT: Final = 0.05
"""Seconds for which lines are gathered. A process that is killed loses those of its last moment."""


class LoopHandler(logging.StreamHandler):  # type: ignore[type-arg] # it is generic in its stub alone
    """Writes to standard error. An error, and what is logged outside of a loop, is written at once, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self._gathered: list[logging.LogRecord] = []
        self._is_due = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line for a moment; the handler's lock is held."""
        self._gathered.append(record)
        if record.levelno >= logging.ERROR or not (self._is_due or self._schedule()):
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        self.acquire()
        try:
            self._is_due = False
            gathered, self._gathered = self._gathered, []
            if (text := text_of(self, gathered)) is not None:
                self.stream.write(text + self.terminator)
            super().flush()
        except OSError:  # a full disk, say: there may be room later
            if gathered:
                self.handleError(gathered[-1])
        finally:
            self.release()

    def _schedule(self) -> bool:
        try:
            asyncio.get_running_loop().call_later(_MOMENT, self.flush)
        except RuntimeError:  # there is none in this thread
            return False
        self._is_due = True
        return True
