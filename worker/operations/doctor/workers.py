"""The workers: who is alive, who consumes, do all agree, and does each bring what it holds to an end?"""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from producer.message import QUEUE
from worker.dead_letters.replays.queue import REPLAYS
from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.policy.durations import span
from worker.runtime.inspect_stats import ABOUT, DELIVERIES_AT_ONCE, IN_FLIGHT, KEYS_FILE, inspect_stats

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from worker.accounting.snapshot import LeaseHolder, Snapshot
    from worker.operations.doctor.fleet import Fleet
    from worker.settings import Settings

__all__ = ["look_at_progress", "look_at_workers"]

_START: Final = "start one (`celery -A worker worker`)"

_OURS: Final = (QUEUE, REPLAYS)

_CHECK: Final = "progress"

_REQUESTS: Final = 2

_MARGIN: Final = timedelta(minutes=1)
"""How long nothing may end: as long as two requests in a row, and what the database and name resolution may take."""


def look_at_workers(fleet: Fleet, now: Snapshot, settings: Settings | None) -> Iterator[Finding]:
    """Check the workers' answers, and their leases; with these settings, or if None with each other's."""
    if fleet.stats:
        yield _consuming(fleet)
        yield _replaying(fleet)
        yield _of_one_mind(fleet, settings)
        yield from _same_name(fleet)
        yield from _short_of_files(fleet)
        yield from _keys_files(fleet)
    else:
        yield _none(now)
    yield from _taken_by_others(fleet)
    yield _holding(fleet, now.holders)


def _none(now: Snapshot) -> Finding:
    waits = f"; {now.waiting:,} events wait" if now.waiting else ""
    if now.alive:
        fix = "look in the log of each, and restart it: what it holds goes back to the queue"
        return red("workers", f"none answers, of {now.workers} that have a lease: {_named(now.alive)}{waits}", fix=fix)
    heard = f", and {len(now.dead)} not heard of any more: {_named(now.dead)}" if now.dead else ""
    fix = f"{_START}; if one runs, it does not reach this Redis, or hangs: look in its log, and restart it"
    return red("workers", f"none is alive{heard}{waits}", fix=fix)


def _consuming(fleet: Fleet) -> Finding:
    consuming = sorted(name for name, queues in fleet.queues.items() if QUEUE in queues)
    idle = sorted(set(fleet.stats) - set(consuming))
    summary = f"{len(fleet.stats)} answer: {', '.join(sorted(fleet.stats))}"
    if not idle:
        return green("workers", f"{summary}; they consume {QUEUE}")
    fix = f"`{_add_consumer(QUEUE, idle)}`, or restart them without other queues in -Q"
    level = yellow if consuming else red
    return level("workers", f"{', '.join(idle)} do not consume {QUEUE}", fix=fix)


def _replaying(fleet: Fleet) -> Finding:
    """A worker with ``-Q feedback`` delivers what a replay enqueues, and brings no replay forward."""
    consuming = sorted(name for name, queues in fleet.queues.items() if REPLAYS in queues)
    if consuming:
        return green("replays' worker", f"{len(consuming)} consume {REPLAYS}")
    add = _add_consumer(REPLAYS, sorted(fleet.stats)[:1])
    fix = f"`{add}`, or restart a worker without -Q, or with -Q {','.join(_OURS)}"
    return yellow("replays' worker", f"no worker consumes {REPLAYS}: replays stay planned", fix=fix)


def _add_consumer(queue: str, names: Collection[str]) -> str:
    return f"celery -A worker control add_consumer {queue} -d {','.join(names)}"


def _same_name(fleet: Fleet) -> Iterator[Finding]:
    for name, number in sorted(fleet.same_name.items()):
        fix = "start all but one with another name: `-n second@%h`"
        summary = f"{number} are called {name}: what is said to one (`-d {name}`, Flower's buttons) reaches all of them"
        yield yellow("workers' names", summary, fix=fix)


def _short_of_files(fleet: Fleet) -> Iterator[Finding]:
    for name, stats in sorted(fleet.stats.items()):
        if (at_once := stats.get(ABOUT, {}).get(DELIVERIES_AT_ONCE)) is not None:
            summary = f"{name} may open too few files: it delivers {at_once} events at once, not FEEDBACK_CONCURRENCY"
            yield yellow("workers' files", summary, fix="raise its limit (ulimit -n, LimitNOFILE), and restart it")


def _keys_files(fleet: Fleet) -> Iterator[Finding]:
    """A worker whose file of keys is bad goes on with those of before; all should have the same."""
    check = "workers' keys"
    files = {name: file for name, stats in sorted(fleet.stats.items()) if (file := stats.get(ABOUT, {}).get(KEYS_FILE))}
    bad = {name: file["problem"] for name, file in files.items() if file.get("problem")}
    for name, problem in bad.items():
        fix = "correct the file: the worker reads it again within a second, and does not start with it as it is"
        yield red(check, f"{name} goes on with the keys of before: {problem}", fix=fix)
    if files and len(files) < len(fleet.stats):
        without = ", ".join(sorted(set(fleet.stats) - set(files)))
        fix = "give every worker the same file: a key that is refused holds everything where a worker has none"
        yield yellow(check, f"{without} has no AQUILAX_KEYS_FILE, as others have", fix=fix)
    elif len({json.dumps([file.get("keys"), file.get("default")], sort_keys=True) for file in files.values()}) > 1:
        yield yellow(check, "workers have other keys than others", fix="give every worker the same AQUILAX_KEYS_FILE")
    elif files and not bad:
        number = len(next(iter(files.values())).get("keys", ()))
        yield green(check, f"{number} keys for single orgs, the same everywhere")


def _taken_by_others(fleet: Fleet) -> Iterator[Finding]:
    """Workers of other applications are none of our business, unless they take feedback: they throw it away."""
    for name, queues in sorted(fleet.others.items()):
        for queue in sorted(queues.intersection(_OURS)):
            fix = f"`celery -A worker control cancel_consumer {queue} -d {name}`, and take {queue} out of its -Q"
            summary = f"{name} consumes {queue}, and is no worker of ours: it throws away what it takes"
            yield red("foreign worker", summary, fix=fix)


def _of_one_mind(fleet: Fleet, settings: Settings | None) -> Finding:
    """Compare releases and settings with those of this program, or with those of the first worker."""
    check, as_here = "workers' settings", settings is not None
    told = [stats[ABOUT] for _, stats in sorted(fleet.stats.items()) if isinstance(stats.get(ABOUT), dict)]
    standard = inspect_stats(settings) if settings is not None else next(iter(told), None)
    differences = [
        difference
        for name in sorted(fleet.stats)
        for difference in _differences(name, fleet.stats[name], standard, where="here" if as_here else "elsewhere")
    ]
    if standard is not None and not differences:
        same = "everywhere, as here" if as_here else "everywhere"
        return green(check, f"release {standard['version']} and the same settings {same}")
    fix = "start the workers of one release, with the same variables"
    if as_here:
        return yellow(check, "; ".join(differences), fix=f"{fix} as here, or run the doctor where they run")
    return yellow(check, "; ".join(differences), fix=fix)


def _differences(
    name: str, stats: Mapping[str, Any], standard: Mapping[str, Any] | None, *, where: str
) -> Iterator[str]:
    told = stats.get(ABOUT)
    if not isinstance(told, dict) or standard is None:
        yield f"{name} does not tell: it is of an older release, or a plain Celery worker"
        return
    if told["version"] != standard["version"]:
        yield f"{name} is of release {told['version']}, and {where} is {standard['version']}"
        return
    for setting, value in standard["settings"].items():
        if (theirs := told["settings"].get(setting)) != value:
            yield f"{setting} of {name} is {theirs}, and {where} it is {value}"


def _holding(fleet: Fleet, leases: Collection[LeaseHolder]) -> Finding:
    """Which worker holds messages and does not answer hangs: its lease is renewed by a thread of its own."""
    check = "messages in flight"
    held = sum(lease.holds for lease in leases)
    for lease in leases:
        if not lease.holds:
            continue
        if not lease.is_alive:
            fix = "nothing, if another worker runs: it returns them to the queue; else start one"
            return yellow(check, f"{_shown(lease)}, and was not heard of since {span(lease.lease_left)}", fix=fix)
        if not _answers(fleet, lease):
            fix = "look in its log; restart it: what it holds goes back to the queue"
            return yellow(check, f"{_shown(lease)}, and does not answer: it hangs, or is ending", fix=fix)
    return green(check, f"{held:,}" if not held else f"{held:,}, held by {sum(bool(one.holds) for one in leases)}")


def _answers(fleet: Fleet, lease: LeaseHolder) -> bool:
    if lease.node:
        return lease.node in fleet.stats
    process = (*lease.name.split(":"), "")[1]
    return process in {str(stats.get("pid")) for stats in fleet.stats.values()}


def _shown(lease: LeaseHolder) -> str:
    where = "on this machine" if lease.name.startswith(f"{socket.gethostname()}:") else "elsewhere"
    return f"{lease.name} ({where}) holds {lease.holds:,}"


def _named(leases: Collection[LeaseHolder]) -> str:
    return ", ".join(sorted({lease.node or lease.name for lease in leases}))


def look_at_progress(fleet: Fleet, settings: Settings) -> Iterator[Finding]:
    """Check that of what each worker holds something ends now and then."""
    longest = settings.feedback_request_timeout * _REQUESTS + _MARGIN
    stuck = {name: held for name, stats in fleet.stats.items() if (held := _in_flight(stats)) and held[1] > longest}
    for name, (messages, since) in sorted(stuck.items()):
        summary = f"{name} holds {messages:,} messages, and none has ended for {span(since)}"
        fix = "restart it: what it holds goes back to the queue; before, look in its log for `a fault of ours`"
        yield red(_CHECK, summary, fix=fix)
    if not stuck and fleet.stats:
        yield green(_CHECK, "what the workers hold comes to its end")


def _in_flight(stats: Mapping[str, Any]) -> tuple[int, timedelta] | None:
    """How many messages a worker holds, and for how long none has ended; None if it holds none, or does not tell."""
    told = stats.get(ABOUT)
    held = told.get(IN_FLIGHT) if isinstance(told, dict) else None
    if not isinstance(held, dict) or not held.get("messages"):
        return None
    return int(held["messages"]), timedelta(seconds=float(held.get("without_end", 0)))
