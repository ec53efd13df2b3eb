"""Looks after the nodes of a local cluster: says which has ended and what becomes of its slots, and starts it again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import redis

from worker.sandbox.stack import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from worker.sandbox.cluster_view import ClusterView
    from worker.sandbox.local_cluster import ClusterNode, LocalCluster

__all__ = ["NodeSupervisor"]

_PAUSE: Final = 3.0
"""Seconds before a node is started again."""

_TAKEN_OVER_WITHIN: Final = 20.0
"""Seconds that a replica is given to take over, before its primary is started again and keeps its slots."""

_BACK_WITHIN: Final = 120.0
_TRIES: Final = 3


@dataclass(kw_only=True)
class _Outage:
    """A node that has ended, until it is back.

    Attributes:
        since: When it ended, or ended again.
        started_at: When it was started again; None if it was not yet.
        tries: How often it was.
    """

    since: float
    started_at: float | None = None
    tries: int = 0


class NodeSupervisor:
    """Looks after the nodes of a cluster.

    Args:
        cluster: The cluster, all of whose nodes serve.
        tell: Is given each line that an operator should read.
        clock: Seconds, as `time.monotonic` has them.

    Attributes:
        cluster: As it was given.
        view: How the cluster looked last.

    Raises:
        StackError: No node answers.
    """

    def __init__(
        self, cluster: LocalCluster, tell: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.cluster = cluster
        self._tell = tell
        self._clock = clock
        self._outages: dict[int, _Outage] = {}
        view = self._seen()
        if view is None:
            raise StackError("the nodes of the cluster do not answer")
        self.view = view

    @property
    def all_serve(self) -> bool:
        """Whether every node runs, and those that were started again are back."""
        return not self._outages and all(node.part.is_running for node in self.cluster.nodes)

    def supervise(self) -> Collection[str]:
        """See to each node once; return the names of the parts that may have ended.

        Raises:
            StackError: A node was started again several times, and did not come back.
        """
        now = self._clock()
        nodes = self.cluster.nodes
        ended = [node for node in nodes if not node.part.is_running and node.port not in self._outages]
        self._outages |= {node.port: _Outage(since=now) for node in ended}
        serving = [node.port for node in nodes if node.port not in self._outages]
        for node in ended:
            what = f"process {node.part.process.pid}, {self._describe(node)}"
            again = f"has ended {node.part.ended_how}, and is started again in some seconds"
            self._tell(f"{node.name} ({what}) {again}. {self._effect(node, serving)}.")
        self._look(now)
        for node in nodes:
            if outage := self._outages.get(node.port):
                self._tend(node, outage, serving, now)
        return [node.name for node in nodes]

    def _effect(self, node: ClusterNode, serving: Collection[int]) -> str:
        """What becomes of the slots of a node that has ended."""
        view = self.view
        primary = view.primary_of(view.roles[node.port])
        name, slots = self._name(primary.port), ", ".join(primary.slots)
        if primary.port in serving:
            return f"{name} goes on without this replica"
        if not slots:
            return "It served no slots"
        left = " or ".join(self._name(role.port) for role in view.replicas_of(primary.port) if role.port in serving)
        if view.can_replace(primary.port, serving):
            return f"Its replica {left} takes over"
        if left:
            return f"Slots {slots} are not served until {name} is back: too few primaries run to let {left} take over"
        return f"Slots {slots} are not served until {name} is back: no replica in step is left"

    def _look(self, now: float) -> None:
        """Say who has taken over what."""
        view = self._seen()
        if view is None or view.epoch < self.view.epoch:  # a node that was frozen tells at first what was so before
            return
        for owner, before in view.taken_over(self.view):
            outage = self._outages.get(before.port)
            after = f", {now - outage.since:.0f} s after that one had ended" if outage else ""
            slots = ", ".join(owner.slots)
            self._tell(f"{self._name(owner.port)} has taken over slots {slots} from {self._name(before.port)}{after}.")
        self.view = view

    def _tend(self, node: ClusterNode, outage: _Outage, serving: Collection[int], now: float) -> None:
        """Start a node again when it is time, and see it come back."""
        if outage.started_at is None:
            wait = _TAKEN_OVER_WITHIN if self._awaits_takeover(node, serving) else _PAUSE
            if now >= outage.since + wait:
                self.cluster.launch(node)
                outage.started_at, outage.tries = now, outage.tries + 1
        elif not node.part.is_running:
            if outage.tries == _TRIES:
                raise StackError(
                    f"{node.name} was started again {_TRIES} times, and did not come back: {node.part.end}"
                )
            self._tell(f"{node.name} has ended {node.part.ended_how} before it was back, and is started once more.")
            outage.since, outage.started_at = now, None
        elif self._is_back(node):
            self._tell(f"{node.name} is back: process {node.part.process.pid}, {self._describe(node)}.")
            del self._outages[node.port]
        elif now > outage.started_at + _BACK_WITHIN:
            raise StackError(
                f"{node.name} runs, but did not find back within {_BACK_WITHIN:.0f} s: see {node.part.log}"
            )

    def _seen(self) -> ClusterView | None:
        """How the cluster looks now; None if that can't be told."""
        view = self.cluster.view()
        knows_all = view is not None and all(node.port in view.roles for node in self.cluster.nodes)
        return view if knows_all else None

    def _awaits_takeover(self, node: ClusterNode, serving: Collection[int]) -> bool:
        return bool(self.view.roles[node.port].slots) and self.view.can_replace(node.port, serving)

    def _is_back(self, node: ClusterNode) -> bool:
        try:
            return self.cluster.is_in_step(node)
        except redis.RedisError:
            return False

    def _describe(self, node: ClusterNode) -> str:
        return self.cluster.describe(node, self.view)

    def _name(self, port: int) -> str:
        return self.cluster.node_on(port).name
