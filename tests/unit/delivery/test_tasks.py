"""The adapter between Celery and the delivery."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import fakeredis
import pytest
from celery import Celery, current_task
from celery.canvas import Signature
from celery.exceptions import Reject, Retry
from kombu.exceptions import OperationalError
from kombu.utils.json import dumps

from producer.message import ENVELOPE, TASK
from worker.app import FeedbackApp, create_app
from worker.broker.in_flight import InFlightChannel
from worker.broker.lease_state import SharedLeaseState
from worker.broker.payload import PROBE, QUEUED_IN
from worker.broker.redelivery import Redelivery
from worker.clients.redis.batching import ScriptBatcher
from worker.delivery.tasks import DeadLettered, Waiting, register
from worker.policy.envelope import Envelope
from worker.policy.message import Message, PoisonMessage
from worker.policy.result import Completed, DeadLetteredResult, DeliveryResult, Redeliver
from worker.policy.retry import Reason
from worker.runtime.request import TaskRequest
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.delivery.service import DeliveryService

REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
WORDS = {"request_id": REQUEST_ID, "status": "true", "org": "acme", "group": "chat"}
HEADER = {"v": 1, "enqueued_at": "2026-01-31T12:00:00+00:00", "message_id": "first", "attempts": 2}


@dataclass
class FakeDelivery:
    """Ends as it is told, and remembers what it was given."""

    ending: DeliveryResult | Exception = field(default_factory=lambda: Completed(summary="delivered"))
    given: list[Message | PoisonMessage] = field(default_factory=list)

    def deliver(self, message: Message | PoisonMessage) -> DeliveryResult:
        """As of Delivery."""
        self.given.append(message)
        if isinstance(self.ending, Exception):
            raise self.ending
        return self.ending

    def now(self) -> datetime:
        """As of Delivery."""
        return datetime.now(UTC)


class Worker:
    """An app whose broker is a list in memory."""

    def __init__(self) -> None:
        self.app = Celery("test", broker="memory://", set_as_current=False)
        self.app.conf.update(task_default_queue="feedback", task_ignore_result=True)
        self.delivery = FakeDelivery()
        self.redis = fakeredis.FakeRedis()
        scripts = ScriptBatcher(self.redis)
        redelivery = Redelivery(lambda _: scripts, SharedLeaseState())
        register(self.app, lambda: cast("DeliveryService", self.delivery), lambda: redelivery, request=TaskRequest)
        self.task = self.app.tasks[TASK]

    def run(self, *args: Any, kwargs: dict[str, Any] | None = None, **request: Any) -> Any:
        """Run the task as a worker does that received this request."""
        received = {
            "id": REQUEST_ID,
            "args": args,
            "kwargs": WORDS if kwargs is None else kwargs,
            "retries": 4,
            "headers": {ENVELOPE: HEADER, "mine": "kept"},
            "task": TASK,
            "properties": {"delivery_tag": "this", "priority": 3, QUEUED_IN: "feedback"},
            "delivery_info": {"exchange": "", "routing_key": "feedback", "priority": 3},
            **request,
        }
        self.redis.hset("unacked", "this", "the message in flight")
        self.task.push_request(**received)
        try:
            return self.task.run(*received["args"], **received["kwargs"])
        finally:
            self.task.pop_request()

    def published(self) -> list[Any]:
        """Take what lies in the queue, in Redis or, where Celery itself published it, in the broker's memory."""
        entries = [
            *self.redis.lrange("feedback\x06\x163", 0, -1),
            *self.redis.zrange("feedback\x06\x163:delayed", 0, -1),
        ]
        self.redis.flushall()
        found: list[Any] = [SimpleNamespace(**json.loads(entry)) for entry in entries]
        with self.app.connection_for_read() as connection, connection.SimpleQueue("feedback") as queue:
            while queue.qsize():
                found.append(queue.get(block=False))
                found[-1].ack()
        return found


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker, with nothing in its queue."""
    worker = Worker()
    worker.published()
    yield worker
    worker.app.close()


def again(wait: timedelta | None, words: str = "retry in 12 s: 503 later") -> Redeliver:
    """An ending that comes again after `wait`, or at the end of its queue."""
    envelope = Envelope(enqueued_at=datetime(2026, 1, 31, tzinfo=UTC), message_id="first", attempts=3)
    return Redeliver(envelope=envelope.snoozed(), summary=words, due=None if wait is None else datetime.now(UTC) + wait)


def test_a_done_message_returns_its_words(worker: Worker) -> None:
    """They are the task's result, in the log and in Flower."""
    assert worker.run() == "delivered"


def test_a_request_is_read_as_a_message(worker: Worker) -> None:
    """Arguments, header and tag."""
    worker.run()

    [message] = worker.delivery.given
    assert isinstance(message, Message)
    assert message.event.request_id == REQUEST_ID
    assert (message.envelope.message_id, message.envelope.attempts) == ("first", 2)


@pytest.mark.parametrize(
    ("mark", "redelivered"), [({}, False), ({"redelivered": True}, True), ({"redelivered": 1}, False)]
)
def test_a_message_that_was_handed_out_before_is_known_by_its_mark(
    worker: Worker, mark: dict[str, Any], redelivered: bool
) -> None:
    """As the transport's scripts set it; the attempt before may have made a row."""
    worker.run(headers={ENVELOPE: HEADER, **mark})

    [message] = worker.delivery.given
    assert isinstance(message, Message)
    assert message.redelivered is redelivered


@pytest.mark.parametrize(
    ("properties", "identity"),
    [({"delivery_tag": "this"}, "this"), ({"delivery_tag": 5}, "5"), ({}, REQUEST_ID), (None, REQUEST_ID)],
)
def test_a_foreign_message_is_known_by_its_tag(
    worker: Worker, properties: dict[str, Any] | None, identity: str
) -> None:
    """Without one its id must do."""
    worker.run(properties=properties, headers=None)

    assert worker.delivery.given[0].envelope.message_id == identity


@pytest.mark.parametrize("headers", [None, {}, 5, "x", []])
def test_headers_of_any_shape_are_read_as_none(worker: Worker, headers: Any) -> None:
    """A foreign client's nonsense is no reason to fail."""
    worker.delivery.ending = again(timedelta(seconds=1))

    with pytest.raises(Waiting):
        worker.run(headers=headers)

    assert isinstance(worker.delivery.given[0], Message)
    assert worker.published()[0].headers[ENVELOPE] == worker.delivery.ending.envelope.to_header()


@pytest.mark.parametrize(
    ("args", "kwargs"), [((1, 2), {}), ((), {"self": 1, "task": 2}), ((), {**WORDS, "request": 1})]
)
def test_arguments_of_any_shape_reach_the_delivery(worker: Worker, args: Any, kwargs: dict[str, Any]) -> None:
    """What it can't read becomes a dead letter; Celery would drop what the task's signature does not take."""
    worker.run(*args, kwargs=kwargs)

    assert isinstance(worker.delivery.given[0], PoisonMessage)


def test_a_dead_letter_is_a_failure_in_its_own_words(worker: Worker) -> None:
    """Celery shows an exception by its repr."""
    worker.delivery.ending = DeadLetteredResult(
        reason=Reason.REJECTED, summary="dead letter: rejected 404 Request ID not found"
    )

    with pytest.raises(DeadLettered) as failure:
        worker.run()

    assert repr(failure.value) == str(failure.value) == "dead letter: rejected 404 Request ID not found"
    assert worker.published() == []


def test_a_wait_is_a_retry_in_its_own_words(worker: Worker) -> None:
    """Celery acknowledges the old message for a Retry, and shows its repr."""
    worker.delivery.ending = again(timedelta(seconds=12))

    with pytest.raises(Retry) as retry:
        worker.run()

    assert repr(retry.value) == str(retry.value) == "retry in 12 s: 503 later"
    assert retry.value.when == worker.delivery.ending.due


def test_the_message_is_published_anew_before_the_retry_is_raised(worker: Worker) -> None:
    """The transport puts it in the place of the one in flight."""
    worker.delivery.ending = again(timedelta(seconds=12))

    with pytest.raises(Retry):
        worker.run()

    [message] = worker.published()
    args, kwargs, _ = json.loads(message.body)
    assert (args, kwargs) == ([], WORDS)
    assert (message.headers["task"], message.headers["id"]) == (TASK, REQUEST_ID)
    assert message.headers["retries"] == 5
    assert message.headers[ENVELOPE] == worker.delivery.ending.envelope.to_header()
    assert message.headers["mine"] == "kept"
    assert message.properties["priority"] == 3
    assert message.properties["delivery_tag"] != "this"


def test_a_message_comes_again_when_it_is_due(worker: Worker) -> None:
    """As its ETA."""
    worker.delivery.ending = again(timedelta(seconds=12))

    with pytest.raises(Retry):
        worker.run()

    assert datetime.fromisoformat(worker.published()[0].headers["eta"]) == worker.delivery.ending.due


def test_a_message_that_is_due_at_once_has_no_eta(worker: Worker) -> None:
    """It goes to the end of its queue."""
    worker.delivery.ending = again(None, "hold: 401 Unauthorized")

    with pytest.raises(Retry):
        worker.run()

    assert "eta" not in worker.published()[0].headers


def test_a_probe_is_known_by_its_header_and_is_none_when_it_comes_again(worker: Worker) -> None:
    """The transport marks the one message that it hands out; the next time it is a message like any other."""
    worker.delivery.ending = again(None)

    with pytest.raises(Retry):
        worker.run(headers={ENVELOPE: HEADER, PROBE: True})

    [message] = worker.delivery.given
    assert isinstance(message, Message)
    assert message.probe
    assert PROBE not in worker.published()[0].headers


def test_the_trace_is_read_and_comes_again_with_the_message(worker: Worker) -> None:
    """What is no text is none."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
    worker.delivery.ending = again(timedelta(seconds=1))

    with pytest.raises(Retry):
        worker.run(headers={ENVELOPE: HEADER, **trace})
    with pytest.raises(Retry):
        worker.run(headers={ENVELOPE: HEADER, "traceparent": 5, "tracestate": None})

    assert [dict(message.trace) for message in worker.delivery.given] == [trace, {}]
    assert worker.published()[0].headers.items() >= trace.items()


def test_an_expiry_of_a_foreign_client_goes_along(worker: Worker) -> None:
    """It said how long the event is worth delivering."""
    worker.delivery.ending = again(timedelta(seconds=1))

    with pytest.raises(Retry):
        worker.run(expires="2099-01-01T00:00:00+00:00")

    assert worker.published()[0].headers["expires"].startswith("2099-01-01")


def test_a_message_that_cannot_be_published_goes_back(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Task.retry` would reject it for good; here the broker keeps it."""
    worker.delivery.ending = again(timedelta(seconds=1))

    def broker_unavailable(*_: object, **__: object) -> None:
        raise OperationalError("Error 111 connecting to 127.0.0.1:6379. Connection refused.")

    monkeypatch.setattr(worker.redis, "pipeline", broker_unavailable)

    with pytest.raises(Reject) as rejected:
        worker.run()

    assert rejected.value.requeue is True


def test_a_delivery_that_cannot_be_made_gives_the_message_back(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Celery acknowledges a task that fails, and the event would be lost."""
    worker.delivery.ending = RuntimeError("no parts")

    with pytest.raises(Reject) as rejected:
        worker.run()

    assert rejected.value.requeue is True
    assert "fault of ours" in caplog.text


def test_each_app_has_a_delivery_of_its_own(worker: Worker) -> None:
    """Two apps in one process, as in a test or a migration from one broker to another."""
    other = Worker()

    other.run()
    other.app.close()

    assert (len(other.delivery.given), len(worker.delivery.given)) == (1, 0)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FeedbackApp]:
    """The real app, on settings of its own."""
    app = create_app(
        load_settings(
            _env_file=None,
            aquilax_api_key="key",
            feedback_broker_url="redis://:t0p-s3cret@127.0.0.1:1/0",
            feedback_database_url=f"sqlite:///{tmp_path}/x.sqlite3",
            feedback_concurrency=7,
        )
    )
    yield app
    app.close()


def test_the_tasks_options_are_these(app: Celery) -> None:
    """Each keeps an event from being lost, or an expected failure from shouting."""
    task = app.tasks[TASK]

    assert task.acks_late is True
    assert task.reject_on_worker_lost is True
    assert task.acks_on_failure_or_timeout is True
    assert task.ignore_result is True
    assert task.throws == (DeadLettered,)
    assert task.typing is False
    assert [name for name in app.tasks if not name.startswith("celery.")] == [TASK, "feedback.advance_replay"]


def test_the_apps_configuration_is_this(app: Celery) -> None:
    """What must not drift."""
    pinned = {
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_default_queue": "feedback",
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "result_backend": None,
        "worker_pool": "worker.runtime.pool:TaskPool",
        "worker_concurrency": 7,
        "worker_prefetch_multiplier": 2,
        "worker_send_task_events": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
    }

    assert {name: app.conf[name] for name in pinned} == pinned


def test_a_worker_consumes_the_queue_of_replays_beside_that_of_feedback(app: Celery) -> None:
    """Unless its operator names the queues; the steps of plans never go to the queue of feedback."""
    assert set(app.amqp.queues.consume_from) == {"feedback", "feedback-replays"}
    assert app.amqp.router.route({}, "feedback.advance_replay")["queue"].name == "feedback-replays"
    assert app.amqp.router.route({}, TASK)["queue"].name == "feedback"


def test_the_transport_counts_and_holds_the_queue_of_feedback(app: Celery) -> None:
    """What the ledger and the hold write, the transport must read."""
    options = app.conf.broker_transport_options

    assert options["counts"] == {"feedback": "feedback:counts"}
    assert options["holds"] == {"feedback": "feedback:hold"}
    assert options["lease"] == 20


def test_what_the_store_settles_the_transport_does_not_settle_again(app: FeedbackApp) -> None:
    """Both have one record of it, and the metrics read the leases that were lost there."""
    with app.connection_for_read() as connection:
        assert connection.transport_options["shared_leases"] is app.feedback.leases
        assert connection.transport_options["activity"] is app.feedback.activity
    assert "shared_leases" in InFlightChannel.from_transport_options


def test_a_worker_can_show_its_transport_options(app: FeedbackApp) -> None:
    """`inspect stats` sends them as Kombu's JSON."""
    with app.connection_for_read() as connection:
        shown = json.loads(dumps(connection.info()))

    assert shown["transport_options"]["shared_leases"] == {"lost": 0}


def test_the_broker_can_never_hang_a_worker(app: Celery) -> None:
    """Kombu's own timeouts are none."""
    options = app.conf.broker_transport_options

    assert 0 < options["socket_connect_timeout"] <= 10
    assert 0 < options["socket_timeout"] <= 60


def test_the_app_does_not_show_the_brokers_password(app: Celery) -> None:
    """`celery report` and the banner print the app."""
    assert "t0p-s3cret" not in f"{app!r} {app.connection_for_write().as_uri()} {app.conf.humanize()}"


def test_the_parts_are_made_when_first_needed_and_closed(app: FeedbackApp) -> None:
    """After a pool has forked, not before; many threads get the same one."""
    parts = app.feedback
    assert parts._delivery is None

    delivery = parts.delivery
    assert parts.delivery is delivery

    parts.close()
    parts.close()
    assert parts._delivery is None


def test_a_message_that_another_thread_publishes_takes_over_all_the_same(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Celery publishes under a scheduler, it does in another thread; the transport asks which task publishes."""
    running: list[tuple[str, str]] = []
    publish = Signature.apply_async

    def look(signature: Signature, **options: Any) -> Any:
        running.append((current_task.name, current_task.request.id))
        return publish(signature, **options)

    def in_another_thread(call: Any, *args: Any) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(call, *args).result()

    monkeypatch.setattr(Signature, "apply_async", look)
    monkeypatch.setattr("worker.concurrency.scheduler.run_in_thread", in_another_thread)
    worker.delivery.ending = again(timedelta(seconds=12))

    with pytest.raises(Retry):
        worker.run(shadow="another name")

    assert running == [(TASK, REQUEST_ID)]
    assert not current_task
