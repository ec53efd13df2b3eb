"""What the fleet knows of its notifications: one value, and the JSON that is in Redis of it.

A field that is missing has its default, and one that is not known is ignored: releases of both kinds may share it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from worker.notifications.events import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["STATE_VERSION", "Message", "NewerState", "NotifierState", "ReceiverHealth"]

STATE_VERSION: Final = 1
"""Of the JSON. A later one is left to the workers that wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Events that are told together.

    Attributes:
        id: Its own, the same in each attempt: receivers know a repeat by it.
        at: When it was made.
        events: The events, the first one first.
        more: How many more there were.
        to: The names of the receivers that have not taken it yet.
    """

    id: str
    at: datetime
    events: tuple[Event, ...]
    more: int = 0
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverHealth:
    """How a receiver does.

    Attributes:
        failures: Attempts that failed since one succeeded.
        not_before: When the next attempt may be made; None if at once.
        problem: Why the last attempt failed, without secrets; '' if it did not.
        last_failed: The message of the last attempt that failed; '' if none did.
        taken_at: When it last took a message; None if it never did.
        given_up: Messages that it did not get in the end.
    """

    failures: int = 0
    not_before: datetime | None = None
    problem: str = ""
    last_failed: str = ""
    taken_at: datetime | None = None
    given_up: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifierState:
    """Everything.

    Attributes:
        standing: The conditions that were told as begun, and since when each stands.
        suspected: In how many looks in a row a condition was seen that has not been told yet.
        resumed_at: When a hold was last found to have ended.
        known_until: Causes whose first dead letter is from before are not new; None if nothing was looked at yet.
        causes: The causes from after that which were told, and when the first of each died.
        replays: The numbers of stopped replays that were told, and when each ended.
        pending: Events that are not in a message yet.
        dropped: How many more there were.
        outbox: Messages that not every receiver has taken.
        receivers: How each receiver does, by its name.
    """

    standing: Mapping[str, datetime] = field(default_factory=dict)
    suspected: Mapping[str, int] = field(default_factory=dict)
    resumed_at: datetime | None = None
    known_until: datetime | None = None
    causes: Mapping[str, datetime] = field(default_factory=dict)
    replays: Mapping[str, datetime] = field(default_factory=dict)
    pending: tuple[Event, ...] = ()
    dropped: int = 0
    outbox: tuple[Message, ...] = ()
    receivers: Mapping[str, ReceiverHealth] = field(default_factory=dict)

    def waiting_for(self, receiver: str) -> int:
        """Return how many messages a receiver has not taken yet."""
        return sum(receiver in message.to for message in self.outbox)

    def to_json(self) -> str:
        """Return what stands in Redis."""
        return json.dumps(
            {
                "version": STATE_VERSION,
                "standing": _texts(self.standing),
                "suspected": dict(self.suspected),
                "resumed_at": _text(self.resumed_at),
                "known_until": _text(self.known_until),
                "causes": _texts(self.causes),
                "replays": _texts(self.replays),
                "pending": [event.to_record() for event in self.pending],
                "dropped": self.dropped,
                "outbox": [_message_record(message) for message in self.outbox],
                "receivers": {name: _health_record(health) for name, health in self.receivers.items()},
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Read what stands in Redis.

        Raises:
            ValueError: It is not what `to_json` writes.
            NewerState: A later release wrote it.
        """
        try:
            found = json.loads(text)
            _check_version(found["version"])
            return cls(
                standing=_moments(found.get("standing")),
                suspected={str(name): int(number) for name, number in (found.get("suspected") or {}).items()},
                resumed_at=_moment(found.get("resumed_at")),
                known_until=_moment(found.get("known_until")),
                causes=_moments(found.get("causes")),
                replays=_moments(found.get("replays")),
                pending=tuple(Event.from_record(record) for record in found.get("pending") or ()),
                dropped=int(found.get("dropped") or 0),
                outbox=tuple(_message(record) for record in found.get("outbox") or ()),
                receivers={str(name): _health(record) for name, record in (found.get("receivers") or {}).items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"what is known of notifications can't be read: {error!r:.100}") from None


class NewerState(Exception):
    """A worker of a later release wrote it, whose rounds are not to be undone."""


def _check_version(version: object) -> None:
    if isinstance(version, int) and version > STATE_VERSION:
        raise NewerState(f"workers of a later release notify (version {version})")
    if version != STATE_VERSION:
        raise ValueError("it is of another version")


def _message_record(message: Message) -> dict[str, Any]:
    events = [event.to_record() for event in message.events]
    return {"id": message.id, "at": _text(message.at), "events": events, "more": message.more, "to": list(message.to)}


def _message(record: Mapping[str, Any]) -> Message:
    return Message(
        id=str(record["id"]),
        at=datetime.fromisoformat(record["at"]),
        events=tuple(Event.from_record(event) for event in record["events"]),
        more=int(record["more"]),
        to=tuple(map(str, record["to"])),
    )


def _health_record(health: ReceiverHealth) -> dict[str, Any]:
    return {
        "failures": health.failures,
        "not_before": _text(health.not_before),
        "problem": health.problem,
        "last_failed": health.last_failed,
        "taken_at": _text(health.taken_at),
        "given_up": health.given_up,
    }


def _health(record: Mapping[str, Any]) -> ReceiverHealth:
    return ReceiverHealth(
        failures=int(record.get("failures") or 0),
        not_before=_moment(record.get("not_before")),
        problem=str(record.get("problem") or ""),
        last_failed=str(record.get("last_failed") or ""),
        taken_at=_moment(record.get("taken_at")),
        given_up=int(record.get("given_up") or 0),
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _texts(moments: Mapping[str, datetime]) -> dict[str, str]:
    return {name: moment.isoformat() for name, moment in moments.items()}


def _moments(texts: Mapping[str, str] | None) -> dict[str, datetime]:
    return {str(name): datetime.fromisoformat(text) for name, text in (texts or {}).items()}
