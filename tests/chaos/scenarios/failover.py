"""A master that dies under the eyes of real sentinels."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import redis

from tests.chaos.scenario import Scenario
from tests.chaos.system import SYNCED, leashed
from tests.support.processes import VALKEY
from tests.support.sentinels import SentinelGroup, sentinel_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.run import Run

__all__ = ["SCENARIOS"]

_REPLICATED: Final = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "10")
_WAIT: Final = 1000
"""Milliseconds for a replica to have what the master has."""


@dataclass(frozen=True)
class _Watched:
    """The master, whichever it is."""

    group: SentinelGroup
    url: str

    def client(self) -> redis.Redis:
        """A connection to the master that the sentinels name; the caller closes it."""
        for port in self.group._agreed_ports():
            return redis.Redis(port=port, socket_timeout=5)
        raise redis.ConnectionError("the sentinels name no master")

    def is_replicated(self) -> bool:
        """Whether a replica has all that the master had when this was asked.

        Replication is asynchronous: what a dying master acknowledged last, no replica may have. Here an event counts as
        acknowledged once a replica has it; else it is enqueued again.
        """
        try:
            with closing(self.client()) as client:
                client.set("chaos:mark", 1)  # WAIT is about what its own connection wrote
                return int(client.wait(1, _WAIT)) >= 1
        except redis.RedisError:
            return False


def _master_killed(run: Run) -> None:
    """The master is killed, the sentinels promote a replica, and the dead one comes back as a replica; twice."""
    group = run.keep(
        sentinel_group(
            leashed(VALKEY, run.system.folder), run.system.folder / "watched", *SYNCED, *_REPLICATED, replicas=2
        )
    )
    watched = _Watched(group, group.url)
    run.broker = watched
    run.system.environment |= {"FEEDBACK_BROKER_URL": group.url, "FEEDBACK_SENTINEL_MASTER": group.sentinel_master}
    run.start_workers(2)
    with run.full_load(sentinel_master=group.sentinel_master, confirm=watched.is_replicated):
        for _ in range(2):
            run.pause(3)
            master = group.master()
            with run.fault():
                master.run.kill()
            run.eventually(lambda old=master.port: _has_successor(group, old), what="another master")  # type: ignore[misc]  # mypy can't infer a lambda with defaults
            run.over()
            run.pause(5)
            group.restart(master)
            run.eventually(lambda: _in_step(watched) == 2, what="both replicas are in step")


def _has_successor(group: SentinelGroup, old: int) -> bool:
    return any(port != old for port in group._agreed_ports())


def _in_step(watched: _Watched) -> int:
    try:
        with closing(watched.client()) as client:
            return int(client.info("replication")["connected_slaves"])
    except redis.RedisError:
        return 0


SCENARIOS: Final[Sequence[Scenario]] = (Scenario(name="failover by sentinels, master killed", play=_master_killed),)
