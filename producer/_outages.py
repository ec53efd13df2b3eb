"""Primaries of a cluster that take nothing just now: a spool keeps what is for them, and all else goes to Redis."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from producer.locator import shown
from producer.partitions import partitions_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer._routing import Routes
    from producer.broker_url import Place
    from producer.errors import ProducerError
    from producer.event import FeedbackEvent

__all__ = ["Outages"]

log = logging.getLogger(__name__)

_TRY_EVERY: Final = 1.0
"""Seconds after which one call tries a primary again."""


class Outages:
    """Which servers have not taken what they were last sent.

    Args:
        routes: Where the partitions are.
        count: How many there are.
    """

    def __init__(self, routes: Routes, count: int) -> None:
        self._routes = routes
        self._count = count
        self._until: dict[Place, float] = {}

    def divided(self, events: Sequence[FeedbackEvent]) -> tuple[Sequence[FeedbackEvent], Sequence[FeedbackEvent]]:
        """Return the events that are to be tried now, and those that are not."""
        if not self._until:  # as nearly always
            return events, ()
        now = time.monotonic()
        places = self._places_of(events)
        closed = {place for place in places if place is not None and self._until.get(place, now) > now}
        for place in self._until.keys() & set(places) - closed:  # this call tries it, and others go on without
            self._until[place] = now + _TRY_EVERY
        tried = [event for event, place in zip(events, places, strict=True) if place not in closed]
        return tried, [event for event, place in zip(events, places, strict=True) if place in closed]

    def failed(self, tried: Sequence[FeedbackEvent], error: ProducerError) -> bool:
        """Note the servers of events that were not taken, and return whether there is none left that takes any."""
        not_taken = set(error.not_taken)
        self.succeeded([event for event in tried if event not in not_taken])
        failed = {place for place in self._places_of(error.not_taken) if place is not None}
        if self._routes.places() <= failed | self._until.keys():
            self._until.clear()  # the spool says itself when there is one again
            return True
        for place in failed:
            if place not in self._until:
                log.warning("the Redis at %s does not take events, which go to the spool: %s", shown(place), error)
            self._until[place] = time.monotonic() + _TRY_EVERY
        return False

    def succeeded(self, taken: Sequence[FeedbackEvent]) -> None:
        """Note the servers of events that were taken."""
        if self._until:
            for place in set(self._places_of(taken)):
                if place is not None and self._until.pop(place, None) is not None:
                    log.warning("the Redis at %s takes events again", shown(place))

    def _places_of(self, events: Sequence[FeedbackEvent]) -> list[Place | None]:
        return [self._routes.place(part) for part in partitions_of((each.request_id for each in events), self._count)]
