"""The runbook, typed in as it stands there, in a system that has the trouble: one sees what the page says."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
import uuid
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import redis

from producer import FeedbackEvent, FeedbackProducer
from tests.support.commands import typed
from tests.support.environment import clean_environment
from tests.support.processes import ROOT, eventually, need
from worker.database.redis_generations import recorded_generations
from worker.dead_letters.store import DeadLetterStore
from worker.sandbox.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import Part

PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
LEFT_OUT: Final = "…"

# What differs from one system to another, or from one minute to the next.
SAME: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "<moment>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<cause>"),
    (re.compile(r"\(by \S+heartbeat\)"), "(by <file>)"),
    (re.compile(r"\bby \S+:\d+"), "by <worker>"),
    (re.compile(r"worker1@[^\s;]+"), "<worker>"),
    (re.compile(r"\d[\d.]* (d|h|min|s)\b( \d+ (h|min|s)\b)?"), "<time>"),
    (re.compile(r"\bthe next one (now|in <time>)"), "the next one <then>"),
    (re.compile(r"\d[\d,.]*"), "<number>"),
)


class Desk:
    """A running system, and the terminal of an operator on call."""

    def __init__(self, stack: LocalStack, sandbox: SandboxClient, folder: Path) -> None:
        self.stack = stack
        self.sandbox = sandbox
        self._folder = folder
        self.worker: Part = stack.start_worker()

    def press(self, number: int, *, org: str = "org-1") -> None:
        """Let people press."""
        events = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org=org, group="g") for _ in range(number)]
        with FeedbackProducer(self.stack.environment["FEEDBACK_BROKER_URL"], timeout=5) as producer:
            producer.enqueue_many(events)

    def restart_worker(self) -> None:
        """As one does after a change."""
        self.stack.kill(self.worker)
        self.worker = self.stack.start_worker()

    @contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        """What stands in Redis."""
        with closing(redis.Redis.from_url(self.stack.environment["FEEDBACK_BROKER_URL"])) as client:
            yield client

    def is_held(self) -> bool:
        """Whether a hold stands."""
        with self.redis() as client:
            return bool(client.exists("feedback:hold"))

    def is_idle(self) -> bool:
        """Whether everything has ended."""
        with self.redis() as client:
            return not client.exists("feedback", "feedback:delayed", "unacked")

    def type(self, heading: str, block: int) -> None:
        """Type the commands of a block under a heading, and compare what they print with what stands there."""
        section = PAGE.split(f"\n### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
        text = re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[block]
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            self._see(command, expected)

    def _see(self, command: str, expected: str) -> None:
        wanted = [_same(line) for line in expected.splitlines() if line != LEFT_OUT]

        def is_seen() -> bool:
            printed.append(self._run(command))
            seen = iter([_same(line) for line in printed[-1].splitlines()])
            return all(line in seen for line in wanted)  # in this order, with others in between

        printed: list[str] = []
        if not is_seen():
            # A worker that was just started, or an outcome on its way: an operator looks again.
            eventually(is_seen, timeout=150, what=f"{command} prints\n{expected}\nand not\n{printed[-1]}")

    def _run(self, command: str) -> str:
        environment = self.stack.environment
        program, *arguments = shlex.split(re.sub(r"\$(\w+)", lambda name: environment[name[1]], command))
        if program == "aquilax-feedback":
            return typed(environment, self._folder, *arguments).output
        return subprocess.run(
            [need(program), *arguments],
            env=environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        ).stdout


def _same(line: str) -> str:
    for pattern, word in SAME:
        line = pattern.sub(word, line)
    return " ".join(line.split())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A system that is well."""
    with LocalStack(folder=tmp_path / "stack", environment=clean_environment()) as stack:
        stack.environment |= {
            "FEEDBACK_RETRY_BASE": "0.2",
            "FEEDBACK_RETRY_CAP": "1",
            "FEEDBACK_CONCURRENCY": "2",
            "FEEDBACK_LEASE": "5",
            "FEEDBACK_HEARTBEAT_FILE": f"{tmp_path}/heartbeat",
        }
        stack.start_broker()
        stack.create_database()
        with closing(stack.start_sandbox()) as sandbox:
            yield Desk(stack, sandbox, tmp_path)


def test_aquilax_is_down(desk: Desk) -> None:
    """A hold begins by itself, and may be ended by hand when AquilaX is back."""
    desk.sandbox.behave(outage={"with": "503"})
    desk.press(60)
    eventually(desk.is_held, what="a hold")
    desk.type("AquilaX is down", 0)

    desk.sandbox.fix()
    with desk.redis() as client:  # the next probe is far away
        client.hset("feedback:hold", "probe_at", 4_102_444_800_000)
    desk.type("AquilaX is down", 1)

    eventually(desk.is_idle, what="everything is delivered")


def test_the_key_has_expired(desk: Desk) -> None:
    """Everything is held until there is another."""
    desk.sandbox.behave(revoked_key=True)
    desk.press(3)
    eventually(desk.is_held, what="a hold")
    desk.type("The key has expired", 0)

    desk.sandbox.fix()
    desk.restart_worker()
    desk.type("The key has expired", 1)

    eventually(desk.is_idle, what="everything is delivered")


def test_redis_is_full(desk: Desk) -> None:
    """A new event is refused until there is room."""
    with desk.redis() as client:
        client.config_set("maxmemory", 1_000_000)
    desk.type("Redis is full", 0)

    desk.type("Redis is full", 1)

    eventually(desk.is_idle, what="it is delivered")


def test_the_backlog_grows(desk: Desk) -> None:
    """More comes than goes."""
    desk.sandbox.behave(latency=1)
    desk.press(1500)
    enough = threading.Event()

    def go_on() -> None:
        while not enough.wait(0.2):
            desk.press(20)

    people = threading.Thread(target=go_on)
    people.start()
    try:
        desk.type("The backlog grows", 0)
    finally:
        enough.set()
        people.join()


def test_dead_letters_pile_up(desk: Desk) -> None:
    """They are looked at, tried, and replayed."""
    desk.sandbox.behave(forbidden_orgs=["org-not-ours"])
    desk.press(12, org="org-not-ours")
    eventually(desk.is_idle, what="all are dead")
    desk.type("Dead letters pile up", 0)

    desk.sandbox.fix()
    desk.type("Dead letters pile up", 1)


def test_a_worker_hangs(desk: Desk) -> None:
    """It is killed and started again, and nothing is lost."""
    desk.press(5)
    eventually(desk.is_idle, what="it works")
    desk.worker.process.send_signal(signal.SIGSTOP)
    heartbeat = Path(desk.stack.environment["FEEDBACK_HEARTBEAT_FILE"])
    os.utime(heartbeat, times=(heartbeat.stat().st_mtime - 72,) * 2)  # the minute after which it counts has passed
    try:
        desk.type("A worker hangs", 0)
    finally:
        desk.worker.process.send_signal(signal.SIGCONT)

    desk.restart_worker()
    desk.type("A worker hangs", 1)


def test_an_upgrade_is_due(desk: Desk) -> None:
    """Afterwards everything is as new."""
    desk.press(5)
    eventually(desk.is_idle, what="it works")

    desk.type("An upgrade is due", 0)


def test_redis_has_lost_its_data(desk: Desk) -> None:
    """What a worker had last written into the database tells of the loss, until an operator takes Redis as it is."""
    desk.sandbox.behave(outage={"with": "503"})
    desk.press(60)
    eventually(desk.is_held, what="a hold")
    with closing(DeadLetterStore.connect(desk.stack.environment["FEEDBACK_DATABASE_URL"])) as store:
        eventually(
            lambda: any(one.waiting == 60 for one in recorded_generations(store.engine)), what="the totals are recorded"
        )
    desk.stack.stop(desk.worker)
    with desk.redis() as client:
        client.flushall()

    desk.type("Redis has lost its data", 0)


def test_every_block_of_the_runbook_is_typed() -> None:
    """A new one needs a test; these are typed above."""
    runbook = PAGE.split("\n## Runbook\n")[1].split("\n## ")[0]
    blocks: dict[str, Callable[[Desk], None]] = {
        "AquilaX is down": test_aquilax_is_down,
        "The key has expired": test_the_key_has_expired,
        "Redis is full": test_redis_is_full,
        "The backlog grows": test_the_backlog_grows,
        "Dead letters pile up": test_dead_letters_pile_up,
        "A worker hangs": test_a_worker_hangs,
        "An upgrade is due": test_an_upgrade_is_due,
    }

    assert re.findall(r"^### (.+)$", runbook, re.MULTILINE) == list(blocks)
    assert runbook.count("```console") == 12
