"""The balance of a run: what was accepted, what became of it, and whether the two are equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from worker.clients.redis.keys import CountField
from worker.database.models import DeadLetter, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

    from worker.delivery.partitioned_idempotency import Idempotency
    from worker.policy.retry import Reason
    from worker.sandbox.received import Account

__all__ = ["RESOLVED", "RunBalance", "audit", "wrong_votes"]

RESOLVED: Final = (CountField.DELIVERED, CountField.DUPLICATE, CountField.STALE)
"""How events end that need no more attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBalance:
    """What became of the events that Redis accepted.

    Attributes:
        accepted: Events that the producers handed over.
        counts: Events by how they ended, as the dedup store counted them.
        dead: Dead letters that wait for an operator, by reason.
        replaying: Dead letters on their way to AquilaX again.
    """

    accepted: int
    counts: Mapping[CountField, int]
    dead: Mapping[Reason, int] = field(default_factory=dict)
    replaying: int = 0

    @property
    def ended(self) -> int:
        """Events that came to an end: delivered, not worth sending, or dead."""
        return sum(self.counts[count] for count in RESOLVED) + sum(self.dead.values())

    @property
    def balance(self) -> bool:
        """Whether every accepted event came to exactly one end."""
        return self.accepted == self.ended and not self.replaying

    @property
    def equation(self) -> str:
        """The balance in one line."""
        resolved = " + ".join(f"{self.counts[count]:,} {count.value}" for count in RESOLVED)
        sign = "=" if self.balance else "≠"
        return f"{self.accepted:,} accepted {sign} {resolved} + {sum(self.dead.values()):,} dead"


def audit(accepted: int, idempotency: Idempotency, engine: Engine) -> RunBalance:
    """Read the balance of so many accepted events from the stores themselves."""
    kinds = (DeadLetter.state, DeadLetter.reason)
    with engine.connect() as connection:
        rows = connection.execute(select(*kinds, func.count()).group_by(*kinds)).all()
    dead = {reason: count for state, reason, count in rows if state is State.DEAD}
    replaying = sum(count for state, _, count in rows if state is State.REPLAYING)
    return RunBalance(accepted=accepted, counts=idempotency.counts(), dead=dead, replaying=replaying)


def wrong_votes(last_votes: Mapping[str, bool], received: Mapping[str, Account]) -> list[str]:
    """Return the request_ids for which AquilaX did not receive the person's last vote."""
    return [
        request_id
        for request_id, status in last_votes.items()
        if request_id not in received or received[request_id].status != ("true" if status else "false")
    ]
