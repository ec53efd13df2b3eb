"""``python -m tests.chaos.backend URL PREFIX COUNT`` enqueues events in one call, and says how many Redis has taken.

A call draws the next chunk only once Redis has acknowledged the one before, so what is drawn tells what was taken.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from producer import FeedbackProducer
from producer._chunks import CHUNK
from tests.chaos.load import Numbers, event_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer import FeedbackEvent


def _drawn(prefix: str, count: int) -> Iterator[FeedbackEvent]:
    for number, request_id in enumerate(Numbers(prefix).take(count)):
        if number and number % CHUNK == 0:
            sys.stdout.write(f"taken {number}\n")
            sys.stdout.flush()
        yield event_of(request_id)


def _main() -> None:
    url, prefix, count = sys.argv[1:]
    with FeedbackProducer(url, timeout=10) as producer:
        producer.enqueue_many(_drawn(prefix, int(count)))


if __name__ == "__main__":
    _main()
