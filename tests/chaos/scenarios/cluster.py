"""A cluster under steady load: its primaries are killed, frozen and replaced, its slots moved, nodes added and emptied.

Each event counts as acknowledged once a replica has it. A worker is killed in each scenario too.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from producer.partitions import ON_A_CLUSTER, partition_of
from tests.chaos.cluster import ChaosCluster, chaos_cluster
from tests.chaos.gaps import Window, arrivals, longest_waits, write_arrivals
from tests.chaos.pressing import Pressing
from tests.chaos.scenario import Scenario
from tests.support.clusters import slot_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.chaos.run import Run
    from tests.support.processes import RedisServer

__all__ = ["SCENARIOS"]

_HOME: Final = 0
_MIDDLE: Final = 7
_LAST: Final = 15
_NEVER_PAUSED: Final = 2.0
"""Seconds without an arrival from one partition that is not hurt: each has about 8 events a second."""

_LEASE: Final = "5"
"""Seconds, in the short form: what a killed worker held is delivered after them."""


class _Hurt:
    """A run on a cluster, while people press."""

    def __init__(self, run: Run, cluster: ChaosCluster) -> None:
        self.run = run
        self.cluster = cluster
        self._windows: list[Window] = []

    @contextmanager
    def hurting(self, partitions: Iterable[int]) -> Iterator[None]:
        """These partitions are hurt in this block, which ends when they are well. A second more is watched."""
        began = time.time()
        yield
        self.run.over()
        self.run.pause(1)
        self._windows.append(Window(began=began, ended=time.time(), hurt=frozenset(partitions)))
        self.run.pause(1)

    @contextmanager
    def moving(self, *partitions: int) -> Iterator[None]:
        """Slots move in this block. What is claimed in them meanwhile may arrive twice: the fault has no one moment."""
        ending = threading.Event()

        def note() -> None:
            while not ending.is_set():
                claimed = self.cluster.claims()
                self.run.in_flight.update(each for each in claimed if partition_of(each, ON_A_CLUSTER) in partitions)

        noting = threading.Thread(target=note, name="claims", daemon=True)
        noting.start()
        try:
            yield
        finally:
            ending.set()
            noting.join()
        self.run.faults += 1

    def kill_a_worker(self) -> None:
        """Kill one of the two, and start another, which has to find its way in the meantime."""
        self.run.kill_worker(self.run.system.workers()[0])
        self.run.supervise()

    def await_calm(self) -> None:
        """Wait until all nodes serve, and two workers take messages: one that just starts delivers nothing yet."""
        self.cluster.await_healthy()
        for worker in self.run.system.workers():
            self.run.system.await_worker(worker)

    def victims(self) -> Iterator[RedisServer]:
        """The primary of the first partition, and in the long form the last one's too."""
        for partition in (_HOME,) if self.run.short else (_HOME, _LAST):
            self.await_calm()
            yield self.cluster.owners()[partition]

    def judge(self, pressing: Pressing) -> None:
        """Drain, reconcile, and measure."""
        run = self.run
        run.acknowledged += pressing.acknowledged
        run.drain()
        self._reconcile()
        arrived = arrivals(run.system.environment["AQUILAX_BASE_URL"], pressing.acknowledged)
        write_arrivals(run.system.folder / "arrivals.json", self._windows, arrived)
        run.gaps = gaps = longest_waits(self._windows, arrived, pressing.calls)
        longest = gaps.hurt if run.short else _NEVER_PAUSED  # other tests may keep the machine busy
        if gaps.others is not None:
            run.require(gaps.others < longest, f"partitions that were not hurt paused for {gaps.others:.1f} s")
        run.notes.append(f"{pressing.uncertain:,} calls were uncertain and {pressing.refused:,} refused, and repeated")

    def _reconcile(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "worker.operations.cli", "reconcile"],
            env=self.run.system.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.run.require(done.returncode == 0, f"reconcile ended with {done.returncode}: {done.stdout}{done.stderr}")


def _scenario(hurt: Callable[[_Hurt], None]) -> Callable[[Run], None]:
    """What a scenario does: the cluster, two workers and the backends are started, and hurt."""

    def play(run: Run) -> None:
        if run.short:
            run.system.environment["FEEDBACK_LEASE"] = _LEASE
        cluster = run.keep(chaos_cluster(run.make, run.system.folder))
        run.broker = cluster
        run.system.environment["FEEDBACK_BROKER_URL"] = cluster.url
        run.start_workers(2)
        hurting = _Hurt(run, cluster)
        with Pressing(cluster.url, replicas=1) as pressing:
            run.pause(2)
            hurt(hurting)
        hurting.judge(pressing)

    return play


def _killed(hurt: _Hurt) -> None:
    """A primary is killed, its replica takes over, and it is started again."""
    run, cluster = hurt.run, hurt.cluster
    for victim in hurt.victims():
        partitions = cluster.partitions_at(victim)
        with hurt.hurting(partitions):
            with run.fault():
                victim.run.kill()
            run.pause(1)
            hurt.kill_a_worker()
            _await_takeover(hurt, victim)
            cluster.restart(victim)
            cluster.await_healthy()


def _frozen(hurt: _Hurt) -> None:
    """A primary stands still until its replica has taken over, and goes on."""
    run, cluster = hurt.run, hurt.cluster
    for victim in hurt.victims():
        partitions = cluster.partitions_at(victim)
        with hurt.hurting(partitions):
            with run.fault():
                cluster.freeze(victim)
            run.pause(1)
            hurt.kill_a_worker()
            _await_takeover(hurt, victim)
            cluster.thaw(victim)
            cluster.await_healthy()


def _promoted(hurt: _Hurt) -> None:
    """A replica is promoted by hand, as before an upgrade of its primary."""
    run, cluster = hurt.run, hurt.cluster
    for victim in hurt.victims():
        partitions = cluster.partitions_at(victim)
        with hurt.hurting(partitions):
            with run.fault():
                cluster.nodes.ask(cluster.nodes.replica_of(victim), "CLUSTER", "FAILOVER")
            hurt.kill_a_worker()
            _await_takeover(hurt, victim)
            cluster.await_healthy()


def _await_takeover(hurt: _Hurt, old: RedisServer) -> None:
    """Wait until other nodes have what one had."""
    cluster = hurt.cluster
    reachable = cluster.reachable

    def is_taken_over() -> bool:
        return len({n for each in reachable() if each is not old for n in cluster.partitions_at(each)}) == _LAST + 1

    hurt.run.eventually(is_taken_over, what="a replica has taken over")


def _moved_by_key(hurt: _Hurt) -> None:
    """The slots of two partitions are moved to another primary, key by key; scripts find half of their keys."""
    run, cluster = hurt.run, hurt.cluster
    for partition, place in ((_HOME, _LAST), (_LAST, _MIDDLE)):
        hurt.await_calm()
        owners = cluster.owners()
        old, new = owners[partition], owners[place]
        with hurt.hurting({partition}):
            with hurt.moving(partition):
                moved = cluster.move_by_key([slot_at(partition)], old, new, pause=0.2)
            if partition == _HOME:
                hurt.kill_a_worker()
            run.pause(2)
        run.notes.append(f"{moved:,} keys of partition {partition} were moved")


def _moved_at_once(hurt: _Hurt) -> None:
    """A range of slots with three partitions is moved to another primary and back, atomically."""
    run, cluster = hurt.run, hurt.cluster
    owners = cluster.owners()
    old, new = owners[_HOME], owners[_LAST]
    slots = slot_at(_HOME), slot_at(_HOME + 2)
    for source, target in ((old, new), (new, old)):
        hurt.await_calm()
        with hurt.hurting(range(_HOME, _HOME + 3)):
            with hurt.moving(*range(_HOME, _HOME + 3)):
                cluster.move_at_once(*slots, source, target)
            if source is old:
                hurt.kill_a_worker()
            run.pause(3)


def _added_and_emptied(hurt: _Hurt) -> None:
    """A node and its replica join, get slots with partitions in them, are emptied again, and are forgotten."""
    run, cluster = hurt.run, hurt.cluster
    added, replica = cluster.add_shard()
    homes = {number: owner for number, owner in cluster.owners().items() if number in {_HOME, _MIDDLE, _LAST}}
    slots = {number: list(range(slot_at(number) - 5, slot_at(number) + 6)) for number in homes}
    with hurt.hurting(homes):
        for number, old in homes.items():
            with hurt.moving(number):
                _move(hurt, slots[number], old, added)
        hurt.kill_a_worker()
        run.pause(2)
    hurt.await_calm()
    run.require(cluster.partitions_at(added) == set(homes), "the node that was added has its partitions")
    with hurt.hurting(homes):
        for number, old in homes.items():
            with hurt.moving(number):
                _move(hurt, slots[number], added, old)
        cluster.forget(added, replica)
        cluster.await_healthy()


def _move(hurt: _Hurt, slots: Sequence[int], old: RedisServer, new: RedisServer) -> None:
    if hurt.run.make == "valkey":
        hurt.cluster.move_at_once(slots[0], slots[-1], old, new)
    else:
        hurt.cluster.move_by_key(slots, old, new, pause=0)


def _restarted(hurt: _Hurt) -> None:
    """Every node is stopped, and started again on its port and its append-only file."""
    run, cluster = hurt.run, hurt.cluster
    for number in range(2):
        hurt.await_calm()
        with hurt.hurting(range(_LAST + 1)):
            with run.fault():
                stopped = cluster.stop_all()
            run.pause(1)
            cluster.restart(*stopped)
            cluster.await_healthy()
            if number == 0:
                hurt.kill_a_worker()
            run.pause(2)


_PATIENCE: Final = 180
_BACK_AGAIN: Final = 10


def _of(name: str, hurt: Callable[[_Hurt], None], **more: Any) -> Scenario:
    """A scenario on Valkey and on Redis, if ``more`` says nothing else."""
    of_both: dict[str, Any] = {"makes": ("valkey", "redis"), "patience": _PATIENCE, "recovers": _BACK_AGAIN}
    return Scenario(name=f"cluster: {name}", play=_scenario(hurt), **of_both | more)


SCENARIOS: Final[Sequence[Scenario]] = (
    _of("a primary killed, and started again", _killed, short=True),
    _of("a primary frozen until its replica has taken over", _frozen),
    _of("a replica promoted by hand", _promoted),
    _of("slots moved key by key", _moved_by_key),
    _of("slots moved at once", _moved_at_once, makes=("valkey",)),
    _of("a node added, and emptied again", _added_and_emptied),
    _of("every node restarted", _restarted),
)
