"""Revocations: a moment in Redis, which a worker that starts later knows as well."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import redis

from producer.message import to_message
from tests.integration.broker.consumers import Worker
from tests.support.dead_letter_records import an_event
from tests.support.places import foreign_message
from tests.support.processes import eventually
from worker.broker.keys import KEYS
from worker.clients.redis.keys import FeedbackKeys
from worker.delivery.revocations import Revocations, Searched, criteria_of_ids, criteria_of_stamps

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.support.processes import RedisServer

pytestmark = pytest.mark.usefixtures("keys_are_declared")

REVOKED = FeedbackKeys().revoked

ID = "one-and-the-same"


def worker_of(server: RedisServer) -> Worker:
    """A worker of our queue."""
    return Worker(server, "feedback", counts=KEYS.counts)


def none_ends(task_ids: Collection[str]) -> None:
    """Nothing waits that could."""
    raise AssertionError(task_ids)


@pytest.fixture
def client(broker: RedisServer) -> Iterator[redis.Redis]:
    """A client that answers in bytes."""
    with closing(redis.Redis(port=broker.port)) as client:
        yield client


def known(client: redis.Redis) -> Revocations:
    """What a worker knows that starts now."""
    revocations = Revocations()
    revocations.connect([Searched(lambda: client, KEYS)])
    return revocations


def foreign(task_id: str = ID, **headers: Any) -> bytes:
    """A message of a client that chooses its task ids."""
    message = json.loads(foreign_message())
    message["headers"] |= {"id": task_id, **headers}
    return json.dumps(message).encode()


def counts(client: redis.Redis) -> dict[Any, Any]:
    """What was counted."""
    return client.hgetall("feedback:counts")


@pytest.mark.parametrize("at_once", [1000, 3])
def test_what_waits_ends_and_is_counted(client: redis.Redis, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """In every list and until its time; a foreign client's is counted as accepted with it. The rest stays."""
    monkeypatch.setattr("worker.delivery.revocations._AT_ONCE", at_once)
    ours = json.loads(to_message(an_event()))
    others = [foreign(str(number)) for number in range(10)]
    client.lpush("feedback", *others[:5], json.dumps(ours).encode(), foreign(), *others[5:])
    client.lpush("feedback\x06\x169", foreign())
    client.zadd("feedback:delayed", {foreign(): 9_999_999_999_999})
    ended: list[str] = []

    known(client).revoke(criteria_of_ids([ID, ours["headers"]["id"]]), on_ended=ended.extend)
    eventually(lambda: len(ended) == 4, what="all four have ended")

    assert sorted(ended) == sorted([ID, ID, ID, ours["headers"]["id"]])
    assert client.lrange("feedback", 0, -1) == [*reversed(others[5:]), *reversed(others[:5])]
    assert not client.exists("feedback\x06\x169", "feedback:delayed")
    assert counts(client) == {b"accepted": b"3", b"revoked": b"4"}


def test_what_is_in_flight_is_revoked_and_what_comes_later_is_not(broker: RedisServer, client: redis.Redis) -> None:
    """Also when it comes again, and by a worker that has started since."""
    client.lpush("feedback", foreign())
    with worker_of(broker) as worker:
        [before] = worker.receive(at_least=1)
        here = known(client)
        here.revoke(criteria_of_ids([ID]), on_ended=none_ends)
        client.lpush("feedback", foreign())
        [after] = worker.receive(at_least=1)

        for revocations in (here, known(client)):
            assert revocations.hit(ID, {}, before.delivery_tag)
            assert not revocations.hit(ID, {}, after.delivery_tag)
            assert not revocations.hit("another", {}, before.delivery_tag)
            assert not revocations.hit(ID, {}, "a tag that tells no time")


def test_while_another_worker_looks_through_a_backlog_it_is_open(broker: RedisServer, client: redis.Redis) -> None:
    """What is handed out meanwhile waited, too. One that was cut short is over by itself."""
    [seconds, _] = client.time()
    client.zadd(REVOKED, {f"id:{ID}": (seconds + 60) * 1000})
    client.lpush("feedback", foreign(), foreign())
    here = known(client)

    here.revoke(criteria_of_ids([ID]), on_ended=none_ends)

    with worker_of(broker) as worker:
        [meanwhile, _] = worker.receive(at_least=2)
        assert here.hit(ID, {}, meanwhile.delivery_tag)
        client.zadd(REVOKED, {f"id:{ID}": (seconds - 60) * 1000})
        assert not here.hit(ID, {}, meanwhile.delivery_tag)


def test_redis_is_asked_no_more_once_a_revocation_is_over(client: redis.Redis) -> None:
    """What a worker has learnt it remembers: deliveries wait for Redis only while another worker is at it."""
    [seconds, _] = client.time()
    client.zadd(REVOKED, {f"id:{ID}": (seconds + 60) * 1000})
    here = known(client)
    client.zadd(REVOKED, {f"id:{ID}": seconds * 1000})
    assert here.hit(ID, {}, _handed_out(seconds - 1))

    client.delete(REVOKED)

    assert here.hit(ID, {}, _handed_out(seconds - 1))
    assert not here.hit(ID, {}, _handed_out(seconds + 1))


def test_revocations_are_forgotten_in_time_and_when_there_are_too_many(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's memory has an end, as Redis' has."""
    monkeypatch.setattr("worker.delivery.revocations._MOST", 2)
    [seconds, _] = client.time()
    ended = {f"id:{age}": (seconds - age * 24 * 3600) * 1000 for age in (9, 7, 2, 1)}
    client.zadd(REVOKED, ended)

    here = known(client)

    hit = [age for age in (9, 7, 2, 1) if here.hit(str(age), {}, _handed_out(seconds - 10 * 24 * 3600))]
    assert hit == [2, 1]


def _handed_out(seconds: int) -> str:
    """The identity of a message that was first handed out then."""
    return f"{seconds * 1000}-abc.0-0"


def test_stamps_are_revoked_as_ids_are(client: redis.Redis, broker: RedisServer) -> None:
    """One value of a header, or several."""
    stamped = [foreign(str(number), stamped_headers=["batch"], stamps={"batch": stamp}) for number, stamp in _STAMPS]
    client.lpush("feedback", *stamped)
    ended: list[str] = []
    revocations = known(client)

    revocations.revoke(criteria_of_stamps({"batch": ["b", "c"]}), on_ended=ended.extend)

    assert sorted(ended) == ["1", "2"]
    with worker_of(broker) as worker:
        [left] = worker.receive(at_least=1)
        revocations.revoke(criteria_of_stamps({"batch": "a"}), on_ended=none_ends)
        assert revocations.hit("0", {"batch": ["a", "z"]}, left.delivery_tag)
        assert not revocations.hit("0", {"batch": "z"}, left.delivery_tag)


_STAMPS = ((0, "a"), (1, ["x", "b"]), (2, "c"))
