"""The filters of a page, as they stand in its address and in its forms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from worker.deadletters import State
from worker.deadletters.reading import LARGEST_ID
from worker.deadletters.selection import Selection
from worker.deadletters.times import read_time
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

__all__ = ["ANY", "NAMES", "Filters", "WrongFilter", "read_filters"]

NAMES: Final = ("reason", "http_status", "org", "group", "cause", "request_id", "state", "since", "until", "id")
"""As the command line's options have them; `id` are rows that were ticked."""

ANY: Final = "any"
"""Instead of a state: whichever."""

_LONGEST: Final = 200
_MOST: Final = 500
"""Values of one filter."""


_Value = TypeVar("_Value")


class WrongFilter(Exception):
    """A filter has a value that it can't have; the message names it and says what is expected.

    Attributes:
        name: The filter.
        given: The filters that were given, for the form that asks again.
    """

    def __init__(self, name: str, words: str) -> None:
        super().__init__(f"{name}{words}")
        self.name = name
        self.given: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True, slots=True)
class Filters:
    """What was asked for.

    Attributes:
        given: The values by name, as they were given.
        selection: What they mean.
    """

    given: dict[str, tuple[str, ...]]
    selection: Selection

    def one(self, name: str) -> str:
        """Return the first value of a filter, for a field of a form; '' if it has none."""
        return self.given.get(name, ("",))[0]

    def pairs(self, *, but: Iterable[str] = (), **others: str | int | None) -> list[tuple[str, str]]:
        """Return the filters as an address or a form carries them.

        Args:
            but: Filters that are left out.
            others: More of them, which replace those of their name; left out if None.
        """
        left_out = {*but, *others}
        kept = [(name, value) for name in NAMES if name not in left_out for value in self.given.get(name, ())]
        return kept + [(name, str(value)) for name, value in others.items() if value is not None]

    def query(self, *, but: Iterable[str] = (), **others: str | int | None) -> str:
        """Return the same as a query string with its question mark; '' if there is none."""
        pairs = self.pairs(but=but, **others)
        return f"?{urlencode(pairs)}" if pairs else ""

    @property
    def narrowed(self) -> bool:
        """Whether anything but a state is asked for."""
        return any(self.given.get(name) for name in NAMES if name != "state")

    @property
    def folded(self) -> bool:
        """Whether the form says nothing that is not clear without it: dead letters are dead."""
        return not self.narrowed and set(self.given.get("state", ())) <= {State.DEAD.value}

    @property
    def kind(self) -> str:
        """Return which rows these are, as a word before what they are; '' for the dead."""
        states = self.selection.states
        if set(states) <= {State.DEAD} or (self.given.get("id") and not self.given.get("state")):
            return ""
        return "" if len(set(states)) == len(State) else " or ".join(state.value for state in states)

    @property
    def acting(self) -> Filters | None:
        """Return the filters for the rows that a button beside them takes; None if there is nothing to take.

        It takes the dead, unless the operator has chosen a state by name: whoever looks at rows of any state has not
        said that the discarded shall be sent after all. A delivered row is never taken.
        """
        if ANY in self.given.get("state", ()):
            given = {name: texts for name, texts in self.given.items() if name != "state"}
            return Filters(given, replace(self.selection, states=(State.DEAD,)))
        return None if set(self.selection.states) == {State.DELIVERED} else self


def read_filters(values: Callable[[str], list[str]], *, now: datetime, everything: bool = False) -> Filters:
    """Read the filters of a request. Without a state, the dead are meant; of ticked rows, those that can be taken.

    Args:
        values: Returns all values of an argument.
        now: This moment.
        everything: Whether rows of every state are meant where none is asked for.

    Raises:
        WrongFilter: One of them can't be read.
    """
    given = {name: tuple(value.strip() for value in values(name) if value.strip()) for name in NAMES}
    some = {name: texts for name, texts in given.items() if texts}
    try:
        return Filters(some, _selection(given, now=now, everything=everything))
    except WrongFilter as error:
        error.given = some
        raise


def _selection(given: dict[str, tuple[str, ...]], *, now: datetime, everything: bool) -> Selection:
    for name, texts in given.items():
        if len(texts) > _MOST or any(len(text) > _LONGEST for text in texts):
            raise WrongFilter(name, f": expected at most {_MOST} values of {_LONGEST} characters")
    reasons = _each(given, "reason", Reason, f"one of {', '.join(Reason)}")
    statuses = _each(given, "http_status", _status, "a number from 100 to 999")
    if statuses and not reasons:
        reasons = tuple(Reason)  # the index has the reason first; each of them has its statuses
    ids = _each(given, "id", _row_id, "the number of a dead letter")
    return Selection(
        ids=ids,
        states=_states(given, everything=everything, ids=ids),
        reasons=reasons,
        http_statuses=statuses,
        orgs=given["org"],
        groups=given["group"],
        causes=given["cause"],
        request_ids=_each(given, "request_id", lambda text: str(UUID(text)), "a UUID"),
        since=_time(given, "since", now),
        until=_time(given, "until", now),
    )


def _states(given: dict[str, tuple[str, ...]], *, everything: bool, ids: tuple[int, ...]) -> tuple[State, ...]:
    if ANY in given["state"] or (everything and not given["state"]):
        return tuple(State)
    if not given["state"]:
        return (State.DEAD, State.DISCARDED) if ids else (State.DEAD,)
    return _each(given, "state", State, f"{ANY}, or one of {', '.join(State)}")


def _each(
    given: dict[str, tuple[str, ...]], name: str, read: Callable[[str], _Value], expected: str
) -> tuple[_Value, ...]:
    try:
        return tuple(read(text) for text in given[name])
    except ValueError:
        raise WrongFilter(name, f" is {', '.join(given[name])!r}: expected {expected}") from None


def _status(text: str) -> int:
    status = int(text)
    if not 100 <= status <= 999:  # noqa: PLR2004 - as HTTP has them
        raise ValueError
    return status


def _row_id(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= LARGEST_ID:
        raise ValueError
    return int(text)


def _time(given: dict[str, tuple[str, ...]], name: str, now: datetime) -> datetime | None:
    try:
        return read_time(given[name][0], now=now) if given[name] else None
    except ValueError as error:
        raise WrongFilter(name, f" is {error}") from None
