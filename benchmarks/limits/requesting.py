"""``python -m benchmarks.limits.requesting``: one of two processes that ask for every event, and have no queue."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import aiohttp
import click
import requests
from requests.adapters import HTTPAdapter

from benchmarks.events import PATH, events
from benchmarks.peers.asking import HEADERS, TARGET_URL, ask, ask_in_loop
from benchmarks.sender import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.events import Fields

_PROCESSES: Final = 2
_CONCURRENCY: Final = 100
_TIMEOUT: Final = 10


def _by_session() -> Callable[[Fields], None]:
    return lambda event: ask(**event)


def _by_adapter() -> Callable[[Fields], None]:
    """The prepared request, past the session's look-ups of the environment."""
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=_CONCURRENCY)
    base = f"{os.environ[TARGET_URL]}{PATH}"

    def send(event: Fields) -> None:
        url = f"{base}/{event['request_id']}/{event['status']}?org={event['org']}&group={event['group']}"
        request = requests.Request("GET", url, headers=HEADERS).prepare()
        adapter.send(request, timeout=_TIMEOUT).raise_for_status()

    return send


def _in_threads(send: Callable[[Fields], None], mine: list[Fields]) -> None:
    def some(first: int) -> None:
        for event in mine[first::_CONCURRENCY]:
            send(event)

    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        list(pool.map(some, range(_CONCURRENCY)))


async def _in_loop(mine: list[Fields]) -> None:
    connector = aiohttp.TCPConnector(limit=_CONCURRENCY)
    async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as session:

        async def some(first: int) -> None:
            for event in mine[first::_CONCURRENCY]:
                await ask_in_loop(session, **event)

        await asyncio.gather(*(some(first) for first in range(_CONCURRENCY)))


@click.command()
@click.argument("kind", type=click.Choice(["session", "adapter", "aiohttp"]))
@click.option("--turn", type=int, required=True, help="Which of the processes this is, from 0.")
def main(kind: str, turn: int) -> None:
    """Ask for every second event."""
    mine = list(events(int(os.environ[EVENTS])))[turn::_PROCESSES]
    if kind == "aiohttp":
        asyncio.run(_in_loop(mine))
    else:
        _in_threads(_by_session() if kind == "session" else _by_adapter(), mine)


if __name__ == "__main__":
    main()
