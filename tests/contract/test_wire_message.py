"""The message that a producer writes is the one that Celery writes, field by field, and a stock worker runs it."""

from __future__ import annotations

import json
import os
import re
import sys
from base64 import b64decode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from producer import FeedbackEvent, FeedbackProducer
from producer.message import JOURNEY, QUEUE, TASK, to_message
from tests.processes import ROOT, RedisServer, eventually, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

EVENT = FeedbackEvent(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6",
    status=False,
    org="Zoë & söns 100%",
    group="67e86d036e9921509f730483",
    occurred_at=datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC),
)

# What may differ from Celery's own message, and why. Everything else must be equal.
OUR_HEADERS = {JOURNEY}  # travels with the event; Celery hands unknown headers on
VARYING = {
    "delivery_tag",  # unique in every message
    "reply_to",  # names the queue where Celery's client waits for a result; nobody waits for ours
}


@pytest.fixture
def celery_app(broker: RedisServer) -> Iterator[Celery]:
    """A Celery client with default settings."""
    app = Celery("plain", broker=broker.url)
    yield app
    app.close()


@pytest.fixture
def theirs(celery_app: Celery, broker_client: redis.Redis) -> dict[str, Any]:
    """What Celery lays in the list for this event."""
    celery_app.send_task(
        TASK, kwargs=EVENT.to_wire(), task_id=EVENT.request_id, queue=QUEUE, ignore_result=True, retry=False
    )
    return _popped(broker_client)


@pytest.fixture
def ours(broker: RedisServer, broker_client: redis.Redis) -> dict[str, Any]:
    """What the producer lays there."""
    with FeedbackProducer(broker.url, timeout=5) as producer:
        producer.enqueue(EVENT)
    return _popped(broker_client)


def _popped(client: redis.Redis) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(str(client.lpop(QUEUE)))
    return message


def test_the_envelope_has_the_fields_of_celerys(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Kombu reads it, whoever wrote it."""
    assert list(ours) == list(theirs)
    assert ours["content-type"] == theirs["content-type"]
    assert ours["content-encoding"] == theirs["content-encoding"]


def test_the_body_is_celerys_to_the_byte(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Arguments, and the callbacks that there are none of."""
    assert ours["body"] == theirs["body"]
    assert json.loads(b64decode(ours["body"]))[1] == EVENT.to_wire()


def test_each_header_is_celerys(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The same names, the same values, in the same order; ours comes last."""
    assert list(ours["headers"]) == [*theirs["headers"], *OUR_HEADERS]
    for name, value in theirs["headers"].items():
        assert ours["headers"][name] == value, name


def test_each_property_is_celerys(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Delivery mode, priority, routing and encoding are Kombu's defaults."""
    assert list(ours["properties"]) == list(theirs["properties"])
    for name in theirs["properties"].keys() - VARYING:
        assert ours["properties"][name] == theirs["properties"][name], name


def test_the_delivery_tag_is_text_as_kombus_is(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Kombu keeps the message under it while a worker has it."""
    assert re.fullmatch(r"[0-9a-f]{32}", ours["properties"]["delivery_tag"])
    assert re.fullmatch(r"[0-9a-f]{32}", theirs["properties"]["delivery_tag"].replace("-", ""))


def test_the_headers_are_those_of_protocol_two(celery_app: Celery) -> None:
    """Celery's own function says what the task message consists of, without a broker in between."""
    expected = celery_app.amqp.as_task_v2(EVENT.request_id, TASK, kwargs=EVENT.to_wire(), ignore_result=True)

    message = json.loads(to_message(EVENT))

    headers = {name: value for name, value in message["headers"].items() if name not in OUR_HEADERS}
    assert headers == json.loads(json.dumps(expected.headers))
    assert json.loads(b64decode(message["body"])) == json.loads(json.dumps(expected.body))
    assert message["properties"]["correlation_id"] == expected.properties["correlation_id"]


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_stock_celery_worker_runs_it(
    broker: RedisServer, broker_client: redis.Redis, tmp_path: Path, pool: str
) -> None:
    """Default settings, no code of ours: the message is an ordinary Celery task."""
    command = [sys.executable, "-m", "celery", "-A", "tests.contract.stock_celery", "worker"]
    options = ["-P", pool, "-c", "2", "-Q", QUEUE, "--without-mingle", "--loglevel", "INFO"]
    env = {**os.environ, "STOCK_BROKER_URL": broker.url, "PYTHONPATH": str(ROOT)}
    with FeedbackProducer(broker.url, timeout=5) as producer:
        producer.enqueue(EVENT)

    with running([*command, *options], log=tmp_path / "worker.log", env=env) as worker:
        came = eventually(lambda: broker_client.hgetall("came"), what="the stock worker runs the task")
        eventually(lambda: f"{TASK}[{EVENT.request_id}] succeeded" in worker.output(), what="the stock worker says so")
        left = eventually(lambda: broker_client.hlen("unacked") == 0, what="the stock worker acknowledges")

    assert came == EVENT.to_wire()
    assert left
    assert broker_client.llen(QUEUE) == 0
