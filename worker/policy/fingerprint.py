"""The cause of a dead letter: what many of them share, as a summary for people and a hash for filters."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from worker.policy.classification import message_of
from worker.policy.retry import Reason

__all__ = ["MAX_SUMMARY_LENGTH", "Fingerprint", "fingerprint_of", "head_of"]

MAX_SUMMARY_LENGTH: Final = 200
"""Characters of the summary: the width of the column, and what fits two rows of a terminal."""

_VARYING: Final = (
    (re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE), "<uuid>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\b"), "<time>"),
    (re.compile(r"\b(?=[a-f]*\d)(?:0x)?[0-9a-f]{8,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:\.\d+)*"), "<n>"),
)
"""What differs between two answers with one cause, longest shape first: a number is part of all the others."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The cause that several dead letters share.

    Attributes:
        summary: For people: ``rejected 404: Request ID <uuid> not found``.
        fingerprint: For filters: twelve hexadecimal digits, the same for the same summary on every machine.
    """

    summary: str

    @property
    def fingerprint(self) -> str:
        """The beginning of the summary's SHA-256."""
        return hashlib.sha256(self.summary.encode()).hexdigest()[:12]


def fingerprint_of(reason: Reason, http_status: int | None, answer: str) -> Fingerprint:
    """Return the cause of a dead letter.

    Args:
        reason: Why the event is a dead letter.
        http_status: The status of the last answer, if one came.
        answer: The last answer's text, cleaned.
    """
    head = reason.value if http_status is None else f"{reason.value} {http_status}"
    text = _without_what_varies(message_of(answer))
    return Fingerprint((f"{head}: {text}" if text else head)[:MAX_SUMMARY_LENGTH])


def head_of(summary: str) -> tuple[Reason | None, int | None]:
    """Return the reason and the status that a summary begins with; None for what is not there."""
    reason, _, status = summary.partition(":")[0].partition(" ")
    known = Reason(reason) if reason in set(Reason) else None
    return known, int(status) if known is not None and status.isascii() and status.isdecimal() else None


def _without_what_varies(answer: str) -> str:
    for shape, stand_in in _VARYING:
        answer = shape.sub(stand_in, answer)
    return " ".join(answer.split())
