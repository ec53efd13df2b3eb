"""A thread beside the deliveries that reads the holds of single orgs, and the file of keys; one worker gives back.

It is there in each process that delivers: a pool of processes has one in each. What was set aside under a hold that has
ended goes back to the head of its queue, some hundred messages at a time, so that it holds up no other org's.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import redis

from worker.broker.set_aside import give_back, give_one_back
from worker.clients.redis.clock import RedisClock
from worker.clients.redis.connections import broker_partitions
from worker.clients.redis.keys import feedback_keys
from worker.delivery.org_holds import read_org_holds
from worker.runtime.background_step import first_in_period

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from worker.clients.aquilax.key_reload import ReloadedKeys
    from worker.clients.aquilax.keys import KeyRing
    from worker.clients.redis.partitions import Partitions
    from worker.delivery.org_holds import OrgHold, OrgHolds
    from worker.settings import Settings

__all__ = ["GivingBack", "OrgWatch"]

log = logging.getLogger(__name__)

_EVERY: Final = timedelta(seconds=0.5)
_IDLE: Final = 5.0
"""Seconds for which nothing is looked for in the partitions while no org is held and nothing was found."""

_PATIENCE: Final = 1.0
"""Seconds to wait for a partition's server."""

_AT_ONCE: Final = 500
"""Messages that go back in one script: it takes Redis some milliseconds."""

_SHORT: Final = 1000
"""Messages in a partition's lists, below which more go back at once: no other org's wait behind them."""

_MOST_TIMES: Final = 20


class OrgWatch:
    """The thread.

    Args:
        settings: They say where Redis is.
        keys: What reads the file of keys again.
        holds: Is told which holds stand.
        use_keys: Is given the keys when they have changed.
        name: What this process calls itself.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        keys: ReloadedKeys,
        holds: OrgHolds,
        use_keys: Callable[[KeyRing], None],
        name: str,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._holds = holds
        self._use_keys = use_keys
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orgs", daemon=True)

    def start(self) -> None:
        """Read the holds, and go on with it in the thread."""
        with closing(self._partitions()) as partitions:
            self._look(partitions, GivingBack(partitions), starts=True)
        self._thread.start()

    def close(self) -> None:
        """End after what is being done; it is not waited for, as its Redis may hang."""
        self._stop.set()

    def _partitions(self) -> Partitions:
        return broker_partitions(self._settings, patience=_PATIENCE, retries=0)

    def _run(self) -> None:
        with closing(self._partitions()) as partitions:
            giving_back = GivingBack(partitions)
            while not self._stop.wait(_EVERY.total_seconds()):
                self._look(partitions, giving_back)

    def _look(self, partitions: Partitions, giving_back: GivingBack, *, starts: bool = False) -> None:
        try:
            changed = self._keys.look()
            if changed:
                self._use_keys(self._keys.ring)
            holds = read_org_holds(partitions.home)
            self._holds.heard_of(holds)
            if changed or starts:
                self._holds.try_keys(holds)
            giving_back.look(holds, worker=self._name)
        except redis.RedisError as error:
            log.debug("the holds of orgs are read later: %s", error)
        except Exception as error:  # noqa: BLE001 - an error in this thread must not end the worker; it tries again
            log.warning("the holds of orgs are not read this time: %s: %s", type(error).__name__, error)


class GivingBack:
    """Gives back what was set aside, for the whole fleet.

    Args:
        partitions: Redis; it is not closed here.
    """

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._clock = RedisClock(partitions.home)
        self._idle_until = 0.0

    def look(self, holds: Sequence[OrgHold], *, worker: str) -> int:
        """Give back what no hold keeps, and a message of each hold whose probe is due; if no other worker does.

        Args:
            holds: Those that stand.
            worker: What this process calls itself.

        Returns:
            How many messages went back.

        Raises:
            redis.RedisError: The first partition's server is not there.
        """
        if not holds and time.monotonic() < self._idle_until:
            return 0
        home = self._partitions.home
        keys = feedback_keys(home)
        if not first_in_period(home, keys.holds_watched, _EVERY * 0.9, worker=worker):
            return 0
        scopes = [hold.scope for hold in holds]
        answers = self._partitions.ask(lambda client: _give_back_many(client, scopes))
        given = sum(answers.of.values())
        if not home.exists(keys.hold):  # while nothing is sent no probe of a key is
            given += sum(self._send_probe(hold) for hold in holds if _is_due(hold, self._clock.now()))
        self._idle_until = 0.0 if given or holds or answers.errors else time.monotonic() + _IDLE
        return given

    def _send_probe(self, hold: OrgHold) -> bool:
        answers = self._partitions.ask
        for number in range(len(self._partitions)):
            if answers(lambda client: give_one_back(client, hold.scope), only=[number]).of.get(number):
                return True
        return False


def _give_back_many(client: redis.Redis, kept: Sequence[str]) -> int:
    """Give back one batch, and more as long as next to nothing else waits."""
    total = 0
    for _ in range(_MOST_TIMES):
        given = give_back(client, but=kept, most=_AT_ONCE)
        total += given.messages
        if given.messages < _AT_ONCE or given.queued > _SHORT:
            break
    return total


def _is_due(hold: OrgHold, now: datetime) -> bool:
    return hold.state.probe_at is not None and hold.state.probe_at <= now
