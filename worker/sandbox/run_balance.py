"""The books of a run: what was accepted, what became of it, and whether the two are equal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from worker.clients.redis.keys import CountField
from worker.database.models import DeadLetter, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

    from worker.delivery.idempotency import IdempotencyStore
    from worker.policy.retry import Reason
    from worker.sandbox.received import Account

__all__ = ["RunBalance", "audit", "wrong_votes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBalance:
    """What became of the events that Redis accepted.

    Attributes:
        accepted: Events that the producers handed over.
        counts: Events by how they ended, as the ledger counted them.
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
        settled = sum(self.counts[count] for count in (CountField.DELIVERED, CountField.DUPLICATE, CountField.STALE))
        return settled + sum(self.dead.values())

    @property
    def balance(self) -> bool:
        """Whether every accepted event came to exactly one end."""
        return self.accepted == self.ended and not self.replaying

    @property
    def equation(self) -> str:
        """The balance in one line."""
        delivered, duplicate, stale = (
            self.counts[count] for count in (CountField.DELIVERED, CountField.DUPLICATE, CountField.STALE)
        )
        return (
            f"{self.accepted:,} accepted {'=' if self.balance else '≠'} {delivered:,} delivered"
            f" + {duplicate:,} duplicate + {stale:,} stale + {sum(self.dead.values()):,} dead"
        )


def audit(accepted: int, idempotency: IdempotencyStore, engine: Engine) -> RunBalance:
    """Read the books from the stores themselves.

    Args:
        accepted: Events that the producers handed over.
        idempotency: Counts how events ended.
        engine: The database of the dead letters.
    """
    with engine.connect() as connection:
        rows = connection.execute(
            select(DeadLetter.state, DeadLetter.reason, func.count()).group_by(DeadLetter.state, DeadLetter.reason)
        ).all()
    dead: Counter[Reason] = Counter()
    replaying = 0
    for state, reason, count in rows:
        if state is State.DEAD:
            dead[reason] += count
        elif state is State.REPLAYING:
            replaying += count
    return RunBalance(accepted=accepted, counts=idempotency.counts(), dead=dead, replaying=replaying)


def wrong_votes(last_votes: Mapping[str, bool], received: Mapping[str, Account]) -> list[str]:
    """Return the request_ids for which AquilaX does not hold the person's last vote.

    Args:
        last_votes: The status that AquilaX must hold, by request_id.
        received: What AquilaX says it received, by request_id.
    """
    return [
        request_id
        for request_id, status in last_votes.items()
        if request_id not in received or received[request_id].status != ("true" if status else "false")
    ]
