"""Odd messages by the thousand, through a real worker: each ends, no place in it is lost, and the books are exact.

How many is said by the variable ODD_MESSAGES, and which by ODD_SEED; ``make fuzz`` runs many.
"""

from __future__ import annotations

import os
import re
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from producer import FeedbackEvent, FeedbackProducer
from tests.support.commands import record_of
from tests.support.environment import FAST, clean_environment
from tests.support.odd_messages import ELSEWHERE, odd_messages
from tests.support.processes import eventually
from worker.broker.keys import DELAYED, KEYS
from worker.sandbox.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import Part

MESSAGES: Final = int(os.environ.get("ODD_MESSAGES", "250"))
SEED: Final = int(os.environ.get("ODD_SEED", "1"))
GROWTH: Final = 48 * 1024
"""KiB that a worker may have grown by a second batch as odd as the first; a leak of each would be far more."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A broker, a database, and patience of an hour."""
    with LocalStack(folder=tmp_path_factory.mktemp("odd"), environment=clean_environment() | FAST) as made:
        made.start_broker()
        made.create_database()
        yield made


@pytest.fixture(scope="module")
def sandbox(stack: LocalStack) -> Iterator[SandboxClient]:
    """An AquilaX that takes everything."""
    with closing(stack.start_sandbox()) as client:
        yield client


def memory_of(worker: Part) -> int:
    """KiB that a process has in memory."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{worker.process.pid}/status").read_text())
    return int(found[1]) if found else 0


def is_idle(broker: redis.Redis) -> bool:
    """Whether nothing is queued, scheduled or in flight."""
    lists = KEYS.lists("feedback")
    return not broker.exists("unacked", *lists, *(name + DELAYED for name in lists))


def books(stack: LocalStack) -> dict[str, Any]:
    """What `reconcile` says."""
    return record_of(stack.environment, "reconcile")


@pytest.mark.parametrize("pool", ["threads", "gevent", "processes", "solo"])
def test_odd_messages_end_and_leave_nothing_behind(
    stack: LocalStack, sandbox: SandboxClient, broker: redis.Redis, pool: str
) -> None:
    """Each is delivered or a dead letter, none is called revoked; then as many sound ones are delivered as ever."""
    before = books(stack)
    worker = stack.start_worker(f"odd-{pool}", options=["-P", pool, "-c", "4"])
    grown: list[int] = []
    for seed in (SEED, SEED + 1):
        for entry in odd_messages(seed, MESSAGES):
            broker.lpush("feedback", entry)
        eventually(lambda: is_idle(broker), timeout=60 + MESSAGES / 5, what="all have ended")
        grown.append(memory_of(worker))

    sound = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="o", group="g") for _ in range(40)]
    with FeedbackProducer(stack.environment["FEEDBACK_BROKER_URL"], timeout=5) as producer:
        producer.enqueue_many(sound)
    eventually(lambda: is_idle(broker), what="the sound ones have ended")

    assert all(sandbox.received_for(event.request_id).status == "true" for event in sound)
    after = books(stack)
    assert after["status"] == 0, after
    ended = {name: after[name] - before[name] for name in ("accepted", "delivered", "dead", "revoked")}
    assert ended["accepted"] == 2 * MESSAGES + len(sound) == ended["delivered"] + ended["dead"], (ended, after)
    assert ended["revoked"] == 0
    assert not broker.exists(ELSEWHERE)
    assert grown[1] - grown[0] < GROWTH, grown
    assert worker.is_running
    assert "a fault of ours" not in worker.said()
    stack.stop(worker)
