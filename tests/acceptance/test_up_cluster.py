"""``aquilax-feedback up --cluster``: a killed primary comes back, nothing is lost, and the next start goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from producer import BrokerUnavailable, EnqueueUncertain, FeedbackEvent, FeedbackProducer
from tests.support.environment import clean_environment
from tests.support.local_system import addresses_of, child_named, children, press, runs, up_command
from tests.support.processes import Running, eventually, running
from tests.support.sandbox import PROGRAM
from worker.sandbox.client import SandboxClient

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NODE = re.compile(
    r"^node-\d  127\.0\.0\.1:\d+  process \d+  (primary of slots \d+-\d+|replica of node-\d)$", re.MULTILINE
)


def test_a_killed_primary_is_replaced_and_comes_back_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """As it says itself: which process to kill, who takes over, what comes back, and that the books balance.

    A part that is no node ends the stack, as it does without a cluster.
    """
    command = up_command(tmp_path, "--cluster")
    with running(command, log=tmp_path / "first.log", env=clean_environment()) as first:
        addresses = addresses_of(first)
        assert addresses["FEEDBACK_ENQUEUE_REPLICAS"] == "1"
        assert [role.split()[0] for role in NODE.findall(first.output())] == ["primary"] * 3 + ["replica"] * 3
        with SandboxClient(addresses["AQUILAX_BASE_URL"]) as sandbox:
            events = [press(addresses["FEEDBACK_BROKER_URL"])]
            _await_delivered(sandbox, events)

            killed = _kill_as_told(first)
            events += [_press_until_taken(addresses) for _ in range(5)]

            _await_delivered(sandbox, events)
            _await_said(first, rf"node-\d has taken over slots \S+ from {killed}, \d+ s after that one had ended\.")
            _await_said(first, rf"{killed} is back: process \d+, replica of node-\d\.")
            eventually(lambda: "balanced" in _command(addresses, "reconcile"), what="the books balance")
            waiting = _press_what_waits(sandbox, addresses)
            accepted = _accepted(addresses)
        parts = children(first.process.pid)
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(60) == 0
        assert len(parts) == 9
        assert not [part for part in parts if runs(part)]

    fewer = clean_environment() | {"FEEDBACK_ENQUEUE_REPLICAS": "0"}
    with running(command, log=tmp_path / "second.log", env=fewer) as second:
        again = addresses_of(second)
        assert again["FEEDBACK_BROKER_URL"] == addresses["FEEDBACK_BROKER_URL"]
        assert again["FEEDBACK_ENQUEUE_REPLICAS"] == "0"
        with SandboxClient(again["AQUILAX_BASE_URL"]) as sandbox:
            _await_delivered(sandbox, [waiting])
        assert _accepted(again) == accepted >= len(events) + 1
        parts = children(second.process.pid)
        os.kill(child_named(second.process.pid, "worker.operations.cli worker"), signal.SIGKILL)
        assert second.process.wait(60) == 1
        assert "worker1 has ended by SIGKILL" in second.output()
        assert not [part for part in parts if runs(part)]


def _kill_as_told(up: Running) -> str:
    """Kill the node that is proposed, and return its name."""
    _await_said(up, r"To see a failover")
    told = re.search(r"kill -9 (\d+) ends (node-\d), the primary with most of the keys", up.output())
    assert told
    assert int(told[1]) in children(up.process.pid)
    os.kill(int(told[1]), signal.SIGKILL)
    _await_said(up, rf"{told[2]} \(process {told[1]}, primary of slots .*\) has ended by SIGKILL.* takes over\.")
    return told[2]


def _press_until_taken(addresses: Mapping[str, str]) -> str:
    """Enqueue one event as a backend does that waits for a replica, again until it is acknowledged."""
    event = FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="org-1", group="group-1")

    def is_taken() -> bool:
        with suppress(BrokerUnavailable, EnqueueUncertain):
            producer.enqueue(event)
            return True
        return False

    with FeedbackProducer(addresses["FEEDBACK_BROKER_URL"], timeout=5, replicas=1) as producer:
        eventually(is_taken, what="the event is acknowledged")
    return event.request_id


def _press_what_waits(sandbox: SandboxClient, addresses: Mapping[str, str]) -> str:
    """Enqueue an event that stays in the queue, as the key is revoked."""
    sandbox.behave(revoked_key=True)
    event = press(addresses["FEEDBACK_BROKER_URL"])
    eventually(lambda: sandbox.received_for(event).received, what="the press is tried")
    return event


def _await_delivered(sandbox: SandboxClient, events: list[str]) -> None:
    eventually(
        lambda: all(sandbox.received_for(event).status == "true" for event in events), what="every event is delivered"
    )


def _await_said(up: Running, line: str) -> None:
    eventually(lambda: re.search(line, up.output()) or up.process.poll() is not None, what=f"it says {line}")
    assert up.process.poll() is None, up.output()


def _accepted(addresses: Mapping[str, str]) -> int:
    told = re.search(r"^accepted +(\d+)$", _command(addresses, "status"), re.MULTILINE)
    assert told
    return int(told[1])


def _command(addresses: Mapping[str, str], name: str) -> str:
    done = subprocess.run(
        [PROGRAM, name],
        env=clean_environment() | dict(addresses),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr
