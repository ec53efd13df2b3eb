"""What Celery is told of a message: nothing of the wrong type, and nothing that it would carry out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu.message import Message

from producer.message import QUEUE, TASK
from worker.broker.payload import HELD_IN, QUEUED_IN
from worker.dead_letters.replays.queue import ADVANCE, REPLAYS
from worker.runtime.message_validation import MessageParts, NoTask, content_of, for_celery, problem_of, unended, wait_of

HORIZON = timedelta(hours=72)
KWARGS = {"request_id": "r", "status": "true"}
SIGNATURE = {"task": "feedback.deliver", "args": [], "kwargs": {}, "options": {"queue": "elsewhere"}}


def message(
    *, payload: Any = None, headers: Any = None, queue: str = QUEUE, tag: str = "tag", **properties: Any
) -> Message:
    """A message as it was taken from a queue."""
    return Message(
        body=json.dumps([[], KWARGS, {}] if payload is None else payload),
        delivery_tag=tag,
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": TASK, "id": "i"} if headers is None else headers,
        delivery_info={"exchange": "x", "routing_key": "elsewhere"},
        properties={"delivery_info": {}, QUEUED_IN: queue, HELD_IN: "held", **properties},
        accept={"application/json"},
    )


def received(**parts: Any) -> Message:
    """A message that Celery may take."""
    one = message(**parts)
    for_celery(one, content_of(one))
    return one


def problem(**parts: Any) -> str:
    """What keeps a message from its task."""
    one = message(**parts)
    return problem_of(one, content_of(one), horizon=HORIZON)


def at(**ahead: float) -> str:
    """A time to come."""
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


@pytest.mark.parametrize(
    "name",
    [
        "shadow",
        "timelimit",
        "stamps",
        "stamped_headers",
        "group",
        "chord",
        "expires",
        "reply_to",
        "is_eager",
        "_children",
    ],
)
def test_celerys_own_headers_are_left_out(name: str) -> None:
    """Feedback needs none of them, of whatever type."""
    assert name not in received(headers={"task": TASK, "id": "i", name: [{}]}).headers


@pytest.mark.parametrize(
    ("stamps", "told"),
    [({"who": ["ann", "bob"]}, True), ({"who": "ann"}, True), ({"who": [5]}, False), ({"who": {}}, False), (5, False)],
    ids=repr,
)
def test_stamps_are_text_by_which_an_operator_revokes(stamps: object, told: bool) -> None:
    """Of Celery's own headers they alone are of use."""
    headers = received(headers={"task": TASK, "id": "i", "stamped_headers": ["who"], "stamps": stamps}).headers

    assert (headers.get("stamps"), headers.get("stamped_headers")) == ((stamps, ["who"]) if told else (None, None))


@pytest.mark.parametrize("odd", [None, 5, [], {}, "", "a\nb", "\ud800", "x" * 300], ids=repr)
def test_a_message_without_a_name_is_named_by_its_tag(odd: object) -> None:
    """Its id goes into logs, to monitors and into Celery's own tables."""
    assert received(headers={"task": TASK, "id": odd}).headers["id"] == "tag"


@pytest.mark.parametrize(("retries", "told"), [(3, 3), (-1, 0), ("3", 0), (True, 0), (2**40, 0), (1.0, 0)])
def test_retries_are_a_whole_number(retries: object, told: int) -> None:
    """Each turn that is published again has one more."""
    assert received(headers={"task": TASK, "id": "i", "retries": retries}).headers["retries"] == told


def test_a_message_carries_nothing_that_celery_would_publish() -> None:
    """A producer's login must not reach another queue through a worker's."""
    embed = {"callbacks": [SIGNATURE], "errbacks": [SIGNATURE], "chain": [SIGNATURE], "chord": SIGNATURE}
    one = received(payload=[[], KWARGS, embed], reply_to="elsewhere", priority=99)

    assert one.payload == [[], KWARGS, {}]
    assert one.delivery_info == {"exchange": "", "routing_key": QUEUE}
    assert one.properties["delivery_info"] == one.delivery_info
    assert (one.properties.get("reply_to"), one.properties["priority"]) == (None, 0)


def test_what_is_not_celerys_is_left_as_it_is() -> None:
    """Our own header, a trace's, and those of clients."""
    own = {"feedback": {"v": 1}, "traceparent": "00-…", "x": [1]}
    one = received(headers={"task": TASK, "id": "i", **own})

    assert {name: one.headers[name] for name in own} == own
    assert one.properties[HELD_IN] == "held"


def test_protocol_1_is_read_as_protocol_2() -> None:
    """It has everything in its body."""
    one = received(
        payload={"task": TASK, "id": "one", "args": [], "kwargs": KWARGS, "callbacks": [SIGNATURE]}, headers={}
    )

    assert (one.headers["task"], one.headers["id"], one.payload) == (TASK, "one", [[], KWARGS, {}])


@pytest.mark.parametrize(
    ("queue", "task", "fits"),
    [
        (QUEUE, TASK, True),
        (QUEUE, ADVANCE, False),
        (QUEUE, "celery.map", False),
        (REPLAYS, ADVANCE, True),
        (REPLAYS, "celery.group", False),
        ("own", "own", True),
    ],
)
def test_each_of_our_queues_has_one_task(queue: str, task: str, fits: bool) -> None:
    """Celery's built-in ones call others, and publish; elsewhere they are not our business."""
    assert (problem(queue=queue, headers={"task": task, "id": "i"}) == "") is fits


@pytest.mark.parametrize(
    ("eta", "said"),
    [
        (None, ""),
        ("2020-01-01T00:00:00", ""),
        (at(hours=71), ""),
        (at(hours=73), "further ahead"),
        ("9999-12-31T23:59:59-23:59", "further ahead"),
        ("soon", "no time"),
        (5, "no time"),
        ([], "no time"),
    ],
    ids=["none", "past", "near", "far", "farthest", "text", "number", "list"],
)
def test_an_eta_is_a_time_within_the_horizon(eta: object, said: str) -> None:
    """What would wait for ever, or can't be converted, is told of."""
    found = problem(headers={"task": TASK, "id": "i", "eta": eta})

    assert said in found
    assert bool(found) is bool(said)


def test_what_protocol_1_has_for_later_waits() -> None:
    """The transport does not look into bodies."""
    body = {"task": TASK, "id": "i", "args": [], "kwargs": KWARGS}

    assert 0 < wait_of(content_of(message(payload=body | {"eta": at(minutes=1)}, headers={}))) < 61
    assert wait_of(content_of(message(payload=body | {"eta": at(minutes=-1)}, headers={}))) == 0


@pytest.mark.parametrize("payload", [5, [], {"a": 1}, [None, {}, {}], [[], [1], {}], [[], {}, "x"]], ids=repr)
def test_what_is_no_task_is_told_in_words(payload: object) -> None:
    """Celery would fail on it somewhere."""
    with pytest.raises(NoTask, match="its "):
        content_of(message(payload=payload))


def test_the_whole_message_is_kept_as_it_came() -> None:
    """But for what differs from one delivery to the next."""
    one = message(headers={"task": TASK, "id": "i", "shadow": 5, "feedback_unended": 2, "redelivered": True})
    whole = MessageParts(one)
    for_celery(one, content_of(one))

    kept = json.loads(whole.as_json())
    assert kept["headers"] == {"task": TASK, "id": "i", "shadow": 5}
    assert kept["properties"] == {"delivery_info": {}}


@pytest.mark.parametrize(("header", "times"), [(None, 0), (4, 4), ("x", 0), ([], 0)])
def test_a_count_of_lost_workers_is_a_number(header: object, times: int) -> None:
    """A client may write anything there."""
    assert unended(message(headers={"task": TASK, "feedback_unended": header})) == times
