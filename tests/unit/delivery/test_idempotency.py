"""One suite for the ledger, over fakeredis, a real Valkey and a real Redis."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, cast

import fakeredis
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from producer import FeedbackEvent
from tests.support.processes import RedisServer, eventually
from worker.clients.redis.keys import CountField
from worker.delivery.idempotency import Busy, Claim, Claimed, IdempotencyStore, OnHold, Seen
from worker.delivery.partitioned_idempotency import connect_idempotency

pytestmark = pytest.mark.usefixtures("keys_are_declared")

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
OTHER_ID = "11111111-3e7f-47b9-87fa-681b5d2f54e6"
TTL = timedelta(days=7)
LEASE = timedelta(seconds=40)
SECOND = timedelta(seconds=1)


def word(status: bool, at: datetime = NOON, *, request_id: str = REQUEST_ID) -> FeedbackEvent:
    """A person's word."""
    return FeedbackEvent(request_id=request_id, status=status, org="acme", group="chat", occurred_at=at)


@pytest.fixture
def idempotency(client: redis.Redis) -> IdempotencyStore:
    """A ledger with the default times."""
    return IdempotencyStore(client, ttl=TTL, lease=LEASE)


def claimed(claim: Claim) -> Claimed:
    """The claim, which must have been granted."""
    assert isinstance(claim, Claimed)
    return claim


def deliver(idempotency: IdempotencyStore, event: FeedbackEvent, message_id: str) -> None:
    """Claim, and record as if AquilaX had taken it."""
    in_hand(idempotency, message_id)
    claim = claimed(idempotency.claim(event, message_id=message_id))
    idempotency.record(event, claim, message_id=message_id, delivery_tag=message_id)


def in_hand(idempotency: IdempotencyStore, tag: str) -> None:
    """Put a message in flight."""
    idempotency.client.hset("unacked", tag, "x")
    idempotency.client.zadd("unacked_index", {tag: 1})


def test_a_first_word_is_claimed(idempotency: IdempotencyStore) -> None:
    """Nothing is known of its request_id."""
    assert isinstance(idempotency.claim(word(True), message_id="m1"), Claimed)


def test_a_repeat_is_delivered_once(idempotency: IdempotencyStore) -> None:
    """The same press enqueued twice."""
    deliver(idempotency, word(True), "m1")

    assert idempotency.claim(word(True), message_id="m2") is Seen.DUPLICATE


def test_a_changed_mind_is_delivered_again(idempotency: IdempotencyStore) -> None:
    """👍, and later 👎."""
    deliver(idempotency, word(True), "m1")

    deliver(idempotency, word(False, NOON + SECOND), "m2")

    assert idempotency.claim(word(False, NOON + SECOND), message_id="m3") is Seen.DUPLICATE


def test_a_stale_word_is_dropped(idempotency: IdempotencyStore) -> None:
    """An older word that arrives late."""
    deliver(idempotency, word(False, NOON + SECOND), "m1")

    assert idempotency.claim(word(True, NOON), message_id="m2") is Seen.STALE


def test_a_tie_is_stale(idempotency: IdempotencyStore) -> None:
    """Of two opposite votes at one instant the first that arrives stays: neither is the later."""
    deliver(idempotency, word(True), "m1")

    assert idempotency.claim(word(False), message_id="m2") is Seen.STALE


def test_the_same_word_said_again_makes_an_opposite_one_in_between_stale(idempotency: IdempotencyStore) -> None:
    """👍 at 12:00, 👎 at 12:01, 👍 at 12:02; the 👎 arrives last."""
    deliver(idempotency, word(True), "m1")
    assert idempotency.claim(word(True, NOON + 2 * SECOND), message_id="m3") is Seen.DUPLICATE

    assert idempotency.claim(word(False, NOON + SECOND), message_id="m2") is Seen.STALE


def test_an_older_repeat_does_not_make_the_word_older(idempotency: IdempotencyStore) -> None:
    """👍 at 12:02, then late the 👍 of 12:00: the 👎 of 12:01 is stale still."""
    deliver(idempotency, word(True, NOON + 2 * SECOND), "m3")
    assert idempotency.claim(word(True), message_id="m1") is Seen.DUPLICATE

    assert idempotency.claim(word(False, NOON + SECOND), message_id="m2") is Seen.STALE


def test_two_words_on_one_answer_are_never_in_flight_together(idempotency: IdempotencyStore) -> None:
    """Otherwise it could not be said which one AquilaX took last."""
    idempotency.claim(word(True), message_id="m1")

    claim = idempotency.claim(word(False, NOON + SECOND), message_id="m2")

    assert isinstance(claim, Busy)
    assert timedelta(0) < claim.remaining <= LEASE


def test_a_repeat_waits_while_the_first_is_in_flight(idempotency: IdempotencyStore) -> None:
    """The first may fail yet."""
    idempotency.claim(word(True), message_id="m1")

    assert isinstance(idempotency.claim(word(True), message_id="m2"), Busy)


def test_answers_do_not_wait_for_each_other(idempotency: IdempotencyStore) -> None:
    """A claim is on one request_id."""
    idempotency.claim(word(True), message_id="m1")

    assert isinstance(idempotency.claim(word(True, request_id=OTHER_ID), message_id="m2"), Claimed)


def test_a_crashed_holders_claim_expires(client: redis.Redis) -> None:
    """A worker that was killed does not keep the word for ever."""
    idempotency = IdempotencyStore(client, ttl=TTL, lease=timedelta(milliseconds=60))
    idempotency.claim(word(True), message_id="m1")

    claim = eventually(lambda: _granted(idempotency.claim(word(True), message_id="m1")), timeout=5)

    assert isinstance(claim, Claimed)


def _granted(claim: Claim) -> Claim | None:
    return claim if isinstance(claim, Claimed) else None


def test_only_the_holder_gives_a_claim_back(idempotency: IdempotencyStore) -> None:
    """A worker whose lease has ended can't end another's."""
    holder = claimed(idempotency.claim(word(True), message_id="m1"))

    idempotency.release(word(True), Claimed(token="another"), message_id="m1")
    idempotency.release(word(True), holder, message_id="m2")
    assert isinstance(idempotency.claim(word(True), message_id="m2"), Busy)

    idempotency.release(word(True), holder, message_id="m1")
    assert isinstance(idempotency.claim(word(True), message_id="m2"), Claimed)


def test_only_the_holders_record_gives_the_claim_back(idempotency: IdempotencyStore, client: redis.Redis) -> None:
    """A late record counts, and the claim of the message that is being sent stays."""
    late = claimed(idempotency.claim(word(True), message_id="m1"))
    idempotency.release(word(True), late, message_id="m1")
    idempotency.claim(word(False, NOON + SECOND), message_id="m2")

    idempotency.record(word(True), late, message_id="m1")

    assert client.exists(f"feedback:claim:{REQUEST_ID}")


def test_a_redelivery_of_the_recorded_message_is_settled(idempotency: IdempotencyStore) -> None:
    """A worker killed between its record and its acknowledgement: nothing is left to do, and nothing to count."""
    deliver(idempotency, word(True), "m1")

    assert idempotency.claim(word(True), message_id="m1") is Seen.SETTLED
    assert not idempotency.finish("m1", CountField.DELIVERED)
    assert idempotency.counts() == dict.fromkeys(CountField, 0) | {CountField.DELIVERED: 1}


def test_recording_twice_counts_once(idempotency: IdempotencyStore) -> None:
    """The answer of the first got lost on its way, and the client asked again."""
    in_hand(idempotency, "tag")
    claim = claimed(idempotency.claim(word(True), message_id="m1"))

    idempotency.record(word(True), claim, message_id="m1", delivery_tag="tag")
    idempotency.record(word(True), claim, message_id="m1", delivery_tag="tag")

    assert idempotency.counts()[CountField.DELIVERED] == 1


def test_a_record_ends_the_message(idempotency: IdempotencyStore, client: redis.Redis) -> None:
    """In the same step: there is no instant at which it is recorded, counted and in flight still."""
    deliver(idempotency, word(True), "m1")

    assert not client.exists("unacked", "unacked_index")


@pytest.mark.parametrize("end", ["record", "settle"])
def test_what_ends_leaves_its_holders_hand(idempotency: IdempotencyStore, client: redis.Redis, end: str) -> None:
    """In the same step: a worker that is killed before it acknowledges leaves nothing behind."""
    in_hand(idempotency, "m1")
    client.sadd("unacked_held:a-worker", "m1", "another")

    if end == "record":
        claim = claimed(idempotency.claim(word(True), message_id="m1"))
        idempotency.record(word(True), claim, message_id="m1", delivery_tag="m1", held_in="unacked_held:a-worker")
    else:
        idempotency.finish("m1", CountField.STALE, held_in="unacked_held:a-worker")

    assert client.smembers("unacked_held:a-worker") == {b"another"}
    assert not client.exists("unacked", "unacked_index")
    assert idempotency._shared.take_settled("m1")  # nothing is left to be acknowledged


def test_a_record_may_leave_the_message_in_hand(idempotency: IdempotencyStore, client: redis.Redis) -> None:
    """Something else has to be written down first."""
    in_hand(idempotency, "m1")

    idempotency.record(word(True), claimed(idempotency.claim(word(True), message_id="m1")), message_id="m1")

    assert client.hexists("unacked", "m1")
    assert idempotency.counts()[CountField.DELIVERED] == 0
    assert idempotency.finish("m1", CountField.DELIVERED)
    assert idempotency.counts()[CountField.DELIVERED] == 1


def test_a_message_is_settled_once(idempotency: IdempotencyStore, client: redis.Redis) -> None:
    """The second finds it gone, and counts nothing."""
    in_hand(idempotency, "tag")

    assert idempotency.finish("tag", "dead", "dead:rejected", "dead_letters_inserted")
    assert not idempotency.finish("tag", "dead", "dead:rejected", "dead_letters_inserted")

    assert not client.exists("unacked", "unacked_index")
    assert client.hgetall("feedback:counts") == {b"dead": b"1", b"dead:rejected": b"1", b"dead_letters_inserted": b"1"}


def test_while_held_nobody_may_send_but_a_probe(idempotency: IdempotencyStore, client: redis.Redis) -> None:
    """What a worker had fetched before learns of it here."""
    client.hset("feedback:hold", mapping={"kind": "locked_out", "comment": "401 Unauthorized"})

    assert idempotency.claim(word(True), message_id="m1") == OnHold(comment="401 Unauthorized")
    assert isinstance(idempotency.claim(word(True), message_id="m1", probe=True), Claimed)


def test_a_message_that_comes_again_takes_its_own_claim_over(idempotency: IdempotencyStore) -> None:
    """Its worker is dead, or others would not have been given it: the claim's end is not waited for."""
    dead = claimed(idempotency.claim(word(True), message_id="m1"))

    mine = claimed(idempotency.claim(word(True), message_id="m1"))

    assert mine != dead
    idempotency.release(word(True), dead, message_id="m1")  # it was not dead after all; the claim is no longer its own
    assert isinstance(idempotency.claim(word(True), message_id="m2"), Busy)


def test_a_claim_whose_answer_got_lost_is_granted_to_the_same_token_again(
    idempotency: IdempotencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py asks again by itself; the worker must not find itself in its own way."""
    monkeypatch.setattr("worker.delivery.idempotency.random.getrandbits", lambda _bits: 7)

    assert isinstance(idempotency.claim(word(True), message_id="m1"), Claimed)
    assert isinstance(idempotency.claim(word(True), message_id="m1"), Claimed)


def test_each_kind_is_counted(idempotency: IdempotencyStore) -> None:
    """The counts prove that nothing was lost."""
    deliver(idempotency, word(True), "m1")
    for tag, count in (("m2", CountField.DUPLICATE), ("m3", CountField.STALE), ("m5", CountField.DEAD)):
        in_hand(idempotency, tag)
        idempotency.finish(tag, count)
    for informed in (CountField.RETRIED, CountField.SNOOZED, None):
        later = word(False, NOON + SECOND)
        idempotency.release(later, claimed(idempotency.claim(later, message_id="m4")), message_id="m4", count=informed)

    counted = {"delivered", "duplicate", "stale", "dead", "retried", "snoozed"}
    assert idempotency.counts() == {field: int(field in counted) for field in CountField}


def test_nothing_counted_is_nothing(idempotency: IdempotencyStore) -> None:
    """A new Redis."""
    assert idempotency.counts() == dict.fromkeys(CountField, 0)


def test_a_word_is_forgotten_after_its_time(client: redis.Redis) -> None:
    """Redis does not fill up with the words of years; and one word's end is not another's, though they share a hash."""
    deliver(IdempotencyStore(client, ttl=TTL, lease=LEASE), word(True, request_id=OTHER_ID), "m1")
    brief = IdempotencyStore(client, ttl=timedelta(milliseconds=60), lease=LEASE)
    deliver(brief, word(True), "m2")

    eventually(lambda: _granted(brief.claim(word(True), message_id="m3")), timeout=5)

    assert brief.claim(word(True, request_id=OTHER_ID), message_id="m4") is Seen.DUPLICATE


def test_a_word_is_remembered_for_its_time(idempotency: IdempotencyStore, client: redis.Redis) -> None:
    """To the millisecond, by Redis' clock."""
    earliest = now_ms(client)
    deliver(idempotency, word(True), "m1")

    assert earliest <= expires_ms(client) - TTL / timedelta(milliseconds=1) <= now_ms(client)


def test_a_word_said_again_is_remembered_from_then_on(idempotency: IdempotencyStore, client: redis.Redis) -> None:
    """It is the same person's last vote, and it is new."""
    deliver(IdempotencyStore(client, ttl=timedelta(minutes=1), lease=LEASE), word(True), "m1")
    earliest = now_ms(client)

    assert idempotency.claim(word(True, NOON + SECOND), message_id="m2") is Seen.DUPLICATE

    assert expires_ms(client) - TTL / timedelta(milliseconds=1) >= earliest


@pytest.mark.parametrize("again", [NOON, NOON - SECOND])
def test_a_word_that_comes_again_is_not_remembered_for_longer(
    idempotency: IdempotencyStore, client: redis.Redis, again: datetime
) -> None:
    """A repeat that was not said later is no news."""
    deliver(IdempotencyStore(client, ttl=timedelta(minutes=1), lease=LEASE), word(True), "m1")
    before = expires_ms(client)

    assert idempotency.claim(word(True, again), message_id="m2") is Seen.DUPLICATE

    assert expires_ms(client) == before


def now_ms(client: redis.Redis) -> int:
    """Redis' clock."""
    seconds, microseconds = client.time()
    return seconds * 1000 + microseconds // 1000


def expires_ms(client: redis.Redis) -> int:
    """When the only word that is remembered expires (`worker/delivery/lua/dedup.lua`)."""
    (remembered,) = cast("list[bytes]", client.hvals("feedback:dedup:0"))
    return int(remembered[17:28], 16)


def test_a_claim_has_an_end(idempotency: IdempotencyStore, client: redis.Redis) -> None:
    """The lease."""
    idempotency.claim(word(True), message_id="m1")

    assert 0 < client.pttl(f"feedback:claim:{REQUEST_ID}") <= 40_000


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (datetime.min.replace(tzinfo=UTC), NOON),
        (NOON, datetime.max.replace(tzinfo=UTC)),
        (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
        (NOON, NOON + timedelta(microseconds=1)),
        (datetime(1969, 12, 31, 23, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)),
        (datetime.fromisoformat("2026-01-31T13:30:00+02:00"), NOON),
        (NOON, datetime.fromisoformat("2026-01-31T11:30:00-01:00")),
    ],
)
def test_times_order_right_to_the_microsecond_and_in_any_year(
    idempotency: IdempotencyStore, earlier: datetime, later: datetime
) -> None:
    """Lua's numbers would lose the microseconds, and text with offsets would not compare."""
    deliver(idempotency, word(True, later), "m2")
    assert idempotency.claim(word(False, earlier), message_id="m1") is Seen.STALE

    deliver(idempotency, word(True, earlier, request_id=OTHER_ID), "m3")
    assert isinstance(idempotency.claim(word(False, later, request_id=OTHER_ID), message_id="m4"), Claimed)


def test_a_word_is_no_duplicate_while_the_opposite_is_in_flight(idempotency: IdempotencyStore) -> None:
    """👍 recorded, 👎 on its way, 👍 said again: AquilaX is about to forget the first 👍."""
    deliver(idempotency, word(True), "m1")
    opposite = claimed(idempotency.claim(word(False, NOON + SECOND), message_id="m2"))

    assert isinstance(idempotency.claim(word(True, NOON + 2 * SECOND), message_id="m3"), Busy)

    idempotency.record(word(False, NOON + SECOND), opposite, message_id="m2")
    assert isinstance(idempotency.claim(word(True, NOON + 2 * SECOND), message_id="m3"), Claimed)


def test_a_word_is_no_duplicate_after_an_opposite_that_may_have_arrived(idempotency: IdempotencyStore) -> None:
    """👍 recorded, 👎 sent and timed out, 👍 said again: AquilaX may have the 👎, so the 👍 is sent again."""
    deliver(idempotency, word(True), "m1")
    opposite = word(False, NOON + SECOND)
    claim = claimed(idempotency.claim(opposite, message_id="m2"))
    idempotency.release(opposite, claim, message_id="m2", count=CountField.RETRIED)

    deliver(idempotency, word(True, NOON + 2 * SECOND), "m3")

    assert idempotency.claim(opposite, message_id="m2") is Seen.STALE
    assert idempotency.claim(word(True, NOON + 3 * SECOND), message_id="m4") is Seen.DUPLICATE


def test_a_record_after_the_end_of_the_lease_leaves_the_word_unsure(idempotency: IdempotencyStore) -> None:
    """A slow 👍 may have reached AquilaX after the 👎 that overtook it, so the next 👎 is sent again."""
    slow = claimed(idempotency.claim(word(True), message_id="m1"))
    idempotency.release(word(True), slow, message_id="m1")  # stands for the end of its lease
    deliver(idempotency, word(False, NOON + SECOND), "m2")

    idempotency.record(word(True), slow, message_id="m1")

    assert idempotency.claim(word(True), message_id="m1") is Seen.STALE
    assert isinstance(idempotency.claim(word(False, NOON + 2 * SECOND), message_id="m3"), Claimed)


class Fate(Enum):
    """How a send goes."""

    ANSWERED = "AquilaX takes it, and says so"
    UNHEARD = "AquilaX takes it, and the answer gets lost"
    FAILED = "it never arrives"
    KILLED = "AquilaX takes it, and the worker is killed before it can record that"


@dataclass(frozen=True)
class Step:
    """A message is taken up, or, if it is in flight, its send goes one way."""

    message: int
    fate: Fate


class Race:
    """Messages on their way to an AquilaX that remembers the last vote it took."""

    def __init__(self, words: list[FeedbackEvent]) -> None:
        self._redis = fakeredis.FakeRedis(server=_FAKE)
        self._redis.flushall()
        self._idempotency = IdempotencyStore(self._redis, ttl=TTL, lease=LEASE)
        self.waiting = dict(enumerate(words))
        self._in_flight: dict[int, Claimed] = {}
        self.took: list[bool] = []

    def take(self, step: Step) -> None:
        """Bring one message one step further."""
        event = self.waiting.get(step.message)
        if event is None:
            return
        if step.message in self._in_flight:
            self._send(event, step)
            return
        claim = self._idempotency.claim(event, message_id=f"m{step.message}")
        if isinstance(claim, Claimed):
            self._in_flight[step.message] = claim
        elif isinstance(claim, Seen):
            del self.waiting[step.message]

    def _send(self, event: FeedbackEvent, step: Step) -> None:
        claim = self._in_flight.pop(step.message)
        if step.fate is not Fate.FAILED:
            self.took.append(event.status)
        match step.fate:
            case Fate.ANSWERED:
                self._idempotency.record(event, claim, message_id=f"m{step.message}")
                del self.waiting[step.message]
            case Fate.UNHEARD | Fate.FAILED:
                self._idempotency.release(event, claim, message_id=f"m{step.message}", count=CountField.RETRIED)
            case Fate.KILLED:
                self._redis.delete(f"feedback:claim:{event.request_id}")  # its lease ends

    def finish(self) -> None:
        """Bring every message to its end."""
        for _ in range(3 * len(self.waiting)):
            for message in list(self.waiting):
                self.take(Step(message, Fate.ANSWERED))
        self._redis.close()


_FAKE: Final = fakeredis.FakeServer()


@settings(max_examples=100, deadline=None)
@given(
    statuses=st.lists(st.booleans(), min_size=1, max_size=4),
    steps=st.lists(st.builds(Step, message=st.integers(0, 3), fate=st.sampled_from(Fate)), max_size=20),
)
def test_aquilax_ends_with_the_last_word_whatever_gets_lost(statuses: list[bool], steps: list[Step]) -> None:
    """Words come in any order and in each other's way; sends fail, answers get lost, workers are killed.

    Once every message has come to its end, what AquilaX took last is the word with the greatest occurred_at.
    """
    race = Race([word(status, NOON + index * SECOND) for index, status in enumerate(statuses)])

    for step in steps:
        race.take(step)
    race.finish()

    assert not race.waiting
    assert race.took[-1] == statuses[-1]


def test_a_redis_that_is_away_is_an_error() -> None:
    """The caller keeps the event."""
    server = fakeredis.FakeServer()
    idempotency = IdempotencyStore(fakeredis.FakeRedis(server=server), ttl=TTL, lease=LEASE)
    server.connected = False

    with pytest.raises(redis.RedisError):
        idempotency.claim(word(True), message_id="m1")
    idempotency.close()


def test_a_ledger_connects_to_a_brokers_url(broker: RedisServer) -> None:
    """Its scripts load themselves, also after the Redis was emptied of them."""
    idempotency = connect_idempotency(broker.url, ttl=TTL, lease=LEASE, connections=2)
    assert isinstance(idempotency, IdempotencyStore)
    with redis.Redis(port=broker.port) as client:
        deliver(idempotency, word(True), "m1")
        client.script_flush()

        assert idempotency.claim(word(True), message_id="m2") is Seen.DUPLICATE
    idempotency.close()
