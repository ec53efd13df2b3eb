"""Watches a run from the side: how far deliveries are, and how much memory the workers use."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import requests

from worker.sandbox.client import SandboxClient, SandboxError

if TYPE_CHECKING:
    from tests.chaos.system import System

__all__ = ["MIB", "Memory", "Progress", "resident"]

MIB: Final = 1024 * 1024
_LOOKS_EVERY: Final = 0.2
_SPARING: Final = 20
"""The more there is to count, the more seldom it is asked: counting shall not keep AquilaX from answering."""

_SAMPLES_EVERY: Final = 1.0


class Progress:
    """How many events AquilaX has taken, over time.

    Args:
        address: The local AquilaX.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._seen: list[tuple[float, int]] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def delivered(self) -> int:
        """Events that AquilaX had taken when it was last looked at."""
        return self._seen[-1][1] if self._seen else 0

    def first_after(self, moment: float) -> float | None:
        """Return how many seconds after a moment of `time.monotonic` the next event was delivered, if one was."""
        before = max((delivered for at, delivered in self._seen if at <= moment), default=0)
        later = (at - moment for at, delivered in self._seen if at > moment and delivered > before)
        return next(later, None)

    def _watch(self) -> None:
        with SandboxClient(self._address) as sandbox:
            pause = _LOOKS_EVERY
            while not self._ending.wait(pause):
                asked = time.monotonic()
                try:
                    delivered = sandbox.received().delivered
                except (requests.RequestException, SandboxError):
                    continue
                answered = time.monotonic()
                self._seen.append((answered, delivered))
                pause = max(_LOOKS_EVERY, _SPARING * (answered - asked))


class Memory:
    """The resident memory of every worker, over its life.

    Args:
        system: Whose workers are watched.

    Attributes:
        samples: By worker: seconds of its life and bytes.
    """

    def __init__(self, system: System) -> None:
        self.samples: dict[str, list[tuple[float, int]]] = {}
        self._system = system
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def grown(self, *, settled: float) -> dict[str, tuple[int, int]]:
        """Return, by worker, the most memory it had in its first seconds, and the most after them, in bytes.

        Args:
            settled: Seconds of a worker's life in which it may take what it needs.
        """
        grown = {}
        for name, samples in self.samples.items():
            early = [size for age, size in samples if age <= settled]
            late = [size for age, size in samples if age > settled]
            if early and late:
                grown[name] = (max(early), max(late))
        return grown

    def _watch(self) -> None:
        born: dict[str, float] = {}
        while not self._ending.wait(_SAMPLES_EVERY):
            for part in self._system.workers():
                size = resident(part.process.pid)
                if size:
                    age = time.monotonic() - born.setdefault(part.name, time.monotonic())
                    self.samples.setdefault(part.name, []).append((age, size))


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) * 1024 if "VmRSS" in lines else 0
