"""The workers' leases, as Redis knows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LeaseHolder", "merged_holders"]

_BEFORE_NODE: Final = 3
"""Parts of a holder's name that stand before its node's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHolder:
    """A worker's consuming channel, as Redis knows it.

    Attributes:
        name: ``host:process:instance.number:node``.
        holds: How many messages it has in flight.
        lease_left: How long it keeps them if nothing is heard of it; not positive if its lease has ended.
    """

    name: str
    holds: int
    lease_left: timedelta

    @property
    def is_alive(self) -> bool:
        """Whether its lease lasts, by Redis' clock."""
        return self.lease_left > timedelta()

    @property
    def process(self) -> str:
        """What its process is called, and no other: a worker that has reconnected may have two leases for a while."""
        host, process, instance = (*self.name.split(":", 3), "", "")[:3]
        return f"{host}:{process}:{instance.partition('.')[0]}"

    @property
    def node(self) -> str:
        """The node name of its worker (`-n`); '' if it did not tell."""
        parts = self.name.split(":", _BEFORE_NODE)
        return parts[_BEFORE_NODE] if len(parts) > _BEFORE_NODE else ""


def merged_holders(holders: Iterable[LeaseHolder]) -> tuple[LeaseHolder, ...]:
    """Return the leases of several partitions, those of one process as one; it has one in each that it consumes.

    What it holds is summed. Those that have ended are told apart: where only one partition was unavailable for a while
    its worker lives. What is left of a lease is that of the partition in which it ends, or ended, next.
    """
    of: dict[tuple[str, str, bool], list[LeaseHolder]] = {}
    for holder in holders:
        of.setdefault((holder.process, holder.node, holder.is_alive), []).append(holder)
    return tuple(
        LeaseHolder(
            name=f"{process}:{node}" if node else process,
            holds=sum(lease.holds for lease in leases),
            lease_left=(min if is_alive else max)(lease.lease_left for lease in leases),
        )
        for (process, node, is_alive), leases in of.items()
    )
