"""Feedback where no worker reads it is found, told with the client's setting that put it there, and can be moved."""

from __future__ import annotations

import json
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery

from tests.support.places import places_of
from worker.accounting.integrity import check
from worker.accounting.key_types import WrongKeyType, find_wrong_types
from worker.accounting.reconcile import Report
from worker.accounting.repair import repair_redis
from worker.accounting.snapshot import take_snapshot
from worker.accounting.strays import find_strays
from worker.clients.redis.partitions import Partitions
from worker.operations.doctor.broker import look_at_keys
from worker.operations.doctor.finding import Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kombu import Connection

    from tests.support.processes import RedisServer

pytestmark = pytest.mark.usefixtures("keys_are_declared")


@pytest.fixture
def client(broker: RedisServer) -> Iterator[redis.Redis]:
    """The broker, with something of others in it."""
    with closing(redis.Redis(port=broker.port)) as client:
        client.lpush("jobs", "a", "b")
        client.lpush("celery", json.dumps({"headers": {"task": "theirs.task"}}))
        yield client


def send(server: RedisServer, number: int = 1, *, priority: int = 0, queue: str = "feedback", **options: Any) -> None:
    """Enqueue as a Celery client does that has these transport options."""
    with Celery(broker=server.url, set_as_current=False) as app:
        app.conf.broker_transport_options = options
        connection: Connection
        with app.connection_for_write() as connection:
            for _ in range(number):
                fields = {"request_id": str(uuid.uuid4()), "status": "true", "org": "o", "group": "g"}
                sent: dict[str, Any] = {"queue": queue, "priority": priority, "connection": connection}
                app.send_task("feedback.deliver", kwargs=fields, **sent)


CLIENTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "priorities of its own": (
        {"priority": 1, "priority_steps": [0, 1, 2]},
        "feedback\x06\x161",
        "`priority_steps`: leave them out, which gives 0, 3, 6, 9",
    ),
    "a separator": ({"priority": 3, "sep": ":"}, "feedback:3", "`sep` ':': leave it out"),
    "a prefix": ({"global_keyprefix": "shop."}, "shop.feedback", "`global_keyprefix` 'shop.': leave it out"),
    "another queue": ({"queue": "celery"}, "celery", "another queue: it must be 'feedback'"),
}


@pytest.mark.parametrize(("sent", "name", "setting"), CLIENTS.values(), ids=CLIENTS.keys())
def test_feedback_in_another_list_is_found_and_moved(
    broker: RedisServer, client: redis.Redis, sent: dict[str, Any], name: str, setting: str
) -> None:
    """By reconcile, status and doctor, with the setting; after a repair a worker takes it, and others' jobs stay."""
    send(broker, 3, **sent)
    others = {key: client.lrange(key, 0, -1) for key in ("jobs", "celery")}
    others = {key: [entry for entry in entries if b"feedback" not in entry] for key, entries in others.items()}

    strays = find_strays(Partitions([client]), within=10)

    [stray] = strays.lists
    assert strays.complete
    assert (stray.name, stray.setting[: len(setting)]) == (name, setting)
    assert stray.entries >= 3
    report = Report(checks=(check(client),), strays=strays)
    assert report.is_wrong
    [_, finding] = look_at_keys(Partitions([client]), within=10)
    assert (finding.check, finding.level) == ("stray feedback", Level.RED)
    assert setting in finding.summary
    assert list(repair_redis(Partitions([client]), report)) == [f"moved to the queue from the list {name!r}: 3"]
    assert not find_strays(Partitions([client]), within=10).lists
    found = check(client)
    assert (found.snapshot.queued, found.balance.uncounted, found.balance.missing) == (3, 3, 0)
    assert {key: client.lrange(key, 0, -1) for key in others} == others


def test_feedback_by_the_old_protocol_is_found_too(client: redis.Redis) -> None:
    """Its envelope names no task; its body does."""
    body = json.dumps({"task": "feedback.deliver", "id": "1", "args": [], "kwargs": {}})
    client.lpush("elsewhere", json.dumps({"headers": {}, "properties": {}, "body": body}))

    assert [stray.name for stray in find_strays(Partitions([client]), within=10).lists] == ["elsewhere"]


def test_looking_stops_in_time(client: redis.Redis) -> None:
    """A Redis that is shared may have many keys; then it is said that not all were looked at."""
    with client.pipeline() as pipe:
        for number in range(5000):
            pipe.set(f"theirs:{number}", 1)
        pipe.execute()

    assert not find_strays(Partitions([client]), within=0).complete
    assert find_strays(Partitions([client]), within=30).complete


def test_a_key_of_another_type_is_named(client: redis.Redis) -> None:
    """With who may have done that, and what to do."""
    client.zadd("_kombu.binding.feedback", {"x": 1})

    [wrong] = find_wrong_types(client)
    [finding, _] = look_at_keys(Partitions([client]), within=10)

    assert wrong.summary == (
        "the key '_kombu.binding.feedback' is a zset, and a set is expected there; celery-redis-plus does that, which "
        "shares this Redis then"
    )
    assert (finding.level, "DEL _kombu.binding.feedback" in finding.fix) == (Level.RED, True)


def test_a_count_that_is_no_number_is_named(broker: RedisServer, client: redis.Redis) -> None:
    """With what to do about it; `status`, `reconcile` and the doctor say it in their own way."""
    client.hset("feedback:counts", "accepted", "many")

    with pytest.raises(WrongKeyType, match=r"'accepted' of the key .* is 'many'.*HDEL feedback:counts"):
        take_snapshot(Partitions([client]))
    with places_of(broker) as places, pytest.raises(WrongKeyType, match="accepted"):
        check(places.client)


@pytest.mark.parametrize("key", ["feedback", "unacked", "feedback:counts", "feedback:delayed", "unacked_leases"])
def test_what_asks_redis_says_which_key_it_is(broker: RedisServer, client: redis.Redis, key: str) -> None:
    """`status`, `reconcile`, the doctor and the pages all take a snapshot."""
    client.set(key, "x")

    with pytest.raises(WrongKeyType, match=f"the key '{key}' is a string"):
        take_snapshot(Partitions([client]))
    with places_of(broker) as places, pytest.raises(WrongKeyType, match=key):
        check(places.client)
