"""The demo: feedback goes the whole way, fails in every way that AquilaX can, dies, is replayed, and balances."""

from __future__ import annotations

import math
import random
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import redis
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from worker.clients.redis.keys import CountField
from worker.dead_letters.store import DeadLetterStore
from worker.delivery.partitioned_idempotency import Idempotency, connect_idempotency
from worker.sandbox.backends import Backends
from worker.sandbox.local_cluster import LocalCluster
from worker.sandbox.node_supervisor import NodeSupervisor
from worker.sandbox.run_balance import RESOLVED, RunBalance, audit, wrong_votes
from worker.sandbox.workload import Workload, build_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import LocalStack, Part

__all__ = ["Demo", "DemoFailed"]

_FORBIDDEN_ORG: Final = "org-not-ours"
_MISBEHAVIOUR: Final = (
    "--error-rate=500=0.03 --error-rate=502=0.02 --error-rate=503=0.05 --error-rate=504=0.01 --error-rate=429=0.02 "
    f"--retry-after=1 --latency=0.02 --jitter=0.03 --hang-rate=0.003 --reset-rate=0.01 --close-rate=0.01 "
    f"--unknown-share=0.03 --forbidden-org={_FORBIDDEN_ORG} --seed=7"
).split()
_HURRY: Final = {
    "FEEDBACK_MAX_ATTEMPTS": "5",
    "FEEDBACK_RETRY_BASE": "0.5",
    "FEEDBACK_RETRY_CAP": "2",
    "FEEDBACK_REQUEST_TIMEOUT": "2",
    "FEEDBACK_CONCURRENCY": "30",
    "FEEDBACK_LEASE": "5",
}
"""A day of trouble in half a minute: the defaults are far more patient."""

_OUTAGE_SECONDS: Final = 3
_PATIENCE: Final = 60.0


class DemoFailed(Exception):
    """Something did not come to its end in time."""


@dataclass(frozen=True)
class _Moment:
    """What happens on the way.

    Attributes:
        is_now: Whether it is time, by the balance and the number of all events.
        happen: Does it, and says what it was.
    """

    is_now: Callable[[RunBalance, int], bool]
    happen: Callable[[], str]


@dataclass(kw_only=True)
class Demo:
    """One run of the demo.

    Attributes:
        stack: Where it runs; nothing of it has been started.
        console: Where it is shown.
        people: How many press.
        seed: Of the chance in what they do.
        is_on_cluster: Whether Redis is a cluster, of which a primary is killed, and not one Valkey, which is stopped.
        backends: Those that they use.
    """

    stack: LocalStack
    console: Console
    people: int = 4000
    seed: int = 1
    is_on_cluster: bool = False
    backends: Backends = field(init=False)
    _given: int = field(default=0, init=False)
    """Events that Redis was given before any was replayed: a replay is counted as accepted too."""
    _nodes: NodeSupervisor | None = field(default=None, init=False)

    def run(self) -> bool:
        """Run it, and return whether the books balance."""
        with ExitStack() as open_parts:
            sandbox, idempotency, store, worker = self._set_up(open_parts)
            crowd = build_workload(
                self.people,
                began=datetime.now(UTC) - timedelta(seconds=self.people / 1000 + 2),
                chance=random.Random(self.seed),  # noqa: S311 - simulated users, no secret
                forbidden_org=_FORBIDDEN_ORG,
            )

            self.backends = Backends(
                url=self.stack.environment["FEEDBACK_BROKER_URL"],
                spool=self.stack.folder / "spool",
                events=crowd.events,
                replicas=1 if self.is_on_cluster else 0,
            )
            books = RunBalance(accepted=0, counts=dict.fromkeys(CountField, 0))

            def look() -> RunBalance:
                nonlocal books
                try:
                    books = audit(self._given or self._accepted(idempotency), idempotency, store.engine)
                except redis.RedisError:  # it is stopped just now
                    books = replace(books, accepted=self.backends.accepted)
                return books

            fault = "a primary of Redis is killed" if self.is_on_cluster else "Redis is stopped"
            self._say(f"\n[bold]1. People press[/], {fault}, AquilaX misbehaves, and the worker is killed")
            self._deliver(crowd, look, worker, sandbox)
            before = look()
            self._given = before.accepted
            self._show(before, sandbox)
            self._say("\n[bold]2. AquilaX is fixed[/], and the dead letters are replayed")
            sandbox.fix()
            self._replay(look)
            self._show(look(), sandbox)
            self._compare(before, books)
            self._say("\n[bold]3. The books of Redis and of the database[/] are compared")
            self._run("reconcile")
            return self._conclude(books, wrong_votes(crowd.last_votes, sandbox.received_by_request_id()))

    def _accepted(self, idempotency: Idempotency) -> int:
        """Count the presses, and those that Redis took though it could not say so: the spool sends these again."""
        return max(self.backends.accepted, idempotency.counts()[CountField.ACCEPTED])

    def _set_up(self, open_parts: ExitStack) -> tuple[SandboxClient, Idempotency, DeadLetterStore, Part]:
        self._say("[bold]Setting up[/] the whole system on this machine")
        stack = self.stack
        stack.environment |= _HURRY
        broker = self._start_cluster() if self.is_on_cluster else stack.start_broker()
        self._up("Valkey", broker, "append-only file on, nothing evicted")
        database = stack.create_database()
        self._up("SQLite", database, "the dead-letter table")
        sandbox = open_parts.enter_context(closing(stack.start_sandbox(_MISBEHAVIOUR)))
        self._up("AquilaX", stack.environment["AQUILAX_BASE_URL"], "a local sandbox, misbehaving")
        worker = stack.start_worker("worker-1")
        self._up("worker", "aquilax-feedback worker", "30 requests at once")
        self._up("Flower", stack.start_flower(), "open it while the demo runs")
        day, lease = timedelta(days=1), timedelta(seconds=30)
        idempotency = connect_idempotency(broker, ttl=day, lease=lease, connections=1)
        store = DeadLetterStore.connect(database)
        return sandbox, open_parts.enter_context(closing(idempotency)), open_parts.enter_context(closing(store)), worker

    def _start_cluster(self) -> str:
        cluster = LocalCluster.start(self.stack)
        self._nodes = NodeSupervisor(cluster, lambda text: self._say(f"   [yellow]{text}[/]"))
        return cluster.url

    def _deliver(self, crowd: Workload, look: Callable[[], RunBalance], worker: Part, sandbox: SandboxClient) -> None:
        moments = self._moments(worker, sandbox)
        total = len(crowd.events)
        bars = (TextColumn("   {task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*bars, console=self.console) as progress:
            enqueued = progress.add_task("enqueued by two chat backends", total=total)
            ended = progress.add_task("delivered, or not worth sending", total=total)
            dead = progress.add_task("in the dead-letter table", total=None)
            self.backends.start()
            deadline = time.monotonic() + _PATIENCE
            while True:
                if self._nodes:
                    self._nodes.supervise()
                spooled = self.backends.spooled  # before Redis is asked for what it has of it
                books = look()
                dead_lettered = sum(books.dead.values())
                progress.update(enqueued, completed=books.accepted)
                progress.update(ended, completed=books.ended - dead_lettered)
                progress.update(dead, completed=dead_lettered)
                if books.accepted >= total and books.balance and not (moments or spooled):
                    break
                if time.monotonic() > deadline:
                    raise DemoFailed(f"after {_PATIENCE:.0f} s: {books.equation}")
                while moments and moments[0].is_now(books, total):
                    progress.console.print(f"   [yellow]{moments.pop(0).happen()}[/]")
                time.sleep(0.1)
        self.backends.join()
        if (twice := books.accepted - total) > 0:
            self._say(f"   Redis ended before it acknowledged {twice:,} of them: the spool had sent these again")

    def _moments(self, worker: Part, sandbox: SandboxClient) -> list[_Moment]:
        """What happens on the way, one after the other."""
        stack = self.stack
        stopped_at = math.inf

        def stop_redis() -> str:
            nonlocal stopped_at
            stack.stop(self._broker)
            stopped_at = time.monotonic()
            return f"Redis is stopped for {_OUTAGE_SECONDS} s, and people go on pressing: to the spool …"

        def start_redis() -> str:
            spooled = self.backends.spooled
            stack.start_broker(port=self._port)
            return f"… Redis is back, and {spooled:,} presses come from the spool"

        def take_aquilax_down() -> str:
            sandbox.behave(outage={"from": 0, "for": _OUTAGE_SECONDS, "with": "503"})
            return f"AquilaX goes down for {_OUTAGE_SECONDS} s"

        def kill_worker() -> str:
            stack.kill(worker)
            stack.start_worker("worker-2")
            return "the worker is killed (SIGKILL), and another one is started"

        one = [
            _Moment(lambda books, total: books.accepted >= total / 4, stop_redis),
            _Moment(lambda _books, _total: time.monotonic() >= stopped_at + _OUTAGE_SECONDS, start_redis),
        ]
        return [
            *(self._moments_of_cluster(self._nodes) if self._nodes else one),
            _Moment(lambda books, total: books.ended >= total / 4, take_aquilax_down),
            _Moment(lambda books, total: books.ended >= total / 2, kill_worker),
        ]

    def _moments_of_cluster(self, nodes: NodeSupervisor) -> list[_Moment]:
        """A primary is killed, and comes back; in between its replica takes over."""
        most_spooled = 0

        def kill_primary() -> str:
            node = nodes.cluster.busiest()
            node.part.process.kill()
            node.part.process.wait()
            return f"{node.name} is killed (SIGKILL), and people go on pressing: to the spool …"

        def are_back(_books: RunBalance, _total: int) -> bool:
            nonlocal most_spooled
            most_spooled = max(most_spooled, self.backends.spooled)
            return nodes.all_serve

        def tell() -> str:
            return f"… all nodes are back, and the presses of the spool, {most_spooled:,} at the most, are sent"

        return [
            _Moment(lambda books, total: books.accepted >= total / 4, kill_primary),
            _Moment(are_back, tell),
        ]

    @property
    def _broker(self) -> Part:
        return next(part for part in self.stack.parts if part.name == "valkey")

    @property
    def _port(self) -> int:
        return urlsplit(self.stack.environment["FEEDBACK_BROKER_URL"]).port or 0

    def _replay(self, look: Callable[[], RunBalance]) -> None:
        self._run("dead-letters", "list", "--group-by", "fingerprint")
        self._run("dead-letters", "replay", "--yes")
        deadline = time.monotonic() + _PATIENCE
        while not (books := look()).balance or books.dead:
            if time.monotonic() > deadline:
                raise DemoFailed(f"the replay did not end within {_PATIENCE:.0f} s: {books.equation}")
            time.sleep(0.2)

    def _run(self, *command: str) -> None:
        self._say(f"   $ aquilax-feedback {' '.join(command)}")
        self.stack.run(*command)

    def _show(self, books: RunBalance, sandbox: SandboxClient) -> None:
        table = Table("events", "count", title="What happened", title_justify="left", title_style="bold")
        table.columns[1].justify = "right"
        table.add_row("accepted", f"{books.accepted:,}")
        for count in RESOLVED:
            table.add_row(count.value, f"{books.counts[count]:,}")
        for reason, number in sorted(books.dead.items()):
            table.add_row(f"dead: {reason}", f"{number:,}")
        table.add_row("retried on the way", f"{books.counts[CountField.RETRIED]:,}", style="dim")
        self.console.print(table)
        self._tell_requests(books, sandbox.received().answers)

    def _tell_requests(self, books: RunBalance, answers: Mapping[str, int]) -> None:
        given = {answer: number for answer, number in answers.items() if answer.isdigit()}
        text = ", ".join(f"{answer}: {number:,}" for answer, number in sorted(given.items()))
        unanswered = sum(answers.values()) - sum(given.values())
        self._say(f"AquilaX got {sum(answers.values()):,} requests; its answers: {text}; none to {unanswered:,}")
        if (again := given.get("200", 0) - books.counts[CountField.DELIVERED]) > 0:
            self._say(f"{again:,} were sent again, because their answer was lost on the way or with the killed worker")

    def _compare(self, before: RunBalance, after: RunBalance) -> None:
        """What became of those that were dead; the table has them among all others."""
        delivered, known, stale = (after.counts[count] - before.counts[count] for count in RESOLVED)
        self._say(f"of the replayed {delivered:,} were delivered, {known:,} known to AquilaX already, {stale:,} stale")

    def _conclude(self, books: RunBalance, wrong: Sequence[str]) -> bool:
        for request_id in wrong[:10]:
            self._say(f"[red]AquilaX does not hold the last vote on {request_id}[/]")
        if books.balance and not wrong:
            self._say("\nwith each press counted once, and its replay not again:")
            self._say(f"[bold green]balanced: {books.equation}; nothing lost[/]")
            return True
        self._say(f"\n[bold red]not balanced: {books.equation}; {len(wrong)} last votes missing[/]")
        return False

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def _up(self, name: str, address: str, text: str) -> None:
        self._say(f"   [green]✓[/] {name:8} {address}  [dim]{text}[/]")
