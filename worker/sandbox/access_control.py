"""Who may use the control API: programs and people of this machine, and no page of another site in their browser.

It takes no key. So a request must be for this machine by a name that no stranger can point here (DNS rebinding), and
must not be sent by a page of another site, whatever the page makes of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from worker.policy.request_origin import cross_site, hostname, is_loopback

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.typedefs import Middleware

__all__ = ["CONTROL", "admitting", "refused"]

CONTROL: Final = "/_sandbox/"
"""What the path of every control request begins with."""

_BY_HAND: Final = "none"
"""Sec-Fetch-Site of an address that a person typed or opened from a bookmark."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refused(*, host: str | None, origin: str | None, site: str | None, own_names: Collection[str]) -> str | None:
    """Return why a control request is refused; None if it is not.

    Args:
        host: The header ``Host``; a request without one is no browser's.
        origin: The header ``Origin``.
        site: The header ``Sec-Fetch-Site``.
        own_names: Names and addresses of this server besides those of loopback.
    """
    if host is not None and not is_loopback(name := hostname(host)) and name not in own_names:
        return f"Host is {host[:80]!r}: ask for it as 127.0.0.1, localhost, or the address that it listens on"
    if reason := cross_site(host=host or "", origin=origin, site=None if site == _BY_HAND else site):
        return f"{reason}: ask with a program such as curl, or open the address by hand"
    return None


def admitting(own_name: str) -> Middleware:
    """Return the middleware that refuses control requests with 403 and the reason.

    Args:
        own_name: What it was told to listen on.
    """

    @web.middleware
    async def admit(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not request.path.startswith(CONTROL):
            return await handler(request)
        headers = request.headers
        reason = refused(
            host=headers.get(hdrs.HOST),
            origin=headers.get(hdrs.ORIGIN),
            site=headers.get("Sec-Fetch-Site"),
            own_names={own_name.lower(), _local_address(request)},
        )
        if reason is None:
            return await handler(request)
        status = HTTPStatus.FORBIDDEN
        return web.json_response({"code": status.value, "message": f"refused: {reason}"}, status=status)

    return admit


def _local_address(request: web.Request) -> str:
    """The address of this machine that the request came to; '' if the connection is gone."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return str(name[0]) if isinstance(name, tuple) else ""
