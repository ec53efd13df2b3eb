"""How one turn of a message ends: it is done, it comes again, or it is buried."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from worker.policy.journey import Journey
    from worker.policy.retry import Reason

__all__ = ["Again", "Buried", "Done", "Ending", "Result"]


class Result(StrEnum):
    """An ending in one word, as logs, metrics and traces have it."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    STALE = "stale"
    RETRY = "retry"
    """AquilaX can't take it now: it is tried again, and an attempt is spent."""
    HOLD = "hold"
    """Nothing can be sent now."""
    KEPT_BACK = "kept_back"
    """Something of ours is in the way."""
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Nothing is left to do; ``words`` say why: they are those of its `Result`."""

    words: str

    @property
    def result(self) -> Result:
        """The ending in one word."""
        return Result(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """The message comes again, with this journey: when it is ``due``, or at the end of its queue.

    One that nobody can read comes ``as_it_is``: with the header that it has, and not with a journey.
    """

    journey: Journey
    words: str
    due: datetime | None = None
    as_it_is: bool = False
    result: Result = Result.KEPT_BACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """The event is in the dead-letter table, for this reason."""

    reason: Reason
    words: str

    @property
    def result(self) -> Result:
        """The ending in one word."""
        return Result.DEAD_LETTER


Ending = Done | Again | Buried
