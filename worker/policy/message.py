"""A task message as it is received: an event on its journey, or something that can't be read as one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from producer import FeedbackEvent
from worker.policy.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = ["Message", "PoisonMessage", "read_message"]

_CLOCKS_APART: Final = timedelta(minutes=5)
"""How much two honest clocks may differ: as Kerberos has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event on its journey.

    Attributes:
        event: The event.
        envelope: Its way so far.
        delivery_tag: By which it is in this worker's hand.
        held_in: The key of the set of what its holder holds; '' if the transport did not say.
        timed: Whether its sender said when it occurred; if not, its first receipt stands in.
        probe: Whether it is sent to see whether a hold can end.
        redelivered: Whether it was handed out before and came back: its worker was lost, or gave it back.
        trace: The headers that lead back to the trace in which it was enqueued.
    """

    event: FeedbackEvent
    envelope: Envelope
    delivery_tag: str = ""
    held_in: str = ""
    timed: bool = True
    probe: bool = False
    redelivered: bool = False
    trace: Mapping[str, str] = field(default_factory=dict)

    @property
    def word(self) -> FeedbackEvent:
        """The event with the time by which words are ordered.

        Nobody presses after the press was enqueued. A clock that is far ahead would make every later word on the
        answer a stale one, for as long as it is ahead: then the time of the first enqueue stands in.
        """
        if self.event.occurred_at <= self.envelope.enqueued_at + _CLOCKS_APART:
            return self.event
        return replace(self.event, occurred_at=self.envelope.enqueued_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonMessage:
    """Poison: what stands in the message is no event, or it can't be brought to its task.

    Attributes:
        raw: The message's arguments and header, whole, as JSON.
        problem: What is wrong with it.
        envelope: As much of its way as is known.
        carries: What it carries all the same, if that reads as an event.
        delivery_tag: As of `Message`.
        held_in: As of `Message`.
        probe: As of `Message`.
        trace: As of `Message`.
    """

    raw: bytes
    problem: str
    envelope: Envelope
    carries: Message | None = None
    delivery_tag: str = ""
    held_in: str = ""
    probe: bool = False
    trace: Mapping[str, str] = field(default_factory=dict)


def read_message(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    header: object,
    *,
    delivery_tag: str,
    message_id: str = "",
    held_in: str = "",
    received_at: datetime,
    probe: bool = False,
    redelivered: bool = False,
    trace: Mapping[str, str] | None = None,
) -> Message | PoisonMessage:
    """Read a message of ``feedback.deliver``.

    Args:
        args: The task's positional arguments; there are none.
        kwargs: The task's keyword arguments.
        header: The message header ``feedback``, or None if a foreign client sent the message.
        delivery_tag: By which it is in this worker's hand; a redelivery keeps it.
        message_id: Its identity, if it was published again since it was first handed out; the delivery tag if ''.
        held_in: As of `Message`.
        received_at: Now. It stands in for what a foreign client leaves out.
        probe: Whether it was handed out to see whether a hold can end.
        redelivered: As of `Message`.
        trace: As of `Message`.
    """
    message_id = message_id or delivery_tag
    envelope = Envelope(enqueued_at=received_at, message_id=message_id)
    try:
        envelope = Envelope.from_header(header, message_id=message_id, received_at=received_at)
        event = _read_event(args, kwargs, envelope)
    except ValueError as error:  # InvalidEvent is one
        raw = json.dumps({"args": args, "kwargs": kwargs, "header": header}, default=repr)
        return PoisonMessage(
            raw=raw.encode(),
            problem=str(error),
            envelope=envelope,
            delivery_tag=delivery_tag,
            held_in=held_in,
            probe=probe,
            trace=trace or {},
        )
    timed = kwargs.get("occurred_at") is not None
    return Message(
        event=event,
        envelope=envelope,
        delivery_tag=delivery_tag,
        held_in=held_in,
        timed=timed,
        probe=probe,
        redelivered=redelivered,
        trace=trace or {},
    )


def _read_event(args: Sequence[Any], kwargs: Mapping[str, Any], envelope: Envelope) -> FeedbackEvent:
    if args:
        raise ValueError(f"{len(args)} positional arguments: expected keyword arguments only")
    return FeedbackEvent.from_wire(kwargs, default_occurred_at=envelope.enqueued_at)
