"""The control API: ask what the sandbox received, and tell it how to misbehave. It never shows the key.

It takes no key either, and is for programs and people of this machine. So a request must be for this machine by a name
that no stranger can point here (DNS rebinding), and must not be sent by a page of another site, whatever the page makes
of it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from worker.policy.request_origin import cross_site, hostname, is_loopback
from worker.sandbox import fields
from worker.sandbox.api import SANDBOX
from worker.sandbox.faults import ConflictingRatesError, Faults
from worker.sandbox.fields import InvalidFieldError
from worker.sandbox.responses import ResponseScript

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.typedefs import Middleware

__all__ = ["CONTROL", "admitting", "refused", "routes"]

Handler = Callable[[web.Request], Awaitable[web.Response]]


CONTROL: Final = "/_sandbox/"
"""What the path of every control request begins with."""

_BY_HAND: Final = "none"
"""Sec-Fetch-Site of an address that a person typed or opened from a bookmark."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes() -> list[web.RouteDef]:
    """Return the routes, all of them under ``/_sandbox/``."""
    return [
        web.get("/_sandbox/health", _health, allow_head=False),
        web.get("/_sandbox/received", _explained(_received), allow_head=False),
        web.get("/_sandbox/received/{request_id}", _explained(_received_for), allow_head=False),
        web.get("/_sandbox/behaviour", _behaviour, allow_head=False),
        web.put("/_sandbox/behaviour", _explained(_put_behaviour)),
        web.patch("/_sandbox/behaviour", _explained(_patch_behaviour)),
        web.put("/_sandbox/scripts/{request_id}", _explained(_put_script)),
        web.delete("/_sandbox/scripts", _delete_scripts),
        web.post("/_sandbox/reset", _reset),
    ]


def _explained(handler: Handler) -> Handler:
    """Answer what is wrong with a request, with the field and the fix."""

    @wraps(handler)
    async def explained(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except InvalidFieldError as error:
            return _error(HTTPStatus.BAD_REQUEST, error)
        except ConflictingRatesError as error:
            return _error(HTTPStatus.CONFLICT, error)

    return explained


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _received(request: web.Request) -> web.Response:
    received = request.app[SANDBOX].received
    listing = fields.choice("list", request.query.get("list", "false"), ("true", "false"))
    answer = received.totals().to_json()
    if listing == "true":
        answer["by_request_id"] = {account.request_id: account.to_json() for account in received.accounts()}
    return web.json_response(answer)


async def _received_for(request: web.Request) -> web.Response:
    return web.json_response(request.app[SANDBOX].received.account(_request_id(request)).to_json())


async def _behaviour(request: web.Request) -> web.Response:
    return web.json_response(request.app[SANDBOX].behaviour.to_json())


async def _put_behaviour(request: web.Request) -> web.Response:
    sandbox = request.app[SANDBOX]
    sandbox.behave(Faults().changed(await _document(request)), restart_outage=True)
    return web.json_response(sandbox.behaviour.to_json())


async def _patch_behaviour(request: web.Request) -> web.Response:
    sandbox = request.app[SANDBOX]
    changes = await _document(request)
    sandbox.behave(sandbox.behaviour.changed(changes), restart_outage="outage" in changes)
    return web.json_response(sandbox.behaviour.to_json())


async def _put_script(request: web.Request) -> web.Response:
    request_id = _request_id(request)
    request.app[SANDBOX].script(request_id, ResponseScript.from_json(await _document(request)))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _delete_scripts(request: web.Request) -> web.Response:
    request.app[SANDBOX].drop_scripts()
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _reset(request: web.Request) -> web.Response:
    request.app[SANDBOX].reset()
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _request_id(request: web.Request) -> str:
    return fields.request_id("request_id", request.match_info["request_id"])


async def _document(request: web.Request) -> dict[str, Any]:
    body = await request.read()
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidFieldError("body", body.decode(errors="replace"), "a JSON object")
    return document


def _error(status: HTTPStatus, problem: object) -> web.Response:
    return web.json_response({"code": status.value, "message": str(problem)}, status=status)


def refused(*, host: str | None, origin: str | None, site: str | None, own_names: Collection[str]) -> str | None:
    """Return why a control request is refused; None if it is not.

    Args:
        host: The header ``Host``; a request without one is no browser's.
        origin: The header ``Origin``.
        site: The header ``Sec-Fetch-Site``.
        own_names: Names and addresses of this server, in small letters, besides those of loopback.
    """
    if host is not None and not is_loopback(name := hostname(host)) and name not in own_names:
        return f"Host is {host[:80]!r}: ask for it as 127.0.0.1, localhost, or the address that it listens on"
    if reason := cross_site(host=host or "", origin=origin, site=None if site == _BY_HAND else site):
        return f"{reason}: ask with a program such as curl, or open the address by hand"
    return None


def admitting(own_name: str) -> Middleware:
    """Return the middleware that refuses control requests to a server that listens on this, with 403 and the reason."""

    @web.middleware
    async def admit(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL) and (reason := _reason(request, own_name)):
            return _error(HTTPStatus.FORBIDDEN, f"refused: {reason}")
        return await handler(request)

    return admit


def _reason(request: web.Request, own_name: str) -> str | None:
    host, origin, site = (request.headers.get(name) for name in (hdrs.HOST, hdrs.ORIGIN, "Sec-Fetch-Site"))
    return refused(host=host, origin=origin, site=site, own_names={own_name.lower(), _local_address(request)})


def _local_address(request: web.Request) -> str:
    """The address of this machine that the request came to; '' if the connection is gone."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return str(name[0]) if isinstance(name, tuple) else ""
