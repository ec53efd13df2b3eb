"""One press of 👍 or 👎, validated at the door, with its own codec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NoReturn, cast
from uuid import UUID

from producer.errors import InvalidEvent

__all__ = ["MAX_NAME_LENGTH", "FeedbackEvent", "restored"]

MAX_NAME_LENGTH: Final = 128
"""Characters that org and group may have: AquilaX's own are 24, and the dead-letter table has room for 128."""

_STATUSES: Final = {True: True, False: False, "true": True, "false": False}
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_UNCARRIABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's categories Cc (control characters) and Cs (surrogates, which UTF-8 has no form for)."""

_SHOWN: Final = 40

_NOW: Final = cast("datetime", object())
"""The time of an event whose message states none."""

_put: Final = object.__setattr__
_NEEDED: Final = frozenset({"request_id", "status", "org", "group"})
_KNOWN: Final = _NEEDED | {"occurred_at"}


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class FeedbackEvent:
    """A person's vote on one answer of the chat.

    Args:
        request_id: The AI request that the feedback is for: a `UUID` or its text of 36 characters.
        status: 👍 is True or "true", 👎 is False or "false".
        org: The organization's id: 1 to 128 characters, none of them a control character.
        group: The group's id: likewise.
        occurred_at: When the person pressed, with an offset: an aware `datetime` or ISO 8601 text; now if
            left out. It decides which of two votes on one request_id is the later one.

    Raises:
        InvalidEvent: A field can't be carried; the message names it and says what is expected.
    """

    request_id: str
    status: bool
    org: str
    group: str
    occurred_at: datetime

    def __init__(self, *, request_id: str, status: bool, org: str, group: str, occurred_at: datetime = _NOW) -> None:
        # By hand: a dataclass's own would put each field twice.
        _put(self, "request_id", _request_id(request_id))
        _put(self, "status", _status(status))
        _put(self, "org", _name("org", org))
        _put(self, "group", _name("group", group))
        _put(self, "occurred_at", datetime.now(UTC) if occurred_at is _NOW else _occurred_at(occurred_at))

    @property
    def status_text(self) -> str:
        """The status, ``true`` or ``false``, as AquilaX and the task spell it."""
        return "true" if self.status else "false"

    def to_wire(self) -> dict[str, str]:
        """Return the event as the keyword arguments of the task ``feedback.deliver``."""
        return {
            "request_id": self.request_id,
            "status": self.status_text,
            "org": self.org,
            "group": self.group,
            "occurred_at": self.occurred_at.isoformat(),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any], *, default_occurred_at: datetime | None = None) -> FeedbackEvent:
        """Read an event from the keyword arguments of ``feedback.deliver``, or from any mapping of the same names.

        Args:
            wire: The fields by name.
            default_occurred_at: Stands in where the sender left ``occurred_at`` out; now if None.

        Raises:
            InvalidEvent: A field is missing, unknown, or can't be carried.
        """
        if not isinstance(wire, Mapping):
            _refuse("event", wire, "a mapping with request_id, status, org and group")
        if not _NEEDED.issubset(wire):
            missing = next(name for name in cls.__slots__ if name not in wire)
            raise InvalidEvent(f"{missing} is missing: expected request_id, status, org and group", field=missing)
        if not _KNOWN.issuperset(wire):
            name = _shown(next(name for name in wire if name not in _KNOWN))
            raise InvalidEvent(f"{name} is no field of an event: expected {', '.join(cls.__slots__)}", field=name)
        occurred_at = wire.get("occurred_at")
        return cls(
            request_id=wire["request_id"],
            status=wire["status"],
            org=wire["org"],
            group=wire["group"],
            occurred_at=(default_occurred_at or _NOW) if occurred_at is None else occurred_at,
        )


def restored(*, request_id: str, status: str, org: str, group: str, occurred_at: str) -> FeedbackEvent:
    """Return the event that `FeedbackEvent.to_wire` has written, from where it can't have changed: nothing is checked.

    That takes a quarter of the time.
    """
    event = object.__new__(FeedbackEvent)
    _put(event, "request_id", request_id)
    _put(event, "status", _STATUSES[status])
    _put(event, "org", org)
    _put(event, "group", group)
    _put(event, "occurred_at", datetime.fromisoformat(occurred_at))
    return event


def _request_id(value: object) -> str:
    text = str(value) if isinstance(value, UUID) else value
    if not isinstance(text, str) or not _UUID.fullmatch(text):
        _refuse("request_id", value, "a UUID such as 77e81bbc-3e7f-47b9-87fa-681b5d2f54e6")
    return text.lower()


def _status(value: object) -> bool:
    if not isinstance(value, bool | str) or value not in _STATUSES:
        _refuse("status", value, 'True, False, "true" or "false"')
    return _STATUSES[value]


def _name(field_name: str, value: object) -> str:
    return _plain_name(field_name, value) if type(value) is str else _any_name(field_name, value)


def _any_name(field_name: str, value: object) -> str:
    expected = f"text of 1 to {MAX_NAME_LENGTH} characters without control characters"
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME_LENGTH or _UNCARRIABLE.search(value):
        _refuse(field_name, value, expected)
    return str.__str__(value)  # plain text also of a subclass, such as a member of a StrEnum


_plain_name: Final = lru_cache(maxsize=1024)(_any_name)
"""A backend has few of them, and what is refused is not kept."""


def _occurred_at(value: object) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is UTC:
        return value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        in_utc = moment.astimezone(UTC) if isinstance(moment, datetime) and moment.utcoffset() is not None else None
    except (ValueError, OverflowError):
        in_utc = None
    if in_utc is None:
        expected = "an aware datetime, or ISO 8601 text with an offset such as 2026-01-31T12:00:00+00:00"
        _refuse("occurred_at", value, expected)
    return in_utc


def _refuse(field_name: str, value: object, expected: str) -> NoReturn:
    raise InvalidEvent(f"{field_name} is {_shown(value)}: expected {expected}", field=field_name) from None


def _shown(value: object) -> str:
    """The value's shape: its text if that is short, else its beginning and its length."""
    if not isinstance(value, str):
        return "missing" if value is None else f"of type {type(value).__name__}"
    if len(value) > _SHOWN:
        return f"text of {len(value)} characters beginning {value[:_SHOWN]!r}"
    return repr(value)
