"""A task message as it is received: an event with its envelope, or something that can't be read as one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from producer import FeedbackEvent
from worker.policy.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = ["POISON_MESSAGE", "Handover", "Message", "PoisonMessage", "read_message"]

POISON_MESSAGE: Final = "feedback_poison_message"
"""The header with which the consumer hands a `PoisonMessage` to its task; no client's JSON makes such an object."""

_CLOCKS_APART: Final = timedelta(minutes=5)
"""How much two honest clocks may differ: as Kerberos has it."""


class Handover(TypedDict, total=False):
    """What the transport says of a message that it hands out, as `Received` has it."""

    delivery_tag: str
    held_in: str
    probe: bool
    redelivered: bool
    trace: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message that a worker has in flight.

    Attributes:
        envelope: Its delivery state so far.
        delivery_tag: Its name among the messages in flight; a redelivery keeps it.
        held_in: The key of the set of what its owner has in flight; '' if the transport did not say.
        probe: Whether it is sent to see whether a hold can end.
        redelivered: Whether it was handed out before and came back: its worker was lost, or returned it.
        trace: The headers that lead back to the trace in which it was enqueued.
    """

    envelope: Envelope
    delivery_tag: str = ""
    held_in: str = ""
    probe: bool = False
    redelivered: bool = False
    trace: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Received):
    """An event to be delivered.

    Attributes:
        event: The event.
        timed: Whether its sender said when it occurred; if not, its first receipt stands in.
        probes: The scope of the hold that can end with it, of its org or its org's key; '' if none can.
    """

    event: FeedbackEvent
    timed: bool = True
    probes: str = ""

    @property
    def vote(self) -> FeedbackEvent:
        """The event with the time by which votes are ordered.

        A vote can't occur after it was enqueued. A clock that is far ahead would make every later vote on the chat
        answer a stale one, for as long as it is ahead: then the time of the first enqueue stands in.
        """
        if self.event.occurred_at <= self.envelope.enqueued_at + _CLOCKS_APART:
            return self.event
        return replace(self.event, occurred_at=self.envelope.enqueued_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonMessage(Received):
    """A message that is no event, or can't be brought to its task.

    Attributes:
        raw: The message's arguments and header, whole, as JSON.
        problem: What is wrong with it.
        carries: What it carries all the same, if that reads as an event.
    """

    raw: bytes = field(repr=False)
    problem: str
    carries: Message | None = None


def read_message(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    header: object,
    *,
    received_at: datetime,
    message_id: str = "",
    **handover: Unpack[Handover],
) -> Message | PoisonMessage:
    """Read a message of ``feedback.deliver``.

    Args:
        args: The task's positional arguments; there are none.
        kwargs: The task's keyword arguments.
        header: The message header ``feedback``, or None if a foreign client sent the message.
        received_at: Now. It stands in for what a foreign client leaves out.
        message_id: Its identity, if it was published again since it was first handed out; the delivery tag if ''.
        handover: What the transport says of it.
    """
    message_id = message_id or handover.get("delivery_tag", "")
    envelope = None
    try:
        envelope = Envelope.from_header(header, message_id=message_id, received_at=received_at)
        event = _read_event(args, kwargs, envelope)
    except ValueError as error:  # InvalidEvent is one
        envelope = envelope or Envelope(enqueued_at=received_at, message_id=message_id)
        raw = json.dumps({"args": args, "kwargs": kwargs, "header": header}, default=repr).encode()
        return PoisonMessage(raw=raw, problem=str(error), envelope=envelope, **handover)
    return Message(event=event, envelope=envelope, timed=kwargs.get("occurred_at") is not None, **handover)


def _read_event(args: Sequence[Any], kwargs: Mapping[str, Any], envelope: Envelope) -> FeedbackEvent:
    if args:
        raise ValueError(f"{len(args)} positional arguments: expected keyword arguments only")
    return FeedbackEvent.from_wire(kwargs, default_occurred_at=envelope.enqueued_at)
