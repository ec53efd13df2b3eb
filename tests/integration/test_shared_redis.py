"""A Redis that another Celery application uses too: its workers are neither counted nor disturbed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

from producer import FeedbackEvent, FeedbackProducer
from tests.support.environment import clean_environment
from tests.support.processes import ROOT, Running, eventually, running
from worker.app import create_app
from worker.operations.doctor.examination import examine
from worker.sandbox.stack import LocalStack
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.operations.doctor.finding import Finding
    from worker.sandbox.client import SandboxClient

NEIGHBOUR = "neighbour@shop"
OURS = "ours@chat"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalStack, SandboxClient]]:
    """A worker of ours on a Redis, with its AquilaX."""
    with LocalStack(folder=tmp_path_factory.mktemp("shared"), environment=clean_environment()) as stack:
        stack.start_broker()
        stack.create_database()
        stack.environment["FEEDBACK_HEARTBEAT_FILE"] = f"{stack.folder}/heartbeat"
        with closing(stack.start_sandbox()) as sandbox:
            stack.start_worker("worker", ["-n", OURS])
            yield stack, sandbox


@pytest.fixture
def stack(shared: tuple[LocalStack, SandboxClient], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalStack:
    """It, with its settings in the environment of this test."""
    monkeypatch.chdir(tmp_path)
    for name, value in shared[0].environment.items():
        if name.startswith(("AQUILAX_", "FEEDBACK_")):
            monkeypatch.setenv(name, value)
    return shared[0]


@contextmanager
def a_neighbour(stack: LocalStack, folder: Path, *options: str) -> Iterator[Running]:
    """Run a worker of a plain Celery application that has never heard of this project."""
    (folder / "shop.py").write_text(
        f"from celery import Celery\napp = Celery('shop', broker={stack.environment['FEEDBACK_BROKER_URL']!r})\n"
    )
    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-P", "solo", "-n", NEIGHBOUR, "-l", "INFO"]
    with running([*command, *options], log=folder / "shop.log", cwd=folder) as neighbour:
        eventually(lambda: " ready." in neighbour.output(), what="it takes tasks")
        yield neighbour


def _celery(stack: LocalStack, advice: str) -> str:
    """What a command prints that the doctor advises, typed as it stands there."""
    command = [sys.executable, "-m", *shlex.split(advice)]
    return subprocess.run(
        command, env=stack.environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def _wrong() -> dict[str, Finding]:
    return {finding.check: finding for finding in examine().findings if finding.level != "green"}


def _advice(finding: Finding) -> str:
    command = re.search("`(celery [^`]+)`", finding.fix)
    assert command is not None, finding
    return command[1]


def test_a_neighbour_is_neither_counted_nor_disturbed(
    stack: LocalStack, shared: tuple[LocalStack, SandboxClient], tmp_path: Path
) -> None:
    """What is said to all workers is said to ours, and all is well; what is enqueued is delivered by ours."""
    before = shared[1].received().delivered
    with a_neighbour(stack, tmp_path) as neighbour, closing(create_app(load_settings())) as app:
        control: Any = app.control
        assert _wrong() == {}
        assert set(control.inspect(timeout=5, limit=1).ping()) == {OURS}
        control.add_consumer("feedback", reply=True, limit=1, timeout=5)
        _enqueue(stack, 10)

        eventually(lambda: shared[1].received().delivered == before + 10, what="ours delivers them")
        assert not {"unregistered task", "No such control command"} & set(neighbour.output().splitlines())
        assert "feedback" not in neighbour.output()


def test_a_neighbour_that_takes_feedback_is_red_and_the_advice_stops_it(stack: LocalStack, tmp_path: Path) -> None:
    """It throws away what it takes. The advice is typed as it stands there, and ours go on."""
    with a_neighbour(stack, tmp_path, "-Q", "celery,feedback") as neighbour:
        found = _wrong()
        stopped = _celery(stack, _advice(found["foreign worker"]))

        assert found.keys() == {"foreign worker"}
        assert (found["foreign worker"].level, NEIGHBOUR in found["foreign worker"].summary) == ("red", True)
        assert NEIGHBOUR in stopped
        assert "Canceling queue feedback" in neighbour.output()
        assert _wrong() == {}


def test_advice_for_a_worker_of_ours_reaches_that_one_alone(stack: LocalStack, tmp_path: Path) -> None:
    """It does not consume, and is told to, by its name."""
    with a_neighbour(stack, tmp_path) as neighbour:
        _celery(stack, f"celery -A worker control cancel_consumer feedback -d {OURS}")
        found = _wrong()
        _celery(stack, _advice(found["workers"]))

        assert (found["workers"].level, found["workers"].summary) == ("red", f"{OURS} do not consume feedback")
        assert _wrong() == {}
        assert "feedback" not in neighbour.output()


def _enqueue(stack: LocalStack, number: int) -> None:
    with FeedbackProducer(stack.environment["FEEDBACK_BROKER_URL"]) as producer:
        for at in range(number):
            request_id = f"77e81bbc-3e7f-47b9-87fa-{at:012}"
            producer.enqueue(FeedbackEvent(request_id=request_id, status=True, org="org-1", group="group-1"))


def test_a_second_worker_of_one_name_is_told(stack: LocalStack) -> None:
    """Both of them answer to it."""
    second = stack.start_worker("second", ["-n", OURS])
    try:
        eventually(lambda: f"another worker is called {OURS}" in second.said(), what="the second one says so")
        found = _wrong()
    finally:
        stack.stop(second)

    assert {check: finding.level.value for check, finding in found.items()} == {"workers' names": "yellow"}
    assert f"2 are called {OURS}" in found["workers' names"].summary


def test_a_worker_that_is_started_again_says_at_most_that_it_may_be_so(stack: LocalStack) -> None:
    """One that was killed leaves a lease of the same name: its successor starts all the same."""
    killed = stack.start_worker("third", ["-n", "third@chat"])
    with redis.Redis.from_url(stack.environment["FEEDBACK_BROKER_URL"]) as client:
        eventually(lambda: any(b"third@chat" in name for name in client.zrange("unacked_leases", 0, -1)))
    stack.kill(killed)
    again = stack.start_worker("third", ["-n", "third@chat"])

    eventually(lambda: "another worker is called third@chat" in again.said(), what="it says so")
    assert "if it was killed" in again.said()
    stack.stop(again)
