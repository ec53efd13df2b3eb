"""What a process counts of its deliveries."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from producer import FeedbackEvent
from worker.accounting.history.fields import EventField, ResponseField
from worker.accounting.history.latency import bucket_of
from worker.accounting.history.tally import Tally
from worker.policy.classification import TIMEOUT, Response, classify
from worker.policy.envelope import Envelope
from worker.policy.message import Message
from worker.policy.result import Completed, DeadLetteredResult, DeliveryResult, Redeliver, ResultKind
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ENVELOPE = Envelope(enqueued_at=NOON, message_id="m1", attempts=2)
MESSAGE = Message(
    event=FeedbackEvent(
        request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="acme", group="chat", occurred_at=NOON
    ),
    envelope=ENVELOPE,
)


@pytest.mark.parametrize(
    ("response", "field"),
    [
        (Response(status=200), ResponseField.SUCCESS),
        (Response(status=302), ResponseField.REDIRECT),
        (Response(status=404), ResponseField.CLIENT_ERROR),
        (Response(status=429), ResponseField.TOO_MANY),
        (Response(status=503), ResponseField.SERVER_ERROR),
        (Response(status=999), ResponseField.OTHER),
        (Response(status=None, text=f"{TIMEOUT}: no answer within 10 s"), ResponseField.TIMEOUT),
        (Response(status=None, text="connection refused"), ResponseField.NO_RESPONSE),
    ],
)
def test_a_response_is_counted_by_its_kind(response: Response, field: ResponseField) -> None:
    """And how long it took."""
    tally = Tally()

    tally.began(MESSAGE).responded(response, classify(response))

    assert tally.take() == {field.value: 1, str(bucket_of(0)): 1}


@pytest.mark.parametrize(
    ("ending", "field"),
    [
        (Completed(summary="delivered"), EventField.DELIVERED),
        (Completed(summary="duplicate"), EventField.DUPLICATE),
        (Completed(summary="stale"), EventField.STALE),
        (Redeliver(envelope=ENVELOPE, summary="", result=ResultKind.RETRY), EventField.RETRIED),
        (Redeliver(envelope=ENVELOPE, summary="", result=ResultKind.HOLD), EventField.HELD),
        (Redeliver(envelope=ENVELOPE, summary=""), EventField.SNOOZED),
        *((DeadLetteredResult(reason=reason, summary=""), reason) for reason in Reason),
    ],
)
def test_an_ending_is_counted_by_its_kind(ending: DeliveryResult, field: EventField | Reason) -> None:
    """A dead letter by its reason."""
    tally = Tally()

    tally.began(MESSAGE).ended(ending)

    assert tally.take() == {field.value: 1}


def test_every_ending_can_be_counted() -> None:
    """Of a new one, this test says that it has no field."""
    tally = Tally()
    for kind in ResultKind:
        if kind is not ResultKind.DEAD_LETTER:
            tally.ended(Redeliver(envelope=ENVELOPE, summary="", result=kind))

    assert sum(tally.take().values()) == len(ResultKind) - 1


def test_what_is_taken_is_taken_once_and_nothing_is_lost_between() -> None:
    """Threads count while another one takes."""
    tally = Tally()
    taken: list[Mapping[str, int]] = []
    response = Response(status=200, took=timedelta(milliseconds=20))

    def deliver() -> None:
        for _ in range(2000):
            tally.responded(response, classify(response))

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.append(tally.take())
    taken.append(tally.take())

    assert sum(counts.get("2xx", 0) for counts in taken) == 8000
    assert tally.take() == {}
