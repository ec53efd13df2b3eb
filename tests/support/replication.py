"""A real master with replicas that are in step, without sentinels."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.processes import RedisServer, eventually, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import redis

__all__ = ["ReplicatedRedis", "replicated_redis"]


@dataclass(frozen=True)
class ReplicatedRedis:
    """A master and its replicas."""

    master: RedisServer
    replicas: Sequence[RedisServer]

    @property
    def url(self) -> str:
        """Where the master is."""
        return self.master.url

    def client(self) -> redis.Redis:
        """A connection to the master; the caller closes it."""
        return self.master.client()

    def await_replicas(self, count: int) -> None:
        """Wait until the master has so many replicas, and they have what it writes.

        One that INFO calls online may get the stream of writes up to a second later.
        """
        with self.client() as client:
            eventually(lambda: _online(client) == count, what=f"{count} replicas are there")
            if count:
                client.set("in step", 1, px=1)
                assert client.wait(count, 30_000) == count

    def queued(self) -> list[int]:
        """How many messages each server has in the queue, the master first."""
        found = []
        for server in (self.master, *self.replicas):
            with server.client() as client:
                found.append(int(client.llen("feedback")))
        return found


@contextmanager
def replicated_redis(binary: str, folder: Path, *options: str, replicas: int = 1) -> Iterator[ReplicatedRedis]:
    """Start a master with replicas, and wait until they are in step.

    Args:
        binary: A Valkey or Redis server.
        folder: Where they keep their files and logs.
        options: More options of all servers, such as ``--appendonly yes``.
        replicas: How many.
    """
    quick = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
    with ExitStack() as opened:
        master = opened.enter_context(redis_server(binary, folder / "master", *quick, *options))
        following = ["--replicaof", "127.0.0.1", str(master.port)]
        started = [
            opened.enter_context(redis_server(binary, folder / f"replica{number}", *quick, *following, *options))
            for number in range(replicas)
        ]
        group = ReplicatedRedis(master, started)
        group.await_replicas(replicas)
        yield group


def _online(client: redis.Redis) -> int:
    info = client.info("replication")
    return sum(isinstance(value, dict) and value.get("state") == "online" for value in info.values())
