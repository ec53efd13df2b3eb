"""``python -m benchmarks.spool_sending NUMBER``: fill a spool, send it, and tell what sending cost, as JSON."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.events import events
from benchmarks.ours import SPOOL
from benchmarks.sender import redis_url
from producer import FeedbackEvent, FeedbackProducer
from producer._chunks import chunks
from producer.spool import Spool, SpoolSender

if TYPE_CHECKING:
    from collections.abc import Iterator


def _connect(queue: str) -> FeedbackProducer:
    return FeedbackProducer(redis_url(), queue=queue, timeout=30)


def _fill(directory: str, number: int) -> None:
    at = datetime.now(UTC)
    spool = Spool(directory, timeout=30)
    supply: Iterator[FeedbackEvent] = (FeedbackEvent.from_wire(each | {"occurred_at": at}) for each in events(number))
    for chunk in chunks(supply):
        spool.put(chunk, "feedback")
    spool.close()


@click.command()
@click.argument("number", type=int)
def main(number: int) -> None:
    """Send so many events."""
    directory = os.environ[SPOOL]
    _fill(directory, number)
    began, cpu = time.perf_counter(), time.process_time()
    sent = sum(SpoolSender(Path(directory), _connect).send())
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    click.echo(json.dumps({"events/s": sent / seconds, "CPU µs/event": cpu / sent * 1e6}))


if __name__ == "__main__":
    main()
