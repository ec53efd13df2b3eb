"""Messages of one call, sorted by the partitions of their events, and what an error says when not all were taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from producer._resp import MOST_MESSAGES, enqueuing, require_answer, require_taken
from producer.errors import EnqueueUncertain, ProducerError
from producer.partitions import partitions_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from producer._routing import Outcome
    from producer.event import FeedbackEvent

__all__ = ["PartitionedMessages", "require_answers", "require_one_taken"]


class PartitionedMessages:
    """Messages by their partitions: those of one partition are taken together, or not at all.

    Args:
        messages: Encoded tasks ``feedback.deliver``.
        events: The events in them, or none.
        request_ids: Those of the events; if there are none the messages are read for them.
        count: How many partitions there are.

    Raises:
        ValueError: They are too many at once, or there are not as many ``request_ids``.
    """

    def __init__(
        self, messages: Sequence[bytes], events: Sequence[FeedbackEvent], request_ids: Sequence[str], count: int
    ) -> None:
        if len(messages) > MOST_MESSAGES:
            raise ValueError(f"messages are {len(messages)}: expected at most {MOST_MESSAGES} at once")
        self._messages = messages
        self._events = events
        self._members: dict[int, list[int]] = {}
        if not request_ids:
            is_told = len(events) == len(messages)
            request_ids = [event.request_id for event in events] if is_told else [*map(_request_id, messages)]
        if len(request_ids) != len(messages):
            raise ValueError(f"request_ids are {len(request_ids)}: expected one for each of {len(messages)} messages")
        for number, partition in enumerate(partitions_of(request_ids, count)):
            if (members := self._members.get(partition)) is None:
                members = self._members[partition] = []
            members.append(number)

    def commands(self, queue: str, prefixes: Sequence[str]) -> dict[int, bytes]:
        """Return the commands that enqueue them, by their partitions; ``prefixes`` are those of all partitions."""
        return {
            partition: enqueuing(queue, [self._messages[number] for number in members], prefix=prefixes[partition])
            for partition, members in self._members.items()
        }

    def require_taken(self, outcomes: Mapping[int, Outcome]) -> None:
        """Return if all commands ended well.

        Raises:
            EnqueueUncertain: Of some messages it is not known whether they were taken.
            BrokerUnavailable: Some were not taken, and all others were.

        The error's ``taken`` counts those that were acknowledged; ``not_taken`` are the events of all the others, in
        their order.
        """
        failed = {part: error for part, outcome in outcomes.items() if (error := _failure_of(outcome)) is not None}
        if failed:
            raise self._error(failed)

    def _error(self, failed: Mapping[int, ProducerError]) -> ProducerError:
        every = sorted(number for partition in failed for number in self._members[partition])
        error = min(failed.values(), key=lambda each: not isinstance(each, EnqueueUncertain))  # the first uncertain one
        if len(self._members) > 1:
            told = f"{len(every)} of {len(self._messages)} events, of {len(failed)} of {len(self._members)} partitions"
            error = type(error)(f"{error} ({told})")
        error.taken = len(self._messages) - len(every)
        error.messages_not_taken = tuple(every)
        is_told = len(self._events) == len(self._messages)
        error.not_taken = tuple(self._events[number] for number in every) if is_told else tuple(self._events)
        return error


def require_one_taken(outcome: Outcome, event: FeedbackEvent) -> None:
    """Return if the command of one event ended well; raises as `PartitionedMessages.require_taken`."""
    if (error := _failure_of(outcome)) is not None:
        error.not_taken, error.messages_not_taken = (event,), (0,)
        raise error


def require_answers(outcomes: Mapping[int, Outcome], *, anywhere: bool) -> None:
    """Return if no reply to pings is a refusal, nor missing; or if one of them is neither, where that is enough.

    Raises:
        ProducerError: The first of them that is.
    """
    failures = []
    for outcome in outcomes.values():
        try:
            if isinstance(outcome, ProducerError):
                raise outcome
            require_answer(outcome)
        except ProducerError as error:
            failures.append(error)
    if failures and not (anywhere and len(failures) < len(outcomes)):
        raise failures[0]


def _failure_of(outcome: Outcome) -> ProducerError | None:
    if isinstance(outcome, ProducerError):
        return outcome
    try:
        require_taken(outcome)
    except ProducerError as error:
        return error
    return None


def _request_id(message: bytes) -> str:
    """The request_id in a message of this package's."""
    request_id: str = json.loads(json.loads(message)["body"])[1]["request_id"]
    return request_id
