"""The body of a request, read in pieces, for as long as its client and the gateway let it."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from worker.gateway.http_reply import problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from worker.gateway.exchange import Exchange
    from worker.gateway.http_reply import HttpReply

__all__ = ["BodyEnd", "BodyReader", "Stopping"]


_LOST: Final = (
    "the server that runs the gateway does not read the body of a request with the header Upgrade: leave it out"
)
"""uvicorn without our protocol; see `worker.gateway.request_parser`."""

_DIGITS: Final = 18
"""Of a length that is read as a number."""


class BodyEnd(Exception):
    """A body is not read to its end.

    Attributes:
        reply: What is answered, if nothing of it was taken.
        why: The reason.
    """

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.reply: HttpReply = problem(status, why)


class Stopping:
    """Whether the gateway stops, for those that wait for a client meanwhile."""

    def __init__(self) -> None:
        self.is_set = False
        self._waits: set[asyncio.Timeout] = set()

    def set(self) -> None:
        """End all waits, and those that begin from now on."""
        self.is_set = True
        for wait in self._waits:
            wait.reschedule(0)

    @contextmanager
    def ending(self, wait: asyncio.Timeout) -> Iterator[None]:
        """Let a wait end when the gateway stops."""
        if self.is_set:
            wait.reschedule(0)
        self._waits.add(wait)
        try:
            yield
        finally:
            self._waits.discard(wait)


class BodyReader:
    """Reads a body once.

    Args:
        exchange: Its request.
        timeout: Seconds until the client must have sent what is waited for; `restart_timer` begins again.
        stopping: Says when the gateway stops: a body that is still being sent then ends.
        progress: Called for each chunk of it that is durable.
        hashed: Whether its hash is wanted.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        timeout: float,
        stopping: Stopping,
        progress: Callable[[], Awaitable[None]] | None = None,
        hashed: bool = False,
    ) -> None:
        self._hash = hashlib.sha256() if hashed else None
        self._is_empty = True
        self._exchange = exchange
        self._timeout = timeout
        self._stopping = stopping
        self._progress = progress
        self._deadline = asyncio.get_running_loop().time() + timeout

    @property
    def hexdigest(self) -> str:
        """The SHA-256 of what was read so far, in hexadecimal digits; '' if it is not wanted."""
        return self._hash.hexdigest() if self._hash is not None else ""

    def restart_timer(self) -> None:
        """Give the client its time again."""
        self._deadline = asyncio.get_running_loop().time() + self._timeout

    async def progress(self) -> None:
        """Tell that a chunk is durable."""
        if self._progress is not None:
            await self._progress()

    async def piece(self) -> bytes | None:
        """Return what has come; None at the end.

        Raises:
            BodyEnd: The client took too long, its key was revoked meanwhile, the gateway stops, or another server than
                ours has lost the body.
            ClientLeft: The client has closed the connection.
        """
        if not self._exchange.has_unread_body:
            return None
        try:
            async with asyncio.timeout_at(self._deadline) as wait:
                with self._stopping.ending(wait):
                    piece = await self._exchange.piece()
        except TimeoutError:
            if self._stopping.is_set:
                raise BodyEnd(HTTPStatus.SERVICE_UNAVAILABLE, "the gateway is stopping") from None
            raise BodyEnd(HTTPStatus.REQUEST_TIMEOUT, "the body took too long") from None
        self._is_empty = self._is_empty and not piece
        self._require_any()
        if not self._exchange.keeps_access():
            raise BodyEnd(HTTPStatus.UNAUTHORIZED, "the key was revoked")
        if self._hash is not None:
            self._hash.update(piece)
        return piece

    def _require_any(self) -> None:
        if self._is_empty and not self._exchange.has_unread_body and b"upgrade" in self._exchange.headers:
            raise BodyEnd(HTTPStatus.BAD_REQUEST, _LOST)

    async def whole(self, most: int) -> bytes:
        """Return the whole body, of ``most`` bytes; raises as `piece` does."""
        too_large = BodyEnd(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {most} bytes; NDJSON may have any length"
        )
        length = self._exchange.header(b"content-length")
        if length.isdecimal() and (len(length) > _DIGITS or int(length) > most):
            raise too_large
        content = bytearray()
        while (piece := await self.piece()) is not None:
            content += piece
            if len(content) > most:
                raise too_large
        return bytes(content)

    async def rest(self) -> None:
        """Read to the end, for the hash alone; raises as `piece` does."""
        while await self.piece() is not None:
            self.restart_timer()
