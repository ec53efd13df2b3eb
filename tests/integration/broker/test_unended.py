"""A message that outlives its workers says how many, and is then handed out alone; one without an end goes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from worker.broker.keys import DELAYED, KEYS
from worker.broker.lease_scripts import LeaseScripts
from worker.broker.scripts import FETCH

if TYPE_CHECKING:
    import redis

QUEUE: Final = "feedback"


def entry(name: str, *, unended: object = None) -> str:
    """A message; with a header that counts, if one is given."""
    headers = {"id": name} if unended is None else {"id": name, "feedback_unended": unended}
    return json.dumps({"headers": headers, "properties": {"delivery_tag": name, "delivery_info": {}}})


def fetch(client: redis.Redis, holder: str, room: int = 10) -> list[dict[str, Any]]:
    """Take so many messages, and return their headers."""
    lists = [part for name in KEYS.lists(QUEUE) for part in (name, name + DELAYED, KEYS.counts_of(QUEUE), KEYS.unacked)]
    keys = [KEYS.unacked, KEYS.index, KEYS.leases, KEYS.held_prefix + holder, *lists]
    _, _, taken = FETCH(client, keys, [holder, 1000, room, *[QUEUE, "1"] * len(KEYS.steps)])
    return [json.loads(text)["headers"] for _, _, text, _ in taken]


def scripts_of(client: redis.Redis, holder: str) -> LeaseScripts:
    """What a holder has its lease renewed, and its messages ended with."""
    return LeaseScripts(client.connection_pool, KEYS, name=holder, lease_ms=1000)


def die(client: redis.Redis, holder: str) -> None:
    """Let a holder's lease have ended, and another one find that."""
    client.zadd(KEYS.leases, {holder: 1})
    client.hset(KEYS.pulse, mapping={"at": 10**15, "grace": 0})
    heir = scripts_of(client, "heir")
    heir.reclaim(heir.heartbeat()[1])


def test_each_worker_that_was_lost_over_a_message_is_counted_in_it(broker_client: redis.Redis) -> None:
    """The count travels with the message, to the worker that takes it next."""
    broker_client.lpush(QUEUE, entry("a"))
    told = []
    for number in range(3):
        (headers,) = fetch(broker_client, f"holder-{number}")
        told.append(headers.get("feedback_unended"))
        die(broker_client, f"holder-{number}")

    assert told == [None, 1, 2]


@pytest.mark.parametrize("forged", ["x", [], -1, 1e300, None, True], ids=repr)
def test_a_count_that_is_none_begins_again(broker_client: redis.Redis, forged: object) -> None:
    """Whatever a client may have written there."""
    broker_client.lpush(QUEUE, entry("a", unended=forged))
    fetch(broker_client, "first")
    die(broker_client, "first")

    (headers,) = fetch(broker_client, "second")

    assert headers["feedback_unended"] == 1


def test_what_workers_were_lost_over_is_fetched_alone_with_nothing_else_in_flight(broker_client: redis.Redis) -> None:
    """So that the next worker that is lost takes nothing else with it; what comes behind waits no longer than that."""
    for name, unended in (("sound", None), ("suspect", 3), ("other", 4), ("behind", None)):
        broker_client.lpush(QUEUE, entry(name, unended=unended))

    hands = [[headers["id"] for headers in fetch(broker_client, holder)] for holder in ("a", "a", "b", "b", "c")]

    assert hands == [["sound"], [], ["suspect"], [], ["other"]]
    assert [headers["id"] for headers in fetch(broker_client, "a")] == ["behind"]


def test_a_message_whose_end_was_not_recorded_goes_back(broker_client: redis.Redis) -> None:
    """Celery acknowledges a task that failed outside of itself: nothing of a counted queue is gone by that."""
    for name in ("a", "b"):
        broker_client.lpush(QUEUE, entry(name))
    fetch(broker_client, "holder")

    tags = {json.loads(row)[0]["headers"]["id"]: str(tag) for tag, row in broker_client.hgetall(KEYS.unacked).items()}
    scripts_of(broker_client, "holder").end({tags["a"]: "", tags["b"]: "revoked"})

    counts = {str(name): int(number) for name, number in broker_client.hgetall(KEYS.counts_of(QUEUE)).items()}
    assert counts == {"accepted": 2, "revoked": 1}
    assert broker_client.hlen(KEYS.unacked) == 0
    assert [(headers["id"], headers["feedback_unended"]) for headers in fetch(broker_client, "next")] == [("a", 1)]
