"""The lines that deliveries log are formatted and written together, by a thread of its own.

A write for each is a system call for each, for which a delivery gives Python's lock away and then has to wait for it:
that takes several times as long as the line itself. Lines stay in their order; an error is written at once, after the
lines before it. A worker that is killed loses the lines of its last moment.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from typing import TYPE_CHECKING, Final

from worker.concurrency.scheduler import current_scheduler

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["gather_lines", "text_of"]

_MOMENT: Final = 0.05
"""Seconds for which lines are gathered."""

_HANDLERS: Final = (logging.StreamHandler, logging.FileHandler, WatchedFileHandler)
"""What is known to write a record as its formatter's text and nothing else; a subclass may do anything."""


def gather_lines(handler: logging.Handler) -> None:
    """Let a handler gather what a scheduler's tasks log, if it is one that writes lines.

    Args:
        handler: It is changed in its place: the loggers have it already.
    """
    if type(handler) in _HANDLERS and "handle" not in vars(handler):
        gathering = _Gathering(handler)
        methods = {"handle": gathering.handle, "emit": gathering.emit, "flush": gathering.flush}
        vars(handler).update(methods, format=gathering.format)


def text_of(handler: logging.Handler, records: Iterable[logging.LogRecord]) -> str | None:
    """Return the lines of records in a handler's format; None if there are none.

    A record that can't be formatted is reported as `logging` does, and costs no other line.
    """
    lines = []
    for record in records:
        try:
            lines.append(handler.format(record))
        except Exception:  # noqa: BLE001 - `logging` catches whatever a format raises
            handler.handleError(record)
    return "\n".join(lines) if lines else None


class _Lines(logging.LogRecord):
    """The text of several records, which a handler writes at once."""

    def __init__(self, text: str) -> None:
        super().__init__("", logging.INFO, "", 0, "", None, None)
        self.text = text


class _Gathering:
    """A handler's methods, in the place of its class's own."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler
        self._handle, self._emit = handler.handle, handler.emit
        self._flush, self._format = handler.flush, handler.format
        self._gathered: deque[logging.LogRecord] = deque()
        self._has_lines = threading.Event()
        self._thread: threading.Thread | None = None
        self._writing = False

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        """Keep a line for the thread, or write it now; see `logging.Handler.handle`."""
        if record.levelno >= logging.ERROR or current_scheduler() is None:
            return self._handle(record)
        if passed := self._handler.filter(record):
            self._gathered.append(passed if isinstance(passed, logging.LogRecord) else record)
            if not self._has_lines.is_set():
                self._has_lines.set()
                self._start()
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, after those before it; the handler's lock is held."""
        self._write_gathered()
        self._emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, or its lines."""
        return record.text if isinstance(record, _Lines) else self._format(record)

    def flush(self) -> None:
        """Write all lines, and flush the handler."""
        self._handler.acquire()
        try:
            self._write_gathered()
            self._flush()
        finally:
            self._handler.release()

    def _write_gathered(self) -> None:
        if self._writing:  # the handler flushes what it writes
            return
        self._writing = True
        try:
            while records := [self._gathered.popleft() for _ in range(len(self._gathered))]:
                if (text := text_of(self._handler, records)) is not None:
                    self._emit(_Lines(text))
        finally:
            self._writing = False

    def _start(self) -> None:
        if self._thread is None:  # the only caller is the scheduler's thread
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._has_lines.wait()
            time.sleep(_MOMENT)
            self._has_lines.clear()
            with suppress(Exception):  # a full disk, say: the handler reports it, and there may be room later
                self.flush()
