"""One endpoint, as every request goes through it: method, place, key, handler, response, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from worker.gateway.exchange import Exchange
from worker.gateway.http_reply import HttpReply, problem, text_problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from worker.gateway.access_control import AccessControl
    from worker.gateway.access_log import AccessLog
    from worker.gateway.metrics import GatewayMetrics
    from worker.gateway.traces import CarriedTraces, RequestSpans

__all__ = ["CLIENT_LEFT", "Endpoint", "Surroundings"]

log = logging.getLogger(__name__)

CLIENT_LEFT: Final = HttpReply(status=499, body=b"")
"""Of a request whose client has closed the connection, in log and metrics alone: the status that nginx has for it."""

_BROKEN: Final = text_problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")
_BUSY: Final = problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are being answered: send it again")
_LINGER: Final = 2.0
"""Seconds for which the rest of a refused body is read: a client that still sends would not read the response."""


@dataclass(kw_only=True, eq=False)
class Surroundings:
    """What all endpoints share.

    Attributes:
        access: Who may ask.
        access_log: Writes a line for each request.
        metrics: Counts them.
        traces: Takes their traces up.
        concurrency: Requests at once.
        in_flight: Those that are not answered yet.
    """

    access: AccessControl
    access_log: AccessLog
    metrics: GatewayMetrics
    traces: CarriedTraces | RequestSpans
    concurrency: int
    in_flight: int = 0


class Endpoint:
    """An ASGI application for one path.

    Args:
        route: The path's pattern.
        methods: Those that are answered; all if there is none.
        handler: Answers a request.
        around: What all endpoints share.
        needs_key: Whether only clients are answered.

    Attributes:
        route: As it was given.
    """

    def __init__(
        self,
        route: str,
        methods: tuple[str, ...],
        handler: Callable[[Exchange], Awaitable[HttpReply]],
        around: Surroundings,
        *,
        needs_key: bool = True,
    ) -> None:
        self.route = route
        self._methods = methods
        self._handler = handler
        self._around = around
        self._needs_key = needs_key
        allowed = ", ".join(methods)
        self._not_allowed = problem(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {allowed}", (b"allow", allowed.encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and tell of it once it is answered."""
        around, exchange = self._around, Exchange(self.route, scope, receive)
        around.in_flight += 1
        try:
            if around.traces.wanted(exchange):
                with around.traces.request(exchange):
                    reply = await self._reply(exchange)
                    around.traces.ended(reply.status)
            else:
                reply = await self._reply(exchange)
            if reply is not CLIENT_LEFT:
                await self._send(reply, exchange, send)
        finally:
            around.in_flight -= 1
        around.metrics.observe(exchange, reply.status)
        around.access_log.write(exchange, reply.status)

    async def _reply(self, exchange: Exchange) -> HttpReply:
        if self._methods and exchange.scope["method"] not in self._methods:
            return self._not_allowed
        if self._needs_key:
            if self._around.in_flight > self._around.concurrency:
                return _BUSY
            if refusal := self._around.access.refusal(exchange):
                return refusal
        try:
            return await self._handler(exchange)
        except Exception:
            log.exception("a request ended with an error that is not foreseen")
            return _BROKEN

    async def _send(self, reply: HttpReply, exchange: Exchange, send: Send) -> None:
        if not exchange.has_unread_body:
            await reply.send(send)
            return
        # The client may be sending: it is heard out for a moment, and the connection ends.
        closing = HttpReply(
            status=reply.status, body=reply.body, content_type=reply.content_type,
            headers=(*reply.headers, (b"connection", b"close")),
        )  # fmt: skip
        await closing.send(send, more_body=True)
        try:
            async with asyncio.timeout(_LINGER):
                await exchange.skip_body()
        except TimeoutError:
            pass
        await send({"type": "http.response.body"})
