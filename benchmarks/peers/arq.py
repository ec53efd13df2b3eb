"""``python -m benchmarks.peers.arq`` is a worker of arq's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import aiohttp
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import func, run_worker
from redis.asyncio import ConnectionPool

from benchmarks.peers.asking import HEADERS, ask_in_loop
from benchmarks.sender import AsyncSender, redis_url

if TYPE_CHECKING:
    from benchmarks.events import Fields

__all__ = ["Sending", "WorkerSettings"]

_JOBS = 200
"""At once."""

_CONNECTIONS = 2 * _JOBS
"""To Redis, at the most: of redis-py's own 100 a worker with so many jobs dies."""


async def _deliver(context: dict[str, Any], request_id: str, status: str, org: str, group: str) -> None:
    await ask_in_loop(context["session"], request_id, status, org, group)


async def _open(context: dict[str, Any]) -> None:
    context["session"] = aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=_JOBS))


async def _close(context: dict[str, Any]) -> None:
    await context["session"].close()


class WorkerSettings:
    """The worker's settings, in the form that arq takes them."""

    functions = (func(_deliver, name="deliver", keep_result=0),)
    on_startup = _open
    on_shutdown = _close
    max_jobs = _JOBS
    poll_delay = 0.05


class Sending(AsyncSender):
    """``enqueue_job``."""

    def __init__(self, url: str, *, tasks: int) -> None:
        del tasks  # its pool has as many connections as redis-py allows
        self._url = url

    async def __aenter__(self) -> Self:
        self._pool: Any = await create_pool(RedisSettings.from_dsn(self._url))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def send(self, event: Fields) -> None:
        await self._pool.enqueue_job("deliver", **event)


if __name__ == "__main__":
    pool = ConnectionPool.from_url(redis_url(), max_connections=_CONNECTIONS)
    run_worker(WorkerSettings, redis_pool=ArqRedis(connection_pool=pool))
