"""Asking the workers: ours one by one, by the names in their leases; and those of other applications who takes ours."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from celery import Celery

    from worker.accounting.snapshot import LeaseHolder

__all__ = ["Fleet", "ask_fleet"]

_ANSWERED_WITHIN: Final = 2.0
"""Seconds that workers have: each answers from its event loop, which never waits for AquilaX."""

_ASKED_AGAIN_WITHIN: Final = 4.0
"""The same, for those that have a lease and did not answer: their machine may have been busy, and to be told so for
nothing costs trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the workers answered, by their names.

    Attributes:
        stats: What ``celery inspect stats`` shows of ours.
        queues: The queues that each of ours consumes.
        same_name: The names that more than one of ours has, and how many have it.
        others: The queues that workers of other applications consume.
    """

    stats: Mapping[str, Mapping[str, Any]]
    queues: Mapping[str, frozenset[str]]
    same_name: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, frozenset[str]] = field(default_factory=dict)


def ask_fleet(app: Celery, leases: Collection[LeaseHolder]) -> Fleet:
    """Ask all workers, through the broker, which takes two seconds, or six if one of ours does not answer.

    Args:
        app: Ours, and used for nothing else meanwhile.
        leases: Those that last: who has one is there, also if it does not answer.
    """
    expected = {lease.node for lease in leases if lease.node}
    with app.connection_for_write() as connection:
        control: Any = app.control
        # A connection of its own, also to send on: Kombu keeps the pools of a URL for the life of the process.
        control.mailbox.producer_pool = None

        def ask(command: str, *, timeout: float, **options: Any) -> list[dict[str, Any]]:
            return control.broadcast(command, reply=True, connection=connection, timeout=timeout, **options) or []

        replies_of_others = control.ask_others("active_queues", connection=connection, within=_ASKED_AGAIN_WITHIN)
        told = ask("stats", timeout=_ANSWERED_WITHIN)
        if missing := sorted(expected - _names(told)):
            told += ask("stats", timeout=_ASKED_AGAIN_WITHIN, destination=missing)
        # As many answers as there were before are all that come.
        queues = ask("active_queues", timeout=_ASKED_AGAIN_WITHIN, limit=len(told)) if told else []
        others = replies_of_others()
    times = Counter(name for reply in told for name in reply)
    return Fleet(
        stats={name: stats for reply in told for name, stats in reply.items()},
        queues=_consumed(queues),
        same_name={name: number for name, number in times.items() if number > 1},
        others=_consumed(others),
    )


def _names(replies: Iterable[Mapping[str, Any]]) -> set[str]:
    return {name for reply in replies for name in reply}


def _consumed(replies: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """The queues by worker, those of all that have one name together. Another application's may say anything."""
    found: dict[str, frozenset[str]] = {}
    for name, consumed in (pair for reply in replies for pair in reply.items()):
        queues = consumed if isinstance(consumed, list) else []
        names = {queue["name"] for queue in queues if isinstance(queue, dict) and "name" in queue}
        found[name] = found.get(name, frozenset()) | names
    return found
