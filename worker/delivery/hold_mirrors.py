"""The hold in all partitions: it stands in the first one, and is mirrored into the others.

The script that hands messages over sees the keys of one partition only. So a hold is copied into each, without the
times of its probes: there is one probe at a time for all of them. The first partition hands probes out by itself; if it
has no message to send, the probe is lent to a partition that has.

Whichever worker begins or ends a hold mirrors it at once. Beyond that one worker looks twice a second, so that a
partition whose server was away meanwhile follows as soon as it is there.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import redis

from producer.message import QUEUE
from worker.broker.keys import broker_keys
from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.scripts import TIME, Script, lua
from worker.delivery.hold import Hold

if TYPE_CHECKING:
    from worker.clients.redis.partitions import Partitions
    from worker.delivery.hold import HoldState

__all__ = ["HoldMirrors"]

log = logging.getLogger(__name__)

_MIRROR: Final = Script(TIME + lua("worker.delivery", "mirror_hold"))
_TAKE_PROBE: Final = Script(TIME + lua("worker.delivery", "take_probe"))
_LEND_PROBE: Final = Script(TIME + lua("worker.delivery", "lend_probe"))

_OWN_PROBE_WITHIN: Final = 250
"""Ms in which the first partition hands a probe out itself, if it has a message."""


@dataclass(frozen=True, slots=True)
class HoldMirrors:
    """The hold of all workers, in all partitions.

    Attributes:
        partitions: Their clients. They are not closed here.
    """

    partitions: Partitions

    def state(self) -> HoldState | None:
        """Return the hold that stands in the first partition; raises `redis.RedisError` if its server is not there."""
        return Hold(self.partitions.home, actor="").state()

    def follow(self, state: HoldState | None) -> bool:
        """Bring each other partition in line with the hold; return whether all of their servers are there.

        Those of a cluster at the same time: one that does not answer keeps no other from following.
        """
        others = range(1, len(self.partitions))
        answers = self.partitions.ask(lambda client: self._bring_in_line(client, state), only=others)
        for number, error in answers.errors.items():
            log.debug("partition %02d follows the hold later: %s", number, error)
        return not answers.errors

    def lend_probe(self) -> bool:
        """Let a partition that has messages send the probe that is due, if the first one does not; return whether.

        Raises:
            redis.RedisError: The server of the first partition is not there.
        """
        home, *others = self.partitions
        for client in others:
            with suppress(redis.RedisError):
                if _has_messages(client):
                    key = feedback_keys(home).hold
                    return bool(_TAKE_PROBE(home, [key], [_OWN_PROBE_WITHIN])) and _lend(client)
        return False

    @staticmethod
    def _bring_in_line(client: redis.Redis, state: HoldState | None) -> None:
        key = feedback_keys(client).hold
        if state is None:
            client.delete(key)
            return
        since = "" if state.since is None else str(round(state.since.timestamp() * 1000))
        _MIRROR(client, [key], [state.kind.value, state.comment, since, state.actor])


def _lend(client: redis.Redis) -> bool:
    return bool(_LEND_PROBE(client, [feedback_keys(client).hold], []))


def _has_messages(client: redis.Redis) -> bool:
    with client.pipeline(transaction=False) as pipe:
        for name in broker_keys(client).lists(QUEUE):
            pipe.llen(name)
        return any(pipe.execute())
