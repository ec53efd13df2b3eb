"""Messages on their way: which receiver is due for which, and what follows from an attempt. Pure.

A message is in the state before it is sent, and a receiver is taken from it after that: a worker that dies in between
leaves a repeat with the same id, and never a gap.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from worker.notifications.state import ReceiverHealth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from worker.notifications.state import Message, NotifierState

__all__ = ["Attempt", "backoff", "due", "kept", "settled"]

_FIRST_WAIT: Final = timedelta(seconds=10)
_LONGEST_WAIT: Final = timedelta(minutes=15)
_ENOUGH: Final = 10
"""Doublings: the longest wait is reached before."""

_LONGEST_TRIED: Final = timedelta(hours=24)
"""After that a message is given up: by then it is no news."""

_MOST_MESSAGES: Final = 50
"""Messages that wait; beyond that the oldest is given up."""


class Attempt(NamedTuple):
    """A message that is to be sent to a receiver, by its name."""

    receiver: str
    message: Message


def backoff(failures: int) -> timedelta:
    """Return how long is waited after so many attempts in a row have failed."""
    doubled = 2 ** min(max(failures - 1, 0), _ENOUGH)
    return min(_FIRST_WAIT * int(doubled), _LONGEST_WAIT)


def kept(state: NotifierState, at: datetime, receivers: Sequence[str]) -> NotifierState:
    """Return what is known without the messages that are given up, and without receivers that are not told any more."""
    # Those that were given up are counted for the receivers that did not get them.
    tried = [message for message in state.outbox if at - message.at < _LONGEST_TRIED][-_MOST_MESSAGES:]
    given_up = [message for message in state.outbox if message not in tried]
    outbox = (replace(message, to=tuple(name for name in message.to if name in receivers)) for message in tried)
    healths = {name: state.receivers.get(name, ReceiverHealth()) for name in receivers}
    lost = {name: sum(name in message.to for message in given_up) for name in receivers}
    return replace(
        state,
        outbox=tuple(message for message in outbox if message.to),
        receivers={
            name: replace(health, given_up=health.given_up + lost[name]) if lost[name] else health
            for name, health in healths.items()
        },
    )


def due(state: NotifierState, at: datetime) -> list[Attempt]:
    """Return the attempts that are due: one for each receiver that is not waited for.

    It is the oldest message, but after a failure another one, if there is one: what a receiver does not take for what
    stands in it keeps no other message from it.
    """
    found = []
    for name, health in state.receivers.items():
        waiting = [message for message in state.outbox if name in message.to]
        if waiting and (health.not_before is None or health.not_before <= at):
            others = [message for message in waiting if message.id != health.last_failed]
            found.append(Attempt(name, (others or waiting)[0]))
    return found


def settled(state: NotifierState, outcomes: Iterable[tuple[Attempt, str]], at: datetime) -> NotifierState:
    """Return what is known after attempts.

    Args:
        state: What was known.
        outcomes: Each attempt, and why it failed; '' if it did not.
        at: Now.
    """
    healths: dict[str, ReceiverHealth] = dict(state.receivers)
    taken: set[tuple[str, str]] = set()
    for attempt, problem in outcomes:
        before = healths.get(attempt.receiver, ReceiverHealth())
        healths[attempt.receiver] = _after(before, attempt, problem, at)
        if not problem:
            taken.add((attempt.message.id, attempt.receiver))
    outbox = (_without(message, taken) for message in state.outbox)
    return replace(state, receivers=_named(healths), outbox=tuple(message for message in outbox if message.to))


def _after(before: ReceiverHealth, attempt: Attempt, problem: str, at: datetime) -> ReceiverHealth:
    if not problem:
        return ReceiverHealth(taken_at=at, given_up=before.given_up)
    failures = before.failures + 1
    return replace(
        before,
        failures=failures,
        not_before=at + backoff(failures),
        problem=problem,
        last_failed=attempt.message.id,
    )


def _without(message: Message, taken: set[tuple[str, str]]) -> Message:
    return replace(message, to=tuple(name for name in message.to if (message.id, name) not in taken))


def _named(healths: Mapping[str, ReceiverHealth]) -> dict[str, ReceiverHealth]:
    return dict(sorted(healths.items()))
