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
from worker.deadletters import (
    Burial,
    State,
    burial_of_unreadable,
    key_of_message,
)
from worker.ledger import Busy, Claimed, Count, Held, Ledger, Seen
from worker.observe.observer import UNOBSERVED
from worker.policy.ending import Again, Buried, Done, Ending, Result
from worker.policy.message import Message, Unreadable
from worker.policy.retry import Bury, Delivered, Outcome, Reason, RetryAt, RetryPolicy, decide, pause
from worker.policy.retry import Hold as HoldOutcome
from worker.policy.verdict import Answer, Verdict, classify
from worker.policy.waits import Waits
from worker.troubles import Trouble, Troubles, waits_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.aquilax import AquilaX
    from worker.deadletters import DeadLetterStore
    from worker.descriptors import Room
    from worker.hold import Hold
    from worker.observe.observer import Observer, Turn
    from worker.policy.journey import Journey

__all__ = ["Again", "Buried", "Delivery", "Done", "Ending"]

log = logging.getLogger(__name__)

_ENOUGH_ROOM: Final = nullcontext()


class Delivery:
    """Delivers events; safe for many threads.

    Args:
        aquilax: Sends.
        ledger: Keeps a word from being sent twice.
        hold: Keeps everything in the queue while nothing can be sent.
        dead_letters: Keeps what can't be delivered.
        policy: How long and how often to try.
        now: The clock.
        spread: Chance, from 0 to 1.
        observer: Is told what becomes of each message.
        room: Lets only so many deliver at once, if there are file descriptors for no more.
    """

    def __init__(
        self,
        *,
        aquilax: AquilaX,
        ledger: Ledger,
        hold: Hold,
        dead_letters: DeadLetterStore,
        policy: RetryPolicy,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        spread: Callable[[], float] = random.random,
        observer: Observer = UNOBSERVED,
        room: Room | None = None,
    ) -> None:
        self._aquilax = aquilax
        self._ledger = ledger
        self._hold = hold
        self._dead_letters = dead_letters
        self._policy = policy
        self._now = now
        self._spread = spread
        self._observer = observer
        self._troubles = Troubles(now)
        self._room = room

    def deliver(self, message: Message | Unreadable) -> Ending:
        """Bring one message to its end, or one step nearer to it.

        Whatever goes wrong on our side is no fault of the event: it waits, and spends no attempt.
        """
        turn = self._observer.began(message)
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
        self._ledger.close()
        self._dead_letters.close()

    def _end(self, message: Message | Unreadable, turn: Turn) -> Ending:
        try:
            if isinstance(message, Unreadable):
                return self._bury_unreadable(message)
            return self._deliver(message, turn)
        except Exception as error:  # noqa: BLE001 - no fault of ours may cost feedback; the troubles log it
            again = self._keep_back(message.journey, self._troubles.explain(error), waits_for(error))
            return replace(again, as_it_is=isinstance(message, Unreadable))

    def _deliver(self, message: Message, turn: Turn) -> Ending:
        journey = message.journey
        asked_at = self._now()
        claim = self._ledger.claim(message.word, message_id=journey.message_id, probe=message.probe)
        self._troubles.passed(Trouble.REDIS)
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
        known = Delivered() if message.journey.delivered else message.journey.burial
        if known is not None:
            self._pass_on(message)
        return known

    def _pass_on(self, message: Message | Unreadable) -> None:
        """Let the next event be the probe, if this one is and AquilaX is not asked for it."""
        if message.probe:
            try:
                self._hold.probe_soon()
            except redis.RedisError as error:
                log.info("the next probe goes when this one is overdue: %s", self._troubles.explain(error))

    def _turned_away(self, message: Message, claim: Busy | Held | Seen) -> Ending:
        if isinstance(claim, Held):
            self._hold.turned_away(claim.reason, by_hand=claim.by_hand, at=self._now())
            return Again(journey=message.journey.held(), words=f"hold: {claim.reason}", result=Result.HOLD)
        self._pass_on(message)
        match claim:
            case Busy(remaining=remaining):
                why = "another message of this request_id is being sent"
                return self._keep_back(message.journey, why, Waits.BUSY, at_most=remaining)
            case Seen.SETTLED:
                return self._done(message, Count.DELIVERED, State.DELIVERED)
            case Seen.DUPLICATE:
                return self._done(message, Count.DUPLICATE, State.DELIVERED, note="duplicate: AquilaX has this word")
            case Seen.STALE:
                return self._done(message, Count.STALE, State.DISCARDED, note="stale: AquilaX has a later word")
            case _:
                assert_never(claim)

    def _done(self, message: Message, count: Count, state: State, *, note: str = "") -> Done:
        """Let a message end with nothing sent."""
        self._settle_replay(message, state, note=note)
        rows = ["graves"] if self._settle_made(message, state, note=note) else []
        self._ledger.settle(message.delivery_tag, count, *rows, held_in=message.held_in)
        return Done(words=count.value)

    def _send(self, message: Message, turn: Turn) -> Outcome:
        answer = self._aquilax.send(message.event)
        verdict, now = classify(answer), self._now()
        turn.answered(answer, verdict)
        return decide(
            verdict,
            answer,
            policy=self._policy,
            attempts=message.journey.attempts + 1,
            held=self._is_held(message, verdict, answer, now),
            enqueued_at=message.journey.enqueued_at,
            now=now,
            spread=self._spread(),
        )

    def _is_held(self, message: Message, verdict: Verdict, answer: Answer, now: datetime) -> bool:
        """Tell the hold of an answer, and return whether the event shares its fate with all others.

        While Redis is away nobody knows: then the event is retried by itself.
        """
        asked = min(answer.retry_after or timedelta(), self._policy.horizon)
        why = "" if verdict is Verdict.DELIVERED else answer.words
        try:
            return self._hold.heard(verdict, why, at=now, asked=asked, probe=message.probe)
        except redis.RedisError as error:
            if verdict is Verdict.LOCKED_OUT:
                raise
            log.info("the hold is left to the next answer: %s", self._troubles.explain(error))
            return False

    def _settle(self, message: Message, claim: Claimed, outcome: Outcome) -> Ending:
        journey = message.journey
        match outcome:
            case Delivered():
                return self._record(message, claim)
            case RetryAt(at=at, why=why):
                self._give_back(message, claim, count=Count.RETRIED)
                words = f"retry in {self._until(at)}: {why}"
                return Again(journey=journey.spent().waiting(Waits.RETRY), words=words, due=at, result=Result.RETRY)
            case HoldOutcome(why=why):
                self._give_back(message, claim, count=Count.HELD)
                return Again(journey=journey.held(), words=f"hold: {why}", result=Result.HOLD)
            case Bury():
                ending = self._bury(message, outcome)
                self._give_back(message, claim)
                return ending
            case _:
                assert_never(outcome)

    def _record(self, message: Message, claim: Claimed) -> Ending:
        """Record the word; if it can't be recorded now, never send again for it."""
        journey = message.journey
        # Where a row may have to hear of it, that comes first, and the message ends after it.
        has_row = message.redelivered or journey.dead_letter is not None
        try:
            self._ledger.record(
                message.word,
                claim,
                message_id=journey.message_id,
                delivery_tag="" if has_row else message.delivery_tag,
                held_in=message.held_in,
            )
        except Exception as error:  # noqa: BLE001 - as in `_bury`: the journey has to know that it was sent
            why = f"{self._troubles.explain(error)}; then delivered"
            return self._keep_back(replace(journey, delivered=True), why, waits_for(error))
        if has_row:
            return self._done(message, Count.DELIVERED, State.DELIVERED)
        return Done(words="delivered")

    def _give_back(self, message: Message, claim: Claimed, *, count: Count | None = None) -> None:
        """Give the claim back. If Redis is away it ends by itself, and what was decided stays decided."""
        try:
            self._ledger.release(message.event, claim, message_id=message.journey.message_id, count=count)
        except redis.RedisError as error:
            log.info("a claim on %s is left to its end: %s", message.event.request_id, self._troubles.explain(error))

    def _bury(self, message: Message, outcome: Bury) -> Ending:
        """Write the grave before the message is acknowledged; if it can't be written now, never send again for it."""
        event, journey = message.event, message.journey
        if journey.burial is None:
            journey = replace(journey, attempts=journey.attempts + 1, burial=outcome)
        burial = Burial(
            reason=outcome.reason,
            died_at=self._now(),
            first_enqueued_at=journey.enqueued_at,
            attempts=journey.attempts,
            event=event,
            event_key=key_of_message(message),
            http_status=outcome.http_status,
            answer=outcome.answer,
            dead_letter=journey.dead_letter,
            replay=journey.replay,
            message_id=journey.message_id,
        )
        words = _dead(outcome)
        try:
            new = run_in_thread(self._dead_letters.bury, burial)
            self._troubles.passed(Trouble.DATABASE)
            if not self._settle_dead(message, outcome.reason, new=new) and new:
                self._disown(message, burial.event_key)
        except Exception as error:  # noqa: BLE001 - as in `deliver`; here the journey knows that it was sent
            return self._keep_back(journey, f"{self._troubles.explain(error)}; then {words}", waits_for(error))
        return Buried(reason=outcome.reason, words=words)

    def _bury_unreadable(self, message: Unreadable) -> Buried:
        self._pass_on(message)
        new = run_in_thread(self._dead_letters.bury, burial_of_unreadable(message, died_at=self._now()))
        self._troubles.passed(Trouble.DATABASE)
        self._settle_dead(message, Reason.INVALID, new=new)
        return Buried(reason=Reason.INVALID, words=_dead(Bury(reason=Reason.INVALID, answer=message.problem)))

    def _settle_dead(self, message: Message | Unreadable, reason: Reason, *, new: bool) -> bool:
        counts = [Count.DEAD, f"{Count.DEAD}:{reason}", *(["graves"] if new else [])]
        return self._ledger.settle(message.delivery_tag, *counts, held_in=message.held_in)

    def _disown(self, message: Message, key: str) -> None:
        """Let no row stay dead whose message another worker has delivered: our lease had ended."""
        message_id = message.journey.message_id
        if self._ledger.has_delivered(message.event, message_id=message_id):
            note = "another worker had delivered it: the lease of the one that buried it had ended"
            run_in_thread(self._dead_letters.disown, key, message_id=message_id, note=note)

    def _settle_made(self, message: Message, state: State, *, note: str) -> bool:
        """Tell the row that the message made, before its worker was lost, if it did; return whether there is one."""
        return message.redelivered and run_in_thread(
            self._dead_letters.settle_made,
            key_of_message(message),
            message_id=message.journey.message_id,
            state=state,
            note=note or "its worker was lost after its burial; its message came again, and was delivered",
        )

    def _settle_replay(self, message: Message, state: State, *, note: str = "") -> None:
        if (row := message.journey.dead_letter) is not None:
            run_in_thread(
                self._dead_letters.settle_replay,
                row,
                request_id=message.event.request_id,
                replay=message.journey.replay,
                state=state,
                note=note,
            )

    def _keep_back(self, journey: Journey, why: str, waits: Waits, *, at_most: timedelta = timedelta.max) -> Again:
        wait = pause(self._policy, holds=journey.holds + 1, spread=self._spread())
        at = self._now() + min(wait, at_most)
        words = f"kept back, again in {self._until(at)}: {why}"
        return Again(journey=journey.held().waiting(waits), words=words, due=at)

    def _until(self, at: datetime) -> str:
        seconds = (at - self._now()).total_seconds()
        return f"{seconds:.0f} s" if seconds >= _TEN_SECONDS else f"{max(seconds, 0):.1f} s"


def _dead(outcome: Bury) -> str:
    return f"dead letter: {outcome.reason} {Answer(status=outcome.http_status, text=outcome.answer).words}"


_TEN_SECONDS: Final = 10
