"""What those who look after the gateway ask it: whether it lives, whether it can take events, what it counts."""

from __future__ import annotations

import asyncio
import logging
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from time import monotonic
from typing import TYPE_CHECKING, Final

import redis
from prometheus_client import CONTENT_TYPE_LATEST

from producer import ProducerError
from worker.clients.redis.keys import CountField, feedback_keys
from worker.gateway.http_reply import HttpReply, json_reply, problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from worker.clients.redis.partitions import Partitions
    from worker.gateway.exchange import Exchange
    from worker.gateway.metrics import GatewayMetrics

__all__ = ["Readiness", "health", "metrics_page", "openapi"]

log = logging.getLogger(__name__)

_GOOD_FOR: Final = 1.0
"""Seconds for which an answer of Redis is remembered: probes need no key, and may come at any rate."""

_OK: Final = json_reply(HTTPStatus.OK, {"status": "ok"}, (b"cache-control", b"no-store"))
_UNREADY: Final = problem(HTTPStatus.SERVICE_UNAVAILABLE, "neither Redis nor a spool takes events")


async def health(_: Exchange) -> HttpReply:
    """Answer that the process lives: only a restart helps one that does not."""
    return _OK


class Readiness:
    """Answers whether an event would be taken now.

    Args:
        partitions: Redis; it is asked in another thread, as the spool is.
        spool_has_room: Tells whether there is a spool for events while Redis is unavailable, and room in it.
        ping: The producer's, where replicas or disks must confirm an event.
    """

    def __init__(
        self,
        partitions: Partitions,
        *,
        spool_has_room: Callable[[], bool],
        ping: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._partitions = partitions
        self._ping = ping
        self._spool_has_room = spool_has_room
        self._asking = asyncio.Lock()
        self._answer = (-_GOOD_FOR, True)

    async def __call__(self, _: Exchange) -> HttpReply:
        """Answer a probe."""
        return _OK if await self._can_take() else _UNREADY

    async def _can_take(self) -> bool:
        async with self._asking:
            at, takes = self._answer
            if monotonic() - at >= _GOOD_FOR:
                takes = await self._takes()
                self._answer = monotonic(), takes
            return takes

    async def _takes(self) -> bool:
        try:
            await asyncio.to_thread(self._ask)
            if self._ping is not None:
                await self._ping()
        except (redis.RedisError, ProducerError) as error:
            if await asyncio.to_thread(self._spool_has_room):
                return True
            log.warning("not ready: %s", error)
            return False
        return True

    def _ask(self) -> None:
        """Let Redis do what each enqueue begins with: one that is full, a replica or out of disk refuses it.

        Of several partitions one that takes events is enough: were all gateways taken out of service because of a
        primary that is away, the events of the other partitions would find none.
        """
        try:
            _write_nothing(self._partitions.home)
        except redis.RedisError:
            if not self._partitions.is_cluster or not self._partitions.ask(_write_nothing).of:
                raise


def _write_nothing(client: redis.Redis) -> None:
    client.hincrby(feedback_keys(client).counts, CountField.ACCEPTED, 0)


def metrics_page(metrics: GatewayMetrics) -> Callable[[Exchange], Awaitable[HttpReply]]:
    """Return the handler of what Prometheus reads."""

    async def page(_: Exchange) -> HttpReply:
        return HttpReply(status=HTTPStatus.OK, body=metrics.page(), content_type=CONTENT_TYPE_LATEST.encode())

    return page


async def openapi(_: Exchange) -> HttpReply:
    """Answer with the gateway's OpenAPI document."""
    return HttpReply(status=HTTPStatus.OK, body=_document())


@cache
def _document() -> bytes:
    return files("worker.gateway").joinpath("openapi.json").read_bytes()
