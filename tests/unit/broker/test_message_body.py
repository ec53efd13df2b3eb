"""A message's body is read by the fast decoder, whether its client wrote it as JSON or as base64."""

from __future__ import annotations

from base64 import b64decode, b64encode
from types import SimpleNamespace
from typing import Any

import kombu.exceptions
import kombu.serialization
import pytest

from worker.broker.channel import Channel, SentinelChannel
from worker.broker.safe_channel import BrokerMessage, SafeChannel

BODY = '[[],{"status":"true"},{}]'


def message(body: str, **properties: Any) -> BrokerMessage:
    """A message as a list's entry has it."""
    channel = SimpleNamespace(decode_body=lambda text, encoding: b64decode(text) if encoding else text)
    payload = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {"delivery_tag": "a", "delivery_info": {}, **properties},
    }
    return BrokerMessage(payload, channel=channel)


@pytest.mark.parametrize(
    ("body", "properties"), [(BODY, {}), (b64encode(BODY.encode()).decode(), {"body_encoding": "base64"})]
)
def test_plain_json_is_not_kombus_to_read(
    body: str, properties: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its registry of serializers costs four times as much."""
    monkeypatch.setattr(kombu.serialization, "loads", None)
    monkeypatch.setattr("kombu.message.loads", None)

    assert message(body, **properties).payload == [[], {"status": "true"}, {}]


def test_what_is_no_json_is_kombus_error() -> None:
    """As a client of Celery's knows it."""
    with pytest.raises(kombu.exceptions.DecodeError):
        message("{").payload  # noqa: B018 - reading it is what raises


@pytest.mark.parametrize("channel", [Channel, SentinelChannel])
def test_a_channel_reads_its_messages_so(channel: type[SafeChannel]) -> None:
    """Kombu makes the messages of a channel of the class that its `Message` names."""
    assert channel.Message is BrokerMessage
