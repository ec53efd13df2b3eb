"""A message that waits for its time, as far as it can be read."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from producer.message import ENVELOPE, TASK
from worker.broker.set_aside import is_set_aside
from worker.policy.attempt import read_attempts
from worker.policy.dead_letter import clean
from worker.policy.envelope import WaitReason
from worker.policy.fingerprint import fingerprint_of
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from worker.policy.attempt import Attempt

__all__ = ["BY_CLIENT", "MessageId", "Place", "WaitingCause", "WaitingMessage"]

BY_CLIENT: Final = "client"
"""The cause of what no worker has scheduled: its client set its time."""

_ID: Final = re.compile(r"(\d{1,4})-(\d)-([-+.0-9a-z]{1,32})-([0-9a-f]{16})")
_LARGEST: Final = datetime.max.replace(tzinfo=UTC)


class Place(NamedTuple):
    """Where a message waits: the number of its partition, and which of the queue's lists it goes to."""

    partition: int
    step: int


class MessageId(NamedTuple):
    """What names a message that waits, as long as it waits for that time.

    Attributes:
        place: Where it waits.
        due: When it is due, in ms since 1970.
        digest: The beginning of the SHA-1 of its bytes.
    """

    place: Place
    due: float
    digest: str

    def __str__(self) -> str:
        return f"{self.place.partition}-{self.place.step}-{self.due:.17g}-{self.digest}"

    @classmethod
    def read(cls, text: str) -> MessageId:
        """Read it as it is written. Raises `ValueError`, which says what was expected."""
        with suppress(ValueError):
            if found := _ID.fullmatch(text.strip()):
                return cls(Place(int(found[1]), int(found[2])), float(found[3]), found[4])
        raise ValueError("an id as the list of waiting messages has it")


class WaitingCause(NamedTuple):
    """What several messages wait for.

    Attributes:
        name: For filters: a value of `WaitReason`, `BY_CLIENT`, or for what AquilaX could not take the fingerprint of
            the cause of which it would die.
        response: The last response in that case, without what varies; else ''.
    """

    name: str
    response: str


@lru_cache(maxsize=256)
def _cause_of_response(status: int | None, text: str) -> WaitingCause:
    found = fingerprint_of(Reason.EXHAUSTED, status, clean(text))
    return WaitingCause(found.fingerprint, found.summary.removeprefix(Reason.EXHAUSTED).lstrip(": "))


@dataclass(frozen=True, kw_only=True)
class WaitingMessage:
    """A message that waits for its time.

    Attributes:
        place: Where it waits.
        due: When it is due, in ms since 1970.
        entry: Its bytes.
        tie: How many wait at the same place for the same time, and are before it there.
    """

    place: Place
    due: float
    entry: bytes
    tie: int = 0

    @property
    def id(self) -> MessageId:
        """What names it."""
        return MessageId(self.place, self.due, hashlib.sha1(self.entry, usedforsecurity=False).hexdigest()[:16])

    @property
    def due_at(self) -> datetime | None:
        """When it is due; None if it is set aside until a hold of its org, or of its org's key, ends."""
        if is_set_aside(self.due):
            return None
        try:
            return datetime.fromtimestamp(self.due / 1000, UTC)
        except (OverflowError, ValueError, OSError):
            return _LARGEST

    @cached_property
    def payload(self) -> dict[str, Any]:
        """The task message; {} if it is none."""
        try:
            payload = json.loads(self.entry)
        except (ValueError, RecursionError):
            return {}
        return payload if isinstance(payload, dict) else {}

    @cached_property
    def headers(self) -> dict[str, Any]:
        """The message's headers; {} if it has none."""
        headers = self.payload.get("headers")
        return headers if isinstance(headers, dict) else {}

    @cached_property
    def content(self) -> tuple[list[Any], dict[str, Any]] | None:
        """The arguments of its task; None if they can't be read here."""
        try:
            body = self.body()
            if "task" in self.headers:
                args, kwargs, _ = body
                task = self.headers["task"]
            else:
                args, kwargs, task = body.get("args", []), body["kwargs"], body["task"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        fits = task == TASK and isinstance(args, list) and isinstance(kwargs, dict)
        return (args, kwargs) if fits else None

    def body(self) -> Any:  # noqa: ANN401 - whatever JSON the client wrote
        """Return what the body holds. Raises what reading it raises."""
        body = self.payload["body"]
        return json.loads(b64decode(body) if self.is_base64 else body)

    @property
    def is_base64(self) -> bool:
        """Whether its body is in base64."""
        properties = self.payload.get("properties")
        return isinstance(properties, dict) and properties.get("body_encoding") == "base64"

    @property
    def task_id(self) -> str:
        """The id of its task; '' if it says none."""
        return _text(self.headers.get("id"))

    @property
    def request_id(self) -> str:
        """The event's request_id; '' if it can't be read."""
        return self._field("request_id")

    @property
    def org(self) -> str:
        """The event's org; '' if it can't be read."""
        return self._field("org")

    @property
    def group(self) -> str:
        """The event's group; '' if it can't be read."""
        return self._field("group")

    def _field(self, name: str) -> str:
        return _text(self.content[1].get(name)) if self.content is not None else ""

    @cached_property
    def envelope(self) -> dict[str, Any]:
        """The header ``feedback`` as it stands there; {} if there is none."""
        header = self.headers.get(ENVELOPE)
        return header if isinstance(header, dict) else {}

    @property
    def attempts(self) -> int:
        """Attempts spent."""
        attempts = self.envelope.get("attempts", 0)
        return attempts if isinstance(attempts, int) else 0

    @property
    def waits(self) -> str:
        """Why it waits: a value of `WaitReason`, or `BY_CLIENT`."""
        waits = self.envelope.get("waits")
        return waits if isinstance(waits, str) and waits in set(WaitReason) else BY_CLIENT

    @cached_property
    def last(self) -> Attempt | None:
        """The last request that was sent for it, if that is known."""
        history = self.envelope.get("history")
        return next(iter(read_attempts(history[-1:])), None) if isinstance(history, list) else None

    @property
    def cause(self) -> WaitingCause:
        """What it waits for."""
        if self.waits == WaitReason.RETRY and self.last is not None:
            return _cause_of_response(self.last.status, self.last.text)
        return WaitingCause(self.waits, "")

    @property
    def is_ending(self) -> bool:
        """Whether it is to become a dead letter, and only that could not be written yet: it is not sent again."""
        return self.envelope.get("pending_dead_letter") is not None

    def to_record(self) -> dict[str, Any]:
        """Return what is known of it, as JSON can carry it."""
        return {
            "id": str(self.id),
            "due": None if self.due_at is None else self.due_at.isoformat(),
            "request_id": self.request_id or None,
            "task_id": self.task_id or None,
            "org": self.org or None,
            "group": self.group or None,
            "attempts": self.attempts,
            "waits": self.waits,
            "cause": self.cause.name,
            "last": None if self.last is None else self.last.to_record(),
            "partition": self.place.partition,
        }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
