"""Chat backends that share a spool while Redis is frozen, stopped or full, the disk is full, and they are killed."""

from __future__ import annotations

import re
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from producer.spool import status_of
from tests.chaos.load import request_id
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.run import Run
    from worker.sandbox.stack import Part

__all__ = ["SCENARIOS"]

_BACKENDS: Final = 4
_RATE: Final = 500
"""Presses a second of one backend."""

_SENT_WITHIN: Final = 90
_PATIENCE: Final = 300
"""Seconds for delivering: 2,000 presses a second are more than two workers deliver."""


class _Backends:
    """Processes that press, and share a spool."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._spool = run.system.folder / "spool"
        self._rate = _RATE // 5 if run.short else _RATE
        self._parts: dict[str, Part] = {}
        self._running: list[Part] = []
        self.most = 0
        self.refused = 0

    def start(self, count: int) -> None:
        """Start so many more, and wait until they press."""
        command = [sys.executable, "-m", "tests.chaos.spooling_backend", self._run.server.url, str(self._spool)]
        started: list[Part] = []
        for _ in range(count):
            prefix = f"5b00{len(self._parts):04x}"
            part = self._run.system.launch(f"backend-{len(self._parts)}", [*command, prefix, str(self._rate)])
            self._parts[prefix] = part
            started.append(part)
        self._running += started
        self._run.eventually(lambda: all("+ " in part.said() for part in started), what="backends press")

    def replace(self) -> None:
        """Kill the oldest one, and start another."""
        self._run.system.kill(self._running.pop(0))
        self._run.faults += 1
        self.start(1)

    def look(self) -> int:
        """Return how many events wait on disk."""
        waiting = status_of(self._spool).events
        self.most = max(self.most, waiting)
        return waiting

    def end(self) -> None:
        """Let the presses end, wait until all is sent, and take down what was acknowledged."""
        for part in self._running:
            part.process.terminate()
        self._run.eventually(
            lambda: not any(part.is_running for part in self._running), within=_SENT_WITHIN, what="the spool is sent"
        )
        self._run.require(self.look() == 0, "something is left in the spool")
        for prefix, part in self._parts.items():
            said = part.said()
            numbers = re.findall(r"^\+ (\d+)$", said, re.MULTILINE)
            self._run.acknowledged += [request_id(prefix, int(number)) for number in numbers]
            self.refused += len(re.findall(r"^- \d+$", said, re.MULTILINE))
            self._run.require("Traceback" not in said, f"{part.name} failed: {said[-500:]}")
        self._run.require(self.most, "nothing was spooled")
        self._run.notes.append(f"up to {self.most:,} events waited on disk, and {self.refused:,} presses were refused")


@contextmanager
def _pressing(run: Run) -> Iterator[_Backends]:
    run.start_workers(2)
    backends = _Backends(run)
    backends.start(_BACKENDS)
    run.pause(1)
    yield backends
    run.over()
    backends.end()


def _killed(run: Run) -> None:
    """Redis hangs, and one backend after the other is killed while it spools, and replaced by another."""
    with _pressing(run) as backends:
        with run.fault():
            run.system.freeze(run.server.part)
        for _ in range(2 if run.short else 8):
            run.pause(0.5)
            backends.replace()
        backends.look()
        run.system.thaw(run.server.part)
    run.require(not backends.refused, f"{backends.refused} presses were refused")


def _unavailable(run: Run) -> None:
    """Redis hangs, is stopped, is full, and is killed, one after the other."""
    with _pressing(run) as backends:
        with run.fault():
            run.system.freeze(run.server.part)
        run.pause(5)
        backends.look()
        run.system.thaw(run.server.part)
        run.pause(1)
        for end in (run.system.stop, run.system.kill):
            with run.fault():
                end(run.server.part)
            run.pause(3)
            backends.look()
            run.system.restart_server(run.server)
            run.pause(2)
        with closing(run.client()) as client:
            with run.fault():
                client.config_set("maxmemory", 1)
            run.pause(4)
            backends.look()
            client.config_set("maxmemory", 0)
    run.require(not backends.refused, f"{backends.refused} presses were refused")


def _disk_full(run: Run) -> None:
    """Redis is stopped, files can't grow, and then the spool is full: what is refused is told, the rest is kept."""
    with _pressing(run) as backends:
        with run.fault():
            run.system.stop(run.server.part)
        run.pause(8)
        backends.look()
        run.system.restart_server(run.server)
    run.require(backends.refused, "no press was refused")


_BACK_AGAIN: Final = 10
"""Seconds after the return of Redis in which workers consume again: docs/guarantees.md promises it."""

SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        name="spool: kill -9 of backends while Redis is frozen",
        play=_killed,
        short=True,
        patience=_PATIENCE,
        recovers=_BACK_AGAIN,
    ),
    Scenario(
        name="spool: Redis frozen, stopped, killed and full",
        play=_unavailable,
        patience=_PATIENCE,
        recovers=_BACK_AGAIN,
    ),
    Scenario(
        name="spool: the disk is full",
        play=_disk_full,
        environment={"CHAOS_FILE_BYTES": "200000", "FEEDBACK_SPOOL_MAX_BYTES": "2000000"},
        patience=_PATIENCE,
        recovers=_BACK_AGAIN,
    ),
)
