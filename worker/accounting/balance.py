"""The equation: what was accepted is somewhere, or has ended; each message once."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from worker.clients.redis.keys import CountField

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENDS", "PLACES", "Balance"]

_NO_ENDS: Final = {CountField.ACCEPTED, CountField.RETRIED, CountField.SNOOZED, CountField.DEAD_LETTERS_INSERTED}
ENDS: Final = tuple(field.value for field in CountField if field not in _NO_ENDS)
"""The counts of messages that have ended; each message is counted in one of them, in the step in which it ends."""

PLACES: Final = ("queued", "in_flight", "scheduled")

_LABELS: Final[Mapping[str, str]] = MappingProxyType({"uncounted": "not counted yet"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The equation of one moment.

    Attributes:
        counts: What was counted so far.
        queued: Messages that wait for a worker.
        in_flight: Messages that a worker has in flight.
        scheduled: Messages that wait for their time.
        uncounted: How many of these are not counted as accepted yet: a foreign client's message is, when the first
            worker takes it.
    """

    counts: Mapping[str, int]
    queued: int
    in_flight: int
    scheduled: int
    uncounted: int = 0

    @property
    def accepted(self) -> int:
        """How many messages there have been, as far as they are counted."""
        return self.counts.get(CountField.ACCEPTED, 0)

    @property
    def ended(self) -> int:
        """How many have come to an end."""
        return sum(self.counts.get(end, 0) for end in ENDS)

    @property
    def missing(self) -> int:
        """How many are nowhere; negative if there are more than were accepted."""
        return self.accepted + self.uncounted - self.ended - self.queued - self.in_flight - self.scheduled

    def to_record(self) -> dict[str, int]:
        """Return every number of the equation, under the names that programs of others read."""
        ends = {end: self.counts.get(end, 0) for end in ENDS}
        places = {place: getattr(self, place) for place in PLACES}
        return {"accepted": self.accepted, "uncounted": self.uncounted, **ends, **places, "missing": self.missing}

    def equation(self) -> str:
        """Return the equation on one line."""
        if self.missing > 0:
            return f"{self.sides()} + {self.missing:,} missing"
        return f"{self.sides()} - {-self.missing:,} surplus" if self.missing < 0 else self.sides()

    def sides(self, labels: Mapping[str, str] = _LABELS, *, brief: bool = False) -> str:
        """Return the equation as text, without what is missing or too much.

        Args:
            labels: What some of the numbers are called, by their names in `to_record`.
            brief: Whether to leave out what there is none of.
        """
        record = self.to_record()

        def say(name: str) -> str:
            return f"{record[name]:,} {labels.get(name, name.replace('_', ' '))}"

        left = ["accepted", *(["uncounted"] if self.uncounted else [])]
        right = [name for name in (*ENDS, *PLACES) if record[name] or not brief]
        return f"{' + '.join(map(say, left))} = {' + '.join(map(say, right)) or '0'}"
