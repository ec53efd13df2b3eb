"""The hold by hand: begun, ended and written into the audit log; and what every face says about a hold."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import redis

from worker.accounting.continuity import record
from worker.clients.aquilax.keys import DEFAULT_KEY
from worker.database.audit_log import record_action
from worker.database.errors import DeadLetterError
from worker.delivery.hold import Hold, HoldKind
from worker.delivery.hold_mirrors import HoldMirrors
from worker.delivery.org_holds import OrgHolds, org_scope, read_org_holds
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.clients.redis.partitions import Partitions
    from worker.delivery.hold import HoldState
    from worker.delivery.org_holds import OrgHold

__all__ = ["HoldChange", "HoldControl", "OrgHoldChange", "fix_of", "fix_of_org", "next_probe", "what_resume_does"]


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
class OrgHoldChange:
    """A hold of an org, or of a key's orgs, that an operator has begun or ended.

    Attributes:
        hold: The hold that stands since, or that stood until then.
        unrecorded: Why the audit log does not have it; None if it has.
    """

    hold: OrgHold
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

    def hold_org(self, org: str, comment: str) -> OrgHoldChange:
        """Hold one org. Each worker knows it within a second."""
        scope = org_scope(org)
        self._orgs().hold(org, comment, actor=self.actor)
        [hold] = (found for found in read_org_holds(self.partitions.home) if found.scope == scope)
        return OrgHoldChange(hold=hold, unrecorded=self._record("hold", comment, {}, target=scope))

    def resume_scope(self, scope: str, comment: str) -> OrgHoldChange | None:
        """End the hold of one org, or of one key; None if there is none. Workers then send what was set aside."""
        before = [found for found in read_org_holds(self.partitions.home) if found.scope == scope]
        if not self._orgs().resume(scope) or not before:
            return None
        details = {"held": before[0].state.as_dict()}
        return OrgHoldChange(hold=before[0], unrecorded=self._record("resume", comment, details, target=scope))

    def _orgs(self) -> OrgHolds:
        return OrgHolds(self.partitions.home, actor=self.actor)

    def _mirrored(self, held: Hold) -> HoldState | None:
        """Return the hold that stands now, after the other partitions know it too: workers need not tell them."""
        state = held.state()
        HoldMirrors(self.partitions).follow(state)
        return state

    def _record(
        self, action: str, comment: str, details: dict[str, Any], *, target: str = "queue"
    ) -> DeadLetterError | None:
        """Write down who did it, and the hold itself, which is restored from there if Redis loses it."""
        try:
            with self.database() as engine:
                record_action(engine, actor=self.actor, action=action, target=target, comment=comment, details=details)
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


def fix_of_org(hold: OrgHold) -> str:
    """Return what ends a hold of an org, or of a key's orgs."""
    kind, _, name = hold.scope.partition(":")
    if kind == "org" or hold.state.by_hand:
        return f"`aquilax-feedback resume --{kind} {name}` ends it"
    if name == DEFAULT_KEY:
        return "set AQUILAX_API_KEY to a valid key, and restart the workers; or name these orgs in AQUILAX_KEYS_FILE"
    return f"put a valid key for {name} into AQUILAX_KEYS_FILE: workers use it within seconds"


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
