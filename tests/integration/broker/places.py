"""Where every message is, as Redis itself tells it; read here without any code of the transport."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

__all__ = [
    "STEPS",
    "Entry",
    "Places",
    "lists_of",
    "look",
    "name_of",
    "same_content",
    "text_of",
    "together",
    "unwrapped",
]

STEPS: Final = (0, 3, 6, 9)
SEP: Final = "\x06\x16"
NAME: Final = re.compile(rb"<<(m\d+)>>")
"""How a test marks a message, wherever in its bytes that is."""

HEX: Final = re.compile("([0-9a-f]{2})*")
ROW: Final = re.compile(rb'\[(.*), "", ("(?:[^"\\]|\\.)*")\]', re.DOTALL)
MARK: Final = re.compile(rb'"redelivered": true(?:, )?|"handed_out_as": "[0-9a-f.-]+"(?:, )?')
"""What a redelivery adds, and nothing else."""

IN_HAND: Final = "in flight"


@dataclass(frozen=True, slots=True)
class Entry:
    """One message in one place."""

    place: str
    queue: str
    text: bytes
    tag: str = ""
    due: float = 0
    prefix: str = ""

    @property
    def name(self) -> str:
        """How the test has marked it."""
        return name_of(self.text)

    @property
    def is_marked(self) -> bool:
        """Whether it says of itself that it was in flight before."""
        message = parsed(self.text)
        headers = message.get("headers") if isinstance(message, dict) else None
        return isinstance(headers, dict) and headers.get("redelivered") is True


@dataclass(frozen=True, slots=True)
class Places:
    """All messages of one moment.

    Attributes:
        entries: The messages.
        held: Holder -> the delivery tags that it holds.
        index: The delivery tags of the index.
        now: The moment, in ms of Redis' clock.
    """

    entries: tuple[Entry, ...]
    held: dict[str, frozenset[str]]
    index: frozenset[str]
    now: int

    @property
    def in_flight(self) -> dict[str, Entry]:
        """Delivery tag -> message."""
        return {entry.tag: entry for entry in self.entries if entry.place == IN_HAND}

    def of(self, queue: str) -> list[Entry]:
        """The messages of one queue, wherever they are."""
        return [entry for entry in self.entries if entry.queue == queue]


def lists_of(queue: str, *, prefix: str = "") -> list[str]:
    """The lists of a queue, by priority: 0 first."""
    return [f"{prefix}{queue}{SEP}{step}" if step else f"{prefix}{queue}" for step in STEPS]


def look(client: redis.Redis, queues: Iterable[str], *, prefix: str = "") -> Places:
    """Read one moment of Redis.

    Args:
        client: A client that returns bytes.
        queues: The queues.
        prefix: Stands before every key.
    """
    keys = [(queue, name) for queue in queues for name in lists_of(queue, prefix=prefix)]
    holders = [text_of(key) for key in client.keys(f"{prefix}unacked_held:*")]
    with client.pipeline(transaction=True) as pipe:
        pipe.time()
        pipe.hgetall(f"{prefix}unacked")
        pipe.zrange(f"{prefix}unacked_index", 0, -1)
        for key in holders:
            pipe.smembers(key)
        for _, name in keys:
            pipe.lrange(name, 0, -1)
            pipe.zrange(f"{name}:delayed", 0, -1, withscores=True)
        time, rows, index, *rest = pipe.execute()
    sets, found = rest[: len(holders)], rest[len(holders) :]
    entries = [_in_flight(tag.decode(), row) for tag, row in rows.items()]
    for (queue, name), queued, delayed in zip(keys, found[::2], found[1::2], strict=True):
        entries += [Entry(name, queue, text) for text in queued]
        entries += [Entry(f"{name}:delayed", queue, text, due=due) for text, due in delayed]
    held = {
        key.partition("unacked_held:")[2]: frozenset(tag.decode() for tag in tags)
        for key, tags in zip(holders, sets, strict=True)
    }
    entries = [replace(entry, prefix=prefix) for entry in entries]
    return Places(tuple(entries), held, frozenset(tag.decode() for tag in index), time[0] * 1000 + time[1] // 1000)


def together(places: list[Places]) -> Places:
    """What is in several partitions."""
    held = {holder: found for place in places for holder, found in place.held.items()}
    entries = tuple(entry for place in places for entry in place.entries)
    index = frozenset(tag for place in places for tag in place.index)
    return Places(entries, held, index, max(place.now for place in places))


def text_of(value: object) -> str:
    """What a client that returns bytes returned, as text."""
    assert isinstance(value, bytes)
    return value.decode()


def _in_flight(tag: str, row: bytes) -> Entry:
    """Read a row of `unacked`: `[message, "exchange", "queue"]`."""
    found = ROW.fullmatch(row)
    assert found, f"no row: {row!r}"
    return Entry(IN_HAND, json.loads(found[2]), found[1], tag=tag)


def parsed(text: bytes) -> Any:
    """The JSON of an entry; None if it is none."""
    try:
        return json.loads(text.decode("latin-1"))
    except ValueError:
        return None


def unwrapped(text: bytes) -> bytes:
    """The entry as it was laid in its queue, if it was no message and has been wrapped since."""
    message = parsed(text)
    headers = message.get("headers") if isinstance(message, dict) else None
    wrapped = headers.get("poison") if isinstance(headers, dict) else None
    return bytes.fromhex(wrapped) if isinstance(wrapped, str) and HEX.fullmatch(wrapped) else text


def name_of(text: bytes) -> str:
    """How the test has marked a message."""
    found = NAME.search(unwrapped(text))
    assert found, f"no message of this test: {text!r}"
    return found[1].decode()


def same_content(entry: bytes, original: bytes) -> bool:
    """Whether an entry still is the message it was, byte for byte but for the marks of a redelivery.

    White space behind it is allowed: of two equal messages in one sorted set, one has to be made another.
    """
    entry, original = re.sub(rb'"feedback_unended": \d+(, )?', b"", unwrapped(entry)).rstrip(), original.rstrip()
    without = MARK.sub(b"", entry)
    if original in (entry, without):
        return True
    if b"redelivered" not in original:
        return False
    before, after = parsed(original), parsed(entry)
    for message in (before, after):
        message["headers"].pop("redelivered", None)
        message["properties"]["delivery_info"].pop("redelivered", None)
        message["properties"]["delivery_info"].pop("handed_out_as", None)
    return bool(before == after)
