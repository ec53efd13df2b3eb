"""The story of one delivery: claim, send, classify, decide, settle. Start reading here.

What happens to an event for which AquilaX responds

- 200: it is recorded as delivered, counted, and its message acknowledged;
- 404, or another 4xx: it becomes a dead letter at once (`rejected`, for a 403 `forbidden`): it would be refused again;
- 503, 429, or nothing in time: it is retried with growing waits; after the last attempt it becomes a dead letter
  (`exhausted`). While AquilaX takes nothing at all, the circuit breaker opens: a hold begins, and no attempt is spent;
- 401, or 3xx: our key or URL is wrong, for every event. A hold begins: nothing is sent but a probe now and then, and no
  attempt is spent. Where orgs have keys of their own, a 401 holds the orgs of that key alone.

Where Redis or the database is unavailable, or our own code fails, the message waits and comes again, with no attempt
spent. Only dead letters, replays and redelivered messages need the database. What was sent by then is never sent again:
the envelope says what is left to record.
"""

from __future__ import annotations

import logging
import random
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, assert_never

import redis

from worker.concurrency.scheduler import current_scheduler
from worker.delivery.hooks import NO_HOOKS
from worker.delivery.idempotency import Busy, Claim, Claimed, OnHold, Seen
from worker.delivery.outages import Dependency, DependencyOutages
from worker.delivery.outcomes import Outcomes
from worker.policy.attempt import Attempt
from worker.policy.classification import Classification, Response, classify
from worker.policy.message import Message, PoisonMessage
from worker.policy.result import ResultKind
from worker.policy.retry import (
    Delivered,
    Outcome,
    RetryAt,
    RetryPolicy,
    SendToDeadLetters,
    Snooze,
    busy_backoff,
    decide,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.clients.aquilax.client import AquilaX
    from worker.clients.aquilax.keys import KeyRing
    from worker.clients.redis.batching import ScriptBatcher
    from worker.concurrency.file_descriptors import Room
    from worker.dead_letters.store import DeadLetterStore
    from worker.delivery.hold import Hold
    from worker.delivery.hooks import AttemptHooks, Hooks
    from worker.delivery.org_holds import OrgHolds
    from worker.delivery.org_limits import OrgLimits
    from worker.delivery.partitioned_idempotency import Idempotency
    from worker.policy.result import DeliveryResult

__all__ = ["DeliveryService"]

log = logging.getLogger(__name__)

_ENOUGH_ROOM: Final = nullcontext()

_THEN: Final = {
    RetryAt: ResultKind.RETRY,
    Snooze: ResultKind.HOLD,
    SendToDeadLetters: ResultKind.DEAD_LETTER,
}
"""What becomes of an event that was sent and not delivered, as its history has it."""


class DeliveryService:
    """Delivers events; safe for many threads.

    Args:
        aquilax: Sends.
        idempotency: Keeps a vote from being sent twice.
        hold: Keeps everything in the queue while nothing can be sent.
        org_holds: Keeps back the events of single orgs, and of the orgs of a key that is refused.
        dead_letters: Keeps what can't be delivered.
        policy: How long and how often to try.
        now: The clock.
        jitter: A random number from 0 to 1.
        hooks: Are called as each attempt begins, gets a response, and ends.
        room: Limits how many deliver at once, if there are file descriptors for no more.
        org_limits: Limits the requests at once of each org; None if nothing does.
        worker: The worker's node name, for the history of what is not delivered.
    """

    def __init__(
        self,
        *,
        aquilax: AquilaX,
        idempotency: Idempotency,
        hold: Hold,
        org_holds: OrgHolds,
        dead_letters: DeadLetterStore,
        policy: RetryPolicy,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
        hooks: Hooks = NO_HOOKS,
        room: Room | None = None,
        org_limits: OrgLimits | None = None,
        worker: str = "",
    ) -> None:
        self._aquilax = aquilax
        self._idempotency = idempotency
        self._hold = hold
        self._dead_letters = dead_letters
        self._policy = policy
        self._now = now
        self._jitter = jitter
        self._hooks = hooks
        self._room = room
        self._worker = worker
        self._org_holds = org_holds
        self._org_limits = org_limits
        self._outages = DependencyOutages(now)
        self._outcomes = Outcomes(
            idempotency=idempotency,
            hold=hold,
            org_holds=org_holds,
            dead_letters=dead_letters,
            outages=self._outages,
            policy=policy,
            now=now,
            jitter=jitter,
        )

    def use_keys(self, ring: KeyRing) -> None:
        """Send with these keys from now on."""
        self._aquilax.use(ring)

    def deliver(self, message: Message | PoisonMessage) -> DeliveryResult:
        """Bring one message to its end, or one step nearer to it.

        A failure of ours is not the event's fault: it waits, and spends no attempt.
        """
        attempt = self._hooks.began(message)
        with self._room.taken() if self._room else _ENOUGH_ROOM:
            try:
                if isinstance(message, PoisonMessage):
                    result: DeliveryResult = self._outcomes.poison(message)
                else:
                    result = self._deliver(message, attempt)
            except Exception as error:  # noqa: BLE001 - no fault of ours may cost feedback; the outages log it
                result = self._outcomes.failed(message, error)
        attempt.ended(result)
        return result

    def scripts_at(self, held_in: str) -> ScriptBatcher:
        """Return what runs scripts where a message lies, by the key of the set of what its holder holds."""
        return self._idempotency.scripts_at(held_in)

    def now(self) -> datetime:
        """Return the time by the clock that decides."""
        return self._now()

    def stop_waiting(self) -> None:
        """Let no event wait in this process for a place of its org."""
        if self._org_limits is not None:
            self._org_limits.close()

    def close(self) -> None:
        """Close every connection."""
        self._aquilax.close()
        self._idempotency.close()
        self._dead_letters.close()

    def _deliver(self, message: Message, attempt: AttemptHooks) -> DeliveryResult:
        """Deliver an event, unless its org is held or has as many requests under way as it may."""
        if hold := self._org_holds.of(message.event.org):
            if message.probe or not self._org_holds.take_probe(hold, now=self._now()):
                return self._outcomes.org_on_hold(message, hold)
            message = replace(message, probes=hold.scope)
        if self._org_limits is None or message.probe or message.probes:
            return self._attempt(message, attempt)
        org = message.event.org
        if (wait := self._org_limits.enter(org)) is not None:
            return self._outcomes.over_limit(message, wait, most=self._org_limits.most)
        timed = _Timed(attempt)
        try:
            if hold := self._org_holds.of(org):  # which has begun while it waited for its place
                return self._outcomes.org_on_hold(message, hold)
            return self._attempt(message, timed)
        finally:
            self._org_limits.leave(org, took=timed.took)

    def _attempt(self, message: Message, attempt: AttemptHooks) -> DeliveryResult:
        """Claim, send, classify, decide, settle."""
        claim = self._claim(message)
        if not isinstance(claim, Claimed):
            return self._settle_unsent(message, claim)
        try:
            outcome = self._known_outcome(message)
            if outcome is None:
                response = self._aquilax.send(message.event)
                classification = classify(response)
                attempt.responded(response, classification)
                outcome = self._decide(message, response, classification)
                if not isinstance(outcome, Delivered):
                    message = self._with_attempt(message, response, outcome)
            return self._settle(message, claim, outcome)
        except Exception:
            self._outcomes.release(message, claim)
            raise

    def _claim(self, message: Message) -> Claim:
        """Claim the request_id, so that no other worker sends for it at the same time; not during a hold."""
        claim = self._ask_for_claim(message)
        if isinstance(claim, Busy) and not message.probe and (scheduler := current_scheduler()) is not None:
            # About as long as the other request takes. It holds up no other delivery, and costs less than to publish
            # the message again. A claim that lasts longer is that of a request that hangs.
            wait = min(busy_backoff(self._policy, snoozes=1, jitter=self._jitter()), claim.remaining)
            scheduler.wait_outside_limit(scheduler.waiter(), timeout=wait.total_seconds())
            claim = self._ask_for_claim(message)
        return claim

    def _ask_for_claim(self, message: Message) -> Claim:
        asked_at = self._now()
        claim = self._idempotency.claim(message.vote, message_id=message.envelope.message_id, probe=message.probe)
        self._outages.passed(Dependency.REDIS)
        if isinstance(claim, Claimed) and not message.probe:
            self._hold.let_through(asked_at=asked_at)
        return claim

    def _known_outcome(self, message: Message) -> Outcome | None:
        """Return the outcome of an event that was sent before, where it could not be recorded: it is not sent again."""
        known = Delivered() if message.envelope.delivered else message.envelope.pending_dead_letter
        if known is not None:
            self._outcomes.pass_probe_on(message)
        return known

    def _decide(self, message: Message, response: Response, classification: Classification) -> Outcome:
        """Decide by the policy, the attempts spent, and whether the response is of the event alone or of all."""
        now = self._now()
        return decide(
            classification,
            response,
            policy=self._policy,
            attempts=message.envelope.attempts + 1,
            on_hold=self._begins_hold(message, response, classification, now),
            enqueued_at=message.envelope.enqueued_at,
            now=now,
            jitter=self._jitter(),
        )

    def _with_attempt(
        self, message: Message, response: Response, outcome: RetryAt | Snooze | SendToDeadLetters
    ) -> Message:
        """Return the message with one more request in its history, which tells operators what became of it."""
        attempt = Attempt.of(response, at=self._now(), worker=self._worker, then=_THEN[type(outcome)])
        return replace(message, envelope=message.envelope.tried(attempt))

    def _settle(self, message: Message, claim: Claimed, outcome: Outcome) -> DeliveryResult:
        """Apply the outcome of an event that was sent."""
        match outcome:
            case Delivered():  # 200: recorded, counted, acknowledged
                return self._outcomes.delivered(message, claim)
            case RetryAt():  # 503, 429, no response: again at its time, with an attempt spent
                return self._outcomes.retry(message, claim, outcome)
            case Snooze():  # 401, 3xx, or 503 while the breaker is open: again after the hold, no attempt spent
                return self._outcomes.snooze(message, claim, outcome)
            case SendToDeadLetters():  # 404, 403, 422, or the last attempt: a row in the dead-letter table
                return self._outcomes.dead_letter(message, claim, outcome)
            case _:
                assert_never(outcome)

    def _settle_unsent(self, message: Message, claim: Busy | OnHold | Seen) -> DeliveryResult:
        """Apply the outcome of an event that is not sent now."""
        match claim:
            case OnHold():  # nothing is sent: again after the hold, no attempt spent
                return self._outcomes.on_hold(message, claim)
            case Busy():  # another message of its request_id is being sent: again after that, no attempt spent
                return self._outcomes.busy(message, claim)
            case Seen():  # AquilaX has this vote, or a later one: acknowledged, counted as duplicate or stale
                return self._outcomes.seen(message, claim)
            case _:
                assert_never(claim)

    def _begins_hold(self, message: Message, response: Response, classification: Classification, now: datetime) -> bool:
        """Report a response to the hold; return whether it concerns all events, which then spend no attempt.

        While Redis is unavailable that is not known: then the event is retried by itself.
        """
        asked = min(response.retry_after or timedelta(), self._policy.horizon)
        cause = "" if classification is Classification.DELIVERED else response.summary
        try:
            if not self._org_holds.heard(message, response, classification, cause, asked=asked):
                return self._hold.heard(classification, cause, at=now, asked=asked, probe=message.probe)
            if response.keyless:  # nothing was sent, so that the hold of everything hears nothing
                self._outcomes.pass_probe_on(replace(message, probes=""))
            elif classification is Classification.UNAUTHORIZED:  # AquilaX has answered: it is there
                self._hold.heard(Classification.REJECTED, "", at=now, probe=message.probe)
            else:
                self._hold.heard(classification, cause, at=now, asked=asked, probe=message.probe)
        except redis.RedisError as error:
            if classification is Classification.UNAUTHORIZED:
                raise
            log.info("the hold is left to the next answer: %s", self._outages.explain(error))
            return False
        return True


class _Timed:
    """Hears how long a request takes, and passes on what it hears."""

    def __init__(self, attempt: AttemptHooks) -> None:
        self._attempt = attempt
        self._began = time.monotonic()
        self.took: float | None = None
        """Seconds until the response, without what its end waits for; None if nothing was sent."""

    def responded(self, response: Response, classification: Classification) -> None:
        self.took = time.monotonic() - self._began
        self._attempt.responded(response, classification)

    def ended(self, result: DeliveryResult) -> None:
        self._attempt.ended(result)
