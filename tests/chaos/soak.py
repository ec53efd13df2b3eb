"""The soak: full load for a long time, and a fault by chance every 20 seconds; memory and logs are watched."""

from __future__ import annotations

import random
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from tests.chaos.postgres import Postgres, postgres
from tests.chaos.proxy import Proxy
from tests.chaos.scenario import Scenario
from tests.chaos.watch import MIB, Memory
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.chaos.run import Run

__all__ = ["soak"]

_EVERY: Final = 20.0
_SETTLED: Final = 30.0
_WORKERS: Final = 2
_MOST: Final = 450_000
"""Events at the most: the sandbox tells no more than 500,000 request_ids apart."""

_GROWTH: Final = 60 * MIB
"""That a worker may take on top of what it had in its first 30 s, however long it lives."""


class _Soak:
    """The faults, each of which ends by itself.

    Args:
        run: What is hurt.
        proxy: Between it and its Redis.
        database: Of its dead letters.
    """

    def __init__(self, run: Run, proxy: Proxy, database: Postgres) -> None:
        self.run = run
        self._proxy = proxy
        self._database = database
        self._chance = random.Random(1)

    def hurt(self) -> str:
        """Do one of the faults; return its name."""
        name = self._chance.choice(sorted(self._faults()))
        self._faults()[name]()
        self.run.over()
        return name

    def _faults(self) -> Mapping[str, Callable[[], None]]:
        return {
            "kill -9 of a worker": self._kill_worker,
            "SIGTERM to a worker": self._stop_worker,
            "a worker frozen for 30 s": self._freeze_worker,
            "kill -9 of Redis": self._kill_redis,
            "restart of Redis": self._restart_redis,
            "Redis frozen": self._freeze_redis,
            "Redis out of memory": self._fill_redis,
            "Redis read-only": self._demote_redis,
            "connections cut": self._cut,
            "connections silent": self._swallow,
            "the database killed": self._kill_database,
            "AquilaX down": lambda: self._misbehave(error_rates={"503": 1.0}),
            "AquilaX asks for patience": lambda: self._misbehave(error_rates={"429": 0.5}, retry_after=2),
            "AquilaX hangs up": lambda: self._misbehave(reset_rate=0.3, close_rate=0.1, hang_rate=0.02),
            "AquilaX dawdles": lambda: self._misbehave(trickle_rate=0.1, trickle_interval=0.5),
            "the key revoked": lambda: self._misbehave(revoked_key=True),
            "poison": self._poison,
        }

    def _kill_worker(self) -> None:
        self.run.kill_worker(self._chance.choice(self.run.system.workers()))
        self.run.supervise()

    def _stop_worker(self) -> None:
        self.run.system.stop(self._chance.choice(self.run.system.workers()))
        self.run.faults += 1
        self.run.supervise()

    def _freeze_worker(self) -> None:
        """Longer than its lease: others take over what it holds, and what it was sending may arrive twice."""
        worker = self._chance.choice(self.run.system.workers())
        with self.run.fault():
            pass
        with self.run.system.frozen(worker):
            self.run.note_in_flight()
            self.run.pause(30)

    def _kill_redis(self) -> None:
        with self.run.fault():
            self.run.system.kill(self.run.server.part)
        self.run.pause(1)
        self.run.system.restart_server(self.run.server)

    def _restart_redis(self) -> None:
        with self.run.fault():
            self.run.system.stop(self.run.server.part)
        self.run.system.restart_server(self.run.server)

    def _freeze_redis(self) -> None:
        with self.run.fault():
            self.run.system.freeze(self.run.server.part)
        self.run.pause(self._chance.uniform(1, 25))
        self.run.system.thaw(self.run.server.part)

    def _fill_redis(self) -> None:
        with closing(self.run.client()) as client:
            with self.run.fault():
                client.config_set("maxmemory", 1)
            self.run.pause(4)
            client.config_set("maxmemory", 0)

    def _demote_redis(self) -> None:
        with closing(self.run.client()) as client:
            with self.run.fault():
                client.replicaof("127.0.0.1", free_port())
            self.run.pause(4)
            client.replicaof("NO", "ONE")

    def _cut(self) -> None:
        for _ in range(5):
            with self.run.fault():
                self._proxy.cut(0.3)
            self.run.pause(0.5)

    def _swallow(self) -> None:
        with self.run.fault():
            self._proxy.swallow(on=True)
        self.run.pause(self._chance.uniform(1, 15))
        self._proxy.swallow(on=False)

    def _kill_database(self) -> None:
        self.run.system.kill(self._database.part)
        self.run.faults += 1
        self.run.pause(3)
        self._database.restart()

    def _misbehave(self, **how: object) -> None:
        before = self.run.sandbox.behaviour().to_json()
        self.run.sandbox.behave(**how)
        self.run.faults += 1
        self.run.pause(8)
        self.run.sandbox.behave(**{name: before[name] for name in how})

    def _poison(self) -> None:
        with closing(self.run.client()) as client:
            client.lpush("feedback", b"\xff not json", b"[" * 1000, b'{"properties": {}}')
        self.run.faults += 1


def soak(minutes: float) -> Scenario:
    """Return the soak as a scenario.

    Args:
        minutes: How long it takes, without the time to drain.
    """

    def play(run: Run) -> None:
        run.gave_up = True
        database = run.keep(postgres(run.system))
        proxy = run.keep(Proxy(run.server.port))
        run.system.environment["FEEDBACK_BROKER_URL"] = proxy.url
        names: dict[str, int] = {}
        faults = _Soak(run, proxy, database)
        with Memory(run.system) as memory:
            run.start_workers(_WORKERS)
            with run.full_load(count=_MOST, rate=_MOST / (minutes * 60)):
                deadline = time.monotonic() + minutes * 60
                while time.monotonic() < deadline:
                    run.pause(_EVERY)
                    name = faults.hurt()
                    names[name] = names.get(name, 0) + 1
            run.drain()
        _judge_memory(run, memory)
        run.notes.append(", ".join(f"{count} of {name}" for name, count in sorted(names.items())))

    return Scenario(
        name=f"soak of {minutes:g} minutes",
        play=play,
        sandbox_flags=("--latency=0.02", "--unknown-share=0.005"),
        environment={"FEEDBACK_REQUEST_TIMEOUT": "2"},
        patience=300,
    )


def _judge_memory(run: Run, memory: Memory) -> None:
    most = max((size for samples in memory.samples.values() for _, size in samples), default=0)
    growths = {name: late - early for name, (early, late) in memory.grown(settled=_SETTLED).items()}
    grown = max(growths.values(), default=0)
    run.notes.append(
        f"{len(memory.samples)} workers lived, the largest had {most / MIB:.0f} MiB,"
        f" the most that one grew after its first {_SETTLED:.0f} s was {grown / MIB:.0f} MiB"
    )
    for name, growth in growths.items():
        run.require(growth <= _GROWTH, f"{name} grew by {growth / MIB:.0f} MiB after its first {_SETTLED:.0f} s")
