"""``python -m benchmarks.filling``: put so many different events into a queue, in the fastest way that it has."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from benchmarks.events import events as some_events
from benchmarks.events import repeating
from benchmarks.sender import AsyncSender, Sender, load, redis_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.events import Fields

_BATCH: Final = 500
_TASKS: Final = 64


def _batches(supply: Iterator[Fields], size: int) -> Iterator[list[Fields]]:
    while batch := list(islice(supply, size)):
        yield batch


async def _fill(sender: AsyncSender, supply: Iterator[Fields]) -> None:
    async with sender:
        for batch in _batches(supply, _TASKS):
            await asyncio.gather(*(sender.send(event) for event in batch))


@click.command()
@click.argument("name")
@click.argument("number", type=int)
@click.option("--repeats", is_flag=True, help="Every third event repeats or contradicts an earlier one.")
def main(name: str, number: int, *, repeats: bool) -> None:
    """Send so many events with the sender NAME, which is ``module:Class``."""
    kind = load(name)
    supply = repeating(number) if repeats else some_events(number)
    if issubclass(kind, Sender):
        sender = kind(redis_url(), threads=1)
        for batch in _batches(supply, _BATCH):
            sender.send_many(batch)
    else:
        asyncio.run(_fill(kind(redis_url(), tasks=_TASKS), supply))


if __name__ == "__main__":
    main()
