"""The workload of the demo and the tests: people who press 👍 and 👎 once, twice, in doubt, and late."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from producer import FeedbackEvent

if TYPE_CHECKING:
    import random

__all__ = ["Workload", "build_workload"]

_LIKES: Final = 0.7
_REPEATS: Final = 0.05
_CHANGES: Final = 0.05
_LATE: Final = 0.02
_FORBIDDEN: Final = 0.01
_GROUPS: Final = ("web", "mobile", "support")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The events, and what must come of them.

    Attributes:
        events: Every press, in the order in which the chat backends hear of it.
        last_votes: For each request_id the status that AquilaX must end up with.
    """

    events: tuple[FeedbackEvent, ...]
    last_votes: dict[str, bool]


def build_workload(people: int, *, began: datetime, chance: random.Random, forbidden_org: str) -> Workload:
    """Make the events of so many people, a millisecond apart, a few of ``forbidden_org``; a seed repeats them."""
    events: list[FeedbackEvent] = []
    later: list[FeedbackEvent] = []
    last_votes: dict[str, bool] = {}
    for number in range(people):
        press = _press(chance, began + timedelta(milliseconds=number), forbidden_org=forbidden_org)
        events.append(press)
        again = _again(press, chance)
        later += again
        last_votes[press.request_id] = max((press, *again), key=lambda event: event.occurred_at).status
    chance.shuffle(later)
    return Workload(events=(*events, *later), last_votes=last_votes)


def _press(chance: random.Random, at: datetime, *, forbidden_org: str) -> FeedbackEvent:
    request_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    org = forbidden_org if chance.random() < _FORBIDDEN else f"org-{chance.randrange(20):02d}"
    status, group = chance.random() < _LIKES, chance.choice(_GROUPS)
    return FeedbackEvent(request_id=request_id, status=status, org=org, group=group, occurred_at=at)


def _again(press: FeedbackEvent, chance: random.Random) -> list[FeedbackEvent]:
    """What the same person is heard to say besides: the same again, the opposite, or the opposite from before."""
    draw, later = chance.random(), press.occurred_at + timedelta(seconds=1)
    if draw < _REPEATS:
        return [replace(press, occurred_at=later)]
    if draw < _REPEATS + _CHANGES:
        return [replace(press, status=not press.status, occurred_at=later)]
    if draw < _REPEATS + _CHANGES + _LATE:
        return [replace(press, status=not press.status, occurred_at=press.occurred_at - timedelta(seconds=1))]
    return []
