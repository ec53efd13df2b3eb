"""The feedback endpoint on HTTP: reads a request, waits as long as it is told, and answers or stays silent."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, assert_never

from aiohttp import web

from worker.sandbox.contract import Ask, dressed
from worker.sandbox.responses import ScriptedResponse, Silence
from worker.sandbox.state import Sandbox

if TYPE_CHECKING:
    from worker.sandbox.faults import Faults

__all__ = ["SANDBOX", "feedback", "routes"]

SANDBOX: Final = web.AppKey("SANDBOX", Sandbox)

_LINGER_0: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 seconds: closing sends RST, not FIN (socket(7))."""


def routes() -> list[web.RouteDef]:
    """Return the API's routes. HEAD is none of them: it would be taken for feedback."""
    return [web.get("/api/v2/ai/feedback/{request_id}/{status}", feedback, allow_head=False)]


async def feedback(request: web.Request) -> web.StreamResponse:
    """Take one person's vote on one answer of the chat, or don't."""
    sandbox = request.app[SANDBOX]
    received, behaviour = sandbox.received, sandbox.behaviour  # of its arrival, whatever is asked for while it waits
    ask = _read(request)
    visit = received.arrived(ask, at=time.time())
    try:
        answer = sandbox.answer(ask)
        scripted = answer.latency if isinstance(answer, ScriptedResponse) else None
        if latency := sandbox.latency() if scripted is None else scripted:
            await asyncio.sleep(latency)
        if isinstance(answer, Silence):
            received.answered(visit, answer.value)
            return await _stay_silent(request, answer)
        response = _response(request, behaviour, answer)
        if sandbox.trickles():
            await _trickle(request, response, interval=behaviour.trickle_interval)
        received.answered(visit, answer.status)
        return response
    finally:
        received.left(visit)


def _read(request: web.Request) -> Ask:
    request_id = request.match_info["request_id"]
    return Ask(
        request_id=request_id.lower(),
        status=request.match_info["status"],
        org=_once(request, "org"),
        group=_once(request, "group"),
        key=request.headers.get("X-AX-KEY", ""),
        user_agent=request.headers.get("User-Agent", ""),
    )


def _once(request: web.Request, name: str) -> str:
    values = request.query.getall(name, [])
    return values[0] if len(values) == 1 else ""


def _response(request: web.Request, behaviour: Faults, reply: ScriptedResponse) -> web.Response:
    body, headers = dressed(reply, behaviour, now=datetime.now(UTC), request_headers=request.headers)
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    return web.Response(status=reply.status, body=content, headers=headers)


async def _stay_silent(request: web.Request, silence: Silence) -> web.Response:
    """End a request without an answer; aiohttp finds the connection closed and drops the response."""
    match silence:
        case Silence.HANG:  # until the other side hangs up or the sandbox ends: both cancel this
            await asyncio.Event().wait()
        case Silence.RESET:
            _reset(request)
        case Silence.CLOSE:
            _transport(request).close()
        case _:
            assert_never(silence)
    return web.Response()


def _reset(request: web.Request) -> None:
    transport = _transport(request)
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    transport.abort()


async def _trickle(request: web.Request, response: web.Response, *, interval: float) -> None:
    """Write an answer byte by byte, its headers too, past aiohttp: a timeout for one read never sees the end of it."""
    transport = _transport(request)
    for byte in _on_the_wire(response):
        transport.write(bytes([byte]))
        await asyncio.sleep(interval)
    transport.close()


def _on_the_wire(response: web.Response) -> bytes:
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _transport(request: web.Request) -> asyncio.Transport:
    """Return the connection. Where it is lost already, the request is over, as it is when the sender hangs up."""
    if request.transport is None:
        raise asyncio.CancelledError
    return request.transport
