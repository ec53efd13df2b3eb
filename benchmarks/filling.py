"""``python -m benchmarks.filling``: put so many different events into a queue, in the fastest way that it has."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from benchmarks.events import events as some_events
from benchmarks.sender import AsyncSender, Sender, load, redis_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.events import Fields

_BATCH: Final = 500
_TASKS: Final = 64


def _batches(number: int, size: int) -> Iterator[list[Fields]]:
    supply = some_events(number)
    while batch := list(islice(supply, size)):
        yield batch


async def _fill(sender: AsyncSender, number: int) -> None:
    async with sender:
        for batch in _batches(number, _TASKS):
            await asyncio.gather(*(sender.send(event) for event in batch))


@click.command()
@click.argument("name")
@click.argument("number", type=int)
def main(name: str, number: int) -> None:
    """Send so many events with the sender NAME, which is ``module:Class``."""
    kind = load(name)
    if issubclass(kind, Sender):
        sender = kind(redis_url(), threads=1)
        for batch in _batches(number, _BATCH):
            sender.send_many(batch)
    else:
        asyncio.run(_fill(kind(redis_url(), tasks=_TASKS), number))


if __name__ == "__main__":
    main()
