"""The queue as Prometheus sees it: looked at once, and never in the way of the other metrics."""

from __future__ import annotations

import mmap
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict

from producer import FeedbackProducer
from worker.accounting.held_orgs import HeldOrgs, look_at_held_orgs
from worker.accounting.snapshot import PartitionLook, Snapshot, sum_of, take_snapshot
from worker.broker.lease_state import SharedLeaseState
from worker.clients.redis.partitions import Partitions
from worker.delivery.hold import Hold, HoldKind, HoldState
from worker.delivery.org_holds import OrgHold
from worker.observability.collectors import OfPool, OfProcess, OfQueue
from worker.observability.org_metrics import OfKeysFile, OfOrgs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import RedisServer

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


def snapshot(*, oldest: datetime | None = None, hold: HoldState | None = None) -> Snapshot:
    """A moment with 3 queued, 2 in flight and 1 scheduled."""
    counts = {"accepted": 42}
    return Snapshot(at=NOON, counts=counts, queued=3, in_flight=2, scheduled=1, oldest=oldest, hold=hold, holders=())


def held(kind: HoldKind) -> HoldState:
    """A hold."""
    return HoldState(kind=kind, comment="401", since=NOON, actor="ada", probes=0, probe_at=None)


class Redis:
    """Is looked at, and counts how often; or is unavailable."""

    def __init__(self, moment: Snapshot) -> None:
        self.moment = moment
        self.looks = 0
        self.fails: Exception | None = None
        self.clock = 100.0
        self.registry = CollectorRegistry()
        self.registry.register(OfQueue(self.look, monotonic=lambda: self.clock))
        self.looks = 0  # registering may look
        self.clock += 10

    def look(self) -> Snapshot:
        """See `take_snapshot`."""
        self.looks += 1
        if self.fails is not None:
            raise self.fails
        return self.moment

    def scrape(self) -> dict[str, float]:
        """Every series, as Prometheus reads it in one go."""
        return {
            "".join(
                [sample.name.removeprefix("aquilax_feedback_"), *(f" {label}" for label in sample.labels.values())]
            ): (sample.value)
            for family in self.registry.collect()
            for sample in family.samples
        }


def test_the_queue_is_told_in_numbers() -> None:
    """Where the messages are, how old the oldest is, and that nothing is held."""
    assert Redis(snapshot(oldest=NOON - timedelta(minutes=2))).scrape() == {
        "redis_up": 1,
        "queued_messages": 3,
        "in_flight_messages": 2,
        "scheduled_messages": 1,
        "oldest_age_seconds": 120,
        "accepted_total": 42,
        "hold locked_out": 0,
        "hold breaker": 0,
        "hold operator": 0,
    }


def test_nothing_that_waits_is_no_age() -> None:
    """An alert on it shall end when the queue is empty."""
    assert Redis(snapshot()).scrape()["oldest_age_seconds"] == 0


@pytest.mark.parametrize("kind", list(HoldKind))
def test_a_hold_is_one_of_its_kind(kind: HoldKind) -> None:
    """Who has to act depends on the kind."""
    series = Redis(snapshot(hold=held(kind))).scrape()

    assert {other: series[f"hold {other}"] for other in HoldKind} == {other: other is kind for other in HoldKind}


def test_one_look_serves_all_who_ask_within_a_second() -> None:
    """However many Prometheuses there are."""
    redis_ = Redis(snapshot())

    redis_.scrape()
    redis_.clock += 0.9
    redis_.scrape()
    assert redis_.looks == 1

    redis_.clock += 0.1
    redis_.scrape()
    assert redis_.looks == 2


def test_those_who_ask_at_the_same_time_wait_for_one_look() -> None:
    """Each request is a thread of its own."""
    redis_ = Redis(snapshot())
    threads = [threading.Thread(target=redis_.scrape) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert redis_.looks == 1


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), ValueError("a hold of an unknown kind")])
def test_a_redis_that_is_away_is_told_and_fails_nothing(error: Exception) -> None:
    """What was a moment ago is not told as what is."""
    redis_ = Redis(snapshot())
    redis_.scrape()

    redis_.fails = error
    redis_.clock += 1
    assert redis_.scrape() == {"redis_up": 0}

    redis_.fails = None
    redis_.clock += 1
    assert redis_.scrape()["redis_up"] == 1


def test_it_is_so_with_a_real_redis(broker: RedisServer) -> None:
    """Over Valkey and Redis."""
    with FeedbackProducer(broker.url, timeout=5) as producer, redis.Redis(port=broker.port) as client:
        producer.enqueue(REQUEST_ID, True, org="org", group="group")
        Hold(client, actor="me").hold("maintenance", actor="me")
        registry = CollectorRegistry()
        registry.register(OfQueue(lambda: take_snapshot(Partitions([client]))))

        assert registry.get_sample_value("aquilax_feedback_queued_messages") == 1
        assert registry.get_sample_value("aquilax_feedback_accepted_total") == 1
        assert registry.get_sample_value("aquilax_feedback_hold", {"kind": "operator"}) == 1


def test_a_process_tells_its_release_and_the_leases_that_it_lost() -> None:
    """Neither needs a query."""
    leases = SharedLeaseState()
    leases.lost = 3
    registry = CollectorRegistry()
    registry.register(OfProcess("1.2.3", leases))

    assert registry.get_sample_value("aquilax_feedback_leases_lost_total") == 3
    assert registry.get_sample_value("aquilax_feedback_build_info", {"version": "1.2.3"}) == 1


def test_a_process_that_has_just_begun_to_count_fails_no_scrape(tmp_path: Path) -> None:
    """Its file is empty for a moment; then what is in it is told."""
    file = tmp_path / "counter_1.db"
    file.touch()
    pool = OfPool(str(tmp_path))
    assert list(pool.collect()) == []

    begun = threading.Timer(0.05, lambda: file.write_bytes(bytes(mmap.PAGESIZE)))
    other: Any = MmapedDict(str(tmp_path / "counter_2.db"))  # type: ignore[no-untyped-call]  # it has no types
    other.write_value('["a_total", "a_total", {}, "A."]', 3.0, 0.0)
    begun.start()
    [family] = pool.collect()
    begun.join()
    other.close()

    assert [(sample.name, sample.value) for sample in family.samples] == [("a_total", 3.0)]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """Before the worker starts."""
    with pytest.raises(ValueError, match="dir"):
        OfPool(str(tmp_path / "not-there"))


def several(*parts: Snapshot | None) -> Snapshot:
    """Several partitions; None is one that is away."""
    away = redis.ConnectionError("away")
    return sum_of(
        [PartitionLook(number=number, snapshot=part, error=None if part else away) for number, part in enumerate(parts)]
    )


def test_partitions_are_told_one_by_one_beside_their_sums() -> None:
    """Where there are several."""
    series = Redis(several(snapshot(oldest=NOON - timedelta(minutes=2)), snapshot())).scrape()

    assert (series["queued_messages"], series["accepted_total"], series["oldest_age_seconds"]) == (6, 84, 120)
    assert {name: value for name, value in series.items() if name.endswith(" 01")} == {
        "partition_up 01": 1,
        "partition_queued_messages 01": 3,
        "partition_in_flight_messages 01": 2,
        "partition_scheduled_messages 01": 1,
        "partition_oldest_age_seconds 01": 0,
        "partition_workers 01": 0,
    }


def test_without_one_of_them_there_are_no_sums() -> None:
    """They would be too low, and a count that falls would look like one that began again; the hold is known."""
    series = Redis(several(snapshot(hold=held(HoldKind.OPERATOR)), None)).scrape()

    assert [name for name in series if name.endswith(" 01")] == ["partition_up 01"]
    assert (series["partition_up 01"], series["partition_queued_messages 00"]) == (0, 3)
    assert (series["redis_up"], series["hold operator"]) == (1, 1)
    assert not {"queued_messages", "accepted_total", "oldest_age_seconds"} & series.keys()


def test_without_the_first_one_the_hold_is_not_told() -> None:
    """It stands there."""
    series = Redis(several(None, snapshot())).scrape()

    assert [name for name in series if name.startswith("hold")] == []


def test_held_orgs_are_told_by_kind_and_a_redis_that_is_away_fails_nothing() -> None:
    """With what is set aside for them, and what is going back; and whether the file of keys can be used."""
    state = HoldState(kind=HoldKind.LOCKED_OUT, comment="401", since=None, actor="", probes=0, probe_at=None)
    held = HeldOrgs(holds=(OrgHold(scope="key:a", state=state),), set_aside={"key:a": 7}, going_back=2)
    registry = CollectorRegistry()
    registry.register(OfOrgs(lambda: held))
    registry.register(OfKeysFile(lambda: "keys.json can't be read"))

    assert registry.get_sample_value("aquilax_feedback_org_holds", {"kind": "locked_out"}) == 1
    assert registry.get_sample_value("aquilax_feedback_org_holds", {"kind": "operator"}) == 0
    assert registry.get_sample_value("aquilax_feedback_set_aside_messages") == 9
    assert registry.get_sample_value("aquilax_feedback_keys_file_usable") == 0
    away = CollectorRegistry()
    away.register(OfOrgs(lambda: look_at_held_orgs(Partitions([redis.Redis(port=1)]))))
    assert list(away.collect()) == []
