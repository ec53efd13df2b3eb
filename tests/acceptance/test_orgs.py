"""Orgs with keys of their own, and orgs that are held: the others go on, and nothing is lost."""

from __future__ import annotations

import json
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from producer import FeedbackEvent, FeedbackProducer
from tests.acceptance.test_hold import inspect
from tests.support.commands import succeed
from tests.support.processes import eventually
from worker.accounting.held_orgs import look_at_held_orgs
from worker.accounting.snapshot import take_snapshot
from worker.clients.redis.connections import redis_partitions
from worker.sandbox.stack import SANDBOX_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.clients.redis.partitions import Partitions
    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import LocalStack

MANY = 200
PARTITIONS = 3


def press(stack: LocalStack, count: int, *, org: str) -> None:
    """Enqueue so many events of an org."""
    events = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org=org, group="g") for _ in range(count)]
    with FeedbackProducer(stack.environment["FEEDBACK_BROKER_URL"], timeout=10, partitions=PARTITIONS) as producer:
        producer.enqueue_many(events)


def ask(stack: LocalStack, *arguments: str) -> str:
    """What a command of ours prints."""
    return succeed(stack.environment, *arguments)


@pytest.fixture
def partitions(stack: LocalStack) -> Iterator[Partitions]:
    """The partitions, all on one Redis."""
    url = stack.environment["FEEDBACK_BROKER_URL"]
    with closing(redis_partitions(url, partitions=PARTITIONS, connections=1)) as opened:
        yield opened


def write_keys(path: Path, **keys: str) -> None:
    """A file with a key for each of these orgs."""
    entries = [{"name": f"of-{org}", "key": key, "orgs": [org]} for org, key in keys.items()]
    path.write_text(json.dumps({"version": 1, "keys": entries}))
    path.chmod(0o600)


def set_aside(partitions: Partitions) -> dict[str, int]:
    """How many messages are set aside, by scope."""
    return dict(look_at_held_orgs(partitions).set_aside)


def test_a_refused_key_an_org_without_one_and_a_held_org_keep_no_other_back(
    stack: LocalStack, sandbox: SandboxClient, tmp_path: Path, partitions: Partitions
) -> None:
    """A new file ends two of the holds without a restart, an operator the third; every event is delivered once."""
    keys = tmp_path / "keys.json"
    write_keys(keys, good=SANDBOX_KEY, bad="revoked", paused=SANDBOX_KEY)
    del stack.environment["AQUILAX_API_KEY"]
    stack.environment |= {"AQUILAX_KEYS_FILE": str(keys), "FEEDBACK_PARTITIONS": str(PARTITIONS)}
    ask(stack, "hold", "--org", "paused", "--comment", "maintenance", "--actor", "ann")
    worker = stack.start_worker()
    for org in ("bad", "paused", "keyless"):
        press(stack, MANY, org=org)
    press(stack, 100, org="good")

    eventually(lambda: sandbox.received().delivered == 100, timeout=120, what="the good org's are delivered")
    scopes = {"key:of-bad", "key:default", "org:paused"}
    eventually(lambda: sum(set_aside(partitions).values()) >= 3 * MANY - 2, timeout=120, what="all are set aside")
    shown = inspect(stack, "feedback_hold")
    assert {hold["scope"]: hold["kind"] for hold in shown["orgs"]} == {
        "key:of-bad": "locked_out", "key:default": "locked_out", "org:paused": "operator",
    }  # fmt: skip
    assert set(set_aside(partitions)) == scopes
    assert "kind" not in shown
    assert sandbox.received().delivered == 100
    assert "balance" in ask(stack, "reconcile")

    keys.write_text("{")
    eventually(lambda: "the keys that were read before stay in use" in worker.said(), what="a bad file is told")
    write_keys(keys, good=SANDBOX_KEY, bad=SANDBOX_KEY, paused=SANDBOX_KEY, keyless=SANDBOX_KEY)

    eventually(lambda: sandbox.received().delivered == 100 + 2 * MANY, timeout=120, what="both are delivered")
    eventually(lambda: set_aside(partitions) == {"org:paused": MANY}, what="the operator's hold stands")
    ask(stack, "resume", "--org", "paused")
    eventually(lambda: sandbox.received().delivered == 100 + 3 * MANY, timeout=120, what="all are delivered")
    eventually(lambda: take_snapshot(partitions).waiting == 0, what="every message has ended")
    counts = take_snapshot(partitions).counts
    assert (counts["accepted"], counts["delivered"], counts.get("dead", 0)) == (100 + 3 * MANY, 100 + 3 * MANY, 0)
    assert SANDBOX_KEY not in worker.said()


def test_one_orgs_storm_keeps_no_other_back(stack: LocalStack, sandbox: SandboxClient, partitions: Partitions) -> None:
    """It has two places of ten: what is behind it in the queue goes past it, and all of it is delivered in the end."""
    latency, storm = 0.2, 150
    sandbox.behave(latency=latency)
    limits = {"FEEDBACK_CONCURRENCY": "10", "FEEDBACK_ORG_CONCURRENCY": "2"}
    stack.environment |= {"FEEDBACK_PARTITIONS": str(PARTITIONS)} | limits
    press(stack, storm, org="storm")
    press(stack, 20, org="quiet")
    stack.start_worker()

    def arrivals(org: str) -> list[float]:
        """When each of an org's events came first."""
        every = [name for name, account in sandbox.received_by_request_id().items() if account.org == org]
        return sorted(sandbox.received_for(name).recent[0].at.timestamp() for name in every)

    eventually(lambda: sandbox.received().delivered == storm + 20, timeout=300, what="all are delivered")
    eventually(lambda: take_snapshot(partitions).waiting == 0, what="every message has ended")
    of_storm, of_quiet = arrivals("storm"), arrivals("quiet")
    counts = take_snapshot(partitions).counts
    assert (len(of_storm), len(of_quiet)) == (storm, 20)
    assert sum(at < of_quiet[-1] for at in of_storm) < storm / 2
    assert all(third - first > latency * 0.9 for first, third in zip(of_storm, of_storm[2:], strict=False))
    assert (counts["accepted"], counts["delivered"], counts.get("dead", 0)) == (storm + 20, storm + 20, 0)
    assert "balance" in ask(stack, "reconcile")
