"""What became of the items of one body: how many were taken, which are no events, and where to go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from producer import FeedbackEvent

__all__ = ["BatchReport", "Chunk", "ItemProblem", "Unit"]

Unit = Literal["line", "index"]
"""What items are counted by: the lines of NDJSON from 1, the items of an array from 0."""

_LISTED: Final = 100
"""Items that are no events, of which the report says what is wrong; the others are counted."""


@dataclass(frozen=True, slots=True)
class ItemProblem:
    """An item that is no event.

    Attributes:
        place: Its line or its index.
        status: What it alone would have been answered with.
        field: The field that is wrong, or ``event``.
        message: What is expected.
    """

    place: int
    status: HTTPStatus
    field: str
    message: str


@dataclass(slots=True)
class Chunk:
    """Items that are handed over together.

    Attributes:
        first: The place of the first of them; None if it has none.
        last: The place of the last.
        events: The events among them.
        problems: The others.
    """

    first: int | None = None
    last: int = 0
    events: list[FeedbackEvent] = field(default_factory=list)
    problems: list[ItemProblem] = field(default_factory=list)

    def begin_item(self, place: int) -> None:
        """Note the place of the next item, an event or not."""
        self.first = place if self.first is None else self.first
        self.last = place


@dataclass(slots=True)
class BatchReport:
    """The report, as it grows.

    Attributes:
        unit: What places are.
        taken: Events that are durable.
        spooled: Those of them that are in the spool.
        invalid: Items that are no events.
        through: The place of the last item that is one or the other; None before the first.
        listed: What is wrong with the first items that are no events.
    """

    unit: Unit
    taken: int = 0
    spooled: int = 0
    invalid: int = 0
    through: int | None = None
    listed: list[ItemProblem] = field(default_factory=list)

    def add(self, chunk: Chunk, *, spooled: bool) -> None:
        """Add a chunk whose events are durable."""
        if chunk.first is None:
            return
        self.taken += len(chunk.events)
        self.spooled += len(chunk.events) if spooled else 0
        self.invalid += len(chunk.problems)
        self.listed += chunk.problems[: _LISTED - len(self.listed)]
        self.through = chunk.last

    @property
    def status(self) -> HTTPStatus:
        """The status of a body that was read to its end."""
        if self.invalid:
            return HTTPStatus.MULTI_STATUS if self.taken else HTTPStatus.BAD_REQUEST
        return HTTPStatus.ACCEPTED if self.spooled else HTTPStatus.OK

    def content(self) -> dict[str, Any]:
        """Return it as the content of a response."""
        return {
            "taken": self.taken,
            "spooled": self.spooled,
            "invalid": self.invalid,
            "problems": [
                {self.unit: one.place, "status": one.status.value, "field": one.field, "message": one.message}
                for one in self.listed
            ],
            "problems_not_listed": self.invalid - len(self.listed),
        }

    def cut_short(self, status: HTTPStatus, why: str, resume_at: int) -> dict[str, Any]:
        """Return it as the content of the response to a body that was not read to its end.

        Args:
            status: The status.
            why: The reason.
            resume_at: The place of the first item that was not taken, or perhaps not.
        """
        advice = f"{why}; what stands before {self.unit} {resume_at} is done: send the rest, from there on"
        return {"code": status.value, "message": advice, f"resume_at_{self.unit}": resume_at, **self.content()}
