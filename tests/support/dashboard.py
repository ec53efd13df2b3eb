"""Dead letters for the dashboard to show, and the text of its pages."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.support.dead_letter_records import NOON, a_record, add, an_event
from worker.policy.dead_letter import DeadLetterRecord
from worker.policy.retry import Reason

if TYPE_CHECKING:
    import requests

    from worker.dead_letters.store import DeadLetterStore


__all__ = ["API", "add_three", "an_invalid_record", "text_of"]


API = {"X-Requested-With": "a test"}


def text_of(answer: requests.Response) -> str:
    """What a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def add_three(store: DeadLetterStore) -> list[int]:
    """Two of one cause and one of another."""
    forbidden = a_record(an_event(org="org-2"), reason=Reason.FORBIDDEN, http_status=403, response_body="Not yours")
    return [add(store, each) for each in (a_record(), a_record(failed_at=NOON + timedelta(minutes=5)), forbidden)]


def an_invalid_record(raw: bytes) -> DeadLetterRecord:
    """A message that can't be read as an event."""
    return DeadLetterRecord(
        reason=Reason.INVALID,
        failed_at=NOON,
        first_enqueued_at=NOON,
        attempts=0,
        event=None,
        dedup_key="0" * 64,
        response_body="no event",
        raw=raw,
    )
