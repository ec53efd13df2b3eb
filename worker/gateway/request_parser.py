"""httptools' parser for a server that takes no upgrade: a request that offers one is read as any other.

Clients offer HTTP/2 in the clear with their first request, Java's `HttpClient` by default, and a server may pass that
over (RFC 9110, section 7.8). httptools takes the end of such a request's headers for the end of the request: its body
would be missing, or be read as the next request.
"""

from __future__ import annotations

from typing import Final, Protocol

from httptools import HttpParserUpgrade, HttpRequestParser

__all__ = ["HeadReader", "UpgradelessParser"]

_CONNECT: Final = b"CONNECT"


class HeadReader(Protocol):
    """Receives what the parser reads, by the callbacks of httptools.

    Attributes:
        url: The target of the request that is read.
        headers: Its headers, by their names in small letters.
    """

    url: bytes
    headers: list[tuple[bytes, bytes]]


class UpgradelessParser:
    """Has what uvicorn uses of httptools' parser.

    A request that offers an upgrade is told of twice: with the offer, and without a body, while `offers_upgrade`; then
    without the offer, and as a whole. One with the method CONNECT, which has no body, ends as httptools has it.

    Args:
        reader: Gets the callbacks.
    """

    def __init__(self, reader: HeadReader) -> None:
        self._reader = reader
        self._parser = self._fresh()

    @property
    def offers_upgrade(self) -> bool:
        """Whether what is told of now is a request with an offer, which comes again without."""
        return self._parser.should_upgrade() and self.get_method() != _CONNECT

    def should_upgrade(self) -> bool:
        """Whether the request ends with its headers, whatever they say of a body."""
        return self._parser.should_upgrade()

    def should_keep_alive(self) -> bool:
        """Whether another request may follow."""
        return self._parser.should_keep_alive()

    def get_method(self) -> bytes:
        """Return the request's method."""
        return self._parser.get_method()

    def get_http_version(self) -> str:
        """Return the request's version of HTTP, such as 1.1."""
        return self._parser.get_http_version()

    def feed_data(self, data: bytes) -> None:
        """Read on; raises as httptools does."""
        while True:
            try:
                return self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if self.get_method() == _CONNECT:
                    raise
                data = self._head() + data[upgrade.args[0] :]
                self._parser = self._fresh()  # after `Connection: close` the old one reads no more

    def _fresh(self) -> HttpRequestParser:
        parser = HttpRequestParser(self._reader)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        return parser

    def _head(self) -> bytes:
        """Write the head of the request that was just read again, without its offer."""
        target = b"%b %b HTTP/%b" % (self.get_method(), self._reader.url, self.get_http_version().encode())
        headers = [
            b"%b: %b" % (name, _without_upgrade(value) if name == b"connection" else value)
            for name, value in self._reader.headers
            if name != b"upgrade"
        ]
        return b"\r\n".join([target, *headers, b"", b""])


def _without_upgrade(options: bytes) -> bytes:
    return b", ".join(option for option in map(bytes.strip, options.split(b",")) if option.lower() != b"upgrade")
