"""The story of one delivery: claim, send, classify, decide, settle. Start reading here."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, assert_never

import redis

from worker.deadletters import (
    Burial,
    DeadLetterStoreUnavailable,
    State,
    burial_of_unreadable,
    key_of_event,
    key_of_event_without_time,
)
from worker.ledger import Busy, Claimed, Count, Ledger, Seen
from worker.policy.message import Message, Unreadable
from worker.policy.retry import Bury, Delivered, Hold, Outcome, Reason, RetryAt, RetryPolicy, decide, pause
from worker.policy.verdict import Answer, classify

if TYPE_CHECKING:
    from collections.abc import Callable

    from producer import FeedbackEvent
    from worker.aquilax import AquilaX
    from worker.deadletters import DeadLetterStore
    from worker.policy.journey import Journey

__all__ = ["Again", "Buried", "Delivery", "Done", "Ending"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Nothing is left to do; ``words`` say why."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """The message comes again, with this journey, when ``journey.not_before`` says."""

    journey: Journey
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """The event is in the dead-letter table."""

    words: str


Ending = Done | Again | Buried


class Delivery:
    """Delivers events; safe for many threads.

    Args:
        aquilax: Sends.
        ledger: Keeps a word from being sent twice.
        dead_letters: Keeps what can't be delivered.
        policy: How long and how often to try.
        now: The clock.
        spread: Chance, from 0 to 1.
    """

    def __init__(
        self,
        *,
        aquilax: AquilaX,
        ledger: Ledger,
        dead_letters: DeadLetterStore,
        policy: RetryPolicy,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._aquilax = aquilax
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._policy = policy
        self._now = now
        self._spread = spread

    def deliver(self, message: Message | Unreadable) -> Ending:
        """Bring one message to its end, or one step nearer to it.

        Whatever goes wrong on our side is no fault of the event: it waits, and spends no attempt.
        """
        try:
            if isinstance(message, Unreadable):
                return self._bury_unreadable(message)
            return self._deliver(message)
        except Exception as error:  # noqa: BLE001 - no fault of ours may cost somebody's feedback; `_fault` logs it
            return self._hold(message.journey, _fault(error))

    def close(self) -> None:
        """Close every connection."""
        self._aquilax.close()
        self._ledger.close()
        self._dead_letters.close()

    def _deliver(self, message: Message) -> Ending:
        event, journey = message.event, message.journey
        if journey.not_before is not None and self._now() < journey.not_before - _PUNCTUAL:
            return Again(journey=journey, words=f"waiting until {journey.not_before:%Y-%m-%d %H:%M:%S} UTC")
        claim = self._ledger.claim(message.word, message_id=journey.message_id)
        if not isinstance(claim, Claimed):
            return self._turned_away(message, claim)
        try:
            return self._settle(message, claim, self._known_outcome(journey) or self._send(message))
        except Exception:
            self._give_back(event, claim)
            raise

    def _known_outcome(self, journey: Journey) -> Outcome | None:
        """What became of it when it was sent, where that could not be written down yet: it is not sent again."""
        return Delivered() if journey.delivered else journey.burial

    def _turned_away(self, message: Message, claim: Busy | Seen) -> Ending:
        match claim:
            case Busy(remaining=remaining):
                why = "another message of this request_id is being sent"
                return self._hold(message.journey, why, at_most=remaining)
            case Seen.SETTLED:
                self._settle_replay(message, State.DELIVERED)
                return Done(words="delivered")
            case Seen.DUPLICATE:
                self._settle_replay(message, State.DELIVERED, note="duplicate: AquilaX has this word")
                return Done(words="duplicate")
            case Seen.STALE:
                self._settle_replay(message, State.DISCARDED, note="stale: AquilaX has a later word")
                return Done(words="stale")
            case _:
                assert_never(claim)

    def _send(self, message: Message) -> Outcome:
        answer = self._aquilax.send(message.event)
        return decide(
            classify(answer),
            answer,
            policy=self._policy,
            attempts=message.journey.attempts + 1,
            holds=message.journey.holds + 1,
            enqueued_at=message.journey.enqueued_at,
            now=self._now(),
            spread=self._spread(),
        )

    def _settle(self, message: Message, claim: Claimed, outcome: Outcome) -> Ending:
        event, journey = message.event, message.journey
        match outcome:
            case Delivered():
                return self._record(message, claim)
            case RetryAt(at=at, why=why):
                self._give_back(event, claim, count=Count.RETRIED)
                return Again(journey=journey.spent(until=at), words=f"retry in {self._until(at)}: {why}")
            case Hold(at=at, why=why):
                self._give_back(event, claim, count=Count.HELD)
                return Again(journey=journey.held(until=at), words=f"hold, retry in {self._until(at)}: {why}")
            case Bury():
                ending = self._bury(message, outcome)
                self._give_back(event, claim)
                return ending
            case _:
                assert_never(outcome)

    def _record(self, message: Message, claim: Claimed) -> Ending:
        """Record the word; if it can't be recorded now, never send again for it."""
        journey = message.journey
        try:
            self._ledger.record(message.word, claim, message_id=journey.message_id)
        except redis.RedisError as error:
            return self._hold(replace(journey, delivered=True), f"{_fault(error)}; then delivered")
        self._settle_replay(message, State.DELIVERED)
        return Done(words="delivered")

    def _give_back(self, event: FeedbackEvent, claim: Claimed, *, count: Count | None = None) -> None:
        """Give the claim back. If Redis is away it ends by itself, and what was decided stays decided."""
        try:
            self._ledger.release(event, claim, count=count)
        except redis.RedisError as error:
            log.warning("a claim on %s is left to its end: %s", event.request_id, _fault(error))

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
            event_key=key_of_event(event) if message.timed else key_of_event_without_time(event, journey.message_id),
            http_status=outcome.http_status,
            answer=outcome.answer,
            dead_letter=journey.dead_letter,
        )
        words = _dead(outcome)
        try:
            self._dead_letters.bury(burial)
        except Exception as error:  # noqa: BLE001 - as in `deliver`; here the journey knows that it was sent
            return self._hold(journey, f"{_fault(error)}; then {words}")
        return Buried(words=words)

    def _bury_unreadable(self, message: Unreadable) -> Buried:
        self._dead_letters.bury(burial_of_unreadable(message, died_at=self._now()))
        return Buried(words=_dead(Bury(reason=Reason.INVALID, answer=message.problem)))

    def _settle_replay(self, message: Message, state: State, *, note: str = "") -> None:
        if (row := message.journey.dead_letter) is not None:
            self._dead_letters.settle_replay(row, request_id=message.event.request_id, state=state, note=note)

    def _hold(self, journey: Journey, why: str, *, at_most: timedelta = timedelta.max) -> Again:
        wait = pause(self._policy, holds=journey.holds + 1, spread=self._spread())
        at = self._now() + min(wait, at_most)
        return Again(journey=journey.held(until=at), words=f"hold, retry in {self._until(at)}: {why}")

    def _until(self, at: datetime) -> str:
        seconds = (at - self._now()).total_seconds()
        return f"{seconds:.0f} s" if seconds >= _TEN_SECONDS else f"{max(seconds, 0):.1f} s"


def _fault(error: Exception) -> str:
    """Why an event waits that is not to blame, in words."""
    match error:
        case redis.RedisError():
            return f"Redis is away: {type(error).__name__}"
        case DeadLetterStoreUnavailable():
            return f"the dead-letter database is away: {error}"
        case _:
            log.error("an event waits because of a fault of ours", exc_info=error)
            return f"a fault of ours: {type(error).__name__}"


def _dead(outcome: Bury) -> str:
    return f"dead letter: {outcome.reason} {Answer(status=outcome.http_status, text=outcome.answer).words}"


_PUNCTUAL: Final = timedelta(seconds=1)
"""A message that comes this much early, by the clocks of two machines, is on time."""

_TEN_SECONDS: Final = 10
