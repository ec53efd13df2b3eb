"""A queue of several partitions, and a cluster: every primary is as it should be, and has its share of the queue."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import redis

from worker.clients.redis.partition_record import PartitionMismatch
from worker.clients.redis.partitions import shown_partition
from worker.operations.doctor.broker import ask_server, look_at_broker
from worker.operations.doctor.confirmation import ask_configuration, look_at_confirmation
from worker.operations.doctor.finding import Finding, Level, green, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from producer.broker_url import Place
    from producer.cluster import SlotRange
    from worker.accounting.snapshot import Snapshot
    from worker.clients.redis.partition_record import PartitionRecord
    from worker.clients.redis.partitions import Partitions
    from worker.settings import Settings

__all__ = ["look_at_partitions", "look_at_record", "look_at_servers"]

_CHECK: Final = "partitions"

_NAMED: Final = 4
"""Primaries that are named one by one."""

_COVERAGE: Final = "cluster-require-full-coverage"

_WORST: Final = (Level.RED, Level.YELLOW, Level.GREEN)


def look_at_servers(partitions: Partitions, settings: Settings) -> Iterator[Finding]:
    """Check the Redis, or every primary of a cluster that has a partition.

    Raises:
        redis.RedisError: It, or one of them, is unavailable, or refuses.
    """
    if not partitions.is_cluster:
        yield from _of_server(partitions.home, settings)
        return
    try:
        slots = partitions.slots()
    except redis.exceptions.NoPermissionError:
        yield from _of_server(partitions.home, settings)
        summary = "which primaries have the partitions is not told: the login lacks the right to CLUSTER SLOTS"
        yield yellow(
            "partitions' spread", summary, fix="give the broker's login the right +cluster|slots (ACL SETUSER)"
        )
        return
    places = partitions.places(slots)
    found: dict[str, list[tuple[str, Finding]]] = {}
    first = {place: number for number, place in reversed(list(enumerate(places))) if place is not None}
    answers = partitions.ask(
        lambda client: list(_of_server(client, settings)), only=first.values(), within=partitions.patience
    )
    for place, number in sorted(first.items()):
        for finding in answers.of.get(number, ()):
            found.setdefault(finding.check, []).append((_shown(place), finding))
    if not answers.of:
        answers.all(count=len(partitions))
    yield from (_together(of_check) for of_check in found.values())
    if len(partitions) > 1:
        yield _spread(slots, places)


def _of_server(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    server = ask_server(client)
    yield from look_at_broker(server)
    if server.cluster:
        yield _coverage(client)
    asked = settings.feedback_enqueue_replicas or settings.feedback_enqueue_fsync
    if asked and server.info.get("role") == "master":  # where replicas or disks must confirm an event
        yield from look_at_confirmation(server.info, ask_configuration(client), settings)


def _together(found: Sequence[tuple[str, Finding]]) -> Finding:
    """The worst of what one check found on several primaries, and on which."""
    level = next(level for level in _WORST if any(finding.level is level for _, finding in found))
    those = [(place, finding) for place, finding in found if finding.level is level]
    first = those[0][1]
    if len(those) == len(found) and len({finding.summary for _, finding in those}) == 1:
        return first
    text = "; ".join(f"{place}: {finding.summary}" for place, finding in those[:_NAMED])
    more = f"; and {len(those) - _NAMED} more" if len(those) > _NAMED else ""
    return Finding(check=first.check, level=level, summary=text + more, fix=first.fix)


def _coverage(client: redis.Redis) -> Finding:
    check = "broker coverage"
    try:
        told = client.config_get(_COVERAGE)
    except redis.ResponseError:  # also where a provider has renamed the command
        return green(check, "it does not tell what it does where slots are lost")
    value = next(iter(told.values()), "")
    if (value.decode() if isinstance(value, bytes) else value) == "no":
        return green(check, "where one primary is lost, the others go on")
    summary = f"{_COVERAGE} is yes: where one primary is lost without a replica, all of them stop"
    return yellow(check, summary, fix=f"CONFIG SET {_COVERAGE} no on every node, and in redis.conf")


def _spread(slots: Sequence[SlotRange], places: Sequence[Place | None]) -> Finding:
    """Whether each primary has its share of the partitions: the busiest one limits what the cluster can take."""
    check = "partitions' spread"
    every = {one.primary for one in slots}
    counts = Counter(place for place in places if place is not None)
    numbers = [counts[place] for place in every]
    told = ", ".join(str(number) for number in sorted(numbers, reverse=True)[: 4 * _NAMED])
    summary = f"{len(places)} partitions on {len(every)} primaries: {told}"
    share = len(places) / max(len(every), 1)
    if max(numbers, default=0) - min(numbers, default=0) > max(1.0, share / 2):
        fix = f"move slots, so that each primary has about {share:.0f} (`redis-cli --cluster rebalance`, or reshard)"
        return yellow(check, f"{summary}: the busiest one limits them all", fix=fix)
    return green(check, summary)


def look_at_partitions(now: Snapshot) -> Iterator[Finding]:
    """Check that each of several partitions can be asked, and is consumed where something waits in it."""
    if not now.parts:
        return
    if lost := now.unavailable:
        others = len(now.parts) - len(lost)
        summary = f"{_numbers([part.number for part in lost])} can't be asked, and {others} can: {lost[0].error}"
        fix = "start the node that has them, or let its replica take over (CLUSTER FAILOVER TAKEOVER, on the replica)"
        yield red(_CHECK, f"{summary}; what waits there is not delivered, and no event for them is taken", fix=fix)
    unattended = now.unattended if now.alive else ()  # where no worker is alive another check says so
    if unattended:
        waiting = sum(part.snapshot.waiting for part in unattended if part.snapshot is not None)
        numbers = _numbers([part.number for part in unattended])
        fix = "look in the workers' log for why they do not reach it; restart them if it does not say"
        yield red(_CHECK, f"{numbers}: no living worker consumes them, and {waiting:,} events wait there", fix=fix)
    if not lost and not unattended:
        yield green(_CHECK, f"all {len(now.parts)} can be asked, and none waits for a worker that consumes it")


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(shown_partition, numbers))


def look_at_record(record: PartitionRecord, *, tells: bool) -> Iterator[Finding]:
    """Check that the queue was made with as many partitions as the settings say.

    Args:
        record: What is recorded.
        tells: Whether to say so where that is so.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    check = "partitions' number"
    try:
        record.check(writes=False)
    except PartitionMismatch as error:
        summary, _, fix = str(error).partition(": ")
        yield red(check, summary, fix=fix)
        return
    if tells:
        yield green(check, "FEEDBACK_PARTITIONS is that of the queue")


def _shown(place: Place) -> str:
    return f"{place[0]}:{place[1]}"
