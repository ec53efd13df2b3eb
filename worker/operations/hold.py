"""The hold by hand: begun, ended and written into the audit log; and what every face says about a hold."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import redis

from worker.accounting.continuity import record
from worker.database.audit_log import record_action
from worker.database.errors import DeadLetterError
from worker.delivery.hold import Hold, HoldKind
from worker.delivery.hold_mirrors import HoldMirrors
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.clients.redis.partitions import Partitions
    from worker.delivery.hold import HoldState

__all__ = ["HoldChange", "HoldControl", "fix_of", "next_probe", "what_resume_does"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldChange:
    """A hold that an operator has begun or ended.

    Attributes:
        state: The hold that stands since, or that stood until then.
        unrecorded: Why the audit log does not have it; None if it has.
    """

    state: HoldState | None
    unrecorded: DeadLetterError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldControl:
    """Begins and ends the hold for an operator. A database that is unavailable prevents neither.

    Attributes:
        partitions: Redis, of which the first partition has the hold. Every method raises `redis.RedisError` if that one
            is unavailable.
        database: Opens the database whose audit log has it.
        actor: The operator.
    """

    partitions: Partitions
    database: Callable[[], AbstractContextManager[Engine]]
    actor: str

    def hold(self, comment: str) -> HoldChange:
        """Hold all workers."""
        held = Hold(self.partitions.home, actor=self.actor)
        held.hold(comment, actor=self.actor)
        return HoldChange(state=self._mirrored(held), unrecorded=self._record("hold", comment, {}))

    def resume(self, comment: str) -> HoldChange | None:
        """End the hold by hand, or where there is none whatever hold there is; None if there is none at all."""
        held = Hold(self.partitions.home, actor=self.actor)
        state = held.state()
        if not held.resume():
            return None
        self._mirrored(held)
        details = {} if state is None else {"held": state.as_dict()}
        return HoldChange(state=state, unrecorded=self._record("resume", comment, details))

    def _mirrored(self, held: Hold) -> HoldState | None:
        """Return the hold that stands now, after the other partitions know it too: workers need not tell them."""
        state = held.state()
        HoldMirrors(self.partitions).follow(state)
        return state

    def _record(self, action: str, comment: str, details: dict[str, Any]) -> DeadLetterError | None:
        """Write down who did it, and the hold itself, which is restored from there if Redis loses it."""
        try:
            with self.database() as engine:
                record_action(engine, actor=self.actor, action=action, target="queue", comment=comment, details=details)
                with suppress(redis.RedisError):
                    record(self.partitions, engine)
        except DeadLetterError as error:
            return error
        return None


def fix_of(kind: HoldKind) -> str:
    """Return what ends a hold of a kind."""
    match kind:
        case HoldKind.OPERATOR:
            return "`aquilax-feedback resume` ends it"
        case HoldKind.LOCKED_OUT:
            return "set AQUILAX_API_KEY to a valid key (401), or correct AQUILAX_BASE_URL (3xx); restart the workers"
        case HoldKind.BREAKER:
            return "nothing, if AquilaX is down: a probe goes at least once a minute, and it ends by itself"
        case _:
            assert_never(kind)


def next_probe(hold: HoldState, now: datetime) -> str:
    """Return when a hold that has begun by itself asks AquilaX again."""
    if hold.probe_at is None:
        return "no probe while an operator holds"
    due = f"in {span(hold.probe_at - now)}, at {hold.probe_at:%H:%M:%S} UTC" if hold.probe_at > now else "now"
    return f"next probe {due}"


def what_resume_does(hold: HoldState | None) -> str:
    """Return what a resume will do, or has done, in a sentence."""
    if hold is None:
        return "There is no hold: feedback is sent."
    if hold.beneath is not None:
        return (
            f"The hold by hand ends. The one that began by itself goes on ({hold.beneath.comment}), with a probe at "
            "once; everything is sent once that is answered, or after another resume."
        )
    if hold.by_hand:
        return "Workers send feedback again."
    return "Workers send feedback again; if the cause is still there, they find out and hold again."
