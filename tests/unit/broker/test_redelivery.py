"""A message that comes again is written as its producer wrote it, in the place of the one in flight."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest
from celery.app.task import Context

from worker.broker.lease_state import SharedLeaseState
from worker.broker.payload import HELD_IN, QUEUED_IN
from worker.broker.redelivery import Redelivery, is_in_flight, is_plain
from worker.clients.redis.batching import ScriptBatcher

LATER = datetime.now(UTC) + timedelta(hours=1)


def a_request(**more: Any) -> Context:
    """A message in flight, as Celery tells its task of it."""
    told = {
        "task": "feedback.deliver",
        "id": "an-id",
        "args": [],
        "kwargs": {"status": "true"},
        "origin": "gen1@host",
        "properties": {"delivery_tag": "this", HELD_IN: "unacked_held:me", QUEUED_IN: "feedback"},
    }
    return Context(told | more)


class Broker:
    """Redis with that message in flight."""

    def __init__(self) -> None:
        self.redis = fakeredis.FakeRedis()
        self.redis.hset("unacked", "this", "the message")
        self.redis.zadd("unacked_index", {"this": 1})
        self.redis.sadd("unacked_held:me", "this", "other")
        self.shared = SharedLeaseState()
        scripts = ScriptBatcher(self.redis)
        self.redelivery = Redelivery(lambda _: scripts, self.shared)

    def lying_in(self, name: str) -> list[Any]:
        """The messages of a list."""
        return [json.loads(entry) for entry in self.redis.lrange(name, 0, -1)]


def test_it_takes_the_place_of_the_message_in_flight() -> None:
    """In one step: nothing of the old one is left, and its lease need not end it again."""
    broker = Broker()

    broker.redelivery.publish(a_request(), {"feedback": {"v": 2}}, due=None)

    [message] = broker.lying_in("feedback")
    tag = message["properties"].pop("delivery_tag")
    assert message == {
        "body": '[[],{"status":"true"},{}]',
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "task": "feedback.deliver",
            "id": "an-id",
            "origin": "gen1@host",
            "retries": 1,
            "ignore_result": True,
            "feedback": {"v": 2},
        },
        "properties": {"delivery_info": {"exchange": "", "routing_key": "feedback"}},
    }
    assert tag != "this"
    assert (broker.redis.hlen("unacked"), broker.redis.zcard("unacked_index")) == (0, 0)
    assert broker.redis.smembers("unacked_held:me") == {b"other"}
    assert broker.shared.take_settled("this")


def test_until_it_is_due_it_waits_among_the_delayed() -> None:
    """With its due time as score, in ms, and as ETA, which monitors show."""
    broker = Broker()

    broker.redelivery.publish(a_request(retries=4), {}, due=LATER)

    waiting: Any = broker.redis.zrange("feedback:delayed", 0, -1, withscores=True)
    [(entry, score)] = waiting
    headers = json.loads(entry)["headers"]
    assert score == round(LATER.timestamp() * 1000)
    assert (headers["retries"], headers["eta"]) == (5, LATER.isoformat())
    assert broker.lying_in("feedback") == []


@pytest.mark.parametrize(("priority", "name"), [(0, "feedback"), (4, "feedback\x06\x163"), ("9", "feedback\x06\x169")])
def test_it_keeps_its_priority(priority: object, name: str) -> None:
    """It lies in the list in which Kombu would put it."""
    broker = Broker()
    properties = a_request().properties | {"priority": priority}

    broker.redelivery.publish(a_request(properties=properties), {}, due=None)

    assert len(broker.lying_in(name)) == 1


def test_what_another_worker_has_by_now_is_not_published(caplog: pytest.LogCaptureFixture) -> None:
    """This worker's lease had ended; a second message would double the event."""
    broker = Broker()
    broker.redis.hdel("unacked", "this")

    broker.redelivery.publish(a_request(), {}, due=None)

    assert broker.lying_in("feedback") == []
    assert not broker.shared.take_settled("this")
    assert "its lease ended" in caplog.text


@pytest.mark.parametrize(
    "asked",
    [
        {"callbacks": [{"task": "x"}]},
        {"chain": [{"task": "x"}]},
        {"group": "a"},
        {"expires": "2099-01-01T00:00:00+00:00"},
        {"timelimit": [None, 5]},
        {"stamped_headers": ["a"]},
        {"shadow": "x"},
    ],
)
def test_what_asks_for_more_is_celerys_to_publish(asked: dict[str, Any]) -> None:
    """Its own message would lack that."""
    assert is_plain(a_request(timelimit=[None, None], callbacks=None))
    assert not is_plain(a_request(**asked))


@pytest.mark.parametrize("properties", [None, {}, {"delivery_tag": "this"}, {QUEUED_IN: ""}])
def test_what_came_another_way_is_not_in_flight_here(properties: Any) -> None:
    """A task that is called directly, or over another transport."""
    assert is_in_flight(a_request())
    assert not is_in_flight(a_request(properties=properties))
