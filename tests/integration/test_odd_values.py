"""A key of the right type with something odd in it: feedback goes on, or the doctor and the log say why it does not."""

from __future__ import annotations

import uuid
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from producer import BrokerUnavailable, FeedbackProducer
from tests.support.dead_letter_records import an_event
from tests.support.environment import clean_environment
from tests.support.places import LONG_FROM_NOW, Places, places_of
from tests.support.processes import eventually
from worker.accounting.key_types import WrongKeyType
from worker.accounting.snapshot import take_snapshot
from worker.broker.keys import KEYS
from worker.broker.lease_scripts import LeaseScripts
from worker.broker.scripts import FETCH
from worker.dead_letters.replays.queue import say_watching, workers_watch
from worker.delivery.idempotency import Claimed, IdempotencyStore, Seen
from worker.operations.doctor.broker import broker_unavailable, look_at_keys
from worker.operations.doctor.queue import look_at_queue
from worker.runtime.background_step import first_in_period
from worker.sandbox.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from worker.sandbox.client import SandboxClient

pytestmark = pytest.mark.usefixtures("keys_are_declared")

REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
INF = float("inf")

Plant = tuple[str, object]
"""A key, and what another program has put into it: text, a hash's fields, a sorted set's members, or a set."""

GOES_ON: list[Plant] = [
    *[("feedback:dedup", text) for text in ("abc", "0", "-5", "1.5", "1e300", "inf", "")],
    ("feedback:dedup:0", {f"field {number}": "no word" for number in range(200)}),
    ("feedback:counts", {"delivered": "abc"}),
    ("feedback:counts", {"delivered": str(10**20)}),
    ("feedback:counts", {"generation": "9" * 40}),
    (f"feedback:claim:{REQUEST_ID}", "abc"),
    ("feedback:revoked", {b"\xff": INF, "id:x": -INF, "no criterion": 5.0}),
    ("unacked_pulse", {"at": "abc", "grace": "abc"}),
    ("unacked_leases", {"ghost": INF}),
    ("unacked_index", {b"\xff": INF}),
    ("feedback:delayed", {"never due": INF}),
    ("feedback:pruned", "abc"),
    ("feedback:recorded", "abc"),
    ("feedback:replays:watched", "abc"),
    ("feedback:told", {"written_off": "abc"}),
    ("_kombu.binding.feedback", {b"abc"}),
]

TOLD: list[tuple[Plant, str, str]] = [
    (("feedback:dedup", "abc"), "the key 'feedback:dedup' is 'abc'", "DEL feedback:dedup"),
    (("feedback:dedup", "0"), "the key 'feedback:dedup' is '0'", "DEL feedback:dedup"),
    (("feedback:counts", {"delivered": "abc"}), "the field 'delivered' of the key 'feedback:counts'", "HDEL"),
    (("feedback:counts", {"dead": str(10**20)}), "the field 'dead' of the key 'feedback:counts'", "HDEL"),
    (("unacked_leases", {"ghost": INF}), "the key 'unacked_leases' has a lease of 'ghost'", "ZADD unacked_leases 1"),
    (("unacked_leases", {"ghost": 1e300}), "the key 'unacked_leases' has a lease of 'ghost'", "ZADD"),
    (("feedback:delayed", {"never due": INF}), "the key 'feedback:delayed' has messages", "ZRANGE 'feedback:delayed'"),
    (("feedback:hold", {"kind": "odd"}), "the key feedback:hold is unreadable", "resume"),
    (("feedback:hold", {"kind": "breaker", "probe_at": "soon"}), "the key feedback:hold is unreadable", "resume"),
]


def _plant(client: redis.Redis, plant: Plant) -> None:
    key, value = plant
    match value:
        case str():
            client.set(key, value)
        case set():
            client.sadd(key, *value)
        case dict() if all(isinstance(one, float) for one in value.values()):
            client.zadd(key, value)
        case dict():
            client.hset(key, mapping=value)


@pytest.fixture(scope="module")
def running_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalStack, SandboxClient]]:
    """A worker that found odd revocations when it started."""
    fast = {"FEEDBACK_RETRY_BASE": "0.2", "FEEDBACK_RETRY_CAP": "1", "FEEDBACK_CONCURRENCY": "4"}
    with LocalStack(folder=tmp_path_factory.mktemp("odd"), environment=clean_environment() | fast) as stack:
        broker = stack.start_broker()
        stack.create_database()
        with redis.Redis.from_url(broker) as client:
            _plant(client, next(plant for plant in GOES_ON if plant[0] == "feedback:revoked"))
        with closing(stack.start_sandbox()) as sandbox:
            stack.start_worker()
            yield stack, sandbox


@pytest.fixture
def places(valkey: RedisServer) -> Iterator[Places]:
    """An empty queue."""
    with places_of(valkey) as places:
        yield places


@pytest.mark.parametrize("plant", GOES_ON, ids=lambda plant: f"{plant[0]} {str(plant[1])[:24]}")
def test_feedback_is_delivered_whatever_stands_in_a_key(
    running_system: tuple[LocalStack, SandboxClient], plant: Plant
) -> None:
    """No value of another program keeps a worker from its work."""
    stack, sandbox = running_system
    broker = stack.environment["FEEDBACK_BROKER_URL"]
    request_id = REQUEST_ID if REQUEST_ID in plant[0] else str(uuid.uuid4())
    with redis.Redis.from_url(broker) as client, FeedbackProducer(broker, timeout=5) as producer:
        before = client.dump(plant[0])
        _plant(client, plant)
        producer.enqueue(request_id, True, org="org-1", group="group-1")
        try:
            eventually(lambda: sandbox.received_for(request_id).delivered, what="it is delivered")
        finally:
            client.delete(plant[0])
            if before is not None:
                client.restore(plant[0], 0, before)


@pytest.mark.parametrize(("plant", "words", "fix"), TOLD, ids=lambda value: str(value)[:40])
def test_the_doctor_names_the_key_and_the_fix(places: Places, plant: Plant, words: str, fix: str) -> None:
    """What keeps feedback, or the accounts, from being right is never green."""
    _plant(places.client, plant)

    found = list(look_at_keys(places.partitions, within=1))
    try:
        now = take_snapshot(places.partitions)
        found += look_at_queue(now, now, horizon=timedelta(days=3))
    except WrongKeyType as error:
        found.append(broker_unavailable(error, "redis://localhost"))

    told = [one for one in found if one.level != "green" and words in one.summary]
    assert len(told) == 1, found
    assert fix in told[0].fix


def test_a_count_of_accepted_that_is_no_number_refuses_events_loudly(places: Places, valkey: RedisServer) -> None:
    """What could not be counted is not taken: the backend is told, in Redis' own words."""
    _plant(places.client, ("feedback:counts", {"accepted": "abc"}))

    with FeedbackProducer(valkey.url, timeout=5) as producer, pytest.raises(BrokerUnavailable, match="not an integer"):
        producer.enqueue(REQUEST_ID, True, org="org-1", group="group-1")

    assert not places.client.exists("feedback")


@pytest.mark.parametrize("odd", ["abc", "0", "1e300", None])
def test_delivered_words_are_found_again_by_counting_their_buckets(places: Places, odd: str | None) -> None:
    """What is remembered outlives the number of its buckets, also if an operator deletes that, as the doctor says."""
    idempotency = IdempotencyStore(places.client, ttl=timedelta(days=1), lease=timedelta(seconds=40))
    events = [an_event() for _ in range(300)]
    for event in events:
        claim = idempotency.claim(event, message_id="m")
        assert isinstance(claim, Claimed)
        idempotency.record(event, claim, message_id="m")
    buckets = places.client.get("feedback:dedup")
    assert int(buckets or 1) > 1

    places.client.delete("feedback:dedup") if odd is None else places.client.set("feedback:dedup", odd)

    assert {idempotency.claim(event, message_id="m") for event in events} == {Seen.SETTLED}
    assert places.client.get("feedback:dedup") == buckets


def test_a_number_of_buckets_that_is_too_low_is_told(places: Places) -> None:
    """It looks right, and would hide every word in the buckets beyond."""
    places.client.hset("feedback:dedup:3", "digest", "word")
    places.client.set("feedback:dedup", "3")

    (told,) = [one for one in look_at_keys(places.partitions, within=1) if one.level != "green"]

    assert (told.level, told.summary[:27], told.fix[:18]) == (
        "red",
        "the key 'feedback:dedup' is",
        "DEL feedback:dedup",
    )


@pytest.mark.parametrize("odd", [{"at": "abc"}, {"grace": "abc"}, {"grace": 10**15}, {"at": ""}], ids=str)
def test_what_a_dead_worker_held_comes_back_whatever_the_pulse_says(places: Places, odd: dict[str, Any]) -> None:
    """The pulse only says how long it is since anybody renewed a lease."""
    (message,) = places.enqueue()
    places.client.delete("feedback")
    places.take(message, "tag-1")
    places.hold("dead", "tag-1", until=1)
    places.client.hset("unacked_pulse", mapping={"at": LONG_FROM_NOW, "grace": 0} | odd)
    heir = LeaseScripts(places.client.connection_pool, KEYS, name="heir", lease_ms=1000)

    eventually(lambda: heir.reclaim(heir.heartbeat()[1])[0], what="it is back")

    assert places.client.llen("feedback") == 1


def test_a_message_that_is_never_due_does_not_keep_a_worker_busy(places: Places) -> None:
    """When to look again is a moment that can be told, or none."""
    places.client.zadd("feedback:delayed", {"never due": INF})
    own = [KEYS.unacked, KEYS.index, KEYS.leases, f"{KEYS.held_prefix}a"]
    keys = [*own, "feedback", "feedback:delayed", KEYS.unacked, KEYS.unacked]

    _, look_again, taken = FETCH(places.client, keys, ["a", 1000, 10, "feedback", "1"])

    assert (look_again, taken) == (0, [])


def test_a_mark_without_an_expiry_holds_nothing_up_for_good(places: Places) -> None:
    """Pruning, and writing down the totals, are done once in a period by one of the fleet."""
    places.client.set("feedback:pruned", "abc")
    period = timedelta(milliseconds=20)

    assert not first_in_period(places.client, "feedback:pruned", period, worker="a")
    eventually(lambda: first_in_period(places.client, "feedback:pruned", period, worker="a"), what="it has passed")


def test_a_mark_without_an_expiry_is_no_worker_that_looks_after_replays(places: Places) -> None:
    """Ours expires with the worker."""
    places.client.set("feedback:replays:watched", "abc")
    assert not workers_watch(places.client)

    say_watching(places.client)
    assert workers_watch(places.client)
