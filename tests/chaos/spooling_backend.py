"""``python -m tests.chaos.spooling_backend URL SPOOL PREFIX RATE``: presses, event by event, and says what was kept.

A line ``+ NUMBER`` says that the call returned, ``- NUMBER`` that it raised. SIGTERM ends the presses; the process
ends once the spool is empty. Two variables limit the disk: FEEDBACK_SPOOL_MAX_BYTES, and CHAOS_FILE_BYTES, which is
what a file may take at the most, as if the disk were full then.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from itertools import count

from producer import BrokerUnavailable, EnqueueUncertain, FeedbackProducer
from producer.spool import Spool
from tests.chaos.load import event_of, request_id

_THREADS = 8


def _press(producer: FeedbackProducer, prefix: str, numbers: count[int], rate: float, ending: threading.Event) -> None:
    due = time.monotonic()
    while not ending.is_set():
        number = next(numbers)
        try:
            producer.enqueue(event_of(request_id(prefix, number)))
            said = b"+ %d\n" % number
        except (BrokerUnavailable, EnqueueUncertain):
            said = b"- %d\n" % number
        os.write(sys.stdout.fileno(), said)
        due = max(due + 1 / rate, time.monotonic() - 1)
        ending.wait(max(due - time.monotonic(), 0))


def _main() -> None:
    url, directory, prefix, rate = sys.argv[1:]
    if limit := int(os.environ.get("CHAOS_FILE_BYTES", "0")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ending, numbers = threading.Event(), count()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    spool = Spool.from_env(directory, os.environ)
    with FeedbackProducer(url, spool=spool) as producer:
        arguments = (producer, prefix, numbers, float(rate) / _THREADS, ending)
        threads = [threading.Thread(target=_press, args=arguments) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while spool.status().events:
            time.sleep(0.1)


if __name__ == "__main__":
    _main()
