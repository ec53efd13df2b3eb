"""When a run of "not now" means that AquilaX is down, and not that one event is unlucky."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self

from worker.policy.classification import Classification

__all__ = ["CircuitBreaker"]

_RUN: Final = 20
"""Answers in a row. Envoy ejects a host after 5 in a row, of several that it has; Hystrix looks at 20 calls at the
least, and Resilience4j at 100, and each asks half of them to fail. Half is too little here: while every other event is
delivered, nothing shall be held. All of 20 is a surer sign than half of 100, and comes sooner."""

_LASTING: Final = timedelta(seconds=5)
"""A worker with 50 threads gets 50 answers at once: one hiccup is no outage, however many it hits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """The run of "not now" that a process sees: a value.

    A worker that sends little opens late, at its twentieth answer, however long that takes: until then each of its
    events is retried by itself, and the more of them wait, the sooner it comes. One whose own network is broken opens
    for all, and a probe of another worker ends that within a second or two.

    Attributes:
        run: Answers "not now" in a row.
        since: When the first of them came.
    """

    run: int = 0
    since: datetime | None = None

    def after(self, classification: Classification, now: datetime) -> Self:
        """Return the run after one more answer: any answer but "not now" ends it."""
        if classification is not Classification.RETRYABLE:
            return replace(self, run=0, since=None) if self.run else self
        return replace(self, run=self.run + 1, since=self.since or now)

    def is_open(self, now: datetime) -> bool:
        """Whether the run is long enough, in number and in time."""
        return self.run >= _RUN and self.since is not None and now - self.since >= _LASTING
