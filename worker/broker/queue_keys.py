"""The keys and arguments with which messages of queues are fetched (`lua/fetch.lua`): the same for each fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from worker.broker.keys import DELAYED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.keys import Keys

__all__ = ["QueueKeys"]


class QueueKeys(NamedTuple):
    """Those of some queues, list by list, the most urgent lists of all queues first.

    Attributes:
        keys: Four for each list.
        arguments: Two for each list.
        lists: What each list's number stands for: its queue, and whether its messages are acknowledged.
    """

    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    lists: tuple[tuple[str, bool], ...]

    @classmethod
    def of(cls, keys: Keys, queues: Sequence[tuple[str, bool]]) -> QueueKeys:
        """Return those of queues, each with whether its messages are acknowledged; ``keys`` are the broker's."""
        names: list[str] = []
        arguments: list[str] = []
        lists: list[tuple[str, bool]] = []
        by_queue = [(queue, acknowledged, keys.lists(queue)) for queue, acknowledged in queues]
        for number in range(len(keys.steps)):
            for queue, acknowledged, of_queue in by_queue:
                name = of_queue[number]
                counts, hold = keys.counts_of(queue), keys.hold_of(queue)
                names += [name, name + DELAYED, counts or keys.unacked, hold or keys.unacked]
                arguments += [queue, "1" if acknowledged else "0"]
                lists.append((queue, acknowledged))
        return cls(tuple(names), tuple(arguments), tuple(lists))
