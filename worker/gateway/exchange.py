"""One request and what is known of its response: what the handlers read, and what log, metrics and spans tell."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope

__all__ = ["UNKNOWN_CLIENT", "ClientLeft", "Exchange"]

UNKNOWN_CLIENT: Final = "-"
"""Stands for the client's name where no key was needed, or none was right."""


class ClientLeft(Exception):
    """The client has closed the connection before its request was answered."""


class Exchange:
    """A request on its way through the gateway.

    Attributes:
        route: The path's pattern: never the path itself, in which a client may have put anything.
        scope: ASGI's description of the request.
        receive: ASGI's source of its body.
        headers: Its headers by name, in small letters; one that came more than once is not among them.
        repeated: The names of those that came more than once.
        client: The name of the client's key.
        keeps_access: Whether its client would still be let in; for a body that takes long.
        request_id: Of the one event in the request.
        taken: Events that are durable.
        spooled: Those of them that are in the spool.
        invalid: Items of the body that are no events.
        has_unread_body: Whether there is a body that was not read to its end.
    """

    __slots__ = (
        "began", "client", "has_unread_body", "headers", "invalid", "keeps_access", "receive", "repeated", "request_id",
        "route", "scope", "spooled", "taken",
    )  # fmt: skip

    def __init__(self, route: str, scope: Scope, receive: Receive) -> None:
        self.began = perf_counter()
        self.route = route
        self.scope = scope
        self.receive = receive
        self.headers, self.repeated = _by_name(scope["headers"])
        self.has_unread_body = b"transfer-encoding" in self.headers or self.headers.get(b"content-length", b"0") != b"0"
        self.client = UNKNOWN_CLIENT
        self.keeps_access: Callable[[], bool] = _always
        self.request_id = ""
        self.taken = 0
        self.spooled = 0
        self.invalid = 0

    @property
    def method(self) -> str:
        """The request's method."""
        method: str = self.scope["method"]
        return method

    @property
    def peer(self) -> str:
        """The address that the request comes from; '' if the server does not know it."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    def header(self, name: bytes) -> str:
        """Return a header; '' if it is missing or came more than once."""
        return self.headers.get(name, b"").decode("latin-1")

    async def piece(self) -> bytes:
        """Return the next piece of the body, once some has come; b'' perhaps, and `has_unread_body` is then false.

        Raises:
            ClientLeft: The client has closed the connection.
        """
        message = await self.receive()
        if message["type"] != "http.request":
            raise ClientLeft
        self.has_unread_body = message.get("more_body", False)
        content: bytes = message.get("body", b"")
        return content

    async def skip_body(self) -> None:
        """Read the rest of the body, and forget it."""
        with suppress(ClientLeft):
            while self.has_unread_body:
                await self.piece()

    @property
    def seconds(self) -> float:
        """How long it takes so far."""
        return perf_counter() - self.began


def _always() -> bool:
    return True


def _by_name(headers: list[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], frozenset[bytes]]:
    found = dict(headers)
    if len(found) == len(headers):
        return found, frozenset()
    names = [name for name, _ in headers]
    repeated = frozenset(name for name in found if names.count(name) > 1)
    return {name: value for name, value in found.items() if name not in repeated}, repeated
