"""Who acknowledges: the thread that is at it, else as Celery has it; how much is fetched for a resized pool."""

from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import fakeredis
import pytest
from celery.concurrency.solo import TaskPool as SoloPool
from celery.worker import state
from kombu.common import QoS
from kombu.message import Message as KombuMessage

from producer.message import TASK
from tests.support.processes import eventually
from worker.app import create_app
from worker.broker.payload import HELD_IN
from worker.database.errors import DeadLetterStoreUnavailable
from worker.delivery.hold import Hold
from worker.delivery.idempotency import IdempotencyStore
from worker.delivery.org_holds import OrgHolds
from worker.delivery.service import DeliveryService
from worker.policy.envelope import Envelope
from worker.policy.message import PoisonMessage
from worker.runtime.consumer import Consumer
from worker.runtime.pool import TaskPool
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.policy.dead_letter import DeadLetterRecord


class Hub:
    """Celery's event loop, which does later what it is told."""

    def __init__(self) -> None:
        self.later: list[Any] = []

    def call_soon(self, call: Any) -> None:
        """Take it."""
        self.later.append(call)


@pytest.mark.parametrize(("pool", "at_once"), [(TaskPool, True), (SoloPool, False)], ids=["ours", "another"])
def test_a_message_is_acknowledged_where_its_task_ran(pool: type[Any], at_once: bool) -> None:
    """The event loop is not woken for it."""
    consumer, hub = Consumer.__new__(Consumer), Hub()
    consumer.hub, consumer.pool = cast("Any", hub), object.__new__(pool)
    said: list[str] = []

    consumer.call_soon_ack(said.append, "acknowledged")

    assert said == (["acknowledged"] if at_once else [])
    assert len(hub.later) == (0 if at_once else 1)


class Pool:
    """A pool of so many places."""

    def __init__(self, places: int) -> None:
        self.num_processes = places


class Scaler:
    """An autoscaler of at most so many."""

    def __init__(self, most: int) -> None:
        self.max_concurrency = most


def consumer_of(places: int, *, most: int | None = None, fetches: int) -> Any:
    """A consumer of a pool, and perhaps an autoscaler, that fetches two messages for each place."""
    consumer: Any = Consumer.__new__(Consumer)
    consumer.pool, consumer.controller = Pool(places), SimpleNamespace(autoscaler=most and Scaler(most))
    consumer.prefetch_multiplier, consumer.initial_prefetch_count = 2, fetches
    consumer.qos = QoS(lambda **_: None, fetches)
    return consumer


@pytest.mark.parametrize(
    ("places", "fetches", "after"),
    [(7, 4, 14), (1, 40, 2), (3, 6, 6), (0, 4, 1), (10**9, 4, 0xFFFF)],
    ids=["grown", "shrunk", "as before", "to nothing", "beyond what Kombu counts"],
)
def test_what_is_fetched_follows_the_pool(places: int, fetches: int, after: int) -> None:
    """Whatever a remote control has said: it is the pool that knows."""
    consumer = consumer_of(places, fetches=fetches)

    consumer._update_prefetch_count(5)

    assert (consumer.qos.value, consumer.initial_prefetch_count) == (after, after)


@pytest.mark.parametrize(("change", "after"), [(5, 30), (-5, 10)])
def test_what_is_fetched_follows_an_autoscalers_most(change: int, after: int) -> None:
    """Not how many places there are just now; neither when a lost connection is made again."""
    consumer = consumer_of(2, most=10, fetches=20)

    consumer._update_prefetch_count(change)

    assert (consumer.qos.value, consumer.max_prefetch_count) == (after, 20)


class Table:
    """A dead-letter table that is unavailable at first, and notes which thread calls it."""

    def __init__(self) -> None:
        self.fails = True
        self.callers: list[threading.Thread] = []
        self.records: list[DeadLetterRecord] = []

    def add(self, record: DeadLetterRecord) -> bool:
        """See `DeadLetterStore`."""
        self.callers.append(threading.current_thread())
        if self.fails:
            raise DeadLetterStoreUnavailable("gone")
        self.records.append(record)
        return True

    def close(self) -> None:
        """See `DeadLetterStore`."""


class PoisonScene:
    """Celery's consumer with our pool, in this thread as its event loop; Redis and the table are fakes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table, self.redis = Table(), fakeredis.FakeRedis()
        self.app = create_app(load_settings(aquilax_api_key="key"))
        idempotency = IdempotencyStore(self.redis, ttl=timedelta(days=1), lease=timedelta(seconds=40))
        service = DeliveryService(
            aquilax=cast("Any", SimpleNamespace(close=lambda: None)),
            idempotency=idempotency,
            hold=Hold(self.redis, actor="worker"),
            org_holds=OrgHolds(self.redis, actor="worker"),
            dead_letters=cast("Any", self.table),
            policy=self.app.feedback.settings.retry_policy,
        )
        monkeypatch.setattr(self.app.feedback, "_delivery", service)
        # A worker makes its app the current one of all threads.
        monkeypatch.setattr("celery.app.trace.current_app", SimpleNamespace(_get_current_object=lambda: self.app))
        self.pool = TaskPool(2)
        controller = SimpleNamespace(state=state, autoscaler=None, use_eventloop=True)
        consumer: Any = Consumer(
            lambda request: request.execute_using_pool(self.pool),
            hostname="w",
            pool=self.pool,
            app=self.app,
            timer=Mock(),
            controller=controller,
            hub=object(),
        )
        consumer.event_dispatcher = None
        consumer.update_strategies()
        self.receive = consumer.create_task_handler()
        self.qos = Mock()

    def message(self) -> Any:
        """A message that is no event, in flight."""
        self.redis.hset("unacked", "tag", "in flight")
        channel = SimpleNamespace(qos=self.qos, basic_ack=self.qos.ack, no_ack_consumers=None)
        properties = {"delivery_tag": "tag", HELD_IN: "", "delivery_info": {"exchange": "", "routing_key": "feedback"}}
        return KombuMessage(
            body=b"5",
            channel=channel,
            delivery_tag="tag",
            content_type="application/json",
            content_encoding="utf-8",
            headers={"task": TASK, "id": "i"},
            properties=properties,
            accept={"application/json"},
        )


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[PoisonScene]:
    """A consumer that gets poison."""
    scene = PoisonScene(monkeypatch)
    yield scene
    scene.pool.on_stop()
    scene.app.feedback.close()


def test_poison_makes_no_database_call_on_the_event_loop(poison: PoisonScene) -> None:
    """It waits in Redis, as it came, while the table is unavailable; then it is a dead letter, counted once."""
    poison.receive(poison.message())
    eventually(lambda: poison.qos.defer.called, what="it waits in Redis")
    assert poison.qos.defer.call_args.args == ("tag",)
    assert not poison.qos.ack.called

    poison.table.fails = False
    poison.receive(poison.message())
    eventually(lambda: poison.qos.ack.called, what="it is acknowledged")

    assert threading.main_thread() not in poison.table.callers
    assert len(poison.table.callers) == 2
    [record] = poison.table.records
    assert b'"body": "5"' in (record.raw or b"")
    counts = cast("dict[bytes, bytes]", poison.redis.hgetall("feedback:counts"))
    assert {name.decode(): int(count) for name, count in counts.items()} == {
        "dead": 1,
        "dead:invalid": 1,
        "dead_letters_inserted": 1,
    }
    assert not poison.redis.exists("unacked")


def test_poison_reaches_a_child_process_whole() -> None:
    """Celery's pool of processes pickles it."""
    poison = PoisonMessage(raw=b"?", problem="no", envelope=Envelope(enqueued_at=datetime.now(UTC), message_id="m"))

    assert pickle.loads(pickle.dumps(poison)) == poison  # noqa: S301 - our own
