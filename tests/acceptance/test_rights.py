"""The rights on the page of settings are all that each login needs, and one that is missing is named."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests
from click.testing import CliRunner, Result

from producer import AsyncFeedbackProducer, FeedbackProducer
from producer.message import to_message
from tests.support.dead_letter_records import an_event
from tests.support.environment import FAST, clean_environment
from tests.support.places import foreign_message
from tests.support.processes import ROOT, VALKEY, RedisServer, eventually, need, redis_server, running
from worker.app import create_app
from worker.operations.cli import main
from worker.sandbox.stack import LocalStack, free_port
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.sandbox.client import SandboxClient

LINES = re.findall(r"^ACL SETUSER .+$", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
LOGINS = ("producer", "worker", "operator", "flower")


@dataclass(frozen=True)
class Rights:
    """A Redis in which each program has its own login, with the rights of the page."""

    server: RedisServer
    admin: Any

    def url(self, login: str) -> str:
        """The address for a login."""
        return self.server.url.replace("://", f"://feedback-{login}:s3cret@")

    def change(self, login: str, *rules: str) -> None:
        """Give a login rights, or take some away."""
        self.admin.execute_command("ACL", "SETUSER", f"feedback-{login}", *rules)

    def restore(self, login: str) -> None:
        """Give a login what the page has."""
        self.change(login, "reset")
        for line in LINES:
            if line.split()[2] == f"feedback-{login}":
                self.admin.execute_command(*line.replace(">PASSWORD", ">s3cret").split())
        if "valkey_version" in self.admin.info():
            self.change(login, "+client|setinfo")

    def refused(self) -> list[tuple[str, str, str]]:
        """What was refused, and to which login."""
        return [(entry["username"], entry["reason"], entry["object"]) for entry in self.admin.acl_log()]


@pytest.fixture(params=["valkey", "redis"])
def rights(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rights]:
    """A server of the test's own; its users are those of the page."""
    binary = VALKEY if request.param == "valkey" else need("redis-server")
    with redis_server(binary, tmp_path / "redis") as server, server.client() as client:
        rights = Rights(server, client)
        for login in LOGINS:
            rights.restore(login)
        yield rights


@pytest.fixture
def stack(tmp_path: Path, rights: Rights) -> Iterator[LocalStack]:
    """A database and a sandbox; what is started next is a worker, with the worker's login."""
    with LocalStack(folder=tmp_path / "stack", environment=clean_environment() | FAST) as stack:
        stack.environment["FEEDBACK_BROKER_URL"] = rights.url("worker")
        stack.create_database()
        yield stack


class Operator:
    """Runs commands in this process, with the operator's login."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def run(self, *arguments: str, status: int | None = 0) -> str:
        """Return what a command prints."""
        ended: Result = CliRunner().invoke(main, arguments, env=self._environment)
        assert status is None or ended.exit_code == status, ended.output
        return ended.output


@pytest.fixture
def operator(stack: LocalStack, rights: Rights, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator with the settings of the stack."""
    ours = {name: value for name, value in stack.environment.items() if name not in os.environ}
    ours["FEEDBACK_BROKER_URL"] = rights.url("operator")
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    return Operator(ours)


def test_the_rights_of_the_page_are_all_that_is_needed(
    rights: Rights, stack: LocalStack, sandbox: SandboxClient, operator: Operator
) -> None:
    """ACL LOG names what was refused to any of them: a new command, or a key of another name, fails here."""
    stack.start_worker()

    for request_id in _delivered_by_every_road(rights, sandbox, operator):
        eventually(lambda request_id=request_id: sandbox.received_for(request_id).delivered)  # type: ignore[misc]  # bound at once
    _revoked(rights, operator)
    _mended(rights, operator)
    with _flower(rights, stack) as flower:
        for path in ("/feedback", "/feedback/waiting", "/workers?refresh=1", "/tasks", "/broker"):
            assert requests.get(flower + path, timeout=30).ok
        assert requests.get(f"{flower}/feedback/trace?request_id={uuid.uuid4()}", timeout=30).status_code == 404
    operator.run("doctor")
    stack.stop(stack.parts[-1])

    assert operator.run("reconcile").startswith("balanced: ")
    assert rights.refused() == []


def _delivered_by_every_road(rights: Rights, sandbox: SandboxClient, operator: Operator) -> Iterator[str]:
    """At once, from a coroutine, by a command, after a retry, from the dead, and after a hold for a 401."""
    with FeedbackProducer(rights.url("producer"), timeout=10) as producer:

        def press(*answers: int) -> str:
            request_id = str(uuid.uuid4())
            if answers:
                sandbox.script(request_id, [*answers, 200])
            return producer.enqueue(request_id, True, org="o", group="g").request_id

        yield press()
        yield asyncio.run(_from_a_coroutine(rights.url("producer")))
        yield press(503)
        dead = press(404)
        eventually(lambda: rights.admin.hget("feedback:counts", "dead:rejected"))
        operator.run("dead-letters", "replay", "1")
        yield dead
        sent = str(uuid.uuid4())
        operator.run("send", sent, "false", "--org", "o", "--group", "g")
        yield sent
        operator.run("trace", dead)
        sandbox.behave(revoked_key=True)
        held = press()
        eventually(lambda: rights.admin.hget("feedback:hold", "kind") == "locked_out")
        operator.run("status")
        sandbox.behave(revoked_key=False)
        yield held
        eventually(lambda: not rights.admin.exists("feedback:hold"))


async def _from_a_coroutine(url: str) -> str:
    async with AsyncFeedbackProducer(url, timeout=10) as producer:
        return (await producer.enqueue(str(uuid.uuid4()), True, org="o", group="g")).request_id


def _revoked(rights: Rights, operator: Operator) -> None:
    """One that waits in a hold by hand; and the workers are asked, and told."""
    operator.run("hold", "--comment", "a test")
    event = an_event()
    with FeedbackProducer(rights.url("producer"), timeout=10) as producer:
        producer.enqueue_many([event])
    with closing(create_app(load_settings())) as app:
        (message,) = rights.admin.lrange("feedback", 0, -1)
        assert app.control.revoke(json.loads(message)["headers"]["id"], reply=True, timeout=30, limit=1)
        assert app.control.inspect(timeout=30, limit=1).stats()
        eventually(lambda: rights.admin.hget("feedback:counts", "revoked") == "1")
    operator.run("resume")


def _mended(rights: Rights, operator: Operator) -> None:
    """A list that no worker reads, and a message in flight with a worker that is dead."""
    rights.admin.lpush("feedback:3", foreign_message())
    rights.admin.hset("unacked", "lost", b'[%s, "", "feedback"]' % to_message(an_event()))
    operator.run("reconcile", "--patience", "0.5", "--repair", status=None)
    eventually(lambda: not rights.admin.exists("feedback:3", "unacked", "feedback"))
    operator.run("reconcile", "--repair", status=None)


@contextmanager
def _flower(rights: Rights, stack: LocalStack) -> Iterator[str]:
    """Flower, with its own login, once it hears of every task."""
    port, listeners = free_port(), stack.event_listeners()
    environment = stack.environment | {"FEEDBACK_BROKER_URL": rights.url("flower")}
    command = [sys.executable, "-m", "celery", "-A", "worker", "flower", "--address=127.0.0.1", f"--port={port}"]
    with running(command, log=stack.folder / "flower.log", env=environment) as flower:
        eventually(lambda: stack.event_listeners() > listeners, what=f"Flower listens: {flower.output()}")
        yield f"http://127.0.0.1:{port}"


def test_each_right_that_is_missing_is_named(rights: Rights, stack: LocalStack, operator: Operator) -> None:
    """By the worker while it starts, and by the doctor, in one sentence that says where the whole rights stand."""
    stack.environment["AQUILAX_API_KEY"] = "sandbox-key"
    lacking = {
        "its channels": ["resetchannels"],
        "the right +evalsha": ["-evalsha"],
        "its keys": ["resetkeys", "~feedback*"],
    }
    command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "--loglevel=INFO"]
    rights.change("worker", "resetchannels")
    with running(command, log=stack.folder / "worker.log", env=stack.environment) as worker:
        for named, rules in lacking.items():
            for name in ("worker", "operator"):
                rights.restore(name)
                rights.change(name, *rules)
            sentence = f"give the broker's login {named}"
            eventually(lambda sentence=sentence: sentence in worker.output(), what=sentence)  # type: ignore[misc]  # bound at once
            assert sentence in operator.run("doctor", status=1)
            assert "docs/settings.md" in worker.output()
        rights.restore("worker")
        eventually(lambda: " ready." in worker.output())
