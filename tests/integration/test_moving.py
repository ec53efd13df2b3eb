"""Moving to another Redis: everything goes, once, and both sides add up wherever it is cut short."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from producer import FeedbackEvent
from tests.support.cut_short import cut_short
from tests.support.places import LONG_FROM_NOW, Places, places_of
from tests.support.processes import VALKEY, redis_server
from tests.support.scripts import watching_keys
from worker.accounting import relocation as moving
from worker.accounting.continuity import Kind, record
from worker.accounting.held_orgs import look_at_held_orgs
from worker.accounting.integrity import check
from worker.accounting.reconcile import Report
from worker.accounting.relocation import MoveRefused, move
from worker.accounting.repair import repair_redis
from worker.accounting.strays import find_strays
from worker.broker.set_aside import moment_of
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore
from worker.delivery.hold import Hold
from worker.delivery.idempotency import Claimed, IdempotencyStore, Seen
from worker.delivery.org_holds import OrgHolds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.support.processes import RedisServer

pytestmark = pytest.mark.usefixtures("keys_are_declared")

EVENT = FeedbackEvent(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6",
    status=True,
    org="o",
    group="g",
    occurred_at=datetime(2026, 1, 31, tzinfo=UTC),
)


@pytest.fixture
def old(broker: RedisServer) -> Iterator[Places]:
    """The Redis that is left."""
    with places_of(broker) as places:
        yield places


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Places]:
    """The Redis that is moved to."""
    with redis_server(VALKEY, tmp_path) as server, watching_keys(server.port), places_of(server) as places:
        yield places


@pytest.fixture
def filled(old: Places) -> Places:
    """All that there may be: ours and foreign, waiting and scheduled, ended, dead workers' and what was delivered."""
    old.enqueue(7)
    old.enqueue(3, priority=9)
    old.enqueue_foreign(2)
    old.count(accepted=20, delivered=15, dead=4, dead_letters_inserted=4, revoked=1)
    old.take(_popped(old.client), "tag-1", holder="host:1:dead")
    old.hold("host:1:dead", "tag-1", until=1)
    old.client.zadd("feedback:delayed", {_popped(old.client): 4_102_444_800_000})
    old.client.zadd("feedback:delayed", {_popped(old.client): moment_of("org:acme")})
    with _idempotency(old.client) as idempotency:
        claimed = idempotency.claim(EVENT, message_id="m")
        assert isinstance(claimed, Claimed)
        idempotency.record(EVENT, claimed, message_id="m")
    old.client.sadd("feedback:replay:run", "1", "-2")
    Hold(old.client, actor="x").hold("a test", actor="me")
    OrgHolds(old.client, actor="x").hold("acme", "a test", actor="me")
    old.client.hset("feedback:holds", "key:main", '{"kind": "locked_out", "comment": "401", "probe_at": 1}')
    found = check(old.client)
    assert (found.balance.missing, found.balance.uncounted) == (0, 2)
    return old


def _popped(client: redis.Redis) -> bytes:
    entry = client.rpop("feedback")
    assert isinstance(entry, bytes)
    return entry


class _idempotency(ExitStack):  # noqa: N801 - it reads as the function that it stands for
    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self._client = client

    def __enter__(self) -> IdempotencyStore:  # type: ignore[override]  # what it is for
        return IdempotencyStore(self._client, ttl=timedelta(days=1), lease=timedelta(minutes=1))


def equation(places: Places) -> dict[str, int]:
    """What `reconcile` says."""
    found = check(places.client)
    assert found.hangs_together
    return found.balance.to_record()


def test_everything_goes_and_adds_up(filled: Places, new: Places) -> None:
    """The new Redis has what the old one had, also the memory of what was delivered; the old one has nothing."""
    before = equation(filled)

    said = list(move(filled.partitions, new.partitions))

    after = equation(new)
    assert after == before | {"in_flight": 0, "queued": before["queued"] + before["in_flight"]}
    assert set(equation(filled).values()) == {0}
    assert not filled.client.keys("*feedback*")
    assert said[0] == "messages that dead workers held went back to their queue: 1"
    assert "messages moved: 12" in said
    with _idempotency(new.client) as idempotency:
        new.client.delete("feedback:hold")
        assert idempotency.claim(EVENT, message_id="another") is Seen.DUPLICATE
    assert new.client.smembers("feedback:replay:run") == {b"1", b"-2"}
    assert new.client.ttl("feedback:dedup") > 0
    held = look_at_held_orgs(new.partitions)
    assert ([hold.scope for hold in held.holds], held.set_aside) == (["org:acme"], {"org:acme": 1})


@pytest.mark.parametrize("cut_at", range(1, 12))
def test_cut_short_it_goes_on_where_it_was(
    filled: Places, new: Places, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    """After each step that changes the new Redis, done or not: both sides add up, and nothing is there twice."""
    before = equation(filled)
    monkeypatch.setattr(moving, "_AT_ONCE", 2)

    with cut_short(monkeypatch, moving, ("_TAKE", "_ARRIVE", "_TAKE_COUNTS", "_ADD_COUNTS"), at=cut_at):
        list(move(filled.partitions, new.partitions))
    assert equation(filled)["missing"] == equation(new)["missing"] == 0

    list(move(filled.partitions, new.partitions))

    assert equation(new) == before | {"in_flight": 0, "queued": before["queued"] + before["in_flight"]}
    assert not filled.client.keys("*feedback*")


@pytest.mark.parametrize("cut_at", ["_TAKE", "_ARRIVE", "_TAKE_COUNTS"])
def test_a_move_is_no_loss(
    filled: Places, new: Places, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, cut_at: str
) -> None:
    """While it lasts totals fall in one Redis and rise in the other: neither is called emptied or an older copy.

    A repair leaves the parcel alone that is on its way: it may have arrived already.
    """
    upgrade(sqlite_url)
    with closing(DeadLetterStore.connect(sqlite_url)) as store:
        record(filled.partitions, store.engine)
        with cut_short(monkeypatch, moving, (cut_at,), at=1):
            list(move(filled.partitions, new.partitions))

        meanwhile = [record(places.partitions, store.engine).kind for places in (filled, new)]
        strays = find_strays(filled.partitions, within=5)
        repaired = list(repair_redis(filled.partitions, Report(checks=(check(filled.client),), strays=strays)))
        list(move(filled.partitions, new.partitions))

        assert meanwhile == [Kind.MOVING, Kind.MOVING]
        assert repaired == []
        assert record(new.partitions, store.engine).kind is Kind.SAME
    assert equation(new)["missing"] == 0


def test_what_the_new_redis_has_already_stays(filled: Places, new: Places) -> None:
    """Backends enqueue there before it is moved. What says which data it is goes on from the old one."""
    filled.count(generation=11)
    new.enqueue(5)
    new.count(generation=22)

    list(move(filled.partitions, new.partitions))

    assert (equation(new)["accepted"], equation(new)["missing"]) == (35, 0)
    assert new.client.hget("feedback:counts", "generation") == b"11"


def test_it_is_refused_while_a_worker_is_alive(filled: Places, new: Places) -> None:
    """What it holds would be left behind."""
    filled.hold("host:2:alive", until=LONG_FROM_NOW)

    with pytest.raises(MoveRefused, match="host:2:alive is alive"):
        list(move(filled.partitions, new.partitions))

    assert not new.client.exists("feedback")


def test_it_is_refused_while_a_plain_worker_has_something(filled: Places, new: Places) -> None:
    """Only that worker brings it back."""
    filled.take(json.dumps({"headers": {}, "properties": {"delivery_info": {}}}).encode(), "plain")

    with pytest.raises(MoveRefused, match="1 messages are in flight"):
        list(move(filled.partitions, new.partitions))


def test_one_redis_is_no_two(filled: Places) -> None:
    """By whatever address."""
    with pytest.raises(MoveRefused, match="one and the same"):
        list(move(filled.partitions, filled.partitions))
