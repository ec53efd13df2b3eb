"""``aquilax-feedback up``: the whole system until Ctrl-C, and again where it left off."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import requests

from tests.support.environment import clean_environment
from tests.support.local_system import addresses_of, child_named, children, press, runs, up_command
from tests.support.processes import eventually, running
from worker.sandbox.client import SandboxClient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Running


def test_the_stack_runs_until_ctrl_c_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Its addresses are printed as they would be exported; Ctrl-C ends every part.

    Its folder serves one stack at a time: two Valkeys would write to one append-only file.
    """
    with running(up_command(tmp_path), log=tmp_path / "up.log", env=clean_environment()) as up:
        addresses = addresses_of(up)
        event = press(addresses["FEEDBACK_BROKER_URL"])
        with SandboxClient(addresses["AQUILAX_BASE_URL"]) as sandbox:
            eventually(lambda: sandbox.received_for(event).status == "true", what="the press is delivered")
        flower = re.search(r"Flower is at (\S+);", up.output())
        assert flower
        assert requests.get(f"{flower[1]}/tasks", timeout=10).ok
        parts = children(up.process.pid)
        second = subprocess.run(
            up_command(tmp_path), env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 1
        assert f"is in use by process {up.process.pid}" in second.stderr

        up.process.send_signal(signal.SIGINT)

        assert up.process.wait(30) == 0
        assert len(parts) >= 4
        assert not [part for part in parts if runs(part)]


def test_what_waits_when_it_ends_is_delivered_when_it_starts_again(tmp_path: Path) -> None:
    """The folder keeps the queue; here the key is revoked when the press comes, and good at the next start.

    `kill` ends every part of the first. After `kill -9` the kernel ends those of the second.
    """
    command = up_command(tmp_path)
    with running(command, log=tmp_path / "first.log", env=clean_environment()) as first:
        addresses = addresses_of(first)
        with SandboxClient(addresses["AQUILAX_BASE_URL"]) as sandbox:
            sandbox.behave(revoked_key=True)
            event = press(addresses["FEEDBACK_BROKER_URL"])
            eventually(lambda: sandbox.received_for(event).received, what="the press is tried")
        parts = children(first.process.pid)
        assert first.stop() == 0
        assert len(parts) == 4
        assert not [part for part in parts if runs(part)]

    with (
        running(command, log=tmp_path / "second.log", env=clean_environment()) as second,
        SandboxClient(addresses_of(second)["AQUILAX_BASE_URL"]) as sandbox,
    ):
        eventually(lambda: sandbox.received_for(event).status == "true", what="the press is delivered after all")
        _assert_ends_with_all_its_parts(second, signal.SIGKILL)


def test_a_part_that_ends_by_itself_ends_the_stack_and_is_named(tmp_path: Path) -> None:
    """With the end of what it printed, so that the log need not be looked for."""
    with running(up_command(tmp_path), log=tmp_path / "up.log", env=clean_environment()) as up:
        addresses_of(up)

        os.kill(child_named(up.process.pid, "worker.operations.cli worker"), signal.SIGKILL)

        assert up.process.wait(60) == 1
        assert "worker1 has ended by SIGKILL" in up.output()
        assert "Traceback" not in up.output()


def test_a_terminal_that_is_closed_leaves_nothing_running(tmp_path: Path) -> None:
    """It says SIGHUP."""
    with running(up_command(tmp_path), log=tmp_path / "up.log", env=clean_environment()) as up:
        addresses_of(up)
        _assert_ends_with_all_its_parts(up, signal.SIGHUP)


def _assert_ends_with_all_its_parts(up: Running, ending: signal.Signals) -> None:
    parts = children(up.process.pid)

    up.process.send_signal(ending)

    up.process.wait(30)
    assert len(parts) == 4
    eventually(lambda: not [part for part in parts if runs(part)], what="every part has ended")
