"""What a dead letter is made of, and the key that makes inserting it twice one row."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from producer.event import FeedbackEvent
    from worker.policy.attempt import Attempt
    from worker.policy.envelope import Envelope
    from worker.policy.message import Message, PoisonMessage
    from worker.policy.retry import SendToDeadLetters

__all__ = [
    "MAX_MESSAGE_ID_LENGTH",
    "MAX_RAW_BYTES",
    "MAX_RESPONSE_BYTES",
    "DeadLetterRecord",
    "clean",
    "key_of_event",
    "key_of_event_without_time",
    "key_of_message",
    "key_of_raw",
    "record_of_event",
    "record_of_poison",
    "stored_message_id",
]

MAX_RESPONSE_BYTES: Final = 4096
"""How much of an answer is kept: enough for any of AquilaX's errors and the head of a proxy's HTML page."""

MAX_RAW_BYTES: Final = 1024 * 1024
"""How much of an unreadable message is kept. An event is about 1 KiB; MySQL takes 16 MiB in one statement."""

MAX_MESSAGE_ID_LENGTH: Final = 64
"""Room for a UUID, for 32 characters of hexadecimal, and for a SHA-256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRecord:
    """An event that can't be delivered, or a message that can't be read as one.

    Attributes:
        reason: Why.
        failed_at: When it was given up.
        first_enqueued_at: When it was first enqueued.
        attempts: How often it was sent in vain.
        event: The event; None only if the reason is `Reason.INVALID`.
        dedup_key: What tells it from every other: from `key_of_event` and its like.
        http_status: The status of the last answer, if one came.
        response_body: The last response's body, or what is wrong with the message.
        raw: The message as it came, if it is invalid; some hold an event all the same, which can be replayed.
        dead_letter: The row that is being replayed, if it died in a replay.
        replay: The name of the plan that replayed it, if one did.
        message_id: The id of the message (`Envelope.message_id`), which a redelivery keeps; '' if it is not known.
        history: The last requests that were sent for it; for people: it decides nothing.
        comment: Why an operator made it one; '' if none did.
    """

    reason: Reason
    failed_at: datetime
    first_enqueued_at: datetime
    attempts: int
    event: FeedbackEvent | None
    dedup_key: str
    http_status: int | None = None
    response_body: str = ""
    raw: bytes | None = None
    dead_letter: int | None = None
    replay: str | None = None
    message_id: str = ""
    history: tuple[Attempt, ...] = field(default=(), compare=False)
    comment: str = ""

    def __post_init__(self) -> None:
        if self.event is None and self.reason is not Reason.INVALID:
            raise ValueError(f"a dead letter without its event is invalid, not {self.reason.value}")


def record_of_event(
    message: Message, envelope: Envelope, outcome: SendToDeadLetters, *, failed_at: datetime, comment: str = ""
) -> DeadLetterRecord:
    """Return the dead letter of an event.

    Args:
        message: The event's message.
        envelope: Its delivery, with the last attempt in it.
        outcome: Of what it dies.
        failed_at: Now.
        comment: The comment of the operator that gave it up, if one did.
    """
    return DeadLetterRecord(
        reason=outcome.reason,
        failed_at=failed_at,
        first_enqueued_at=envelope.enqueued_at,
        attempts=envelope.attempts,
        event=message.event,
        dedup_key=key_of_message(message),
        http_status=outcome.http_status,
        response_body=outcome.response,
        dead_letter=envelope.dead_letter,
        replay=envelope.replay,
        message_id=envelope.message_id,
        history=envelope.history,
        comment=comment,
    )


def record_of_poison(message: PoisonMessage, *, failed_at: datetime) -> DeadLetterRecord:
    """Return the dead letter of a message that can't be read as an event, or not be brought to its task.

    Args:
        message: What stood in the queue, and what is wrong with it.
        failed_at: Now.
    """
    envelope, found = message.envelope, message.carries
    return DeadLetterRecord(
        reason=Reason.INVALID,
        failed_at=failed_at,
        first_enqueued_at=envelope.enqueued_at,
        attempts=envelope.attempts,
        event=None if found is None else found.event,
        dedup_key=key_of_raw(message.raw) if found is None else key_of_message(found),
        response_body=message.problem,
        raw=message.raw,
        dead_letter=envelope.dead_letter,
        replay=envelope.replay,
        message_id=envelope.message_id,
        history=envelope.history,
    )


def key_of_message(message: Message) -> str:
    """Return the key of a message's event."""
    if message.timed:
        return key_of_event(message.event)
    return key_of_event_without_time(message.event, message.envelope.message_id)


def key_of_event(event: FeedbackEvent) -> str:
    """Return the key of an event whose time its sender gave: the same vote cast once has the same key always."""
    return _digest("event", json.dumps(event.to_wire(), sort_keys=True).encode())


def key_of_event_without_time(event: FeedbackEvent, message_id: str) -> str:
    """Return the key of an event of a client that gives no time.

    Its time is the time of its receipt, which differs with every redelivery, so the message stands in for it.

    Args:
        event: The event.
        message_id: The delivery tag of its first message.
    """
    timeless = {name: value for name, value in event.to_wire().items() if name != "occurred_at"}
    return _digest("message", json.dumps([timeless, message_id], sort_keys=True).encode())


def key_of_raw(raw: bytes) -> str:
    """Return the key of a message that can't be read: its bytes are all there is."""
    return _digest("raw", raw)


def stored_message_id(message_id: str) -> str | None:
    """Return a message's id as its column holds it: None if there is none.

    Ours are 32 characters of hexadecimal. A foreign client may write any text, which is kept by its digest where the
    column has no room for it, or some database would not take it.
    """
    if not message_id:
        return None
    fits = len(message_id) <= MAX_MESSAGE_ID_LENGTH and all("!" <= character <= "~" for character in message_id)
    return message_id if fits else hashlib.sha256(message_id.encode(errors="surrogatepass")).hexdigest()


def clean(text: str, *, max_bytes: int = MAX_RESPONSE_BYTES) -> str:
    """Return text that every database stores and every terminal shows: no control character, no half a character.

    Args:
        text: Anything. PostgreSQL refuses NUL, no UTF-8 carries a lone surrogate, and an escape sequence in a foreign
            answer would be carried out by the terminal that lists it.
        max_bytes: How much of it is kept, in bytes of UTF-8.
    """
    kept = "".join(_printable(text[:max_bytes].replace("\r\n", "\n")))
    return kept.encode()[:max_bytes].decode(errors="ignore").strip()


def _printable(text: str) -> Iterator[str]:
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            yield "\N{REPLACEMENT CHARACTER}"
        elif category == "Cc" and character not in "\n\t":
            yield " "
        else:
            yield character


def _digest(kind: str, content: bytes) -> str:
    """A SHA-256 in hexadecimal; the kind in front keeps the three sorts of key apart."""
    return hashlib.sha256(kind.encode() + b"\0" + content).hexdigest()
