"""What is known of one answer, as it was found, and in plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.operations.export import to_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from producer.spool.line import Record
    from worker.accounting.message_search import MessageSearch
    from worker.database.audit_log import Action
    from worker.database.models import DeadLetter
    from worker.dead_letters.replays.queries import Replayed
    from worker.delivery.hold import HoldState
    from worker.delivery.org_holds import OrgHold
    from worker.delivery.remembered import Remembered

__all__ = ["EventTrace", "OutboxEntry", "TracedRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRow:
    """A dead letter of the answer.

    Attributes:
        row: The dead letter.
        replays: Its part in the replays that had it, the latest first.
        actions: What operators did to these replays, the latest first.
    """

    row: DeadLetter
    replays: Sequence[Replayed] = ()
    actions: Sequence[Action] = ()

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return to_record(self.row, with_raw=True) | {
            "replays": [
                {
                    "replay": replay.replay_id,
                    "state": replay.state.value,
                    "comment": replay.comment,
                    "changed_at": replay.changed_at and replay.changed_at.isoformat(),
                }
                for replay in self.replays
            ],
            "actions": [
                {
                    "at": action.at.isoformat(),
                    "actor": action.actor,
                    "action": action.action,
                    "target": action.target,
                    "comment": action.comment,
                }
                for action in self.actions
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """A press that waits in a backend's outbox.

    Attributes:
        status: ``true`` or ``false``.
        occurred_at: When it was pressed, as its backend wrote it.
        created_at: When it was written there, likewise.
        problem: Why the relay has set it aside; '' if it has not.
    """

    status: str
    occurred_at: str
    created_at: str
    problem: str = ""

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "status": self.status,
            "occurred_at": self.occurred_at,
            "created_at": self.created_at,
            "problem": self.problem or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTrace:
    """All that is known of one answer.

    Attributes:
        request_id: The answer's.
        at: When that was looked up.
        search: Its messages; None if Redis can't be asked.
        remembered: What the dedup store has; None if the answer's partition can't be asked.
        ttl: For how long a delivered vote is remembered.
        hold: The hold, if there is one.
        org_holds: The holds of single orgs and keys, by the moment under which their messages are set aside.
        rows: Its dead letters, the oldest first; None if the database can't be asked.
        spooled: Its events in the spool of this machine; None if there is no spool here.
        outbox: Its rows in the outbox; None if there is none, or it can't be asked.
        problems: What could not be asked, and why.
    """

    request_id: str
    at: datetime
    search: MessageSearch | None = None
    remembered: Remembered | None = None
    ttl: timedelta
    hold: HoldState | None = None
    org_holds: Mapping[int, OrgHold] = field(default_factory=dict)
    rows: tuple[TracedRow, ...] | None = None
    spooled: tuple[Record, ...] | None = None
    outbox: tuple[OutboxEntry, ...] | None = None
    problems: tuple[str, ...] = field(default=())

    @property
    def is_known(self) -> bool:
        """Whether anything is known of it."""
        messages = self.search.found if self.search else ()
        remembers = self.remembered is not None and (
            self.remembered.until is not None or self.remembered.sending_for is not None
        )
        return bool(messages or self.rows or self.spooled or self.outbox) or remembers

    @property
    def is_whole(self) -> bool:
        """Whether everything could be asked, and all messages were looked through."""
        return not self.problems and (self.search is None or self.search.is_whole)

    def to_record(self) -> dict[str, Any]:
        """Return what was found as JSON can carry it. What can't be asked is null."""
        search = self.search
        return {
            "request_id": self.request_id,
            "at": self.at.isoformat(),
            "known": self.is_known,
            "messages": None if search is None else [message.to_record() for message in search.found],
            "looked_through": None if search is None else search.looked_at,
            "of_messages": None if search is None else search.total,
            "delivered": None if self.remembered is None else self.remembered.to_record(),
            "hold": None if self.hold is None else self.hold.as_dict(),
            "org_holds": [hold.as_dict() for hold in self.org_holds.values()],
            "dead_letters": None if self.rows is None else [row.to_record() for row in self.rows],
            "spooled": None
            if self.spooled is None
            else [one.event.to_wire() | {"spooled_at": one.spooled_at.isoformat()} for one in self.spooled],
            "outbox": None if self.outbox is None else [row.to_record() for row in self.outbox],
            "problems": list(self.problems),
        }
