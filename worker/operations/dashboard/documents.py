"""The JSON documents that programs send: which fields there may be, and of which type each is.

Nothing is guessed. A field that is empty, of another type, misspelt or there twice is refused by its name: what was to
narrow a choice must never widen it to every row.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

from worker.operations.dashboard.filters import WrongFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["WrongDocument", "number_in", "read_document", "text_in", "values_in"]

_NUMBERS: Final = frozenset({"id", "http_status", "rest_of"})
"""The filters that JSON may have as numbers."""


class WrongDocument(ValueError):
    """A document, or a field of it, can't be read; the message names it and says what is expected."""


def read_document(body: bytes, names: Sequence[str]) -> dict[str, Any]:
    """Return the JSON object of a body, {} if empty. Raises `WrongDocument` if it is none, or has other fields."""
    try:
        document = json.loads(body or b"{}", object_pairs_hook=_once, parse_constant=_refuse_constant)
    except WrongDocument:
        raise
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise WrongDocument("expected a JSON object")
    if unknown := sorted(set(document) - set(names)):
        raise WrongDocument(f"{_shown(unknown[0])} is no field: expected some of {', '.join(names)}")
    return document


def values_in(document: dict[str, Any]) -> Callable[[str], list[str]]:
    """Return the filters of a document, as `read_filters` asks for them; it raises `WrongFilter` where it is asked."""

    def of(name: str) -> list[str]:
        if name not in document:
            return []
        value = document[name]
        values = value if isinstance(value, list) else [value]
        if not values:
            raise WrongFilter(name, " is []: expected a value, or a list of values that is not empty")
        return [_filter_value(name, each) for each in values]

    return of


def text_in(document: dict[str, Any], name: str) -> str:
    """Return a field of text; '' if there is none. Raises `WrongDocument` if it is something else."""
    value = document.get(name, "")
    if not isinstance(value, str):
        raise WrongDocument(f"{name} is {_shown(value)}: expected text")
    return value


def number_in(document: dict[str, Any], name: str) -> str | None:
    """Return a number, or text, as text; None if there is none. Raises `WrongDocument` if it is else, or empty."""
    if name not in document:
        return None
    value = document[name]
    if isinstance(value, bool) or not isinstance(value, int | float | str) or value == "":
        raise WrongDocument(f"{name} is {_shown(value)}: expected a number")
    return str(value)


def _filter_value(name: str, value: object) -> str:
    is_number = isinstance(value, int) and not isinstance(value, bool) and name in _NUMBERS
    if not isinstance(value, str) and not is_number:
        raise WrongFilter(name, f" is {_shown(value)}: expected {'a number' if name in _NUMBERS else 'text'}")
    return str(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise WrongDocument(f"{_shown(twice)} is there twice: expected each field once")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise WrongDocument(f"{name} is no number in JSON")


def _shown(value: object) -> str:
    return json.dumps(value, default=repr)[:40]
