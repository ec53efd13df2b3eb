"""What is said and done when nodes of a local cluster end: no server runs here, and the clock is the test's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import pytest
import redis

from worker.sandbox.cluster_view import ClusterView, NodeRole
from worker.sandbox.local_cluster import ClusterNode, LocalCluster
from worker.sandbox.node_supervisor import NodeSupervisor
from worker.sandbox.stack import LocalStack, Part, StackError

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

PRIMARIES = (7001, 7002, 7003)
SLOTS = {7001: "0-5460", 7002: "5461-10921", 7003: "10922-16383"}
RUNS_ON = 30


class _Process:
    """A process that ends when it is told to."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status


@dataclass(kw_only=True)
class _Cluster(LocalCluster):
    """Three primaries and three replicas, of which the test says what becomes of them."""

    folder: Path
    now: float = 100.0
    seen: dict[int, NodeRole] = field(default_factory=dict)
    in_step: set[int] = field(default_factory=set)
    answers: bool = True
    said: list[str] = field(default_factory=list)

    def launch(self, node: ClusterNode) -> None:
        node.part = Part(
            name=node.name,
            process=cast("subprocess.Popen[bytes]", _Process(4000 + node.port)),
            log=self.folder / f"{node.name}.log",
            before=0,
        )
        node.part.log.write_text("Bad file format\n")

    def view(self, *, besides: ClusterNode | None = None) -> ClusterView | None:
        assert besides is None
        return ClusterView(dict(self.seen)) if self.answers else None

    def is_in_step(self, node: ClusterNode) -> bool:
        if not self.answers:
            raise redis.ConnectionError
        return node.port in self.in_step

    def end(self, *ports: int, status: int = -9) -> None:
        """Let nodes end."""
        for port in ports:
            cast("_Process", self.node_on(port).part.process).status = status
            self.in_step.discard(port)

    def take_over(self, replica: int, *, primary: int) -> None:
        """Let the others agree that a replica has the slots of its primary."""
        new, old = self.seen[replica], self.seen[primary]
        self.seen[replica] = replace(new, primary_id="", epoch=7, slots=old.slots)
        self.seen[primary] = replace(old, slots=(), is_reachable=False)

    def follow(self, node: int, *, primary: int) -> None:
        """Let a node be a replica in step."""
        self.seen[node] = replace(self.seen[node], primary_id=str(primary), slots=(), is_reachable=True)
        self.in_step.add(node)

    def runs(self, port: int) -> bool:
        """Whether a node runs."""
        return self.node_on(port).part.is_running


@pytest.fixture
def cluster(tmp_path: Path) -> _Cluster:
    """All nodes serve."""
    nodes = [ClusterNode(number=number, port=7000 + number, bus_port=17000 + number) for number in range(1, 7)]
    made = _Cluster(stack=LocalStack(folder=tmp_path), nodes=nodes, folder=tmp_path)
    for node in nodes:
        made.launch(node)
        primary = node.port in PRIMARIES
        made.seen[node.port] = NodeRole(
            id=str(node.port),
            port=node.port,
            primary_id="" if primary else str(node.port - 3),
            epoch=node.number if primary else node.number - 3,
            slots=(SLOTS[node.port],) if primary else (),
            is_reachable=True,
        )
        made.in_step.add(node.port)
    return made


@pytest.fixture
def supervisor(cluster: _Cluster) -> NodeSupervisor:
    """It says what it says to the cluster of the test."""
    return NodeSupervisor(cluster, cluster.said.append, clock=lambda: cluster.now)


def _pass(supervisor: NodeSupervisor, seconds: float) -> None:
    """Let time pass, half a second after the other, as `LocalStack.watch` does."""
    cluster = cast("_Cluster", supervisor.cluster)
    for _ in range(int(seconds * 2)):
        cluster.now += 0.5
        supervisor.supervise()


def test_a_killed_primary_is_started_again_when_its_replica_has_taken_over(
    supervisor: NodeSupervisor, cluster: _Cluster
) -> None:
    """It would keep its slots if it came back sooner; each step is a line."""
    cluster.end(7001)
    _pass(supervisor, 5)
    assert not cluster.runs(7001)
    cluster.take_over(7004, primary=7001)
    _pass(supervisor, 1)
    assert cluster.runs(7001)
    cluster.follow(7001, primary=7004)
    _pass(supervisor, RUNS_ON)

    ended = "node-1 (process 11001, primary of slots 0-5460) has ended by SIGKILL, and is started again in some seconds"
    assert cluster.said == [
        f"{ended}. Its replica node-4 takes over.",
        "node-4 has taken over slots 0-5460 from node-1, 5 s after that one had ended.",
        "node-1 is back: process 11001, replica of node-4.",
    ]


def test_a_primary_that_no_replica_takes_over_from_is_started_again_all_the_same(
    supervisor: NodeSupervisor, cluster: _Cluster
) -> None:
    """Its slots are its own then."""
    cluster.end(7001)
    _pass(supervisor, 25)
    assert cluster.runs(7001)
    cluster.in_step.add(7001)
    _pass(supervisor, 1)

    assert cluster.said[1:] == ["node-1 is back: process 11001, primary of slots 0-5460."]


def test_a_replica_that_ends_is_started_again(supervisor: NodeSupervisor, cluster: _Cluster) -> None:
    """Its primary goes on."""
    cluster.end(7005, status=1)
    _pass(supervisor, 3)
    assert not cluster.runs(7005)
    _pass(supervisor, 1)
    assert cluster.runs(7005)

    (line,) = cluster.said
    assert line == (
        "node-5 (process 11005, replica of node-2) has ended with status 1, and is started again in some seconds. "
        "node-2 goes on without this replica."
    )


@pytest.mark.parametrize("order", [(7001, 7004), (7004, 7001)], ids=["primary first", "replica first"])
def test_two_nodes_that_share_slots_are_a_line_that_says_what_is_not_served(
    supervisor: NodeSupervisor, cluster: _Cluster, order: tuple[int, int]
) -> None:
    """Both are started again, and what was just started is not waited for as a replica that takes over."""
    for port in order:
        cluster.end(port)
        _pass(supervisor, 1)

    assert cluster.said[-1].endswith(" Slots 0-5460 are not served until node-1 is back: no replica in step is left.")
    _pass(supervisor, 4)
    assert cluster.runs(7001)
    assert cluster.runs(7004)


def test_too_few_primaries_to_vote_are_a_line_of_their_own(supervisor: NodeSupervisor, cluster: _Cluster) -> None:
    """Of two that end at once each says which slots it took along, and no takeover is waited for."""
    cluster.end(7001, 7002)
    _pass(supervisor, 1)

    for line, (slots, name, replica) in zip(
        cluster.said, [("0-5460", "node-1", "node-4"), ("5461-10921", "node-2", "node-5")], strict=True
    ):
        why = f"too few primaries run to let {replica} take over"
        assert line.endswith(f" Slots {slots} are not served until {name} is back: {why}.")
    _pass(supervisor, 4)
    assert cluster.runs(7001)
    assert cluster.runs(7002)


def test_a_node_that_does_not_come_back_ends_the_stack(supervisor: NodeSupervisor, cluster: _Cluster) -> None:
    """After three starts, with the last that it printed; until then the stack goes on."""
    cluster.end(7005)
    for _ in range(3):
        _pass(supervisor, 4)
        assert cluster.runs(7005)
        assert "node-5" in supervisor.supervise()
        cluster.end(7005, status=1)

    with pytest.raises(StackError, match=re.compile("node-5 was started again 3 times.*Bad file format", re.DOTALL)):
        _pass(supervisor, 1)
    assert [line for line in cluster.said if "started once more" in line] == [
        "node-5 has ended with status 1 before it was back, and is started once more."
    ] * 2


def test_a_node_that_runs_and_does_not_find_back_ends_the_stack(supervisor: NodeSupervisor, cluster: _Cluster) -> None:
    """The message says where to look."""
    cluster.end(7005)
    with pytest.raises(StackError, match=r"node-5 runs, but did not find back within 120 s: see .*node-5\.log"):
        _pass(supervisor, 130)


def test_a_takeover_without_an_end_is_told_too(supervisor: NodeSupervisor, cluster: _Cluster) -> None:
    """By hand, or as the primary was frozen. Thawed it says at first what was so before, and is not believed."""
    before = dict(cluster.seen)
    cluster.take_over(7004, primary=7001)
    _pass(supervisor, 1)
    after, cluster.seen = cluster.seen, before
    _pass(supervisor, 1)
    cluster.seen = after
    _pass(supervisor, 1)

    assert cluster.said == ["node-4 has taken over slots 0-5460 from node-1."]


def test_nodes_that_all_end_are_all_started_again(supervisor: NodeSupervisor, cluster: _Cluster) -> None:
    """Though there is none left to ask."""
    cluster.answers = False
    cluster.end(*SLOTS, 7004, 7005, 7006)
    _pass(supervisor, 4)

    assert all(node.part.is_running for node in cluster.nodes)
    assert len(cluster.said) == 6


def test_no_other_part_may_end(supervisor: NodeSupervisor) -> None:
    """The stack ends with a worker, as without a cluster."""
    assert list(supervisor.supervise()) == [f"node-{number}" for number in range(1, 7)]


def test_nodes_that_do_not_answer_are_told_at_once(cluster: _Cluster) -> None:
    """The supervisor has to know what was so before."""
    cluster.answers = False
    with pytest.raises(StackError, match="do not answer"):
        NodeSupervisor(cluster, cluster.said.append)
