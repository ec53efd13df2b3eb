"""Revocations in a queue of several partitions, of which some can't be asked."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import redis

from producer.message import to_message
from producer.partitions import tags
from tests.support.dead_letter_records import an_event
from tests.support.processes import eventually
from worker.broker.keys import broker_keys
from worker.clients.redis.keys import feedback_keys, with_prefix
from worker.delivery.revocations import Revocations, Searched, criteria_of_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

ID = "one-and-the-same"
CRITERIA = criteria_of_ids([ID])
LONG_BEFORE = "1-0123456789ab.0-0"
"""The identity of a message that was first handed out long ago."""


class Place:
    """A partition whose server can be away, or hang."""

    def __init__(self, prefix: str) -> None:
        self.redis = with_prefix(fakeredis.FakeRedis(), prefix)
        self.hangs: threading.Event | None = None
        self.is_away = False

    def client(self) -> redis.Redis:
        """A client of it."""
        if self.hangs is not None:
            self.hangs.wait(10)
        if self.is_away:
            raise redis.ConnectionError("refused")
        return self.redis

    @property
    def searched(self) -> Searched:
        """As a worker has it."""
        return Searched(self.client, broker_keys(self.redis))

    def queue(self) -> None:
        """Let a message wait that is revoked by its id."""
        message = json.loads(to_message(an_event()))
        message["headers"]["id"] = ID
        self.redis.lpush(broker_keys(self.redis).lists("feedback")[0], json.dumps(message))

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return int(self.redis.llen(broker_keys(self.redis).lists("feedback")[0]))

    @property
    def knows(self) -> bool:
        """Whether the revocation stands in it."""
        return self.redis.zscore(feedback_keys(self.redis).revoked, CRITERIA[0]) is not None


@pytest.fixture
def places() -> list[Place]:
    """Three partitions, each with a message that waits."""
    found = [Place(prefix) for prefix in tags(3)]
    for place in found:
        place.queue()
    return found


@pytest.fixture
def ended() -> list[str]:
    """The task ids of what has ended."""
    return []


@pytest.fixture
def on_ended(ended: list[str]) -> Callable[[Collection[str]], None]:
    """Notes them."""
    return ended.extend


def known(places: list[Place]) -> Revocations:
    """What a worker knows that starts now."""
    revocations = Revocations()
    revocations.connect(place.searched for place in places)
    return revocations


def test_a_revocation_hits_what_waits_in_every_partition(
    places: list[Place], ended: list[str], on_ended: Callable[[Collection[str]], None]
) -> None:
    """And what was handed out of any of them before."""
    revocations = known(places)

    revocations.revoke(CRITERIA, on_ended=on_ended)

    assert [place.waiting for place in places] == [0, 0, 0]
    assert len(ended) == 3
    assert revocations.hit(ID, {}, LONG_BEFORE)
    assert known(places).hit(ID, {}, LONG_BEFORE)
    assert not revocations.hit("another", {}, LONG_BEFORE)


def test_a_partition_that_is_away_keeps_no_other_from_being_revoked(
    places: list[Place], ended: list[str], on_ended: Callable[[Collection[str]], None]
) -> None:
    """The error says how many can't be asked, and what to do; doing it again does the rest."""
    revocations = known(places)
    places[1].is_away = True

    with pytest.raises(redis.ConnectionError, match="1 of 3 partitions can't be asked; revoke again: refused"):
        revocations.revoke(CRITERIA, on_ended=on_ended)
    assert [place.waiting for place in places] == [0, 1, 0]
    assert len(ended) == 2
    assert revocations.hit(ID, {}, LONG_BEFORE)

    places[1].is_away = False
    revocations.revoke(CRITERIA, on_ended=on_ended)
    assert [place.waiting for place in places] == [0, 0, 0]


def test_a_partition_that_hangs_holds_up_the_event_loop_for_a_moment_only(
    places: list[Place], on_ended: Callable[[Collection[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is told that it has not answered. What it answers later counts."""
    monkeypatch.setattr("worker.delivery.revocations._ANSWER_WITHIN", 0.1)
    revocations = known(places)
    places[2].hangs = thawed = threading.Event()

    with pytest.raises(redis.ConnectionError, match="1 of 3 partitions can't be asked; revoke again: no answer within"):
        revocations.revoke(CRITERIA, on_ended=on_ended)
    assert [place.waiting for place in places] == [0, 0, 1]

    thawed.set()
    eventually(lambda: places[2].waiting == 0, timeout=10, what="it is revoked there as well")


def test_the_only_partition_is_asked_as_ever() -> None:
    """Its error is the caller's."""
    place = Place("")
    revocations = known([place])
    place.is_away = True

    with pytest.raises(redis.ConnectionError, match=r"^refused$"):
        revocations.revoke(CRITERIA, on_ended=print)
    with pytest.raises(redis.ConnectionError, match=r"^refused$"):
        known([place])


def test_a_worker_starts_while_a_partition_is_away_and_learns_later(
    places: list[Place], monkeypatch: pytest.MonkeyPatch, on_ended: Callable[[Collection[str]], None]
) -> None:
    """What was revoked there alone is known once its server is back; no worker starts if none can be asked."""
    monkeypatch.setattr("worker.delivery.revocations._PAUSE", 0.01)
    known(places[1:2]).revoke(CRITERIA, on_ended=on_ended)
    assert [place.knows for place in places] == [False, True, False]
    places[1].is_away = True

    revocations = known(places)
    assert not revocations.hit(ID, {}, LONG_BEFORE)
    places[1].is_away = False
    eventually(lambda: revocations.hit(ID, {}, LONG_BEFORE), timeout=10, what="it is known")

    for place in places:
        place.is_away = True
    with pytest.raises(redis.ConnectionError, match="refused"):
        known(places)


def test_a_worker_that_asks_needs_one_partition_that_knows(
    places: list[Place], on_ended: Callable[[Collection[str]], None]
) -> None:
    """While one is away it asks the others, and asks again the next time."""
    revocations = known(places)
    places[0].is_away = True
    with pytest.raises(redis.ConnectionError):
        revocations.revoke(CRITERIA, on_ended=on_ended)

    assert [revocations.hit(ID, {}, LONG_BEFORE) for _ in range(2)] == [True, True]
    asked: dict[str, Any] = revocations._until
    assert asked == {CRITERIA[0]: None}
    for place in places:
        place.is_away = True
    assert not revocations.hit(ID, {}, LONG_BEFORE)  # not known, so it is delivered
