"""``aquilax-feedback up`` as a process: what it prints, and what it runs."""

from __future__ import annotations

import re
import subprocess
import uuid
from typing import TYPE_CHECKING

from producer import FeedbackProducer
from tests.support.processes import eventually
from tests.support.sandbox import PROGRAM

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Running

__all__ = ["addresses_of", "child_named", "children", "press", "runs", "up_command"]


def up_command(folder: Path, *options: str) -> list[str]:
    """The command that runs the whole system in a folder of this one."""
    return [PROGRAM, "up", "--folder", str(folder / "var"), *options]


def press(broker: str) -> str:
    """Enqueue one event, and return its request_id."""
    with FeedbackProducer(broker, timeout=5) as producer:
        return producer.enqueue(str(uuid.uuid4()), status=True, org="org-1", group="group-1").request_id


def addresses_of(up: Running) -> dict[str, str]:
    """What it says is to be exported, once it is up."""
    eventually(lambda: "Flower is at" in up.output() or up.process.poll() is not None, timeout=180)
    assert up.process.poll() is None, up.output()
    return dict(re.findall(r"^export (\w+)=(\S+)$", up.output(), re.MULTILINE))


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return [int(child) for child in listed.stdout.split()]


def child_named(pid: int, words: str) -> int:
    """The one of them that has these words in its command."""
    for child in children(pid):
        shown = subprocess.run(["ps", "-o", "args=", "-p", str(child)], capture_output=True, text=True, check=True)
        if words in shown.stdout:
            return child
    raise AssertionError(f"{pid} has no child {words}")


def runs(pid: int) -> bool:
    """Whether it runs; one that has ended and was not waited for yet (Z) does not."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] not in {"", "Z"}
