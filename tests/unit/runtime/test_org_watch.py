"""Giving back what was set aside, over three partitions: what no hold keeps, and a probe of each that is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import fakeredis
import pytest

from producer.partitions import tags
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.set_aside import count_set_aside, moment_of
from worker.clients.redis.keys import feedback_keys, with_prefix
from worker.clients.redis.partitions import Partitions
from worker.delivery.hold import HoldKind, HoldState
from worker.delivery.org_holds import OrgHold
from worker.runtime.org_watch import GivingBack

if TYPE_CHECKING:
    import redis

ACME = "key:acme"
GLOBEX = "org:globex"


@pytest.fixture
def partitions() -> Partitions:
    """Three partitions of one Redis."""
    server = fakeredis.FakeServer()
    return Partitions([with_prefix(fakeredis.FakeRedis(server=server), prefix) for prefix in tags(3)])


def list_of(client: redis.Redis) -> str:
    """The list of the most urgent messages."""
    return broker_keys(client).lists("feedback")[0]


def set_aside(client: redis.Redis, scope: str, count: int) -> None:
    """Let so many messages wait for the end of a hold."""
    messages = {f"{scope} {number}": moment_of(scope) for number in range(count)}
    client.zadd(list_of(client) + DELAYED, messages)


def hold(scope: str, *, probe_in: timedelta | None = None) -> OrgHold:
    """A hold, whose next probe is due in so long; with none it is by hand."""
    now = datetime.now(UTC)
    kind = HoldKind.OPERATOR if probe_in is None else HoldKind.LOCKED_OUT
    probe_at = None if probe_in is None else now + probe_in
    state = HoldState(kind=kind, comment="so", since=now, actor="me", probes=0, probe_at=probe_at)
    return OrgHold(scope=scope, state=state)


def look(partitions: Partitions, *holds: OrgHold) -> int:
    """Let a worker look, as the first of the fleet."""
    partitions.home.delete(feedback_keys(partitions.home).holds_watched)
    return GivingBack(partitions).look(holds, worker="worker-1")


def queued(partitions: Partitions) -> list[int]:
    """How many messages wait in each partition."""
    return [client.llen(list_of(client)) for client in partitions]


def test_what_no_hold_keeps_goes_back_in_every_partition(partitions: Partitions) -> None:
    """What one keeps stays."""
    for client in partitions:
        set_aside(client, ACME, 3)
        set_aside(client, GLOBEX, 2)

    assert look(partitions, hold(GLOBEX)) == 9

    assert queued(partitions) == [3, 3, 3]
    assert [count_set_aside(client, [GLOBEX]) for client in partitions] == [[2, 2]] * 3


def test_no_more_goes_back_than_others_can_wait_for(partitions: Partitions) -> None:
    """All of it where nothing else waits; one batch at a time behind which others would."""
    set_aside(partitions.home, ACME, 3000)
    partitions.home.lpush(list_of(partitions.home), *["another's"] * 900)

    assert look(partitions) == 500
    assert look(partitions) == 500
    assert queued(partitions) == [1900, 0, 0]


def test_one_worker_of_the_fleet_gives_back(partitions: Partitions) -> None:
    """Another does, if that one does no more."""
    set_aside(partitions.home, ACME, 1)
    watched = feedback_keys(partitions.home).holds_watched
    partitions.home.set(watched, "worker-2", px=450)

    assert GivingBack(partitions).look([], worker="worker-1") == 0
    partitions.home.delete(watched)
    assert GivingBack(partitions).look([], worker="worker-1") == 1


def test_the_probe_that_is_due_is_one_message_wherever_it_lies(partitions: Partitions) -> None:
    """Not before, and not while everything is held."""
    set_aside(partitions[2], ACME, 2)
    set_aside(partitions[1], GLOBEX, 2)
    later, due = hold(ACME, probe_in=timedelta(minutes=1)), hold(ACME, probe_in=timedelta())

    assert look(partitions, later, hold(GLOBEX)) == 0
    partitions.home.hset(feedback_keys(partitions.home).hold, "kind", "operator")
    assert look(partitions, due, hold(GLOBEX)) == 0
    partitions.home.delete(feedback_keys(partitions.home).hold)
    assert look(partitions, due, hold(GLOBEX)) == 1

    assert queued(partitions) == [0, 0, 1]
