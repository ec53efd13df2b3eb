"""``python -m benchmarks.pacing``: put events into a queue at a steady pace, and tell when each was sent, as JSON."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import click

from benchmarks.events import events as some_events
from benchmarks.sender import AsyncSender, Sender, load, redis_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.events import Fields


def _due(number: int, rate: float, seed: int) -> Iterator[tuple[float, Fields]]:
    """Each event, and when it is its turn: that does not depend on how long the ones before took."""
    began = time.monotonic()
    for turn, event in enumerate(some_events(number, seed=seed)):
        yield began + turn / rate, event


def _in_thread(sender: Sender, number: int, rate: float, seed: int) -> dict[str, float]:
    sent = {}
    for due, event in _due(number, rate, seed):
        time.sleep(max(0, due - time.monotonic()))
        sent[event["request_id"]] = time.monotonic()
        sender.send(event)
    return sent


async def _in_loop(sender: AsyncSender, number: int, rate: float, seed: int) -> dict[str, float]:
    sent = {}
    async with sender:
        for due, event in _due(number, rate, seed):
            await asyncio.sleep(max(0, due - time.monotonic()))
            sent[event["request_id"]] = time.monotonic()
            await sender.send(event)
    return sent


@click.command()
@click.argument("name")
@click.option("--number", type=int, required=True, help="Events.")
@click.option("--rate", type=float, required=True, help="Events in a second.")
@click.option("--seed", type=int, default=0, help="Of the request_ids.")
def main(name: str, number: int, rate: float, seed: int) -> None:
    """Send with the sender NAME, which is ``module:Class``."""
    kind = load(name)
    if issubclass(kind, Sender):
        sent = _in_thread(kind(redis_url(), threads=1), number, rate, seed)
    else:
        sent = asyncio.run(_in_loop(kind(redis_url(), tasks=1), number, rate, seed))
    click.echo(json.dumps(sent))


if __name__ == "__main__":
    main()
