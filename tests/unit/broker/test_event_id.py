"""The request_id in a message, whoever wrote it."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from producer.message import to_message
from tests.support.dead_letter_records import an_event
from worker.broker.event_id import request_id_of

REQUEST_ID = "request-1"
ARGUMENTS = json.dumps([[], {"request_id": REQUEST_ID}, {}])


def message(body: Any, encoding: Any = None) -> dict[str, Any]:
    """A message with a body as it lies in Redis."""
    return {"body": body, "properties": {} if encoding is None else {"body_encoding": encoding}}


def test_our_producers_message_has_it() -> None:
    """As it lies in Redis."""
    event = an_event()
    entry = json.loads(to_message(event))

    assert request_id_of(entry) == event.request_id


@pytest.mark.parametrize(
    "found",
    [message(ARGUMENTS), message(ARGUMENTS, "utf-8"), message(b64encode(ARGUMENTS.encode()).decode(), "base64")],
    ids=["plain", "utf-8", "base64"],
)
def test_celerys_message_has_it(found: dict[str, Any]) -> None:
    """Its body is in base64; that of others may be plain."""
    assert request_id_of(found) == REQUEST_ID


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"body": ARGUMENTS},
        {"body": ARGUMENTS, "properties": None},
        message(None),
        message({"request_id": REQUEST_ID}),
        message("no JSON"),
        message("%", "base64"),
        message(b64encode(b"\xff\xfe").decode(), "base64"),
        message("[" * 100_000),
        message("[]"),
        message("[[], []]"),
        message(json.dumps({"1": {"request_id": REQUEST_ID}})),
        message(json.dumps([[], {"request_id": 7}, {}])),
        message(json.dumps([[], {"request_id": None}, {}])),
        message('[[{"__type__": "decimal", "__value__": "no number"}], {"request_id": "request-1"}, {}]'),
        message('[[{"__type__": "uuid", "__value__": 7}], {"request_id": "request-1"}, {}]'),
    ],
)
def test_whatever_has_none_is_no_events(found: dict[str, Any]) -> None:
    """It is published all the same, and nothing is raised over it."""
    assert request_id_of(found) == ""
