"""Real servers and processes for tests: each is started here, and ended here, by its own id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import redis

from worker.sandbox.stack import free_port, valkey_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")

_PORTS_TRIED = 3

ROOT = Path(__file__).resolve().parents[2]
VALKEY = valkey_binary()


@dataclass(frozen=True)
class Running:
    """A process that a test started."""

    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def pause(self) -> None:
        """Freeze it, as a machine does that swaps or a hypervisor that migrates."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word, as the kernel does when memory runs out."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, timeout: float = 30) -> int:
        """Ask it to end, and return its exit status; killed after `timeout` seconds."""
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


@contextmanager
def running(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> Iterator[Running]:
    """Run a command until the block ends; its output goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, cwd=cwd
        )
    started = Running(process, log)
    try:
        yield started
    finally:
        started.stop()


def eventually(look: Callable[[], T], *, timeout: float = 60, what: str = "") -> T:
    """Return the first true thing that `look` sees; fail after `timeout` seconds.

    A look takes CPU from what it waits for: those that take long, by a command or by many requests, have as long a
    pause between them, and a wait that lasts is looked at less often, up to a twentieth of it.
    """
    began = time.monotonic()
    while True:
        looked = time.monotonic()
        seen = look()
        if seen:
            return seen
        now = time.monotonic()
        if now - began > timeout:
            pytest.fail(f"not within {timeout} s: {what or look}; last seen: {seen!r}")
        time.sleep(max(0.02, min(now - looked, 1), min((now - began) / 20, 0.25)))


@dataclass(frozen=True)
class RedisServer:
    """A real Redis or Valkey."""

    port: int
    run: Running

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """A connection for looking at it; the caller closes it."""
        return redis.Redis(port=self.port, decode_responses=True)


@contextmanager
def redis_server(binary: str, folder: Path, *options: str) -> Iterator[RedisServer]:
    """Start a Redis (or Valkey) that keeps nothing, and wait until it answers.

    One that ends at once has met another process on its port, which was free when it was chosen: it gets another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "redis.log"
    for _ in range(_PORTS_TRIED):
        port = free_port()
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options]
        if "--cluster-enabled" in options:  # its own choice, 10,000 further, may be taken
            command += ["--cluster-port", str(free_port())]
        with running(command, log=log) as process:
            server = RedisServer(port, process)
            eventually(partial(_answers_or_has_ended, server), what=f"{binary} answers")
            if process.process.poll() is None:
                yield server
                return
    pytest.fail(f"{binary} does not start:\n{log.read_text()}")


def _answers_or_has_ended(server: RedisServer) -> bool:
    with server.client() as client:
        return server.run.process.poll() is not None or _answers(client)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def need(program: str) -> str:
    """Return where a program is. Where it is missing the test is left out, and says so; in CI it fails instead."""
    if found := shutil.which(program):
        return found
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed, and in CI nothing is left out")
    pytest.skip(f"{program} is not installed")
