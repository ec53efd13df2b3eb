"""What the nodes of a cluster know of each other, as a value: which serves what, and which follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ClusterView", "NodeRole"]

_UNREACHABLE: Final = {"fail", "fail?", "noaddr", "handshake"}
_FIELDS: Final = 8
"""Before the slots: id, address, flags, the primary's id, ping, pong, epoch, link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRole:
    """What is known of one node.

    Attributes:
        id: The name by which the nodes know it.
        port: Where it listens.
        primary_id: The node that it follows; '' for a primary.
        epoch: Of its slots: the node that takes them over gets a greater one than any other.
        slots: Those that it serves, as ``0-5460``, one range after the other.
        is_reachable: Whether the node that was asked reaches it.
    """

    id: str
    port: int
    primary_id: str
    epoch: int
    slots: tuple[str, ...]
    is_reachable: bool


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster as one of its nodes sees it.

    Attributes:
        roles: Each node that it knows, itself among them, by port.
    """

    roles: dict[int, NodeRole]

    @classmethod
    def read(cls, text: str) -> ClusterView:
        """Read the reply to CLUSTER NODES: https://valkey.io/commands/cluster-nodes/."""
        return cls({role.port: role for role in map(_role, text.splitlines())})

    @property
    def epoch(self) -> int:
        """That of the newest change of who serves what."""
        return max((role.epoch for role in self.roles.values()), default=0)

    def primary_of(self, role: NodeRole) -> NodeRole:
        """The primary that a node follows; a primary itself, and one that follows a node which is not known."""
        return next((other for other in self.roles.values() if other.id == role.primary_id), role)

    def owners(self) -> list[NodeRole]:
        """Those that serve slots."""
        return [role for role in self.roles.values() if role.slots]

    def replicas_of(self, port: int) -> list[NodeRole]:
        """Those that follow the node on a port."""
        primary = self.roles[port].id
        return [role for role in self.roles.values() if role.primary_id == primary]

    def can_replace(self, port: int, serving: Collection[int]) -> bool:
        """Whether a replica takes over from the primary on a port, which has ended.

        Args:
            port: The primary's.
            serving: Of the nodes that are there. More than half of those with slots must vote for the replica, and one
                that was just started neither votes nor takes over: it knows only what was so when it ended.
        """
        owners = self.owners()
        voters = [owner for owner in owners if owner.port in serving]
        return len(voters) * 2 > len(owners) and any(role.port in serving for role in self.replicas_of(port))

    def taken_over(self, before: ClusterView) -> list[tuple[NodeRole, NodeRole]]:
        """Return who serves slots that another node served before, each beside that node as it was."""
        was = {slots: owner for owner in before.owners() for slots in owner.slots}
        now = [(owner, was.get(owner.slots[0])) for owner in self.owners()]
        return [(owner, other) for owner, other in now if other is not None and other.port != owner.port]


def _role(line: str) -> NodeRole:
    """Read ``id host:port@cport,name flags primary ping pong epoch link slot…``, where ``[…]`` is a slot that moves."""
    identity, address, flags, primary, _, _, epoch, *_ = words = line.split()
    return NodeRole(
        id=identity,
        port=int(address.partition("@")[0].rpartition(":")[2]),
        primary_id="" if primary == "-" else primary,
        epoch=int(epoch),
        slots=tuple(word for word in words[_FIELDS:] if not word.startswith("[")),
        is_reachable=not _UNREACHABLE & set(flags.split(",")),
    )
