"""A queue of several partitions in one Redis: each is judged by itself, repaired in its place, and told in sums."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from producer.message import QUEUE
from tests.support.dead_letter_records import a_record, add, an_event
from tests.support.partitions import (
    count,
    enqueue,
    enqueue_in,
    message_of,
    opened,
    request_id_of_partition,
    request_ids,
    take,
)
from tests.support.places import LONG_FROM_NOW, foreign_message
from tests.support.plans import Steps
from worker.accounting.backlog import take_backlog
from worker.accounting.continuity import Kind, accept, look_at_continuity, record
from worker.accounting.integrity import check, find_replays
from worker.accounting.reconcile import Report, reconcile
from worker.accounting.repair import note_told, repair_redis, written_off_untold
from worker.accounting.scheduled import look_at_scheduled
from worker.accounting.snapshot import Rates, take_partial_snapshot, take_snapshot
from worker.accounting.strays import copy_to_partition, drop_copied, find_strays, move_home
from worker.accounting.worker_presence import living_leases
from worker.broker.keys import DELAYED, broker_keys
from worker.clients.redis.keys import feedback_keys
from worker.dead_letters.replays.queue import LIST, withhold
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from worker.clients.redis.partitions import Partitions
    from worker.dead_letters.store import DeadLetterStore


@pytest.fixture(params=[3, 16])
def partitions(broker: RedisServer, request: pytest.FixtureRequest) -> Iterator[Partitions]:
    """Three, or sixteen."""
    with opened(broker.url, request.param) as partitions:
        yield partitions


def at_once(partitions: Partitions, store: DeadLetterStore, **options: Any) -> Report:
    """What a reconciliation without patience finds."""
    return reconcile(partitions, lambda: store.engine, patience=timedelta(), strays_within=5, **options)


def test_a_snapshot_is_the_sum(partitions: Partitions) -> None:
    """Counts, places and the oldest; a worker with a lease in each is one, and what it holds is summed."""
    enqueue(partitions, *request_ids(40))
    first, last = partitions[0], partitions[len(partitions) - 1]
    for number, client in enumerate(partitions):
        take(client, f"host:1:abc.{number + 1}:one@h")
    take(first, "host:1:abc.1:one@h", "tag-1")
    take(last, f"host:1:abc.{len(partitions)}:one@h", "tag-2", "tag-3")
    take(last, "host:2:def.1:two@h", until=1)
    last.zadd(broker_keys(last).lists(QUEUE)[0] + DELAYED, {message_of(waits="busy"): LONG_FROM_NOW})
    count(last, accepted=3, delivered=2)

    now = take_snapshot(partitions)

    assert (now.queued, now.in_flight, now.scheduled, now.balance.accepted) == (37, 3, 1, 43)
    assert (now.balance.missing, now.is_whole, len(now.parts)) == (0, True, len(partitions))
    assert [(one.name, one.holds, one.node) for one in now.alive] == [("host:1:abc:one@h", 3, "one@h")]
    assert ([one.process for one in now.dead], now.workers) == (["host:2:def"], 1)
    assert now.oldest == min(moment.oldest for moment in now.moments if moment.oldest is not None)
    assert sum(moment.queued for moment in now.moments) == 37
    assert [lease.node for lease in living_leases(partitions)] == ["one@h"]
    assert look_at_scheduled(partitions).to_record() == {"total": 1, "looked_at": 1, "reasons": {"busy": 1}}
    backlog = take_backlog(partitions)
    assert (backlog.messages, backlog.unfinished) == (40, 41)
    later = take_snapshot(partitions)
    assert (rates := Rates.between(now, later)) is None or rates.accepted == 0


def test_a_surplus_hides_no_loss(partitions: Partitions, sqlite_store: DeadLetterStore) -> None:
    """The sum adds up; the two partitions do not, and each is put right where it is wrong."""
    count(partitions[1], accepted=2)
    enqueue_in(partitions[2], message_of(), message_of())
    count(partitions[2], accepted=-2)
    assert take_snapshot(partitions).balance.missing == 0

    report = at_once(partitions, sqlite_store)

    assert (report.balances, report.is_wrong) == (False, True)
    assert [(number, found.balance.missing) for number, found in report.unbalanced] == [(1, 2), (2, -2)]
    assert list(repair_redis(partitions, report)) == [
        "wrote off missing messages in partition 01: 2",
        "counted surplus messages in partition 02 as accepted: 2",
    ]
    assert list(repair_redis(partitions, report)) == []  # of two repairs at once one comes too late
    assert at_once(partitions, sqlite_store).balances is True
    now = take_snapshot(partitions)
    assert written_off_untold(partitions, now) == 2
    note_told(partitions, now)
    assert written_off_untold(partitions, now) == 0


def test_what_is_odd_is_repaired_in_its_partition(partitions: Partitions, sqlite_store: DeadLetterStore) -> None:
    """A message under no lease goes back to its own list."""
    names = [request_id_of_partition(partitions, number) for number in (1, 2)]
    enqueue(partitions, *names)
    for number in (1, 2):
        client = partitions[number]
        take(client, "host:1:a.1:n", f"tag-{number}")
        client.delete(
            broker_keys(client).leases, broker_keys(client).index, f"{broker_keys(client).held_prefix}host:1:a.1:n"
        )

    report = at_once(partitions, sqlite_store)

    assert set(report.check.orphaned.values()) == set(names)
    repaired = list(repair_redis(partitions, report))
    assert [text.split(": ")[0] for text in repaired] == ["partition 01", "partition 02"]
    assert [partitions[number].llen(broker_keys(partitions[number]).lists(QUEUE)[0]) for number in (1, 2)] == [1, 1]
    assert at_once(partitions, sqlite_store).is_wrong is False


def test_replays_are_found_wherever_they_are(partitions: Partitions) -> None:
    """In any partition."""
    enqueue_in(partitions[1], message_of(dead_letter=7))
    enqueue_in(partitions[2], message_of(dead_letter=8))

    assert find_replays(partitions, [7, 8, 9]) == {7, 8}


@pytest.mark.parametrize(
    ("key", "setting"),
    [
        ("feedback", "knows of no partitions"),
        ("{feedback:03.9999}feedback", "another number of partitions"),
        ("other:feedback", "`global_keyprefix` 'other:'"),
    ],
)
def test_strays_go_to_their_partitions(
    partitions: Partitions, sqlite_store: DeadLetterStore, key: str, setting: str
) -> None:
    """What a client without partitions, or with others, has left; a message without a request_id goes to the first."""
    names = [request_id_of_partition(partitions, number) for number in (0, 1, 2)]
    nameless = json.loads(foreign_message())
    nameless["body"] = json.dumps([[], {}, {}])
    partitions.home.lpush(key, *map(message_of, names), json.dumps(nameless).encode(), b"no message")

    (stray,) = find_strays(partitions, within=5).lists

    assert (stray.name, stray.entries) == (key, 5)
    assert setting in stray.setting
    assert move_home(partitions, stray) == 4
    lists = [client.llen(broker_keys(client).lists(QUEUE)[0]) for client in partitions]
    assert lists[:3] == [2, 1, 1]
    assert partitions.home.lrange(key, 0, -1) == [b"no message"]
    assert at_once(partitions, sqlite_store).balances is True


def test_a_move_between_nodes_that_is_cut_short_loses_nothing(
    partitions: Partitions, sqlite_store: DeadLetterStore
) -> None:
    """Its halves, with a kill in between: each message is there twice for a while, and both are accounted for."""
    name = request_id_of_partition(partitions, 1)
    messages = [message_of(name), message_of(name)]
    partitions.home.lpush("feedback", *messages)

    copy_to_partition(partitions[1], messages)
    assert at_once(partitions, sqlite_store).balances is True
    for stray in find_strays(partitions, within=5).lists:  # it is run again
        copy_to_partition(partitions[1], messages)
        assert drop_copied(partitions.home, stray.key, messages) == 2

    assert check(partitions[1]).balance.to_record()["accepted"] == 4
    assert not partitions.home.exists("feedback")
    assert at_once(partitions, sqlite_store).is_wrong is False


def test_a_partition_that_lost_its_data_is_named(partitions: Partitions, sqlite_store: DeadLetterStore) -> None:
    """Also while the others count so much that the sum grows; what it had is carried on, in that partition."""
    for client in partitions:
        count(client, accepted=10, delivered=7)
        enqueue_in(client, *[message_of()] * 3)
        count(client, accepted=-3)
    assert record(partitions, sqlite_store.engine).kind is Kind.FIRST
    assert record(partitions, sqlite_store.engine).kind is Kind.SAME
    lost = partitions[1]
    lost.delete(feedback_keys(lost).counts, broker_keys(lost).lists(QUEUE)[0])
    count(partitions[2], accepted=1000, delivered=1000)

    found = record(partitions, sqlite_store.engine)

    assert (found.kind, found.missing, [part.number for part in found.lost]) == (Kind.NEW, 3, [1])
    assert "of partition 01 was emptied" in found.summary()
    assert "with 10 accepted and 3 waiting" in found.summary()
    balances = [check(client).balance for client in partitions]
    assert accept(partitions, sqlite_store.engine, found, balances) == 3
    assert accept(partitions, sqlite_store.engine, found, balances) is None
    assert check(lost).balance.to_record() | {"missing": 0} == check(lost).balance.to_record()
    assert (check(lost).balance.accepted, check(lost).balance.counts["written_off"]) == (10, 3)
    assert record(partitions, sqlite_store.engine).kind is Kind.SAME


def test_an_older_partition_is_told_and_the_others_are_written_down(
    partitions: Partitions, sqlite_store: DeadLetterStore
) -> None:
    """One came back from a copy; what the others count meanwhile is known when they lose it in their turn."""
    for client in partitions:
        count(client, accepted=10, delivered=10)
    record(partitions, sqlite_store.engine)
    record(partitions, sqlite_store.engine)
    count(partitions[1], accepted=-4, delivered=-4)
    count(partitions[2], accepted=5, delivered=5)
    assert [part.number for part in record(partitions, sqlite_store.engine).lost] == [1]

    count(partitions[2], accepted=-1, delivered=-1)

    found = look_at_continuity(partitions, sqlite_store.engine)
    assert (found.kind, [part.number for part in found.lost]) == (Kind.OLDER, [1, 2])
    assert "of partitions 01, 02 is an older copy" in found.summary()


def test_a_whole_redis_that_was_emptied_is_missed_as_a_whole(
    partitions: Partitions, sqlite_store: DeadLetterStore
) -> None:
    """What waited in any of the partitions is missing."""
    enqueue(partitions, *request_ids(30))
    record(partitions, sqlite_store.engine)
    record(partitions, sqlite_store.engine)
    partitions.home.flushall()

    found = record(partitions, sqlite_store.engine)

    assert (found.kind, found.missing, len(found.lost)) == (Kind.NEW, 30, len(partitions))
    balances = [check(client).balance for client in partitions]
    assert accept(partitions, sqlite_store.engine, found, balances) == 30
    assert take_snapshot(partitions).balance.counts["written_off"] == 30
    assert record(partitions, sqlite_store.engine).kind is Kind.SAME


def test_a_partition_that_refuses_is_told_with_the_others(partitions: Partitions) -> None:
    """A key of another type: its partition is named, and what the others have is known."""
    enqueue(partitions, *request_ids(20))
    there = sum(partitions.number_of(name) != 1 for name in request_ids(20))
    client = partitions[1]
    client.delete(broker_keys(client).lists(QUEUE)[0])
    client.set(broker_keys(client).lists(QUEUE)[0], "no list")

    now = take_partial_snapshot(partitions)

    assert (now.queued, now.is_whole) == (there, False)
    assert [part.number for part in now.unavailable] == [1]
    with pytest.raises(redis.ResponseError, match="partition 01: the key"):
        take_snapshot(partitions)
    assert take_backlog(partitions).unfinished == there + 1


def test_a_redis_that_is_away_is_waited_for_once() -> None:
    """Of one Redis the first failure is that of all partitions."""
    with opened(f"redis://127.0.0.1:{free_port()}", 16, retries=0) as partitions:
        tried = []

        def ask(client: redis.Redis) -> None:
            tried.append(client)
            client.ping()

        answers = partitions.ask(ask)

        assert (len(tried), len(answers.errors)) == (1, 16)
        with pytest.raises(redis.ConnectionError) as error:
            take_snapshot(partitions)
    assert "partition" not in str(error.value)


def test_a_replay_goes_to_the_partitions_of_its_rows(partitions: Partitions, sqlite_store: DeadLetterStore) -> None:
    """Each row goes once, noted where its message is; a plan that has ended asks everywhere."""
    names = request_ids(12)
    with closing(sqlite_store):
        ids = [add(sqlite_store, a_record(an_event(request_id=name))) for name in names]
        steps = Steps(sqlite_store, partitions.home, partitions=partitions)
        plan = steps.plan()
        steps.run(plan)

        [name] = {note.decode().rpartition(":")[2] for note in partitions.home.scan_iter("*feedback:replay:*")}
        for number, client in enumerate(partitions):
            rows = {row for row, one in zip(ids, names, strict=True) if partitions.number_of(one) == number}
            assert client.llen(feedback_keys(client).prefix + LIST) == len(rows)
            noted = client.smembers(feedback_keys(client).replay + name)
            assert {int(row) for row in noted} == rows
        now = take_snapshot(partitions)
        assert (now.queued, now.balance.missing) == (12, 0)
        gone = [withhold(client, name, [ids[0], 999]) for client in partitions]
        assert sum(ids[0] in those for those in gone) == 1
        assert not any(999 in those for those in gone)
