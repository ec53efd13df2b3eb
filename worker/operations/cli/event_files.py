"""Events from a file: NDJSON or CSV, read line by line, so that any size will do."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from producer import FeedbackEvent, InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["READERS", "BadHeader", "BadLine", "GoodLine", "Line", "read_csv", "read_ndjson"]

_REQUIRED: Final = ("request_id", "status", "org", "group")
"""The fields that every event has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodLine:
    """A line that is an event."""

    number: int
    event: FeedbackEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that is none, and why."""

    number: int
    problem: str


class BadHeader(ValueError):
    """The first line of a CSV file names no columns that events could be read from."""


Line: TypeAlias = GoodLine | BadLine


def read_ndjson(lines: Iterable[str], defaults: Mapping[str, str]) -> Iterator[Line]:
    """Read one JSON object a line, which may leave out the defaults; empty lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield BadLine(number=number, problem=f"this is not JSON: {error}")
            continue
        if isinstance(fields, dict):
            yield _line(number, fields, defaults)
        else:
            yield BadLine(number=number, problem=f"expected a JSON object, not {type(fields).__name__}")


def read_csv(lines: Iterable[str], defaults: Mapping[str, str]) -> Iterator[Line]:
    """Read CSV whose first line names the columns; an empty cell counts as left out, and takes the default.

    Raises:
        BadHeader: The first line does not name a column for each field without a default.
    """
    reader = csv.DictReader(lines, strict=True)
    _check_header(reader, defaults)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # DictReader's own count stays at the line before.
            yield BadLine(number=reader.reader.line_num, problem=f"this is not CSV: {error}")
            continue
        if None in row:
            yield BadLine(number=reader.line_num, problem="there are more cells than columns")
            continue
        yield _line(reader.line_num, {name: cell for name, cell in row.items() if cell}, defaults)


READERS: Final[Mapping[str, Callable[[Iterable[str], Mapping[str, str]], Iterator[Line]]]] = {
    "ndjson": read_ndjson,
    "csv": read_csv,
}
"""The reader of each format, by its name on the command line."""


def _check_header(reader: csv.DictReader[str], defaults: Mapping[str, str]) -> None:
    try:
        columns = reader.fieldnames or ()
    except csv.Error:
        columns = ()
    if missing := [name for name in _REQUIRED if name not in columns and name not in defaults]:
        raise BadHeader(
            f"line 1: expected a header with {','.join(_REQUIRED)}, separated by commas; "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )


def _line(number: int, fields: Mapping[str, Any], defaults: Mapping[str, str]) -> Line:
    try:
        return GoodLine(number=number, event=FeedbackEvent.from_wire({**defaults, **fields}))
    except InvalidEvent as error:
        return BadLine(number=number, problem=str(error))
