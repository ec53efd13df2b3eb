"""The story of one delivery: claim, send, classify, decide, settle. Start reading here."""

from __future__ import annotations

import logging
import random
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, assert_never

import redis

from worker.concurrency.scheduler import run_in_thread
from worker.database.models import State
from worker.delivery.hooks import NO_HOOKS
from worker.delivery.idempotency import Busy, Claimed, CountField, IdempotencyStore, OnHold, Seen
from worker.delivery.outages import Dependency, DependencyOutages, wait_reason_of
from worker.policy.classification import Classification, Response, classify
from worker.policy.dead_letter import DeadLetterRecord, key_of_message, record_of_poison
from worker.policy.message import Message, PoisonMessage
from worker.policy.result import Completed, DeadLetteredResult, DeliveryResult, Redeliver, ResultKind
from worker.policy.retry import (
    Delivered,
    Outcome,
    Reason,
    RetryAt,
    RetryPolicy,
    SendToDeadLetters,
    decide,
    snooze_backoff,
)
from worker.policy.retry import Snooze as HoldOutcome
from worker.policy.wait_reason import WaitReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.clients.aquilax.client import AquilaX
    from worker.concurrency.file_descriptors import Room
    from worker.dead_letters.store import DeadLetterStore
    from worker.delivery.hold import Hold
    from worker.delivery.hooks import AttemptHooks, Hooks
    from worker.policy.envelope import Envelope

__all__ = ["Completed", "DeadLetteredResult", "DeliveryResult", "DeliveryService", "Redeliver"]

log = logging.getLogger(__name__)

_ENOUGH_ROOM: Final = nullcontext()


class DeliveryService:
    """Delivers events; safe for many threads.

    Args:
        aquilax: Sends.
        idempotency: Keeps a word from being sent twice.
        hold: Keeps everything in the queue while nothing can be sent.
        dead_letters: Keeps what can't be delivered.
        policy: How long and how often to try.
        now: The clock.
        jitter: Chance, from 0 to 1.
        hooks: Is told what becomes of each message.
        room: Lets only so many deliver at once, if there are file descriptors for no more.
    """

    def __init__(
        self,
        *,
        aquilax: AquilaX,
        idempotency: IdempotencyStore,
        hold: Hold,
        dead_letters: DeadLetterStore,
        policy: RetryPolicy,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
        hooks: Hooks = NO_HOOKS,
        room: Room | None = None,
    ) -> None:
        self._aquilax = aquilax
        self._idempotency = idempotency
        self._hold = hold
        self._dead_letters = dead_letters
        self._policy = policy
        self._now = now
        self._jitter = jitter
        self._hooks = hooks
        self._outages = DependencyOutages(now)
        self._room = room

    def deliver(self, message: Message | PoisonMessage) -> DeliveryResult:
        """Bring one message to its end, or one step nearer to it.

        Whatever goes wrong on our side is no fault of the event: it waits, and spends no attempt.
        """
        turn = self._hooks.began(message)
        with self._room.taken() if self._room else _ENOUGH_ROOM:
            ending = self._end(message, turn)
        turn.ended(ending)
        return ending

    def now(self) -> datetime:
        """Return the time by the clock that decides."""
        return self._now()

    def close(self) -> None:
        """Close every connection."""
        self._aquilax.close()
        self._idempotency.close()
        self._dead_letters.close()

    def _end(self, message: Message | PoisonMessage, turn: AttemptHooks) -> DeliveryResult:
        try:
            if isinstance(message, PoisonMessage):
                return self._bury_unreadable(message)
            return self._deliver(message, turn)
        except Exception as error:  # noqa: BLE001 - no fault of ours may cost feedback; the troubles log it
            again = self._keep_back(message.envelope, self._outages.explain(error), wait_reason_of(error))
            return replace(again, as_it_is=isinstance(message, PoisonMessage))

    def _deliver(self, message: Message, turn: AttemptHooks) -> DeliveryResult:
        envelope = message.envelope
        asked_at = self._now()
        claim = self._idempotency.claim(message.word, message_id=envelope.message_id, probe=message.probe)
        self._outages.passed(Dependency.REDIS)
        if not isinstance(claim, Claimed):
            return self._turned_away(message, claim)
        if not message.probe:
            self._hold.let_through(asked_at=asked_at)
        try:
            return self._settle(message, claim, self._known_outcome(message) or self._send(message, turn))
        except Exception:
            self._give_back(message, claim)
            raise

    def _known_outcome(self, message: Message) -> Outcome | None:
        """What became of it when it was sent, where that could not be written down yet: it is not sent again."""
        known = Delivered() if message.envelope.delivered else message.envelope.burial
        if known is not None:
            self._pass_on(message)
        return known

    def _pass_on(self, message: Message | PoisonMessage) -> None:
        """Let the next event be the probe, if this one is and AquilaX is not asked for it."""
        if message.probe:
            try:
                self._hold.probe_soon()
            except redis.RedisError as error:
                log.info("the next probe goes when this one is overdue: %s", self._outages.explain(error))

    def _turned_away(self, message: Message, claim: Busy | OnHold | Seen) -> DeliveryResult:
        if isinstance(claim, OnHold):
            self._hold.turned_away(claim.reason, by_hand=claim.by_hand, at=self._now())
            return Redeliver(envelope=message.envelope.held(), words=f"hold: {claim.reason}", result=ResultKind.HOLD)
        self._pass_on(message)
        match claim:
            case Busy(remaining=remaining):
                why = "another message of this request_id is being sent"
                return self._keep_back(message.envelope, why, WaitReason.BUSY, at_most=remaining)
            case Seen.SETTLED:
                return self._done(message, CountField.DELIVERED, State.DELIVERED)
            case Seen.DUPLICATE:
                return self._done(
                    message, CountField.DUPLICATE, State.DELIVERED, note="duplicate: AquilaX has this word"
                )
            case Seen.STALE:
                return self._done(message, CountField.STALE, State.DISCARDED, note="stale: AquilaX has a later word")
            case _:
                assert_never(claim)

    def _done(self, message: Message, count: CountField, state: State, *, note: str = "") -> Completed:
        """Let a message end with nothing sent."""
        self._settle_replay(message, state, note=note)
        rows = ["graves"] if self._settle_made(message, state, note=note) else []
        self._idempotency.settle(message.delivery_tag, count, *rows, held_in=message.held_in)
        return Completed(words=count.value)

    def _send(self, message: Message, turn: AttemptHooks) -> Outcome:
        answer = self._aquilax.send(message.event)
        classification, now = classify(answer), self._now()
        turn.answered(answer, classification)
        return decide(
            classification,
            answer,
            policy=self._policy,
            attempts=message.envelope.attempts + 1,
            held=self._is_held(message, classification, answer, now),
            enqueued_at=message.envelope.enqueued_at,
            now=now,
            jitter=self._jitter(),
        )

    def _is_held(self, message: Message, classification: Classification, answer: Response, now: datetime) -> bool:
        """Tell the hold of an answer, and return whether the event shares its fate with all others.

        While Redis is away nobody knows: then the event is retried by itself.
        """
        asked = min(answer.retry_after or timedelta(), self._policy.horizon)
        why = "" if classification is Classification.DELIVERED else answer.words
        try:
            return self._hold.heard(classification, why, at=now, asked=asked, probe=message.probe)
        except redis.RedisError as error:
            if classification is Classification.UNAUTHORIZED:
                raise
            log.info("the hold is left to the next answer: %s", self._outages.explain(error))
            return False

    def _settle(self, message: Message, claim: Claimed, outcome: Outcome) -> DeliveryResult:
        envelope = message.envelope
        match outcome:
            case Delivered():
                return self._record(message, claim)
            case RetryAt(at=at, why=why):
                self._give_back(message, claim, count=CountField.RETRIED)
                words = f"retry in {self._until(at)}: {why}"
                return Redeliver(
                    envelope=envelope.spent().waiting(WaitReason.RETRY), words=words, due=at, result=ResultKind.RETRY
                )
            case HoldOutcome(why=why):
                self._give_back(message, claim, count=CountField.HELD)
                return Redeliver(envelope=envelope.held(), words=f"hold: {why}", result=ResultKind.HOLD)
            case SendToDeadLetters():
                ending = self._bury(message, outcome)
                self._give_back(message, claim)
                return ending
            case _:
                assert_never(outcome)

    def _record(self, message: Message, claim: Claimed) -> DeliveryResult:
        """Record the word; if it can't be recorded now, never send again for it."""
        envelope = message.envelope
        # Where a row may have to hear of it, that comes first, and the message ends after it.
        has_row = message.redelivered or envelope.dead_letter is not None
        try:
            self._idempotency.record(
                message.word,
                claim,
                message_id=envelope.message_id,
                delivery_tag="" if has_row else message.delivery_tag,
                held_in=message.held_in,
            )
        except Exception as error:  # noqa: BLE001 - as in `_bury`: the journey has to know that it was sent
            why = f"{self._outages.explain(error)}; then delivered"
            return self._keep_back(replace(envelope, delivered=True), why, wait_reason_of(error))
        if has_row:
            return self._done(message, CountField.DELIVERED, State.DELIVERED)
        return Completed(words="delivered")

    def _give_back(self, message: Message, claim: Claimed, *, count: CountField | None = None) -> None:
        """Give the claim back. If Redis is away it ends by itself, and what was decided stays decided."""
        try:
            self._idempotency.release(message.event, claim, message_id=message.envelope.message_id, count=count)
        except redis.RedisError as error:
            log.info("a claim on %s is left to its end: %s", message.event.request_id, self._outages.explain(error))

    def _bury(self, message: Message, outcome: SendToDeadLetters) -> DeliveryResult:
        """Write the grave before the message is acknowledged; if it can't be written now, never send again for it."""
        event, envelope = message.event, message.envelope
        if envelope.burial is None:
            envelope = replace(envelope, attempts=envelope.attempts + 1, burial=outcome)
        burial = DeadLetterRecord(
            reason=outcome.reason,
            failed_at=self._now(),
            first_enqueued_at=envelope.enqueued_at,
            attempts=envelope.attempts,
            event=event,
            dedup_key=key_of_message(message),
            http_status=outcome.http_status,
            answer=outcome.answer,
            dead_letter=envelope.dead_letter,
            replay=envelope.replay,
            message_id=envelope.message_id,
        )
        words = _dead(outcome)
        try:
            new = run_in_thread(self._dead_letters.add, burial)
            self._outages.passed(Dependency.DATABASE)
            if not self._settle_dead(message, outcome.reason, new=new) and new:
                self._disown(message, burial.dedup_key)
        except Exception as error:  # noqa: BLE001 - as in `deliver`; here the journey knows that it was sent
            return self._keep_back(envelope, f"{self._outages.explain(error)}; then {words}", wait_reason_of(error))
        return DeadLetteredResult(reason=outcome.reason, words=words)

    def _bury_unreadable(self, message: PoisonMessage) -> DeadLetteredResult:
        self._pass_on(message)
        new = run_in_thread(self._dead_letters.add, record_of_poison(message, failed_at=self._now()))
        self._outages.passed(Dependency.DATABASE)
        self._settle_dead(message, Reason.INVALID, new=new)
        return DeadLetteredResult(
            reason=Reason.INVALID, words=_dead(SendToDeadLetters(reason=Reason.INVALID, answer=message.problem))
        )

    def _settle_dead(self, message: Message | PoisonMessage, reason: Reason, *, new: bool) -> bool:
        counts = [CountField.DEAD, f"{CountField.DEAD}:{reason}", *(["graves"] if new else [])]
        return self._idempotency.settle(message.delivery_tag, *counts, held_in=message.held_in)

    def _disown(self, message: Message, key: str) -> None:
        """Let no row stay dead whose message another worker has delivered: our lease had ended."""
        message_id = message.envelope.message_id
        if self._idempotency.has_delivered(message.event, message_id=message_id):
            note = "another worker had delivered it: the lease of the one that buried it had ended"
            run_in_thread(self._dead_letters.disown, key, message_id=message_id, note=note)

    def _settle_made(self, message: Message, state: State, *, note: str) -> bool:
        """Tell the row that the message made, before its worker was lost, if it did; return whether there is one."""
        return message.redelivered and run_in_thread(
            self._dead_letters.settle_made,
            key_of_message(message),
            message_id=message.envelope.message_id,
            state=state,
            note=note or "its worker was lost after its burial; its message came again, and was delivered",
        )

    def _settle_replay(self, message: Message, state: State, *, note: str = "") -> None:
        if (row := message.envelope.dead_letter) is not None:
            run_in_thread(
                self._dead_letters.resolve_replay,
                row,
                request_id=message.event.request_id,
                replay=message.envelope.replay,
                state=state,
                note=note,
            )

    def _keep_back(
        self, envelope: Envelope, why: str, waits: WaitReason, *, at_most: timedelta = timedelta.max
    ) -> Redeliver:
        wait = snooze_backoff(self._policy, holds=envelope.holds + 1, jitter=self._jitter())
        at = self._now() + min(wait, at_most)
        words = f"kept back, again in {self._until(at)}: {why}"
        return Redeliver(envelope=envelope.held().waiting(waits), words=words, due=at)

    def _until(self, at: datetime) -> str:
        seconds = (at - self._now()).total_seconds()
        return f"{seconds:.0f} s" if seconds >= _TEN_SECONDS else f"{max(seconds, 0):.1f} s"


def _dead(outcome: SendToDeadLetters) -> str:
    return f"dead letter: {outcome.reason} {Response(status=outcome.http_status, text=outcome.answer).words}"


_TEN_SECONDS: Final = 10
