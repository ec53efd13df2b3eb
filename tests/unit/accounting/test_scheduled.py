from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import fakeredis
import pytest

from worker.accounting import scheduled
from worker.accounting.scheduled import look_at_scheduled
from worker.broker.keys import DELAYED
from worker.clients.redis.partitions import Partitions
from worker.policy.envelope import Envelope, WaitReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

ENVELOPE = Envelope(enqueued_at=datetime(2026, 1, 31, tzinfo=UTC), message_id="m")
URGENT, REPLAYED = f"feedback{DELAYED}", f"feedback\x06\x169{DELAYED}"


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    """A Redis with nothing in it."""
    with fakeredis.FakeRedis() as client:
        yield client


def schedule(client: redis.Redis, key: str, waits: WaitReason | None, *, number: int = 1) -> None:
    """Lay messages there, as a worker publishes them."""
    envelope = ENVELOPE if waits is None else ENVELOPE.snoozed().waiting(waits)
    for _ in range(number):
        at = client.zcard(key)
        entry = {"body": "", "headers": {"feedback": envelope.to_header()}, "properties": {"delivery_tag": str(at)}}
        client.zadd(key, {json.dumps(entry): at})


def test_what_is_scheduled_is_told_by_its_reason(client: redis.Redis) -> None:
    """The most frequent first, over all priorities; exactly, where there are few."""
    schedule(client, URGENT, WaitReason.RETRY, number=3)
    schedule(client, URGENT, None)
    schedule(client, REPLAYED, WaitReason.DATABASE, number=2)

    seen = look_at_scheduled(Partitions([client]))

    assert seen.summary == (
        "3 to be tried again: AquilaX could not take them; 2 because the dead-letter database failed; "
        "1 for the time that their client set"
    )
    assert seen.to_record() == {"total": 6, "looked_at": 6, "reasons": {"retry": 3, "database": 2, "client": 1}}


def test_of_very_many_it_says_that_it_is_a_part(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are due first."""
    monkeypatch.setattr(scheduled, "_LOOKED_AT", 2)
    schedule(client, URGENT, WaitReason.BUSY, number=2)
    schedule(client, URGENT, WaitReason.RETRY, number=9)

    words = look_at_scheduled(Partitions([client])).summary

    assert words == "of the 2 that are due first: 2 for another press on the same answer, which is being sent"


def test_nothing_is_said_of_nothing(client: redis.Redis) -> None:
    """And what is no message of ours breaks nothing."""
    assert look_at_scheduled(Partitions([client])).summary == ""
    for at, entry in enumerate((b"\xff\x00", b'{"waits": "some<thing>"}', b'{"waits": 7}')):
        client.zadd(URGENT, {entry: at})
    assert look_at_scheduled(Partitions([client])).summary == "3 for the time that their client set"


def test_every_reason_has_its_words() -> None:
    """None is shown as its bare name."""
    assert set(scheduled._LABELS) == {*WaitReason, ""}
