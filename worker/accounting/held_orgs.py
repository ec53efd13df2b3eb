"""Which orgs are held, and how many messages are set aside because of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.broker.set_aside import count_set_aside
from worker.delivery.org_holds import read_org_holds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from worker.clients.redis.partitions import Partitions
    from worker.delivery.org_holds import OrgHold

__all__ = ["HeldOrgs", "look_at_held_orgs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOrgs:
    """The holds of single orgs and keys.

    Attributes:
        holds: Those that stand, by scope.
        set_aside: How many messages wait for the end of each, by scope.
        going_back: How many messages wait for the end of none: a worker is giving them back.
    """

    holds: tuple[OrgHold, ...] = ()
    set_aside: Mapping[str, int]
    going_back: int = 0

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        holds = [hold.as_dict() | {"set_aside": self.set_aside.get(hold.scope, 0)} for hold in self.holds]
        return {"holds": holds, "going_back": self.going_back}


def look_at_held_orgs(partitions: Partitions, *, only: Collection[int] | None = None) -> HeldOrgs:
    """Look at the holds of orgs, and at what is set aside.

    Args:
        partitions: Redis.
        only: The numbers of the partitions that are looked at; all of them if None.

    Raises:
        redis.RedisError: One is unavailable, or refuses; or the first one is, which has the holds.
    """
    holds = read_org_holds(partitions.home)
    scopes = [hold.scope for hold in holds]
    found = partitions.ask_all(lambda client: count_set_aside(client, scopes), only=only)
    *counts, total = (sum(numbers) for numbers in zip(*found, strict=True))
    return HeldOrgs(
        holds=holds, set_aside=dict(zip(scopes, counts, strict=True)), going_back=max(total - sum(counts), 0)
    )
