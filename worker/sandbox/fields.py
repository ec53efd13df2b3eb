"""Reads the fields of a JSON document one by one, and says of a wrong one what it is and what is expected."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

__all__ = [
    "InvalidFieldError",
    "choice",
    "is_request_id",
    "known",
    "names",
    "number",
    "request_id",
    "request_ids",
    "share",
    "switch",
    "url",
]

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_SHOWN: Final = 60


class InvalidFieldError(ValueError):
    """A field can't be used; the client has to fix it.

    Attributes:
        field: Its name, with a dot before the name of a part: ``outage.from``.
        problem: What it is and what is expected.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        shown = repr(value)
        self.field = field
        self.problem = f"is {shown[:_SHOWN]}{'…' * (len(shown) > _SHOWN)}: expected {expected}"
        super().__init__(f"{field} {self.problem}")


def known(field: str, value: object, names_of_fields: Collection[str]) -> Mapping[str, Any]:
    """Return the value if it is an object that has no other fields than these."""
    expected = f"an object with fields among {', '.join(names_of_fields)}"
    if not isinstance(value, Mapping):
        raise InvalidFieldError(field, value, expected)
    for name in value:
        if name not in names_of_fields:
            raise InvalidFieldError(field, name, expected)
    return value


def number(field: str, value: object, *, longest: float) -> float:
    """Return a number from 0 to `longest`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= longest:  # as NaN is not
        raise InvalidFieldError(field, value, f"a number from 0 to {longest:g}")
    return float(value)


def share(field: str, value: object) -> float:
    """Return a share of requests or request_ids, from 0 (none) to 1 (all)."""
    return number(field, value, longest=1)


def switch(field: str, value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise InvalidFieldError(field, value, "true or false")
    return value


def choice(field: str, value: object, choices: Collection[str]) -> str:
    """Return one of the values to choose from."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidFieldError(field, value, " or ".join(f'"{word}"' for word in choices))
    return str(value)


def names(field: str, value: object) -> frozenset[str]:
    """Return a set of names, each of them text."""
    if not isinstance(value, Collection) or isinstance(value, str | bytes | Mapping):
        raise InvalidFieldError(field, value, "a list of names")
    if wrong := [item for item in value if not isinstance(item, str)]:
        raise InvalidFieldError(field, wrong[0], "a list of names, each of them text")
    return frozenset(value)


def is_request_id(text: str) -> bool:
    """Whether a text is a UUID in its usual form."""
    return _UUID.fullmatch(text) is not None


def request_id(field: str, value: object) -> str:
    """Return a request_id in small letters."""
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str) or not is_request_id(value):
        raise InvalidFieldError(field, value, "a UUID such as 77e81bbc-3e7f-47b9-87fa-681b5d2f54e6")
    return value.lower()


def request_ids(field: str, value: object) -> frozenset[str]:
    """Return a set of request_ids."""
    return frozenset(request_id(field, item) for item in names(field, value))


def url(field: str, value: object) -> str:
    """Return an address or a path that fits into a ``Location`` header."""
    if not isinstance(value, str) or not value or not all("!" <= character <= "~" for character in value):
        raise InvalidFieldError(field, value, "an address or a path in printable ASCII without spaces")
    return value
