"""What delivering costs: a full queue, emptied, at several latencies of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.backlog import Backlogs
from benchmarks.consumers import CONSUMERS
from benchmarks.draining import drain
from benchmarks.sample import Measurement, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Plan

__all__ = ["DELIVER", "deliver"]

DELIVER: Final = Measurement(
    name="deliver",
    title="Deliver",
    text="A queue is filled and the workers are started. The stand-in for AquilaX lets their first requests wait until "
    "every worker has as many under way as it can, and then takes them; from there to the last arrival the rate is "
    "counted, of what arrived after those. The middle rate is without the first tenth of all arrivals and the last. "
    "CPU is that of all the consumer's processes. Redis' commands are counted with those within scripts; its reads are "
    "how often it had to turn to a connection. aquilax-feedback runs with its defaults: events for Flower, a log of "
    "every delivery, idempotency, and the leases that survive a killed worker. The peers send the request, and do "
    "nothing else.",
)


def deliver(plan: Plan) -> Iterator[Sample]:
    """Let every consumer empty a queue at every latency, round by round."""
    backlogs = Backlogs(folder=plan.snapshots)
    for _ in range(plan.rounds):
        for milliseconds in plan.latencies:
            for consumer in plan.chosen(CONSUMERS, name=lambda each: each.name):
                events = consumer.events(plan.events)
                plan.tell(f"API {milliseconds} ms: {consumer.name}, {events:,} events")
                backlog = backlogs.of(consumer.sender, events) if consumer.sender else None
                drained = drain(consumer, events, latency=milliseconds / 1000, backlog=backlog)
                figures = {
                    "events/s": drained.rate,
                    "middle events/s": drained.middle_rate,
                    "CPU ms/event": drained.cpu * 1000,
                }
                if consumer.sender:
                    figures |= {"Redis commands/event": drained.commands, "Redis reads/event": drained.reads}
                yield Sample(
                    case=f"API {milliseconds} ms",
                    subject=consumer.name,
                    setup=f"{consumer.setup}; {events:,} events",
                    figures=figures,
                    missing=drained.missing,
                )
