"""The control API: ask what the sandbox received, and tell it how to misbehave. It never shows the key.

Who may use it is in `worker.sandbox.access_control`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from worker.sandbox import fields
from worker.sandbox.api import SANDBOX
from worker.sandbox.faults import ConflictingRatesError, Faults
from worker.sandbox.fields import InvalidFieldError
from worker.sandbox.responses import ResponseScript

__all__ = ["routes"]

Handler = Callable[[web.Request], Awaitable[web.Response]]

_LIST_VALUES: Final = {"true": True, "false": False}


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
    listing = _LIST_VALUES[fields.choice("list", request.query.get("list", "false"), tuple(_LIST_VALUES))]
    answer = received.totals().to_json()
    if listing:
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


def _error(status: HTTPStatus, error: InvalidFieldError | ConflictingRatesError) -> web.Response:
    return web.json_response({"code": status.value, "message": str(error)}, status=status)
