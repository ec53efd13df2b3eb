"""The system that is hurt: the local stack, with a Redis of either make, and hands to freeze, kill and start again."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import redis

from tests.support.environment import clean_environment
from tests.support.processes import VALKEY
from worker.sandbox.parent_death_signal import with_parent_death_signal
from worker.sandbox.stack import LocalStack, Part, StackError, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["DEFAULTS", "SYNCED", "THREADS", "Server", "System", "binary_of", "leashed"]

THREADS: Final = 16
"""Of one worker: how many events it has on their way to AquilaX at once."""

DEFAULTS: Final = {
    "FEEDBACK_CONCURRENCY": str(THREADS),
    "FEEDBACK_MAX_ATTEMPTS": "100000",
    "FEEDBACK_RETRY_BASE": "0.2",
    "FEEDBACK_RETRY_CAP": "1",
    "FEEDBACK_RETRY_HORIZON": "86400",
    "FEEDBACK_REQUEST_TIMEOUT": "5",
}
"""Short waits, so that a run ends; an event dies only of what a scenario makes it die of."""

_ONE_AT_A_TIME: Final = threading.Lock()

SYNCED: Final = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", "")
"""What Redis has acknowledged is on the disk."""


@dataclass(kw_only=True)
class Server:
    """One Redis, which comes back with the same port, folder and options however it ended.

    Attributes:
        name: Of its folder and its log.
        command: The program and its arguments.
        port: Where it listens.
        part: Its process.
    """

    name: str
    command: list[str]
    port: int
    part: Part

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, *, timeout: float = 30) -> redis.Redis:
        """A connection for looking at it; the caller closes it."""
        return redis.Redis(port=self.port, socket_timeout=timeout, socket_connect_timeout=timeout)


@dataclass(kw_only=True)
class System(LocalStack):
    """The stack; see `LocalStack`. Only the thread that made it may start parts: they end with that thread.

    Attributes:
        ended: Workers that ended by themselves, and how.
        launched: Workers that were ever started.
    """

    environment: dict[str, str] = field(default_factory=lambda: clean_environment(coverage=False) | DEFAULTS)
    ended: list[str] = field(default_factory=list)
    launched: int = 0

    def start_server(self, make: str, *, name: str = "server", options: Sequence[str] = ()) -> Server:
        """Start a Redis that writes each command to the disk before it answers, and wait until it answers.

        Args:
            make: ``valkey`` or ``redis``.
            name: Of its folder and its log.
            options: More options.
        """
        binary = binary_of(make)
        port = free_port()
        data = self.folder / f"{name}-data"
        data.mkdir(exist_ok=True)
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
        command = [binary, *where, *SYNCED, *options]
        server = Server(name=name, command=command, port=port, part=self.start_part(name, command))
        self._await_server(server)
        self.environment.setdefault("FEEDBACK_BROKER_URL", server.url)
        return server

    def create_database(self) -> str:
        """Create the database of the dead letters, as the stack does; Alembic can do one at a time in a process."""
        with _ONE_AT_A_TIME:
            return super().create_database()

    def restart_server(self, server: Server) -> None:
        """Start it again on the same port and the same folder, and wait until it answers."""
        server.part = self.start_part(server.name, server.command)
        self._await_server(server)

    def launch(self, name: str, command: Sequence[str]) -> Part:
        """Start any program as a part, and wait for nothing."""
        return self.start_part(name, command)

    def await_up(self, part: Part, is_up: Callable[[], bool]) -> Part:
        """Wait until a part is up."""
        self.await_part(part, is_up)
        return part

    def await_said(self, part: Part, words: str) -> Part:
        """Wait until a part has printed these words."""
        return self.await_up(part, lambda: words in part.said())

    def launch_worker(self, app: str = "worker", *, options: Sequence[str] = (), launcher: Sequence[str] = ()) -> Part:
        """Start a worker under a name of its own, and wait for nothing.

        Args:
            app: The module of the Celery app.
            options: More options of ``celery worker``.
            launcher: The arguments of ``python`` that start another program.
        """
        self.launched += 1
        name = f"worker-{self.launched}"
        program = [sys.executable, *launcher, "-m", "celery", "-A", app, "worker"]
        return self.start_part(name, [*program, "-n", f"{name}@%h", "-l", "INFO", *options])

    def await_worker(self, part: Part) -> Part:
        """Wait until a worker takes messages."""
        return self.await_said(part, " ready.")

    def workers(self) -> list[Part]:
        """The workers that run."""
        return [part for part in self.parts if part.name.startswith("worker-") and part.is_running]

    def collect(self) -> list[Part]:
        """Take the workers off the books that have ended by themselves, and return them."""
        gone = [part for part in self.parts if part.name.startswith("worker-") and not part.is_running]
        for part in gone:
            self.parts.remove(part)
            self.ended.append(part.end)
        return gone

    def kill(self, part: Part) -> None:
        """End a part without a word (SIGKILL), as the kernel does when memory runs out."""
        part.process.kill()
        part.process.wait()
        self.parts.remove(part)

    def freeze(self, part: Part) -> None:
        """Stop a part where it is (SIGSTOP), and wait until it has stopped."""
        part.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, part.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self, part: Part) -> None:
        """Let a part go on."""
        if part.is_running:
            part.process.send_signal(signal.SIGCONT)

    @contextmanager
    def frozen(self, *parts: Part) -> Iterator[None]:
        """Freeze parts until the block ends."""
        for part in parts:
            self.freeze(part)
        try:
            yield
        finally:
            for part in parts:
                self.thaw(part)

    def stop(self, part: Part) -> None:
        """End one part in good order."""
        self.thaw(part)
        super().stop(part)

    def _await_server(self, server: Server) -> None:
        with closing(server.client(timeout=5)) as client:
            self.await_part(server.part, lambda: bool(client.ping()), but=redis.RedisError)


def binary_of(make: str) -> str:
    """The server of a make, ``valkey`` or ``redis``. Raises `StackError` if it is not installed."""
    binary = VALKEY if make == "valkey" else shutil.which("redis-server")
    if binary is None:
        raise StackError("redis-server is not installed; on Debian: apt-get install redis-server")
    return binary


def leashed(binary: str, folder: Path) -> str:
    """Write a program that runs another one on a leash of this process, and return it."""
    program = folder / "on-a-leash"
    words = " ".join(with_parent_death_signal([binary]))
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    return str(program)
