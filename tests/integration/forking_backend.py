"""A backend that preloads and forks, as gunicorn's workers do, with threads that enqueue meanwhile.

Prints how many events were enqueued, in the parent and in all children.
"""

from __future__ import annotations

import os
import sys
import traceback
from threading import Event, Thread
from uuid import uuid4

from producer import FeedbackProducer

CHILDREN = 4
EVENTS_OF_CHILD = 50


def main(url: str) -> int:
    """Enqueue in the parent before, during and after the forks, and in each child."""
    producer = FeedbackProducer.from_env(url=url, timeout=10)
    counts = [0] * 4
    over = Event()

    def keep_enqueuing(thread: int) -> None:
        while not over.is_set():
            _enqueue(producer)
            counts[thread] += 1

    threads = [Thread(target=keep_enqueuing, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    statuses = [os.waitpid(child, 0)[1] for child in [_fork(producer) for _ in range(CHILDREN)]]
    over.set()
    for thread in threads:
        thread.join()
    _enqueue(producer)
    print(sum(counts) + CHILDREN * EVENTS_OF_CHILD + 1)  # noqa: T201 - its result
    return int(any(statuses))


def _enqueue(producer: FeedbackProducer) -> None:
    producer.enqueue(uuid4(), True, org="o", group="g")


def _fork(producer: FeedbackProducer) -> int:
    if child := os.fork():
        return child
    status = 1
    try:
        for _ in range(EVENTS_OF_CHILD):
            _enqueue(producer)
        producer.close()
        status = 0
    except BaseException:  # noqa: BLE001 - a child ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
