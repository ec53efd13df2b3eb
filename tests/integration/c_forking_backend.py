"""A backend whose server forks in C and tells Python nothing of it, as uWSGI does unless it is told to.

The master enqueues before it forks, and the children all at once afterwards. Prints how many events were enqueued.
"""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from uuid import uuid4

from producer import FeedbackProducer

CHILDREN = 3
EVENTS_OF_CHILD = 50


def main(url: str, spool: str | None = None) -> int:
    """Enqueue in the master, in each child, and in the master again."""
    producer = FeedbackProducer(url, timeout=10, spool=spool)
    _enqueue(producer)
    children = [_fork(producer) for _ in range(CHILDREN)]
    _enqueue(producer)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    print(CHILDREN * EVENTS_OF_CHILD + 2)  # noqa: T201 - its result
    return int(any(statuses))


def _enqueue(producer: FeedbackProducer) -> None:
    producer.enqueue(uuid4(), True, org="o", group="g")


def _fork(producer: FeedbackProducer) -> int:
    if child := ctypes.PyDLL(None).fork():  # it keeps the interpreter's lock, and calls none of its hooks
        return int(child)
    status = 1
    try:
        for _ in range(EVENTS_OF_CHILD):
            _enqueue(producer)
        status = 0
    except BaseException:  # noqa: BLE001 - a child ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
