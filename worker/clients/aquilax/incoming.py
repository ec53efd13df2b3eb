"""What comes on a connection, read until one deadline and no further than a limit."""

from __future__ import annotations

import re
import time
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

__all__ = ["HEAD", "STATUS_LINE", "Deadline", "Incoming"]

HEAD: Final = 64 * 1024
"""Bytes of a head that are read at the most: as much as http.client takes for one line."""

STATUS_LINE: Final = re.compile(rb"HTTP/1\.(?P<minor>\d)[ \t]+(?P<status>[1-9]\d\d)(?:[ \t].*)?\r?", re.DOTALL)

_START: Final = b"HTTP/"
_HEAD_ENDS: Final = re.compile(rb"\r?\n\r?\n")
_AT_ONCE: Final = 16 * 1024

_BEFORE: Final = 1024 * 1024
"""Bytes that may come before the final head has come: thousands of interim responses."""


class Deadline:
    """When a response must have come.

    Args:
        timeout: In so many seconds from now.
    """

    __slots__ = ("_at",)

    def __init__(self, timeout: float) -> None:
        self._at = time.monotonic() + timeout

    def left(self) -> float:
        """Return how many seconds are left.

        Raises:
            TimeoutError: None are.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the response took longer than the whole request may take")
        return left


class Incoming:
    """What has come on a connection, and has not been taken yet.

    Args:
        sock: The connection.
        deadline: When the whole response must have come.

    Attributes:
        got: The bytes.
        deadline: As it was given.
        cut: Whether a head was too long, and only its beginning taken.
        lax: Whether a line has ended in a bare newline. What follows on such a connection is not relied on.
    """

    __slots__ = ("_sock", "_total", "cut", "deadline", "got", "lax")

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self.deadline = deadline
        self.got = b""
        self.cut = False
        self.lax = False
        self._total = 0

    def more(self, *, silence: float | None = None) -> bool:
        """Read once; return whether anything came.

        Args:
            silence: Seconds to wait, if not all that are left.

        Raises:
            OSError: The connection has broken, or nothing came in time.
        """
        left = self.deadline.left()
        self._sock.settimeout(left if silence is None else min(left, silence))
        some = self._sock.recv(_AT_ONCE)
        self.got += some
        self._total += len(some)
        return bool(some)

    def take_head(self) -> bytes:
        """Take a status line and its headers. One that is too long is taken as far as it was read.

        Raises:
            http.client.HTTPException: It is no HTTP, or its end has not come.
            OSError: See `more`.
        """
        searched = 0
        while True:
            self.got = self.got.lstrip(b"\r\n")
            _require_http(self.got)
            if ends := _HEAD_ENDS.search(self.got, max(0, searched - 3)):
                head, self.got = self.got[: ends.start()], self.got[ends.end() :]
                self.lax |= ends[0] != b"\r\n\r\n" or head.count(b"\n") != head.count(b"\r\n")
                return head
            if len(self.got) > HEAD and b"\n" in self.got:
                head, self.got, self.cut = self.got, b"", True
                return head
            if self._total > _BEFORE:
                raise HTTPException("no final response in the first MiB of what came")
            searched = len(self.got)
            if not self.more():
                raise RemoteDisconnected("the connection was closed before the response's head had come")

    def take_line(self) -> bytes:
        """Take a line of a chunked body, without its end.

        Raises:
            http.client.HTTPException: It is too long, or broke off.
            OSError: See `more`.
        """
        while (ends := self.got.find(b"\n")) < 0:
            if len(self.got) > HEAD:
                raise HTTPException("a line of a chunked body is too long")
            if not self.more():
                raise IncompleteRead(self.got)
        line, self.got = self.got[:ends], self.got[ends + 1 :]
        self.lax |= not line.endswith(b"\r")
        return line.removesuffix(b"\r")

    def take(self, length: int, into: bytearray) -> bool:
        """Append so many bytes as they come, and take them; return whether all have come.

        Raises:
            OSError: See `more`.
        """
        while length:
            if not self.got and not self.more():
                return False
            some = self.got[:length]
            self.got = self.got[len(some) :]
            into += some
            length -= len(some)
        return True

    def is_clean(self) -> bool:
        """Whether nothing has come that was not taken: it would be read as the next response."""
        pending = getattr(self._sock, "pending", None)  # what TLS has deciphered, and nothing else would tell of
        return not self.lax and not self.cut and not self.got and not (pending and pending())


def _require_http(got: bytes) -> None:
    """Refuse what is no HTTP as soon as it can be told, and not when the time is up."""
    first, newline, _ = got.partition(b"\n")
    if (newline and not STATUS_LINE.fullmatch(first)) or not got.startswith(_START[: len(got)]):
        raise BadStatusLine(repr(first[:40]))
