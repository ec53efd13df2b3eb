"""What operators' commands take on a database that is full, and how long a dead letter waits while they change it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from sqlalchemy import update

from tests.support.dead_letter_records import a_record
from worker.database.engine import connect
from worker.database.models import DeadLetter, State
from worker.dead_letters.group_commit import Insertion, commit
from worker.dead_letters.pruning import prune
from worker.dead_letters.replays.planning import create, preview
from worker.dead_letters.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

__all__ = ["beside_burials", "commands", "milliseconds_of_preview"]

_ROUNDS: Final = 7
_PRUNING: Final = 15.0
"""Seconds of pruning: each step is like the one before."""

_COMMANDS: Final = (
    ("dead-letters", "list"),
    ("dead-letters", "list", "--group-by", "fingerprint"),
    ("dead-letters", "list", "--state", "any"),
    ("dead-letters", "show", "500"),
    ("dead-letters", "export"),
    ("dead-letters", "--help"),
)


def commands(url: str) -> dict[str, float]:
    """Return the milliseconds from the start of each command's process to its first byte: medians."""
    return {
        " ".join(command): statistics.median(_first_byte(url, command) for _ in range(_ROUNDS)) for command in _COMMANDS
    }


def _first_byte(url: str, command: tuple[str, ...]) -> float:
    environment = {**os.environ, "FEEDBACK_DATABASE_URL": url}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its modules compiled
    began = time.perf_counter()
    program = [sys.executable, "-m", "worker.operations.cli", *command]
    with subprocess.Popen(  # noqa: S603 - the commands above
        program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        if process.stdout is not None:
            process.stdout.read(1)
        took = time.perf_counter() - began
        process.kill()
    return took * 1000


def milliseconds_of_preview(url: str) -> float:
    """Return what the preview of a replay of all that is dead takes: the median."""
    engine = connect(url)
    took = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        preview(engine, Selection(states=(State.DEAD,)))
        took.append((time.perf_counter() - began) * 1000)
    engine.dispose()
    return statistics.median(took)


def beside_burials(url: str) -> dict[str, str]:
    """Plan a replay of all that is dead, and then prune, while dead letters are inserted; return what each took."""
    engine, now = connect(url), datetime.now(UTC)
    told = {}
    with _burials(url) as waits:
        time.sleep(3)
        told["nothing else"] = _told(waits, 3)
        began = time.perf_counter()
        plan = create(engine, Selection(states=(State.DEAD,)), actor="benchmark", canary=5)
        told[f"planning a replay of {plan.total:,} rows"] = _told(waits, time.perf_counter() - began)
    _settle(engine)
    with _burials(url) as waits:
        stop = threading.Event()
        threading.Timer(_PRUNING, stop.set).start()
        began = time.perf_counter()
        pruned = prune(engine, now - timedelta(hours=12), stop=stop)
        told[f"pruning {pruned.dead_letters:,} rows"] = _told(waits, time.perf_counter() - began)
    engine.dispose()
    return told


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
