"""Whatever producers, workers and operators do, in whatever order: every message is in one place, or ended once.

Hypothesis chooses the moves; the scripts that make them are those of the worker and of its transport, in a real Valkey.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from producer.message import QUEUE, to_message
from tests.support.dead_letter_records import an_event
from tests.support.places import foreign_message, places_of
from worker.accounting.integrity import check
from worker.accounting.reconcile import Report
from worker.accounting.repair import repair_redis
from worker.broker.keys import DELAYED, KEYS
from worker.broker.lease_scripts import LeaseScripts
from worker.broker.scripts import FETCH, PUBLISH, PURGE
from worker.clients.redis.partitions import Partitions
from worker.delivery.idempotency import IdempotencyStore

if TYPE_CHECKING:
    from tests.support.processes import RedisServer

pytestmark = pytest.mark.usefixtures("keys_are_declared")

LEASE = 60_000
HOLDERS = st.sampled_from(["host:1:a", "host:2:b", "host:3:c"])
NUMBERS = st.integers(1, 5)
PRIORITIES = st.sampled_from([0, 3, 6, 9])
ENDS = st.sampled_from(
    [["delivered"], ["duplicate"], ["stale"], ["dead", "dead:rejected"], ["dead", "dead_letters_inserted"]]
)
POISON = st.sampled_from(
    [
        b"rubbish",
        b"\xff\x00",
        b"{}",
        b"[]",
        b'{"headers": {}, "properties": {}}',
        b'{"headers": {}, "properties": {"delivery_info": {}, "delivery_tag": 7}}',
        b'{"headers": {"redelivered": false}, "properties": {"delivery_info": 1}}',
        b'{"headers": {"feedback": {"v": "2"}}, "properties": {"delivery_info": {}, "delivery_tag": "same"}}',
    ]
)


class Moves(RuleBasedStateMachine):
    """A queue, its producers and three workers.

    Args:
        server: An empty Redis is made of it.
        at_once: How many entries the check may look at in one step.
    """

    tags = Bundle("tags")

    def __init__(self, server: RedisServer, at_once: int) -> None:
        super().__init__()
        self._opened = ExitStack()
        self._places = self._opened.enter_context(places_of(server))
        self._client = self._places.client
        self._client.flushall()
        self._idempotency = IdempotencyStore(self._client, ttl=timedelta(days=1), lease=timedelta(minutes=1))
        self._at_once = at_once
        self._lost = 0

    def teardown(self) -> None:
        """Close the connections."""
        self._opened.close()

    # Producers

    @rule(number=NUMBERS, priority=PRIORITIES)
    def produce(self, number: int, priority: int) -> None:
        """Ours count in the same step."""
        self._places.enqueue(number, priority=priority)

    @rule(number=NUMBERS)
    def produce_foreign(self, number: int) -> None:
        """Another client's count nothing."""
        self._places.enqueue_foreign(number)

    @rule(due=st.sampled_from([1, 4_102_444_800_000]))
    def schedule_foreign(self, due: int) -> None:
        """A message of our transport with an eta."""
        self._places.schedule(foreign_message(), due=due)

    @rule(entry=POISON)
    def poison(self, entry: bytes) -> None:
        """Something that is no message, or an odd one."""
        self._client.lpush(QUEUE, entry)

    # Workers

    @rule(target=tags, holder=HOLDERS, number=NUMBERS)
    def fetch(self, holder: str, number: int) -> tuple[str, tuple[bytes, ...]]:
        """A worker takes messages."""
        lists = [
            key
            for name in KEYS.lists(QUEUE)
            for key in (name, name + DELAYED, KEYS.counts_of(QUEUE), KEYS.hold_of(QUEUE))
        ]
        _, _, taken = FETCH(
            self._client,
            [KEYS.unacked, KEYS.index, KEYS.leases, KEYS.held_prefix + holder, *lists],
            [holder, LEASE, number, *[QUEUE, "1"] * len(KEYS.steps)],
        )
        return holder, tuple(tag for _, tag, _, _ in taken)

    @rule(some=tags, end=ENDS)
    def settle(self, some: tuple[str, tuple[bytes, ...]], end: list[str]) -> None:
        """They end; or did before, or another worker has them by now."""
        for tag in some[1]:
            self._idempotency.finish(tag.decode(), *end)

    @rule(some=tags, label=st.sampled_from(["", "dead,dead:invalid"]))
    def ack(self, some: tuple[str, tuple[bytes, ...]], label: str) -> None:
        """Celery acknowledges, whether they were settled before or not."""
        holder, tags = some
        self._scripts(holder).end({tag.decode(): label for tag in tags})

    @rule(some=tags, due=st.sampled_from(["+60000", "1"]))
    def defer(self, some: tuple[str, tuple[bytes, ...]], due: str) -> None:
        """They wait."""
        holder, tags = some
        self._scripts(holder).schedule({tag.decode(): due for tag in tags})

    @rule(some=tags, end=st.sampled_from(["head", "back"]), all_of_it=st.booleans())
    def requeue(self, some: tuple[str, tuple[bytes, ...]], end: str, *, all_of_it: bool) -> None:
        """They go back to the queue, or everything that the worker has."""
        holder, tags = some
        self._scripts(holder).requeue([tag.decode() for tag in tags], end=end, keep=() if all_of_it else None)

    @rule(some=consumes(tags), due=st.sampled_from(["", "4102444800000"]))
    def publish_again(self, some: tuple[str, tuple[bytes, ...]], due: str) -> None:
        """Each is published again in its own place, as a retry is."""
        for tag in some[1]:
            again = to_message(an_event())
            keys = [QUEUE, QUEUE + DELAYED, KEYS.unacked, KEYS.index, KEYS.unacked]
            PUBLISH(self._client, keys, [again, due, tag])

    @rule(holder=HOLDERS, dead=st.sets(HOLDERS))
    def beat(self, holder: str, dead: set[str]) -> None:
        """A worker renews its lease, and returns what the dead had."""
        seconds, micros = self._client.time()
        self._client.hset(KEYS.pulse, mapping={"at": seconds * 1000 + micros // 1000, "grace": 0})
        for name in dead - {holder}:
            self._client.zadd(KEYS.leases, {name: 1}, xx=True)
        scripts = self._scripts(holder)
        _, ended = scripts.heartbeat()
        scripts.reclaim(ended)

    # Operators, and faults

    @rule(number=st.integers(1, 100))
    def purge(self, number: int) -> None:
        """Empty the queue, in one step or halfway."""
        lists = [key for name in KEYS.lists(QUEUE) for key in (name, name + DELAYED)]
        PURGE(self._client, [KEYS.counts_of(QUEUE), *lists], [number])

    @rule()
    def lose(self) -> None:
        """Redis loses a message that was counted."""
        for name in KEYS.lists(QUEUE):
            for entry in self._client.lrange(name, 0, -1):
                if b'"v": 2' in entry:
                    self._lost += self._client.lrem(name, 1, entry)  # type: ignore[arg-type] # bytes are what is there
                    return

    @rule()
    def double(self) -> None:
        """A message is there once more than it was counted."""
        self._client.lpush(QUEUE, to_message(an_event()))
        self._lost -= 1

    @rule()
    def orphan(self) -> None:
        """What the workers had in flight is under no lease, and no worker would return it."""
        self._client.delete(*self._client.keys(f"{KEYS.held_prefix}*"), KEYS.leases, KEYS.index)

    @rule()
    def repair(self) -> None:
        """Reconcile fixes everything, and has nothing more to say."""
        found = check(self._client)
        list(repair_redis(Partitions([self._client]), Report(checks=(found,))))
        self._lost = 0
        assert check(self._client).hangs_together

    @invariant()
    def it_adds_up(self) -> None:
        """What is missing is what was lost, and it is known exactly."""
        found = check(self._client, at_once=self._at_once)
        assert found.exact
        assert found.balance.missing == self._lost, found.balance.equation()

    def _scripts(self, holder: str) -> LeaseScripts:
        return LeaseScripts(self._client.connection_pool, KEYS, name=holder, lease_ms=LEASE)


@pytest.mark.parametrize("at_once", [1000, 3])
def test_it_adds_up_whatever_happens(valkey: RedisServer, at_once: int) -> None:
    """After every move, and also if the lists are read page by page."""
    run_state_machine_as_test(
        partial(Moves, valkey, at_once),  # type: ignore[arg-type] # anything that makes one does
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
