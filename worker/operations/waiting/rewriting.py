"""As what a message goes on that waits for its time no longer: as one that is due, or as a dead letter."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from producer.message import ENVELOPE
from worker.broker.payload import HANDED_OUT_AS, UNREAD_ID
from worker.policy.dead_letter import record_of_event
from worker.policy.message import Message, read_message
from worker.policy.retry import Reason, SendToDeadLetters

if TYPE_CHECKING:
    from datetime import datetime

    from worker.operations.waiting.message import WaitingMessage
    from worker.policy.dead_letter import DeadLetterRecord
    from worker.policy.envelope import Envelope

__all__ = ["DeadLetterNow", "NotTaken", "as_dead_letter", "as_due"]

_SAID: Final = "dead-lettered by an operator while it waited for its time"

_COMPACT: Final = (",", ":")
_REDELIVERED: Final = {"redelivered": True}


class NotTaken(ValueError):
    """A message can't be made a dead letter; the message says why, and what to do."""


class DeadLetterNow(NamedTuple):
    """A message that becomes a dead letter: as what it waits until that is done, and the dead letter."""

    marked: bytes
    record: DeadLetterRecord


def as_due(waiting: WaitingMessage) -> bytes:
    """Return a message without a time of its own: a worker would let it wait again."""
    payload = waiting.payload
    if waiting.headers.get("eta") is not None:
        payload = payload | {"headers": {name: value for name, value in waiting.headers.items() if name != "eta"}}
    elif waiting.content is not None and "task" not in waiting.headers:
        body = waiting.body()
        if body.get("eta") is not None:
            text = json.dumps(body | {"eta": None}, separators=_COMPACT)
            payload = payload | {"body": b64encode(text.encode()).decode() if waiting.is_base64 else text}
    return waiting.entry if payload is waiting.payload else _bytes(payload)


def as_dead_letter(waiting: WaitingMessage, *, now: datetime, comment: str) -> DeadLetterNow:
    """Return what is to be done for a message to become a dead letter.

    Args:
        waiting: The message.
        now: This moment.
        comment: The reason, which the row keeps.

    Raises:
        NotTaken: It can't become one.
    """
    message = _read(waiting, now)
    envelope = message.envelope
    outcome = envelope.pending_dead_letter or _given_up(waiting)
    record = record_of_event(message, envelope, outcome, failed_at=now, comment=comment)
    return DeadLetterNow(_marked(waiting, replace(envelope, pending_dead_letter=outcome)), record)


def _given_up(waiting: WaitingMessage) -> SendToDeadLetters:
    """Return of what a message dies: of the last response, as it would once its attempts are used up."""
    if waiting.last is None:
        return SendToDeadLetters(reason=Reason.EXHAUSTED, response=_SAID)
    return SendToDeadLetters(reason=Reason.EXHAUSTED, http_status=waiting.last.status, response=waiting.last.text)


def _read(waiting: WaitingMessage, now: datetime) -> Message:
    """Return a message as a worker would read it."""
    if waiting.content is None:
        raise NotTaken("it can't be read here: send it now, and a worker delivers it, or makes it a dead letter")
    args, kwargs = waiting.content
    identity = _identity(waiting) or secrets.token_hex(16)
    message = read_message(args, kwargs, waiting.headers.get(ENVELOPE), received_at=now, message_id=identity)
    if not isinstance(message, Message):
        raise NotTaken(f"it is no event ({message.problem}): send it now, and a worker makes it a dead letter")
    if message.envelope.delivered:
        raise NotTaken("AquilaX has it, and only that is not recorded yet: send it now, and it is not sent again")
    return message


def _identity(waiting: WaitingMessage) -> str:
    """Under which a message was first handed out, if it ever was; the envelope may tell it as well."""
    told = (waiting.headers.get(UNREAD_ID), _info(waiting).get(HANDED_OUT_AS))
    return next((name for name in told if isinstance(name, str) and name), "")


def _marked(waiting: WaitingMessage, envelope: Envelope) -> bytes:
    """Return a message as what no worker sends any more: one that gets it writes the dead letter.

    It says that it came back, too: then a worker that ends it otherwise looks for the row that is there already.
    """
    headers = waiting.headers | {"redelivered": True, ENVELOPE: waiting.envelope | envelope.to_header()}
    properties = _properties(waiting) | {"delivery_info": _info(waiting) | _REDELIVERED}
    return _bytes(waiting.payload | {"headers": headers, "properties": properties})


def _properties(waiting: WaitingMessage) -> dict[str, Any]:
    properties = waiting.payload.get("properties")
    return properties if isinstance(properties, dict) else {}


def _info(waiting: WaitingMessage) -> dict[str, Any]:
    info = _properties(waiting).get("delivery_info")
    return info if isinstance(info, dict) else {}


def _bytes(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, separators=_COMPACT).encode()
