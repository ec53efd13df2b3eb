"""A holder notices that its lease has ended, and counts it; and it writes down together what ends together."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.processes import eventually
from worker.broker.keys import KEYS
from worker.broker.lease import Lease
from worker.broker.lease_state import SharedLeaseState
from worker.clients.redis.keys import CountField
from worker.delivery.idempotency import IdempotencyStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer


def test_a_lease_that_ended_before_it_was_renewed_is_told_and_counted(
    broker: RedisServer, broker_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each time: others may have what it held."""
    shared = SharedLeaseState()
    holder = Lease(redis.ConnectionPool(port=broker.port), KEYS, lease=0.4, shared=shared)

    with caplog.at_level(logging.WARNING):
        holder.start()
        eventually(lambda: broker_client.exists(KEYS.leases), what="it has a lease")
        assert shared.lost == 0
        broker_client.delete(KEYS.leases)
        eventually(lambda: shared.lost > 0, what="it notices that it has none")
        eventually(lambda: broker_client.exists(KEYS.leases), what="it has one again")
    holder.release()

    assert shared.lost == 1
    assert "ended before it was renewed" in caplog.text


@pytest.fixture
def holding(broker: RedisServer, broker_client: redis.Redis) -> Iterator[Lease]:
    """A holder of 100 messages, in a program that has an event loop."""
    tags = [str(number) for number in range(100)]
    with closing(redis.ConnectionPool(port=broker.port)) as pool:
        holder = Lease(pool, KEYS, lease=20)
        holder.grouped = True
        holder.hold(tags)
        broker_client.hset(KEYS.unacked, mapping=dict.fromkeys(tags, '["{}", "", "q"]'))
        broker_client.sadd(holder.held_key, *tags)
        eventually(lambda: broker_client.exists(KEYS.leases), what="it has a lease")
        broker_client.config_resetstat()
        yield holder
        holder.release()


def _acks(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    return sum(int(stats.get(name, {}).get("calls", 0)) for name in ("cmdstat_evalsha", "cmdstat_eval"))


def test_what_ends_while_others_are_in_flight_is_written_down_together(
    holding: Lease, broker_client: redis.Redis
) -> None:
    """In far fewer steps than messages, and none is left."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(holding.ack, [str(number) for number in range(99)]))

    eventually(lambda: broker_client.hlen(KEYS.unacked) == 1, what="all but one have ended")
    assert _acks(broker_client) < 50


def test_freed_credit_is_told_together_with_what_ends_meanwhile(
    holding: Lease, broker_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all that is freed at about the same time: each call has a fetch follow it."""
    monkeypatch.setattr("worker.broker.lease.GATHER", 0.3)
    told: list[int] = []
    holding.on_flushed = lambda: told.append(len(holding._noted.held))
    for _ in range(50):
        holding._shared.starved = True
        holding._shared.set_outside_credit(holding._shared.outside_credit + 1)
    holding.ack("0")

    eventually(lambda: told and told[-1] == 99, what="it is told, and the message has ended")
    assert len(told) < 10
    assert _acks(broker_client) == 1


def test_the_last_in_flight_is_written_down_at_once(holding: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else will end soon, and a fetch waits for room."""
    monkeypatch.setattr("worker.broker.lease.GATHER", 60)
    flushed: list[int] = []
    holding.on_flushed = lambda: flushed.append(len(holding._noted.held))
    with holding._changed:
        for number in range(100):
            holding._noted.ended[str(number)] = ""
        holding._changed.notify()

    eventually(lambda: flushed, timeout=5, what="it is written down")
    assert flushed == [0]


def test_what_the_ledger_has_ended_is_not_written_down_again(holding: Lease, broker_client: redis.Redis) -> None:
    """There is room for more all the same; and what it has not ended is."""
    flushed: list[int] = []
    holding.on_flushed = lambda: flushed.append(len(holding._noted.held))
    store = IdempotencyStore(broker_client, ttl=timedelta(hours=1), lease=timedelta(seconds=40), shared=holding._shared)
    with closing(store) as idempotency:
        for number in range(98):
            assert idempotency.finish(str(number), CountField.STALE, held_in=holding.held_key)
        broker_client.config_resetstat()
        for number in range(98):
            holding.ack(str(number))
        eventually(lambda: flushed and flushed[-1] == 2, what="nothing but two is in flight")
        assert _acks(broker_client) == 0

        holding.ack("98")
        eventually(lambda: broker_client.hlen(KEYS.unacked) == 1, what="one more has ended")
        holding.ack("0")
        eventually(lambda: _acks(broker_client) == 2, what="what is said twice is written down")


def test_what_others_acknowledge_is_forgotten_at_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of a pool settles, and its parent acknowledges."""
    monkeypatch.setattr("worker.broker.lease_state._TAGS_LIMIT", 3)
    shared = SharedLeaseState()
    for tag in ("1", "2", "3", "4"):
        shared.add_settled(tag)

    assert [shared.take_settled(tag) for tag in ("1", "4", "4")] == [False, True, False]


def test_it_tells_for_how_long_nothing_has_ended(holding: Lease) -> None:
    """Since the oldest message came, or since another one ended; not at all where nothing is held."""
    now = time.monotonic()
    assert holding.without_end(now + 60) > 59

    holding.ack("1")
    ended = time.monotonic()
    assert holding.without_end(ended) < 60
    assert holding.without_end(ended + 60) <= 60 + (time.monotonic() - now)
    holding.forget()
    assert holding.without_end(ended + 60) == 0
