"""Where remembered words are kept: in hashes that are split as they fill up (`worker/delivery/lua/dedup.lua`)."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import fakeredis
import pytest
import redis

from producer import FeedbackEvent
from tests.support.processes import eventually
from worker.clients.redis.keys import FeedbackKeys
from worker.delivery.idempotency import Claim, Claimed, IdempotencyStore, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.processes import RedisServer

DEDUP: Final = FeedbackKeys().dedup

NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
TTL: Final = timedelta(days=7)
LEASE: Final = timedelta(seconds=40)
LISTPACK: Final = (b"listpack", b"ziplist")
"""As Redis 6.2 has it."""
MOST: Final = 128
"""In one bucket: Redis reads a listpack through. It keeps no more than 512 in one, unless it is told to."""
PAST: Final = f"{1:011x}".encode()


@pytest.fixture
def client(real_client: redis.Redis) -> redis.Redis:
    """A connection to each kind of real Redis, empty."""
    return real_client


def event(number: int, *, status: bool = True, at: datetime = NOON) -> FeedbackEvent:
    """A vote; each number is a request_id of its own."""
    text = str(UUID(int=random.Random(number).getrandbits(128), version=4))
    return FeedbackEvent(request_id=text, status=status, org="acme", group="chat", occurred_at=at)


def remember(client: redis.Redis, numbers: Iterable[int], *, ttl: timedelta = TTL) -> None:
    """Record words, many at once, as a worker does."""
    with closing(IdempotencyStore(client, ttl=ttl, lease=LEASE)) as idempotency, ThreadPoolExecutor(16) as threads:

        def record(number: int) -> None:
            idempotency.record(event(number), Claimed(token="a-token"), message_id="m1")

        list(threads.map(record, numbers))


def buckets(client: redis.Redis) -> list[str]:
    """The keys of the buckets that there may be."""
    return [f"{DEDUP}:{bucket}" for bucket in range(int(cast("bytes | None", client.get(DEDUP)) or 1))]


def place(client: redis.Redis, of: FeedbackEvent) -> tuple[str, bytes]:
    """The key and the field of a word in the buckets that there are."""
    return place_among(len(buckets(client)), of)


def place_among(count: int, of: FeedbackEvent) -> tuple[str, bytes]:
    """The key and the field of a word, by linear hashing as the textbook has it."""
    digest = blake2b(of.request_id.encode(), digest_size=16).digest()
    number = int.from_bytes(digest[:4], "big")
    level = count.bit_length() - 1
    bucket = number % 2 ** (level + 1)
    return f"{DEDUP}:{bucket if bucket < count else number % 2**level}", digest


def sizes(client: redis.Redis) -> list[int]:
    """How many words each bucket holds."""
    with client.pipeline(transaction=False) as pipe:
        for key in buckets(client):
            pipe.hlen(key)
        return cast("list[int]", pipe.execute())


def expire_all(client: redis.Redis) -> None:
    """Let the time of every word be over."""
    for key in buckets(client):
        words = cast("dict[bytes, bytes]", client.hgetall(key))
        if words:
            client.hset(key, mapping={digest: word[:17] + PAST + word[28:] for digest, word in words.items()})


def expiries(client: redis.Redis) -> tuple[int, list[int]]:
    """How long what says how many buckets there are will last, and each bucket (ms)."""
    return client.pttl(DEDUP), [left for left in (client.pttl(key) for key in buckets(client)) if left != -2]


@dataclass
class Remembered:
    """What is to be known of one request_id."""

    status: bool
    at: datetime
    message: str
    unsure: bool = False


@dataclass
class Model:
    """A ledger as a dict, for one worker that sends one word at a time."""

    words: dict[int, Remembered] = field(default_factory=dict)

    def claim(self, number: int, said: Remembered) -> Seen | None:
        """What is known of a word before it is sent; None if it may be sent."""
        known = self.words.get(number)
        if known is None:
            return None
        if known.message == said.message:
            return Seen.SETTLED
        later = said.at > known.at
        if known.status != said.status:
            known.unsure = known.unsure or later
            return None if later else Seen.STALE
        if later and known.unsure:
            return None
        known.at = max(known.at, said.at)
        return Seen.DUPLICATE


@pytest.mark.parametrize(
    ("kind", "seed"), [("fakeredis", 1), ("valkey", 1), ("valkey", 2), ("valkey", 3), ("redis", 1)]
)
def test_what_is_remembered_is_what_a_dict_would_remember(request: pytest.FixtureRequest, kind: str, seed: int) -> None:
    """First and second words of many, lost answers, and words that expire, while buckets are split."""
    chance = random.Random(seed)
    if kind == "fakeredis":
        client: redis.Redis = fakeredis.FakeRedis()
    else:
        server: RedisServer = request.getfixturevalue("_valkey" if kind == "valkey" else "_debian_redis")
        client = redis.Redis(port=server.port)
    client.flushall()
    idempotency, model = IdempotencyStore(client, ttl=TTL, lease=LEASE), Model()

    for step in range(3000):
        number = chance.randrange(1000)
        said = Remembered(
            status=chance.random() < 0.5,
            at=NOON + timedelta(seconds=chance.randrange(3)),
            message=f"m{chance.randrange(4)}",
        )
        one = event(number, status=said.status, at=said.at)
        claim: Claim = idempotency.claim(one, message_id=said.message)
        expected = model.claim(number, said)
        if expected is not None or not isinstance(claim, Claimed):
            assert claim is expected, (step, number, said)
        elif chance.random() < 0.8:
            idempotency.record(one, claim, message_id=said.message)
            model.words[number] = replace(said)
        else:
            idempotency.release(one, claim, message_id=said.message)
        if model.words and chance.random() < 0.1:
            gone = chance.choice(list(model.words))
            key, digest = place(client, event(gone))
            word = cast("bytes", client.hget(key, digest))
            client.hset(key, digest, word[:17] + PAST + word[28:])
            del model.words[gone]

    assert len(buckets(client)) > 8
    for number in range(1000):
        known = model.words.get(number)
        again = idempotency.claim(event(number, at=NOON - LEASE), message_id="again")
        assert (known is None) == isinstance(again, Claimed), number
    idempotency.close()
    client.close()


def test_no_word_is_forgotten_while_buckets_are_split(client: redis.Redis) -> None:
    """Each is where its digest says, with whatever number of buckets."""
    for first in range(0, 3000, 500):
        remember(client, range(first, first + 500))

        count = len(buckets(client))
        with client.pipeline(transaction=False) as pipe:
            for number in range(first + 500):
                pipe.hexists(*place_among(count, event(number)))
            assert all(pipe.execute())
        assert sum(sizes(client)) == first + 500


def test_a_word_expires_to_the_millisecond(client: redis.Redis) -> None:
    """Although its bucket lasts on; by Redis' clock."""
    remember(client, range(2))
    idempotency, brief, long = IdempotencyStore(client, ttl=TTL, lease=LEASE), event(0), event(1)
    seconds, microseconds = client.time()
    for one, left in ((brief, 0), (long, 60_000)):
        key, digest = place(client, one)
        word = cast("bytes", client.hget(key, digest))
        expires = f"{seconds * 1000 + microseconds // 1000 + left:011x}".encode()
        client.hset(key, digest, word[:17] + expires + word[28:])

    assert isinstance(idempotency.claim(brief, message_id="m2"), Claimed)
    assert idempotency.claim(long, message_id="m2") is Seen.DUPLICATE
    idempotency.close()


def test_buckets_without_expiry_are_split_like_others(client: redis.Redis) -> None:
    """A tool that copies keys to another Redis may leave it out; no word is lost for that."""
    remember(client, range(1000))
    for key in (DEDUP, *buckets(client)):
        client.persist(key)

    remember(client, range(1000, 3000))

    assert sum(sizes(client)) == 3000


def test_a_remembered_word_takes_less_than_100_bytes(client: redis.Redis) -> None:
    """`used_memory`, with 20,000 of them; and so it stays, for no bucket outgrows its listpack."""
    before = cast("dict[str, int]", client.info("memory"))["used_memory"]

    remember(client, range(20_000))

    used = cast("dict[str, int]", client.info("memory"))["used_memory"]
    assert (used - before) / 20_000 <= 100
    assert max(sizes(client)) <= MOST
    assert {client.object("ENCODING", key) for key in buckets(client)} <= set(LISTPACK)


def test_what_has_expired_makes_room(client: redis.Redis) -> None:
    """With as many new words as expire there are as many buckets, and no more words in them than before.

    Each bucket may have been split once more by then: its turn comes when any of them overflows.
    """
    generation, counts = 2000, []
    for nth in range(8):
        expire_all(client)
        remember(client, range(nth * generation, (nth + 1) * generation))
        counts.append(len(buckets(client)))

    assert counts[-1] <= 1.1 * counts[3]
    assert generation / counts[-1] > 32
    assert sum(sizes(client)) <= 1.6 * generation


@pytest.mark.parametrize("alive", [False, True], ids=["of the dead", "of the living"])
def test_a_bucket_that_outgrew_its_listpack_gets_one_again(client: redis.Redis, alive: bool) -> None:
    """Redis itself never turns a hash back, and as a hash table it takes three times as much."""
    expires = b"f" * 11 if alive else PAST
    old = {
        blake2b(b"%d" % number, digest_size=16).digest(): b"t0" + b"0" * 15 + expires + b"8 bytes."
        for number in range(600)
    }
    client.hset(f"{DEDUP}:0", mapping=cast("dict[Any, Any]", old))
    assert client.object("ENCODING", f"{DEDUP}:0") == b"hashtable"

    remember(client, range(1))

    assert {client.object("ENCODING", key) for key in buckets(client)} <= set(LISTPACK)
    assert sum(sizes(client)) == (601 if alive else 1)


def test_a_worker_with_a_shorter_time_shortens_nobodys(client: redis.Redis) -> None:
    """Its words share their buckets with those of others, and it splits them."""
    remember(client, range(50))
    keeps, brief = range(50), timedelta(minutes=1)

    remember(client, range(50, 1000), ttl=brief)

    assert len(buckets(client)) > 8
    for number in keeps:
        key, digest = place(client, event(number))
        word = cast("bytes", client.hget(key, digest))
        seconds, _ = client.time()
        assert int(word[17:28], 16) / 1000 - seconds > TTL.total_seconds() - 60
        assert client.pttl(key) / 1000 > TTL.total_seconds() - 60


@pytest.mark.parametrize("ttls", [(1, 1), (1, 60), (60, 1), (0.001, 60)])
def test_the_number_of_buckets_outlives_them_all(client: redis.Redis, ttls: tuple[float, float]) -> None:
    """Without it words would be looked for in the wrong place, and sent twice."""
    for nth, minutes in enumerate(ttls * 3):
        remember(client, range(nth * 300, nth * 300 + 300), ttl=timedelta(minutes=minutes))

        number, each = expiries(client)

        assert number >= max(each)


def test_a_bucket_outlives_its_words(client: redis.Redis) -> None:
    """Also when it was split."""
    remember(client, range(1000))
    seconds, microseconds = client.time()

    for key in buckets(client):
        last = max(int(word[17:28], 16) for word in cast("list[bytes]", client.hvals(key)))
        assert client.pttl(key) + seconds * 1000 + microseconds // 1000 >= last


def test_words_that_nobody_follows_leave_nothing(client: redis.Redis) -> None:
    """Not even the number of buckets: so it begins with one again."""
    remember(client, range(500), ttl=timedelta(milliseconds=50))

    eventually(lambda: not client.keys(f"{DEDUP}*"), timeout=10, what="all keys have expired")


def test_a_full_redis_takes_claims_and_records_all_the_same(client: redis.Redis) -> None:
    """What was sent can be recorded, and what is in flight comes to its end; also when buckets are split for it."""
    remember(client, range(96))
    idempotency = IdempotencyStore(client, ttl=TTL, lease=LEASE)
    client.config_set("maxmemory", 1)
    try:
        for number in range(96, 200):
            claim = idempotency.claim(event(number), message_id="m1")
            assert isinstance(claim, Claimed)
            idempotency.record(event(number), claim, message_id="m1")
            assert idempotency.claim(event(number), message_id="m2") is Seen.DUPLICATE
    finally:
        client.config_set("maxmemory", 0)
        idempotency.close()
    assert len(buckets(client)) > 1
