"""Nodes of a cluster that say whatever a test lets them say: each has some of the partitions, as long as it says so."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, TypeAlias

from producer.partitions import ON_A_CLUSTER, RECORD, slot_of, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["TAKEN", "MadeUpCluster", "MadeUpNode", "made_up_cluster"]

TAKEN = b":1\r\n"

PREFIXES = tags(ON_A_CLUSTER)

Value: TypeAlias = "int | bytes | list[Value] | None"


@dataclass(eq=False)
class MadeUpNode:
    """A node.

    Attributes:
        port: Where it listens.
        on_enqueue: What it replies to an enqueue for a partition; None is silence, and no bytes the connection's end.
        on_greeting: What it replies to a PING, and to what must be confirmed.
        on_record: What it replies when asked for the number of partitions.
        on_slots: What it replies when asked for the slots; if None, the truth.
        enqueued: The partitions of the enqueues that it was sent.
        commands: The names of all commands that it was sent, but for those of the handshake.
        writes: How many pieces came in that had commands in them which enqueue.
    """

    port: int
    on_enqueue: Callable[[int], bytes | None] = lambda _: TAKEN
    on_greeting: Callable[[], bytes | None] = lambda: b"+PONG\r\n"
    on_record: bytes | None = b":%d\r\n" % ON_A_CLUSTER
    on_slots: Callable[[], bytes | None] | None = None
    enqueued: list[int] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    writes: int = 0
    stopping: list[Callable[[], object]] = field(default_factory=list)

    def stop(self) -> None:
        """End all connections, and take no more."""
        while self.stopping:
            self.stopping.pop()()


@dataclass(eq=False)
class MadeUpCluster:
    """A cluster.

    Attributes:
        nodes: Its nodes.
        owners: By each partition the node that has it, as the nodes say when they are asked for the slots.
        host: What they say of the host of each.
    """

    nodes: list[MadeUpNode] = field(default_factory=list)
    owners: list[MadeUpNode] = field(default_factory=list)
    host: bytes | None = b"127.0.0.1"

    @property
    def url(self) -> str:
        """It names the first node."""
        return f"redis+cluster://:s3cr3t@127.0.0.1:{self.nodes[0].port}"

    def partitions_of(self, node: MadeUpNode) -> list[int]:
        """The partitions that a node has."""
        return [partition for partition, owner in enumerate(self.owners) if owner is node]

    def slots(self) -> bytes:
        """The reply to CLUSTER SLOTS."""
        at = {slot_of(prefix.strip("{}")): self.owners[number].port for number, prefix in enumerate(PREFIXES)}
        at[slot_of(RECORD)] = self.nodes[0].port
        found: list[Value] = [[slot, slot, [self.host, port, b"id"]] for slot, port in sorted(at.items())]
        return _reply(found)


@contextmanager
def made_up_cluster(nodes: int = 3) -> Iterator[MadeUpCluster]:
    """Let nodes listen, among which the partitions are divided in turn."""
    cluster = MadeUpCluster()
    with ExitStack() as opened:
        for _ in range(nodes):
            cluster.nodes.append(opened.enter_context(_listening(cluster)))
        cluster.owners = [cluster.nodes[number % nodes] for number in range(ON_A_CLUSTER)]
        yield cluster


@contextmanager
def _listening(cluster: MadeUpCluster) -> Iterator[MadeUpNode]:
    listener = socket.create_server(("127.0.0.1", 0))
    node = MadeUpNode(listener.getsockname()[1])
    threads: list[Thread] = []

    def accept() -> None:
        with suppress(OSError):  # the listener was shut down
            while True:
                peer = listener.accept()[0]
                node.stopping.append(partial(_hang_up, peer))
                threads.append(Thread(target=_serve, args=(cluster, node, peer)))
                threads[-1].start()

    accepting = Thread(target=accept)
    accepting.start()
    node.stopping[:0] = [accepting.join, listener.close, partial(_hang_up, listener)]
    try:
        yield node
    finally:
        node.stop()
        for thread in threads:
            thread.join()


def _serve(cluster: MadeUpCluster, node: MadeUpNode, peer: socket.socket) -> None:
    pending = b""
    with peer, suppress(OSError):  # until either side hangs up
        while piece := peer.recv(1 << 20):
            before = len(node.enqueued)
            words, pending = _parsed(pending + piece)
            for command in words:
                reply = _answer(cluster, node, command)
                if reply == b"":
                    return
                if reply:
                    peer.sendall(reply)
            node.writes += len(node.enqueued) > before


def _answer(cluster: MadeUpCluster, node: MadeUpNode, words: list[bytes]) -> bytes | None:
    match words[0], words[2:3]:
        case b"EVAL", [b"1"]:
            node.commands.append("RECORD")
            return node.on_record
        case b"EVAL", _:
            node.commands.append("EVAL")
            partition = PREFIXES.index(words[3].decode().removesuffix("feedback"))
            node.enqueued.append(partition)
            return node.on_enqueue(partition)
        case b"CLUSTER", _:
            node.commands.append("CLUSTER")
            return node.on_slots() if node.on_slots else cluster.slots()
        case (b"PING" | b"HINCRBY" | b"WAIT") as name, _:
            node.commands.append(name.decode())
            return TAKEN if name != b"PING" else node.on_greeting()
        case _:
            return b"+OK\r\n"


def _parsed(data: bytes) -> tuple[list[list[bytes]], bytes]:
    """The whole commands at the beginning, and what is left."""
    found: list[list[bytes]] = []
    at = 0
    while True:
        words: list[bytes] = []
        here = at
        try:
            end = data.index(b"\r\n", here)
            count, here = int(data[here + 1 : end]), end + 2
            for _ in range(count):
                end = data.index(b"\r\n", here)
                size = int(data[here + 1 : end])
                words.append(data[end + 2 : end + 2 + size])
                here = end + 2 + size + 2
        except ValueError:
            return found, data[at:]
        if here > len(data):
            return found, data[at:]
        found.append(words)
        at = here


def _reply(value: Value) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n%b" % (len(value), b"".join(map(_reply, value)))


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):  # the other side may have done so before
        end.shutdown(socket.SHUT_RDWR)
