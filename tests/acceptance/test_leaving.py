"""How a worker comes and goes: it refuses a Redis that loses data, shows that it consumes, leaves nothing behind."""

from __future__ import annotations

import json
import signal
import socket
import time
import uuid
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from producer import FeedbackEvent, FeedbackProducer
from tests.support.processes import eventually
from worker.sandbox.stack import StackError

if TYPE_CHECKING:
    import redis

    from worker.sandbox.stack import LocalStack, Part

HANGS = ["--latency=60"]


@pytest.fixture
def stack(stack: LocalStack) -> LocalStack:
    """A broker and a database, and a worker's patience that outlasts these tests."""
    stack.environment |= {"FEEDBACK_REQUEST_TIMEOUT": "100", "FEEDBACK_CONCURRENCY": "4"}
    return stack


def send(stack: LocalStack, count: int) -> list[str]:
    """Press so many times, and return the request_ids in their order."""
    events = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="o", group="g") for _ in range(count)]
    with FeedbackProducer(stack.environment["FEEDBACK_BROKER_URL"], timeout=5) as producer:
        producer.enqueue_many(events)
    return [event.request_id for event in events]


def queued(broker: redis.Redis) -> list[str]:
    """The request_ids in the queue, the next one first."""
    entries = broker.lrange("feedback", 0, -1)
    return [json.loads(json.loads(entry)["body"])[1]["request_id"] for entry in reversed(entries)]


def ended(part: Part, within: float) -> float:
    """Wait for a worker's end; return the seconds it took."""
    since = time.monotonic()
    part.process.wait(within)
    return time.monotonic() - since


def nothing_is_held(broker: redis.Redis) -> bool:
    """Whether no lease has to bring anything back."""
    return not broker.exists("unacked", "unacked_index", "unacked_leases")


def test_what_runs_is_finished_and_the_rest_goes_back_in_order(stack: LocalStack, broker: redis.Redis) -> None:
    """SIGTERM: four are being sent, and arrive; what was only fetched is the next in the queue again."""
    with closing(stack.start_sandbox(["--latency=3"])) as sandbox:
        sent = send(stack, 20)
        worker = stack.start_worker()
        eventually(lambda: sandbox.received().requests == 4, what="four are being sent")

        worker.process.terminate()
        took = ended(worker, within=20)

        assert sandbox.received().delivered == 4
        assert sandbox.received().requests == 4
        assert queued(broker) == [name for name in sent if sandbox.received_for(name).received == 0]
        assert nothing_is_held(broker)
        assert took < 15


def test_the_deadline_returns_what_still_runs(stack: LocalStack, broker: redis.Redis) -> None:
    """AquilaX hangs: the worker does not wait for it longer than it may."""
    stack.environment["FEEDBACK_SHUTDOWN_TIMEOUT"] = "2"
    with closing(stack.start_sandbox(HANGS)) as sandbox:
        sent = send(stack, 20)
        worker = stack.start_worker()
        eventually(lambda: sandbox.received().requests == 4, what="four are being sent")

        worker.process.terminate()
        took = ended(worker, within=20)

        assert worker.process.returncode == 0
        assert sorted(queued(broker)) == sorted(sent)
        assert nothing_is_held(broker)
        assert 2 <= took < 12


def test_a_second_sigterm_ends_the_wait(stack: LocalStack, broker: redis.Redis) -> None:
    """Twice is no accident."""
    with closing(stack.start_sandbox(HANGS)) as sandbox:
        sent = send(stack, 20)
        worker = stack.start_worker()
        eventually(lambda: sandbox.received().requests == 4, what="four are being sent")

        worker.process.terminate()
        eventually(lambda: broker.llen("feedback") == 16, what="what was not begun is back")
        worker.process.terminate()
        took = ended(worker, within=15)

        assert sorted(queued(broker)) == sorted(sent)
        assert nothing_is_held(broker)
        assert took < 10


@pytest.mark.parametrize("name", ["SIGQUIT", "SIGINT"])
def test_a_cold_shutdown_waits_for_nothing(stack: LocalStack, broker: redis.Redis, name: str) -> None:
    """SIGQUIT, or Ctrl-C twice: everything goes back at once."""
    with closing(stack.start_sandbox(HANGS)) as sandbox:
        sent = send(stack, 20)
        worker = stack.start_worker()
        eventually(lambda: sandbox.received().requests == 4, what="four are being sent")

        worker.process.send_signal(signal.Signals[name])
        time.sleep(1)
        if worker.process.poll() is None:
            worker.process.send_signal(signal.Signals[name])
        took = ended(worker, within=15)

        assert sorted(queued(broker)) == sorted(sent)
        assert nothing_is_held(broker)
        assert took < 10


@pytest.mark.parametrize("again", [signal.SIGQUIT, signal.SIGTERM])
def test_a_worker_that_waits_for_redis_can_be_stopped(stack: LocalStack, again: signal.Signals) -> None:
    """SIGTERM is heard while it tries to reconnect."""
    stack.start_sandbox().close()
    worker = stack.start_worker()
    stack.stop(stack.parts[0])
    eventually(lambda: "Trying again" in worker.said(), what="it tries to reconnect")

    worker.process.terminate()
    time.sleep(1)
    if worker.process.poll() is None:
        worker.process.send_signal(again)

    assert ended(worker, within=20) < 15


def frozen_while_at_work(stack: LocalStack, *options: str) -> Part:
    """A worker with something to send, whose Redis hangs from now on."""
    stack.start_sandbox(["--latency=0.2"]).close()
    worker = stack.start_worker(options=options)
    send(stack, 200)
    eventually(lambda: "delivered" in worker.said(), what="it delivers")
    stack.parts[0].process.send_signal(signal.SIGSTOP)
    return worker


def thawed(stack: LocalStack, broker: redis.Redis) -> int:
    """How many of the 200 events Redis has, or has seen delivered, once it goes on."""
    stack.parts[0].process.send_signal(signal.SIGCONT)
    delivered = int(broker.hget("feedback:counts", "delivered") or 0)
    return delivered + broker.llen("feedback") + broker.zcard("feedback:delayed") + broker.hlen("unacked")


@pytest.mark.parametrize("pool", ["feedback", "prefork", "gevent"])
def test_a_redis_that_hangs_keeps_no_worker(stack: LocalStack, broker: redis.Redis, pool: str) -> None:
    """One deadline holds for all that leaving takes, on every pool; what is left comes back by the lease."""
    stack.environment["FEEDBACK_SHUTDOWN_TIMEOUT"] = "2"
    worker = frozen_while_at_work(stack, *([] if pool == "feedback" else ["--pool", pool]))

    worker.process.terminate()
    took = ended(worker, within=30)

    assert worker.process.returncode == 0
    assert took < 12
    assert "go back to the queue when its lease ends, within 20 s" in worker.said()
    assert thawed(stack, broker) == 200


def heard(worker: Part, signals: int) -> bool:
    """Whether it has noticed so many signals."""
    return worker.said().count("shutdown (MainProcess)") >= signals


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGQUIT]])
def test_a_hurry_holds_while_redis_hangs(stack: LocalStack, broker: redis.Redis, signals: list[signal.Signals]) -> None:
    """What ends the wait on a good day ends it then as well."""
    stack.environment["FEEDBACK_SHUTDOWN_TIMEOUT"] = "60"
    worker = frozen_while_at_work(stack)

    for number, one in enumerate(signals, start=1):
        worker.process.send_signal(one)
        eventually(partial(heard, worker, number), what="it has heard")
    took = ended(worker, within=30)

    assert took < 12
    assert thawed(stack, broker) == 200


def test_a_database_that_hangs_keeps_no_worker(stack: LocalStack, broker: redis.Redis) -> None:
    """It accepts connections and says nothing. What dies meanwhile goes back to the queue in order: Redis is there."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        stack.environment |= {
            "FEEDBACK_DATABASE_URL": f"postgresql://u:p@127.0.0.1:{hole.getsockname()[1]}/feedback",
            "FEEDBACK_SHUTDOWN_TIMEOUT": "2",
        }
        with closing(stack.start_sandbox()) as sandbox:
            sandbox.behave(error_rates={"400": 1})
            worker = stack.start_worker()
            send(stack, 20)
            eventually(lambda: sandbox.received().requests >= 4, what="four are to become dead letters")

            worker.process.terminate()
            took = ended(worker, within=30)

    assert took < 12
    assert broker.llen("feedback") + broker.zcard("feedback:delayed") + broker.hlen("unacked") == 20


def test_a_question_whose_answer_nobody_can_get_keeps_no_worker(stack: LocalStack) -> None:
    """Redis goes away between an `inspect` and its answer: the worker waits for Redis as ever, and can be stopped."""
    stack.start_sandbox().close()
    worker = stack.start_worker()
    worker.process.send_signal(signal.SIGSTOP)
    with Celery(broker=stack.environment["FEEDBACK_BROKER_URL"], set_as_current=False) as asks:
        assert asks.control.inspect(timeout=0.5).ping() is None
    stack.kill(stack.parts[0])
    worker.process.send_signal(signal.SIGCONT)
    eventually(lambda: "Trying again" in worker.said(), what="it tries to reconnect")

    worker.process.terminate()

    assert ended(worker, within=20) < 15


def test_a_redis_that_evicts_is_refused(stack: LocalStack, broker: redis.Redis) -> None:
    """Feedback that waits would be thrown away."""
    stack.start_sandbox().close()
    broker.config_set("maxmemory-policy", "allkeys-lru")

    with pytest.raises(StackError) as refused:
        stack.start_worker()

    assert "CONFIG SET maxmemory-policy noeviction" in str(refused.value) + _said(stack, "worker1")


def test_a_key_of_another_program_is_refused_by_its_name(stack: LocalStack, broker: redis.Redis) -> None:
    """As celery-redis-plus leaves Kombu's set of bindings: one sentence, and no traceback."""
    stack.start_sandbox().close()
    broker.zadd("_kombu.binding.feedback", {"feedback": 1})

    with pytest.raises(StackError) as refused:
        stack.start_worker()

    said = str(refused.value) + _said(stack, "worker1")
    assert "the worker does not start: the key '_kombu.binding.feedback' is a zset, and a set is expected there" in said
    assert "Traceback" not in said


def test_a_redis_that_forgets_is_warned_of(stack: LocalStack, broker: redis.Redis) -> None:
    """Without an append-only file a crash of Redis loses what it holds."""
    stack.start_sandbox().close()
    broker.config_set("appendonly", "no")

    worker = stack.start_worker()

    eventually(lambda: "no append-only file" in worker.said(), what="the warning")


def test_the_heartbeat_stops_with_the_consumption(stack: LocalStack) -> None:
    """The file is touched while the worker consumes or hears that there is nothing, and not without Redis."""
    beat = stack.folder / "heartbeat"
    stack.environment["FEEDBACK_HEARTBEAT_FILE"] = str(beat)
    stack.start_sandbox().close()
    stack.start_worker()

    eventually(beat.exists, what="a heartbeat")
    first = beat.stat().st_mtime
    eventually(lambda: beat.stat().st_mtime > first, timeout=10, what="another")
    stack.parts[0].process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(1.5)
        last = beat.stat().st_mtime
        time.sleep(3)
        assert beat.stat().st_mtime == last
    finally:
        stack.parts[0].process.send_signal(signal.SIGCONT)
    eventually(lambda: beat.stat().st_mtime > last, timeout=20, what="it consumes again")


def _said(stack: LocalStack, name: str) -> str:
    return (stack.folder / f"{name}.log").read_text()
