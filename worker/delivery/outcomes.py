"""What each outcome of a delivery does: to the claim, the counts, the dead-letter table, and the message itself.

`worker.delivery.service` decides which outcome it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, assert_never

import redis

from worker.clients.redis.keys import CountField
from worker.database.models import State
from worker.delivery.idempotency import Busy, Claimed, OnHold, Seen
from worker.delivery.outages import Dependency, DependencyOutages, wait_reason_of
from worker.policy.classification import Response
from worker.policy.dead_letter import key_of_message, record_of_event, record_of_poison
from worker.policy.envelope import WaitReason
from worker.policy.message import Message, PoisonMessage
from worker.policy.result import Completed, DeadLetteredResult, DeliveryResult, Redeliver, ResultKind
from worker.policy.retry import Reason, RetryAt, RetryPolicy, SendToDeadLetters, Snooze, busy_backoff, snooze_backoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from worker.dead_letters.store import DeadLetterStore
    from worker.delivery.hold import Hold
    from worker.delivery.org_holds import OrgHold, OrgHolds
    from worker.delivery.partitioned_idempotency import Idempotency
    from worker.policy.dead_letter import DeadLetterRecord
    from worker.policy.envelope import Envelope

__all__ = ["Outcomes"]

log = logging.getLogger(__name__)

_TEN_SECONDS: Final = 10

_CANVAS_AGAIN: Final = timedelta(minutes=1)
"""When a message of a held org comes again that Celery publishes itself, as those with a callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Applies outcomes; safe for many threads. The attributes are those of `DeliveryService`."""

    idempotency: Idempotency
    hold: Hold
    org_holds: OrgHolds
    dead_letters: DeadLetterStore
    outages: DependencyOutages
    policy: RetryPolicy
    now: Callable[[], datetime]
    jitter: Callable[[], float]

    # Sent

    def delivered(self, message: Message, claim: Claimed) -> DeliveryResult:
        """Record the event as delivered. If it can't be recorded now the message comes again; it is not sent again."""
        envelope = message.envelope
        # Where a dead letter has to learn of it, that comes first, and the message ends after it.
        has_row = message.redelivered or envelope.dead_letter is not None
        try:
            self.idempotency.record(
                message.vote,
                claim,
                message_id=envelope.message_id,
                delivery_tag="" if has_row else message.delivery_tag,
                held_in=message.held_in,
            )
        except Exception as error:  # noqa: BLE001 - whatever failed, the envelope has to say that the event was sent
            return self._snooze(
                replace(envelope, delivered=True),
                f"{self.outages.explain(error)}; then delivered",
                wait_reason_of(error),
            )
        if has_row:
            return self._complete(message, CountField.DELIVERED, State.DELIVERED)
        return Completed(summary="delivered")

    def retry(self, message: Message, claim: Claimed, outcome: RetryAt) -> Redeliver:
        """Release the claim; the message comes again when it is due, with one attempt more."""
        self.release(message, claim, count=CountField.RETRIED)
        return Redeliver(
            envelope=message.envelope.spent().waiting(WaitReason.RETRY),
            summary=f"retry in {self._until(outcome.at)}: {outcome.cause}",
            due=outcome.at,
            result=ResultKind.RETRY,
        )

    def snooze(self, message: Message, claim: Claimed, outcome: Snooze) -> Redeliver:
        """Release the claim; the message returns to the end of the queue, which hands out nothing during a hold.

        Where its org or its org's key is held, and other orgs are not, it is set aside.
        """
        self.release(message, claim, count=CountField.SNOOZED)
        if (hold := self.org_holds.of(message.event.org)) is not None:
            return self._set_aside(message, hold)
        return Redeliver(envelope=message.envelope.snoozed(), summary=f"hold: {outcome.cause}", result=ResultKind.HOLD)

    def dead_letter(self, message: Message, claim: Claimed, outcome: SendToDeadLetters) -> DeliveryResult:
        """Insert the dead letter, then end the message. If it can't be inserted now, the event is never sent for it."""
        envelope = message.envelope
        if envelope.pending_dead_letter is None:
            envelope = replace(envelope, attempts=envelope.attempts + 1, pending_dead_letter=outcome)
        record = record_of_event(message, envelope, outcome, failed_at=self.now())
        result: DeliveryResult = _dead_lettered(outcome)
        try:
            new, ended = self._insert(message, record)
            if new and not ended:
                self._disown(message, record.dedup_key)
        except Exception as error:  # noqa: BLE001 - whatever failed, the envelope has to say that the event was sent
            detail = f"{self.outages.explain(error)}; then {result.summary}"
            result = self._snooze(envelope, detail, wait_reason_of(error))
        self.release(message, claim)
        return result

    # Not sent

    def on_hold(self, message: Message, claim: OnHold) -> Redeliver:
        """Return the message to the end of the queue, which hands out nothing during a hold."""
        self.hold.turned_away(claim.comment, by_hand=claim.by_hand, at=self.now())
        if message.probes:
            self.pass_probe_on(replace(message, probe=False))
        return Redeliver(envelope=message.envelope.snoozed(), summary=f"hold: {claim.comment}", result=ResultKind.HOLD)

    def org_on_hold(self, message: Message, hold: OrgHold) -> Redeliver:
        """Set the message aside until its org, or its org's key, is held no more."""
        self.pass_probe_on(message)
        return self._set_aside(message, hold)

    def over_limit(self, message: Message, wait: timedelta, *, most: int) -> Redeliver:
        """Let the message wait in Redis until its org may have another request under way; others go past it."""
        at = self.now() + wait
        return Redeliver(
            envelope=message.envelope.waiting(WaitReason.LIMIT),
            summary=f"hold: {message.event.org} has {most} requests at once, again in {self._until(at)}",
            due=at,
            result=ResultKind.HOLD,
        )

    def busy(self, message: Message, claim: Busy) -> Redeliver:
        """Let the message wait for the other one of its request_id, at most until the other's claim ends."""
        self.pass_probe_on(message)
        detail = "another message of this request_id is being sent"
        wait = busy_backoff(self.policy, snoozes=message.envelope.snoozes + 1, jitter=self.jitter())
        return self._wait(message.envelope, detail, WaitReason.BUSY, min(wait, claim.remaining))

    def seen(self, message: Message, claim: Seen) -> Completed:
        """End a message whose vote, or a later one, AquilaX has already."""
        self.pass_probe_on(message)
        match claim:
            case Seen.SETTLED:
                return self._complete(message, CountField.DELIVERED, State.DELIVERED)
            case Seen.DUPLICATE:
                comment = "duplicate: AquilaX has this vote"
                return self._complete(message, CountField.DUPLICATE, State.DELIVERED, comment=comment)
            case Seen.STALE:
                comment = "stale: AquilaX has a later vote"
                return self._complete(message, CountField.STALE, State.DISCARDED, comment=comment)
            case _:
                assert_never(claim)

    def poison(self, message: PoisonMessage) -> DeadLetteredResult:
        """Insert a message that is no event into the dead-letter table as `invalid`, then end it."""
        self.pass_probe_on(message)
        self._insert(message, record_of_poison(message, failed_at=self.now()))
        return _dead_lettered(SendToDeadLetters(reason=Reason.INVALID, response=message.problem))

    def failed(self, message: Message | PoisonMessage, error: Exception) -> Redeliver:
        """Let a message wait because Redis, the database or our own code failed; no attempt is spent."""
        again = self._snooze(message.envelope, self.outages.explain(error), wait_reason_of(error))
        return replace(again, as_it_is=isinstance(message, PoisonMessage))

    # Parts of several outcomes

    def release(self, message: Message, claim: Claimed, *, count: CountField | None = None) -> None:
        """Release a claim. While Redis is unavailable it expires by itself, and the decision stands."""
        try:
            self.idempotency.release(message.event, claim, message_id=message.envelope.message_id, count=count)
        except redis.RedisError as error:
            log.info("a claim on %s is left to its end: %s", message.event.request_id, self.outages.explain(error))

    def pass_probe_on(self, message: Message | PoisonMessage) -> None:
        """Let the next event be the probe of a hold, if this message is the probe and nothing is sent for it."""
        of_org = message.probes if isinstance(message, Message) else ""
        if message.probe or of_org:
            try:
                if message.probe:
                    self.hold.probe_soon()
                if of_org:
                    self.org_holds.probe_soon(of_org)
            except redis.RedisError as error:
                log.info("the next probe goes when this one is overdue: %s", self.outages.explain(error))

    def _complete(self, message: Message, count: CountField, state: State, *, comment: str = "") -> Completed:
        """End a message for which nothing is sent, or nothing more; its dead letters learn of it first."""
        envelope = message.envelope
        if envelope.dead_letter is not None:
            self.dead_letters.resolve_replay(
                envelope.dead_letter,
                request_id=message.event.request_id,
                replay=envelope.replay,
                state=state,
                comment=comment,
            )
        made = message.redelivered and self.dead_letters.settle_made(
            key_of_message(message),
            message_id=envelope.message_id,
            state=state,
            comment=comment or "its worker was lost after it was inserted; its message came again, and was delivered",
        )
        rows = [CountField.DEAD_LETTERS_INSERTED] if made else []
        self.idempotency.finish(message.delivery_tag, count, *rows, held_in=message.held_in)
        return Completed(summary=count.value)

    def _insert(self, message: Message | PoisonMessage, record: DeadLetterRecord) -> tuple[bool, bool]:
        """Insert a dead letter, then end its message; return whether the row is new, and whether the message ended."""
        new = self.dead_letters.add(record)
        self.outages.passed(Dependency.DATABASE)
        rows = [CountField.DEAD_LETTERS_INSERTED] if new else []
        counts = [CountField.DEAD, f"{CountField.DEAD}:{record.reason}", *rows]
        return new, self.idempotency.finish(message.delivery_tag, *counts, held_in=message.held_in)

    def _disown(self, message: Message, key: str) -> None:
        """Resolve a new dead letter whose message another worker has delivered, because our lease had ended."""
        message_id = message.envelope.message_id
        if self.idempotency.has_delivered(message.event, message_id=message_id):
            comment = "another worker had delivered it: the lease of the one that inserted it had ended"
            self.dead_letters.disown(key, message_id=message_id, comment=comment)

    def _snooze(self, envelope: Envelope, detail: str, reason: WaitReason) -> Redeliver:
        """Let a message come again after a while, which grows, with no attempt spent."""
        wait = snooze_backoff(self.policy, snoozes=envelope.snoozes + 1, jitter=self.jitter())
        return self._wait(envelope, detail, reason, wait)

    def _wait(self, envelope: Envelope, detail: str, reason: WaitReason, wait: timedelta) -> Redeliver:
        at = self.now() + wait
        text = f"snoozed, again in {self._until(at)}: {detail}"
        return Redeliver(envelope=envelope.snoozed().waiting(reason), summary=text, due=at)

    def _set_aside(self, message: Message, hold: OrgHold) -> Redeliver:
        return Redeliver(
            envelope=message.envelope.snoozed().waiting(WaitReason.HOLD),
            summary=f"hold of {hold.shown}: {hold.state.comment}",
            due=self.now() + _CANVAS_AGAIN,
            set_aside=hold.scope,
            result=ResultKind.HOLD,
        )

    def _until(self, at: datetime) -> str:
        seconds = (at - self.now()).total_seconds()
        return f"{seconds:.0f} s" if seconds >= _TEN_SECONDS else f"{max(seconds, 0):.1f} s"


def _dead_lettered(outcome: SendToDeadLetters) -> DeadLetteredResult:
    response = Response(status=outcome.http_status, text=outcome.response)
    return DeadLetteredResult(reason=outcome.reason, summary=f"dead letter: {outcome.reason} {response.summary}")
