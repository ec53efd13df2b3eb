"""What `enqueue`, which also counts, costs beside a bare LPUSH of the same bytes by redis-py, in one run on one server.

    python benchmarks/enqueue.py [redis://127.0.0.1:6379/15]

Rounds alternate, so that whatever else the machine does hits both alike; the medians are printed. The keys ``bench:…``
are deleted afterwards.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import TYPE_CHECKING

import redis

from producer import AsyncFeedbackProducer, FeedbackEvent, FeedbackProducer
from producer.message import counts_of, to_message

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST_ID, ORG, GROUP = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", "65dd3e835a669e3347654200", "67e86d036e9921509f730483"
EVENT = FeedbackEvent(request_id=REQUEST_ID, status=True, org=ORG, group=GROUP)
QUEUE = "bench:enqueue"
ROUNDS, CALLS, TASKS = 9, 1_000, 2_000


def _microseconds(call: Callable[[], object], *, events: int) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) / events * 1e6


def _repeat(call: Callable[[], object]) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(CALLS):
            call()

    return repeated


async def _burst(url: str) -> float:
    async with AsyncFeedbackProducer(url, timeout=30, queue=QUEUE) as producer:
        await producer.enqueue(EVENT)
        began = time.perf_counter()
        await asyncio.gather(*(producer.enqueue(EVENT) for _ in range(TASKS)))
        return (time.perf_counter() - began) / TASKS * 1e6


def main(url: str) -> None:
    """Measure, and print a table."""
    message = to_message(EVENT)
    times: dict[str, list[float]] = {}
    with redis.Redis.from_url(url) as bare, FeedbackProducer(url, timeout=30, queue=QUEUE) as producer:
        subjects: dict[str, tuple[Callable[[], object], int]] = {
            "redis-py: lpush": (_repeat(lambda: bare.lpush(QUEUE, message)), CALLS),
            "enqueue, by its fields": (
                _repeat(lambda: producer.enqueue(REQUEST_ID, True, org=ORG, group=GROUP)),
                CALLS,
            ),
            "enqueue, an event": (_repeat(lambda: producer.enqueue(EVENT)), CALLS),
            "enqueue_many": (lambda: producer.enqueue_many([EVENT] * CALLS), CALLS),
        }
        for _ in range(ROUNDS):
            for name, (call, events) in subjects.items():
                times.setdefault(name, []).append(_microseconds(call, events=events))
            times.setdefault(f"asyncio, {TASKS} tasks at once", []).append(asyncio.run(_burst(url)))
            bare.delete(QUEUE, counts_of(QUEUE))
    base = statistics.median(times["redis-py: lpush"])
    print(f"{'':32}{'µs/event':>10}{'ratio':>8}")  # noqa: T201 - its result
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:32}{median:>10.1f}{median / base:>8.2f}")  # noqa: T201 - its result


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379/15")
