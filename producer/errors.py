"""What can go wrong when an event is handed over, and who acts on it.

    ProducerError
    ├── InvalidEvent        the caller fixes the event; sending it again can't help
    ├── BrokerUnavailable   not sent: Redis can't be reached or refuses; try again later
    └── EnqueueUncertain    may have been sent; enqueue it again, the worker delivers it once

Every error of redis-py, and every ``OSError``, that `FeedbackProducer` meets is translated into one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producer.event import FeedbackEvent

__all__ = ["BrokerUnavailable", "EnqueueUncertain", "InvalidEvent", "ProducerError"]


class ProducerError(Exception):
    """An event was not, or not certainly, handed over.

    Attributes:
        taken: How many events of this call Redis had acknowledged before the error.
        not_taken: The events of the chunk at hand that Redis did not acknowledge, in order. With
            `EnqueueUncertain` they may have been taken all the same. What the call had not yet drawn from
            its iterable is not among them.
        messages_not_taken: Of `enqueue_messages <FeedbackProducer.enqueue_messages>`: the positions, from 0, of the
            messages that Redis did not acknowledge.
    """

    def __init__(self, message: str, *, taken: int = 0, not_taken: tuple[FeedbackEvent, ...] = ()) -> None:
        super().__init__(message)
        self.taken = taken
        self.not_taken = not_taken
        self.messages_not_taken: tuple[int, ...] = ()


class InvalidEvent(ProducerError, ValueError):
    """A field can't be carried: the message names the field, the shape of its value and what is expected.

    Attributes:
        field: The name of the field, or ``event`` where the whole is none.
    """

    def __init__(
        self, message: str, *, field: str = "event", taken: int = 0, not_taken: tuple[FeedbackEvent, ...] = ()
    ) -> None:
        super().__init__(message, taken=taken, not_taken=not_taken)
        self.field = field


class BrokerUnavailable(ProducerError):
    """Redis did not take the event: it can't be reached, is full, is read-only or refuses the login.

    With a spool the event was not kept there either: the message says why.
    """


class EnqueueUncertain(ProducerError):
    """The event had been sent when the response failed to come: Redis may hold it, or not.

    With a producer's ``replicas`` or ``fsync`` also: Redis holds it, and fewer replicas or disks do than must. The
    message says how many do.

    Enqueuing it again is safe: delivery is idempotent on its request_id.
    """
