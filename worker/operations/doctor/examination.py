"""START HERE: every part is looked at, each by itself and at the same time, and none for longer than all may take."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import redis
from kombu.exceptions import OperationalError

from worker.accounting.held_orgs import look_at_held_orgs
from worker.accounting.snapshot import take_partial_snapshot
from worker.app import create_app
from worker.observability.redaction import redaction_of
from worker.operations.broker import broker_partitions, broker_record, shown_broker
from worker.operations.database import database_url
from worker.operations.doctor.aquilax import look_at_api_keys, look_at_aquilax
from worker.operations.doctor.balance import look_at_books, look_at_redis_data
from worker.operations.doctor.broker import broker_unavailable, look_at_keys
from worker.operations.doctor.cluster import look_at_partitions, look_at_record, look_at_servers
from worker.operations.doctor.configuration import look_at_settings, read_settings
from worker.operations.doctor.database import look_at_database, look_at_replays
from worker.operations.doctor.disk import look_at_disk
from worker.operations.doctor.finding import Finding, Level, red
from worker.operations.doctor.fleet import ask_fleet
from worker.operations.doctor.flower import look_at_flower
from worker.operations.doctor.notifications import look_at_notifications
from worker.operations.doctor.outbox import look_at_outbox
from worker.operations.doctor.queue import look_at_queue
from worker.operations.doctor.workers import look_at_progress, look_at_workers
from worker.operations.text import visible
from worker.policy.dead_letter import clean
from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from celery import Celery

    from worker.accounting.held_orgs import HeldOrgs
    from worker.accounting.snapshot import Snapshot
    from worker.clients.redis.partitions import Partitions
    from worker.operations.doctor.configuration import Given
    from worker.policy.redaction import Redaction
    from worker.settings import Settings

__all__ = ["PATIENCE", "THREADS", "Examination", "examine", "examine_shared"]

PATIENCE: Final = 15.0
"""Seconds for everything: an operator on call waits for it."""

THREADS: Final = "doctor: "
"""How the names of its threads begin."""

_REDIS_PATIENCE: Final = 2.0
"""Seconds for one command."""

_STRAYS_WITHIN: Final = 2.0
"""Seconds for looking through the names of all keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What all checks found, in the order in which they are told."""

    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst of them."""
        found = {finding.level for finding in self.findings}
        return next((level for level in (Level.RED, Level.YELLOW) if level in found), Level.GREEN)


@dataclass(slots=True)
class _Look:
    """One part that is looked at, in a thread of its own: a name that is resolved can't be given a time limit."""

    part: str
    take: Callable[[], Iterator[Finding]]
    found: list[Finding] = field(default_factory=list)
    done: bool = False

    def run(self) -> None:
        """Look, and keep what was found, also if the rest can't be seen."""
        try:
            for finding in self.take():
                self.found.append(finding)
        except Exception as error:  # noqa: BLE001 - a failing check is reported as a finding; the others still run
            fix = "if nothing else here explains it, report it as a fault of aquilax-feedback"
            self.found.append(red(self.part, f"it can't be looked at: {type(error).__name__}: {error}", fix=fix))
        self.done = True

    def told(self) -> list[Finding]:
        """What was found so far; and that it was not all, if it was not."""
        found, done = list(self.found), self.done
        if not done:
            fix = "find out what hangs there: a frozen server, a firewall that drops, an unavailable name service"
            found.append(red(self.part, "it gave no answer in time", fix=fix))
        return found


def examine(*, flower: str | None = None, probe_key: bool = False, patience: float = PATIENCE) -> Examination:
    """Look at every part of the system that the settings of this process describe.

    Args:
        flower: Where Flower is, if not where FEEDBACK_FLOWER_URL says.
        probe_key: Whether AquilaX is asked if it takes the key.
        patience: Seconds for everything.
    """
    given = read_settings()
    looks = [_Look("settings", lambda: look_at_settings(given)), *_looks(given, flower=flower, probe_key=probe_key)]
    return _taken(looks, given.settings, patience)


def examine_shared(settings: Settings, app: Celery, *, patience: float = PATIENCE) -> Examination:
    """Look at what all programs share: Redis, the queue, the workers, the database and the books. Nothing is written.

    Args:
        settings: Where these are. What else they say may be of this program alone.
        app: The Celery app, which nothing else uses meanwhile.
        patience: Seconds for everything.
    """
    looks = [
        _Look("broker", lambda: _look_through_redis(settings, app, alike=None)),
        _Look("database", lambda: look_at_database(database_url(settings), rehearse=False)),
        *_looks_at_both(settings),
    ]
    return _taken(looks, settings, patience)


def _taken(looks: Sequence[_Look], settings: Settings, patience: float) -> Examination:
    """Take all looks at the same time, and tell of each what it saw in time."""
    deadline = time.monotonic() + patience
    threads = [threading.Thread(target=look.run, name=f"{THREADS}{look.part}", daemon=True) for look in looks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    redacted = redaction_of(settings)
    return Examination(findings=tuple(_without_secrets(redacted, finding) for look in looks for finding in look.told()))


def _looks(given: Given, *, flower: str | None, probe_key: bool) -> Iterator[_Look]:
    """The parts of which the settings say where they are."""
    settings = given.settings
    has_broker = given.has("FEEDBACK_BROKER_URL", "FEEDBACK_SENTINEL_MASTER")
    if has_broker:
        yield _Look("broker", lambda: _look_as_worker(settings))
    if given.has("FEEDBACK_DATABASE_URL"):
        yield _Look("database", lambda: look_at_database(database_url(settings)))
        yield _Look("disk", lambda: look_at_disk(settings))
        if has_broker:
            yield from _looks_at_both(settings)
    if given.has("FEEDBACK_OUTBOX_URL") and settings.feedback_outbox_url is not None:
        yield _Look("outbox", lambda: look_at_outbox(settings))
    if settings.receivers and has_broker:
        yield _Look("notifications", lambda: look_at_notifications(settings))
    if given.has("AQUILAX_BASE_URL"):
        yield _Look("aquilax", lambda: look_at_aquilax(settings.aquilax_base_url))
        if probe_key and given.has("AQUILAX_API_KEY"):
            yield _Look("aquilax key", lambda: look_at_api_keys(settings))
    if where := flower or settings.feedback_flower_url:
        yield _Look("flower", lambda: look_at_flower(where.rstrip("/")))


def _looks_at_both(settings: Settings) -> Iterator[_Look]:
    """What Redis and the database say together."""
    yield _Look("broker data", lambda: look_at_redis_data(settings))
    yield _Look("books", lambda: look_at_books(settings))
    yield _Look("replays", lambda: look_at_replays(settings))


def _look_as_worker(settings: Settings) -> Iterator[Finding]:
    try:
        app = create_app(settings)
    except SettingsError as error:
        yield red("settings", str(error), fix="unset it, also where the workers run: they don't start with it")
        return
    with closing(app):
        yield from _look_through_redis(settings, app, alike=settings)


def _look_through_redis(settings: Settings, app: Celery, *, alike: Settings | None) -> Iterator[Finding]:
    """The broker, and what is seen through it: the queue and the workers, whose settings should be ``alike``."""
    with (
        closing(broker_partitions(settings, patience=_REDIS_PATIENCE, retries=0)) as partitions,
        closing(broker_record(settings, patience=_REDIS_PATIENCE)) as record,
    ):
        try:
            yield from look_at_servers(partitions, settings)
            yield from look_at_record(record, tells=len(partitions) > 1)
            yield from look_at_keys(partitions, within=_STRAYS_WITHIN, only=_asked(partitions))
            before = take_partial_snapshot(partitions)
            yield from look_at_partitions(before)
            fleet = ask_fleet(app, before.alive)
            now = take_partial_snapshot(partitions, away=before.unavailable)
            held = _held_orgs(partitions, now)
            yield from look_at_queue(before, now, horizon=settings.feedback_retry_horizon, held=held)
            asked = {lease.name for lease in before.holders}  # one that came since was not
            seen = replace(now, holders=tuple(lease for lease in now.holders if lease.name in asked))
            yield from look_at_workers(fleet, seen, alike)
            yield from look_at_progress(fleet, settings)
        except OperationalError as error:  # as which Kombu raises what Redis refuses while the workers are asked
            yield broker_unavailable(redis.ResponseError(str(error)), shown_broker(settings))
        except redis.RedisError as error:
            yield broker_unavailable(error, shown_broker(settings))


def _held_orgs(partitions: Partitions, now: Snapshot) -> HeldOrgs | None:
    """Which orgs are held; None if the first partition can't be asked."""
    asked = [part.number for part in now.parts if part.snapshot is not None] or [0]
    return look_at_held_orgs(partitions, only=asked) if 0 in asked else None


def _asked(partitions: Partitions) -> Collection[int] | None:
    """The numbers of the partitions that can be asked; None if these are all."""
    if not partitions.is_cluster or len(partitions) == 1:
        return None
    answers = partitions.ask(lambda client: client.ping(), within=partitions.patience)
    return list(answers.of) if answers.errors else None


def _without_secrets(redacted: Redaction, finding: Finding) -> Finding:
    """Take out of a finding what must not be shown, however it is written."""
    summary, fix = (visible(" ".join(redacted(clean(text)).split())) for text in (finding.summary, finding.fix))
    return Finding(check=finding.check, level=finding.level, summary=summary, fix=fix)
