"""Who may ask, and how often: decided before anything of a request's body is read."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from worker.gateway.client_keys import ClientKeys, presented_key
from worker.gateway.http_reply import problem
from worker.policy.request_origin import hostname, is_loopback

if TYPE_CHECKING:
    from worker.gateway.exchange import Exchange
    from worker.gateway.http_reply import HttpReply
    from worker.gateway.rate_limit import RateLimit

__all__ = ["AccessControl"]

_UNAUTHORIZED = problem(
    HTTPStatus.UNAUTHORIZED,
    "a valid key is required, in the header X-AX-KEY or Authorization: Bearer",
    (b"www-authenticate", b"Bearer"),
)
_FORBIDDEN = problem(
    HTTPStatus.FORBIDDEN, "without keys only programs on this machine may ask, and no pages of a browser"
)


class AccessControl:
    """Lets clients with a key in; without a file of keys, the programs of this machine.

    Args:
        keys: The clients' keys; None if none are asked for.
        rate: How often each may ask; None for any number of times.
    """

    def __init__(self, keys: ClientKeys | None, rate: RateLimit | None) -> None:
        self._keys = keys
        self._rate = rate

    def refusal(self, exchange: Exchange) -> HttpReply | None:
        """Name the client, or return why it is refused."""
        if self._keys is not None:
            keys, key = self._keys, presented_key(exchange)
            name = keys.name_of(key)
            if name is None:
                return _UNAUTHORIZED
            exchange.client = name
            exchange.keeps_access = lambda: keys.name_of(key) == name
        elif not _of_this_machine(exchange):
            return _FORBIDDEN
        if self._rate is not None and (seconds := self._rate.wait(exchange.client)):
            after = (b"retry-after", b"%d" % seconds)
            return problem(HTTPStatus.TOO_MANY_REQUESTS, "this key asks too often", after)
        return None


def _of_this_machine(exchange: Exchange) -> bool:
    """Whether a program here asks. A page that a browser here shows is none, whatever name its server goes by."""
    headers = exchange.headers
    return (
        is_loopback(exchange.peer)
        and is_loopback(hostname(exchange.header(b"host")))
        and b"origin" not in headers
        and headers.get(b"sec-fetch-site", b"none") in {b"none", b"same-origin"}
    )
