"""The story of one delivery, on a real ledger, with an AquilaX and a dead-letter table that do as they are told."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any, cast

import fakeredis
import pytest
import redis
from pydantic import SecretStr

from producer import FeedbackEvent
from tests.support.processes import eventually
from worker.clients.aquilax.keys import ApiKey, KeyRing
from worker.clients.redis.keys import CountField
from worker.concurrency.file_descriptors import OutOfDescriptors
from worker.concurrency.gevent_scheduler import GeventScheduler
from worker.concurrency.scheduler import run_in_thread
from worker.database.errors import DeadLetterStoreUnavailable
from worker.database.models import State
from worker.delivery.hold import Hold
from worker.delivery.idempotency import Claimed, IdempotencyStore, Seen
from worker.delivery.org_holds import OrgHolds, key_scope, org_scope, read_org_holds
from worker.delivery.org_limits import OrgLimits
from worker.delivery.service import DeliveryService
from worker.policy.classification import Classification, Response
from worker.policy.dead_letter import DeadLetterRecord, key_of_event
from worker.policy.envelope import Envelope, WaitReason
from worker.policy.message import Message, PoisonMessage
from worker.policy.result import Completed, DeadLetteredResult, DeliveryResult, Redeliver, ResultKind
from worker.policy.retry import Reason, RetryPolicy, SendToDeadLetters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.clients.aquilax.client import AquilaX
    from worker.dead_letters.store import DeadLetterStore

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
POLICY = RetryPolicy(max_attempts=3, base=timedelta(seconds=2), cap=timedelta(minutes=10), horizon=timedelta(hours=1))
SECOND = timedelta(seconds=1)
OK = Response(status=200)
NOT_FOUND = Response(status=404, text="Request ID not found")
BUSY = Response(status=503, text="Service Unavailable")
EVENT = FeedbackEvent(request_id=REQUEST_ID, status=True, org="acme", group="chat", occurred_at=NOW)
ENVELOPE = Envelope(enqueued_at=NOW, message_id="m1")
MESSAGE = Message(event=EVENT, envelope=ENVELOPE, delivery_tag="tag")
LOCKED = Response(status=401, text="Unauthorized")


@dataclass
class FakeAquilaX:
    """Answers as it is told, and remembers what it received."""

    answers: list[Response | Exception] = field(default_factory=list)
    received: list[FeedbackEvent] = field(default_factory=list)
    closed: bool = False

    def send(self, event: FeedbackEvent) -> Response:
        """Take an event."""
        self.received.append(event)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """As of AquilaX."""
        self.closed = True


@dataclass
class Listener:
    """An observer that writes down what it hears; also its own turn."""

    heard: list[Any] = field(default_factory=list)

    def began(self, message: Message | PoisonMessage) -> Listener:
        """As of Observer."""
        self.heard.append(message)
        return self

    def hold_begun(self, kind: str) -> None:
        """As of Observer."""

    def responded(self, response: Response, classification: Classification) -> None:
        """See `AttemptHooks`."""
        self.heard.append((response, classification))

    def ended(self, ending: DeliveryResult) -> None:
        """See `AttemptHooks`."""
        self.heard.append(ending)


@dataclass
class FakeDeadLetters:
    """Keeps inserted, unless it is told to fail."""

    fails: Exception | None = None
    inserted: list[DeadLetterRecord] = field(default_factory=list)
    settled: list[tuple[int, State, str]] = field(default_factory=list)
    replays: list[str | None] = field(default_factory=list)
    closed: bool = False

    def add(self, record: DeadLetterRecord) -> bool:
        """As of DeadLetterStore."""
        self._do()
        self.inserted.append(record)
        return len(self.inserted) == 1

    def resolve_replay(
        self,
        dead_letter_id: int,
        *,
        request_id: str,  # noqa: ARG002 - the store's signature
        state: State,
        replay: str | None = None,
        comment: str = "",
    ) -> None:
        """As of DeadLetterStore."""
        self._do()
        self.replays.append(replay)
        self.settled.append((dead_letter_id, state, comment))

    def close(self) -> None:
        """As of DeadLetterStore."""
        self.closed = True

    def _do(self) -> None:
        if self.fails:
            raise self.fails


class Scene:
    """A delivery, and all that it touches."""

    def __init__(self) -> None:
        self.redis = fakeredis.FakeServer()
        self.aquilax = FakeAquilaX()
        self.dead_letters = FakeDeadLetters()
        self.now = NOW
        self.client = fakeredis.FakeRedis(server=self.redis)
        self.idempotency = IdempotencyStore(self.client, ttl=timedelta(days=7), lease=timedelta(seconds=40))
        self.hold = Hold(self.client, actor="worker")
        self.keys = KeyRing()
        self.org_holds = OrgHolds(self.client, actor="worker", ring=lambda: self.keys)
        self.listener = Listener()
        self.delivery = DeliveryService(
            aquilax=cast("AquilaX", self.aquilax),
            idempotency=self.idempotency,
            hold=self.hold,
            org_holds=self.org_holds,
            dead_letters=cast("DeadLetterStore", self.dead_letters),
            policy=POLICY,
            now=lambda: self.now,
            jitter=lambda: 1.0,
            hooks=self.listener,
            worker="w@host",
        )

    def deliver(self, *answers: Response | Exception, message: Message | PoisonMessage = MESSAGE) -> DeliveryResult:
        """Deliver a message to an AquilaX that answers so."""
        self.aquilax.answers = list(answers)
        if self.redis.connected:
            self.client.hset("unacked", message.delivery_tag, "in flight")
        return self.delivery.deliver(message)

    def in_hand(self) -> bool:
        """Whether the message has not ended."""
        return bool(self.client.exists("unacked"))

    def counts(self) -> dict[str, int]:
        """What was counted."""
        found = cast("dict[bytes, bytes]", self.client.hgetall("feedback:counts"))
        return {name.decode(): int(count) for name, count in found.items()}

    def again(self, *answers: Response | Exception, message: Message | PoisonMessage = MESSAGE) -> Redeliver:
        """Deliver a message that must come again."""
        ending = self.deliver(*answers, message=message)
        assert isinstance(ending, Redeliver)
        return ending

    def come_again(
        self, again: Redeliver, *answers: Response | Exception, message: Message = MESSAGE
    ) -> DeliveryResult:
        """Let the message come again when it is due."""
        assert again.due is not None
        self.now = max(self.now, again.due)
        return self.deliver(*answers, message=replace(message, envelope=again.envelope))

    def claim_is_free(self) -> bool:
        """Whether another message may be sent now."""
        later = replace(EVENT, status=not EVENT.status, occurred_at=EVENT.occurred_at + timedelta(days=1))
        return isinstance(self.idempotency.claim(later, message_id="another"), Claimed)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A scene at noon, without chance."""
    scene = Scene()
    yield scene
    scene.redis.connected = True
    scene.delivery.close()


def test_an_event_is_delivered(scene: Scene) -> None:
    """It is sent once, recorded, and counted."""
    assert scene.deliver(OK) == Completed(summary="delivered")

    assert scene.aquilax.received == [EVENT]
    assert scene.idempotency.claim(EVENT, message_id="m1") is Seen.SETTLED
    assert scene.idempotency.counts()[CountField.DELIVERED] == 1


def test_a_redelivery_of_a_delivered_message_is_not_sent_again(scene: Scene) -> None:
    """The worker was killed before it could acknowledge."""
    scene.deliver(OK)

    assert scene.deliver() == Completed(summary="delivered")
    assert len(scene.aquilax.received) == 1


def test_a_repeat_is_a_duplicate(scene: Scene) -> None:
    """The same press in a second message."""
    scene.deliver(OK)

    ending = scene.deliver(message=replace(MESSAGE, envelope=replace(ENVELOPE, message_id="m2")))

    assert ending == Completed(summary="duplicate")
    assert len(scene.aquilax.received) == 1


def test_an_older_opposite_word_is_stale(scene: Scene) -> None:
    """The person has changed their mind since."""
    scene.deliver(OK)
    older = replace(EVENT, status=False, occurred_at=NOW - SECOND)

    ending = scene.deliver(message=Message(event=older, envelope=replace(ENVELOPE, message_id="m0")))

    assert ending == Completed(summary="stale")
    assert len(scene.aquilax.received) == 1


def test_not_now_is_retried_and_spends_an_attempt(scene: Scene) -> None:
    """The words say when, and why."""
    again = scene.again(Response(status=503, text="later", retry_after=timedelta(seconds=10)))

    assert again == Redeliver(
        envelope=replace(ENVELOPE, attempts=1),
        summary="retry in 12 s: 503 later",
        due=NOW + 12 * SECOND,
        result=ResultKind.RETRY,
    )
    assert scene.in_hand()  # until the transport puts the next one in its place
    assert scene.idempotency.counts()[CountField.RETRIED] == 1
    assert scene.claim_is_free()


def test_a_short_wait_shows_its_tenths(scene: Scene) -> None:
    """A wait of 0 s would look like none."""
    assert scene.again(Response(status=None, text="timeout")).summary == "retry in 2.0 s: timeout"


def test_locked_out_is_held_and_spends_none(scene: Scene) -> None:
    """Our key is wrong: the event goes back at once, and all wait."""
    again = scene.again(LOCKED, message=_after(attempts=2, snoozes=7))

    assert (again.summary, again.due) == ("hold: 401 Unauthorized", None)
    assert (again.envelope.attempts, again.envelope.snoozes) == (2, 8)
    state = scene.hold.state()
    assert state is not None
    assert (state.kind, state.comment, state.actor) == ("locked_out", "401 Unauthorized", "worker")
    scene.hold.resume()
    assert scene.idempotency.counts()[CountField.SNOOZED] == 1
    assert scene.claim_is_free()


def _after(**envelope: Any) -> Message:
    return replace(MESSAGE, envelope=replace(ENVELOPE, **envelope))


def test_the_requests_that_delivered_nothing_are_its_history(scene: Scene) -> None:
    """In its dead letter, over all its messages: when, by which worker, and with which response."""
    scene.come_again(scene.again(BUSY), NOT_FOUND)

    (record,) = scene.dead_letters.inserted
    assert [(one.worker, one.summary, one.then) for one in record.history] == [
        ("w@host", "503 Service Unavailable", ResultKind.RETRY),
        ("w@host", "404 Request ID not found", ResultKind.DEAD_LETTER),
    ]
    assert record.history[0].at == NOW < record.history[1].at == scene.now


def test_a_request_that_began_a_hold_is_in_the_history_too(scene: Scene) -> None:
    """It was sent, though it spent no attempt."""
    (attempt,) = scene.again(LOCKED).envelope.history

    assert (attempt.status, attempt.then) == (401, ResultKind.HOLD)


def test_what_was_not_sent_adds_nothing_to_the_history(scene: Scene) -> None:
    """Under a hold an event that was tried before keeps what it has."""
    tried = scene.again(BUSY)
    scene.hold.hold("maintenance", actor="ann")

    turned_away = scene.come_again(tried)

    assert isinstance(turned_away, Redeliver)
    assert turned_away.envelope.history == tried.envelope.history != ()


def test_a_rejected_event_is_dead_lettered(scene: Scene) -> None:
    """With all that an operator needs."""
    assert scene.deliver(NOT_FOUND) == DeadLetteredResult(
        reason=Reason.REJECTED, summary="dead letter: rejected 404 Request ID not found"
    )

    assert scene.dead_letters.inserted == [
        DeadLetterRecord(
            reason=Reason.REJECTED,
            failed_at=NOW,
            first_enqueued_at=NOW,
            attempts=1,
            event=EVENT,
            dedup_key=key_of_event(EVENT),
            http_status=404,
            response_body="Request ID not found",
            message_id="m1",
        )
    ]
    assert scene.claim_is_free()
    assert not scene.in_hand()
    assert scene.counts() == {"dead": 1, "dead:rejected": 1, "dead_letters_inserted": 1}


def test_a_forbidden_event_is_dead_lettered(scene: Scene) -> None:
    """The key may not speak for its group."""
    ending = scene.deliver(Response(status=403, text="no"))

    assert ending == DeadLetteredResult(reason=Reason.FORBIDDEN, summary="dead letter: forbidden 403 no")


def test_an_exhausted_event_is_dead_lettered_with_its_last_answer(scene: Scene) -> None:
    """As many attempts as the policy has, and not one more."""
    ending = scene.deliver(Response(status=None, text="timeout"), message=_after(attempts=2))

    assert ending == DeadLetteredResult(reason=Reason.EXHAUSTED, summary="dead letter: exhausted timeout")
    assert scene.dead_letters.inserted[0].attempts == 3


def test_an_untimed_event_is_dead_lettered_by_its_message(scene: Scene) -> None:
    """Its time is that of its receipt, which is another one for a second press."""
    scene.deliver(NOT_FOUND, message=replace(MESSAGE, timed=False))
    scene.deliver(NOT_FOUND, message=replace(_after(message_id="m2"), timed=False))

    keys = [record.dedup_key for record in scene.dead_letters.inserted]
    assert len({*keys, key_of_event(EVENT)}) == 3


POISON = PoisonMessage(
    raw=b'{"args": []}', problem="request_id is missing", envelope=replace(ENVELOPE, snoozes=3), delivery_tag="tag"
)


def test_poison_is_dead_lettered_with_its_raw_message(scene: Scene) -> None:
    """And the worker goes on."""
    assert scene.deliver(message=POISON) == DeadLetteredResult(
        reason=Reason.INVALID, summary="dead letter: invalid request_id is missing"
    )

    record = scene.dead_letters.inserted[0]
    assert (record.reason, record.raw, record.event) == (Reason.INVALID, POISON.raw, None)
    assert not scene.in_hand()
    assert scene.counts() == {"dead": 1, "dead:invalid": 1, "dead_letters_inserted": 1}


def test_poison_waits_for_a_database_that_is_away(scene: Scene) -> None:
    """As it is: with another header it would be another message, or one that can't be read."""
    scene.dead_letters.fails = DeadLetterStoreUnavailable("gone")

    again = scene.again(message=POISON)

    assert again.summary == "snoozed, again in 16 s: the dead-letter database is unavailable: gone"
    assert again.envelope.waits is WaitReason.DATABASE
    assert again.as_it_is
    assert scene.in_hand()


def test_an_event_that_cannot_be_dead_lettered_waits_and_is_never_sent_again(scene: Scene) -> None:
    """A dead letter is written before the message is acknowledged; the answer is not asked for twice."""
    scene.dead_letters.fails = DeadLetterStoreUnavailable("gone")
    first = scene.again(NOT_FOUND)
    second = scene.come_again(first)
    scene.dead_letters.fails = None

    assert first.summary == (
        "snoozed, again in 2.0 s: the dead-letter database is unavailable: gone; "
        "then dead letter: rejected 404 Request ID not found"
    )
    assert isinstance(second, Redeliver)
    assert scene.come_again(second) == DeadLetteredResult(
        reason=Reason.REJECTED, summary="dead letter: rejected 404 Request ID not found"
    )
    assert len(scene.aquilax.received) == 1
    assert scene.dead_letters.inserted[0].attempts == 1


def test_a_wait_for_the_database_survives_the_header(scene: Scene) -> None:
    """The journey is all that travels."""
    scene.dead_letters.fails = DeadLetterStoreUnavailable("gone")
    again = scene.again(NOT_FOUND)

    header = again.envelope.to_header()

    travelled = Envelope.from_header(header, message_id="tag of the second message", received_at=NOW)
    assert travelled == again.envelope
    assert travelled.pending_dead_letter == SendToDeadLetters(
        reason=Reason.REJECTED, http_status=404, response="Request ID not found"
    )


def test_a_bug_in_the_dead_letter_does_not_send_again(scene: Scene) -> None:
    """Whatever is wrong with the table, AquilaX has answered."""
    scene.dead_letters.fails = RuntimeError("bug")
    again = scene.again(NOT_FOUND)
    scene.dead_letters.fails = None

    assert isinstance(scene.come_again(again), DeadLetteredResult)
    assert len(scene.aquilax.received) == 1


REPLAY = _after(dead_letter=7)


def test_a_replays_delivery_comes_back_to_its_row(scene: Scene) -> None:
    """The operator sees that AquilaX has it."""
    scene.deliver(OK, message=REPLAY)

    assert scene.dead_letters.settled == [(7, State.DELIVERED, "")]


def test_the_plan_of_a_replay_hears_of_its_outcome(scene: Scene) -> None:
    """Whether it was delivered or died again."""
    scene.deliver(OK, message=_after(dead_letter=7, replay="a" * 32))
    another = replace(EVENT, request_id="6a1f5f4e-2f0f-4f7e-8f0b-3f4c8f6e9d21")
    scene.deliver(NOT_FOUND, message=replace(_after(dead_letter=8, replay="b" * 32), event=another))

    assert scene.dead_letters.replays == ["a" * 32]
    assert scene.dead_letters.inserted[0].replay == "b" * 32


def test_a_replay_that_aquilax_had_already_is_delivered(scene: Scene) -> None:
    """The note says how."""
    scene.deliver(OK)

    scene.deliver(message=_after(dead_letter=7, message_id="m2"))

    assert scene.dead_letters.settled == [(7, State.DELIVERED, "duplicate: AquilaX has this vote")]


def test_a_replay_that_a_later_word_overtook_is_discarded(scene: Scene) -> None:
    """It must not undo what the person said since."""
    scene.deliver(OK, message=replace(MESSAGE, event=replace(EVENT, status=False, occurred_at=NOW + SECOND)))

    assert scene.deliver(message=_after(dead_letter=7, message_id="m2")) == Completed(summary="stale")
    assert scene.dead_letters.settled == [(7, State.DISCARDED, "stale: AquilaX has a later vote")]


def test_a_replay_that_dies_again_names_its_row(scene: Scene) -> None:
    """It is one row with a count, not two."""
    scene.deliver(NOT_FOUND, message=REPLAY)

    assert scene.dead_letters.inserted[0].dead_letter == 7


def test_a_replay_delivered_while_the_database_is_away_is_settled_later(scene: Scene) -> None:
    """And not sent again for it."""
    scene.dead_letters.fails = DeadLetterStoreUnavailable("gone")
    again = scene.again(OK, message=REPLAY)
    scene.dead_letters.fails = None

    assert scene.come_again(again) == Completed(summary="delivered")
    assert len(scene.aquilax.received) == 1
    assert scene.dead_letters.settled == [(7, State.DELIVERED, "")]
    assert scene.idempotency.counts()[CountField.DELIVERED] == 1


def test_a_bug_of_ours_loses_nothing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """The event waits, no attempt is spent, the claim is given back, and the log has the traceback."""
    again = scene.again(ZeroDivisionError("bug"))

    assert again.summary == "snoozed, again in 2.0 s: a fault of ours: ZeroDivisionError"
    assert (again.envelope.attempts, again.envelope.snoozes) == (0, 1)
    assert scene.claim_is_free()
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]


def test_a_shortage_of_our_own_spends_no_attempt(scene: Scene) -> None:
    """The event waits: it is sent when a connection can be opened."""
    again = scene.deliver(OutOfDescriptors("Too many open files"))

    assert isinstance(again, Redeliver)
    assert (again.envelope.attempts, again.envelope.snoozes, again.result) == (0, 1, ResultKind.SNOOZED)
    assert scene.deliver(OK) == Completed(summary="delivered")


def test_a_redis_that_is_away_sends_nothing(scene: Scene) -> None:
    """Without a claim another worker may be sending."""
    scene.redis.connected = False

    again = scene.again()

    assert again.summary == "snoozed, again in 2.0 s: Redis is unavailable: ConnectionError"
    assert (again.envelope, again.due) == (replace(ENVELOPE, snoozes=1), NOW + 2 * SECOND)
    assert scene.aquilax.received == []


def losing_redis(scene: Scene, answer: Response, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Redis go away while AquilaX gives this answer."""

    def send(event: FeedbackEvent) -> Response:
        scene.redis.connected = False
        scene.aquilax.received.append(event)
        return answer

    monkeypatch.setattr(scene.aquilax, "send", send)


def test_a_delivery_that_cannot_be_recorded_is_recorded_later_and_not_sent_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retry the recording; never send again to repair it."""
    losing_redis(scene, OK, monkeypatch)
    again = scene.again()
    scene.redis.connected = True
    fakeredis.FakeRedis(server=scene.redis).delete(f"feedback:claim:{REQUEST_ID}")  # its lease has ended

    assert again.summary == "snoozed, again in 2.0 s: Redis is unavailable: ConnectionError; then delivered"
    assert scene.come_again(again) == Completed(summary="delivered")
    assert len(scene.aquilax.received) == 1
    assert scene.idempotency.claim(EVENT, message_id="m1") is Seen.SETTLED
    assert scene.idempotency.counts()[CountField.DELIVERED] == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (BUSY, "retry in 2.0 s: 503 Service Unavailable"),
        (LOCKED, "snoozed, again in 2.0 s: Redis is unavailable: ConnectionError"),
        (
            NOT_FOUND,
            (
                "snoozed, again in 2.0 s: Redis is unavailable: ConnectionError; "
                "then dead letter: rejected 404 Request ID not found"
            ),
        ),
    ],
)
def test_a_claim_that_cannot_be_given_back_changes_no_decision(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, answer: Response, words: str
) -> None:
    """The lease ends by itself; a dead letter stays inserted, is not sent again, and ends when it can be counted."""
    losing_redis(scene, answer, monkeypatch)

    ending = scene.deliver()

    assert ending.summary == words
    assert isinstance(ending, Redeliver)
    scene.redis.connected = True
    assert scene.in_hand()
    assert len(scene.dead_letters.inserted) == int(answer is NOT_FOUND)


def test_a_message_waits_while_another_of_its_request_id_is_sent(scene: Scene) -> None:
    """Two are never in flight together, and waiting is not failing."""
    scene.idempotency.claim(EVENT, message_id="another")

    again = scene.again(message=_after(snoozes=1))

    assert again.summary == "snoozed, again in 0.4 s: another message of this request_id is being sent"
    assert again.envelope.waits is WaitReason.BUSY
    assert (again.envelope.attempts, again.envelope.snoozes) == (0, 2)
    assert scene.aquilax.received == []


def test_a_task_that_yields_waits_a_moment_for_the_other_message(scene: Scene) -> None:
    """It gives its place to others meanwhile, and need not be published again."""
    other = scene.idempotency.claim(EVENT, message_id="another")
    assert isinstance(other, Claimed)
    scheduler, results = GeventScheduler(1), SimpleQueue[DeliveryResult]()
    moves: list[int] = []

    def move(outside: int) -> None:
        moves.append(outside)
        if outside:
            scene.idempotency.release(EVENT, other, message_id="another")

    scheduler.outside_changed = move
    try:
        scheduler.submit(lambda: results.put(scene.deliver(OK)), tag="tag")
        assert results.get(timeout=10) == Completed(summary="delivered")
    finally:
        scheduler.stop()
    assert moves == [1, 0]
    assert scene.aquilax.received == [EVENT]


def test_a_task_that_yields_waits_for_a_request_that_hangs_in_redis(scene: Scene) -> None:
    """After one short wait."""
    scene.idempotency.claim(EVENT, message_id="another")
    scheduler, results = GeventScheduler(1), SimpleQueue[DeliveryResult]()
    try:
        scheduler.submit(lambda: results.put(scene.deliver()), tag="tag")
        again = results.get(timeout=10)
    finally:
        scheduler.stop()
    assert again.summary == "snoozed, again in 0.2 s: another message of this request_id is being sent"
    assert scene.aquilax.received == []


def test_it_waits_no_longer_than_the_others_lease(scene: Scene) -> None:
    """Then its turn has come, however often it has waited."""
    store = IdempotencyStore(scene.idempotency.client, ttl=timedelta(days=1), lease=timedelta(seconds=3))
    store.claim(EVENT, message_id="another")

    again = scene.again(message=_after(snoozes=20))

    assert again.due is not None
    assert again.due - NOW <= timedelta(seconds=3)


def _probe(**envelope: Any) -> Message:
    return replace(_after(**envelope), probe=True)


def _held(scene: Scene, *, interval: int = 1000) -> None:
    """Let there be a hold whose probe is under way."""
    scene.deliver(LOCKED)
    scene.client.hset("feedback:hold", mapping={"interval": interval, "probe_at": 10**15})


def test_what_was_fetched_before_a_hold_began_goes_back_unsent(scene: Scene) -> None:
    """At once, and it spends nothing."""
    _held(scene)

    again = scene.again(message=_after(message_id="m2", attempts=1))

    assert (again.summary, again.due, again.envelope.attempts) == ("hold: 401 Unauthorized", None, 1)
    assert len(scene.aquilax.received) == 1


@pytest.mark.parametrize("answer", [OK, NOT_FOUND, Response(status=403)])
def test_any_good_answer_to_a_probe_ends_the_hold(scene: Scene, answer: Response) -> None:
    """AquilaX is answering."""
    _held(scene)

    scene.deliver(answer, message=_probe())

    assert scene.hold.state() is None


@pytest.mark.parametrize("answer", [LOCKED, BUSY])
def test_a_failed_probe_waits_longer_and_spends_nothing(scene: Scene, answer: Response) -> None:
    """It goes to the end of its queue: the next probe is another event."""
    _held(scene)

    again = scene.again(answer, message=_probe(attempts=2))

    assert (again.summary, again.due, again.envelope.attempts) == (f"hold: {answer.summary}", None, 2)
    assert scene.client.hget("feedback:hold", "interval") == b"2000"


def test_not_now_spends_no_attempt_while_a_hold_stands(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was on its way when the hold began; even its last attempt is kept."""

    def send(_: FeedbackEvent) -> Response:
        scene.hold.hold("maintenance", actor="ann")
        return BUSY

    monkeypatch.setattr(scene.aquilax, "send", send)

    again = scene.again(message=_after(attempts=2))

    assert (again.summary, again.due, again.envelope.attempts) == ("hold: 503 Service Unavailable", None, 2)


def test_a_sustained_run_of_not_now_holds_all(scene: Scene) -> None:
    """The answer that makes it one spends no attempt; those before it did."""
    for _ in range(19):
        assert scene.again(BUSY).envelope.attempts == 1
    scene.now += 5 * SECOND

    again = scene.again(BUSY)

    assert (again.summary, again.envelope.attempts) == ("hold: 503 Service Unavailable", 0)
    state = scene.hold.state()
    assert state is not None
    assert state.kind == "breaker"


def test_a_probe_with_nothing_to_send_passes_its_turn_on(scene: Scene) -> None:
    """Or a backlog that begins with duplicates would be held for an hour."""
    scene.deliver(OK)
    scene.deliver(
        LOCKED, message=replace(_after(message_id="m2"), event=replace(EVENT, status=False, occurred_at=NOW + SECOND))
    )
    scene.client.hset("feedback:hold", "probe_at", 10**15)

    assert scene.deliver(message=_probe()) == Completed(summary="delivered")

    assert int(scene.client.hget("feedback:hold", "probe_at") or 0) < 10**15


def test_a_probe_that_is_poison_passes_its_turn_on(scene: Scene) -> None:
    """AquilaX was not asked."""
    _held(scene)

    scene.deliver(message=replace(POISON, probe=True))

    assert int(scene.client.hget("feedback:hold", "probe_at") or 0) < 10**15


def test_an_operators_hold_stops_a_probe_too(scene: Scene) -> None:
    """Nothing is sent means nothing."""
    scene.hold.hold("maintenance", actor="ann")

    assert scene.again(message=_probe()).summary == "hold: maintenance"
    assert scene.aquilax.received == []


def test_what_has_ended_is_counted_once_however_often_it_comes(scene: Scene) -> None:
    """A message whose lease was lost comes again, and finds itself done."""
    scene.deliver(OK)

    assert scene.delivery.deliver(MESSAGE) == Completed(summary="delivered")
    assert scene.counts() == {"delivered": 1}


def test_closing_closes_every_part(scene: Scene) -> None:
    """No connection stays open behind a worker that has ended."""
    scene.delivery.close()

    assert scene.aquilax.closed
    assert scene.dead_letters.closed


def test_redis_errors_are_all_one_to_the_event(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full, read-only, loading or gone: it waits, and says which; of a refusal, in Redis' own words."""
    for error in (redis.BusyLoadingError, redis.TimeoutError):
        monkeypatch.setattr(scene.idempotency, "claim", _raising(error("x")))
        assert scene.again().summary.endswith(f"Redis is unavailable: {error.__name__}")
    for refusal in (redis.ReadOnlyError, redis.OutOfMemoryError, redis.ResponseError):
        monkeypatch.setattr(scene.idempotency, "claim", _raising(refusal("no number:\n abc")))
        assert scene.again().summary.endswith("Redis refuses: no number: abc")


def _raising(error: Exception) -> Any:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def test_an_observer_hears_of_the_beginning_the_answer_and_the_end(scene: Scene) -> None:
    """In this order, and of each once."""
    ending = scene.deliver(NOT_FOUND)

    assert scene.listener.heard == [MESSAGE, (NOT_FOUND, Classification.REJECTED), ending]


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        ([OK], ResultKind.DELIVERED),
        ([BUSY], ResultKind.RETRY),
        ([LOCKED], ResultKind.HOLD),
        ([RuntimeError("ours")], ResultKind.SNOOZED),
        ([NOT_FOUND], ResultKind.DEAD_LETTER),
    ],
)
def test_every_end_is_told_in_one_word(scene: Scene, answers: list[Response | Exception], result: ResultKind) -> None:
    """Also a fault of ours."""
    assert scene.deliver(*answers).result is result
    assert scene.listener.heard[-1].result is result


def test_what_is_not_sent_has_no_answer_to_tell(scene: Scene) -> None:
    """A repeat, an older word, and poison."""
    scene.deliver(OK)
    scene.listener.heard.clear()

    repeat = scene.deliver(message=replace(MESSAGE, envelope=replace(ENVELOPE, message_id="m2")))
    poison = scene.deliver(message=POISON)

    assert [heard for heard in scene.listener.heard if not isinstance(heard, Message | PoisonMessage)] == [
        repeat,
        poison,
    ]
    assert (repeat.result, poison.result) == (ResultKind.DUPLICATE, ResultKind.DEAD_LETTER)


@contextmanager
def stopping(scheduler: GeventScheduler) -> Iterator[GeventScheduler]:
    """Stop a scheduler at the end."""
    try:
        yield scheduler
    finally:
        scheduler.stop()


def test_a_database_that_hangs_holds_up_no_other_delivery(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where deliveries share one thread."""
    opened, dead_lettered, delivered = Event(), Event(), Event()
    add = scene.dead_letters.add

    def hang(record: DeadLetterRecord) -> bool:
        run_in_thread(opened.wait, 10)
        return add(record)

    def dies() -> None:
        scene.deliver(Response(status=404), message=replace(MESSAGE, delivery_tag="1"))
        dead_lettered.set()

    def arrives() -> None:
        other = replace(EVENT, request_id="00000000-0000-4000-8000-000000000002")
        scene.deliver(OK, message=replace(MESSAGE, event=other, delivery_tag="2"))
        delivered.set()

    monkeypatch.setattr(scene.dead_letters, "add", hang)
    with stopping(GeventScheduler(2)) as scheduler:
        scheduler.submit(dies, tag="1")
        eventually(lambda: len(scene.aquilax.received) == 1, what="the first was sent")
        scheduler.submit(arrives, tag="2")

        assert delivered.wait(10)
        assert not dead_lettered.is_set()
        opened.set()
        assert dead_lettered.wait(10)


def test_a_database_that_is_away_is_one_warning_for_all_that_wait(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """And one line once it is back: a log full of warnings hides the others."""
    caplog.set_level(logging.INFO)
    scene.dead_letters.fails = DeadLetterStoreUnavailable("gone")
    again = scene.again(NOT_FOUND)
    for _ in range(20):
        again = cast("Redeliver", scene.come_again(again))
    scene.dead_letters.fails = None
    scene.now += timedelta(minutes=1)

    scene.come_again(again)

    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("events are snoozed: the dead-letter database is unavailable: gone")
    assert "the dead-letter database is back" in caplog.text


TWO_KEYS = KeyRing(
    [
        ApiKey(name="acme", secret=SecretStr("k1"), orgs=("acme", "acme-labs")),
        ApiKey(name="globex", secret=SecretStr("k2"), orgs=("globex",)),
    ],
    from_file=True,
)


def of_org(org: str, number: int = 0) -> Message:
    """A message of an org."""
    event = replace(EVENT, request_id=REQUEST_ID[:-2] + f"{number:02x}", org=org)
    return Message(
        event=event, envelope=replace(ENVELOPE, message_id=f"{org}-{number}"), delivery_tag=f"{org}-{number}"
    )


def test_an_event_of_a_held_org_is_set_aside_and_others_are_sent(scene: Scene) -> None:
    """It spends no attempt, and claims nothing."""
    scene.org_holds.hold("acme", "maintenance", actor="jo")
    scene.org_holds.heard_of(read_org_holds(scene.client))

    again = scene.again(message=of_org("acme"))

    assert (again.set_aside, again.result, again.envelope.attempts) == (org_scope("acme"), ResultKind.HOLD, 0)
    assert again.envelope.waits is WaitReason.HOLD
    assert scene.deliver(OK, message=of_org("globex", 1)) == Completed(summary="delivered")
    assert [event.org for event in scene.aquilax.received] == ["globex"]


def test_a_refused_key_holds_its_own_orgs_alone(scene: Scene) -> None:
    """All of them, and none of another key; nothing is held for the fleet."""
    scene.keys = TWO_KEYS

    assert scene.again(LOCKED, message=of_org("acme")).set_aside == key_scope("acme")
    assert scene.again(message=of_org("acme-labs", 1)).set_aside == key_scope("acme")

    assert scene.deliver(OK, message=of_org("globex", 2)) == Completed(summary="delivered")
    assert scene.hold.state() is None
    assert [hold.scope for hold in read_org_holds(scene.client)] == [key_scope("acme")]


def test_a_redirect_holds_all_also_where_orgs_have_keys(scene: Scene) -> None:
    """It is the URL that is wrong."""
    scene.keys = TWO_KEYS

    assert not scene.again(Response(status=302), message=of_org("acme")).set_aside

    assert scene.hold.state() is not None
    assert not read_org_holds(scene.client)


def probe_is_due(scene: Scene) -> None:
    """The hold's probe is due, by Redis' clock and the worker's."""
    scene.org_holds.probe_soon(*(hold.scope for hold in read_org_holds(scene.client)))
    scene.org_holds.heard_of(read_org_holds(scene.client))
    scene.now = datetime.now(UTC) + SECOND


@pytest.mark.parametrize("answer", [OK, NOT_FOUND])
def test_a_probe_that_is_answered_ends_the_hold_of_its_key(scene: Scene, answer: Response) -> None:
    """Whatever it says, it is no refusal of the key."""
    scene.keys = TWO_KEYS
    scene.deliver(LOCKED, message=of_org("acme"))
    probe_is_due(scene)

    scene.deliver(answer, message=of_org("acme", 1))

    assert not read_org_holds(scene.client)
    assert scene.deliver(OK, message=of_org("acme", 2)) == Completed(summary="delivered")


@pytest.mark.parametrize("answer", [LOCKED, BUSY])
def test_a_probe_that_fails_is_set_aside_and_the_next_waits_longer(scene: Scene, answer: Response) -> None:
    """A 503 says nothing of the key; the event spends no attempt."""
    scene.keys = TWO_KEYS
    scene.deliver(LOCKED, message=of_org("acme"))
    probe_is_due(scene)

    again = scene.again(answer, message=of_org("acme", 1))

    assert (again.set_aside, again.envelope.attempts) == (key_scope("acme"), 0)
    [hold] = read_org_holds(scene.client)
    assert hold.state.probes == 1
    assert hold.state.probe_at is not None
    assert hold.state.probe_at > datetime.now(UTC) + SECOND


def test_a_probe_that_has_nothing_to_send_leaves_it_to_the_next(scene: Scene) -> None:
    """AquilaX has its vote already."""
    scene.keys = TWO_KEYS
    scene.deliver(OK, message=of_org("acme"))
    scene.deliver(LOCKED, message=of_org("acme", 1))
    probe_is_due(scene)

    ending = scene.deliver(message=replace(of_org("acme"), envelope=replace(ENVELOPE, message_id="again")))

    assert ending == Completed(summary="duplicate")
    [hold] = read_org_holds(scene.client)
    assert hold.state.probe_at is not None
    assert hold.state.probe_at <= datetime.now(UTC)


def test_an_org_without_a_key_waits_as_one_whose_key_is_refused(scene: Scene) -> None:
    """It is our fault, and not the event's: nothing is sent, and nothing is dead."""
    scene.keys = TWO_KEYS

    again = scene.again(
        Response(status=None, text="no key for the org initech", keyless=True), message=of_org("initech")
    )

    assert (again.set_aside, again.envelope.attempts) == (key_scope("default"), 0)
    assert scene.hold.state() is None
    assert not scene.dead_letters.inserted


def test_the_probe_of_the_hold_of_everything_is_not_spent_on_a_held_org(scene: Scene) -> None:
    """The next event is the probe; a refused key that is answered ends the hold of everything."""
    scene.org_holds.hold("acme", "maintenance", actor="jo")
    scene.org_holds.heard_of(read_org_holds(scene.client))
    scene.hold.heard(Classification.UNAUTHORIZED, "302", at=NOW)
    scene.client.hset("feedback:hold", "probe_at", 10**15)

    assert scene.again(message=replace(of_org("acme"), probe=True)).set_aside == org_scope("acme")

    state = scene.hold.state()
    assert state is not None
    assert state.probe_at is not None
    assert state.probe_at <= datetime.now(UTC)
    scene.keys = TWO_KEYS
    assert scene.again(LOCKED, message=replace(of_org("globex", 1), probe=True)).set_aside == key_scope("globex")
    assert scene.hold.state() is None


def test_an_org_with_as_many_requests_as_it_may_waits_and_others_are_sent(scene: Scene) -> None:
    """It claims nothing, spends no attempt, and comes when there is room; a probe is sent all the same."""
    limits = OrgLimits(1, most_waiting=10)
    scene.delivery._org_limits = limits
    assert limits.enter("acme") is None

    again = scene.again(message=of_org("acme"))

    assert (again.result, again.envelope.attempts, again.envelope.waits) == (ResultKind.HOLD, 0, WaitReason.LIMIT)
    assert again.due is not None
    assert scene.now < again.due < scene.now + SECOND
    assert scene.deliver(OK, message=of_org("globex", 1)) == Completed(summary="delivered")
    assert limits.running("globex") == 0
    assert scene.deliver(OK, message=replace(of_org("acme", 2), probe=True)) == Completed(summary="delivered")
    limits.leave("acme", took=0.1)
    assert scene.come_again(again, OK, message=of_org("acme")) == Completed(summary="delivered")
    assert limits.running("acme") == 0


def test_an_org_that_is_held_while_an_event_waits_for_its_place_gets_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That may take as long as a request: the hold is looked at again."""
    limits = OrgLimits(1, most_waiting=10)
    scene.delivery._org_limits = limits
    enter = limits.enter

    def hold_and_enter(org: str) -> timedelta | None:
        scene.org_holds.hold(org, "maintenance", actor="jo")
        scene.org_holds.heard_of(read_org_holds(scene.client))
        return enter(org)

    monkeypatch.setattr(limits, "enter", hold_and_enter)

    assert scene.again(message=of_org("acme")).set_aside == org_scope("acme")
    assert limits.running("acme") == 0


def test_a_failure_gives_the_place_back(scene: Scene) -> None:
    """Else the org would have one fewer for ever."""
    limits = OrgLimits(1, most_waiting=10)
    scene.delivery._org_limits = limits

    scene.again(RuntimeError("a fault"), message=of_org("acme"))

    assert limits.running("acme") == 0
