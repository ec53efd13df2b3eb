"""A real master, its replicas and the sentinels that watch them, for tests that let one take over from another."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import redis

from tests.support.processes import RedisServer, eventually, running
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["MASTER", "SentinelGroup", "sentinel_group"]

MASTER = "feedback-master"
"""The name under which the sentinels watch the master."""


@dataclass
class SentinelGroup:
    """A master, replicas and sentinels, all on loopback.

    Attributes:
        servers: Every Redis by its port. It is the sentinels who know which of them is the master.
        sentinels: Every sentinel by its port.
        login: What stands before the hosts in `url`, as ``:password@``.
        options: What stands behind, as ``?name=value``.
    """

    binary: str
    folder: Path
    arguments: Sequence[str]
    login: str = ""
    options: str = ""
    password: str | None = None
    sentinel_password: str | None = None
    servers: dict[int, RedisServer] = field(default_factory=dict)
    sentinels: dict[int, RedisServer] = field(default_factory=dict)
    _opened: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """The broker's URL that names the sentinels."""
        places = ";".join(f"sentinel://{self.login}127.0.0.1:{port}" for port in self.sentinels)
        return f"{places}/0{self.options}"

    @property
    def sentinel_master(self) -> str:
        """The name that goes with the URL."""
        return MASTER

    def client(self, port: int) -> redis.Redis:
        """A connection for looking at a server; the caller closes it."""
        return redis.Redis(port=port, password=self.password, decode_responses=True)

    def ask(self, *words: str) -> list[object]:
        """What each sentinel that answers says to a command."""
        said = []
        for port in self.sentinels:
            try:
                with redis.Redis(port=port, password=self.sentinel_password, decode_responses=True) as sentinel:
                    said.append(sentinel.execute_command("SENTINEL", *words))
            except redis.RedisError:
                continue
        return said

    def master(self) -> RedisServer:
        """What all sentinels that answer take for the master."""
        return self._await_master(bool)

    def replicas(self) -> list[RedisServer]:
        """Every server but the master, be it alive or not."""
        master = self.master()
        return [server for server in self.servers.values() if server is not master]

    def kill_master(self) -> RedisServer:
        """Kill the master with SIGKILL, and return it."""
        master = self.master()
        master.run.kill()
        return master

    def await_successor(self, old: RedisServer, *, timeout: float = 60) -> RedisServer:
        """Wait until the sentinels agree on another master, and it takes writes; return it.

        Args:
            old: The master of before.
            timeout: How long to wait, in seconds.
        """
        successor = self._await_master(lambda port: port != old.port, timeout=timeout)
        with self.client(successor.port) as client:
            eventually(lambda: client.info("replication")["role"] == "master", timeout=timeout, what="it is a master")
        return successor

    def restart(self, server: RedisServer) -> RedisServer:
        """Start a server that was killed, with what it has saved; the sentinels make it a replica."""
        return self._start(server.port)

    def start(self, *, replicas: int, sentinels: int, down_after: int) -> None:
        """Start all of it, and wait until every sentinel knows every replica and every other sentinel."""
        master = self._start(free_port())
        for _ in range(replicas):
            self._start(free_port(), "--replicaof", "127.0.0.1", str(master.port))
        self.await_replicas(replicas)
        for _ in range(sentinels):
            self._start_sentinel(free_port(), master.port, quorum=sentinels // 2 + 1, down_after=down_after)
        eventually(
            lambda: self._seen() == [(replicas, sentinels - 1)] * sentinels,
            timeout=60,
            what="the sentinels know each other and the replicas",
        )

    def await_replicas(self, count: int) -> None:
        """Wait until so many replicas are in step with a master, any of the servers."""
        eventually(lambda: self._in_step() == count, timeout=60, what=f"{count} replicas are in step")

    def _in_step(self) -> int:
        in_step = 0
        for server in self.servers.values():
            with self.client(server.port) as client:
                replication = client.info("replication")
                in_step += replication["role"] == "slave" and replication["master_link_status"] == "up"
        return in_step

    def _await_master(self, meant: Callable[[int], bool], *, timeout: float = 30) -> RedisServer:
        port = eventually(
            lambda: next(filter(meant, self._agreed_ports()), 0),
            timeout=timeout,
            what="the sentinels agree on a master",
        )
        return self.servers[port]

    def _agreed_ports(self) -> list[int]:
        """The master's port, if all who answer say the same."""
        said = {str(place) for place in self.ask("GET-MASTER-ADDR-BY-NAME", MASTER)}
        return [port for port in self.servers if said == {str(["127.0.0.1", str(port)])}]

    def _seen(self) -> list[tuple[int, int]]:
        seen = []
        for state in self.ask("MASTER", MASTER):
            assert isinstance(state, dict)
            seen.append((int(state["num-slaves"]), int(state["num-other-sentinels"])))
        return seen

    def _start(self, port: int, *options: str) -> RedisServer:
        folder = self.folder / f"redis-{port}"
        folder.mkdir(exist_ok=True)
        command = [self.binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        command += ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *self.arguments, *options]
        if self.password is not None:
            command += ["--requirepass", self.password, "--masterauth", self.password]
        self.servers[port] = self._run(command, folder, port, self.password)
        return self.servers[port]

    def _start_sentinel(self, port: int, master: int, *, quorum: int, down_after: int) -> None:
        folder = self.folder / f"sentinel-{port}"
        folder.mkdir()
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor {MASTER} 127.0.0.1 {master} {quorum}",
            f"sentinel down-after-milliseconds {MASTER} {down_after}",
            f"sentinel failover-timeout {MASTER} 10000",
        ]
        if self.password is not None:
            lines.append(f"sentinel auth-pass {MASTER} {self.password}")
        if self.sentinel_password is not None:
            lines.append(f"requirepass {self.sentinel_password}")
        configuration = folder / "sentinel.conf"
        configuration.write_text("\n".join([*lines, ""]))
        command = [self.binary, str(configuration), "--sentinel"]
        self.sentinels[port] = self._run(command, folder, port, self.sentinel_password)

    def _run(self, command: list[str], folder: Path, port: int, password: str | None) -> RedisServer:
        process = self._opened.enter_context(running(command, log=folder / "redis.log"))
        with redis.Redis(port=port, password=password) as client:
            eventually(lambda: _answers(client), what=f"{command[0]} answers on port {port}")
        return RedisServer(port, process)


@contextmanager
def sentinel_group(
    binary: str,
    folder: Path,
    *arguments: str,
    replicas: int = 1,
    sentinels: int = 3,
    down_after: int = 1_000,
    password: str | None = None,
    sentinel_password: str | None = None,
) -> Iterator[SentinelGroup]:
    """Start a master with its replicas and sentinels, and end what is left of them with the block.

    Args:
        binary: A Valkey or Redis server; it runs as a sentinel, too.
        folder: Where they keep their files and logs; it is made.
        arguments: More of the servers' options, such as ``--appendonly yes``.
        replicas: How many.
        sentinels: How many; the greater half must agree that the master is gone.
        down_after: Milliseconds without an answer after which the master counts as gone.
        password: The servers', if they want one; it stands in the URL.
        sentinel_password: The sentinels' own, if they want one; it stands in the URL.
    """
    folder.mkdir(parents=True, exist_ok=True)
    group = SentinelGroup(
        binary,
        folder,
        arguments,
        login=f":{password}@" if password else "",
        options=f"?sentinel_password={sentinel_password}" if sentinel_password else "",
        password=password,
        sentinel_password=sentinel_password,
    )
    try:
        group.start(replicas=replicas, sentinels=sentinels, down_after=down_after)
        yield group
    finally:
        group._opened.close()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
