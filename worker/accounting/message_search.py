"""Finding the messages of an answer: in the queue, scheduled, and in flight, in every partition.

Redis looks through the entries and returns those that fit, some thousand at a time, so that it serves others in
between: a million queued messages take it about two seconds of work. A message goes from the list to those in flight,
from there to the scheduled ones, and back to the list; they are looked at in this order, so that one that moves on is
met.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from producer.message import ENVELOPE, QUEUE
from worker.accounting.holders import held_keys
from worker.accounting.message_identity import arguments_in
from worker.accounting.snapshot import text_of
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.payload import handed_out_at, read_json
from worker.broker.set_aside import is_set_aside
from worker.clients.redis.scripts import Script, lua
from worker.policy.envelope import Envelope, WaitReason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import redis

    from worker.clients.redis.partitions import Partitions

__all__ = ["FoundMessage", "MessageSearch", "Whereabouts", "search_messages"]

_FIND: Final = Script(lua("worker.accounting", "find"))

_AT_ONCE: Final = 2_000
"""Entries that one script looks through: about 2 ms."""


class Whereabouts(StrEnum):
    """Where a message is."""

    QUEUED = "queued"
    IN_FLIGHT = "in_flight"
    SCHEDULED = "scheduled"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMessage:
    """A message of the answer that was searched for.

    Attributes:
        where: Where it is.
        partition: The number of the partition in which it is.
        request_id: The answer's.
        arguments: Its keyword arguments, as they are in the message.
        envelope: Its delivery so far; None if its header can't be read.
        waits: Why it is scheduled, if a worker has said so.
        task_id: The id of its task, as Flower knows it; '' if it has none.
        ahead: If it is queued: how many messages of its list are handed out before it.
        due: If it is scheduled: when it is handed out; None if it is set aside.
        set_aside: If it is set aside with its org: the moment of the hold's name (`worker.broker.set_aside`).
        since: If it is in flight: when it was first handed out; None if that is not known.
        holder: If it is in flight: the lease that owns it; '' if that is not known.
        tag: If it is in flight: its delivery tag.
    """

    where: Whereabouts
    partition: int = 0
    request_id: str
    arguments: Mapping[str, Any]
    envelope: Envelope | None
    waits: WaitReason | None = None
    task_id: str = ""
    ahead: int | None = None
    due: datetime | None = None
    set_aside: int | None = None
    since: datetime | None = None
    holder: str = ""
    tag: bytes = field(default=b"", repr=False)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        envelope = self.envelope
        return {
            "where": self.where.value,
            "partition": self.partition,
            **{name: _text(self.arguments.get(name)) for name in ("status", "org", "group", "occurred_at")},
            "enqueued_at": None if envelope is None else envelope.enqueued_at.isoformat(),
            "attempts": None if envelope is None else envelope.attempts,
            "dead_letter": None if envelope is None else envelope.dead_letter,
            "history": [] if envelope is None else [attempt.to_record() for attempt in envelope.history],
            "waits": self.waits and self.waits.value,
            "task_id": self.task_id,
            "ahead": self.ahead,
            "due": self.due and self.due.isoformat(),
            "set_aside": self.set_aside is not None,
            "since": self.since and self.since.isoformat(),
            "holder": self.holder or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSearch:
    """What a search has found.

    Attributes:
        found: The messages.
        looked_at: How many messages were looked through.
        total: How many there were.
        unavailable: Why partitions could not be asked, by their numbers.
    """

    found: tuple[FoundMessage, ...] = ()
    looked_at: int = 0
    total: int = 0
    unavailable: Mapping[int, redis.RedisError]

    @property
    def is_whole(self) -> bool:
        """Whether all messages were looked through."""
        return not self.unavailable and self.looked_at >= self.total


def search_messages(partitions: Partitions, request_id: str, *, most: int | None = None) -> MessageSearch:
    """Look for the messages of an answer; those of foreign clients may lie in any partition.

    Args:
        partitions: Redis.
        request_id: The answer's, in lower case, or its first characters.
        most: How many messages to look through at most, in all partitions together and beside those in flight; the
            newest of them first. All of them if None.

    Raises:
        redis.RedisError: No partition can be asked.
    """
    each = None if most is None else max(_AT_ONCE, most // len(partitions))
    answers = partitions.ask(partial(_search, request_id=request_id, most=each))
    if not answers.of:
        answers.all(count=len(partitions))
    parts = sorted(answers.of.items())
    return MessageSearch(
        found=tuple(replace(one, partition=number) for number, part in parts for one in part.found),
        looked_at=sum(part.looked_at for part in answers.of.values()),
        total=sum(part.total for part in answers.of.values()),
        unavailable=dict(answers.errors),
    )


def _search(client: redis.Redis, *, request_id: str, most: int | None) -> MessageSearch:
    """Look through one partition."""
    keys = broker_keys(client)
    lists = keys.lists(QUEUE)
    texts = list(_spellings(request_id))
    found: dict[bytes, FoundMessage] = {}
    looked_at = total = 0
    for where, key in (
        *((Whereabouts.QUEUED, name) for name in lists),
        (Whereabouts.IN_FLIGHT, keys.unacked),
        *((Whereabouts.SCHEDULED, name + DELAYED) for name in lists),
    ):
        left = None if most is None else max(0, most - looked_at)
        entries, here, there = _entries(client, key, texts, most=None if where is Whereabouts.IN_FLIGHT else left)
        looked_at, total = looked_at + here, total + there
        for entry, place in entries:
            if (one := _read(entry, place, where)) is not None and one.request_id.startswith(request_id):
                found[entry] = one
    flights = [one for one in found.values() if one.where is Whereabouts.IN_FLIGHT]
    holders = _holders(client, [one.tag for one in flights]) if flights else {}
    return MessageSearch(
        found=tuple(replace(one, holder=holders.get(one.tag, "")) for one in found.values()),
        looked_at=looked_at,
        total=total,
        unavailable={},
    )


def _entries(
    client: redis.Redis, key: str, texts: Sequence[bytes], *, most: int | None
) -> tuple[list[tuple[bytes, bytes]], int, int]:
    """Return the entries of a key in which one of the texts stands, how many were looked at, and how many there are.

    New entries come at the front, from which it is read: so it may see an entry twice, and misses none that stays.
    """
    found: list[tuple[bytes, bytes]] = []
    first = 0
    while most is None or first < most:
        looked_at, *fitting = _FIND(client, [key], [first, first + _AT_ONCE - 1, *texts])
        found += [(entry, place) for entry, place in fitting]
        first += looked_at
        if looked_at != _AT_ONCE:  # of the messages in flight it is all of them
            return found, first, first
    sizes: dict[bytes, Any] = {b"list": client.llen, b"zset": client.zcard}
    kind: Any = client.type(key)
    return found, first, max(first, sizes[kind](key) if kind in sizes else 0)


def _spellings(text: str) -> Iterator[bytes]:
    """How a text may stand in a message: as it is, in base64 at any place, and, where it can't be seen, compressed."""
    for cased in (text, text.upper()):
        yield cased.encode()
        for shift, first in enumerate((0, 2, 3)):
            whole = (shift + len(cased)) * 8 // 6
            yield b64encode(b"\0" * shift + cased.encode())[first:whole]
    yield b'"compression"'


def _read(entry: bytes, place: bytes, where: Whereabouts) -> FoundMessage | None:
    """Read an entry that may fit; None if it is no event's message."""
    try:
        message: Any = read_json(entry.decode())
        if where is Whereabouts.IN_FLIGHT:
            message = message[0]
        headers, arguments = message["headers"], arguments_in(message)
        request_id = str(arguments["request_id"]).lower()
    except Exception:  # noqa: BLE001 - Kombu's JSON constructs objects from the message, which may raise anything
        return None
    header = headers.get(ENVELOPE)
    one = FoundMessage(
        where=where,
        request_id=request_id,
        arguments=arguments,
        envelope=_envelope(header),
        waits=_waits(header),
        task_id=str(headers.get("id") or ""),
    )
    match where:
        case Whereabouts.QUEUED:
            return replace(one, ahead=int(place))
        case Whereabouts.SCHEDULED:
            if is_set_aside(float(place)):
                return replace(one, set_aside=int(float(place)))
            return replace(one, due=_moment(place))
        case Whereabouts.IN_FLIGHT:
            first = handed_out_at(text_of(place))
            return replace(one, tag=place, since=None if first is None else _moment(first))


def _envelope(header: object) -> Envelope | None:
    """Read an envelope; None where there is none, or it can't be read: when it was enqueued is not known then."""
    if not isinstance(header, dict):
        return None
    with suppress(ValueError):
        return Envelope.from_header(header, message_id="", received_at=datetime.now(UTC))
    return None


def _waits(header: object) -> WaitReason | None:
    with suppress(ValueError):
        return WaitReason(str(header.get("waits"))) if isinstance(header, dict) else None
    return None


def _holders(client: redis.Redis, tags: Sequence[bytes]) -> dict[bytes, str]:
    """Return the lease that owns each of some messages in flight."""
    keys = broker_keys(client)
    names: Any = client.zrange(keys.leases, 0, -1)
    with client.pipeline(transaction=False) as pipeline:
        for key in held_keys(keys, names):
            pipeline.smismember(key, tags)  # type: ignore[arg-type]  # redis-py takes bytes as well
        owns = pipeline.execute()
    return {
        tag: text_of(name)
        for name, held in zip(names, owns, strict=True)
        for tag, is_held in zip(tags, held, strict=True)
        if is_held
    }


def _moment(milliseconds: bytes | float) -> datetime | None:
    with suppress(ValueError, OverflowError):
        return datetime.fromtimestamp(float(milliseconds) / 1000, UTC)
    return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
