"""taskiq, with the stream broker of taskiq-redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import aiohttp
from taskiq import TaskiqEvents
from taskiq_redis import RedisStreamBroker

from benchmarks.peers.asking import HEADERS, ask_in_loop
from benchmarks.sender import AsyncSender, redis_url

if TYPE_CHECKING:
    from benchmarks.events import Fields

__all__ = ["Sending", "broker", "deliver"]

broker = RedisStreamBroker(redis_url())


async def _open(state: Any) -> None:  # noqa: ANN401 - taskiq's state takes any attribute
    state.session = aiohttp.ClientSession(headers=HEADERS)


async def _close(state: Any) -> None:  # noqa: ANN401 - as above
    await state.session.close()


async def _deliver(request_id: str, status: str, org: str, group: str) -> None:
    await ask_in_loop(broker.state.session, request_id, status, org, group)


broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, _open)
broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, _close)
deliver = broker.task(task_name="deliver")(_deliver)


class Sending(AsyncSender):
    """``kiq``."""

    def __init__(self, url: str, *, tasks: int) -> None:
        del url, tasks  # the broker has the one, and as many connections as it needs

    async def __aenter__(self) -> Self:
        await broker.startup()
        return self

    async def __aexit__(self, *_: object) -> None:
        await broker.shutdown()

    async def send(self, event: Fields) -> None:
        await deliver.kiq(**event)
