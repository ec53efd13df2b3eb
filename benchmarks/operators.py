"""What operators' commands take on a database that is full, and how long a dead letter waits while they change it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

from sqlalchemy import update

from tests.support.dead_letter_records import a_record
from worker.database.engine import connect
from worker.database.models import DeadLetter, State
from worker.dead_letters.discard import discard
from worker.dead_letters.group_commit import Insertion, commit
from worker.dead_letters.pruning import prune
from worker.dead_letters.replays.lifecycle import cancel
from worker.dead_letters.replays.planning import create, preview
from worker.dead_letters.replays.queries import plans
from worker.dead_letters.selection import Selection, replayable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

__all__ = ["Span", "Took", "beside_burials", "cancel_replays", "commands", "plan_everything", "previews", "vacuum"]

_CHANGING: Final = 15.0
"""Seconds of pruning and of discarding: each step is like the one before."""

_COMMANDS: Final = (
    ("dead-letters", "list"),
    ("dead-letters", "list", "--state", "any"),
    ("dead-letters", "list", "--org", "65dd3e835a669e3347654203"),
    ("dead-letters", "list", "--group", "no-such-group"),
    ("dead-letters", "list", "--group-by", "fingerprint"),
    ("dead-letters", "show", "500"),
    ("dead-letters", "export", "--limit", "10000"),
    ("dead-letters", "export", "--state", "discarded", "--limit", "10000"),
    ("dead-letters", "--help"),
)


@dataclass(frozen=True)
class Span:
    """Milliseconds: the median of several, the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, every: Sequence[float]) -> Self:
        """Return that of some."""
        return cls(statistics.median(every), min(every), max(every))

    def __str__(self) -> str:
        return f"{self.median:,.0f} ms ({self.least:,.0f} to {self.most:,.0f})"


@dataclass(frozen=True)
class Took:
    """How long something took to its first byte, and in whole."""

    first: Span
    whole: Span

    @classmethod
    def of(cls, every: Sequence[tuple[float, float]]) -> Self:
        """Return what several took."""
        return cls(Span.of([first for first, _ in every]), Span.of([whole for _, whole in every]))

    @classmethod
    def read(cls, record: dict[str, Any]) -> Self:
        """Return what `to_record` wrote."""
        return cls(Span(**record["first"]), Span(**record["whole"]))

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return asdict(self)


def commands(url: str, rounds: int) -> dict[str, Took]:
    """Return what each command takes, from the start of its process."""
    took = {f"`{' '.join(command)}`": [_run(url, command) for _ in range(rounds)] for command in _COMMANDS}
    return {label: Took.of(each) for label, each in took.items()}


def _run(url: str, command: tuple[str, ...]) -> tuple[float, float]:
    environment = {**os.environ, "FEEDBACK_DATABASE_URL": url}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its modules compiled
    began = time.perf_counter()
    program = [sys.executable, "-m", "worker.operations.cli", *command]
    with subprocess.Popen(  # noqa: S603 - the commands above
        program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None  # noqa: S101 - as it is a pipe
        process.stdout.read(1)
        first = time.perf_counter()
        process.stdout.read()
        process.wait()
    return (first - began) * 1000, (time.perf_counter() - began) * 1000


def previews(url: str, rounds: int) -> dict[str, Took]:
    """Return what the preview of a replay of all that is dead takes, without a page or a command around it."""
    engine, took = connect(url), []
    for _ in range(rounds):
        began = time.perf_counter()
        preview(engine, Selection(states=(State.DEAD,)))
        took.append((time.perf_counter() - began) * 1000)
    engine.dispose()
    return {"preview of a replay of all, in the database": Took.of([(each, each) for each in took])}


def vacuum(url: str) -> None:
    """Do what autovacuum does within minutes: PostgreSQL then knows which pages everyone sees."""
    engine = connect(url)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE)")
    engine.dispose()


def plan_everything(url: str) -> int:
    """Plan a replay of all that is dead, which no worker begins; return its number."""
    engine = connect(url)
    plan = create(engine, Selection(states=(State.DEAD,)), actor="benchmark", canary=5)
    engine.dispose()
    vacuum(url)
    return plan.id


def cancel_replays(url: str) -> None:
    """End all replays."""
    engine = connect(url)
    for plan in plans(engine, active=True):
        cancel(engine, plan.id, actor="benchmark")
    engine.dispose()


def beside_burials(url: str) -> dict[str, str]:
    """Plan a replay of all that is dead, prune, and discard, while dead letters are inserted; return what each took."""
    engine, now = connect(url), datetime.now(UTC)
    told = {}
    with _burials(url) as waits:
        time.sleep(3)
        told["nothing else"] = _told(waits, 3)
        began = time.perf_counter()
        plan = create(engine, Selection(states=(State.DEAD,)), actor="benchmark", canary=5)
        told[f"planning a replay of {plan.total:,} rows"] = _told(waits, time.perf_counter() - began)
    cancel_replays(url)
    _settle(engine)
    vacuum(url)
    with _burials(url) as waits:
        began = time.perf_counter()
        pruned = prune(engine, now - timedelta(hours=12), stop=_soon())
        told[f"pruning {pruned.dead_letters:,} rows"] = _told(waits, time.perf_counter() - began)
        began = time.perf_counter()
        done = _discard_some(engine)
        told[f"discarding {done:,} rows"] = _told(waits, time.perf_counter() - began)
    engine.dispose()
    return told


def _soon() -> threading.Event:
    stop = threading.Event()
    threading.Timer(_CHANGING, stop.set).start()
    return stop


def _discard_some(engine: Engine) -> int:
    return discard(
        engine, replayable(Selection(states=(State.DEAD,))), comment="benchmark", actor="benchmark", stop=_soon()
    )


def _settle(engine: Engine) -> None:
    """Rows that are over say since when."""
    over = DeadLetter.state.in_([State.DELIVERED, State.DISCARDED])
    with engine.begin() as connection:
        connection.execute(update(DeadLetter).where(over).values(resolved_at=DeadLetter.failed_at))


@contextmanager
def _burials(url: str) -> Iterator[list[float]]:
    """Insert dead letters one after the other; yields how long each took, in milliseconds."""
    engine, ended = connect(url), threading.Event()
    waits: list[float] = []

    def insert_some() -> None:
        while not ended.wait(0.02):
            began = time.perf_counter()
            commit(engine, [Insertion(replace(a_record(), dedup_key=uuid4().hex * 2))])
            waits.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=insert_some)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()
        engine.dispose()


def _told(waits: list[float], seconds: float) -> str:
    found = sorted(waits)
    waits.clear()
    median, longest = statistics.median(found), found[-1]
    return f"{seconds:.1f} s; {len(found):,} insertions: median {median:.0f} ms, longest {longest:.0f} ms"
