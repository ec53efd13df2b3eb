"""A Valkey Cluster on one machine: three primaries, and a replica of each. The next start finds its data again.

Nodes know each other by their ports, which are therefore chosen once, and kept in the stack's folder.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import redis

from worker.clients.redis.retry import NO_RETRY
from worker.sandbox.cluster_view import ClusterView
from worker.sandbox.stack import KEEP_EVERYTHING, StackError, free_port, valkey_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from worker.sandbox.stack import LocalStack, Part

__all__ = ["ClusterNode", "LocalCluster"]

_PRIMARIES: Final = 3
_NODES: Final = 2 * _PRIMARIES
_SLOTS: Final = 16_384
_NODE_TIMEOUT: Final = 2000
"""Milliseconds of silence after which a node counts as lost: long enough for a busy machine, and short to watch."""

_PATIENCE: Final = 1.0
_FREE_WITHIN: Final = 15.0
"""Seconds for the ports to become free: nodes that a killed stack has left end by themselves."""


@dataclass(kw_only=True)
class ClusterNode:
    """A node of the local cluster.

    Attributes:
        number: Its own, from 1.
        port: Where clients reach it.
        bus_port: Where the other nodes reach it.
        part: Its process.
        started_at: When that was started, by the monotonic clock.
    """

    number: int
    port: int
    bus_port: int
    part: Part = field(init=False)
    started_at: float = field(default=0.0, init=False)

    @property
    def name(self) -> str:
        """Of its part, its folder and its log."""
        return f"node-{self.number}"


@dataclass(kw_only=True)
class LocalCluster:
    """A cluster whose nodes are parts of a stack.

    Attributes:
        stack: The stack.
        nodes: Every node; the first half of them are the primaries, until one is taken over.
    """

    stack: LocalStack
    nodes: list[ClusterNode]

    @classmethod
    def start(cls, stack: LocalStack) -> LocalCluster:
        """Start the nodes, join them if they are new, and wait until all serve and each replica is in step.

        The parts that are started after it get its URL.

        Args:
            stack: Has no broker yet. Its folder has the nodes' data, if it had a cluster before.

        Raises:
            StackError: A node did not start, a port is taken, or the folder has the queue of one Valkey.
        """
        if stack.has_single_broker:
            raise StackError(
                f"{stack.folder} has the queue of one Valkey, and a database that counts with it: "
                "give the cluster another --folder"
            )
        known = _read(stack.cluster_file)
        cluster = cls(stack=stack, nodes=known or _new_nodes())
        _await_free(cluster)
        for node in cluster.nodes:
            if not known:  # what a start that was cut short has left knows other ports
                cluster._config(node).unlink(missing_ok=True)
            cluster.launch(node)
        for node in cluster.nodes:
            cluster._await(node, cluster._answers)
        if not known:
            cluster._join()
        for node in cluster.nodes:
            cluster._await(node, cluster.is_in_step)
        if not known:
            _write(stack.cluster_file, cluster.nodes)
        stack.environment["FEEDBACK_BROKER_URL"] = cluster.url
        return cluster

    @property
    def url(self) -> str:
        """The broker's URL, which names every node."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}/0"

    def launch(self, node: ClusterNode) -> None:
        """Start a node, for the first time or again, and wait for nothing."""
        folder = self._config(node).parent
        folder.mkdir(parents=True, exist_ok=True)
        where = ("--port", str(node.port), "--cluster-port", str(node.bus_port), "--bind", "127.0.0.1")
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(_NODE_TIMEOUT))
        copies = ("--min-replicas-to-write", "1", "--repl-diskless-sync-delay", "0")
        options = (*cluster, *copies, "--dir", str(folder), *KEEP_EVERYTHING)
        ended = node.part if node.started_at else None
        node.part = self.stack.start_part(node.name, [valkey_binary(), *where, *options], in_place_of=ended)
        node.started_at = time.monotonic()

    def client(self, node: ClusterNode) -> redis.Redis:
        """Return a client of one node alone, for one who looks at it; the caller closes it."""
        return redis.Redis(port=node.port, socket_timeout=_PATIENCE, retry=NO_RETRY, decode_responses=True)

    def ask(self, node: ClusterNode, *words: str | int) -> str:
        """Return what a node replies to a command of CLUSTER. Raises `redis.RedisError` if it does not, or refuses."""
        with self.client(node) as client:
            return str(client.execute_command("CLUSTER", *words))

    def view(self, *, besides: ClusterNode | None = None) -> ClusterView | None:
        """Return how the cluster looks to the node that has run longest; None if none answers.

        Args:
            besides: A node that is not asked. One that was just started knows only what was so when it ended.
        """
        for node in sorted(self.nodes, key=lambda node: node.started_at):
            if node is not besides and node.part.is_running:
                with suppress(redis.RedisError):
                    return ClusterView.read(self.ask(node, "NODES"))
        return None

    def is_in_step(self, node: ClusterNode) -> bool:
        """Whether a node serves, or follows a primary, and the others see it so. Raises `redis.RedisError`."""
        with self.client(node) as client:
            kind, *told = client.execute_command("ROLE")
        seen = self.view(besides=node)
        role = seen.roles.get(node.port) if seen else None
        return (
            "cluster_state:ok" in self.ask(node, "INFO")
            and (kind == "master" or told[2] == "connected")
            and role is not None
            and role.is_reachable
            and (kind == "master") is (not role.primary_id)
        )

    def node_on(self, port: int) -> ClusterNode:
        """Return the node on a port."""
        return next(node for node in self.nodes if node.port == port)

    def busiest(self) -> ClusterNode:
        """Return the primary that has most keys. Raises `redis.RedisError` if a node does not answer."""
        view = self.view()
        return max((self.node_on(owner.port) for owner in view.owners()) if view else self.nodes, key=self._keys)

    def describe(self, node: ClusterNode, view: ClusterView) -> str:
        """Return what a node is: ``primary of slots 0-5460``, or ``replica of node-1``."""
        role = view.roles[node.port]
        primary = view.primary_of(role)
        if primary is not role:
            return f"replica of {self.node_on(primary.port).name}"
        return f"primary of slots {', '.join(role.slots)}" if role.slots else "primary of no slots"

    def _keys(self, node: ClusterNode) -> int:
        with self.client(node) as client:
            return int(client.dbsize())

    def _answers(self, node: ClusterNode) -> bool:
        with self.client(node) as client:
            return bool(client.ping())

    def _join(self) -> None:
        """Divide the slots among the first nodes, let all meet, and let each of the others follow one of them."""
        first, *others = self.nodes
        primaries, replicas = self.nodes[:_PRIMARIES], self.nodes[_PRIMARIES:]
        for node in self.nodes:
            self.ask(node, "SET-CONFIG-EPOCH", node.number)  # else they agree on epochs one after another
        for node in primaries:
            start, stop = (_SLOTS * number // _PRIMARIES for number in (node.number - 1, node.number))
            self.ask(node, "ADDSLOTSRANGE", start, stop - 1)
        for node in others:
            self.ask(node, "MEET", "127.0.0.1", first.port, first.bus_port)
        names = {node.number: self.ask(node, "MYID") for node in self.nodes}
        for node in self.nodes:
            self._await(node, lambda node: all(name in self.ask(node, "NODES") for name in names.values()))
        for node, primary in zip(replicas, primaries, strict=True):
            self.ask(node, "REPLICATE", names[primary.number])

    def _await(self, node: ClusterNode, is_so: Callable[[ClusterNode], bool]) -> None:
        self.stack.await_part(node.part, partial(is_so, node), but=redis.RedisError)

    def _config(self, node: ClusterNode) -> Path:
        """The file in which a node keeps what it knows of the others."""
        return self.stack.cluster_file.parent / node.name / "nodes.conf"


def _new_nodes() -> list[ClusterNode]:
    ports: set[int] = set()
    while len(ports) < 2 * _NODES:
        ports.add(free_port())
    chosen = sorted(ports)
    return _nodes(zip(chosen[:_NODES], chosen[_NODES:], strict=True))


def _nodes(ports: Iterable[tuple[int, int]]) -> list[ClusterNode]:
    """Nodes on these ports: for clients, and for each other."""
    return [ClusterNode(number=number, port=port, bus_port=bus) for number, (port, bus) in enumerate(ports, start=1)]


def _read(file: Path) -> list[ClusterNode]:
    """Return the nodes of an earlier start; none if there was none."""
    try:
        ports = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    except ValueError:
        ports = None
    match ports:
        case [[int(), int()], [int(), int()], [int(), int()], [int(), int()], [int(), int()], [int(), int()]]:
            return _nodes(ports)
        case _:
            raise StackError(f"{file} does not name the ports of six nodes: restore it, or take another --folder")


def _write(file: Path, nodes: list[ClusterNode]) -> None:
    """Remember nodes that know each other: whole, or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps([[node.port, node.bus_port] for node in nodes]))
    part.replace(file)


def _await_free(cluster: LocalCluster) -> None:
    deadline = time.monotonic() + _FREE_WITHIN
    for node in cluster.nodes:
        for port in (node.port, node.bus_port):
            while not _is_free(port):
                if time.monotonic() > deadline:
                    raise StackError(
                        f"port {port} of {node.name} is taken by another process, and the nodes know each other by "
                        f"their ports: end it (`ss -ltnp 'sport = :{port}'` shows it), or take another --folder"
                    )
                time.sleep(0.1)


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Valkey does: connections may linger
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
