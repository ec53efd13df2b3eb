"""Where an HTTP request comes from, and which names mean this machine: decisions on plain values."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

__all__ = ["cross_site", "hostname", "is_loopback", "shown"]

_LONGEST_SHOWN: Final = 100
_FIX: Final = (
    "If a proxy before Flower lets the header Host arrive changed, let it pass the browser's on: in nginx by "
    "`proxy_set_header Host $http_host;` (see docs/dashboard.md)"
)


def cross_site(*, host: str, origin: str | None, site: str | None) -> str | None:
    """Return why a request that would change something is refused by where it comes from; None if it is not.

    Args:
        host: The header ``Host``.
        origin: The header ``Origin``, which browsers send with every POST.
        site: The header ``Sec-Fetch-Site``. Another port of this machine is the *same site*, and not the same origin.
    """
    if site is not None and site != "same-origin":
        return "it was sent by a page of another site"
    with suppress(ValueError):
        if origin is None or urlsplit(origin).netloc == host:
            return None
    pages = f"of {shown(origin or '')}, to a server that it calls {shown(host)}"
    return f"it was sent by a page of another origin: {pages}. {_FIX}"


def shown(header: str) -> str:
    """Return a header as it can be repeated: without what is no part of an address, and not all of a long one."""
    kept = "".join(character for character in header if character.isascii() and character.isprintable())
    return repr(kept[:_LONGEST_SHOWN])


def hostname(host: str) -> str:
    """Return the name or address in a header ``Host``, without its port; '' if it is none."""
    with suppress(ValueError):
        return urlsplit(f"//{host}").hostname or ""
    return ""


def is_loopback(address: str) -> bool:
    """Whether an address, or a name, is this machine's own whatever a name server says."""
    if address == "localhost" or address.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return False
