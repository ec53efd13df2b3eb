"""A cluster that is hurt: nodes that are killed, frozen and started again on their ports, and slots that are moved."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import redis

from tests.chaos.system import binary_of, leashed
from tests.support.clusters import PREFIXES, RedisCluster, redis_cluster, slot_at
from tests.support.processes import RedisServer, eventually, redis_server, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["ChaosCluster", "chaos_cluster"]

_SLOTS: Final = 16_384
_NODE_TIMEOUT: Final = 2000
_OPTIONS: Final = ("--appendonly", "yes", "--maxmemory-policy", "noeviction")
_NODE: Final = (
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    str(_NODE_TIMEOUT),
    "--repl-diskless-sync-delay",
    "0",
)
_PATIENCE: Final = 5.0


@dataclass
class ChaosCluster:
    """A cluster of three primaries and a replica of each.

    Attributes:
        nodes: The nodes, as tests have them.
        binary: The server.
        folder: Where the nodes write.
        silent: Ports of nodes that are frozen: they are not asked.
    """

    nodes: RedisCluster
    binary: str
    folder: Path
    silent: set[int] = field(default_factory=set)
    _opened: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """The broker's URL."""
        return self.nodes.url

    def client(self, server: RedisServer | None = None) -> redis.Redis:
        """A connection to a node, or to the first partition's; the caller closes it."""
        port = (server or self.owners()[0]).port
        return redis.Redis(port=port, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE)

    def reachable(self) -> list[RedisServer]:
        """The nodes that run and are not frozen."""
        return [each for each in self.nodes.servers if each.run.process.poll() is None and each.port not in self.silent]

    def owners(self) -> dict[int, RedisServer]:
        """The node that has each partition, by the nodes' own word.

        Raises:
            redis.RedisError: A partition is nowhere.
        """
        found = {number: server for server in self.reachable() for number in self._partitions_at(server)}
        if len(found) < len(PREFIXES):
            missing = sorted(set(range(len(PREFIXES))) - set(found))
            raise redis.ConnectionError(f"no node has the partitions {missing}")
        return found

    def partitions_at(self, server: RedisServer) -> frozenset[int]:
        """The partitions that a node has."""
        return frozenset(self._partitions_at(server))

    def of_each_partition(self) -> Iterator[tuple[redis.Redis, str]]:
        """Yield a connection to each partition, and what stands before its keys."""
        for number, server in sorted(self.owners().items()):
            with closing(self.client(server)) as client:
                yield client, PREFIXES[number]

    def claims(self) -> Iterator[str]:
        """Yield the request_ids that are claimed, on primaries and replicas."""
        for server in self.reachable():
            with closing(self.client(server)) as client:
                for claim in client.scan_iter("*feedback:claim:*", count=10_000):
                    yield claim.decode().rpartition(":")[2]

    # Nodes

    def freeze(self, server: RedisServer) -> None:
        """Let a node stand still."""
        self.silent.add(server.port)
        server.run.pause()

    def thaw(self, server: RedisServer) -> None:
        """Let it go on."""
        server.run.thaw()
        self.silent.discard(server.port)

    def restart(self, *ended: RedisServer) -> None:
        """Start nodes that have ended, on their ports and what they have written, and wait until they answer."""
        started = []
        for server in ended:
            command = [str(word) for word in server.run.process.args]  # type: ignore[union-attr]  # a list, as `running` gives it
            again = RedisServer(server.port, self._opened.enter_context(running(command, log=server.run.log)))
            self.nodes.servers[self.nodes.servers.index(server)] = again
            started.append(again)
        for server in started:
            eventually(partial(_is_up, server), what=f"the node on port {server.port} answers")

    def stop_all(self) -> list[RedisServer]:
        """End all nodes in good order, at once, and return them."""
        for server in self.nodes.servers:
            server.run.process.terminate()
        for server in self.nodes.servers:
            server.run.process.wait(30)
        return list(self.nodes.servers)

    def add_shard(self) -> tuple[RedisServer, RedisServer]:
        """Add a node without slots, and a replica of it; return both."""
        number = len(self.nodes.servers)
        added = [
            self._opened.enter_context(redis_server(self.binary, self.folder / str(number + at), *_NODE, *_OPTIONS))
            for at in range(2)
        ]
        first = self.nodes.servers[0]
        with closing(self.client(first)) as client:
            bus = client.config_get("cluster-port")["cluster-port"]
        for server in added:
            self.nodes.ask(server, "CLUSTER", "MEET", "127.0.0.1", first.port, bus)
        self.nodes.servers += added
        primary, replica = added
        known = f"cluster_known_nodes:{len(self.nodes.servers)}"
        everywhere = partial(self._all_say, known)
        eventually(everywhere, what="they have met")
        self.nodes.ask(replica, "CLUSTER", "REPLICATE", self.nodes.node_id(primary))
        self.await_healthy()
        return primary, replica

    def forget(self, *leaving: RedisServer) -> None:
        """Let all others forget nodes without slots, and end these."""
        names = [self.nodes.node_id(server) for server in leaving]
        staying = [server for server in self.nodes.servers if server not in leaving]
        for server in staying:
            for name in names:
                self.nodes.ask(server, "CLUSTER", "FORGET", name)
        for server in leaving:
            self.nodes.servers.remove(server)
            server.run.stop()

    def await_healthy(self) -> None:
        """Wait until each primary serves, each replica is in step, and no node counts as lost."""
        eventually(self._is_healthy, timeout=60, what="all nodes serve")

    # Slots

    def ranges(self, server: RedisServer) -> list[tuple[int, int]]:
        """The first and the last slot of each range of a node."""
        for line in str(self.nodes.ask(server, "CLUSTER", "NODES")).splitlines():
            _name, _address, flags, *rest = line.split()
            if "myself" in flags and "master" in flags:
                words = [word for word in rest[5:] if not word.startswith("[")]
                return [(int(first), int(last or first)) for first, _, last in (word.partition("-") for word in words)]
        return []

    def move_by_key(self, slots: Sequence[int], old: RedisServer, new: RedisServer, *, pause: float) -> int:
        """Move slots as Redis does it: key by key, with a pause after each; return how many keys that were."""
        moved = 0
        with closing(self.client(old)) as source, closing(self.client(new)) as target:
            others = [self.client(each) for each in self.nodes.primaries() if each not in {old, new}]
            names = self.nodes.node_id(old), self.nodes.node_id(new)
            for slot in slots:
                target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
                source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
                while keys := source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
                    source.execute_command("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *keys)
                    moved += len(keys)
                    time.sleep(pause)
                for client in (target, source, *others):
                    client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])
            for client in others:
                client.close()
        return moved

    def move_at_once(self, first: int, last: int, old: RedisServer, new: RedisServer) -> None:
        """Move a range of slots as Valkey 9 does it, and wait until it is done."""
        where = ("SLOTSRANGE", first, last, "NODE", self.nodes.node_id(new))
        assert self.nodes.ask(old, "CLUSTER", "MIGRATESLOTS", *where) == "OK"
        eventually(partial(self._has, new, first, last), what="the slots are moved")

    def _has(self, server: RedisServer, first: int, last: int) -> bool:
        return any(start <= first and last <= end for start, end in self.ranges(server))

    def _partitions_at(self, server: RedisServer) -> list[int]:
        ranges = self.ranges(server)
        return [
            number for number in range(len(PREFIXES)) if any(first <= slot_at(number) <= last for first, last in ranges)
        ]

    def _all_say(self, words: str) -> bool:
        return all(words in str(self.nodes.ask(each, "CLUSTER", "INFO")) for each in self.nodes.servers)

    def _is_healthy(self) -> bool:
        try:
            roles = [self.nodes.ask(each, "ROLE") for each in self.nodes.servers]
            primaries = sum(role[0] == "master" for role in roles)
            seen = [str(self.nodes.ask(each, "CLUSTER", "NODES")) for each in self.nodes.servers]
            return (
                2 * primaries == len(roles)
                and all(role[0] == "master" or role[3] == "connected" for role in roles)
                and all(role[0] != "master" or len(role[2]) == 1 for role in roles)
                and not any("fail" in nodes or "handshake" in nodes for nodes in seen)
                and self._all_say("cluster_state:ok")
            )
        except redis.RedisError:
            return False


@contextmanager
def chaos_cluster(make: str, folder: Path) -> Iterator[ChaosCluster]:
    """Start a cluster whose nodes keep what they are given.

    Args:
        make: ``valkey`` or ``redis``.
        folder: Where the nodes write.
    """
    binary = leashed(binary_of(make), folder)
    with redis_cluster(binary, folder / "cluster", options=_OPTIONS) as nodes:
        cluster = ChaosCluster(nodes, binary, folder / "cluster")
        with cluster._opened:
            yield cluster


def _is_up(server: RedisServer) -> bool:
    try:
        with closing(redis.Redis(port=server.port, socket_timeout=1)) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
