"""How the partitions of the queue stand, for every face: where each lies, what waits in it, and who consumes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.accounting.documents import seconds_of
from worker.clients.redis.partitions import shown_partition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from producer.broker_url import Place
    from worker.accounting.snapshot import PartitionLook, Snapshot
    from worker.clients.redis.partitions import Partitions

__all__ = ["PartitionStatus", "partition_places", "partition_statuses", "partitions_outage", "shown_first"]

_SHOWN: Final = 8
"""Partitions of which text tells one by one."""

UNATTENDED: Final = "no living worker consumes it"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """One of several partitions.

    Attributes:
        number: Which one.
        node: Its primary, as host and port; '' if all are in one Redis, or that can't be told.
        now: What it has; None if it can't be asked.
        problem: Why it can't be asked, or is not consumed; '' if all is well.
    """

    number: int
    node: str
    now: Snapshot | None
    problem: str

    @property
    def name(self) -> str:
        """Its number as it is shown."""
        return shown_partition(self.number)

    @property
    def workers(self) -> int | None:
        """How many living workers consume it; None if it can't be asked."""
        return None if self.now is None else self.now.workers

    @property
    def brief(self) -> str:
        """What is wrong, where the reason stands beside it; '' if nothing is."""
        return self.problem if self.now is not None else "unavailable"

    @property
    def waiting(self) -> int:
        """How many messages have not ended, as far as is known."""
        return 0 if self.now is None else self.now.waiting

    @property
    def oldest_age(self) -> timedelta | None:
        """How long the oldest event has been waiting; None if none waits."""
        if self.now is None or self.now.oldest is None:
            return None
        return max(self.now.at - self.now.oldest, timedelta())

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it. What can't be asked is null."""
        now = self.now
        return {
            "number": self.number,
            "node": self.node or None,
            "up": now is not None,
            "queued": None if now is None else now.queued,
            "in_flight": None if now is None else now.in_flight,
            "scheduled": None if now is None else now.scheduled,
            "oldest_age_seconds": seconds_of(self.oldest_age),
            "workers": self.workers,
            "missing": None if now is None else now.balance.missing,
            "problem": self.problem or None,
        }


def partition_places(partitions: Partitions) -> list[Place | None]:
    """Return the primary of each of several partitions; [] where there is only one Redis, or the login may not ask.

    Raises:
        redis.RedisError: No partition can be asked.
    """
    if len(partitions) == 1 or not partitions.is_cluster:
        return []
    try:
        return partitions.places(partitions.slots())
    except redis.exceptions.NoPermissionError:
        return []


def partition_statuses(
    snapshot: Snapshot, places: Sequence[Place | None], redacted: Callable[[str], str]
) -> tuple[PartitionStatus, ...]:
    """Return how each of several partitions stands; nothing where there is only one.

    Args:
        snapshot: What they have.
        places: The primary of each, from `partition_places`.
        redacted: Takes secrets out of an error's text.
    """
    return tuple(
        PartitionStatus(
            number=part.number,
            node=_shown_place(places[part.number]) if part.number < len(places) else "",
            now=part.snapshot,
            problem=redacted(_problem(part)),
        )
        for part in snapshot.parts
    )


def _problem(part: PartitionLook) -> str:
    if part.snapshot is None:
        return f"unavailable: {part.error}"
    return UNATTENDED if part.is_unattended else ""


def _shown_place(place: Place | None) -> str:
    return "" if place is None else f"{place[0]}:{place[1]}"


def partitions_outage(snapshot: Snapshot) -> str:
    """Return which partitions can't be asked, and why; '' if all could."""
    of_text: dict[str, list[str]] = {}
    for part in snapshot.unavailable:
        of_text.setdefault(str(part.error), []).append(shown_partition(part.number))
    return "; ".join(
        f"partition{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}: {text}" for text, numbers in of_text.items()
    )


def shown_first(
    rows: Sequence[PartitionStatus], *, most: int = _SHOWN, alike: bool = False
) -> tuple[list[PartitionStatus], str]:
    """Choose those that tell most: what is wrong, then where most waits.

    Args:
        rows: All of them.
        most: How many.
        alike: Whether those count that are empty, and consumed by as many workers as most of them are.

    Returns:
        Those, by number; and of the rest a line, '' if there is none.
    """
    [(usual, _)] = Counter(row.workers for row in rows).most_common(1)
    ordered = sorted(rows, key=lambda row: (not row.problem, -row.waiting, row.workers == usual, row.number))
    telling = [row for row in ordered if alike or row.problem or row.waiting or row.workers != usual][:most]
    return sorted(telling, key=lambda row: row.number), _in_a_line(ordered[len(telling) :], are_all=not telling)


def _in_a_line(rows: Sequence[PartitionStatus], *, are_all: bool) -> str:
    if not rows:
        return ""
    places = Counter[str]()
    for row in rows:
        if row.now is not None:
            places.update(queued=row.now.queued, in_flight=row.now.in_flight, scheduled=row.now.scheduled)
    wrong = sum(bool(row.problem) for row in rows)
    text = ", ".join(f"{places[name]:,} {name.replace('_', ' ')}" for name in ("queued", "in_flight", "scheduled"))
    which = "in all" if are_all else f"{len(rows)} more"
    return f"{which}: {text}{f'; {wrong} of them are not in order' if wrong else ''}"
