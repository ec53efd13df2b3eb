"""What waits for its time, for the pages and the API: a look, the filters of a request, and actions in the background.

A million messages take longer than a page may. An action goes in steps that each hold; if Flower ends in the middle the
rest waits as before, so this memory of what goes on may be lost with it.
"""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from worker.delivery.hold import Hold
from worker.operations.dashboard.handler import RequestRefused
from worker.operations.dashboard.sources import SourceUnavailable
from worker.operations.waiting.control import Chosen, Done, WaitingControl
from worker.operations.waiting.listing import (
    LOOKED_AT,
    Cause,
    Cursor,
    Look,
    Page,
    WaitingFilter,
    causes_of,
    look_at,
    page_of,
    read_cause,
    read_prefix,
)
from worker.operations.waiting.message import MessageId
from worker.policy.parsing import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.operations.dashboard.handler import Handler
    from worker.operations.dashboard.sources import Sources

__all__ = [
    "ACTIONS",
    "FILTERS",
    "NAMES",
    "WaitingAction",
    "WaitingActions",
    "WaitingFields",
    "WaitingView",
    "actions_of",
    "look_at_waiting",
    "read_cursor",
    "read_fields",
]

log = logging.getLogger(__name__)

ACTIONS: Final = ("send-now", "dead-letter")

FILTERS: Final = ("org", "cause", "request_id")

NAMES: Final = (*FILTERS, "id")
"""The fields that say which messages are meant."""

_MOST: Final = 500
"""Values of one field."""

_REMEMBERED: Final = 100

_WIDE: Final = 5000
"""Messages that a look with a filter reads: few of them may fit."""

_READERS: Final[dict[str, Callable[[str], object]]] = {
    "org": read_text,
    "cause": read_cause,
    "request_id": read_prefix,
    "id": MessageId.read,
}


@dataclass(frozen=True, slots=True)
class WaitingFields:
    """Which messages a request means.

    Attributes:
        given: The values by name, as they were given.
        chosen: What they mean.
        wrong: The field that can't be read, and why; None if all can.
    """

    given: dict[str, tuple[str, ...]]
    chosen: Chosen = field(default_factory=Chosen)
    wrong: tuple[str, str] | None = None

    def one(self, name: str) -> str:
        """Return the first value of a field; '' if it has none."""
        return self.given.get(name, ("",))[0]

    def pairs(self, **others: str | None) -> list[tuple[str, str]]:
        """Return the fields as a form carries them, with others, which replace those of their name."""
        kept = [(name, value) for name in NAMES if name not in others for value in self.given.get(name, ())]
        return kept + [(name, value) for name, value in others.items() if value is not None]

    def query(self, **others: str | None) -> str:
        """Return the same as a query string with its question mark; '' if there is none."""
        pairs = self.pairs(**others)
        return f"?{urlencode(pairs)}" if pairs else ""

    @property
    def is_everything(self) -> bool:
        """Whether they name nothing."""
        return not any(self.given.values())


def read_fields(values: Callable[[str], list[str]], *, blank_is_any: bool = False) -> WaitingFields:
    """Read which messages a request means.

    Args:
        values: Returns all values of an argument.
        blank_is_any: Whether an empty value is no filter, as in the form of a page, whose browser sends each field.
    """
    given = {name: tuple(value.strip() for value in values(name)) for name in NAMES}
    some = {name: kept for name, texts in given.items() if (kept := tuple(filter(None, texts)))}
    read: dict[str, tuple[Any, ...]] = {}
    for name, texts in given.items():
        if "" in texts and not blank_is_any:
            return WaitingFields(some, wrong=(name, "is empty: leave it out, or give it a value"))
        if len(texts) > _MOST:
            return WaitingFields(some, wrong=(name, f"expected at most {_MOST} values"))
        for text in some.get(name, ()):
            try:
                read[name] = (*read.get(name, ()), _READERS[name](text))
            except ValueError as error:
                return WaitingFields(some, wrong=(name, f"is {text[:40]!r}: expected {error}"))
    which = WaitingFilter(
        orgs=read.get("org", ()), causes=read.get("cause", ()), request_ids=read.get("request_id", ())
    )
    return WaitingFields(some, Chosen(ids=read.get("id", ()), filter=which))


def read_cursor(text: str) -> Cursor | None:
    """Read where a page begins; None at the beginning. Raises `RequestRefused` if it is no such place."""
    try:
        return Cursor.read(text) if text else None
    except ValueError as error:
        raise RequestRefused(400, f"after is {text[:40]!r}: expected {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingView:
    """One look at what waits.

    Attributes:
        look: What is due first.
        causes: What those of it that fit wait for.
        page: The page that was asked for.
        is_held: Whether a hold stands: then what is sent now waits in the queue.
    """

    look: Look
    causes: Sequence[Cause]
    page: Page
    is_held: bool = False

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "total": self.look.total,
            "looked_at": len(self.look.messages),
            "causes": [cause.to_record() for cause in self.causes],
            "messages": [message.to_record() for message in self.page.messages],
            "after": None if self.page.after is None else str(self.page.after),
            "unavailable_partitions": list(self.look.unavailable),
        }


def look_at_waiting(sources: Sources, chosen: Chosen, *, after: Cursor | None, size: int) -> WaitingView:
    """Look at what waits; causes are counted among what is due first of all."""
    partitions, which = sources.partitions(), chosen.filter
    limit = LOOKED_AT if which.is_everything else _WIDE
    first = look_at(partitions, limit=limit)
    look = first if after is None else look_at(partitions, after=after, limit=limit)
    return WaitingView(
        look=first,
        causes=causes_of(first.messages, which),
        page=page_of(look, which, size=size),
        is_held=Hold(partitions.home, actor="").state() is not None,
    )


@dataclass(slots=True, kw_only=True)
class WaitingAction:
    """One action, and how far it is.

    Attributes:
        number: Its number, in this Flower.
        action: One of `ACTIONS`.
        fields: The messages that were meant.
        actor: The operator.
        comment: The reason.
        began_at: When.
        done: How far it is.
        ended: Whether it is over.
        problem: What stopped it, if something did.
    """

    number: int
    action: str
    fields: WaitingFields
    actor: str
    comment: str
    began_at: datetime
    done: Done = field(default_factory=Done)
    ended: bool = False
    problem: str = ""

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "id": self.number,
            "action": self.action,
            "waiting": self.fields.chosen.to_record(),
            "actor": self.actor,
            "comment": self.comment,
            "began_at": self.began_at.isoformat(),
            **self.done.to_record(),
            "ended": self.ended,
            "problem": self.problem or None,
        }


class WaitingActions:
    """The actions of this Flower; safe for many threads."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._by_number: dict[int, WaitingAction] = {}
        self._one_at_a_time = threading.Lock()

    def begin(self, action: str, fields: WaitingFields, *, actor: str, comment: str) -> int:
        """Begin an action, and return its number at once."""
        with self._one_at_a_time:
            number = max(self._by_number, default=0) + 1
            begun = WaitingAction(
                number=number, action=action, fields=fields, actor=actor, comment=comment, began_at=datetime.now(UTC)
            )
            self._by_number[number] = begun
            for old in sorted(self._by_number)[:-_REMEMBERED]:
                del self._by_number[old]
        self._sources.start(lambda: self._run(begun))
        return number

    def find(self, number: int) -> WaitingAction:
        """Return how far an action is. Raises `RequestRefused` if this Flower knows of none with that number."""
        with self._one_at_a_time:
            if number in self._by_number:
                return copy(self._by_number[number])
        raise RequestRefused(404, "Flower knows of no such action: it was restarted since. The audit has it.")

    def _run(self, action: WaitingAction) -> None:
        problem = ""
        try:
            with self._sources.explained():
                control = WaitingControl(
                    partitions=self._sources.partitions(),
                    database=lambda: nullcontext(self._sources.engine()),
                    actor=action.actor,
                )
                act = control.send_now if action.action == "send-now" else control.dead_letter_now
                done = act(action.fields.chosen, action.comment, progress=lambda done: self._so_far(action, done))
                self._note(action, done=done)
        except SourceUnavailable as error:
            problem = f"{error} {error.do}"
        except Exception:
            log.exception("an action on what waits ended because of a fault of ours")
            problem = "a fault of ours, which stands in Flower's log"
        self._note(action, ended=True, problem=problem)

    def _so_far(self, action: WaitingAction, done: Done) -> None:
        self._note(action, done=replace(done, problems=[*done.problems]))

    def _note(self, action: WaitingAction, **changes: Any) -> None:
        with self._one_at_a_time:
            for name, value in changes.items():
                setattr(action, name, value)


def actions_of(handler: Handler) -> WaitingActions:
    """Return the actions of a handler's Flower: there is one memory of them in it."""
    application: Any = handler.application  # which carries it
    if not hasattr(application, "feedback_waiting"):
        application.feedback_waiting = WaitingActions(handler.sources)
    actions: WaitingActions = application.feedback_waiting
    return actions
