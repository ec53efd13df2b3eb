"""How a message reads: a title and lines for people, and JSON for programs. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from worker.notifications.events import Event
    from worker.notifications.state import Message

__all__ = ["WEBHOOK_TYPE", "Rendered", "rendered"]

WEBHOOK_TYPE: Final = "feedback.attention"
"""The type of a webhook's payload. Programs of others read it, and the fields beside it: add, don't rename."""

_LONGEST_TITLE: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A message as it is sent.

    Attributes:
        id: The message's.
        title: One line.
        body: A line for each event, with its link beneath it.
        severity: ``failure``, ``warning``, ``success`` or ``info``, as Apprise has them.
        payload: The body of a webhook.
    """

    id: str
    title: str
    body: str
    severity: str
    payload: str


def rendered(message: Message, *, flower_url: str | None) -> Rendered:
    """Return how a message reads.

    Args:
        message: The message.
        flower_url: Where Flower is, for the links; without it there are none.
    """
    title, severity = _title(message), _severity(message.events)
    events = [
        {
            "kind": event.kind.value,
            "subject": event.subject,
            "at": event.at.isoformat(),
            "text": event.text,
            "urgent": event.urgent,
            "url": None if flower_url is None else flower_url + event.page,
        }
        for event in message.events
    ]
    data = {"title": title, "severity": severity, "events": events, "more": message.more}
    payload = {"type": WEBHOOK_TYPE, "timestamp": message.at.isoformat(), "data": data}
    return Rendered(
        id=message.id,
        title=title,
        body="\n".join(_lines(message, flower_url)),
        severity=severity,
        payload=json.dumps(payload, separators=(",", ":")),
    )


def _title(message: Message) -> str:
    first = message.events[0].text if message.events else "much has happened"
    others = len(message.events) - 1 + message.more
    more = f" (and {others:,} more)" if others > 0 else ""
    room = _LONGEST_TITLE - len(more)
    return f"AquilaX feedback: {first if len(first) <= room else first[: room - 1] + '…'}{more}"


def _lines(message: Message, flower_url: str | None) -> list[str]:
    lines = []
    for event in message.events:
        lines.append(f"{event.at:%Y-%m-%d %H:%M:%S} UTC: {event.text}")
        if flower_url is not None:
            lines.append(flower_url + event.page)
    if message.more:
        lines.append(f"and {message.more:,} more")
    return lines


def _severity(events: tuple[Event, ...]) -> str:
    if all(event.kind.value == "test" for event in events) and events:
        return "info"
    if events and all(event.kind.is_over for event in events):
        return "success"
    return "failure" if any(event.urgent and not event.kind.is_over for event in events) else "warning"
