"""One line for an outcome, with all that is known of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from producer import FeedbackEvent
from worker.observability.outcome_log import FIELDS, OutcomeLog
from worker.policy.classification import Response, classify
from worker.policy.envelope import Envelope
from worker.policy.message import Message, PoisonMessage
from worker.policy.result import Completed, DeadLetteredResult, DeliveryResult, Redeliver, ResultKind
from worker.policy.retry import Reason, SendToDeadLetters

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = FeedbackEvent(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="acme", group="chat", occurred_at=NOON
)
ENVELOPE = Envelope(enqueued_at=NOON, message_id="m1", attempts=2)
MESSAGE = Message(event=EVENT, envelope=ENVELOPE)
POISON = PoisonMessage(raw=b"{}", problem="org is missing", envelope=Envelope(enqueued_at=NOON, message_id="m2"))
DELIVERED = Completed(summary="delivered")
RETRY = Redeliver(envelope=ENVELOPE.spent(), summary="retry in 12 s: 503 later", result=ResultKind.RETRY)
DEAD = DeadLetteredResult(reason=Reason.REJECTED, summary="dead letter: rejected 404 Request ID not found")
OK = Response(status=200, took=timedelta(milliseconds=41.4))


@pytest.fixture(autouse=True)
def _everything_is_written(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield


def log(**options: Any) -> OutcomeLog:
    """A log at three seconds past noon."""
    return OutcomeLog(now=lambda: NOON + timedelta(seconds=3), **options)


def tell(
    log: OutcomeLog, ending: DeliveryResult, answer: Response | None = None, message: Message | PoisonMessage = MESSAGE
) -> None:
    """Let a attempt end, after an answer if there was one."""
    attempt = log.began(message)
    if answer is not None:
        attempt.responded(answer, classify(answer))
    attempt.ended(ending)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says beside its words."""
    return {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}


def test_a_delivery_is_one_line_with_all_that_is_known(caplog: pytest.LogCaptureFixture) -> None:
    """Whose it was, which attempt, what AquilaX said and how long it took, and how old the event is."""
    tell(log(), DELIVERED, OK)

    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == ("INFO", "delivered")
    assert fields(record) == {
        "request_id": EVENT.request_id,
        "org": "acme",
        "group": "chat",
        "attempt": 3,
        "outcome": "delivered",
        "classification": "delivered",
        "http_status": 200,
        "latency_seconds": 0.041,
        "age_seconds": 3.0,
    }


def test_what_is_not_known_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """AquilaX was not asked, or did not answer."""
    tell(log(), Completed(summary="duplicate"))
    tell(log(), RETRY, Response(status=None, text="timeout"))

    duplicate, retry = map(fields, caplog.records)
    assert not {"classification", "latency_seconds", "http_status"} & set(duplicate)
    assert (retry["outcome"], retry["classification"], "http_status" in retry) == ("retry", "retryable", False)


def test_a_dead_letter_is_a_warning_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    """It needs an operator."""
    tell(log(), DEAD, Response(status=404))

    [record] = caplog.records
    assert (record.levelname, fields(record)["reason"]) == ("WARNING", "rejected")


def test_poison_has_no_event_and_is_named_by_its_message(caplog: pytest.LogCaptureFixture) -> None:
    """What stands in it is kept in the table, and not in the log."""
    tell(
        log(), DeadLetteredResult(reason=Reason.INVALID, summary="dead letter: invalid org is missing"), message=POISON
    )

    found = fields(caplog.records[0])
    assert (found["message_id"], found["outcome"], "request_id" in found) == ("m2", "dead_letter", False)


def test_a_replay_names_its_row(caplog: pytest.LogCaptureFixture) -> None:
    """The same event may have been in the log before."""
    tell(log(), DELIVERED, OK, replace(MESSAGE, envelope=replace(ENVELOPE, dead_letter=17)))

    assert fields(caplog.records[0])["dead_letter"] == 17


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"),
        ("x" * 55, None),
        ("", None),
    ],
)
def test_the_trace_is_named_that_it_belongs_to(
    caplog: pytest.LogCaptureFixture, header: str, trace_id: str | None
) -> None:
    """By the id of its trace; an invalid one of a foreign client is not written."""
    tell(log(), DELIVERED, OK, replace(MESSAGE, trace={"traceparent": header}))

    assert fields(caplog.records[0]).get("trace_id") == trace_id


def test_an_attempt_whose_dead_letter_alone_is_missing_is_not_counted_twice(caplog: pytest.LogCaptureFixture) -> None:
    """The database was unavailable when it died."""
    envelope = replace(ENVELOPE, attempts=3, pending_dead_letter=SendToDeadLetters(reason=Reason.REJECTED))

    tell(log(), DEAD, message=replace(MESSAGE, envelope=envelope))

    assert fields(caplog.records[0])["attempt"] == 3


@pytest.mark.parametrize("words", ["delivered", "duplicate", "stale"])
def test_a_sample_of_what_went_well_is_written_and_says_for_how_many_it_stands(
    caplog: pytest.LogCaptureFixture, words: str
) -> None:
    """Sums over the weights are what sums over all lines would be."""
    chances = iter([0.0, 0.24, 0.25, 0.99])
    sampled = log(sample=0.25, chance=lambda: next(chances))

    for _ in range(4):
        tell(sampled, Completed(summary=words), OK)

    assert [fields(record)["weight"] for record in caplog.records] == [4, 4]


def test_nothing_of_what_went_well_may_be_written_and_all_of_the_rest_is(caplog: pytest.LogCaptureFixture) -> None:
    """What needs an operator is never left out."""
    silent = log(sample=0.0, chance=lambda: 0.0)

    for ending in (
        DELIVERED,
        RETRY,
        DEAD,
        replace(RETRY, result=ResultKind.HOLD),
        replace(RETRY, result=ResultKind.SNOOZED),
    ):
        tell(silent, ending)

    outcomes = [fields(record)["outcome"] for record in caplog.records]
    assert outcomes == ["retry", "dead_letter", "hold", "snoozed"]
    assert not any("weight" in fields(record) for record in caplog.records)


def test_a_record_is_as_logging_makes_it(caplog: pytest.LogCaptureFixture) -> None:
    """But for what tells one moment from another."""
    tell(log(), DELIVERED)
    tell(log(), DELIVERED)

    made = logging.LogRecord(
        "worker.observability.outcome_log", logging.INFO, "", 0, "%s", ("delivered",), None, "ended"
    )
    for record in caplog.records:
        known = {name: value for name, value in vars(record).items() if name not in FIELDS and name != "message"}
        assert known.keys() == vars(made).keys()
        for name, value in vars(made).items():
            if name in {"created", "msecs", "relativeCreated"}:
                assert 0 <= abs(known[name] - value) < 60_000
            elif name not in {"pathname", "filename", "module"}:
                assert known[name] == value
    first, second = caplog.records
    assert first.created <= second.created <= made.created
    assert first.relativeCreated <= second.relativeCreated <= made.relativeCreated + 1


def test_a_record_factory_of_an_applications_own_makes_the_records(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`logging.setLogRecordFactory` is how tracing libraries add to every line."""

    class Own(logging.LogRecord):
        pass

    monkeypatch.setattr(logging, "_logRecordFactory", Own)

    tell(log(), DELIVERED)

    assert type(caplog.records[0]) is Own


def test_a_line_that_is_not_written_is_not_put_together(caplog: pytest.LogCaptureFixture) -> None:
    """Not even the clock is asked."""

    def asked() -> datetime:
        raise AssertionError("the clock was asked")

    with caplog.at_level(logging.WARNING):
        tell(OutcomeLog(now=asked), DELIVERED, OK)

    tell(OutcomeLog(now=asked, sample=0.0), DELIVERED, OK)
    assert caplog.records == []
