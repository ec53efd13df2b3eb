"""Discards in the background: a hundred thousand rows take longer than a page may.

A discard goes in steps, each of which holds, and is in the audit log. If Flower ends in the middle, the rows that are
left are dead as before, and the same discard again finishes them; so this memory of what goes on may be lost with it.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from worker.dead_letters.discard import discard
from worker.operations.dashboard.sources import SourceUnavailable

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from worker.operations.dashboard.sources import Sources

__all__ = ["Discard", "Discards"]

log = logging.getLogger(__name__)

_REMEMBERED: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """One discard, and how far it is.

    Attributes:
        number: Its number, in this Flower.
        total: How many rows it was to take.
        done: How many it has taken.
        actor: The operator.
        comment: The reason.
        began_at: When.
        ended: Whether it is over.
        problem: What stopped it, if something did.
    """

    number: int
    total: int
    actor: str
    comment: str
    began_at: datetime
    done: int = 0
    ended: bool = False
    problem: str = ""

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "id": self.number,
            "total": self.total,
            "discarded": self.done,
            "actor": self.actor,
            "comment": self.comment,
            "began_at": self.began_at.isoformat(),
            "ended": self.ended,
            "problem": self.problem or None,
        }


class Discards:
    """The discards of this Flower; safe for many threads."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._by_number: dict[int, Discard] = {}
        self._one_at_a_time = threading.Lock()

    def begin(self, which: ColumnElement[bool], *, total: int, actor: str, comment: str) -> Discard:
        """Begin to discard rows, and return at once."""
        with self._one_at_a_time:
            number = max(self._by_number, default=0) + 1
            begun = Discard(number=number, total=total, actor=actor, comment=comment, began_at=datetime.now(UTC))
            self._by_number[number] = begun
            for old in sorted(self._by_number)[:-_REMEMBERED]:
                del self._by_number[old]
        self._sources.start(lambda: self._run(number, which, actor=actor, comment=comment))
        return begun

    def find(self, number: int) -> Discard | None:
        """Return the discard of a number; None if this Flower knows of none."""
        with self._one_at_a_time:
            return self._by_number.get(number)

    def _run(self, number: int, which: ColumnElement[bool], *, actor: str, comment: str) -> None:
        problem = ""
        try:
            with self._sources.explained():
                engine = self._sources.engine()
                discard(
                    engine, which, comment=comment, actor=actor, progress=lambda done: self._note(number, done=done)
                )
        except SourceUnavailable as error:
            problem = f"{error} {error.do}"
        except Exception:
            log.exception("discard %s ended because of a fault of ours", number)
            problem = "a fault of ours, which stands in Flower's log"
        self._note(number, ended=True, problem=problem)

    def _note(self, number: int, **changes: Any) -> None:
        with self._one_at_a_time:
            self._by_number[number] = replace(self._by_number[number], **changes)
