"""The integrity of the data in Redis: every message is in a place from which it continues.

Every partition is checked by itself, and at a moment of its own. Every function here takes clients that answer in
bytes, and raises `redis.RedisError` if Redis is unavailable or refuses.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from producer.message import QUEUE
from worker.accounting.message_identity import request_id_in
from worker.accounting.snapshot import PartitionLook, Snapshot, ask_moment, read_moment, sum_of
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.scripts import MESSAGE
from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.scripts import TIME, Script, lua

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import redis

    from worker.accounting.balance import Balance
    from worker.clients.redis.partitions import Partitions

__all__ = ["IntegrityCheck", "check", "find_replays", "sum_of_checks"]

_CHECK: Final = Script(TIME + MESSAGE + lua("worker.accounting", "entries", "moment", "check"))
_PAGE: Final = Script(MESSAGE + lua("worker.accounting", "entries", "page"))

_AT_ONCE: Final = 2000
"""Entries that one script looks at: Redis serves no other client meanwhile, some 15 ms."""

_PASSES: Final = 3
"""How often the lists are read for replays where they can't be read in one step: messages move meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityCheck:
    """What is to be said of one moment.

    Attributes:
        snapshot: The moment.
        uncounted: Messages that are not counted as accepted yet.
        exact: Whether that is the number of this very moment. Of a long backlog of foreign messages it is not.
        no_messages: Entries of the lists that are no messages. A worker makes dead letters `invalid` of them.
        orphaned: Messages in flight under no lease, which none returns: delivery tag -> request_id ('' if unreadable).
        index: Delivery tags in the index without a message.
        held: Holder and delivery tag without a message.
        unreadable: Delivery tags whose row can't be read.
        replays: Dead letters whose replay is in flight or in a list, as far as was looked.
    """

    snapshot: Snapshot
    uncounted: int
    exact: bool = True
    no_messages: int = 0
    orphaned: dict[bytes, str] = field(default_factory=dict)
    index: frozenset[bytes] = frozenset()
    held: frozenset[tuple[bytes, bytes]] = frozenset()
    unreadable: frozenset[bytes] = frozenset()
    replays: frozenset[int] = frozenset()

    @property
    def balance(self) -> Balance:
        """The equation of the moment."""
        return replace(self.snapshot.balance, uncounted=self.uncounted)

    @property
    def hangs_together(self) -> bool:
        """Whether every message in flight is under a lease, and no lease has one that is not there."""
        return not (self.orphaned or self.index or self.held or self.unreadable)

    def and_then(self, later: IntegrityCheck) -> IntegrityCheck:
        """Return what both this check and a later one found: what a worker or a sweep was just at, only one did."""
        return replace(
            later,
            orphaned={tag: name for tag, name in later.orphaned.items() if tag in self.orphaned},
            index=self.index & later.index,
            held=self.held & later.held,
            unreadable=self.unreadable & later.unreadable,
            replays=self.replays | later.replays,
        )


def sum_of_checks(checks: Sequence[IntegrityCheck]) -> IntegrityCheck:
    """Return what was found in all partitions; with one, its own."""
    if len(checks) == 1:
        return checks[0]
    parts = [PartitionLook(number=number, snapshot=found.snapshot) for number, found in enumerate(checks)]
    return IntegrityCheck(
        snapshot=sum_of(parts),
        uncounted=sum(found.uncounted for found in checks),
        exact=all(found.exact for found in checks),
        no_messages=sum(found.no_messages for found in checks),
        orphaned={tag: name for found in checks for tag, name in found.orphaned.items()},
        index=frozenset().union(*(found.index for found in checks)),
        held=frozenset().union(*(found.held for found in checks)),
        unreadable=frozenset().union(*(found.unreadable for found in checks)),
        replays=frozenset().union(*(found.replays for found in checks)),
    )


def check(client: redis.Redis, *, at_once: int = _AT_ONCE) -> IntegrityCheck:
    """Check one partition once.

    Up to ``at_once`` entries of the lists are looked at in the same step; a longer backlog is read page by page.
    """
    found, looked = _check(client, at_once)
    if looked:
        return found
    read = _read_lists(client, at_once)
    later, _ = _check(client, at_once)
    # Where nothing moved nothing was seen twice; else what was seen twice is taken for one.
    if found.snapshot.balance != later.snapshot.balance:
        read = read.without_repeats()
    return replace(
        found.and_then(later),
        uncounted=later.uncounted + len(read.uncounted),
        exact=found.snapshot.balance.missing == later.snapshot.balance.missing,
        no_messages=len(read.no_messages),
        replays=found.replays | read.replays | later.replays,
    )


def find_replays(partitions: Partitions, wanted: Collection[int], *, at_once: int = _AT_ONCE) -> frozenset[int]:
    """Return those of some dead letters whose replay is in flight or in a list; ``at_once`` is that of `check`."""
    found = partitions.ask_all(lambda client: _find_replays(client, wanted, at_once))
    return frozenset().union(*found)


def _find_replays(client: redis.Redis, wanted: Collection[int], at_once: int) -> frozenset[int]:
    found, looked = _check(client, at_once)
    replays = found.replays
    passes = 0 if looked else _PASSES
    while passes and not replays.issuperset(wanted):
        replays |= _read_lists(client, at_once).replays | _check(client, at_once)[0].replays
        passes -= 1
    return replays.intersection(wanted)


def _check(client: redis.Redis, at_once: int) -> tuple[IntegrityCheck, bool]:
    answer = ask_moment(client, _CHECK, at_once=at_once)
    now, orphaned, index, held, unreadable, looked, uncounted, no_messages, replays = answer
    return IntegrityCheck(
        snapshot=read_moment(now, feedback_keys(client)),
        uncounted=uncounted,
        no_messages=no_messages,
        orphaned={tag: request_id_in(message) for tag, message in orphaned},
        index=frozenset(index),
        held=frozenset((holder, tag) for holder, tag in held),
        unreadable=frozenset(unreadable),
        replays=frozenset(map(int, replays)),
    ), bool(looked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What the lists have, read page by page; entries by their SHA-1."""

    uncounted: list[bytes] = field(default_factory=list)
    no_messages: list[bytes] = field(default_factory=list)
    replays: set[int] = field(default_factory=set)

    def without_repeats(self) -> _Read:
        """What was seen twice because the list moved on, once; so is what was there twice."""
        return replace(self, uncounted=list(set(self.uncounted)), no_messages=list(set(self.no_messages)))


def _read_lists(client: redis.Redis, at_once: int) -> _Read:
    """Read every list; what is due goes from the delayed messages to the list, so those come first."""
    read = _Read()
    for suffix in (DELAYED, ""):
        for name in broker_keys(client).lists(QUEUE):
            for start in count(0, at_once):
                asked = time.monotonic()
                answer: list[Any] = _PAGE(client, [name + suffix], [start, start + at_once - 1])
                entries, uncounted, no_messages, replays = answer
                read.uncounted.extend(uncounted)
                read.no_messages.extend(no_messages)
                read.replays.update(map(int, replays))
                if entries < at_once:
                    break
                time.sleep(time.monotonic() - asked)  # half of Redis' time is for others
    return read
