"""What one process counts of its deliveries in memory, at the cost of two additions: no clock, and no Redis."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from worker.accounting.history.fields import LATENCY, EventField, ResponseField
from worker.accounting.history.latency import bucket_of
from worker.policy.classification import TIMEOUT
from worker.policy.result import Completed, DeadLetteredResult, ResultKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.delivery.hooks import AttemptHooks
    from worker.policy.classification import Classification, Response
    from worker.policy.message import Message, PoisonMessage
    from worker.policy.result import DeliveryResult

__all__ = ["Tally"]

_BY_RESULT: Final[Mapping[str, str]] = {
    ResultKind.DELIVERED: EventField.DELIVERED.value,
    ResultKind.DUPLICATE: EventField.DUPLICATE.value,
    ResultKind.STALE: EventField.STALE.value,
    ResultKind.RETRY: EventField.RETRIED.value,
    ResultKind.HOLD: EventField.HELD.value,
    ResultKind.SNOOZED: EventField.SNOOZED.value,
}

_BY_STATUS: Final[Mapping[int | None, str]] = {
    **dict.fromkeys(range(200, 300), ResponseField.SUCCESS.value),
    **dict.fromkeys(range(300, 400), ResponseField.REDIRECT.value),
    **dict.fromkeys(range(400, 500), ResponseField.CLIENT_ERROR.value),
    429: ResponseField.TOO_MANY.value,
    **dict.fromkeys(range(500, 600), ResponseField.SERVER_ERROR.value),
}


class Tally:
    """Counts what deliveries come to: hooks for the process and, as it needs to know nothing of one, for each attempt.

    Safe for many threads.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._one_at_a_time = threading.Lock()

    def began(self, message: Message | PoisonMessage) -> AttemptHooks:  # noqa: ARG002 - the signature is the protocol's
        """See `Hooks`."""
        return self

    def hold_begun(self, kind: str) -> None:
        """See `Hooks`."""

    def responded(self, response: Response, classification: Classification) -> None:  # noqa: ARG002 - the signature is the protocol's
        """Count a response by its status, and how long it took."""
        field = _BY_STATUS.get(response.status) or _without_status(response)
        latency = LATENCY[bucket_of(response.took.total_seconds())]
        with self._one_at_a_time:
            self._counts[field] += 1
            self._counts[latency] += 1

    def ended(self, ending: DeliveryResult) -> None:
        """Count what an attempt came to; a dead letter by its reason."""
        if isinstance(ending, Completed):  # whose summary is its kind: to ask for that costs more than all of this
            field = _BY_RESULT[ending.summary]
        elif isinstance(ending, DeadLetteredResult):
            field = ending.reason.value
        else:
            field = _BY_RESULT[ending.result]
        with self._one_at_a_time:
            self._counts[field] += 1

    def take(self) -> Mapping[str, int]:
        """Return what was counted since the last call."""
        with self._one_at_a_time:
            counts, self._counts = self._counts, defaultdict(int)
        return counts


def _without_status(response: Response) -> str:
    if response.status is not None:
        return ResponseField.OTHER.value
    return ResponseField.TIMEOUT.value if response.text.startswith(TIMEOUT) else ResponseField.NO_RESPONSE.value
