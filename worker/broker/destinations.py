"""Where scripts may put messages: the lists of a message's queue, whose keys have to be declared before it is read.

Only the message itself tells its queue, and its priority. So a script is given the lists of all queues that are
expected, leaves the messages of others where they are, and names those queues; it is asked again with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.broker.keys import Keys
    from worker.clients.redis.scripts import RunsScripts, Script

__all__ = ["Destinations"]

_TRIES: Final = 5
"""How often a script is asked. The second time it knows all queues of the messages that are there; the others are for
what came meanwhile."""

_EXPECTED: Final = 16
"""Queues whose lists are declared before a message of theirs is met. There may be any number of queues."""


class Destinations:
    """The queues that messages are expected to go to, as one lease knows them.

    Args:
        keys: The broker's keys; the queues that are counted are expected from the beginning.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._expected: dict[str, None] = dict.fromkeys(keys.counts)

    def run(
        self,
        script: Script,
        client: RunsScripts,
        keys: Sequence[str | bytes],
        arguments: Sequence[Any],
        *,
        before: Sequence[Any] = (),
        suffix: str = "",
    ) -> list[list[Any]]:
        """Run a script until it has left no message because of its queue.

        Args:
            script: One with the lists behind its other keys, and their queues between its arguments (`lua/queue.lua`).
                The last thing that it returns is the names of the queues that it had no lists of. What it has done, it
                does not do again.
            client: Runs it.
            keys: Its other keys.
            arguments: Its arguments behind the queues.
            before: Those before them.
            suffix: What follows the lists' names, if it puts messages into what stands beside them.

        Returns:
            What it returned each time, without those names.

        Raises:
            redis.RedisError: Redis is unavailable or refuses; or messages of queues that were not met before kept
                coming.
        """
        queues, replies = dict(self._expected), []
        for _ in range(_TRIES):
            places = [_bytes(name + suffix) for queue in queues for name in self._keys.lists(queue)]
            named = [self._keys.steps_text, len(queues), *map(_bytes, queues)]
            *reply, undeclared = script(client, [*keys, *places], [*before, *named, *arguments])
            replies.append(reply)
            if not undeclared:
                return replies
            met = dict.fromkeys(map(_text, undeclared))
            queues |= met
            self._expect(met)
        raise redis.exceptions.TryAgainError("messages of queues that were not met before kept coming")

    def _expect(self, met: Iterable[str]) -> None:
        """Remember the queues that were met last."""
        for queue in met:
            self._expected[queue] = None
        learnt = [queue for queue in self._expected if queue not in self._keys.counts]
        for queue in learnt[:-_EXPECTED]:
            del self._expected[queue]


def _text(queue: bytes | str) -> str:
    return queue.decode(errors="surrogateescape") if isinstance(queue, bytes) else queue


def _bytes(name: str) -> bytes:
    """A name that is no UTF-8 goes back as it came."""
    return name.encode(errors="surrogateescape")
