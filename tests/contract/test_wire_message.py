"""The message that a producer writes is the one that Celery writes, field by field, and a stock worker runs it."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from base64 import b64decode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from celery import Celery
from celery.app.task import Context
from celery.worker.request import Request
from kombu import Connection

from producer import FeedbackEvent, FeedbackProducer
from producer.message import ENVELOPE, QUEUE, TASK, to_message
from tests.support.processes import ROOT, RedisServer, eventually, running
from worker.broker.payload import HANDED_OUT_AS

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

OUR_HEADERS = {ENVELOPE}  # travels with the event; Celery hands unknown headers on

# What a worker reads the same, or finds elsewhere, where it is left out. Everything else must be equal to Celery's own.
LEFT_OUT_HEADERS = {
    "lang",  # nothing reads it
    "shadow",
    "eta",
    "expires",
    "group",
    "group_index",
    "retries",
    "timelimit",
    "root_id",  # of a task that no other has called: its own
    "parent_id",
    "argsrepr",  # our worker writes them itself
    "kwargsrepr",
    "replaced_task_nesting",
    "stamped_headers",
    "stamps",
}
LEFT_OUT_PROPERTIES = {
    "correlation_id",  # with it a result comes back; ours is not waited for
    "reply_to",
    "delivery_mode",  # Kombu writes it, and reads it nowhere
    "priority",  # 0
    "body_encoding",  # the body is text
}
UNIQUE = {"delivery_tag"}


@pytest.fixture
def celery_app(broker: RedisServer) -> Iterator[Celery]:
    """A Celery client with default settings."""
    app = Celery("plain", broker=broker.url)
    yield app
    app.close()


@pytest.fixture
def theirs(celery_app: Celery, broker_client: redis.Redis, ours: dict[str, Any]) -> dict[str, Any]:
    """What Celery lays in the list for this event."""
    celery_app.send_task(
        TASK, kwargs=EVENT.to_wire(), task_id=ours["headers"]["id"], queue=QUEUE, ignore_result=True, retry=False
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
    """Kombu reads it, whichever producer wrote it."""
    assert list(ours) == list(theirs)
    assert ours["content-type"] == theirs["content-type"]
    assert ours["content-encoding"] == theirs["content-encoding"]


def test_the_body_says_what_celerys_says(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The arguments; of callbacks Celery says that there are none, and ours says nothing."""
    args, kwargs, embed = json.loads(ours["body"])
    their_args, their_kwargs, their_embed = json.loads(b64decode(theirs["body"]))

    assert (args, kwargs) == (their_args, their_kwargs) == ([], EVENT.to_wire())
    assert embed == {}
    assert not any(their_embed.values())


def test_each_header_is_celerys(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The same names, the same values, in the same order, but for those left out; ours comes last."""
    assert list(ours["headers"]) == [*_without(theirs["headers"], LEFT_OUT_HEADERS), *OUR_HEADERS]
    for name in theirs["headers"].keys() - LEFT_OUT_HEADERS:
        assert ours["headers"][name] == theirs["headers"][name], name


def test_each_property_is_celerys(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Where it was sent to, so that it can be put back there."""
    assert list(ours["properties"]) == list(_without(theirs["properties"], LEFT_OUT_PROPERTIES))
    for name in theirs["properties"].keys() - LEFT_OUT_PROPERTIES - UNIQUE:
        assert ours["properties"][name] == theirs["properties"][name], name


def _without(parts: dict[str, Any], names: set[str]) -> dict[str, Any]:
    assert names <= parts.keys(), "Celery writes no such thing any more"
    return {name: value for name, value in parts.items() if name not in names}


def test_the_delivery_tag_is_text_as_kombus_is(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Kombu keeps the message under it while a worker has it."""
    assert re.fullmatch(r"[\w-]{16}", ours["properties"]["delivery_tag"], re.ASCII)
    assert re.fullmatch(r"[0-9a-f]{32}", theirs["properties"]["delivery_tag"].replace("-", ""))


def test_celery_reads_what_is_left_out_as_if_it_were_there(
    celery_app: Celery, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    """A worker's request, what its task is told, and what a task passes on when it calls itself again."""

    def deliver(**_: str) -> None:
        pass

    celery_app.task(deliver, name=TASK, shared=False)
    mine, plain = (_request(celery_app, message) for message in (ours, theirs))

    for name in ("name", "type", "id", "eta", "expires", "ignore_result", "replaced_task_nesting", "args", "kwargs"):
        assert getattr(mine, name) == getattr(plain, name), name
    for name in ("stamped_headers", "stamps", "groups", "parent_id", "group_index", "chord", "errbacks"):
        assert getattr(mine, name) == getattr(plain, name), name
    assert [limit or None for limit in mine.time_limits] == [limit or None for limit in plain.time_limits]
    told, told_plain = (Context(request.request_dict, **embed) for request, embed in ((mine, {}), (plain, _NO_EMBED)))
    passed_on, plainly = told.as_execution_options(), told_plain.as_execution_options()
    for name in passed_on.keys() - {"root_id", "reply_to", "headers"}:
        assert passed_on[name] == plainly[name], name
    assert plainly["root_id"] == ours["headers"]["id"]  # which Celery takes where there is none
    assert passed_on["root_id"] is None
    assert told.headers == {ENVELOPE: ours["headers"][ENVELOPE]}


_NO_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def _request(app: Celery, message: dict[str, Any]) -> Request:
    """What a stock worker makes of an entry of the queue."""
    with app.connection_for_read() as connection:
        taken = connection.default_channel.Message(message, channel=connection.default_channel)
        taken.accept = {"application/json"}
        return Request(taken, app=app)


def test_kombu_takes_no_priority_for_the_most_urgent(celery_app: Celery, ours: dict[str, Any]) -> None:
    """By it Kombu chooses the list to which it returns a message."""
    with celery_app.connection_for_read() as connection:
        assert connection.default_channel._get_message_priority(ours) == 0


def test_the_headers_are_those_of_protocol_two(celery_app: Celery) -> None:
    """Celery's own function says what the task message consists of, without a broker in between."""
    message = json.loads(to_message(EVENT))

    expected = celery_app.amqp.as_task_v2(message["headers"]["id"], TASK, kwargs=EVENT.to_wire(), ignore_result=True)

    headers = {name: value for name, value in message["headers"].items() if name not in OUR_HEADERS}
    assert headers == _without(expected.headers, LEFT_OUT_HEADERS)
    args, kwargs, embed = json.loads(message["body"])
    assert (args, kwargs) == (list(expected.body[0]), expected.body[1])
    assert expected.body[2] == _NO_EMBED | embed


@pytest.mark.parametrize("requeues", ["restores", "rejects"])
def test_kombu_puts_it_back(
    broker: RedisServer, broker_client: redis.Redis, ours: dict[str, Any], requeues: str
) -> None:
    """A plain worker that leaves, or gives it back: it is the same message, with a mark."""
    broker_client.lpush(QUEUE, json.dumps(ours))

    with Connection(broker.url) as connection, connection.SimpleQueue(QUEUE) as queue:
        taken = queue.get(timeout=10)
        assert taken.payload == [[], EVENT.to_wire(), {}]
        if requeues == "rejects":
            taken.requeue()
        else:
            taken.channel.qos.restore_unacked_once(stderr=io.StringIO())

    back = _popped(broker_client)
    assert back["headers"].pop("redelivered") is True
    assert back["properties"]["delivery_info"].pop("redelivered") is True
    back["properties"]["delivery_info"].pop(
        HANDED_OUT_AS, None
    )  # our transport's own mark, if it is what Kombu uses here
    assert back == ours


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
    task_id = json.loads(str(broker_client.lindex(QUEUE, 0)))["headers"]["id"]

    with running([*command, *options], log=tmp_path / "worker.log", env=env) as worker:
        came = eventually(lambda: broker_client.hgetall("came"), what="the stock worker runs the task")
        eventually(lambda: f"{TASK}[{task_id}] succeeded" in worker.output(), what="the stock worker says so")
        left = eventually(lambda: broker_client.hlen("unacked") == 0, what="the stock worker acknowledges")

    assert came == EVENT.to_wire()
    assert left
    assert broker_client.llen(QUEUE) == 0
