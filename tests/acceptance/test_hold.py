"""The hold: while AquilaX can take nothing, nothing but probes is sent, nothing is spent, and it ends by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any, cast

from producer import FeedbackEvent, FeedbackProducer
from tests.support.commands import reply_to, succeed
from tests.support.processes import eventually

if TYPE_CHECKING:
    import redis

    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import LocalStack, Part

BACKLOG = 300


def press(stack: LocalStack, count: int, *, org: str = "org-1") -> list[FeedbackEvent]:
    """Enqueue so many events."""
    events = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org=org, group="g") for _ in range(count)]
    with FeedbackProducer(stack.environment["FEEDBACK_BROKER_URL"], timeout=10) as producer:
        producer.enqueue_many(events)
    return events


def ask(stack: LocalStack, *arguments: str) -> str:
    """What a command of ours prints."""
    return succeed(stack.environment, *arguments)


def inspect(stack: LocalStack, what: str) -> dict[str, Any]:
    """What the one worker answers to ``celery inspect``."""
    command = [sys.executable, "-m", "celery", "-A", "worker", "inspect", what, "--json", "-t", "2"]
    printed = subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=True).stdout
    answers: dict[str, dict[str, Any]] = json.loads(printed[printed.index("{") :])
    return next(iter(answers.values()))


def memory(worker: Part) -> float:
    """The worker's resident memory, in MiB."""
    with open(f"/proc/{worker.process.pid}/status") as status:  # noqa: PTH123 - no file of ours
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def hold_of(broker: redis.Redis) -> dict[bytes, bytes]:
    """The hold as it stands in Redis."""
    return cast("dict[bytes, bytes]", broker.hgetall("feedback:hold"))


def test_a_wrong_key_holds_everything_and_spends_nothing(
    stack: LocalStack, broker: redis.Redis, sandbox: SandboxClient
) -> None:
    """A backlog stays in Redis, single probes go out, everybody sees why, and it ends by itself."""
    reason = "401 Invalid authentication"
    sandbox.behave(error_rates={"401": 1.0})
    worker = stack.start_worker()
    press(stack, BACKLOG)
    eventually(lambda: int(hold_of(broker).get(b"probes", 0)) >= 2, what="two probes")
    before, small = sandbox.received().requests, memory(worker)
    press(stack, 1500)
    time.sleep(3)

    assert hold_of(broker)[b"comment"].decode() == reason
    assert sandbox.received().requests - before <= 3
    assert sandbox.received().delivered == 0
    assert broker.hlen("unacked") <= 1
    assert memory(worker) - small < 10
    assert reply_to(stack.environment, "feedback_hold")["comment"] == reason
    assert reply_to(stack.environment, "stats")["feedback_hold"]["kind"] == "locked_out"
    assert json.loads(ask(stack, "status", "--json"))["hold"]["comment"] == reason
    assert f"nothing is sent to AquilaX from now on but a probe now and then: {reason}" in worker.said()

    sandbox.fix()
    eventually(lambda: sandbox.received().delivered == BACKLOG + 1500, timeout=90, what="all are delivered")
    assert not hold_of(broker)
    assert not broker.exists("feedback:delayed")
    assert not broker.hexists("feedback:counts", "dead")
    eventually(lambda: int(broker.hget("feedback:counts", "delivered") or 0) == BACKLOG + 1500, what="it balances")


def test_a_new_key_is_tried_at_once_by_a_worker_that_starts(
    stack: LocalStack, broker: redis.Redis, sandbox: SandboxClient
) -> None:
    """The key was revoked; a worker with the new one need not wait for the next probe."""
    key = stack.environment["AQUILAX_API_KEY"]
    stack.environment["AQUILAX_API_KEY"] = "revoked"
    press(stack, 50)
    worker = stack.start_worker()
    eventually(lambda: hold_of(broker), what="the hold")
    broker.hset("feedback:hold", "probe_at", str(int(time.time() * 1000) + 3_600_000))

    stack.stop(worker)
    stack.environment["AQUILAX_API_KEY"] = key
    stack.start_worker("worker-2")

    eventually(lambda: sandbox.received().delivered == 50, what="all are delivered")
    assert not hold_of(broker)


def test_a_sustained_outage_opens_the_breaker_and_retry_after_is_obeyed(
    stack: LocalStack, broker: redis.Redis, sandbox: SandboxClient
) -> None:
    """Attempts are spent only until the breaker opens; no probe is sent before AquilaX said."""
    stack.environment |= {"FEEDBACK_MAX_ATTEMPTS": "1000", "FEEDBACK_RETRY_BASE": "0.5"}
    sandbox.behave(error_rates={"503": 1.0}, retry_after=4)
    stack.start_worker()
    press(stack, 100)

    hold = eventually(lambda: hold_of(broker), timeout=60, what="the breaker opens")
    before = sandbox.received().requests
    assert hold[b"kind"] == b"breaker"
    assert int(hold[b"probe_at"]) - int(hold[b"since"]) >= 4000
    time.sleep(3)
    assert sandbox.received().requests - before <= 8  # what was on its way

    sandbox.fix()
    eventually(lambda: sandbox.received().delivered == 100, timeout=60, what="all are delivered")
    assert not hold_of(broker)


def test_an_operator_holds_and_resumes(stack: LocalStack, broker: redis.Redis, sandbox: SandboxClient) -> None:
    """By hand: no probes, and no end until an operator ends it."""
    stack.start_worker()
    assert "aquilax-feedback resume" in ask(stack, "hold", "--comment", "maintenance of AquilaX", "--actor", "ann")
    press(stack, 50)
    time.sleep(3)

    assert sandbox.received().requests == 0
    assert broker.llen("feedback") == 50
    hold = json.loads(ask(stack, "status", "--json"))["hold"]
    assert (hold["kind"], hold["comment"], hold["actor"]) == ("operator", "maintenance of AquilaX", "ann")
    assert inspect(stack, "feedback_hold")["comment"] == "maintenance of AquilaX"

    assert ask(stack, "resume") == "resumed; it was held: maintenance of AquilaX\n"
    eventually(lambda: sandbox.received().delivered == 50, what="all are delivered")
    assert ask(stack, "resume") == "there is no hold\n"


def test_a_forbidden_org_holds_nobody(stack: LocalStack, broker: redis.Redis, sandbox: SandboxClient) -> None:
    """403 is the affair of one org."""
    sandbox.behave(forbidden_orgs=["org-not-ours"])
    stack.start_worker()
    press(stack, 200, org="org-not-ours")
    press(stack, 100)

    eventually(lambda: sandbox.received().delivered == 100, what="the others are delivered")
    eventually(lambda: int(broker.hget("feedback:counts", "dead:forbidden") or 0) == 200, what="200 dead letters")
    assert not hold_of(broker)
