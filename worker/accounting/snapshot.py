"""One moment of the queue, however much is queued; and the rates from two of them.

A partition's is taken in one step in Redis. That of several is the sum of theirs, each of which has its own moment: as
the equation holds in each of them, it holds in the sum.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from producer.message import QUEUE
from worker.accounting.balance import Balance
from worker.accounting.holders import held_keys, with_holders
from worker.accounting.key_types import WrongKeyType, naming_wrong_types
from worker.accounting.lease_holders import LeaseHolder, merged_holders
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.scripts import MESSAGE
from worker.clients.redis.keys import CountField, FeedbackKeys, feedback_keys
from worker.clients.redis.scripts import TIME, Script, lua
from worker.delivery.hold import HoldState
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from worker.clients.redis.partitions import Partitions

__all__ = [
    "ONCE",
    "LeaseHolder",
    "PartitionLook",
    "Rates",
    "Snapshot",
    "ask_moment",
    "read_moment",
    "snapshot_of",
    "sum_of",
    "take_partial_snapshot",
    "take_snapshot",
    "text_of",
]

ONCE: Final = frozenset(
    {"generation", "hold_changes", "org_hold_changes", "carried", "carried_from", "layout", "moving"}
)
"""Fields of the counts that are no sums, and of which the first partition's tell."""

_SNAPSHOT: Final = Script(TIME + MESSAGE + lua("worker.accounting", "entries", "moment", "snapshot"))

_LOOKED_AT: Final = 20
"""Entries at each end of each list that are looked at for the oldest event: more would make Redis wait, and what comes
last in a list is what has waited longest."""

_CENTURY: Final = 100 * 366 * 24 * 3600 * 1000.0
"""In ms."""

_LARGEST: Final = 2**63 - 1
"""Redis counts no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLook:
    """One of several partitions, at a moment of its own.

    Attributes:
        number: Which one.
        snapshot: What it has; None if it can't be asked.
        error: Why it can't be asked; None if it was.
    """

    number: int
    snapshot: Snapshot | None = None
    error: redis.RedisError | None = None

    @property
    def is_unattended(self) -> bool:
        """Whether messages wait in it that no living worker consumes."""
        return self.snapshot is not None and self.snapshot.waiting > 0 and not self.snapshot.alive


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One moment.

    Attributes:
        at: When, by Redis' clock.
        counts: What was counted so far.
        queued: Messages that wait for a worker.
        in_flight: Messages that a worker has in flight.
        scheduled: Messages that wait for their time.
        oldest: When the oldest event of these was first enqueued, as far as was looked; None if there is none.
        hold: Why nothing is being delivered, if so.
        holders: The leases that have messages in flight, or may have; of several partitions one for each process.
        parts: The partitions of which this is the sum; empty if there is only one.
    """

    at: datetime
    counts: Mapping[str, int]
    queued: int
    in_flight: int
    scheduled: int
    oldest: datetime | None
    hold: HoldState | None
    holders: tuple[LeaseHolder, ...]
    parts: tuple[PartitionLook, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every partition could be asked; else what they have is not in the sums."""
        return not self.unavailable

    @property
    def unavailable(self) -> tuple[PartitionLook, ...]:
        """The partitions that could not be asked."""
        return tuple(part for part in self.parts if part.snapshot is None)

    @property
    def unattended(self) -> tuple[PartitionLook, ...]:
        """The partitions in which messages wait that no living worker consumes."""
        return tuple(part for part in self.parts if part.is_unattended)

    @property
    def moments(self) -> tuple[Snapshot, ...]:
        """The moment of each partition that could be asked: of each by itself the equation has to hold."""
        return tuple(part.snapshot for part in self.parts if part.snapshot is not None) or (self,)

    @property
    def alive(self) -> tuple[LeaseHolder, ...]:
        """The holders whose lease lasts."""
        return tuple(holder for holder in self.holders if holder.is_alive)

    @property
    def dead(self) -> tuple[LeaseHolder, ...]:
        """The holders whose lease has ended: another worker returns what they hold to the queue."""
        return tuple(holder for holder in self.holders if not holder.is_alive)

    @property
    def workers(self) -> int:
        """How many workers are alive."""
        return len({holder.process for holder in self.alive})

    @property
    def waiting(self) -> int:
        """How many messages have not ended."""
        return self.queued + self.in_flight + self.scheduled

    @property
    def balance(self) -> Balance:
        """Whether it adds up, but for messages that are not counted yet."""
        return Balance(counts=self.counts, queued=self.queued, in_flight=self.in_flight, scheduled=self.scheduled)

    @property
    def dead_by_reason(self) -> dict[str, int]:
        """How many messages ended as dead letters, by the reason."""
        return {reason.value: self.counts.get(f"dead:{reason}", 0) for reason in Reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Messages per second.

    Attributes:
        accepted: That came.
        ended: That came to an end, whichever.
        delivered: That ended delivered.
        over: How long that was measured.
    """

    accepted: float
    ended: float
    delivered: float
    over: timedelta

    @classmethod
    def between(cls, before: Snapshot, after: Snapshot) -> Rates | None:
        """Return the rates from one snapshot to a later one; None if there is no time in between."""
        over = after.at - before.at
        seconds = over.total_seconds()
        if seconds <= 0:
            return None
        first, last = before.balance, after.balance
        delivered = after.counts.get(CountField.DELIVERED, 0) - before.counts.get(CountField.DELIVERED, 0)
        # A count that fell is of a Redis that lost it.
        return cls(
            accepted=max(last.accepted - first.accepted, 0) / seconds,
            ended=max(last.ended - first.ended, 0) / seconds,
            delivered=max(delivered, 0) / seconds,
            over=over,
        )

    def drained_in(self, snapshot: Snapshot) -> timedelta | None:
        """Return how long the queue takes to empty at these rates; None if it does not, or is empty already."""
        waiting, gain = snapshot.queued + snapshot.in_flight, self.ended - self.accepted
        if not waiting or gain <= 0 or snapshot.hold is not None:
            return None
        try:
            return timedelta(seconds=waiting / gain)
        except OverflowError:
            return None


def take_snapshot(partitions: Partitions) -> Snapshot:
    """Take a snapshot of every partition, each at a moment of its own, and return their sum.

    Raises:
        redis.RedisError: One is unavailable, or refuses; the message says which.
    """
    if len(partitions) == 1:
        return snapshot_of(partitions.home)
    moments = partitions.ask_all(snapshot_of)
    return sum_of([PartitionLook(number=number, snapshot=moment) for number, moment in enumerate(moments)])


def take_partial_snapshot(partitions: Partitions, *, away: Sequence[PartitionLook] = ()) -> Snapshot:
    """Take a snapshot of those partitions that can be asked; `Snapshot.is_whole` tells whether these are all.

    Args:
        partitions: Redis.
        away: Partitions that could not be asked a moment ago: they are not waited for again.

    Raises:
        redis.RedisError: None can be asked.
    """
    if len(partitions) == 1:
        return snapshot_of(partitions.home)
    unasked = {look.number: look.error for look in away if look.error is not None}
    asked = [number for number in range(len(partitions)) if number not in unasked]
    answers = partitions.ask(snapshot_of, only=asked, within=partitions.patience)
    errors = unasked | dict(answers.errors)
    if not answers.of:
        raise errors[min(errors)]
    looks = {number: PartitionLook(number=number, error=error) for number, error in errors.items()}
    looks |= {number: PartitionLook(number=number, snapshot=moment) for number, moment in answers.of.items()}
    return sum_of([look for _, look in sorted(looks.items())])


def sum_of(parts: Sequence[PartitionLook]) -> Snapshot:
    """Return the sum of the partitions that could be asked, at least one.

    When it is, and what there is only once, is told by the first partition. While that one can't be asked the others
    tell the hold, of which each has a copy.
    """
    asked = [part.snapshot for part in parts if part.snapshot is not None]
    first = asked[0]
    counts = Counter[str]()
    for moment in asked:
        counts.update({name: number for name, number in moment.counts.items() if name not in ONCE})
    home = parts[0].snapshot
    once = {} if home is None else {name: number for name, number in home.counts.items() if name in ONCE}
    return Snapshot(
        at=first.at,
        counts={**counts, **once},
        queued=sum(moment.queued for moment in asked),
        in_flight=sum(moment.in_flight for moment in asked),
        scheduled=sum(moment.scheduled for moment in asked),
        oldest=min((moment.oldest for moment in asked if moment.oldest is not None), default=None),
        hold=first.hold,
        holders=merged_holders(holder for moment in asked for holder in moment.holders),
        parts=tuple(parts),
    )


def snapshot_of(client: redis.Redis) -> Snapshot:
    """Take a snapshot of one partition; raises `redis.RedisError` if it is unavailable, or refuses.

    ``client`` is the partition's, and answers in bytes.
    """
    return read_moment(ask_moment(client, _SNAPSHOT)[0], feedback_keys(client))


def ask_moment(client: redis.Redis, script: Script, *, at_once: int = 0) -> list[Any]:
    """Run a script that stands behind `lua/moment.lua`, and return what it found of one moment, with all holders.

    Args:
        client: A client that answers in bytes.
        script: The script.
        at_once: How many entries of the lists it looks at one by one, at most.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    ours, keys = feedback_keys(client), broker_keys(client)
    own = [ours.counts, ours.hold, keys.unacked, keys.index, keys.leases]
    places = [*own, *(key for name in keys.lists(QUEUE) for key in (name, name + DELAYED))]
    with naming_wrong_types(client):
        return with_holders(
            lambda names: script(client, [*places, *held_keys(keys, names)], [QUEUE, _LOOKED_AT, at_once, *names])
        )


def read_moment(answer: Sequence[Any], keys: FeedbackKeys) -> Snapshot:
    """Read what `lua/moment.lua` returns.

    Args:
        answer: What it has returned.
        keys: The names of the keys, which a complaint names.
    """
    now, counts, hold, queued, scheduled, in_flight, oldest, holders = answer
    return Snapshot(
        at=datetime.fromtimestamp(now / 1000, UTC),
        counts={text_of(name): _number(keys, name, number) for name, number in _pairs(counts).items()},
        queued=queued,
        in_flight=in_flight,
        scheduled=scheduled,
        oldest=_iso(oldest),
        hold=HoldState.read(_pairs(hold), key=keys.hold),
        holders=tuple(
            LeaseHolder(name=text_of(name), holds=holds, lease_left=_lease_left(float(until) - now))
            for name, until, holds in holders
        ),
    )


def _lease_left(milliseconds: float) -> timedelta:
    """What a score may say that no worker wrote is cut off, far beyond any lease."""
    return timedelta(milliseconds=min(max(milliseconds, -_CENTURY), _CENTURY))


def _number(keys: FeedbackKeys, name: bytes, text: bytes) -> int:
    with suppress(ValueError):
        if abs(number := int(text)) <= _LARGEST:
            return number
    key, field = keys.counts, text_of(name)
    raise WrongKeyType(
        f"the field {field!r} of the key {key!r} is {text_of(text)!r}, and a whole number is expected there, which "
        f"another program has changed: HDEL {key} {field}, then `aquilax-feedback reconcile --repair`"
    )


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def text_of(raw: bytes) -> str:
    """Return a name in Redis as it can be shown: other programs may have written any bytes."""
    return raw.decode(errors="backslashreplace")


def _iso(value: bytes) -> datetime | None:
    """A foreign client may have written anything there: then it is unknown."""
    try:
        return datetime.fromisoformat(text_of(value))
    except ValueError:
        return None
