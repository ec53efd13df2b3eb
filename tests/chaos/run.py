"""One run of one scenario: the system, the load, what was hurt when, and how it is drained."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import redis

from tests.chaos.cluster import ChaosCluster
from tests.chaos.load import Load, Numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.chaos.gaps import Gaps
    from tests.chaos.system import Server, System
    from tests.chaos.watch import Progress
    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import Part

__all__ = ["GaveUp", "Run"]

PLAIN_APP: Final = "tests.chaos.plain"
_PRIORITIES: Final = ("", "\x06\x163", "\x06\x166", "\x06\x169")
_ENDS: Final = ("delivered", "duplicate", "stale", "dead", "revoked", "purged", "written_off")
_ENDLESS: Final = 10**9
_BACKLOG: Final = 500
_LOOKS_EVERY: Final = 0.2
T = TypeVar("T")


class Broker(Protocol):
    """A Redis, seen from its users."""

    @property
    def url(self) -> str:
        """Its address."""

    def client(self) -> redis.Redis:
        """A connection for looking at it; the caller closes it."""


class GaveUp(Exception):
    """Something did not happen in time."""


@dataclass(kw_only=True)
class Run:
    """What a scenario has in its hands.

    Attributes:
        system: Nothing runs in it but the Redis, the database and the local AquilaX.
        make: ``valkey`` or ``redis``.
        server: The Redis that was started for it.
        broker: What producers and workers use: that Redis, or what a scenario put in its place.
        sandbox: The local AquilaX.
        events: How many events to send, for this scale.
        short: Whether this is the short form.
        plain: Whether plain Celery is hurt.
        patience: Seconds that the rest may take once the scenario has ended.
        numbers: Makes request_ids.
        acknowledged: Request_ids of events that Redis acknowledged, other than those of the loads.
        gave_up: Whether workers give up waiting for answers here.
        words: How many words were said on a request_id, where it is more than one.
        refused: Request_ids that AquilaX refused for good, and may be asked again: it does no harm.
        gaps: How long partitions of a cluster went without a delivery.
        failures: What the scenario found wrong, in words.
        notes: What it found worth knowing.
    """

    system: System
    make: str
    server: Server
    broker: Broker
    sandbox: SandboxClient
    progress: Progress
    events: int
    short: bool
    plain: bool
    patience: float
    numbers: Numbers = field(default_factory=Numbers)
    acknowledged: list[str] = field(default_factory=list)
    gave_up: bool = False
    words: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    gaps: Gaps | None = None
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    in_flight: set[str] = field(default_factory=set)
    faults: int = 0
    over_at: float | None = None
    wanted: int = 0
    worker_options: list[str] = field(default_factory=list)
    outlasting: ExitStack
    _loads: list[Load] = field(default_factory=list)
    _has_drained: bool = False
    _drained: float | None = None

    # What runs

    def keep(self, context: AbstractContextManager[T]) -> T:
        """Enter a context that lasts until every part has ended."""
        return self.outlasting.enter_context(context)

    def start_workers(self, number: int) -> list[Part]:
        """Start workers, wait until they take messages, and see to it from now on that as many run."""
        started = [self.launch_worker() for _ in range(number)]
        self.wanted += number
        return [self.system.await_worker(part) for part in started]

    def launch_worker(self, *launcher: str) -> Part:
        """Start a worker, and don't wait for it; see `System.launch_worker`."""
        if self.plain:
            return self.system.launch_worker(PLAIN_APP, options=self.worker_options)
        return self.system.launch_worker(options=self.worker_options, launcher=launcher)

    def load(self, count: int | None = None, **options: Any) -> Load:
        """Return a load that is not started yet.

        Args:
            count: Events; those of the scenario if None.
            options: As `Load` has them; also ``url``.
        """
        url = options.pop("url", self.broker.url)
        request_ids = self.numbers.take(self.events if count is None else count)
        load = Load(url, request_ids, look_in=self.client, **options)
        self._loads.append(load)
        return load

    @contextmanager
    def full_load(self, **options: Any) -> Iterator[None]:
        """Keep the workers busy in this block: there is always more queued than they can deliver in a second."""
        options = {"count": _ENDLESS, "backlog": _BACKLOG, **options}
        with self.load(**options) as load:
            yield
            load.end()

    def take(self, count: int) -> list[str]:
        """Return request_ids of events that the scenario itself lays into Redis."""
        taken = list(self.numbers.take(count))
        self.acknowledged += taken
        return taken

    def client(self) -> redis.Redis:
        """A connection to the Redis that the system uses; the caller closes it."""
        return self.broker.client()

    # What is hurt

    @contextmanager
    def fault(self) -> Iterator[None]:
        """The harm is done in this block. What is being sent to AquilaX at its beginning may arrive twice.

        The workers stand still meanwhile: what they have claimed can be read, and does not change before the harm.
        """
        with self.system.frozen(*self.system.workers()):
            time.sleep(0.01)  # commands that are in sockets get to Redis
            self.note_in_flight()
            yield
        self.faults += 1
        self.over()

    def over(self) -> None:
        """The harm has ended just now."""
        self.over_at = time.monotonic()

    def note_in_flight(self) -> None:
        """Take what is claimed just now to be in flight at a fault."""
        if isinstance(self.broker, ChaosCluster):
            self.in_flight.update(self.broker.claims())
            return
        with closing(self.client()) as client:
            claims = client.scan_iter("feedback:claim:*", count=10_000)
            self.in_flight.update(claim.decode().rpartition(":")[2] for claim in claims)

    def kill_worker(self, part: Part) -> None:
        """End a worker with kill -9."""
        with self.fault():
            self.system.kill(part)

    def require(self, condition: object, words: str) -> None:
        """Let the run fail with these words if the condition is false."""
        if not condition:
            self.failures.append(words)

    def eventually(self, look: Callable[[], object], *, within: float = 60, what: str) -> None:
        """Wait for something to be true; meanwhile as many workers run as are wanted.

        Raises:
            GaveUp: It did not happen in time.
        """
        deadline = time.monotonic() + within
        while not look():
            if time.monotonic() > deadline:
                raise GaveUp(f"not within {within:.0f} s: {what}")
            self.supervise()
            time.sleep(_LOOKS_EVERY)

    def pause(self, seconds: float) -> None:
        """Let so many seconds pass; meanwhile as many workers run as are wanted."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.supervise()
            time.sleep(min(_LOOKS_EVERY, left))

    def supervise(self) -> None:
        """Start as many workers as are wanted, in place of those that ended by themselves."""
        self.system.collect()
        for _ in range(self.wanted - len(self.system.workers())):
            self.launch_worker()

    # How it ends

    @property
    def all_acknowledged(self) -> list[str]:
        """Every event that Redis has acknowledged."""
        return [*self.acknowledged, *(each for load in self._loads for each in load.acknowledged)]

    def left(self) -> dict[str, int]:
        """How many messages there are in Redis, by where they are; only what is not empty."""
        left: Counter[str] = Counter()
        for client, prefix in self._partitions():
            pipe = client.pipeline(transaction=True)
            for suffix in _PRIORITIES:
                pipe.llen(f"{prefix}feedback{suffix}")
                pipe.zcard(f"{prefix}feedback{suffix}:delayed")
            pipe.hlen(f"{prefix}unacked")
            *lists, unacked = pipe.execute()
            left.update({"queued": sum(lists[::2]), "waiting": sum(lists[1::2]), "in flight": unacked})
        return {where: number for where, number in left.items() if number}

    def drain(self) -> float | None:
        """Wait until nothing is left in Redis, once; return how many seconds after the last fault that was."""
        if self._has_drained:
            return self._drained
        self._has_drained = True
        for load in self._loads:
            load.join(self.patience)
        began = self.over_at or time.monotonic()
        left: dict[str, int] = {}

        def is_empty() -> bool:
            nonlocal left
            left = self._left_if_there()
            return not left

        try:
            self.eventually(is_empty, within=self.patience, what="drained")
        except GaveUp as error:
            self.failures.append(f"{error}: {left}")
            return None
        self._drained = time.monotonic() - began
        return self._drained

    def _partitions(self) -> Iterator[tuple[redis.Redis, str]]:
        """Yield a connection to each partition, and what stands before its keys."""
        if isinstance(self.broker, ChaosCluster):
            yield from self.broker.of_each_partition()
            return
        with closing(self.client()) as client:
            yield client, ""

    def _left_if_there(self) -> dict[str, int]:
        try:
            return self.left()
        except redis.RedisError as error:
            return {type(error).__name__: 1}

    def counts(self) -> dict[str, int]:
        """The system's own counts."""
        counts: Counter[str] = Counter()
        for client, prefix in self._partitions():
            found = cast("dict[bytes, bytes]", client.hgetall(f"{prefix}feedback:counts"))
            counts.update({name.decode(): int(count) for name, count in found.items()})
        return dict(counts)

    def books(self) -> None:
        """Let the run fail if the system's own counts do not add up."""
        counts = self.counts()
        if "accepted" not in counts:
            return
        ended = sum(counts.get(name, 0) for name in _ENDS)
        words = ", ".join(f"{name} {counts[name]}" for name in ("accepted", *_ENDS) if name in counts)
        self.require(counts["accepted"] == ended, f"the books do not balance: {words}")
