"""A line of a segment: an event, with a checksum that tells a whole line from a torn one.

It is ``CHECKSUM NUMBER JSON`` and a line feed: see `producer.spool.checksum`; the number of the line, from 1; the
event's fields, and what else a message of it needs. The JSON has one form, so that it is read by one expression, and a
line becomes a message without an event being made.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from producer.event import restored
from producer.message import Parts, whose
from producer.spool.checksum import checked, content_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from producer.event import FeedbackEvent

__all__ = ["Record", "contents", "line", "number_of", "parse", "sendable"]

_TEXT: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_CONTENT: Final = re.compile(
    r'(?P<number>\d+) {"request_id":"(?P<request_id>[^"]+)","status":"(?P<status>true|false)",'
    rf'(?P<whose>"org":{_TEXT},"group":{_TEXT}),"occurred_at":"(?P<occurred_at>[^"]+)",'
    r'"spooled_at":"(?P<spooled_at>[^"]+)",(?P<shared>"queue":.*)}'
)
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Record(NamedTuple):
    """A spooled event.

    Attributes:
        event: The event.
        queue: The queue for which it was meant.
        spooled_at: When it went to disk.
        trace: The headers that lead back to the span in which it was enqueued; see `producer.message.trace_headers`.
    """

    event: FeedbackEvent
    queue: str
    spooled_at: datetime
    trace: Mapping[str, str]


def contents(
    events: Sequence[FeedbackEvent], *, queue: str, spooled_at: datetime, trace: Mapping[str, str]
) -> list[bytes]:
    """Return what the lines of events say that one call puts into the spool."""
    shared = {"spooled_at": spooled_at.isoformat(), "queue": queue} | ({"trace": dict(trace)} if trace else {})
    end = _encode(shared)[1:]
    return [
        f'{{"request_id":"{event.request_id}","status":"{event.status_text}",{whose(event.org, event.group)},'
        f'"occurred_at":"{event.occurred_at.isoformat()}",{end}'.encode()
        for event in events
    ]


def line(content: bytes, number: int) -> bytes:
    """Return the line of this number that says this."""
    return checked(b"%d %b" % (number, content)) + b"\n"


def parse(text: bytes) -> tuple[int, Record] | None:
    """Return a line's number and record; None if it is no whole line."""
    if (found := _checked(text)) is None:
        return None
    event = restored(
        request_id=found["request_id"],
        status=found["status"],
        occurred_at=found["occurred_at"],
        **_object(found["whose"]),
    )
    queue, trace = _shared(found["shared"])
    return int(found["number"]), Record(event, queue, datetime.fromisoformat(found["spooled_at"]), trace)


def number_of(text: bytes) -> int:
    """Return a line's number, from 1; 0 if it is no whole line. It takes a fraction of `parse`."""
    content = content_of(text)
    return int(content.partition(b" ")[0]) if content is not None else 0


def sendable(text: bytes) -> tuple[Parts, tuple[str, Mapping[str, str]]] | None:
    """Return the parts of a line's message, and its queue and trace; None if it is no whole line."""
    if (found := _checked(text)) is None:
        return None
    _, request_id, status, owner, occurred_at, _, shared = found.groups()
    return (request_id, status, owner, occurred_at), _shared(shared)


def _checked(text: bytes) -> re.Match[str] | None:
    """Match a line. What its checksum vouches for is as it was written: its event was validated then."""
    content = content_of(text.rstrip(b"\n"))
    try:
        found = _CONTENT.fullmatch(content.decode()) if content is not None else None
        if found is not None:
            _shared(found["shared"])
    except (ValueError, KeyError):
        return None
    return found


@lru_cache(maxsize=1024)
def _shared(members: str) -> tuple[str, Mapping[str, str]]:
    """What the lines of one call have in common: the queue, and the trace."""
    found = _object(members)
    return found["queue"], found.get("trace", {})


@lru_cache(maxsize=1024)
def _object(members: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(f"{{{members}}}")
    return found
