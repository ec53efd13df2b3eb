"""A real cluster on loopback - primaries, a replica of each - whose queue's slot is moved, lost and taken over."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import redis

from producer.partitions import ON_A_CLUSTER, slot_of, tags
from tests.support.processes import RedisServer, eventually, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["CLUSTER_PREFIX", "PREFIXES", "SLOT", "RedisCluster", "redis_cluster", "slot_at"]

_SLOTS: Final = 16_384
PREFIXES: Final = tags(ON_A_CLUSTER)
"""What stands before the keys of each partition."""

CLUSTER_PREFIX: Final = PREFIXES[0]
"""What stands before the keys of the first partition."""


def slot_at(partition: int) -> int:
    """A partition's slot."""
    return slot_of(PREFIXES[partition].strip("{}"))


SLOT: Final = slot_at(0)
"""The first partition's slot."""


@dataclass
class RedisCluster:
    """A cluster.

    Attributes:
        servers: Every node.
        login: What stands before the hosts in `url`, as ``:password@``.
        password: Of every node.
    """

    servers: list[RedisServer] = field(default_factory=list)
    login: str = ""
    password: str | None = None

    @property
    def url(self) -> str:
        """The broker's URL, which names every node."""
        return f"redis+cluster://{self.login}{','.join(f'127.0.0.1:{server.port}' for server in self.servers)}/0"

    def client(self, server: RedisServer) -> redis.Redis:
        """A connection to one node; the caller closes it."""
        return redis.Redis(port=server.port, password=self.password, decode_responses=True, socket_timeout=10)

    def ask(self, server: RedisServer, *words: Any) -> Any:
        """What one node replies to a command."""
        with self.client(server) as client:
            return client.execute_command(*words)

    def owner(self, partition: int = 0) -> RedisServer:
        """The node that has a partition's slot."""
        return cast("RedisServer", eventually(partial(self._owner, partition), what="a node has the slot"))

    def await_owner_but(self, old: RedisServer, partition: int = 0) -> RedisServer:
        """Wait until another node has the slot, and return it."""
        found = eventually(partial(self._owner, partition, but=old), what="another node has the slot")
        return cast("RedisServer", found)

    def replica_of(self, primary: RedisServer) -> RedisServer:
        """A node that follows another."""
        for server in self.servers:
            if server is not primary:
                role = self.ask(server, "ROLE")
                if role[0] == "slave" and int(role[2]) == primary.port:
                    return server
        raise AssertionError(f"no replica follows {primary.port}")

    def primaries(self) -> list[RedisServer]:
        """The nodes that are primaries."""
        return [server for server in self.servers if self.ask(server, "ROLE")[0] == "master"]

    def await_replicas(self, partition: int = 0) -> None:
        """Wait until what the owner has is with its replica."""
        with self.client(self.owner(partition)) as client:
            assert client.wait(1, 10_000) == 1

    def queued(self) -> tuple[int, int]:
        """How many wait in the queue's lists, and how many were counted as accepted, of all partitions."""
        queued, accepted = zip(*self.of_each_partition(), strict=True)
        return sum(queued), sum(accepted)

    def of_each_partition(self) -> list[tuple[int, int]]:
        """How many wait in each partition's list, and how many were counted there as accepted."""
        return [
            (
                int(self.ask(self.owner(partition), "LLEN", f"{prefix}feedback")),
                int(self.ask(self.owner(partition), "HGET", f"{prefix}feedback:counts", "accepted") or 0),
            )
            for partition, prefix in enumerate(PREFIXES)
        ]

    def request_ids(self) -> dict[int, list[str]]:
        """The request_ids of the messages in each partition's list, the newest first."""
        found = {}
        for partition, prefix in enumerate(PREFIXES):
            messages = self.ask(self.owner(partition), "LRANGE", f"{prefix}feedback", 0, -1)
            found[partition] = [json.loads(json.loads(message)["body"])[1]["request_id"] for message in messages]
        return found

    def begin_to_move(self, partition: int, old: RedisServer, new: RedisServer) -> None:
        """Begin to move a partition's slot key by key."""
        self.ask(new, "CLUSTER", "SETSLOT", slot_at(partition), "IMPORTING", self.node_id(old))
        self.ask(old, "CLUSTER", "SETSLOT", slot_at(partition), "MIGRATING", self.node_id(new))

    def move_key(self, partition: int, name: str, old: RedisServer, new: RedisServer) -> None:
        """Move one of the slot's keys."""
        login = ["AUTH", self.password] if self.password else []
        key = PREFIXES[partition] + name
        assert self.ask(old, "MIGRATE", "127.0.0.1", new.port, key, 0, 5000, *login) in {"OK", "NOKEY"}

    def end_move(self, partition: int, old: RedisServer, new: RedisServer) -> None:
        """End the move, when all keys are there."""
        for server in (new, old, *self.primaries()):
            self.ask(server, "CLUSTER", "SETSLOT", slot_at(partition), "NODE", self.node_id(new))

    def node_id(self, server: RedisServer) -> str:
        """The name by which the nodes know one of them."""
        return str(self.ask(server, "CLUSTER", "MYID"))

    def _owner(self, partition: int, *, but: RedisServer | None = None) -> RedisServer | None:
        for server in self.servers:
            if server is but or server.run.process.poll() is not None:
                continue
            try:
                self.ask(server, "EXISTS", f"{PREFIXES[partition]}x")
            except redis.RedisError as error:
                if type(error) is not redis.exceptions.AskError:  # it moves, and is there until it has
                    continue
            return server
        return None


@contextmanager
def redis_cluster(
    binary: str,
    folder: Path,
    *,
    primaries: int = 3,
    replicas: bool = True,
    password: str | None = None,
    options: Sequence[str] = (),
    own_options: Sequence[Sequence[str]] = (),
) -> Iterator[RedisCluster]:
    """Start a cluster, and wait until every node serves.

    Args:
        binary: The server.
        folder: Where the nodes write.
        primaries: How many there are; the slots are divided among them.
        replicas: Whether each has a replica.
        password: Of every node.
        options: More for every node.
        own_options: More for each node.
    """
    cluster = RedisCluster()
    every = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0", *options]
    with ExitStack() as opened:
        for number in range(primaries * (2 if replicas else 1)):
            own = own_options[number] if own_options else ()
            cluster.servers.append(opened.enter_context(redis_server(binary, folder / str(number), *every, *own)))
        _join(cluster, primaries)
        if password is not None:
            _protect(cluster, password)
        yield cluster


def _join(cluster: RedisCluster, primaries: int) -> None:
    first, *others = cluster.servers
    ends = [_SLOTS * number // primaries for number in range(primaries + 1)]
    for number, server in enumerate(cluster.servers):
        cluster.ask(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        if number < primaries:
            cluster.ask(server, "CLUSTER", "ADDSLOTSRANGE", ends[number], ends[number + 1] - 1)
    with cluster.client(first) as client:
        among_nodes = client.config_get("cluster-port")["cluster-port"]
    for server in others:
        cluster.ask(server, "CLUSTER", "MEET", "127.0.0.1", first.port, among_nodes)
    names = {cluster.node_id(server) for server in cluster.servers}  # until they have met they make names up for others
    eventually(lambda: all(names <= _known(cluster, each) for each in cluster.servers), what="they know each other")
    for number, server in enumerate(cluster.servers[primaries:]):
        cluster.ask(server, "CLUSTER", "REPLICATE", cluster.node_id(cluster.servers[number]))
    eventually(partial(_serves, cluster, primaries), what="all nodes serve, and the replicas are in step")


def _known(cluster: RedisCluster, server: RedisServer) -> set[str]:
    """The names of the nodes that one of them knows."""
    with cluster.client(server) as client:
        found: dict[str, dict[str, str]] = client.execute_command("CLUSTER NODES")
        return {node["node_id"] for node in found.values()}


def _serves(cluster: RedisCluster, primaries: int) -> bool:
    states = [cluster.ask(server, "CLUSTER", "INFO") for server in cluster.servers]
    roles = [cluster.ask(server, "ROLE") for server in cluster.servers[primaries:]]
    return all("cluster_state:ok" in state for state in states) and all(role[3:4] == ["connected"] for role in roles)


def _protect(cluster: RedisCluster, password: str) -> None:
    for server in cluster.servers:
        with cluster.client(server) as client:
            client.config_set("masterauth", password)
            client.config_set("requirepass", password)
    cluster.login, cluster.password = f":{password}@", password
