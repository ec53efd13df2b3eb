"""The history in a real Redis: written once, read fast, small, gone by itself, and taken along."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.cut_short import cut_short
from tests.support.places import Places, places_of
from tests.support.processes import VALKEY, redis_server
from worker.accounting.history import relocation as moving_history
from worker.accounting.history.fields import (
    HOURS,
    LATENCY,
    MINUTES,
    EventField,
    PeakField,
    ResponseField,
)
from worker.accounting.history.flusher import HistoryFlusher
from worker.accounting.history.reading import HistoryRange, read_history
from worker.accounting.history.sampler import add_sample
from worker.accounting.history.store import write_counts
from worker.accounting.relocation import move
from worker.accounting.snapshot import snapshot_of
from worker.clients.redis.connections import redis_client
from worker.policy.classification import Response, classify
from worker.policy.result import Completed, DeadLetteredResult
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.support.processes import RedisServer

pytestmark = pytest.mark.usefixtures("keys_are_declared")


@pytest.fixture
def places(broker: RedisServer) -> Iterator[Places]:
    """An empty queue."""
    with places_of(broker) as places:
        yield places


def now_of(places: Places) -> float:
    """The time by Redis' clock."""
    return float(places.client.time()[0])


def minute_of(places: Places) -> int:
    """When this minute began."""
    return MINUTES.start_of(now_of(places))


@pytest.mark.parametrize("shown", HistoryRange)
def test_what_was_counted_is_in_every_resolution(places: Places, shown: HistoryRange) -> None:
    """Two workers' counts of one minute are added up, and the newest bucket is the last one."""
    minute = minute_of(places)
    for writer in ("one", "other"):
        counts = {EventField.DELIVERED.value: 3, ResponseField.SUCCESS.value: 3, LATENCY[20]: 2, LATENCY[40]: 1}
        assert write_counts(places.client, {minute: counts}, writer=writer, number=1, now=minute)

    history = read_history(places.client, shown, until=datetime.fromtimestamp(minute, UTC))

    assert len(history.buckets) == shown.buckets
    last = history.buckets[-1]
    assert last.at <= datetime.fromtimestamp(minute, UTC) < last.until
    assert (last.sum(EventField.DELIVERED), last.responses, history.total.sum(EventField.DELIVERED)) == (6, 6, 6)
    assert last.latency(0.5) == pytest.approx(0.0284, rel=0.09)  # bucket 20 begins at 26.9 ms
    assert history.buckets[0].latency(0.5) is None
    assert history.since == datetime.fromtimestamp(minute, UTC)


def test_a_writing_that_is_sent_again_is_counted_once(places: Places) -> None:
    """Its answer was lost, and whether it arrived is unknown."""
    minute = minute_of(places)
    write = {minute: {EventField.DELIVERED.value: 5}}

    assert write_counts(places.client, write, writer="w", number=1, now=minute)
    assert not write_counts(places.client, write, writer="w", number=1, now=minute)
    assert write_counts(places.client, write, writer="w", number=2, now=minute)

    assert read_history(places.client, HistoryRange.HOUR).total.sum(EventField.DELIVERED) == 10


def test_every_bucket_goes_by_itself(places: Places) -> None:
    """After its own time, however late it was written; one whose time is over is not made again."""
    minute = minute_of(places)
    late = minute - 3 * 24 * 3600
    write_counts(places.client, {minute: {"del": 1}, late: {"del": 1}}, writer="w", number=1, now=minute)

    kept = {key: places.client.ttl(key) for key in places.client.scan_iter("feedback:history:*")}
    minutes = [left for key, left in kept.items() if b":minute:" in key]
    hours = [left for key, left in kept.items() if b":hour:" in key]

    assert len(minutes) == 1
    assert MINUTES.kept - 60 <= minutes[0] <= MINUTES.kept + 60
    assert sorted(left > HOURS.kept - 2 * 24 * 3600 for left in hours) == [False, True]
    assert all(left > 0 for left in kept.values())


def test_the_queue_is_sampled_once_for_the_fleet(places: Places) -> None:
    """How deep, how old, and what was accepted since the last sample; of the first one nothing is known yet."""
    places.enqueue(3)
    first = snapshot_of(places.client)
    assert add_sample(places.client, first)
    places.enqueue(4)
    later = snapshot_of(places.client)
    later = replace(later, at=first.at + timedelta(seconds=60))

    assert add_sample(places.client, later)

    total = read_history(places.client, HistoryRange.HOUR, until=later.at).total
    assert total.sum(EventField.ACCEPTED) == 4
    assert (total.peak(PeakField.QUEUED), total.peak(PeakField.SCHEDULED)) == (7, 0)
    assert total.peak(PeakField.OLDEST) is not None


def test_of_two_workers_that_sample_at_once_one_counts(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's look at the last sample is too old by then."""
    places.enqueue(3)
    first = snapshot_of(places.client)
    add_sample(places.client, first)
    places.enqueue(2)
    later = replace(snapshot_of(places.client), at=first.at + timedelta(seconds=60))
    stored = places.client.hget("feedback:history", "sample")
    assert add_sample(places.client, later)

    monkeypatch.setattr(places.client, "hget", lambda *_: stored)
    assert not add_sample(places.client, later)

    assert read_history(places.client, HistoryRange.HOUR, until=later.at).total.sum(EventField.ACCEPTED) == 2


def test_nothing_is_recorded_of_nothing(places: Places) -> None:
    """An empty history is no error."""
    history = read_history(places.client, HistoryRange.WEEK)

    assert history.since is None
    assert history.total.counts == {}
    assert history.to_record()["buckets"][0]["queued"] is None


def test_what_another_program_wrote_is_passed_over(places: Places) -> None:
    """In a field, in a bucket's key, and in the hash of the history."""
    minute = minute_of(places)
    key = f"feedback:history:minute:{minute // 60}"
    places.client.hset(key, mapping={"del": "abc", "queued": "9" * 30, "of a newer release": "3", "acc": "2"})
    places.client.set(f"feedback:history:minute:{minute // 60 - 1}", "abc")
    places.client.hset("feedback:history", mapping={"since": "abc", "sample": "abc"})

    write_counts(places.client, {minute: {"del": 1, "dup": 1}}, writer="w", number=1, now=minute)
    history = read_history(places.client, HistoryRange.HOUR, until=datetime.fromtimestamp(minute, UTC))

    assert history.total.counts == {"acc": 2, "dup": 1}


def test_a_process_writes_what_it_counts_and_the_rest_as_it_ends(places: Places) -> None:
    """Off the way of its deliveries: they count in memory."""
    flusher = HistoryFlusher(_client_of(places))
    flusher.start()
    response = Response(status=503, took=timedelta(milliseconds=200))
    flusher.tally.responded(response, classify(response))
    flusher.tally.ended(DeadLetteredResult(reason=Reason.EXHAUSTED, summary=""))
    assert not places.client.exists("feedback:history")

    flusher.close()

    total = read_history(places.client, HistoryRange.HOUR).total
    assert (total.sum(ResponseField.SERVER_ERROR), total.failures, total.sum(Reason.EXHAUSTED)) == (1, 1, 1)
    assert total.latency(0.5) == pytest.approx(0.2, rel=0.09)


def test_while_redis_is_away_it_waits_and_is_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each minute stays what it was, for an hour; then the oldest is given up. It is said once."""
    caplog.set_level(logging.INFO)
    clock = [1_769_860_800.0]
    with redis_server(VALKEY, tmp_path) as server, places_of(server) as places:
        flusher = HistoryFlusher(_client_of(places), now=lambda: clock[0])
        places.client.config_set("maxmemory", 1)
        for _ in range(100):
            flusher.tally.ended(Completed(summary="delivered"))
            flusher.flush(clock[0])
            clock[0] += 60
        assert not places.client.exists("feedback:history")
        places.client.config_set("maxmemory", 0)

        flusher.flush(clock[0])

        history = read_history(places.client, HistoryRange.HOUR, until=datetime.fromtimestamp(clock[0] - 60, UTC))
        delivered = [bucket.sum(EventField.DELIVERED) for bucket in history.buckets]
        flusher.close()
    assert set(delivered) == {1}
    assert [record.levelname for record in caplog.records if "history" in record.message] == ["INFO"]


def _client_of(places: Places) -> redis.Redis:
    options = places.client.connection_pool.connection_kwargs
    return redis_client(f"redis://127.0.0.1:{options['port']}/0", connections=1, retries=0)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Places]:
    """The Redis that is moved to."""
    with redis_server(VALKEY, tmp_path) as server, places_of(server) as places:
        yield places


@pytest.mark.parametrize("cut_at", [None, 1, 3])
def test_it_moves_along_once(places: Places, new: Places, monkeypatch: pytest.MonkeyPatch, cut_at: int | None) -> None:
    """It is added to what the new Redis has, wherever the move is cut short; and nothing was accepted by moving."""
    minute = minute_of(places)
    places.enqueue(10)
    for each in (places, new):
        add_sample(each.client, snapshot_of(each.client))
        write_counts(each.client, {minute: {"del": 3, "queued": 0}}, writer="w", number=1, now=minute)
    if cut_at:
        with cut_short(monkeypatch, moving_history, ("add_buckets",), at=cut_at):
            list(move(places.partitions, new.partitions))

    said = list(move(places.partitions, new.partitions))

    after = snapshot_of(new.client)
    add_sample(new.client, replace(after, at=after.at + timedelta(seconds=60)))
    total = read_history(new.client, HistoryRange.DAY).total
    assert (total.sum(EventField.DELIVERED), total.sum(EventField.ACCEPTED)) == (6, 0)
    assert total.peak(PeakField.QUEUED) == 10
    assert any("parts of the history moved" in line for line in said)
    assert not places.client.keys("*history*")
