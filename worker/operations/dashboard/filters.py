"""The filters of a page, as they stand in its address and in its forms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode

from worker.database.models import State
from worker.dead_letters.selection import ANY_STATE, Selection
from worker.operations.text import read_time
from worker.policy.parsing import read_text, read_uuid, read_whole
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

__all__ = ["NAMES", "Filters", "WrongFilter", "read_filters"]

NAMES: Final = (
    *("reason", "http_status", "org", "group", "fingerprint", "request_id", "state", "since", "until"),
    *("id", "rest_of"),
)
"""As the command line's options have them; `id` are rows that were ticked, `rest_of` what a replay did not send."""

_MOST: Final = 500
"""Values of one filter."""

_SHOWN: Final = 40
"""Characters of a wrong value that an error repeats."""

_Value = TypeVar("_Value")
_Kind = TypeVar("_Kind", bound=StrEnum)


class WrongFilter(Exception):
    """A filter has a value that it can't have; the message names it and says what is expected.

    Attributes:
        name: The filter.
        given: The filters that were given, for the form that asks again.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}{text}")
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
        """Return which rows these are, as text before what they are; '' for the dead."""
        states = self.selection.states
        if set(states) <= {State.DEAD} or (self.given.get("id") and not self.given.get("state")):
            return ""
        return "" if len(set(states)) == len(State) else " or ".join(state.value for state in states)

    @property
    def acting(self) -> Filters | None:
        """Return the filters for the rows that a button beside them takes; None if there is nothing to take.

        It takes the dead, unless the operator has chosen a state by name: one who looks at rows of any state has not
        said that the discarded shall be sent after all. A delivered row is never taken.
        """
        if ANY_STATE in self.given.get("state", ()):
            given = {name: texts for name, texts in self.given.items() if name != "state"}
            return Filters(given, replace(self.selection, states=(State.DEAD,)))
        return None if set(self.selection.states) == {State.DELIVERED} else self


def read_filters(values: Callable[[str], list[str]], *, now: datetime, blank_is_any: bool = False) -> Filters:
    """Read the filters of a request. Without a state, the dead are meant; of ticked rows, those that can be taken.

    Args:
        values: Returns all values of an argument; none if it was not sent.
        now: This moment.
        blank_is_any: Whether an empty value is no filter, as in the form of a page, whose browser sends each field.
            Elsewhere it is refused: what was to narrow the choice would widen it to every row.

    Raises:
        WrongFilter: One of them can't be read.
    """
    given = {name: tuple(value.strip() for value in values(name)) for name in NAMES}
    some = {name: kept for name, texts in given.items() if (kept := tuple(filter(None, texts)))}
    try:
        if not blank_is_any:
            _refuse_blanks(given)
        return Filters(some, _selection({name: some.get(name, ()) for name in NAMES}, now=now))
    except WrongFilter as error:
        error.given = some
        raise


def _refuse_blanks(given: dict[str, tuple[str, ...]]) -> None:
    for name, texts in given.items():
        if "" in texts:
            raise WrongFilter(name, " is empty: leave it out to choose whatever it is, or give it a value")


def _selection(given: dict[str, tuple[str, ...]], *, now: datetime) -> Selection:
    for name, texts in given.items():
        if len(texts) > _MOST:
            raise WrongFilter(name, f": expected at most {_MOST} values")
        _each(given, name, read_text)
    reasons = _each(given, "reason", lambda text: _member(Reason, text))
    statuses = _each(given, "http_status", lambda text: read_whole(text, least=100, most=999))
    if statuses and not reasons:
        reasons = tuple(Reason)  # the index has the reason first; each of them has its statuses
    ids = _each(given, "id", lambda text: read_whole(text, least=1))
    return Selection(
        ids=ids,
        states=_states(given, ids=ids),
        reasons=reasons,
        http_statuses=statuses,
        orgs=given["org"],
        groups=given["group"],
        fingerprints=given["fingerprint"],
        request_ids=_each(given, "request_id", read_uuid),
        since=_time(given, "since", now),
        until=_time(given, "until", now),
        rest_of=_each(given, "rest_of", lambda text: read_whole(text, least=1)),
    )


def _states(given: dict[str, tuple[str, ...]], *, ids: tuple[int, ...]) -> tuple[State, ...]:
    states = _each(given, "state", lambda text: None if text == ANY_STATE else _member(State, text, ANY_STATE))
    if None in states:
        return tuple(State)
    if not states:
        return (State.DEAD, State.DISCARDED) if ids else (State.DEAD,)
    return tuple(filter(None, states))


def _each(given: dict[str, tuple[str, ...]], name: str, read: Callable[[str], _Value]) -> tuple[_Value, ...]:
    values = []
    for text in given[name]:
        try:
            values.append(read(text))
        except ValueError as error:
            raise WrongFilter(name, f" is {text[:_SHOWN]!r}: expected {error}") from None
    return tuple(values)


def _member(kind: type[_Kind], text: str, *others: str) -> _Kind:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"one of {', '.join((*others, *kind))}") from None


def _time(given: dict[str, tuple[str, ...]], name: str, now: datetime) -> datetime | None:
    try:
        moments = [read_time(text, now=now) for text in given[name]]
    except ValueError as error:
        raise WrongFilter(name, f" is {error}") from None
    if len(moments) > 1:
        raise WrongFilter(name, f" has {len(moments)} values: expected one")
    return moments[0] if moments else None
