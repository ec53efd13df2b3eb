"""Where an HTTP request comes from, and which names mean this machine: decisions on plain values."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

__all__ = ["cross_site", "hostname", "is_loopback", "shown"]

_LONGEST_SHOWN: Final = 100


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
