"""Messages that wait for their time, as workers and foreign clients leave them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from producer.message import to_message
from tests.support.dead_letter_records import NOON, an_event
from tests.support.places import LONG_FROM_NOW
from worker.policy.attempt import Attempt
from worker.policy.envelope import Envelope, WaitReason
from worker.policy.result import ResultKind

if TYPE_CHECKING:
    from tests.support.places import Places

__all__ = ["ENVELOPE", "REFUSAL", "a_retry", "wait"]

ENVELOPE = Envelope(enqueued_at=NOON, message_id="1760000000000-ab.1-1", attempts=2)


def a_retry(envelope: Envelope = ENVELOPE, *, waits: WaitReason = WaitReason.RETRY, **event: Any) -> bytes:
    """A message as a worker publishes it again."""
    message = json.loads(to_message(an_event(**event)))
    message["headers"]["feedback"] = envelope.waiting(waits).to_header()
    message["headers"] |= {"eta": datetime.fromtimestamp(LONG_FROM_NOW / 1000, UTC).isoformat(), "retries": 1}
    return json.dumps(message, separators=(",", ":")).encode()


REFUSAL = Attempt(
    at=NOON,
    worker="celery@host",
    status=503,
    latency=timedelta(seconds=1),
    text="Downstream service 17 unavailable",
    then=ResultKind.RETRY,
)


def wait(places: Places, *messages: bytes, counted: bool = True, **options: Any) -> None:
    """Let messages wait that were accepted before."""
    places.schedule(*messages, **options)
    if counted:
        places.count(accepted=len(messages))
