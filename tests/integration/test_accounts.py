"""The accounts in a real Valkey and a real Redis: every place is seen, every fault is found, and each can be fixed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import redis

from producer.message import to_message
from tests.support.dead_letter_records import an_event
from tests.support.places import LONG_FROM_NOW, Places, foreign_message, places_of, request_id_of
from worker.accounting.integrity import IntegrityCheck, check, find_replays
from worker.accounting.reconcile import Report
from worker.accounting.repair import repair_redis
from worker.accounting.snapshot import take_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer

pytestmark = pytest.mark.usefixtures("keys_are_declared")

IN_ONE_STEP, BY_PAGES = 1000, 2
"""How many entries one script may look at: all there are, or so few that it takes several."""


@pytest.fixture
def places(broker: RedisServer) -> Iterator[Places]:
    """The places of an empty queue."""
    with places_of(broker) as places:
        yield places


def _repair(places: Places, found: IntegrityCheck) -> list[str]:
    return list(repair_redis(places.partitions, Report(checks=(found,))))


def test_an_empty_redis_is_in_order(places: Places) -> None:
    """Nothing was accepted, and nothing is anywhere."""
    found = check(places.client)

    assert (found.hangs_together, found.balance.missing, found.snapshot.counts) == (True, 0, {})
    assert (found.snapshot.oldest, found.snapshot.hold, found.snapshot.holders) == (None, None, ())


def test_a_snapshot_sees_every_list_of_every_priority(places: Places) -> None:
    """Queued, scheduled and in flight, of this queue and of no other."""
    for priority, number in ((0, 1), (3, 2), (6, 3), (9, 4)):
        places.enqueue(number, priority=priority)
        places.schedule(to_message(an_event()), priority=priority)
    places.take(to_message(an_event()), "tag-1", holder="host:1:a")
    places.take(to_message(an_event()), "tag-2", queue="feedback2")
    places.take(to_message(an_event()), "tag-3", queue='an "odd" name')

    snapshot = take_snapshot(places.partitions)

    assert (snapshot.queued, snapshot.scheduled, snapshot.in_flight) == (10, 4, 1)


def test_a_snapshot_tells_the_oldest_event_of_all_places(places: Places) -> None:
    """By when it was first enqueued, which its header says, however often it has been retried."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def message(minutes: int) -> bytes:
        return to_message(an_event(), enqueued_at=noon + timedelta(minutes=minutes))

    places.client.lpush("feedback", *(message(minutes) for minutes in range(50, 150)))
    assert take_snapshot(places.partitions).oldest == noon + timedelta(minutes=50)
    places.schedule(message(30))
    assert take_snapshot(places.partitions).oldest == noon + timedelta(minutes=30)
    places.take(message(20), "tag-1")
    assert take_snapshot(places.partitions).oldest == noon + timedelta(minutes=20)
    places.client.lpush("feedback", message(10), foreign_message(), b"no message")
    assert take_snapshot(places.partitions).oldest == noon + timedelta(minutes=10)


def test_a_snapshot_tells_who_holds_what_for_how_long(places: Places) -> None:
    """By Redis' clock, on whichever machine one looks."""
    places.hold("host:1:a", "tag-1", "tag-2")
    places.hold("host:2:b", until=1000)

    gone, alive = take_snapshot(places.partitions).holders

    assert (alive.name, alive.holds, gone.name, gone.holds) == ("host:1:a", 2, "host:2:b", 0)
    assert gone.lease_left < timedelta() < alive.lease_left


def test_a_snapshot_costs_the_same_however_much_is_queued(places: Places) -> None:
    """So few entries are read that an operator may look every second at a backlog of a million."""
    places.enqueue(5000)

    before = _microseconds(places.client)
    take_snapshot(places.partitions)

    assert _microseconds(places.client) - before < 10_000


def _microseconds(client: redis.Redis) -> int:
    """How long Redis has been busy with scripts so far."""
    stats = client.info("commandstats")
    return sum(stats[name]["usec"] for name in ("cmdstat_eval", "cmdstat_evalsha") if name in stats)


@pytest.mark.parametrize("at_once", [IN_ONE_STEP, BY_PAGES])
def test_foreign_messages_that_no_worker_has_taken_explain_a_surplus(places: Places, at_once: int) -> None:
    """Their clients count nothing; the worker that takes one does."""
    places.enqueue(5)
    places.enqueue_foreign(7)
    places.schedule(foreign_message(), foreign_message(), foreign_message())

    found = check(places.client, at_once=at_once)

    assert (found.uncounted, found.exact, found.balance.missing) == (10, True, 0)


@pytest.mark.parametrize("at_once", [IN_ONE_STEP, BY_PAGES])
def test_foreign_messages_hide_no_loss(places: Places, at_once: int) -> None:
    """More of ours are gone than foreign ones are there."""
    places.enqueue(5)
    places.enqueue_foreign(3)
    places.count(accepted=4)

    assert check(places.client, at_once=at_once).balance.missing == 4


@pytest.mark.parametrize("at_once", [IN_ONE_STEP, BY_PAGES])
def test_a_loss_that_equals_what_is_not_counted_yet_is_seen(places: Places, at_once: int) -> None:
    """By their numbers alone the two would cancel each other out."""
    places.enqueue(5)
    places.enqueue_foreign(3)
    places.count(accepted=3)

    found = check(places.client, at_once=at_once)

    assert (found.balance.missing, found.uncounted, found.exact) == (3, 3, True)


@pytest.mark.parametrize("at_once", [IN_ONE_STEP, BY_PAGES])
def test_equal_entries_are_counted_one_by_one(places: Places, at_once: int) -> None:
    """A program that writes rubbish writes the same rubbish again."""
    places.client.lpush("feedback", *[b"rubbish"] * 7)

    found = check(places.client, at_once=at_once)

    assert (found.no_messages, found.uncounted, found.balance.missing) == (7, 7, 0)


def test_a_message_that_came_back_is_counted_already(places: Places) -> None:
    """So is a surplus of one that a plain Celery worker gave back without ever counting it."""
    places.enqueue_foreign(redelivered=True)

    assert check(places.client).balance.missing == -1


def test_a_foreign_message_in_the_hand_of_a_plain_celery_worker_is_not_counted_yet(places: Places) -> None:
    """One of ours in the same hand is."""
    places.take(foreign_message(), "tag-1")
    places.take(places.enqueue()[0], "tag-2")
    places.client.delete("feedback")

    found = check(places.client)

    assert (found.uncounted, found.balance.missing, found.hangs_together) == (1, 0, True)


def test_entries_that_are_no_messages_are_counted_when_they_are_taken(places: Places) -> None:
    """Until then they are no loss and no surplus, and are named by their number."""
    entries = [b"rubbish", b"[]", b"{}", b"\xff\x00", b'{"headers": {}, "properties": {}}', b'{"headers": 1}']
    places.client.lpush("feedback", *entries)

    found = check(places.client)

    assert (found.no_messages, found.uncounted, found.balance.missing) == (6, 6, 0)


def test_a_message_that_no_worker_returns_is_named(places: Places) -> None:
    """It is in flight, but of no holder, and in no index: by delivery tag and request_id."""
    (message,) = places.enqueue()
    places.client.delete("feedback")
    places.take(message, "tag-1", index=False)

    found = check(places.client)

    assert found.orphaned == {b"tag-1": request_id_of(message)}
    assert (found.hangs_together, found.balance.missing) == (False, 0)


def test_an_orphan_is_returned_to_the_head_of_its_own_list(places: Places) -> None:
    """It is the next to be handed out, marked as redelivered, and adds up as before."""
    urgent = json.loads(to_message(an_event()))
    urgent["properties"]["priority"] = 6
    places.enqueue(3)
    places.count(accepted=2)
    places.take(json.dumps(urgent).encode(), "tag-1", index=False)
    (plain,) = [to_message(an_event())]
    places.take(plain, "tag-2", index=False)

    repaired = _repair(places, check(places.client))

    returned = json.loads(places.client.lindex("feedback\x06\x166", -1) or b"")
    next_one = json.loads(places.client.lindex("feedback", -1) or b"")
    names = [request_id_of(message) for message in (json.dumps(urgent).encode(), plain)]
    assert [request_id_of(json.dumps(message).encode()) for message in (returned, next_one)] == names
    assert returned["headers"]["redelivered"] is returned["properties"]["delivery_info"]["redelivered"] is True
    assert sorted(repaired) == sorted(
        f"returned message {tag} of request_id {name} to its queue"
        for tag, name in zip(("tag-1", "tag-2"), names, strict=True)
    )
    assert not places.client.exists("unacked")
    assert check(places.client).balance.missing == 0


def test_an_orphan_that_found_a_hand_meanwhile_is_left_in_it(places: Places) -> None:
    """A worker holds it again, or Kombu has it in its index, between the look and the repair."""
    for tag in ("tag-1", "tag-2"):
        places.take(to_message(an_event()), tag, index=False)
    found = replace(check(places.client), snapshot=take_snapshot(places.partitions))
    places.hold("host:1:a", "tag-1")
    places.client.zadd("unacked_index", {"tag-2": 1})
    places.count(accepted=2)

    _repair(places, found)

    assert set(places.client.hkeys("unacked")) == {b"tag-1", b"tag-2"}
    assert places.client.llen("feedback") == 0


def test_an_unreadable_row_is_returned_to_become_a_dead_letter(places: Places) -> None:
    """A worker takes it for poison then, and keeps it whole as a dead letter; it is counted when it does."""
    places.client.hset("unacked", "tag-1", b"\xffrubbish")
    places.client.zadd("unacked_index", {"tag-1": 1})

    found = check(places.client)
    repaired = _repair(places, found)

    assert found.unreadable == {b"tag-1"}
    assert repaired == ["returned the unreadable message tag-1 to its queue"]
    assert places.client.lrange("feedback", 0, -1) == [b"\xffrubbish"]
    assert not places.client.exists("unacked", "unacked_index")
    assert (check(places.client).hangs_together, check(places.client).balance.missing) == (True, 0)


def test_an_unreadable_row_in_a_living_hand_is_left_there(places: Places) -> None:
    """Its holder sees to it."""
    places.client.hset("unacked", "tag-1", b"rubbish")
    places.hold("host:1:a", "tag-1")

    assert check(places.client).hangs_together


def test_entries_about_messages_that_are_not_in_flight_are_dropped(places: Places) -> None:
    """From the index, and from what holders hold; those about messages stay."""
    places.enqueue()
    places.take(to_message(an_event()), "tag-1", holder="host:1:a")
    places.count(accepted=1)
    places.client.zadd("unacked_index", {"tag-2": 1})
    places.hold("host:1:a", "tag-3", "tag-4")

    found = check(places.client)
    repaired = _repair(places, found)

    assert found.index == {b"tag-2"}
    assert found.held == {(b"host:1:a", b"tag-3"), (b"host:1:a", b"tag-4")}
    assert repaired == [
        "dropped from unacked_index what is not in flight: 1",
        "dropped from unacked_held:host:1:a what is not in flight: 2",
    ]
    assert places.client.zrange("unacked_index", 0, -1) == [b"tag-1"]
    assert places.client.smembers("unacked_held:host:1:a") == {b"tag-1"}
    assert check(places.client).hangs_together


def test_what_is_fetched_before_it_is_dropped_is_not_dropped(places: Places) -> None:
    """The index and the set are right by then."""
    places.client.zadd("unacked_index", {"tag-1": 1})
    places.hold("host:1:a", "tag-1")
    found = check(places.client)
    places.take(places.enqueue()[0], "tag-1", holder="host:1:a")
    places.client.delete("feedback")

    assert _repair(places, found) == []
    assert check(places.client).hangs_together


def test_what_is_missing_is_written_off_once(places: Places) -> None:
    """Then it adds up, and the next loss is seen; of two operators at once, one comes too late."""
    places.enqueue(3)
    places.client.ltrim("feedback", 0, 0)
    found = check(places.client)

    assert [_repair(places, found), _repair(places, found)] == [["wrote off missing messages: 2"], []]

    assert (places.counted("written_off"), check(places.client).balance.missing) == (2, 0)
    places.client.delete("feedback")
    assert check(places.client).balance.missing == 1
    assert _repair(places, check(places.client)) == ["wrote off missing messages: 1"]
    assert places.counted("written_off") == 3


def test_a_surplus_is_counted_as_accepted_once(places: Places) -> None:
    """And nothing is thrown away because of a count."""
    places.enqueue(2)
    places.client.hset("feedback:counts", "accepted", 1)
    found = check(places.client)

    assert [_repair(places, found), _repair(places, found)] == [["counted surplus messages as accepted: 1"], []]

    assert (places.counted("accepted"), places.client.llen("feedback")) == (2, 2)
    assert check(places.client).balance.missing == 0


def test_what_cannot_be_told_is_not_booked(places: Places) -> None:
    """A foreign client fills a long queue meanwhile."""
    places.count(accepted=1)
    found = replace(check(places.client), exact=False)

    assert Report(checks=(found,)).balances is None
    assert _repair(places, found) == []


@pytest.mark.parametrize("at_once", [IN_ONE_STEP, BY_PAGES])
def test_a_replay_is_found_wherever_it_is(places: Places, at_once: int) -> None:
    """Queued at any priority, scheduled, or in flight; and no other number in a message is taken for one."""
    places.enqueue(3)
    places.enqueue(dead_letter=1)
    places.enqueue(3, priority=9)
    places.enqueue(dead_letter=2, priority=9)
    places.schedule(*places.enqueue(2), to_message(an_event(), envelope={"dead_letter": 3}))
    places.take(to_message(an_event(), envelope={"dead_letter": 4}), "tag-1", holder="host:1:a")
    places.take(to_message(an_event(), envelope={"dead_letter": 5}), "tag-2", queue="another")
    places.client.lpush("feedback", to_message(an_event(org='"dead_letter": 6', group='\\"dead_letter": 6')))

    assert find_replays(places.partitions, range(10), at_once=at_once) == {1, 2, 3, 4}


def test_a_foreign_queue_in_the_same_redis_is_left_alone(places: Places) -> None:
    """Neither its messages in flight nor its lists are looked at."""
    places.client.lpush("celery", foreign_message())
    places.take(foreign_message(), "tag-1", queue="celery", index=False)

    found = check(places.client)

    assert (found.hangs_together, found.balance.missing, found.uncounted) == (True, 0, 0)


def test_what_only_one_of_two_checks_found_was_in_motion(places: Places) -> None:
    """A worker ends a message, and lets go of it a moment later."""
    places.hold("host:1:a", "tag-1", "tag-2")
    places.client.zadd("unacked_index", {"tag-3": 1})
    first = check(places.client)
    places.client.srem("unacked_held:host:1:a", "tag-2")
    places.client.delete("unacked_index")

    both = first.and_then(check(places.client))

    assert both.held == {(b"host:1:a", b"tag-1")}
    assert not both.index


def test_a_hold_is_seen_in_the_same_moment(places: Places) -> None:
    """With its reason and its next probe."""
    fields: dict[str, str | int] = {
        "kind": "locked_out",
        "comment": "401 Unauthorized",
        "since": 1_795_000_000_000,
        "actor": "host",
        "interval": 2000,
        "probe_at": LONG_FROM_NOW,
        "probes": 3,
    }
    places.client.hset("feedback:hold", mapping=fields)  # type: ignore[arg-type] # redis-py's types are narrower

    hold = take_snapshot(places.partitions).hold

    assert hold is not None
    assert (hold.kind, hold.comment, hold.actor, hold.probes) == ("locked_out", "401 Unauthorized", "host", 3)
    assert (hold.since, hold.probe_at) == (
        datetime.fromtimestamp(1_795_000_000, UTC),
        datetime.fromtimestamp(LONG_FROM_NOW / 1000, UTC),
    )


def test_a_redis_whose_keys_are_of_another_kind_says_so(places: Places) -> None:
    """It is another program's, and no number would be right."""
    places.client.set("feedback", "a string")

    with pytest.raises(redis.ResponseError, match="'feedback' is a string, and a list is expected there"):
        check(places.client)
