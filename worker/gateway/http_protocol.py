"""uvicorn's HTTP protocol with what it lacks: a limit on a request's headers, and on the time that they take.

It also reads the body of a request that offers an upgrade: see `worker.gateway.request_parser`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from worker.gateway.http_reply import problem
from worker.gateway.request_parser import UpgradelessParser

if TYPE_CHECKING:
    import asyncio

    from worker.gateway.http_reply import HttpReply

__all__ = ["BoundedProtocol", "bounded_protocol"]

_BAD: Final = problem(HTTPStatus.BAD_REQUEST, "this is no HTTP request")
_TOO_LARGE: Final = problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large")
_TOO_SLOW: Final = problem(HTTPStatus.REQUEST_TIMEOUT, "the headers took too long")


class _HeadersTooLarge(Exception):
    """Ends the parser: it passes on what its callbacks raise."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        max_headers: Bytes that a request line and its headers may have.
        headers_timeout: Seconds that they may take.
    """

    max_headers: int
    headers_timeout: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._requests = UpgradelessParser(self)
        self.parser = self._requests  # type: ignore[assignment] # it has what uvicorn uses of httptools' own
        self._head_bytes = 0
        self._in_head = True
        self._refusal = _BAD
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own does
        """Give the first request its time: a client that connects and says nothing is not kept."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.headers_timeout, self._refuse, _TOO_SLOW)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        super().connection_lost(exc)
        self._stop_timer()

    def data_received(self, data: bytes) -> None:
        """Read on; what does not end the headers counts, however it is cut into pieces."""
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_head:
            self._head_bytes = 0
        elif not self.transport.is_closing():
            if self._head_bytes > self.max_headers:
                self._refuse(_TOO_LARGE)
            elif self._timer is None:
                self._timer = self.loop.call_later(self.headers_timeout, self._refuse, _TOO_SLOW)

    def on_message_begin(self) -> None:
        """Begin to wait for the end of the headers."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        if self._head_bytes > self.max_headers and self._head_size() > self.max_headers:
            self._refusal = _TOO_LARGE
            raise _HeadersTooLarge
        if self._requests.offers_upgrade:
            return
        self._in_head = False
        if self._timer is not None:
            self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Let the application know the end of the body."""
        if not self._requests.offers_upgrade:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the signature is uvicorn's
        """Refuse what can't be read, in the form of all errors, and close the connection."""
        reply = self._refusal
        head = [b"content-type: ", reply.content_type, b"\r\ncontent-length: %d\r\n" % len(reply.body)]
        self.transport.write(b"".join([STATUS_LINE[reply.status], *head, b"connection: close\r\n\r\n", reply.body]))
        self.transport.close()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse(self, reply: HttpReply) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._refusal = reply
            self.send_400_response("")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded_protocol(*, max_headers: int, headers_timeout: float) -> type[BoundedProtocol]:
    """Return the protocol with these limits, for uvicorn, which makes one for each connection."""
    return type("_Bounded", (BoundedProtocol,), {"max_headers": max_headers, "headers_timeout": headers_timeout})
