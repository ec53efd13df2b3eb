"""The last requests that were sent for an event: they travel in its envelope, for operators, and decide nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from worker.policy.result import ResultKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.policy.classification import Response

__all__ = ["MAX_ATTEMPTS_KEPT", "Attempt", "read_attempts", "with_attempt"]

MAX_ATTEMPTS_KEPT: Final = 10
"""The last of them; each takes at most 500 bytes of JSON."""

_MAX_WORKER: Final = 64
_MAX_TEXT: Final = 200
"""Bytes of each as JSON spells them."""

_STATUSES: Final = range(1000)
_LONGEST: Final = timedelta(days=1).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request that was sent for an event, and did not deliver it.

    Attributes:
        at: When its response came, or was given up.
        worker: The node name of the worker that sent it.
        status: The HTTP status; None if no response came.
        latency: How long the response was waited for.
        text: The first words of the response, or what went wrong.
        then: What became of the event: it was to be retried, held or dead-lettered.
    """

    at: datetime
    worker: str
    status: int | None
    latency: timedelta
    text: str
    then: ResultKind

    @classmethod
    def of(cls, response: Response, *, at: datetime, worker: str, then: ResultKind) -> Self:
        """Return the attempt that got a response; the texts are cut to their limits."""
        return cls(
            at=at,
            worker=_cut(worker, _MAX_WORKER),
            status=response.status,
            latency=timedelta(milliseconds=response.took // timedelta(milliseconds=1)),
            text=_cut(response.message, _MAX_TEXT),
            then=then,
        )

    @property
    def summary(self) -> str:
        """The response as text: ``503 Downstream service unavailable``, ``timeout: no answer within 10 s``."""
        return self.text if self.status is None else f"{self.status} {self.text}".strip()

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "at": self.at.isoformat(),
            "worker": self.worker,
            "status": self.status,
            "latency_seconds": self.latency.total_seconds(),
            "text": self.text,
            "then": self.then.value,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_record` returned. Raises ValueError, TypeError, KeyError or OverflowError if that is none."""
        at, status, seconds = datetime.fromisoformat(record["at"]), record["status"], record["latency_seconds"]
        if at.utcoffset() is None or isinstance(status, bool) or not (status is None or status in _STATUSES):
            raise ValueError("no attempt")
        if isinstance(seconds, bool) or not 0 <= seconds <= _LONGEST:
            raise ValueError("no latency")
        worker, text = (_cut(str(record[name]), most) for name, most in (("worker", _MAX_WORKER), ("text", _MAX_TEXT)))
        return cls(
            at=at.astimezone(UTC),
            worker=worker,
            status=status,
            latency=timedelta(seconds=seconds),
            text=text,
            then=ResultKind(record["then"]),
        )


def with_attempt(history: tuple[Attempt, ...], attempt: Attempt) -> tuple[Attempt, ...]:
    """Return the last attempts and one more."""
    return (*history, attempt)[-MAX_ATTEMPTS_KEPT:]


def read_attempts(records: object) -> tuple[Attempt, ...]:
    """Read the last attempts; what is none is left out, for a message is not refused over what operators are shown."""
    return tuple(_read(records[-MAX_ATTEMPTS_KEPT:])) if isinstance(records, list) else ()


def _read(records: Iterable[object]) -> Iterable[Attempt]:
    for record in records:
        if isinstance(record, Mapping):
            try:
                yield Attempt.from_record(record)
            except (ValueError, TypeError, KeyError, OverflowError):
                continue


def _cut(text: str, most: int) -> str:
    """Return the beginning of a text that JSON spells in so many bytes, on one line and without control characters."""
    shown = " ".join("".join(char if char.isprintable() else " " for char in text[:most]).split())
    while len(json.dumps(shown)) - 2 > most:
        shown = shown[: len(shown) * most // len(json.dumps(shown))].rstrip()
    return shown
