"""Which messages wait for their time, what is due first first; of a million no more than is shown is read."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from producer.message import QUEUE
from worker.broker.keys import DELAYED, KEYS, broker_keys
from worker.operations.waiting.message import BY_CLIENT, Place, WaitingMessage
from worker.policy.envelope import WaitReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import redis

    from worker.clients.redis.partitions import Partitions
    from worker.operations.waiting.message import WaitingCause

__all__ = [
    "CAUSES",
    "LOOKED_AT",
    "Cause",
    "Cursor",
    "Look",
    "Page",
    "WaitingFilter",
    "causes_of",
    "look_at",
    "page_of",
    "read_cause",
    "read_prefix",
]

CAUSES: Final = (*(reason.value for reason in WaitReason), BY_CLIENT)
"""What a filter may name."""

LOOKED_AT: Final = 2000
"""Messages that one look reads, over all places: 30 ms of Python's time, and a fraction of that of Redis'."""

_FEWEST: Final = 8
"""Of each place, however many places there are."""

_STEPS: Final = len(KEYS.steps)

_CURSOR: Final = re.compile(r"([-+.0-9a-z]{1,32})_(\d{1,5})_(\d{1,12})")


_FINGERPRINT: Final = re.compile(r"[0-9a-f]{12}")
_PREFIX: Final = re.compile(r"[0-9a-f][0-9a-f-]{3,35}")


def read_cause(text: str) -> str:
    """Read a cause as a filter names it. Raises `ValueError`, which says what was expected."""
    cause = text.strip()
    if cause in CAUSES or _FINGERPRINT.fullmatch(cause):
        return cause
    raise ValueError(f"one of {', '.join(CAUSES)}, or the 12 characters that a cause has in the list")


def read_prefix(text: str) -> str:
    """Read a request_id, or its beginning. Raises `ValueError`, which says what was expected."""
    prefix = text.strip().lower()
    if _PREFIX.fullmatch(prefix):
        return prefix
    raise ValueError("a request_id, or at least 4 of its first characters")


class Cursor(NamedTuple):
    """Behind which message a page begins: when it is due (ms), its place by number, and how many precede it there."""

    due: float
    place: int
    tie: int

    def __str__(self) -> str:
        return f"{self.due:.17g}_{self.place}_{self.tie}"

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Read it as it is written. Raises `ValueError`, which says what was expected."""
        with suppress(ValueError):
            if found := _CURSOR.fullmatch(text):
                return cls(float(found[1]), int(found[2]), int(found[3]))
        raise ValueError("the place of a page, as the page before it has it")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingFilter:
    """Which messages are meant; one that names nothing means all.

    Attributes:
        orgs: Any of these orgs.
        causes: Any of these: values of `CAUSES`, or the name of a `Cause`.
        request_ids: Beginnings of request_ids.
    """

    orgs: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether it means all."""
        return not (self.orgs or self.causes or self.request_ids)

    def fits(self, message: WaitingMessage) -> bool:
        """Return whether a message is meant."""
        return (
            (not self.causes or message.waits in self.causes or message.cause.name in self.causes)
            and (not self.orgs or message.org in self.orgs)
            and (not self.request_ids or message.request_id.lower().startswith(self.request_ids))
        )

    def to_record(self) -> dict[str, list[str]]:
        """Return what it names, as JSON can carry it."""
        named = {"orgs": self.orgs, "causes": self.causes, "request_ids": self.request_ids}
        return {name: list(values) for name, values in named.items() if values}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was read.

    Attributes:
        messages: What is due first first, and none of it left out in between.
        total: How many wait, in all that could be asked.
        is_whole: Whether nothing follows.
        unavailable: The numbers of the partitions that could not be asked.
    """

    messages: Sequence[WaitingMessage]
    total: int
    is_whole: bool
    unavailable: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What several messages wait for.

    Attributes:
        cause: Its name for filters; see `WaitingCause`.
        waits: One of `CAUSES`.
        response: The last response, if AquilaX could not take them; else ''.
        messages: How many of those that were looked at.
        orgs: How many of each org.
        next_due: When the first of them is due; None if all are set aside until a hold ends.
    """

    cause: str
    waits: str
    response: str
    messages: int
    orgs: Mapping[str, int]
    next_due: datetime | None

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "cause": self.cause,
            "waits": self.waits,
            "response": self.response or None,
            "messages": self.messages,
            "orgs": dict(self.orgs),
            "next_due": None if self.next_due is None else self.next_due.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the messages that fit.

    Attributes:
        messages: The messages.
        after: Where the next page begins; None if nothing follows.
        looked_at: How many messages were looked at for it.
    """

    messages: Sequence[WaitingMessage] = ()
    after: Cursor | None = None
    looked_at: int = 0


@dataclass(slots=True)
class _Read:
    """What one partition has answered."""

    totals: list[int] = field(default_factory=list)
    entries: list[list[tuple[bytes, float]]] = field(default_factory=list)


def look_at(partitions: Partitions, *, after: Cursor | None = None, limit: int = LOOKED_AT) -> Look:
    """Look at what waits, what is due first first.

    Args:
        partitions: Redis. Those that can't be asked are told, unless none can be.
        after: Where to begin; at the beginning if None.
        limit: How many messages are read at most, more or less: a few of each place at least.

    Raises:
        redis.RedisError: No partition can be asked.
    """
    each = max(limit // (len(partitions) * _STEPS), _FEWEST)
    answers = partitions.ask(
        lambda client: _read(client, _number(partitions, client), after, each), within=partitions.patience
    )
    if not answers.of:
        answers.all(count=len(partitions))
    found: list[WaitingMessage] = []
    ends: list[tuple[float, Place, int]] = []
    for number, read in answers.of.items():
        for step, entries in enumerate(read.entries):
            place = Place(number, step)
            messages = list(_messages(place, entries, after))
            found += messages
            if len(entries) == each:
                ends.append(_key(messages[-1]))
    found.sort(key=_key)
    if ends:  # what follows there may be due before what was read elsewhere
        end = min(ends)
        found = [message for message in found if _key(message) <= end]
    total = sum(sum(read.totals) for read in answers.of.values())
    return Look(messages=found, total=total, is_whole=not ends, unavailable=tuple(sorted(answers.errors)))


def page_of(look: Look, chosen: WaitingFilter, *, size: int) -> Page:
    """Return the first messages of a look that fit, ``size`` at most."""
    shown: list[WaitingMessage] = []
    for number, message in enumerate(look.messages, start=1):
        if chosen.fits(message):
            shown.append(message)
        if len(shown) == size:
            follows = number < len(look.messages) or not look.is_whole
            return Page(messages=shown, after=_behind(message) if follows else None, looked_at=number)
    after = None if look.is_whole or not look.messages else _behind(look.messages[-1])
    return Page(messages=shown, after=after, looked_at=len(look.messages))


def causes_of(messages: Iterable[WaitingMessage], chosen: WaitingFilter) -> list[Cause]:
    """Return what those of some messages that fit wait for, the most frequent cause first."""
    by_cause: dict[tuple[str, WaitingCause], list[WaitingMessage]] = {}
    for message in messages:
        if chosen.fits(message):
            by_cause.setdefault((message.waits, message.cause), []).append(message)
    found = [
        Cause(
            cause=cause.name,
            waits=waits,
            response=cause.response,
            messages=len(those),
            orgs=dict(Counter(one.org for one in those).most_common()),
            next_due=min((at for one in those if (at := one.due_at) is not None), default=None),
        )
        for (waits, cause), those in by_cause.items()
    ]
    return sorted(found, key=lambda one: -one.messages)


def _number(partitions: Partitions, client: redis.Redis) -> int:
    return next(number for number, one in enumerate(partitions) if one is client)


def _read(client: redis.Redis, number: int, after: Cursor | None, each: int) -> _Read:
    names = [name + DELAYED for name in broker_keys(client).lists(QUEUE)]
    with client.pipeline(transaction=False) as pipe:
        for step, name in enumerate(names):
            since, offset = _start(Place(number, step), after)
            pipe.zcard(name)
            pipe.zrange(name, since, "+inf", byscore=True, offset=offset, num=each, withscores=True)
        answers = pipe.execute()
    return _Read(totals=answers[::2], entries=answers[1::2])


def _start(place: Place, after: Cursor | None) -> tuple[str, int]:
    """From which time on a place is read, as Redis reads it, and how many are passed over."""
    if after is None:
        return "-inf", 0
    number = place.partition * _STEPS + place.step
    if number < after.place:
        return f"({after.due:.17g}", 0
    return f"{after.due:.17g}", after.tie + 1 if number == after.place else 0


def _messages(place: Place, entries: Iterable[tuple[bytes, float]], after: Cursor | None) -> Iterable[WaitingMessage]:
    before = _start(place, after)[1]
    ties = Counter[float]() if after is None else Counter({after.due: before})
    for entry, due in entries:
        yield WaitingMessage(place=place, due=due, entry=entry, tie=ties[due])
        ties[due] += 1


def _key(message: WaitingMessage) -> tuple[float, Place, int]:
    return message.due, message.place, message.tie


def _behind(message: WaitingMessage) -> Cursor:
    return Cursor(message.due, message.place.partition * _STEPS + message.place.step, message.tie)
