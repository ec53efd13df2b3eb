"""A Redis that is killed, restarted, frozen, full, read-only, or behind a network that fails."""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING, Final

from tests.chaos.proxy import Proxy
from tests.chaos.scenario import Scenario
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.run import Run

__all__ = ["SCENARIOS"]


def _killed(run: Run) -> None:
    """Kill -9 of Redis with messages queued and in flight; it comes back on the same folder."""
    run.start_workers(2)
    with run.full_load():
        for _ in range(1 if run.short else 5):
            run.pause(2 if run.short else 5)
            with run.fault():
                run.system.kill(run.server.part)
            run.pause(1)
            run.system.restart_server(run.server)
            run.over()


def _restarted(run: Run) -> None:
    """SIGTERM to Redis with messages queued and in flight, as an upgrade of it does."""
    run.start_workers(2)
    with run.full_load():
        for _ in range(5):
            run.pause(2 if run.short else 5)
            with run.fault():
                run.system.stop(run.server.part)
            run.system.restart_server(run.server)
            run.over()


def _frozen(run: Run) -> None:
    """Redis answers nothing for 20 s, and every connection stays open: longer than each lease."""
    run.start_workers(2)
    with run.full_load():
        run.pause(2 if run.short else 5)
        with run.fault():
            run.system.freeze(run.server.part)
        run.pause(20)
        run.system.thaw(run.server.part)
        run.over()


def _full(run: Run) -> None:
    """Redis refuses every write that needs memory (maxmemory, noeviction), and is given memory again."""
    run.start_workers(2)
    with run.full_load(), closing(run.client()) as client:
        run.pause(2 if run.short else 5)
        with run.fault():
            client.config_set("maxmemory", 1)
        run.pause(6)
        client.config_set("maxmemory", 0)
        run.over()


def _read_only(run: Run) -> None:
    """The master becomes a replica, of a master that is not there, and is made master again."""
    run.start_workers(2)
    with run.full_load(), closing(run.client()) as client:
        run.pause(2 if run.short else 5)
        with run.fault():
            client.replicaof("127.0.0.1", free_port())
        run.pause(6)
        client.replicaof("NO", "ONE")
        run.over()


def _cut_off(run: Run) -> None:
    """Connections between workers, backend and Redis are cut at random, go silent, and are slow."""
    chance = random.Random(1)
    proxy = run.keep(Proxy(run.server.port))
    run.system.environment["FEEDBACK_BROKER_URL"] = proxy.url
    run.start_workers(2)
    with run.full_load(url=proxy.url):
        for number in range(8 if run.short else 40):
            run.pause(chance.uniform(0.1, 0.6))
            with run.fault():
                proxy.cut(1.0 if number % 10 == 0 else 0.2)
        if not run.short:
            with run.fault():
                proxy.swallow(on=True)
            run.pause(5)
            proxy.swallow(on=False)
            proxy.delay(0.1)
            run.pause(5)
            proxy.delay(0)
        run.over()


_BACK_AGAIN: Final = 10
"""Seconds after the return of Redis in which workers consume again: docs/guarantees.md promises it."""

SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        name="kill -9 of Redis, restarted on its append-only file",
        play=_killed,
        short=True,
        makes=("valkey", "redis"),
        plain=True,
        recovers=_BACK_AGAIN,
    ),
    Scenario(
        name="restart of Redis in good order", play=_restarted, makes=("redis",), plain=True, recovers=_BACK_AGAIN
    ),
    Scenario(name="Redis frozen for 20 s", play=_frozen, recovers=_BACK_AGAIN),
    Scenario(
        name="connections cut, silent and slow", play=_cut_off, short=True, makes=("redis",), recovers=_BACK_AGAIN
    ),
    Scenario(name="Redis out of memory", play=_full, recovers=_BACK_AGAIN),
    Scenario(name="master turned read-only replica and back", play=_read_only, makes=("redis",), recovers=_BACK_AGAIN),
)
