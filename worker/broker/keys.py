"""The names of the transport's keys in Redis: Kombu's own, and those of the leases."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from producer.message import QUEUE
from worker.clients.redis.keys import FeedbackKeys, prefix_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DELAYED", "KEYS", "Keys", "broker_keys"]

DELAYED: Final = ":delayed"
"""What follows a list's name in the name of its delayed messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of one broker.

    Attributes:
        prefix: Stands before every key (Kombu's ``global_keyprefix``).
        sep: Stands between a queue and a priority (Kombu's).
        steps: The priorities that have a list of their own (Kombu's ``priority_steps``).
        unacked_name: The messages in flight (Kombu's ``unacked_key``), without the prefix.
        index_name: Their index (Kombu's ``unacked_index_key``), without the prefix.
        counts: The queues that are counted, and the hash of their counts; without the prefix.
        holds: The queues that can be held, and the hash of their hold; without the prefix.
    """

    prefix: str
    sep: str
    steps: Sequence[int]
    unacked_name: str = "unacked"
    index_name: str = "unacked_index"
    counts: Mapping[str, str] = field(default_factory=dict)
    holds: Mapping[str, str] = field(default_factory=dict)

    @property
    def unacked(self) -> str:
        """The messages in flight: delivery tag -> message, exchange and queue."""
        return self.prefix + self.unacked_name

    @property
    def index(self) -> str:
        """Since when each message is in flight, or when that was last confirmed."""
        return self.prefix + self.index_name

    @property
    def leases(self) -> str:
        """Until when each lease lasts."""
        return f"{self.unacked}_leases"

    @property
    def held_prefix(self) -> str:
        """What stands before a lease's name in the key of the set of its messages."""
        return f"{self.unacked}_held:"

    @property
    def pulse(self) -> str:
        """When a lease was last renewed."""
        return f"{self.unacked}_pulse"

    def lists(self, queue: str) -> list[str]:
        """The lists of a queue, the most urgent first, as Kombu empties them."""
        return [self.prefix + (f"{queue}{self.sep}{step}" if step else queue) for step in self.steps]

    def list_of(self, queue: str, priority: object) -> str:
        """The list of a queue in which a message of this priority belongs, as Kombu reads the priority."""
        try:
            number = min(max(int(cast("Any", priority)), 0), 9)
        except (TypeError, ValueError):
            number = 0
        return self.lists(queue)[bisect_right(self.steps, number) - 1]

    def counts_of(self, queue: str) -> str:
        """The counts of a queue, or ''."""
        return self.prefix + self.counts[queue] if queue in self.counts else ""

    def hold_of(self, queue: str) -> str:
        """The hold of a queue, or ''."""
        return self.prefix + self.holds[queue] if queue in self.holds else ""

    @property
    def steps_text(self) -> str:
        """The priority steps as the scripts take them."""
        return ",".join(map(str, self.steps))


_OURS: Final = FeedbackKeys()

KEYS: Final = Keys(
    prefix="", sep="\x06\x16", steps=(0, 3, 6, 9), counts={QUEUE: _OURS.counts}, holds={QUEUE: _OURS.hold}
)
"""Those of our queue, with no prefix. Kombu's separator and priorities are spelt out, as importing its transport takes
long; a test pins them."""


def broker_keys(client: object) -> Keys:
    """Return the names of the transport's keys as a client reaches them."""
    return _behind(prefix_of(client))


@cache
def _behind(prefix: str) -> Keys:
    return replace(KEYS, prefix=prefix)
