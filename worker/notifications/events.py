"""What is told: an event is a value, with its text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Event", "EventKind"]


class EventKind(StrEnum):
    """What has happened. Webhooks name it so."""

    NEW_CAUSE = "new_cause"
    """Events die of something of which none has died before."""
    HOLD_BEGUN = "hold_begun"
    """Nothing is sent to AquilaX."""
    HOLD_ENDED = "hold_ended"
    BACKLOG_OLD = "backlog_old"
    """The oldest event has waited for too long."""
    BACKLOG_ENDED = "backlog_ended"
    LOSS_FOUND = "loss_found"
    """Events are nowhere, or Redis is not the one that it was."""
    LOSS_ENDED = "loss_ended"
    REPLAY_STOPPED = "replay_stopped"
    """The first rows of a replay died again."""
    TEST = "test"
    """An operator tries whether the receivers are told."""

    @property
    def is_over(self) -> bool:
        """Whether it says that something has come to its end."""
        return self in {EventKind.HOLD_ENDED, EventKind.BACKLOG_ENDED, EventKind.LOSS_ENDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that has happened.

    Attributes:
        kind: What.
        subject: Of what: the fingerprint of a cause, the kind of a hold, the scope of a hold of orgs, the number of a
            replay; '' of the whole queue.
        at: When it was found, by Redis' clock.
        text: It in one line, without secrets.
        urgent: Whether it is told in quiet hours too.
        page: The path of the page in Flower that shows more.
    """

    kind: EventKind
    subject: str
    at: datetime
    text: str
    urgent: bool = False
    page: str = "/feedback"

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "kind": self.kind.value,
            "subject": self.subject,
            "at": self.at.isoformat(),
            "text": self.text,
            "urgent": self.urgent,
            "page": self.page,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_record` has written; raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        return cls(
            kind=EventKind(record["kind"]),
            subject=str(record["subject"]),
            at=datetime.fromisoformat(record["at"]),
            text=str(record["text"]),
            urgent=bool(record["urgent"]),
            page=str(record["page"]),
        )
