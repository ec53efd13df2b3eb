"""The limit of a spool: a line is appended to a file and synced, one after the other, and nothing else is done."""

from __future__ import annotations

import json
import os
from threading import Lock
from typing import TYPE_CHECKING

from benchmarks.ours import SPOOL
from benchmarks.sender import Sender

if TYPE_CHECKING:
    from benchmarks.events import Fields

__all__ = ["Appending"]


class Appending(Sender):
    """One file, one `fdatasync` for each event."""

    def __init__(self, url: str, *, threads: int) -> None:
        del url, threads
        self._file = os.open(f"{os.environ[SPOOL]}.limit", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._turn = Lock()

    def send(self, event: Fields) -> None:
        with self._turn:
            os.write(self._file, json.dumps(event).encode() + b"\n")
            os.fdatasync(self._file)
