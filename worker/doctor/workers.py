"""The workers: who is alive, who consumes, and do all agree?"""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from producer.message import QUEUE
from worker.about import ABOUT, about
from worker.app import create_app
from worker.doctor.finding import Finding, green, red, yellow
from worker.durations import span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from worker.accounts.snapshot import Holder
    from worker.settings import Settings

__all__ = ["Fleet", "ask_fleet", "look_at_workers"]

_ANSWERED_WITHIN: Final = (2.0, 4.0)
"""Seconds that workers have: each answers from its event loop, which never waits for AquilaX. If none answered they
are asked once more, for longer: their machine may have been busy, and to be told so for nothing costs trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the workers answered, by their names.

    Attributes:
        stats: What ``celery inspect stats`` shows.
        queues: The queues that each consumes.
    """

    stats: Mapping[str, Mapping[str, Any]]
    queues: Mapping[str, frozenset[str]]


def ask_fleet(settings: Settings) -> Fleet:
    """Ask all workers, through the broker, which takes two seconds, or six if none answers."""
    with closing(create_app(settings)) as app, app.connection_for_write() as connection:
        # A connection of its own, also to send on: Kombu keeps the pools of a URL for the life of the process.
        app.control.mailbox.producer_pool = None
        for patience in _ANSWERED_WITHIN:
            if stats := app.control.inspect(connection=connection, timeout=patience).stats() or {}:
                break
        # As many answers as there were before are all that come.
        again = app.control.inspect(connection=connection, timeout=_ANSWERED_WITHIN[-1], limit=len(stats))
        queues = again.active_queues() or {} if stats else {}
    return Fleet(
        stats=stats,
        queues={name: frozenset(queue["name"] for queue in consumed) for name, consumed in queues.items()},
    )


def look_at_workers(fleet: Fleet, holders: Sequence[Holder], settings: Settings) -> Iterator[Finding]:
    """Check what the workers answered.

    Args:
        fleet: What they answered.
        holders: Who has messages in hand, by what stands in Redis.
        settings: Those of this program, with which theirs are compared.
    """
    if not fleet.stats:
        fix = "start one (`celery -A worker worker`); if one runs, it hangs: look in its log, and restart it"
        yield red("workers", "none answers", fix=fix)
    else:
        yield _consuming(fleet)
        yield _of_one_mind(fleet, about(settings))
    yield _holding(fleet, holders)


def _consuming(fleet: Fleet) -> Finding:
    consuming = sorted(name for name, queues in fleet.queues.items() if QUEUE in queues)
    idle = sorted(set(fleet.stats) - set(consuming))
    words = f"{len(fleet.stats)} answer: {', '.join(sorted(fleet.stats))}"
    if not idle:
        return green("workers", f"{words}; they consume {QUEUE}")
    fix = f"`celery -A worker control add_consumer {QUEUE}`, or restart them without other queues in -Q"
    level = yellow if consuming else red
    return level("workers", f"{', '.join(idle)} do not consume {QUEUE}", fix=fix)


def _of_one_mind(fleet: Fleet, here: Mapping[str, Any]) -> Finding:
    """Compare releases and settings with those of this program."""
    check = "workers' settings"
    differences = [
        difference for name in sorted(fleet.stats) for difference in _differences(name, fleet.stats[name], here)
    ]
    if not differences:
        return green(check, f"release {here['version']} and the same settings everywhere, as here")
    fix = "start the workers of one release, with the same variables as here, or run the doctor where they run"
    return yellow(check, "; ".join(differences), fix=fix)


def _differences(name: str, stats: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    told = stats.get(ABOUT)
    if not isinstance(told, dict):
        yield f"{name} does not tell: it is of an older release, or a plain Celery worker"
        return
    if told["version"] != here["version"]:
        yield f"{name} is of release {told['version']}, and here is {here['version']}"
        return
    for setting, value in here["settings"].items():
        if (theirs := told["settings"].get(setting)) != value:
            yield f"{setting} of {name} is {theirs}, and here it is {value}"


def _holding(fleet: Fleet, holders: Sequence[Holder]) -> Finding:
    """Somebody who holds messages and does not answer hangs: its lease is renewed by a thread of its own."""
    check = "messages in hand"
    held = sum(holder.holds for holder in holders)
    answering = {str(stats.get("pid")) for stats in fleet.stats.values()}
    for holder in holders:
        if not holder.holds:
            continue
        if holder.lease_left < timedelta():
            fix = "nothing, if another worker runs: it returns them to the queue; else start one"
            return yellow(check, f"{_shown(holder)}, and was not heard of since {span(holder.lease_left)}", fix=fix)
        if _process(holder) not in answering:
            fix = "look in its log; restart it: what it holds goes back to the queue"
            return yellow(check, f"{_shown(holder)}, and does not answer: it hangs, or is ending", fix=fix)
    return green(check, f"{held:,}" if not held else f"{held:,}, held by {sum(bool(one.holds) for one in holders)}")


def _process(holder: Holder) -> str:
    """The process's id as it stands in the holder's name, ``host:process:…``."""
    host, _, rest = holder.name.partition(":")
    return rest.partition(":")[0] if host else ""


def _shown(holder: Holder) -> str:
    where = "on this machine" if holder.name.startswith(f"{socket.gethostname()}:") else "elsewhere"
    return f"{holder.name} ({where}) holds {holder.holds:,}"
