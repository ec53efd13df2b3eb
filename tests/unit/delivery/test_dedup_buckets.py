"""Which bucket a vote is in is what each process believes, and what the scripts set right."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
import redis

from tests.support.dead_letter_records import an_event
from worker.clients.redis.keys import FeedbackKeys
from worker.clients.redis.scripts import Script
from worker.delivery.dedup_buckets import DedupBuckets
from worker.delivery.idempotency import Claimed, IdempotencyStore, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from producer import FeedbackEvent

pytestmark = pytest.mark.usefixtures("keys_are_declared")

DEDUP: Final = FeedbackKeys().dedup
TTL: Final = timedelta(days=7)
LEASE: Final = timedelta(seconds=40)
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
WORKERS: Final = 4
EACH: Final = 250


@pytest.fixture
def client(real_client: redis.Redis) -> redis.Redis:
    """A connection to each kind of real Redis, empty."""
    return real_client


@pytest.fixture
def stores(client: redis.Redis) -> Iterator[list[IdempotencyStore]]:
    """Several workers' stores in one Redis; each knows what it was told, and nothing of the others."""
    port = client.connection_pool.connection_kwargs["port"]
    with ExitStack() as opened:
        yield [
            opened.enter_context(closing(IdempotencyStore(redis.Redis(port=port), ttl=TTL, lease=LEASE)))
            for _ in range(WORKERS)
        ]


def deliver(store: IdempotencyStore, event: FeedbackEvent) -> None:
    """Claim and record it."""
    claim = store.claim(event, message_id="m")
    assert isinstance(claim, Claimed)
    store.record(event, claim, message_id="m")


def calls(client: redis.Redis) -> int:
    """How many scripts were run since the statistics were reset."""
    return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


class Spy:
    """Runs scripts, and does something before some call."""

    def __init__(self, client: redis.Redis, *before: Any) -> None:
        self._client = client
        self._before = list(before)
        self.asked: list[tuple[Any, ...]] = []

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """As redis-py's."""
        self.asked.append(keys_and_args[:numkeys])
        if self._before:
            self._before.pop(0)()
        return self._client.evalsha(sha, numkeys, *keys_and_args)

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """As redis-py's."""
        return self._client.eval(script, numkeys, *keys_and_args)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 100, 127, 128, 129, 2**31])
def test_a_digest_is_in_the_bucket_of_linear_hashing(client: redis.Redis, count: int) -> None:
    """As the textbook has it, and as the scripts have it, which would answer with the number otherwise."""
    buckets = DedupBuckets(client, name=DEDUP, ttl_ms=1000)
    buckets._count = count
    client.set(DEDUP, count)
    bucket_is = Script(_dedup("local b, vote = recall(KEYS[1], KEYS[2], ARGV[1]) return b and {1} or vote"))
    for number in (0, 1, 2, 3, 255, 256, 2**31 - 1, 2**31, 2**32 - 1, 3_141_592_653):
        digest = number.to_bytes(4, "big") + b"the rest"
        level = 2 ** (count.bit_length() - 1)
        expected = number % (2 * level) if number % (2 * level) < count else number % level

        assert buckets.key_of(digest) == f"{DEDUP}:{expected}"
        assert bucket_is(client, [DEDUP, buckets.key_of(digest)], [digest]) == [1]


def _dedup(script: str) -> str:
    from worker.delivery import dedup_buckets  # noqa: PLC0415 - its text, which is nobody else's

    return dedup_buckets._DEDUP + script


def test_workers_that_know_nothing_of_each_other_remember_all(
    client: redis.Redis, stores: list[IdempotencyStore]
) -> None:
    """While each splits buckets under the others: no vote is forgotten, none is taken twice."""
    events = [[an_event() for _ in range(EACH)] for _ in stores]

    def work(store: IdempotencyStore, own: Sequence[FeedbackEvent]) -> None:
        for event in own:
            deliver(store, event)

    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(work, stores, events))

    assert int(client.get(DEDUP) or 0) > 8
    assert sum(client.hlen(key) for key in client.keys(f"{DEDUP}:*")) == WORKERS * EACH
    for own in events:
        assert {stores[0].claim(event, message_id="m") for event in own} == {Seen.SETTLED}


def test_a_worker_that_believes_in_another_number_is_told_once(
    client: redis.Redis, stores: list[IdempotencyStore]
) -> None:
    """One call more; and what it asks for then is done once."""
    first, late, *_ = stores
    events = [an_event() for _ in range(300)]
    for event in events:
        deliver(first, event)
    moved = [event for event in events if late.claim(event, message_id="m") is Seen.SETTLED]
    late._buckets._count = 1
    client.config_resetstat()

    assert [late.claim(event, message_id="m") for event in moved] == [Seen.SETTLED] * len(events)

    assert len(events) <= calls(client) <= len(events) + 1


def test_a_record_that_is_asked_for_again_counts_once(client: redis.Redis, stores: list[IdempotencyStore]) -> None:
    """Its bucket was split since: the first try did nothing."""
    first, late, *_ = stores
    event, tag = an_event(), "tag-1"
    claim = late.claim(event, message_id="m")
    assert isinstance(claim, Claimed)
    for _ in range(300):
        deliver(first, an_event())
    client.hset("unacked", tag, '["{}", "", "feedback"]')
    before = int(client.hget("feedback:counts", "delivered") or 0)
    late._buckets._count = 2**20  # no bucket of so many is one of those that there are, but by chance

    late.record(event, claim, message_id="m", delivery_tag=tag)
    late.record(event, claim, message_id="m", delivery_tag=tag)

    assert int(client.hget("feedback:counts", "delivered") or 0) == before + 1
    assert first.claim(event, message_id="m") is Seen.SETTLED
    assert client.hlen("unacked") == 0


def test_a_number_that_keeps_changing_is_no_loop_without_end(client: redis.Redis) -> None:
    """The caller is told that Redis can't do it now, as it is when Redis is away; nothing was done."""
    numbers = [2, 4, 8, 16, 32, 64]

    def change() -> None:
        client.set(DEDUP, numbers.pop(0))

    spy = Spy(client, *[change] * 6)
    buckets = DedupBuckets(spy, name=DEDUP, ttl_ms=1000)
    writes = Script(
        _dedup("local b, vote = recall(KEYS[1], KEYS[2], ARGV[1]) if not b then return vote end return {1}")
    )
    client.script_load(writes.source)

    with pytest.raises(redis.RedisError, match="split each time"):
        buckets.run(writes, (2**32 - 1).to_bytes(4, "big"), [], [(2**32 - 1).to_bytes(4, "big")])

    assert len(spy.asked) == 5
    assert client.keys(f"{DEDUP}:*") == []


def test_of_two_that_split_the_same_buckets_one_does(client: redis.Redis) -> None:
    """The other learns what has come of it."""
    one, other = DedupBuckets(client, name=DEDUP, ttl_ms=1000), DedupBuckets(client, name=DEDUP, ttl_ms=1000)
    client.set(DEDUP, 4)

    one.hear(4, crowded=True)
    other.hear(4, crowded=True)

    assert client.get(DEDUP) == b"6"
    assert one._count == other._count == 6


def test_a_split_that_redis_refuses_costs_no_record(client: redis.Redis, stores: list[IdempotencyStore]) -> None:
    """It is recorded already; the next vote in a crowded bucket has it done."""
    store = stores[0]
    events = [an_event() for _ in range(150)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.delivery.dedup_buckets._SPLIT", _refuse)
        for event in events:
            deliver(store, event)
    assert client.get(DEDUP) == b"1"

    deliver(store, an_event())

    assert int(client.get(DEDUP) or 0) == 3
    assert {store.claim(event, message_id="m") for event in events} == {Seen.SETTLED}


def _refuse(*_: object) -> None:
    raise redis.ConnectionError("away")


@pytest.mark.parametrize("there", [0, 1, 64, 65, 200, 1000])
def test_buckets_are_counted_where_nothing_tells_their_number(client: redis.Redis, there: int) -> None:
    """However many there are, up to where 64 in a row are missing; the number stays then."""
    if there:
        client.hset(f"{DEDUP}:0", "digest", "vote")
        for number in range(there % 50, there, 50):
            client.hset(f"{DEDUP}:{number}", "digest", "vote")
        client.hset(f"{DEDUP}:{there - 1}", "digest", "vote")
        client.hset(
            f"{DEDUP}:{there + 64}", "digest", "vote"
        )  # 64 are missing before it, and one more behind the first
        client.delete(f"{DEDUP}:{there + 64}")
    with closing(DedupBuckets(client, name=DEDUP, ttl_ms=60_000)) as buckets:
        buckets._learn(0)

        assert buckets._count == max(there, 1)
    assert client.get(DEDUP) == str(max(there, 1)).encode()
    assert (client.pttl(DEDUP) == -1) == (there > 0)


def test_a_number_that_is_written_while_it_is_counted_stands(client: redis.Redis) -> None:
    """Another worker has counted, and has had buckets split since."""
    for number in range(300):
        client.hset(f"{DEDUP}:{number}", "digest", "vote")
    spy = Spy(client, lambda: None, lambda: client.set(DEDUP, 302))
    with closing(DedupBuckets(spy, name=DEDUP, ttl_ms=60_000)) as buckets:
        buckets._learn(0)

        assert buckets._count == 302
    assert client.get(DEDUP) == b"302"


def test_many_tasks_wait_for_one_count(client: redis.Redis) -> None:
    """Each would have to look at all buckets."""
    for number in range(3000):
        client.hset(f"{DEDUP}:{number}", "digest", "vote")
    spy = Spy(client)
    with closing(DedupBuckets(spy, name=DEDUP, ttl_ms=60_000)) as buckets, ThreadPoolExecutor(32) as threads:
        list(threads.map(buckets._learn, [0] * 32))

        assert buckets._count == 3000
    assert len(spy.asked) < 32


def test_a_key_of_another_type_is_told_and_nothing_is_done(client: redis.Redis, stores: list[IdempotencyStore]) -> None:
    """The doctor says what it is."""
    client.lpush(DEDUP, "another program's")

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        stores[0].claim(an_event(), message_id="m")

    assert client.keys("*") == [DEDUP.encode()]
