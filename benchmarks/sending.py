"""``python -m benchmarks.sending``: put events into a queue, as fast as it goes, and tell what that cost, as JSON."""

from __future__ import annotations

import asyncio
import json
import resource
import threading
import time
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

import click

from benchmarks.events import events as some_events
from benchmarks.sample import quantile
from benchmarks.sender import AsyncSender, Sender, load, redis_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.events import Fields

_SUPPLY: Final = 10_000
"""Different events at the most; they are repeated. None is delivered."""


class _Watch:
    """Times calls until there were enough, or the time is over."""

    def __init__(self, events: int, seconds: float, *, batch: int) -> None:
        self._seconds = seconds
        self._calls = iter(range(max(1, events // batch)))  # its `next` is one step, so threads share it
        self._supply = list(some_events(min(_SUPPLY, max(events, batch))))
        self._batch = batch
        self.took: list[float] = []

    def begin(self) -> None:
        """Start the clocks: the wall's, and the processor's."""
        self._cpu_before = _cpu()
        self._began = time.perf_counter()

    def batches(self, first: int) -> Iterator[list[Fields]]:
        """Yield what to send next, while there is anything."""
        supply = islice(cycle(self._supply), first, None)
        until = self._began + self._seconds
        while time.perf_counter() < until and next(self._calls, None) is not None:
            yield list(islice(supply, self._batch))

    def result(self) -> dict[str, float]:
        """Stop the clocks, and return what they say."""
        seconds, cpu = time.perf_counter() - self._began, _cpu() - self._cpu_before
        number, ordered = len(self.took) * self._batch, sorted(self.took)
        return {
            "events/s": number / seconds,
            "CPU µs/event": cpu / number * 1e6,
            "call p50 µs": quantile(ordered, 0.5) * 1e6,
            "call p99 µs": quantile(ordered, 0.99) * 1e6,
        }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _in_threads(sender: Sender, watch: _Watch, *, concurrency: int, batch: int) -> dict[str, float]:
    warmed, started = threading.Barrier(concurrency + 1), threading.Barrier(concurrency + 1)
    failed: list[BaseException] = []

    def loop(turn: int) -> None:
        try:
            sender.send(next(some_events(1)))  # so that its connection is open
            warmed.wait()
            started.wait()
            for events in watch.batches(turn * batch):
                began = time.perf_counter()
                if batch == 1:
                    sender.send(events[0])
                else:
                    sender.send_many(events)
                watch.took.append(time.perf_counter() - began)
        except BaseException as error:
            failed.append(error)
            warmed.abort()
            raise

    threads = [threading.Thread(target=loop, args=(turn,)) for turn in range(concurrency)]
    for thread in threads:
        thread.start()
    warmed.wait()
    watch.begin()
    started.wait()
    for thread in threads:
        thread.join()
    result = watch.result()
    if failed:
        raise failed[0]
    return result


async def _in_loop(sender: AsyncSender, watch: _Watch, *, concurrency: int, batch: int) -> dict[str, float]:
    async def loop(turn: int) -> None:
        for events in watch.batches(turn * batch):
            began = time.perf_counter()
            if batch == 1:
                await sender.send(events[0])
            else:
                await sender.send_many(events)
            watch.took.append(time.perf_counter() - began)

    async with sender:
        await asyncio.gather(*(sender.send(event) for event in some_events(concurrency)))
        watch.begin()
        await asyncio.gather(*(loop(turn) for turn in range(concurrency)))
        return watch.result()


@click.command()
@click.argument("name")
@click.option("--events", type=int, required=True, help="At the most.")
@click.option("--seconds", type=float, required=True, help="At the most.")
@click.option("--concurrency", type=int, default=1, show_default=True, help="Threads, or tasks of asyncio.")
@click.option("--batch", type=int, default=1, show_default=True, help="Events of one call.")
def main(name: str, events: int, seconds: float, concurrency: int, batch: int) -> None:
    """Send with the sender NAME, which is ``module:Class``."""
    kind = load(name)
    watch = _Watch(events, seconds, batch=batch)
    if issubclass(kind, Sender):
        found = _in_threads(kind(redis_url(), threads=concurrency), watch, concurrency=concurrency, batch=batch)
    else:
        sender = kind(redis_url(), tasks=concurrency)
        found = asyncio.run(_in_loop(sender, watch, concurrency=concurrency, batch=batch))
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
