"""``python -m benchmarks.remembering``: deliver so many events to the dedup store, and no further."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import click

from benchmarks.events import events as some_events
from benchmarks.sender import redis_url
from producer import FeedbackEvent
from worker.delivery.idempotency import Claimed
from worker.delivery.partitioned_idempotency import connect_idempotency
from worker.settings import load_settings


@click.command()
@click.argument("number", type=int)
def main(number: int) -> None:
    """Claim and record so many events."""
    ttl, lease = load_settings(_env_file=None).feedback_idempotency_ttl, timedelta(seconds=40)
    with closing(connect_idempotency(redis_url(), ttl=ttl, lease=lease, connections=1)) as idempotency:
        for fields in some_events(number):
            event = FeedbackEvent.from_wire(fields)
            claim = idempotency.claim(event, message_id=event.request_id)
            if not isinstance(claim, Claimed):
                raise click.ClickException(f"{event.request_id} could not be claimed: {claim}")
            idempotency.record(event, claim, message_id=event.request_id)


if __name__ == "__main__":
    main()
