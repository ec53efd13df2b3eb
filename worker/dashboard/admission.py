"""Who may come in, and which request may change anything. Decisions on plain values, in every mode of Flower's login.

Flower lets everybody in where no login is configured, and checks no request for its origin then. Here feedback can be
replayed and discarded, so both are stricter.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

__all__ = ["Binding", "Caller", "cross_site", "hostname", "is_loopback", "is_simple", "shown", "turned_away"]

_LONGEST_SHOWN: Final = 100

_TO_DO: Final = "give Flower a login (--basic-auth or --auth), or bind it to loopback (--address=127.0.0.1)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """How Flower was started.

    Attributes:
        has_login: Whether it asks for one.
        address: The address that it listens on; '' for every one.
        unix_socket: The socket that it listens on instead, if it does.
    """

    has_login: bool
    address: str
    unix_socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Where a request comes from.

    Attributes:
        peer: The address of the other end of the connection.
        host: What the request calls this server: the header ``Host``.
        forwarded: Whether a proxy says that it passes the request on.
    """

    peer: str
    host: str
    forwarded: bool


def turned_away(binding: Binding, caller: Caller) -> str | None:
    """Return why a request is turned away before anybody looks at it; None if it may come in.

    Without a login there is nothing but the network that keeps strangers out. So Flower must listen on loopback alone,
    and the request must come from there, not through a proxy, and under a loopback name: a stranger's page in a browser
    on this machine can let its own name mean 127.0.0.1 (DNS rebinding).
    """
    if binding.has_login:
        return None
    if binding.unix_socket:
        return f"Flower listens on a socket for others, and asks for no login: {_TO_DO}"
    if not is_loopback(binding.address):
        where = binding.address or "every address of this machine"
        return f"Flower listens on {where}, and asks for no login: {_TO_DO}"
    if not is_loopback(caller.peer) or caller.forwarded:
        return f"this request comes from elsewhere, and Flower asks for no login: {_TO_DO}"
    if not is_loopback(hostname(caller.host)):
        return "this request is not for this machine's own name, and Flower asks for no login: open it as 127.0.0.1"
    return None


def cross_site(*, host: str, origin: str | None, site: str | None) -> str | None:
    """Return why a request that would change something is refused by where it comes from; None if it is not.

    Args:
        host: The header ``Host``.
        origin: The header ``Origin``, which browsers send with every POST.
        site: The header ``Sec-Fetch-Site``. Another port of this machine is the *same site*, and not the same origin.
    """
    if site is not None and site != "same-origin":
        return "it was sent by a page of another site"
    if origin is not None and _server(origin) != host:
        return (
            f"it was sent by a page of another origin: of {shown(origin)}, to a server that it calls {shown(host)}. "
            "If a proxy before Flower lets the header Host arrive changed, let it pass the browser's on: in nginx by "
            "`proxy_set_header Host $http_host;` (see docs/dashboard.md)"
        )
    return None


def _server(origin: str) -> str | None:
    """Return the host and port of an origin, as ``Host`` has them."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def shown(header: str) -> str:
    """Return a header as it can be repeated: without what is no part of an address, and not all of a long one."""
    kept = "".join(character for character in header if character.isascii() and character.isprintable())
    return repr(kept[:_LONGEST_SHOWN])


def is_simple(*, content_type: str, requested_with: str | None) -> bool:
    """Whether a page of another site could send such a request without asking first (CORS).

    A program that calls the API sends JSON and the header ``X-Requested-With``. A browser asks before it lets a foreign
    page send either, and is told no.
    """
    kind = content_type.partition(";")[0].strip().lower()
    return kind != "application/json" or not requested_with


def hostname(host: str) -> str:
    """Return the name or address in a header ``Host``, without its port; '' if it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(address: str) -> bool:
    """Whether an address, or a name, is this machine's own whatever a name server says."""
    if address == "localhost" or address.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
